"""The detectors `transformers:ORG/NAME`: the networks of the package `transformers` for detection.

Some know the kinds of things that they were trained on (RT-DETR, D-FINE, RF-DETR); others look for
whatever a text says (Grounding DINO, OWLv2). A name is one of the hub, or a folder as the hub has
it. Pictures are looked at one by one, in float32: beside others the last bits of a picture's scores
would depend on those.
"""

from __future__ import annotations  # torch takes a second to import; only types need it here

import copy
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.boxes import boxes_in_picture
from samcore.detectors.detector import (
    Detection,
    Progress,
    find_detector,
)
from samcore.detectors.wanted import least_score
from samcore.errors import InputError, ModelError
from samcore.models.transformers.family import check_installed
from samcore.models.transformers.folder import CONFIG, read_json, weight_files, weights_digest
from samcore.models.transformers.names import HubName, parse_place

if TYPE_CHECKING:
    from torch import Tensor

    from samcore.models.family import TrackingModel
    from samcore.prompts.automatic import AutomaticPrompts

_OPTION = "--detect transformers:"

OF_KINDS = (
    "conditional_detr",
    "d_fine",
    "dab-detr",
    "deformable_detr",
    "deimv2",
    "detr",
    "lw_detr",
    "rf_detr",
    "rt_detr",
    "rt_detr_v2",
    "yolos",
)
"""Types of networks that know kinds of things."""
_GROUNDED, _OWLS = ("grounding-dino", "mm-grounding-dino"), ("owlv2", "owlvit")
BY_TEXT = _GROUNDED + _OWLS
"""Types of networks that look for what a text says."""


class HubDetectorFiles:
    """A folder with a network, on this machine or on the hub."""

    def check(self, what: str, options: AutomaticPrompts) -> None:
        """Any name will do: the folder may lie on another machine."""

    def look_up(self, what: str, options: AutomaticPrompts) -> None:
        check_installed(f"transformers:{what}", option="--detect")
        place = _place(what)
        if isinstance(place, HubName):
            from samcore.models.transformers.hub import look_up

            place = look_up(place)
        _check_config(place, what, options)

    def fetch(
        self,
        what: str,
        options: AutomaticPrompts,
        *,
        cache_dir: Path,
        on_progress: Progress | None = None,
    ) -> str:
        self.look_up(what, options)
        folder = _folder(what, download=True, on_progress=on_progress)
        said = {
            "package": importlib.metadata.version("transformers"),
            "weights": weights_digest(weight_files(folder), cache_dir),
            # The configuration, how pictures are prepared, and the words of the tokenizer.
            "texts": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.iterdir())
                if path.suffix in (".json", ".txt")
            },
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class HubDetector:
    """Finds the things that a network knows, or what a text says."""

    def __init__(self, model: TrackingModel, options: AutomaticPrompts, *, batch: int) -> None:
        """Load the network.

        Args:
            model: Its device is used.
            options: The network's name, the texts, and how sure it must be.
            batch: Not used: pictures are looked at one by one.

        Raises:
            ModelError: The network cannot be used.
        """
        self._what = find_detector(options.detector)[1]
        self._folder = folder = _folder(self._what, download=False)
        self._type = _check_config(folder, self._what, options)
        self._device = model.device
        self._options = options
        self._texts = options.text
        self._processor, net = _load(folder, by_text=self._type in BY_TEXT)
        self._net = net.to(self._device)
        # What is just below is decided by rounded scores, like all.
        self._least = least_score(options) - 1e-4

    def looking_for(self, texts: Sequence[str]) -> HubDetector:
        """The same network, looking for other texts.

        Raises:
            InputError: It takes no text, or not these.
        """
        options = self._options.model_copy(update={"text": tuple(texts)})
        _check_config(self._folder, self._what, options)
        other = copy.copy(self)
        other._options, other._texts = options, options.text
        other._least = least_score(options) - 1e-4
        return other

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Find boxes. With texts, an object's label is the text that fits best.

        Raises:
            InputError: The texts are longer than the network takes.
        """
        import torch

        from samcore.machine.device import repeatable_kernels

        found = []
        for done, image_hwc in enumerate(images_rgb_hwc_u8, start=1):
            with torch.inference_mode(), repeatable_kernels():
                boxes_n4, scores_n, labels = self._look(np.ascontiguousarray(image_hwc))
            found.append(
                boxes_in_picture(
                    boxes_n4.double().cpu().numpy(),
                    scores_n.double().cpu().numpy(),
                    labels,
                    (image_hwc.shape[0], image_hwc.shape[1]),
                )
            )
            if on_progress is not None:
                on_progress(done, len(images_rgb_hwc_u8))
        return found

    def _look(self, image_hwc: NDArray[np.uint8]) -> tuple[Tensor, Tensor, list[str]]:
        given: dict[str, Any] = {"images": image_hwc, "return_tensors": "pt"}
        if self._type in _GROUNDED:
            given["text"] = ". ".join(self._texts).lower() + "."
        elif self._type in _OWLS:
            given["text"] = [list(self._texts)]
        inputs = self._processor(**given, input_data_format="channels_last").to(self._device)
        if self._type in _GROUNDED:
            self._check_length(inputs["input_ids"])
        said = self._net(**inputs)
        size = [(image_hwc.shape[0], image_hwc.shape[1])]
        if self._type in _GROUNDED:
            return self._by_phrase(said, inputs["input_ids"][0], size[0])
        if self._type in _OWLS:
            (best,) = self._processor.post_process_grounded_object_detection(
                said, threshold=self._least, target_sizes=size
            )
            names = dict(enumerate(self._texts))
        else:
            (best,) = self._processor.post_process_object_detection(
                said, threshold=self._least, target_sizes=size
            )
            names = self._net.config.id2label
        labels = [str(names.get(number, number)) for number in best["labels"].tolist()]
        return best["boxes"], best["scores"], labels

    def _by_phrase(
        self, said: Any, ids_l: Tensor, size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor, list[str]]:
        """Boxes of a network that scores each token of the text; a text counts as its best one.

        The package's own way gives the words of all tokens above a bound, of several texts, too.
        """
        import torch
        from transformers.image_transforms import center_to_corners_format

        stop = self._processor.tokenizer.convert_tokens_to_ids(".")
        ends = (ids_l == stop).nonzero().flatten().tolist()
        scores_ql = said.logits[0].sigmoid()
        starts = [1, *(end + 1 for end in ends)]  # behind the token that begins the sentence
        spans = list(zip(self._texts, starts, ends, strict=False))
        # One of signs that the network has no pieces for is not there.
        names = [text for text, start, end in spans if end > start]
        scores_qt = torch.stack(
            [scores_ql[:, start:end].amax(dim=1) for _, start, end in spans if end > start], dim=1
        )
        scores_q, which_q = scores_qt.max(dim=1)
        keep_q = scores_q > self._least
        height, width = size_hw
        scale_4 = torch.tensor([width, height, width, height], device=scores_q.device)
        boxes_q4 = center_to_corners_format(said.pred_boxes[0]) * scale_4
        labels = [names[number] for number in which_q[keep_q].tolist()]
        return boxes_q4[keep_q], scores_q[keep_q], labels

    def _check_length(self, ids_1l: Tensor) -> None:
        most = int(self._net.config.max_text_len)
        if ids_1l.shape[1] > most:
            raise InputError(
                f"text: the network takes at most {most} pieces of words, got {ids_1l.shape[1]}; "
                "ask for less"
            )


def _place(what: str) -> HubName | Path:
    return parse_place(what, option=_OPTION, example="ustc-community/dfine-small-coco")


def _folder(what: str, *, download: bool, on_progress: Progress | None = None) -> Path:
    place = _place(what)
    if isinstance(place, Path):
        return place
    from samcore.models.transformers.hub import fetch

    return fetch(place, download=download, on_progress=on_progress).folder


def _check_config(folder: Path, what: str, options: AutomaticPrompts) -> str:
    """The type of the network in a folder, held against what is asked.

    Raises:
        ModelError: It is no network for detection.
        InputError: A text is missing or too much, or it does not know a label.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} has no {CONFIG}; wanted a folder as the hub has it")
    config = read_json(folder / CONFIG)
    kind = str(config.get("model_type"))
    if kind not in OF_KINDS + BY_TEXT:
        raise ModelError(
            f"transformers:{what} is a model of the type {kind!r}, which detects nothing here; "
            f"wanted one of {', '.join(OF_KINDS)}, or with a text {', '.join(BY_TEXT)}"
        )
    known = config.get("id2label")
    if kind in BY_TEXT:
        if not options.text:
            raise InputError(
                f"text: transformers:{what} looks for what a text says: give one, such as --text "
                "'red car'"
            )
        if any("." in text for text in options.text):
            raise InputError("text: wanted words without a full stop; give several texts instead")
        known = dict(enumerate(options.text))
    elif options.text:
        raise InputError(
            f"text: transformers:{what} is a {kind}, which knows its own labels only: take "
            f"--labels, or a model of the type {' or '.join(BY_TEXT)}"
        )
    if isinstance(known, dict):
        labels = sorted({str(label) for label in known.values()})
        unknown = [label for label in options.labels if label not in labels]
        if unknown:
            has = ", ".join(labels[:100]) + (", ..." if len(labels) > 100 else "")
            raise InputError(
                f"labels: transformers:{what} does not know {unknown[0]!r}; it knows {has}"
            )
    return kind


def _load(folder: Path, *, by_text: bool) -> tuple[Any, Any]:
    """What prepares pictures, and the network on the CPU.

    Raises:
        ModelError: One of them cannot be used.
    """
    import transformers

    from samcore.models.transformers.network import load_network, quietly

    net = load_network(
        transformers.AutoModelForZeroShotObjectDetection
        if by_text
        else transformers.AutoModelForObjectDetection,
        folder,
    )
    kind = transformers.AutoProcessor if by_text else transformers.AutoImageProcessor
    try:
        with quietly():
            return kind.from_pretrained(folder, local_files_only=True), net
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        told = " ".join(str(error).split())[:160]
        raise ModelError(
            f"cannot tell how {folder} has pictures or texts prepared: {told}; take the whole "
            "folder, as the hub has it"
        ) from error
