"""The network to be trained: built, and given first weights from which it learns fast.

The architecture and the names of its weights are the sam2 package's own; only the values that
training starts from differ. Each of them says in a comment what it buys.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samcore.models.sam2.network import build_network

_PLACE_BIAS = 4.0
"""Length of the constant part of queries and keys that makes attention prefer its own place: two
cells away the weight is about e^-6 of that at the same place."""
_PROMPT_GAIN = 1.2
"""Factor of the first queries and keys in the decoder's attentions: a cell under a click gives the
click most of its weight."""
_PROMPT_REACH = 0.6
"""Factor of the random frequencies that encode places: a click is felt within about an eighth of
the picture, half an object's width."""
_QUIET = 0.1
"""Factor of first weights that are to be out of the way."""


def new_network(model_config_file: Path, *, seed: int, image_size: int) -> Any:
    """An untrained network (a `SAM2Base`) in training mode, in float32 on the CPU.

    Raises:
        ModelError: The configuration cannot be used.
    """
    net = build_network(str(model_config_file), None, seed=seed, image_size=image_size)
    with torch.no_grad():
        _say_present_at_first(net)
        _find_prompts(net)
        _keep_to_the_place(net)
    return net.requires_grad_(True).train()


def resized_network(
    net: Any, model_config_file: Path, *, image_size: int, device: torch.device
) -> Any:
    """The same weights for another input size: no weight depends on it, but tables do."""
    other = build_network(str(model_config_file), None, seed=0, image_size=image_size)
    other.load_state_dict(net.state_dict())
    return other.to(device).requires_grad_(True).train()


def _say_present_at_first(net: Any) -> None:
    """Undo the loader's sure "present" of random weights: nothing would ever move it."""
    net.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(1.0)


def _find_prompts(net: Any) -> None:
    """Let the decoder's cross-attentions compare places at first, and hardly anything else.

    A click attends to the place it names, and the picture's cells to the clicks near them, from the
    first step on. With usual first weights random content outshouts the places; training then
    spends thousands of steps on drawing all objects at once, whatever the prompt.

    Half of the channels are *places*: the cross-attentions look at these alone, and what is no
    place (tokens, picture) starts without them. The other half is free for content.
    """
    prompts, decoder = net.sam_prompt_encoder, net.sam_mask_decoder
    prompts.pe_layer.positional_encoding_gaussian_matrix.mul_(_PROMPT_REACH)
    attentions = [decoder.transformer.final_attn_token_to_image]
    for layer in decoder.transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
        _pass_tokens_on(layer.self_attn)
    for attention in attentions:
        proj = attention.q_proj
        picked = _pick_places(proj.weight, attention.num_heads)
        proj.weight.mul_(_QUIET).add_(_PROMPT_GAIN * picked)
        proj.bias.zero_()
        attention.k_proj.load_state_dict(proj.state_dict())
    places = picked.any(dim=0)
    for table in (
        *prompts.point_embeddings,
        prompts.not_a_point_embed,
        decoder.iou_token,
        decoder.mask_tokens,
        decoder.obj_score_token,
    ):
        table.weight[:, places] *= _QUIET
    lateral = net.image_encoder.neck.convs[0].conv
    lateral.weight[places] *= _QUIET
    lateral.bias[places] *= _QUIET


def _pick_places(weight_oi: Tensor, num_heads: int) -> Tensor:
    """A projection that gives each head sines and cosines of its own frequencies.

    A place is encoded as sines in the first half of the channels and cosines of the same
    frequencies in the second. Taken in pairs, the product of two places depends on their distance
    alone, and is greatest at 0.
    """
    out, channels = weight_oi.shape
    pairs = out // num_heads // 2
    picked = torch.zeros_like(weight_oi)
    for row in range(out):
        head, inside = divmod(row, 2 * pairs)
        frequency = head * pairs + inside % pairs
        picked[row, frequency + (channels // 2 if inside >= pairs else 0)] = 1
    return picked


def _pass_tokens_on(attention: Any) -> None:
    """Let each token attend to itself and keep what it says.

    The first self-attention has no residual: with random weights all tokens come out alike, and a
    cell that attends to a click would learn nothing from it.
    """
    for proj in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        proj.weight.mul_(_QUIET).add_(torch.eye(proj.weight.shape[0]))
        proj.bias.zero_()


def _keep_to_the_place(net: Any) -> None:
    """Let half of the heads of memory attention look at the same place in each memory.

    A constant query and key, turned by RoPE, are most alike where they lie at the same place.
    Objects move little between frames, so this carries a mask along before anything is learnt.
    """
    for layer in net.memory_attention.layers:
        attention = layer.cross_attn_image
        width = attention.internal_dim // attention.num_heads
        bias = torch.zeros(attention.num_heads, width)
        bias[: attention.num_heads // 2, ::2] = _PLACE_BIAS
        for proj in (attention.q_proj, attention.k_proj):
            proj.bias.copy_(bias.flatten())


class RunningMean:
    """An exponential mean of a network's weights, kept on their device."""

    def __init__(self, net: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self.weights: dict[str, Tensor] = {
            k: v.detach().clone() for k, v in net.state_dict().items()
        }
        """By the names of the network's state dict."""

    def update(self, net: nn.Module, *, step: int) -> None:
        """Move towards the weights; early on faster, so that the random start is forgotten."""
        decay = min(self._decay, (1 + step) / (10 + step))
        new = net.state_dict()
        torch._foreach_lerp_(
            list(self.weights.values()), [new[name] for name in self.weights], 1 - decay
        )
