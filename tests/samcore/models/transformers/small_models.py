"""Small random models of the families of transformers, as their own classes build them."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPTokenizer,
    EdgeTamVideoConfig,
    EdgeTamVideoModel,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    Sam3TrackerVideoConfig,
    Sam3TrackerVideoModel,
    Sam3VideoConfig,
    Sam3VideoModel,
    TimmWrapperConfig,
)
from transformers.models.edgetam.configuration_edgetam import EdgeTamVisionConfig
from transformers.models.sam3.configuration_sam3 import Sam3Config, Sam3VisionConfig, Sam3ViTConfig

SIZES = {"sam2": 96, "sam3": 84, "edgetam": 96}
"""Families, and the side of their input here."""

PRESENT, ABSENT = 10.0, -3.0
"""Object scores that make every object be there, or none."""


def _levels(side: int) -> list[list[int]]:
    return [[4 * side, 4 * side], [2 * side, 2 * side], [side, side]]


def sam2_config(size: int, *, hiera: dict[str, Any] | None = None) -> Sam2VideoConfig:
    """Hiera of four blocks, or as given."""
    small = {
        "hidden_size": 16,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "global_attention_blocks": [3],
    }
    backbone = Sam2HieraDetConfig(image_size=[size, size], **(small if hiera is None else hiera))
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=backbone.embed_dim_per_stage[::-1],
            backbone_feature_sizes=_levels(size // 16),
        ),
        prompt_encoder_config={"image_size": size},
        mask_decoder_config={} if hiera is not None else {"mlp_dim": 256},
        image_size=size,
        memory_attention_rope_feat_sizes=[size // 16, size // 16],
        **({} if hiera is not None else {"memory_attention_feed_forward_hidden_size": 256}),
    )


def _sam3_vision(size: int) -> Sam3VisionConfig:
    backbone = Sam3ViTConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=size,
        patch_size=14,
        window_size=6,
        global_attn_indexes=[1],
        pretrain_image_size=84,
    )
    return Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=256, backbone_feature_sizes=_levels(size // 14)
    )


def sam3_config(size: int) -> Sam3TrackerVideoConfig:
    return Sam3TrackerVideoConfig(
        vision_config=_sam3_vision(size).to_dict(),
        prompt_encoder_config={"image_size": size},
        mask_decoder_config={"mlp_dim": 256},
        memory_attention_feed_forward_hidden_size=256,
        memory_attention_num_layers=2,
        image_size=size,
    )


def sam3_video_config(size: int) -> Sam3VideoConfig:
    """The tracker with its detector, as one folder holds them."""
    text = {
        "model_type": "clip_text_model",
        "vocab_size": 1000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "projection_dim": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
        "bos_token_id": 998,
        "eos_token_id": 999,
    }
    detector = Sam3Config(
        vision_config=_sam3_vision(size).to_dict(),
        text_config=text,
        geometry_encoder_config={"num_layers": 1, "intermediate_size": 256},
        detr_encoder_config={"num_layers": 1, "intermediate_size": 256},
        detr_decoder_config={"num_layers": 1, "num_queries": 5, "intermediate_size": 256},
    )
    return Sam3VideoConfig(
        detector_config=detector.to_dict(),
        tracker_config=sam3_config(size).to_dict(),
        low_res_mask_size=4 * size // 14,
    )


def edgetam_config(size: int) -> EdgeTamVideoConfig:
    side = size // 16
    return EdgeTamVideoConfig(
        vision_config=EdgeTamVisionConfig(
            backbone_config=TimmWrapperConfig(
                architecture="repvit_m1.dist_in1k",
                model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
            ),
            backbone_feature_sizes=_levels(side),
        ),
        prompt_encoder_config={"image_size": size},
        mask_decoder_config={"mlp_dim": 256},
        image_size=size,
        memory_attention_rope_feat_sizes=[side, side],
        memory_attention_rope_k_sizes=[2, 2],
        memory_attention_mlp_hidden_size=256,
        perceiver_resampler_num_latents=32,
        perceiver_resampler_num_latents_2d=4,
    )


def small_net(family: str, *, score: float = PRESENT) -> Any:
    """A network of a family, from a seed, with an object score that is about `score`."""
    size = SIZES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "sam2":
            net = Sam2VideoModel(sam2_config(size))
        elif family == "sam3":
            net = Sam3TrackerVideoModel(sam3_config(size))
        else:
            net = EdgeTamVideoModel(edgetam_config(size))
        prepare(net, score=score)
    return net.eval().requires_grad_(False)


def small_sam3_video() -> Sam3VideoModel:
    """A detector whose tracker, with the image encoder that it shares, is the small SAM 3."""
    tracker = small_net("sam3")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Sam3VideoModel(sam3_video_config(SIZES["sam3"]))
    own = {k: v for k, v in tracker.state_dict().items() if not k.startswith("vision_encoder.")}
    net.tracker_model.load_state_dict(own)
    net.tracker_neck.load_state_dict(tracker.vision_encoder.neck.state_dict())
    backbone = net.detector_model.vision_encoder.backbone
    backbone.load_state_dict(tracker.vision_encoder.backbone.state_dict())
    return net.eval().requires_grad_(False)


def prepare(net: Any, *, score: float) -> None:
    """Random weights hardly look at memory, and those that begin as zeros hide mistakes."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
            if name.endswith(".scale"):
                parameter.fill_(0.5)  # of the memory fuser; 1e-6 otherwise
            elif "memory_attention" in name and "cross_attn" in name and name.endswith("weight"):
                parameter.mul_(3)
            elif name.startswith("object_pointer_proj.proj_out.weight"):
                parameter.mul_(10)
        net.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(score)


def save_sam3_video(folder: Path) -> Path:
    """A folder of the small SAM 3 with its detector and a tokenizer of letters, as the hub has it.

    Of the detector's random weights some are larger: else all masks would be the whole picture,
    and all texts and pictures alike.
    """
    net = small_sam3_video()
    larger = ("detr_", "mask_decoder", "dot_product", "text_")
    with torch.no_grad():
        for name, parameter in net.detector_model.named_parameters():
            if any(part in name for part in larger) and parameter.dim() > 1:
                parameter.mul_(3)
            if "query_embed" in name or "reference_points" in name:
                parameter.mul_(20 / 3)
            if "vision_encoder.neck" in name and parameter.dim() > 1:
                parameter.mul_(4)
    net.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """A tokenizer that takes letters one by one, with the numbers that the small text encoder
    knows."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocab = {one: n for n, one in enumerate([*letters, *(f"{one}</w>" for one in letters)])}
    vocab |= {"<|startoftext|>": 998, "<|endoftext|>": 999}
    CLIPTokenizer(vocab=vocab, merges=[]).save_pretrained(folder)
