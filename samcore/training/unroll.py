"""Tracking a batch of clips with gradients, as inference does it frame by frame.

Follows `SAM2Base.track_step` (sam2 1.1.0) with three differences, each so that there is something
to learn from: all candidate masks are kept, an absent object's mask keeps its logits, and memory
can be told the truth.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.models.sam2.adapter import IMAGE_MEAN, IMAGE_STD
from samcore.training.config import LossWeights, PromptKind
from samcore.training.losses import FrameLoss, frame_loss
from samcore.training.prompting import PromptBatch, add_correction, draw_prompts

_VIDEO_FRAMES = 1000
"""Length that the pointers' temporal encoding is told: that of any video past 16 frames."""
_SURE = 100.0
"""A logit whose sigmoid is 1."""


@dataclass(frozen=True, slots=True)
class UnrollPlan:
    """What one step does with its clips."""

    kind: PromptKind
    """How the first frame is prompted."""
    reprompt_at: int | None
    """A later frame that is prompted as well."""
    given_memory: float
    """Chance that a memory is made from the true mask."""
    given_presence: float
    """Chance that a memory is told the true presence."""
    balance: float
    """See `frame_loss`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Features:
    """All frames of a batch, encoded; each gathered by row and time when needed."""

    tokens_nlc: Tensor
    pos_l1c: Tensor
    high_res_nchw: tuple[Tensor, ...]
    row_clip_r: Tensor
    num_frames: int

    def at(self, t: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Tokens L x R x C, their positions, and the high-resolution maps of frame t."""
        index = self.row_clip_r * self.num_frames + t
        tokens = self.tokens_nlc[index].transpose(0, 1)
        return tokens, self.pos_l1c.expand_as(tokens), [m[index] for m in self.high_res_nchw]


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    logits_rmhw: Tensor
    ious_rm: Tensor
    tokens_rmc: Tensor
    scores_r1: Tensor
    chosen_r: Tensor


def run_clips(
    net: Any,
    images_sthw3: Tensor,
    masks_rthw: Tensor,
    *,
    plan: UnrollPlan,
    weights: LossWeights,
    loss_stride: int,
    rng: np.random.Generator,
) -> list[FrameLoss]:
    """Track the objects of a batch of clips; the loss of each frame.

    Args:
        net: The network, in training mode.
        images_sthw3: S x T x H x W x 3, uint8, on the network's device.
        masks_rthw: R x T x H x W, bool; the objects of one clip together.
        plan: What to do.
        weights: Factors of the loss.
        loss_stride: Masks are compared at the input size divided by this.
        rng: Source of prompts and of the rows that are told the truth.
    """
    features = _encode(net, images_sthw3, masks_rthw.shape[0])
    truth_rthw = F.avg_pool2d(masks_rthw.float(), loss_stride)
    outputs: dict[str, dict[int, dict[str, Any]]] = {
        "cond_frame_outputs": {},
        "non_cond_frame_outputs": {},
    }
    losses = []
    for t in range(masks_rthw.shape[1]):
        is_cond = t in (0, plan.reprompt_at)
        mask_rhw = masks_rthw[:, t]
        tokens, pos, high_res = features.at(t)
        if is_cond:
            decoded, memory_logits = _prompted(
                net, tokens, high_res, mask_rhw, kind=plan.kind, rng=rng
            )
        else:
            fused = net._prepare_memory_conditioned_features(
                frame_idx=t,
                is_init_cond_frame=False,
                current_vision_feats=[tokens],
                current_vision_pos_embeds=[pos],
                feat_sizes=[_grid(net)],
                output_dict=outputs,
                num_frames=_VIDEO_FRAMES,
            )
            decoded = _decode(net, fused, high_res, None, is_cond=False)
            memory_logits = _chosen_logits(net, decoded)
        losses.append(
            frame_loss(
                decoded.logits_rmhw.float(),
                decoded.ious_rm.float(),
                decoded.scores_r1.float(),
                truth_rthw[:, t],
                chosen_r=decoded.chosen_r,
                weights=weights,
                balance=plan.balance,
            )
        )
        place = "cond_frame_outputs" if is_cond else "non_cond_frame_outputs"
        if t + 1 < masks_rthw.shape[1]:
            outputs[place][t] = _remember(
                net, tokens, decoded, memory_logits, mask_rhw, plan=plan, is_cond=is_cond, rng=rng
            )
    return losses


def _encode(net: Any, images_sthw3: Tensor, num_rows: int) -> _Features:
    clips, frames = images_sthw3.shape[:2]
    stats = torch.tensor([IMAGE_MEAN, IMAGE_STD], device=images_sthw3.device)[:, :, None, None]
    images = images_sthw3.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    out = net.forward_image((images - stats[0]) / stats[1])
    _, feats, pos, sizes = net._prepare_backbone_features(out)
    maps = tuple(
        feat.permute(1, 2, 0).reshape(feat.shape[1], feat.shape[2], *size)
        for feat, size in zip(feats[:-1], sizes[:-1], strict=True)
    )
    rows = torch.arange(num_rows, device=images.device) // (num_rows // clips)
    return _Features(feats[-1].transpose(0, 1), pos[-1][:, :1], maps, rows, frames)


def _prompted(
    net: Any,
    tokens_lrc: Tensor,
    high_res: list[Tensor],
    mask_rhw: Tensor,
    *,
    kind: PromptKind,
    rng: np.random.Generator,
) -> tuple[_Decoded, Tensor]:
    """A conditioning frame: what the decoder says, and the mask logits that memory is made of."""
    truth: NDArray[np.bool_] = mask_rhw.cpu().numpy()
    prompts = draw_prompts(rng, truth, kind)
    if prompts.masks_r1hw is not None:
        # A given mask is the output; the decoder only makes its pointer, and learns by repeating
        # the mask. The package adds no embedding for "no memory" here.
        given = prompts.masks_r1hw.to(tokens_lrc.device)
        fused = _to_map(net, tokens_lrc)
        decoded = _decode(
            net, fused, high_res, None, is_cond=True, prior=net.mask_downsample(given), single=True
        )
        return decoded, (given * 2 - 1) * 10
    fused = _to_map(net, tokens_lrc + net.no_mem_embed)
    decoded = _decode(net, fused, high_res, prompts, is_cond=True)
    if kind == "correction":
        shown = _chosen_logits(net, decoded)
        predicted: NDArray[np.bool_] = (shown[:, 0] > 0).cpu().numpy()
        prompts = add_correction(rng, prompts, truth, predicted)
        prior = _gather(decoded.logits_rmhw, decoded.chosen_r).detach().clamp(-32, 32)
        decoded = _decode(net, fused, high_res, prompts, is_cond=True, prior=prior)
    # The predictor makes the memory of clicked frames from the binary mask that a person sees.
    sure = torch.where(_chosen_logits(net, decoded) > 0, _SURE, -_SURE)
    return decoded, sure


def _decode(
    net: Any,
    fused_rchw: Tensor,
    high_res: list[Tensor],
    prompts: PromptBatch | None,
    *,
    is_cond: bool,
    prior: Tensor | None = None,
    single: bool = False,
) -> _Decoded:
    rows, device = fused_rchw.shape[0], fused_rchw.device
    if prompts is None or prompts.points_rp2 is None or prompts.labels_rp is None:
        points = torch.zeros(rows, 1, 2, device=device)
        labels = -torch.ones(rows, 1, dtype=torch.int32, device=device)
        multimask = not single and net._use_multimask(is_cond, None)
    else:
        points, labels = prompts.points_rp2.to(device), prompts.labels_rp.to(device)
        multimask = not single and net._use_multimask(is_cond, {"point_labels": labels})
    sparse, dense = net.sam_prompt_encoder(points=(points, labels), boxes=None, masks=prior)
    logits, ious, tokens, scores = net.sam_mask_decoder.predict_masks(
        image_embeddings=fused_rchw,
        image_pe=net.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=high_res,
    )
    if multimask:
        chosen = 1 + ious[:, 1:].argmax(dim=1)
    else:
        chosen = torch.zeros(rows, dtype=torch.int64, device=device)
    return _Decoded(logits, ious, tokens, scores, chosen)


def _remember(
    net: Any,
    tokens_lrc: Tensor,
    decoded: _Decoded,
    logits_r1hw: Tensor,
    mask_rhw: Tensor,
    *,
    plan: UnrollPlan,
    is_cond: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """What a frame leaves behind, in the form that the package's memory code reads."""
    rows, device = mask_rhw.shape[0], mask_rhw.device
    told_mask = torch.from_numpy(rng.uniform(size=(rows, 1, 1, 1)) < plan.given_memory).to(device)
    told_presence = torch.from_numpy(rng.uniform(size=(rows, 1)) < plan.given_presence).to(device)
    truly = mask_rhw.flatten(1).any(dim=1, keepdim=True)
    present_r1 = torch.where(told_presence | told_mask[:, :, 0, 0], truly, decoded.scores_r1 > 0)
    if not is_cond:
        given = (mask_rhw[:, None].float() * 2 - 1) * 10
        logits_r1hw = torch.where(told_mask, given, logits_r1hw)
    logits_r1hw = torch.where(present_r1[:, :, None, None], logits_r1hw, -1024.0)
    maskmem, maskmem_pos = net._encode_new_memory(
        current_vision_feats=[tokens_lrc],
        feat_sizes=[_grid(net)],
        pred_masks_high_res=logits_r1hw,
        object_score_logits=present_r1.float() * 20 - 10,
        is_mask_from_pts=False,
    )
    # As inference: without competing masks the first token speaks.
    ptr = net.obj_ptr_proj(_gather(decoded.tokens_rmc, decoded.chosen_r)[:, 0])
    shown = present_r1.float()
    return {
        "maskmem_features": maskmem,
        "maskmem_pos_enc": maskmem_pos,
        "obj_ptr": shown * ptr + (1 - shown) * net.no_obj_ptr,
    }


def _chosen_logits(net: Any, decoded: _Decoded) -> Tensor:
    """The shown mask's logits at the input size, R x 1 x H x W, without gradient."""
    chosen = _gather(decoded.logits_rmhw, decoded.chosen_r).detach().float()
    size = (net.image_size, net.image_size)
    return F.interpolate(chosen, size=size, mode="bilinear", align_corners=False)


def _gather(values_rm: Tensor, chosen_r: Tensor) -> Tensor:
    """Pick one of M per row: R x 1 x ..."""
    rows = torch.arange(values_rm.shape[0], device=values_rm.device)
    return values_rm[rows, chosen_r][:, None]


def _grid(net: Any) -> tuple[int, int]:
    side = int(net.sam_image_embedding_size)
    return side, side


def _to_map(net: Any, tokens_lrc: Tensor) -> Tensor:
    _, rows, channels = tokens_lrc.shape
    return tokens_lrc.permute(1, 2, 0).reshape(rows, channels, *_grid(net))
