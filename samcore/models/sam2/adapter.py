"""The only door to the `sam2` package's model classes.

Longtake keeps its own tracking memory; of the package it uses the network: image encoder, memory
attention, prompt encoder, mask decoder, memory encoder. `Sam2Model` gives these as functions from
tensors to tensors, without the package's inference state.

The computations follow `sam2/modeling/sam2_base.py` and `sam2/sam2_video_predictor.py` of sam2
1.1.0 (github.com/facebookresearch/sam2), as `build_sam2_video_predictor` sets them up by default.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor

from samcore.errors import ModelError
from samcore.machine.compiling import Compiler
from samcore.machine.device import Compute
from samcore.machine.transfer import send
from samcore.models.adapter import Adapter
from samcore.models.family import (
    AttendedMemory,
    Candidates,
    DecodedMasks,
    ImageFeatures,
    ModelFacts,
)
from samcore.models.pixels import mask_at_input_size
from samcore.models.sam2.attention import MemoryAttention
from samcore.models.sam2.compiled import CompiledParts, Decoded, Levels
from samcore.models.sam2.encoder import ImageEncoder
from samcore.models.sam2.network import build_network
from samcore.models.sam2.pooled import attend_pooled, pool_tokens

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""ImageNet's statistics, which SAM 2 was trained with (`sam2/utils/transforms.py`)."""


def build_model(
    config: str,
    checkpoint: Path | None,
    *,
    seed: int | None,
    image_size: int,
    fingerprint: str,
    compute: Compute,
    plain: bool = False,
    compiler: Compiler | None = None,
) -> "Sam2Model":
    """Build a model on its device.

    Args:
        config: A configuration file, or a name of the sam2 package's own.
        checkpoint: Weights, or None for random ones.
        seed: Seed of random weights.
        image_size: Side of the model's square input in pixels.
        fingerprint: Digest of all of these, which states and results carry.
        compute: Device and precision.
        plain: Whether to compute everything as the package does.
        compiler: What compiles parts of it; None for nothing.

    Raises:
        ModelError: The configuration or the checkpoint cannot be used.
    """
    net = build_network(config, checkpoint, seed=seed, image_size=image_size)
    return Sam2Model(
        net.to(compute.device),
        compute=compute,
        fingerprint=fingerprint,
        plain=plain,
        compiler=compiler,
    )


class Sam2Model(Adapter):
    """SAM 2's network of the sam2 package."""

    def __init__(
        self,
        net: SAM2Base,
        *,
        compute: Compute,
        fingerprint: str,
        plain: bool = False,
        compiler: Compiler | None = None,
    ) -> None:
        if net.memory_temporal_stride_for_eval != 1 or net.num_maskmem < 2:
            raise ModelError(
                "this model attends to its memory in strides or not at all "
                f"(memory_temporal_stride_for_eval={net.memory_temporal_stride_for_eval}, "
                f"num_maskmem={net.num_maskmem}); Longtake tracks with stride 1 and num_maskmem of "
                "2 or more, as every published SAM 2 has"
            )
        image_size = int(net.image_size)
        super().__init__(
            compute=compute,
            image_size=image_size,
            feature_size=image_size // int(net.backbone_stride),
            mean=IMAGE_MEAN,
            std=IMAGE_STD,
            plain=plain,
        )
        self._net = net
        self._encoder = ImageEncoder(net, compute=compute, plain=plain)
        self._attention = MemoryAttention(net, compute=compute, plain=plain)
        self._compiled: CompiledParts | None = None
        if compiler is not None:
            self._compiled = CompiledParts(
                compiler,
                encode=lambda images_n3hw: self._levels(net.forward_image(images_n3hw)),
                attend=MemoryAttention(net, compute=compute, plain=True),
                decode=lambda fused_bchw, *maps: self._decode(fused_bchw, maps, is_cond=False),
                remember=partial(self._remember, is_cond=False),
            )
        self.facts = ModelFacts(
            fingerprint=fingerprint,
            image_size=self.image_size,
            logits_size=self.image_size // 4,
            num_maskmem=int(net.num_maskmem),
            max_obj_ptrs=int(net.max_obj_ptrs_in_encoder) if net.use_obj_ptrs_in_encoder else 1,
            max_cond_frames=int(net.max_cond_frames_in_attn),
            future_ptrs=not net.only_obj_ptrs_in_the_past_for_eval,
        )

    def encode_images(self, images_n3hw: Tensor) -> list[ImageFeatures]:
        """Run the image encoder on N preprocessed frames; features of each, in order."""
        if self._compiled is not None:
            return self._features_of_each(*self._compiled.encode(images_n3hw))
        return self._features_of_each(*self._levels(self._encoder(images_n3hw)))

    def _levels(self, encoded: dict[str, Any]) -> Levels:
        _, levels, pos, sizes = self._net._prepare_backbone_features(encoded)
        return levels, pos[-1], sizes

    def without_memory(self, features: ImageFeatures) -> Tensor:
        """Features for a conditioning frame, which looks at no memory: 1 x C x H/16 x W/16."""
        net = self._net
        if net.directly_add_no_mem_embed:
            return self._to_map(features.tokens_n1c + net.no_mem_embed)
        fused = net.memory_attention(
            curr=[features.tokens_n1c],
            curr_pos=[features.pos_n1c],
            memory=net.no_mem_embed.expand(1, 1, net.mem_dim),
            memory_pos=net.no_mem_pos_enc.expand(1, 1, net.mem_dim),
            num_obj_ptr_tokens=0,
        )
        return self._to_map(fused)

    def with_memory(self, features: ImageFeatures, memory: AttendedMemory) -> Tensor:
        """Fuse a frame with the memories of B objects: B x C x H/16 x W/16.

        Follows `SAM2Base._prepare_memory_conditioned_features`.
        """
        net = self._net
        num_objects = memory.maskmem_bchw[0].shape[0]
        tokens = [m.flatten(2).permute(2, 0, 1) for m in memory.maskmem_bchw]
        spatial_pos = self._maskmem_pos()
        if memory.pool > 1:
            tokens = [pool_tokens(m.float(), memory.pool) for m in tokens]
            spatial_pos = pool_tokens(spatial_pos.float(), memory.pool)
        temporal_pos = net.maskmem_tpos_enc
        pos = [
            (spatial_pos + temporal_pos[net.num_maskmem - t - 1]).expand(-1, num_objects, -1)
            for t in memory.temporal_positions
        ]
        num_ptr_tokens = 0
        if memory.obj_ptr_bc:
            ptrs, ptr_pos = self._pointer_tokens(memory, num_objects)
            tokens.append(ptrs)
            pos.append(ptr_pos)
            num_ptr_tokens = ptrs.shape[0]
        # Spatial memories alone would stay bfloat16, which float32 layers and float16 refuse.
        memory_tokens = torch.cat([one.float() for one in tokens])
        if memory.pool > 1:
            return self._to_map(
                attend_pooled(
                    *(net, features, memory_tokens, torch.cat(pos)),
                    num_ptr_tokens=num_ptr_tokens,
                    pool=memory.pool,
                )
            )
        attend: Callable[..., Tensor] = self._attention
        if self._compiled is not None and self._compiled.attends(memory, self.facts):
            attend = self._compiled.attend
        fused = attend(
            features.tokens_n1c,
            features.pos_n1c,
            memory_tokens,
            torch.cat(pos, dim=0),
            num_ptr_tokens=num_ptr_tokens,
        )
        return self._to_map(fused)

    def decode(
        self,
        fused_bchw: Tensor,
        features: ImageFeatures,
        *,
        is_cond: bool,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        prior_logits_b1hw: Tensor | None = None,
        multimask: bool | None = None,
    ) -> Candidates:
        """Run prompt encoder and mask decoder; see `TrackingModel.decode`.

        Follows the first half of `SAM2Base._forward_sam_heads`; the second is `pick`. Without
        clicks on a picture it follows `SAM2ImagePredictor._predict`.
        """
        maps = features.high_res_1chw
        if self._compiled is not None and not is_cond and points_bp2 is prior_logits_b1hw is None:
            found = self._compiled.decode(fused_bchw, maps)
            if found is not None:
                return Candidates(*found)
        return Candidates(
            *self._decode(
                *(fused_bchw, maps),
                is_cond=is_cond,
                points_bp2=points_bp2,
                labels_bp=labels_bp,
                masks=prior_logits_b1hw,
                multimask=multimask,
            )
        )

    def _decode(
        self,
        fused_bchw: Tensor,
        high_res_1chw: Sequence[Tensor],
        *,
        is_cond: bool,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool | None = None,
    ) -> Decoded:
        net = self._net
        num_objects = fused_bchw.shape[0]
        prompt = None
        if points_bp2 is None:
            # No click at all is one click with label -1.
            points_bp2 = torch.zeros(num_objects, 1, 2, device=self.device)
            labels_bp = -torch.ones(num_objects, 1, dtype=torch.int32, device=self.device)
        elif points_bp2.shape[1] > 0:
            prompt = {"point_coords": points_bp2, "point_labels": labels_bp}
        clicks = (points_bp2, labels_bp) if points_bp2.shape[1] > 0 else None
        if multimask is None:
            multimask = net._use_multimask(is_cond, prompt)
        size = net.sam_prompt_encoder.mask_input_size
        if masks is not None and masks.shape[-2:] != size:
            masks = F.interpolate(
                masks.float(), size=size, align_corners=False, mode="bilinear", antialias=True
            )
        sparse, dense = net.sam_prompt_encoder(points=clicks, boxes=None, masks=masks)
        logits, ious, tokens, score = net.sam_mask_decoder(
            image_embeddings=fused_bchw,
            image_pe=net.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=_for_all(high_res_1chw, num_objects),
        )
        return logits, ious.float(), tokens, score

    def pick(
        self, candidates: Candidates, index_b: Tensor, *, present_above: float = 0.0
    ) -> DecodedMasks:
        """Take one candidate of each object; see `TrackingModel.pick`.

        Follows the second half of `SAM2Base._forward_sam_heads`.
        """
        net = self._net
        rows = torch.arange(index_b.shape[0], device=self.device)
        logits = candidates.logits_bmhw[rows, index_b].unsqueeze(1)
        tokens = candidates.tokens_bkc
        token = tokens[rows, index_b] if tokens.shape[1] > 1 else tokens[:, 0]
        obj_ptr = net.obj_ptr_proj(token)
        if net.pred_obj_scores:
            present_b1 = candidates.score_b1 > present_above
            logits = torch.where(present_b1[:, None, None], logits, NO_OBJ_SCORE)
            share = candidates.score_b1.sigmoid() if net.soft_no_obj_ptr else present_b1.float()
            if net.fixed_no_obj_ptr:
                obj_ptr = share * obj_ptr
            obj_ptr = obj_ptr + (1 - share) * net.no_obj_ptr
        return DecodedMasks(
            logits.float(), candidates.ious_bm[rows, index_b], obj_ptr, candidates.score_b1
        )

    def mask_to_output(self, features: ImageFeatures, mask_hw: NDArray[np.bool_]) -> DecodedMasks:
        """Take a given mask (any size) as the output of a conditioning frame.

        Follows `SAM2VideoPredictor.add_new_mask` and `SAM2Base._use_mask_as_output`; models that
        were trained to decode mask prompts do that instead.
        """
        mask = mask_at_input_size(mask_hw, image_size=self.image_size, device=self.device)
        if not self._net.use_mask_input_as_output_without_sam:
            candidates = self.decode(
                self.without_memory(features), features, is_cond=True, prior_logits_b1hw=mask
            )
            return self.pick(candidates, candidates.ious_bm.argmax(dim=1))
        out = self._net._use_mask_as_output(
            self._to_map(features.tokens_n1c), _for_all(features.high_res_1chw, 1), mask
        )
        _, _, ious, logits, _, obj_ptr, score = out
        return DecodedMasks(logits, ious.float().max(dim=1).values, obj_ptr, score)

    def encode_memory(
        self, features: ImageFeatures, decoded: DecodedMasks, *, is_cond: bool
    ) -> Tensor:
        """Fuse a frame's features with B masks: spatial memories, B x 64 x H/16 x W/16, bfloat16.

        bfloat16 also when computing in float32, as the package's predictor stores them: other
        bits in memory would be other masks.
        """
        given = (features.tokens_n1c, decoded.logits_b1hw, decoded.score_b1)
        found = None
        if self._compiled is not None and not is_cond:
            found = self._compiled.remember(*given)
        return self._remember(*given, is_cond=is_cond) if found is None else found

    def _remember(
        self, tokens_n1c: Tensor, logits_b1hw: Tensor, score_b1: Tensor, *, is_cond: bool
    ) -> Tensor:
        high_res = F.interpolate(
            logits_b1hw, size=(self.image_size, self.image_size), mode="bilinear"
        )
        maskmem, _ = self._net._encode_new_memory(
            current_vision_feats=[tokens_n1c.expand(-1, logits_b1hw.shape[0], -1)],
            feat_sizes=[(self.feature_size, self.feature_size)],
            pred_masks_high_res=high_res,
            object_score_logits=score_b1,
            is_mask_from_pts=is_cond,
        )
        result: Tensor = maskmem.to(torch.bfloat16)
        return result

    def _pointer_tokens(self, memory: AttendedMemory, num_objects: int) -> tuple[Tensor, Tensor]:
        """Object pointers as memory tokens and their temporal encoding, each N x B x mem_dim."""
        net = self._net
        ptrs = torch.stack(list(memory.obj_ptr_bc), dim=0)
        pos = ptrs.new_zeros(len(memory.ptr_ages), num_objects, net.mem_dim)
        if net.add_tpos_enc_to_obj_ptrs:
            ages_nb = send(torch.tensor(memory.ptr_ages), self.device)
            if not net.use_signed_tpos_enc_to_obj_ptrs:
                ages_nb = ages_nb.abs()
            dim = net.hidden_dim if net.proj_tpos_enc_in_obj_ptrs else net.mem_dim
            pos = net.obj_ptr_tpos_proj(get_1d_sine_pe(ages_nb / memory.max_ptr_age, dim=dim))
        split = net.hidden_dim // net.mem_dim
        if split > 1:
            # A pointer is wider than a memory token: it becomes several.
            ptrs = ptrs.reshape(-1, num_objects, split, net.mem_dim)
            ptrs = ptrs.permute(0, 2, 1, 3).flatten(0, 1)
            pos = pos.repeat_interleave(split, dim=0)
        return ptrs, pos

    def _maskmem_pos(self) -> Tensor:
        """Position encoding of a spatial memory, (H/16 * W/16) x 1 x 64."""
        encoding = self._net.memory_encoder.position_encoding
        like = torch.empty(1, 1, self.feature_size, self.feature_size, device=self.device)
        # The package casts it to the dtype of the memory encoder's output.
        dtype = self.compute.dtype
        pos: Tensor = encoding(like).to(dtype)
        return pos.flatten(2).permute(2, 0, 1)


def _for_all(maps_1chw: Sequence[Tensor], num_objects: int) -> list[Tensor] | None:
    if not maps_1chw:
        return None
    return [fmap.expand(num_objects, -1, -1, -1) for fmap in maps_1chw]
