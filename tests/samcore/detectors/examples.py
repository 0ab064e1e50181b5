"""What detectors that take something are asked for in tests: small, random, made on the spot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.models import detection as torchvision_networks

SSD = "ssdlite320_mobilenet_v3_large"


def torchvision_weights(path: Path, name: str = SSD) -> Path:
    """A file of a network's random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = getattr(torchvision_networks, name)(weights=None, weights_backbone=None)
    torch.save(net.state_dict(), path)
    return path


def hub_folder(path: Path, kind: str = "rt_detr", **changes: Any) -> Path:
    """The folder of a small random network, as the hub has it."""
    import transformers

    config, processor = _HUB[kind](path, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        maker = (
            transformers.AutoModelForObjectDetection
            if kind in ("rt_detr", "d_fine")
            else transformers.AutoModelForZeroShotObjectDetection
        )
        maker.from_config(config).eval().save_pretrained(path)
    processor.save_pretrained(path)
    return path


def _resnet() -> Any:
    from transformers import RTDetrResNetConfig

    return RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


_DETR = {
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "d_model": 32,
    "decoder_ffn_dim": 32,
    "decoder_attention_heads": 2,
    "decoder_layers": 2,
    "num_queries": 12,
    "num_denoising": 0,
    "decoder_n_points": 2,
    "id2label": {0: "person", 1: "car", 2: "dog"},
    "label2id": {"person": 0, "car": 1, "dog": 2},
}


def _rt_detr(path: Path) -> tuple[Any, Any]:
    from transformers import RTDetrConfig, RTDetrImageProcessor

    config = RTDetrConfig(
        backbone_config=_resnet(),
        encoder_in_channels=[16, 24, 32],
        decoder_in_channels=[32, 32, 32],
        **_DETR,
    )
    return config, RTDetrImageProcessor(size={"height": 64, "width": 64})


def _d_fine(path: Path) -> tuple[Any, Any]:
    from transformers import DFineConfig, HGNetV2Config, RTDetrImageProcessor

    backbone = HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[16, 16, 24, 32],
        stage_in_channels=[8, 16, 16, 24],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
        return_idx=[1, 2, 3],
    )
    config = DFineConfig(
        backbone_config=backbone,
        encoder_in_channels=[16, 24, 32],
        decoder_in_channels=[32, 32, 32],
        **{**_DETR, "decoder_n_points": [2, 2, 2]},
    )
    return config, RTDetrImageProcessor(size={"height": 64, "width": 64})


WORDS = ["red", "car", "person", "dog", "a", ".", "?", "##s"]


def _grounding_dino(path: Path) -> tuple[Any, Any]:
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    path.mkdir(parents=True, exist_ok=True)
    vocab = path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=4,
            image_size=64,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=5 + len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        d_model=32,
        num_queries=10,
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        fusion_droppath=0.0,
        max_text_len=32,
    )
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}),
        BertTokenizerFast(vocab=str(vocab)),
    )
    return config, processor


def _owlv2(path: Path) -> tuple[Any, Any]:
    from transformers import CLIPTokenizerFast, Owlv2Config, Owlv2ImageProcessor, Owlv2Processor

    path.mkdir(parents=True, exist_ok=True)
    letters = [
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"{one}</w>" for one in "abcdefghijklmnopqrstuvwxyz"),
    ]
    vocab = {
        one: number for number, one in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])
    }
    (path / "vocab.json").write_text(json.dumps(vocab))
    (path / "merges.txt").write_text("#version: 0.2\n")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = Owlv2Config(
        text_config={
            **small,
            "num_attention_heads": 2,
            "vocab_size": len(vocab),
            "max_position_embeddings": 16,
            "bos_token_id": vocab["<|startoftext|>"],
            "eos_token_id": vocab["<|endoftext|>"],
        },
        vision_config={**small, "num_attention_heads": 2, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    tokenizer = CLIPTokenizerFast(
        vocab=str(path / "vocab.json"), merges=str(path / "merges.txt"), model_max_length=16
    )
    processor = Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer)
    return config, processor


_HUB: dict[str, Callable[..., tuple[Any, Any]]] = {
    "rt_detr": _rt_detr,
    "d_fine": _d_fine,
    "grounding-dino": _grounding_dino,
    "owlv2": _owlv2,
}


def _listed(folder: Path) -> dict[str, Any]:
    path = folder / "boxes.json"
    boxes = [{"frame": frame, "box": [10, 20 + frame % 9, 60, 90]} for frame in range(64)]
    path.write_text(json.dumps({"detections": boxes}))
    return {"detector": f"file:{path}"}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "masks": lambda folder: {"points_per_side": 6},
    "file": _listed,
    "torchvision": lambda folder: {
        "detector": f"torchvision:{SSD}:{torchvision_weights(folder / 'ssd.pth')}",
        "min_score": 0,
    },
    "transformers": lambda folder: {
        "detector": f"transformers:{hub_folder(folder / 'hub')}",
        "min_score": 0,
    },
    "sam3": lambda folder: {"text": ["red car", "person"], "min_score": 0},
}
"""Options, as `AutomaticPrompts` takes them, from a folder for files; those without a
line are asked for by their name alone."""


def _sam3(folder: Path) -> str:
    from tests.samcore.models.transformers.small_models import save_sam3_video

    return f"hf:{save_sam3_video(folder / 'sam3')}"


MODELS: dict[str, Callable[[Path], str]] = {"sam3": _sam3}
"""The models of detectors that are a part of the tracking model, from a folder for files."""


def square_at(frame: int) -> tuple[int, int, int, int]:
    """Where the square of `moving_square` is, left to bottom."""
    left, top = 5 * frame % 144, 3 * frame % 104
    return (left, top, left + 16, top + 16)


def moving_square(num_frames: int) -> list[np.ndarray]:
    """A square that crosses 120 x 160 pixels of noise that stands still."""
    ground = np.random.default_rng(0).integers(60, 120, (120, 160, 3), dtype=np.uint8)
    images = []
    for frame in range(num_frames):
        left, top, right, bottom = square_at(frame)
        images.append(ground.copy())
        images[-1][top:bottom, left:right] = (250, 240, 20)
    return images
