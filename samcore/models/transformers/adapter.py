"""The door to the video models of the package `transformers`.

Longtake keeps its own tracking memory; of a model it uses the network: image encoder, memory
attention, prompt encoder, mask decoder, memory encoder. One adapter carries all three families,
whose classes have the same parts under the same names.

The computations follow `modeling_sam2_video.py`, `modeling_sam3_tracker_video.py` and
`modeling_edgetam_video.py` of transformers 5.24. Where these differ from Meta's own code, this
follows Meta's, as `samcore/models/sam2/adapter.py` does:

- The memory of a mask prompt is made from its low-resolution logits; transformers takes the mask
  at the model's full size.
- The pointer of a mask prompt is the token of the single mask; transformers takes the best
  of three.
- A frame's masks are binarised for the memory of the objects that are prompted on it; transformers
  binarises those of all objects once one is prompted.
- Pointers of selected conditioning frames are attended to; transformers takes those of all.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE, get_1d_sine_pe

from samcore.machine.device import Compute
from samcore.machine.transfer import send
from samcore.models.adapter import Adapter
from samcore.models.family import (
    AttendedMemory,
    Candidates,
    DecodedMasks,
    ImageFeatures,
    ModelFacts,
    check_memory_pool,
)
from samcore.models.pixels import Rgb, mask_at_input_size
from samcore.models.text import no_text
from samcore.models.transformers.attention import can_fold, fused_tokens
from samcore.models.transformers.concepts import Sam3Heads, load_heads

_INSIDE, _OUTSIDE = 10.0, -10.0
"""Logits of a given mask (`_use_mask_as_output`)."""


class TransformersModel(Adapter):
    """A network of the package transformers."""

    def __init__(
        self,
        net: Any,
        *,
        mean: Rgb,
        std: Rgb,
        compute: Compute,
        fingerprint: str,
        plain: bool = False,
        with_detector: Path | None = None,
    ) -> None:
        """Wrap a network.

        Args:
            net: A `Sam2VideoModel`, `Sam3TrackerVideoModel` or `EdgeTamVideoModel` on the device.
            mean, std: Of the pictures that it was trained with, red, green, blue from 0 to 1.
            compute: Device and precision.
            fingerprint: Of the model, which states and results carry.
            plain: Whether to compute everything as the package does.
            with_detector: The folder that the network is from, if it holds SAM 3's detector, too.
        """
        super().__init__(
            compute=compute,
            image_size=int(net.prompt_encoder.input_image_size),
            feature_size=int(net.backbone_feature_sizes[-1][0]),
            mean=mean,
            std=std,
            plain=plain,
        )
        self._net = net
        self._with_detector = with_detector
        self._heads: Sam3Heads | None = None
        self._is_folded = not plain and can_fold(net.memory_attention, compute)
        self.facts = ModelFacts(
            fingerprint=fingerprint,
            image_size=self.image_size,
            logits_size=int(net.prompt_encoder.mask_input_size[0]),
            num_maskmem=int(net.num_maskmem),
            max_obj_ptrs=int(net.config.max_object_pointers_in_encoder),
            max_cond_frames=int(net.config.max_cond_frame_num),
            future_ptrs=False,
        )

    def encode_images(self, images_n3hw: Tensor) -> list[ImageFeatures]:
        """Run the image encoder on N preprocessed frames; features of each, in order."""
        out = self._net.get_image_features(images_n3hw, return_dict=True)
        features = self._features_of_each(
            out.fpn_hidden_states,
            out.fpn_position_encoding[-1],
            self._net.backbone_feature_sizes,
        )
        if self._heads is None:
            return features
        trunk_bnc = out.last_hidden_state
        return [replace(one, trunk_1nc=trunk_bnc[i : i + 1]) for i, one in enumerate(features)]

    def text_heads(self, texts: Sequence[str]) -> Sam3Heads:
        """What finds texts on this model's features; see `samcore/models/text.py`.

        The last ones are kept, and one network serves all texts.

        Raises:
            InputError: The model has no detector, or a text is too long.
            ModelError: The detector's weights cannot be used.
        """
        if self._with_detector is None:
            raise no_text("that is loaded")
        if self._heads is None or self._heads.texts != tuple(texts):
            self._heads = load_heads(
                self._with_detector, texts, device=self.device, known=self._heads
            )
        return self._heads

    def without_memory(self, features: ImageFeatures) -> Tensor:
        """Features for a conditioning frame, which looks at no memory: 1 x C x h x w."""
        return self._to_map(features.tokens_n1c + self._net.no_memory_embedding)

    def with_memory(self, features: ImageFeatures, memory: AttendedMemory) -> Tensor:
        """Fuse a frame with the memories of B objects: B x C x h x w.

        Follows `_prepare_memory_conditioned_features`.

        Raises:
            InputError: Memories are to be pooled.
        """
        check_memory_pool("transformers", memory.pool)
        net = self._net
        num_objects = memory.maskmem_bchw[0].shape[0]
        tokens = [self._memory_tokens(maskmem) for maskmem in memory.maskmem_bchw]
        spatial_pos = self._memory_pos()
        temporal_pos = net.memory_temporal_positional_encoding
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
        memory_lbm, memory_pos_lbm = torch.cat([one.float() for one in tokens]), torch.cat(pos)
        if self._is_folded:
            return self._to_map(
                fused_tokens(
                    net.memory_attention,
                    features.tokens_n1c,
                    features.pos_n1c,
                    memory_lbm,
                    memory_pos_lbm,
                    num_ptr_tokens=num_ptr_tokens,
                )
            )
        fused = net.memory_attention(
            current_vision_features=features.tokens_n1c.expand(-1, num_objects, -1),
            current_vision_position_embeddings=features.pos_n1c.expand(-1, num_objects, -1),
            memory=memory_lbm,
            memory_posision_embeddings=memory_pos_lbm,
            num_object_pointer_tokens=num_ptr_tokens,
            **self._attention_options(len(memory.maskmem_bchw)),
        )
        # 1 x B x N x C
        return self._to_map(fused[0].transpose(0, 1))

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

        Follows the first half of `_single_frame_forward`, which mixes up objects in a batch; the
        second is `pick`. No clicks are one with label -1, on pictures, too.
        """
        if points_bp2 is not None and points_bp2.shape[1] == 0:
            points_bp2 = labels_bp = None
        if multimask is None:
            multimask = self._multimask(is_cond, labels_bp)
        return self._decode(
            fused_bchw,
            features,
            points_bp2=points_bp2,
            labels_bp=labels_bp,
            prior_logits_b1hw=prior_logits_b1hw,
            multimask=multimask,
        )

    def pick(
        self, candidates: Candidates, index_b: Tensor, *, present_above: float = 0.0
    ) -> DecodedMasks:
        """Take one candidate of each object; see `TrackingModel.pick`."""
        net = self._net
        rows = torch.arange(index_b.shape[0], device=self.device)
        logits = candidates.logits_bmhw[rows, index_b].unsqueeze(1)
        tokens = candidates.tokens_bkc
        token = tokens[rows, index_b] if tokens.shape[1] > 1 else tokens[:, 0]
        present_b1 = candidates.score_b1 > present_above
        logits = torch.where(present_b1[:, None, None], logits, NO_OBJ_SCORE)
        share = present_b1.float()
        obj_ptr = share * net.object_pointer_proj(token) + (1 - share) * net.no_object_pointer
        return DecodedMasks(
            logits.float(), candidates.ious_bm[rows, index_b], obj_ptr, candidates.score_b1
        )

    def mask_to_output(self, features: ImageFeatures, mask_hw: NDArray[np.bool_]) -> DecodedMasks:
        """Take a given mask (any size) as the output of a conditioning frame.

        Follows `_use_mask_as_output`, with the pointer as in `SAM2Base._use_mask_as_output`.
        """
        net = self._net
        mask = mask_at_input_size(mask_hw, image_size=self.image_size, device=self.device)
        candidates = self._decode(
            self._to_map(features.tokens_n1c),
            features,
            prior_logits_b1hw=net.mask_downsample(mask),
            multimask=False,
        )
        pointer_1c = self.pick(
            candidates, torch.zeros(1, dtype=torch.int64, device=self.device)
        ).obj_ptr_bc
        present_11 = mask.flatten(1).any(dim=1, keepdim=True).float()
        logits = F.interpolate(
            mask * (_INSIDE - _OUTSIDE) + _OUTSIDE,
            size=(self.facts.logits_size, self.facts.logits_size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        return DecodedMasks(
            logits_b1hw=logits,
            ious_b=torch.ones(1, device=self.device),
            obj_ptr_bc=present_11 * pointer_1c + (1 - present_11) * net.no_object_pointer,
            score_b1=present_11 * (_INSIDE - _OUTSIDE) + _OUTSIDE,
        )

    def encode_memory(
        self, features: ImageFeatures, decoded: DecodedMasks, *, is_cond: bool
    ) -> Tensor:
        """Fuse a frame's features with B masks: spatial memories, B x 64 x h x w, bfloat16.

        bfloat16 also when computing in float32, as transformers and the sam2 package keep them.
        """
        num_objects = decoded.logits_b1hw.shape[0]
        tokens_nbc, _ = self._net._encode_new_memory(
            current_vision_feats=features.tokens_n1c.expand(-1, num_objects, -1),
            pred_masks_high_res=self._at_input_size(decoded.logits_b1hw),
            # With fewer axes the embedding of absence would go to the wrong ones.
            object_score_logits=decoded.score_b1[:, :, None],
            is_mask_from_pts=is_cond,
        )
        return self._to_map(tokens_nbc)

    def _decode(
        self,
        fused_bchw: Tensor,
        features: ImageFeatures,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        prior_logits_b1hw: Tensor | None = None,
        multimask: bool,
    ) -> Candidates:
        net = self._net
        num_objects = fused_bchw.shape[0]
        if points_bp2 is None or labels_bp is None:
            # No click at all is one click with label -1.
            points_bp2 = torch.zeros(num_objects, 1, 2, device=self.device)
            labels_bp = -torch.ones(num_objects, 1, dtype=torch.int32, device=self.device)
        masks = prior_logits_b1hw
        size = net.prompt_encoder.mask_input_size
        if masks is not None and masks.shape[-2:] != tuple(size):
            masks = F.interpolate(
                masks.float(), size=size, align_corners=False, mode="bilinear", antialias=True
            )
        sparse, dense = net.prompt_encoder(
            input_points=points_bp2[:, None],
            input_labels=labels_bp[:, None],
            input_boxes=None,
            input_masks=masks,
        )
        image_pos = net.get_image_wide_positional_embeddings()
        logits, ious, tokens, score = net.mask_decoder(
            image_embeddings=fused_bchw,
            image_positional_embeddings=image_pos.repeat(num_objects, 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            high_resolution_features=[
                fmap.expand(num_objects, -1, -1, -1) for fmap in features.high_res_1chw
            ],
        )
        # The second axis counts the prompts of an object: one.
        return Candidates(logits[:, 0], ious[:, 0].float(), tokens[:, 0], score[:, 0])

    def _multimask(self, is_cond: bool, labels_bp: Tensor | None) -> bool:
        """Whether three masks compete, as the model has it for a frame with these clicks."""
        clicks = None if labels_bp is None else {"point_labels": labels_bp[:, None]}
        return bool(self._net._use_multimask(is_cond, clicks))

    def _at_input_size(self, logits_b1hw: Tensor) -> Tensor:
        size = (self.image_size, self.image_size)
        return F.interpolate(logits_b1hw, size=size, mode="bilinear", align_corners=False)

    def _memory_tokens(self, maskmem: Tensor) -> Tensor:
        """A batch of spatial memories as tokens, N x B x mem_dim."""
        return maskmem.flatten(2).permute(2, 0, 1)

    def _memory_pos(self) -> Tensor:
        """Position encoding of a spatial memory, N x 1 x mem_dim."""
        net = self._net
        shape = torch.Size((1, net.mem_dim, self.feature_size, self.feature_size))
        pos: Tensor = net.memory_encoder.position_encoding(shape, self.device, torch.float32)
        return pos.to(self.compute.dtype).flatten(2).permute(2, 0, 1)

    def _attention_options(self, num_memories: int) -> dict[str, int]:
        """What a family's memory attention wants to know besides."""
        return {}

    def _pointer_tokens(self, memory: AttendedMemory, num_objects: int) -> tuple[Tensor, Tensor]:
        """Object pointers as memory tokens and their temporal encoding, each N x B x mem_dim.

        Follows `_process_object_pointers`.
        """
        net = self._net
        ptrs = torch.stack(list(memory.obj_ptr_bc), dim=0)
        pos = ptrs.new_zeros(len(memory.ptr_ages), num_objects, net.mem_dim)
        if net.config.enable_temporal_pos_encoding_for_object_pointers:
            ages_nb = send(torch.tensor(memory.ptr_ages, dtype=torch.float32), self.device)
            sine = get_1d_sine_pe(ages_nb / memory.max_ptr_age, dim=net.hidden_dim).to(ptrs.dtype)
            pos = net.temporal_positional_encoding_projection_layer(sine)
        split = net.hidden_dim // net.mem_dim
        if split > 1:
            # A pointer is wider than a memory token: it becomes several.
            ptrs = ptrs.reshape(-1, num_objects, split, net.mem_dim)
            ptrs = ptrs.permute(0, 2, 1, 3).flatten(0, 1)
            pos = pos.repeat_interleave(split, dim=0)
        return ptrs, pos


class EdgeTamModel(TransformersModel):
    """EdgeTAM, which keeps 512 tokens of a frame where the others keep a map."""

    def encode_memory(
        self, features: ImageFeatures, decoded: DecodedMasks, *, is_cond: bool
    ) -> Tensor:
        """Fuse a frame's features with B masks: B x 512 x 64 tokens, float32 as in transformers."""
        high_res_b1hw = self._at_input_size(decoded.logits_b1hw)
        # One by one: the perceiver cannot take several.
        return torch.cat(
            [
                self._net._encode_new_memory(
                    current_vision_feats=features.tokens_n1c,
                    pred_masks_high_res=high_res_b1hw[row : row + 1],
                    object_score_logits=decoded.score_b1[row : row + 1, :, None],
                    is_mask_from_pts=is_cond,
                )[0]
                for row in range(len(high_res_b1hw))
            ]
        )

    def _memory_tokens(self, maskmem: Tensor) -> Tensor:
        return maskmem.transpose(0, 1)

    def _memory_pos(self) -> Tensor:
        """Tokens of the first half have no place in the picture; the others lie on a grid."""
        perceiver = self._net.spatial_perceiver
        side = math.isqrt(perceiver.num_latents_2d)
        shape = torch.Size((1, perceiver.hidden_size, side, side))
        grid: Tensor = perceiver.positional_encoding(shape, self.device, torch.float32)
        grid_n1c = grid.flatten(2).permute(2, 0, 1)
        nowhere_n1c = grid.new_zeros(perceiver.num_latents_1d, 1, perceiver.hidden_size)
        return torch.cat([nowhere_n1c, grid_n1c]).to(self.compute.dtype)

    def _attention_options(self, num_memories: int) -> dict[str, int]:
        return {"num_spatial_memory_tokens": num_memories}
