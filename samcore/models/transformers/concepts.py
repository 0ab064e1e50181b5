"""SAM 3's detector of what texts say, on the features of its tracker.

The computations are those of `modeling_sam3.py` of transformers 5.24, whose parts are used as they
are. The image encoder's trunk (most of the work) is the tracker's: its weights are the same, and
are not loaded a second time. The text encoder is used on the CPU and in float32, one text at a
time, and dropped: what a text is to the detector depends on the text alone, and is kept.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from samcore.models.family import ImageFeatures
from samcore.models.text import TextFinds
from samcore.models.transformers.words import read_texts

_Read = tuple[Tensor, Tensor]
"""A text, encoded, 1 x L x C; and 1 where a piece is of the text, 0 where it fills up, 1 x L."""
_MOST_TEXTS = 1024
"""Encoded texts that are kept: 32 KiB each."""


class Sam3Heads:
    """Finds texts on the trunk's features; meets `TextHeads`."""

    def __init__(self, net: Any, texts: Sequence[str], read: Mapping[str, _Read]) -> None:
        """Take what `load_heads` has made.

        Args:
            net: A `Sam3Model` without trunk and text encoder, on the device.
            texts: What to look for.
            read: These texts and others that were looked for before, encoded, on the CPU.
        """
        self.texts = tuple(texts)
        self.read = read
        self.net = net
        self._words_klc = torch.cat([read[text][0] for text in texts]).to(net.device)
        self._present_kl = torch.cat([read[text][1] for text in texts]).to(net.device)

    def find(self, features: ImageFeatures, numbers: Sequence[int]) -> TextFinds:
        """Look for some of the texts on one frame; see `TextHeads.find`.

        Follows `Sam3VisionModel.forward` behind the trunk, `Sam3Model.forward`, and the scores of
        `Sam3VideoModel.run_detection`: probability of the text times that it is there at all.

        Raises:
            ValueError: The features were made before these heads were.
        """
        trunk_1nc = features.trunk_1nc
        if trunk_1nc is None:
            raise ValueError("these features were made before the texts were known")
        count, side = len(numbers), round(trunk_1nc.shape[1] ** 0.5)
        levels, positions = self.net.vision_encoder.neck(
            trunk_1nc.view(1, side, side, -1).permute(0, 3, 1, 2)
        )
        picture = Sam3VisionEncoderOutput(
            # One picture for all texts: no copies.
            fpn_hidden_states=tuple(level.expand(count, -1, -1, -1) for level in levels),
            fpn_position_encoding=tuple(pos.expand(count, -1, -1, -1) for pos in positions),
        )
        which = torch.as_tensor(list(numbers), device=self._words_klc.device)
        said = self.net(
            vision_embeds=picture,
            text_embeds=BaseModelOutputWithPooling(pooler_output=self._words_klc[which]),
            attention_mask=self._present_kl[which],
        )
        scores_kq = said.pred_logits.float().sigmoid() * said.presence_logits.float().sigmoid()
        return TextFinds(scores_kq, said.pred_boxes.float(), said.pred_masks.float())


def load_heads(
    folder: Path, texts: Sequence[str], *, device: torch.device, known: Sam3Heads | None = None
) -> Sam3Heads:
    """Load the detector of a folder of SAM 3, and encode texts.

    Args:
        folder: As the hub has it, with tracker, detector and tokenizer.
        texts: What to look for; at least one.
        device: Where the tracker is.
        known: Those of the same folder that look for other texts: their network serves these, too.

    Raises:
        InputError: A text is too long.
        ModelError: The weights or the tokenizer cannot be used.
    """
    before = {} if known is None else known.read
    new = [text for text in texts if text not in before]
    if known is not None and not new:
        return Sam3Heads(known.net, texts, before)
    pieces = read_texts(folder, new)
    loaded = _load(folder)
    read: dict[str, _Read] = {}
    with torch.inference_mode():
        for text, (ids, is_word) in zip(new, pieces, strict=True):
            present_1l = torch.tensor([is_word])
            encoded = loaded.get_text_features(
                input_ids=torch.tensor([ids]), attention_mask=present_1l, return_dict=True
            )
            read[text] = encoded.pooler_output, present_1l
    if known is not None:
        kept = before if len(before) + len(read) <= _MOST_TEXTS else {}
        wanted = {text: before[text] for text in texts if text in before}
        return Sam3Heads(known.net, texts, {**kept, **wanted, **read})
    # Boxes and points as examples are not asked for.
    loaded.vision_encoder.backbone = loaded.text_encoder = loaded.geometry_encoder = None
    return Sam3Heads(loaded.to(device), texts, read)


def _load(folder: Path) -> Any:
    """The detector without trunk, on the CPU."""
    # Late: that module imports the adapter, which imports this one.
    from samcore.models.transformers.network import load_network

    def config_without_trunk() -> Any:
        whole = transformers.Sam3VideoConfig.from_pretrained(folder, local_files_only=True)
        whole.detector_config.vision_config.backbone_config.num_hidden_layers = 0
        return whole.detector_config

    return load_network(
        transformers.Sam3Model, folder, config_without_trunk, attn_implementation="sdpa"
    )
