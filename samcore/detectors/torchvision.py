"""The detectors `torchvision:NAME`: SSDLite, Faster R-CNN and Mask R-CNN, trained on COCO.

The networks are torchvision's own. Their weights are downloaded into its own cache when they are
first named, or come from a file: `torchvision:NAME:FILE`. Pictures are looked at one by one: beside
others the last bits of a picture's scores would depend on those.
"""

from __future__ import annotations  # torch takes a second to import; only types need it here

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.boxes import boxes_in_picture
from samcore.detectors.coco_labels import COCO_LABELS
from samcore.detectors.detector import (
    DETECTORS,
    Detection,
    Progress,
    find_detector,
)
from samcore.detectors.wanted import least_score
from samcore.disk.digests import file_digest
from samcore.errors import InputError, ModelError, StorageError

if TYPE_CHECKING:
    import torch

    from samcore.models.family import TrackingModel
    from samcore.prompts.automatic import AutomaticPrompts

_MAX_SIDE = 1024
"""Larger pictures are made smaller for a network that gives masks, which come at their size."""
_HASH = re.compile(r"-([0-9a-f]{8,})\.pth$")
"""The first digits of the SHA-256 of a file of weights, in its name."""


class TorchvisionFiles:
    """The weights: downloaded, or a person's own file."""

    def check(self, what: str, options: AutomaticPrompts) -> None:
        name, _, _ = what.partition(":")
        known = DETECTORS.get("torchvision").choices
        if name not in known:
            raise InputError(
                f"torchvision: unknown network: got {name!r}, known are {', '.join(known)}"
            )
        unknown = [label for label in options.labels if label not in COCO_LABELS.values()]
        if unknown:
            raise InputError(
                f"labels: torchvision:{name} does not know {unknown[0]!r}; it knows "
                f"{', '.join(COCO_LABELS.values())}"
            )

    def look_up(self, what: str, options: AutomaticPrompts) -> None:
        name, _, file = what.partition(":")
        if file and not Path(file).expanduser().is_file():
            raise InputError(
                f"there is no file {file}, which torchvision:{name} was to have its weights from"
            )

    def fetch(
        self,
        what: str,
        options: AutomaticPrompts,
        *,
        cache_dir: Path,
        on_progress: Progress | None = None,
    ) -> str:
        import torchvision

        name, _, file = what.partition(":")
        self.look_up(what, options)
        path = _weights_path(name, file)
        if not file and not path.exists():
            _download(name, path)
        digest = file_digest(path, cache_dir=cache_dir)
        wanted = _HASH.search(path.name) if not file else None
        if wanted is not None and not digest.startswith(wanted[1]):
            raise ModelError(
                f"{path} is damaged: its SHA-256 begins with {digest[:8]}, not {wanted[1]}; delete "
                "it, and run again"
            )
        said = f"{name} {torchvision.__version__} {digest}"
        return hashlib.sha256(said.encode()).hexdigest()


class TorchvisionDetector:
    """Finds the 80 kinds of things of COCO."""

    def __init__(self, model: TrackingModel, options: AutomaticPrompts, *, batch: int) -> None:
        """Load the network.

        Args:
            model: Its device is used.
            options: The network's name, and how sure it must be.
            batch: Not used: pictures are looked at one by one.

        Raises:
            ModelError: The weights cannot be used.
        """
        name, _, file = find_detector(options.detector)[1].partition(":")
        self._device = model.device
        self._net = build_network(name, _weights_path(name, file)).to(self._device)
        self._has_masks = name.startswith("maskrcnn")
        # What is just below is decided by rounded scores, like all.
        getattr(self._net, "roi_heads", self._net).score_thresh = least_score(options) - 1e-4

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Find boxes, or masks if the network gives them."""
        found = []
        for done, image_hwc in enumerate(images_rgb_hwc_u8, start=1):
            found.append(self._detect(image_hwc))
            if on_progress is not None:
                on_progress(done, len(images_rgb_hwc_u8))
        return found

    def _detect(self, image_hwc: NDArray[np.uint8]) -> list[Detection]:
        import torch

        from samcore.machine.device import repeatable_kernels

        picture_hw = (image_hwc.shape[0], image_hwc.shape[1])
        if self._has_masks:
            image_hwc = _shrink(image_hwc)
        image_chw = torch.from_numpy(np.ascontiguousarray(image_hwc)).permute(2, 0, 1)
        with torch.inference_mode(), repeatable_kernels():
            (said,) = self._net([image_chw.to(self._device).float() / 255])
        labels = [COCO_LABELS.get(number, "") for number in said["labels"].tolist()]
        scores_n = said["scores"].double().cpu().numpy()
        boxes_n4 = said["boxes"].double().cpu().numpy()
        if not self._has_masks:
            return boxes_in_picture(boxes_n4, scores_n, labels, picture_hw)
        masks_nhw = (said["masks"][:, 0] >= 0.5).cpu().numpy()
        order = sorted(
            range(len(labels)),
            key=lambda i: (-round(float(scores_n[i]), 4), labels[i], tuple(boxes_n4[i])),
        )
        return [
            Detection(round(float(scores_n[i]), 4), picture_hw, masks_nhw[i], label=labels[i])
            for i in order
            if masks_nhw[i].any()
        ]


def build_network(name: str, weights: Path) -> torch.nn.Module:
    """Build a network on the CPU, in float32 and evaluation mode.

    Args:
        name: One of the entry's choices.
        weights: A file of tensors, `.pth` or `.safetensors`.

    Raises:
        ModelError: The weights cannot be read, or are not those of this network.
    """
    import torch
    from torchvision.models.detection import __dict__ as networks

    # Building draws random numbers; the caller's generator must not notice.
    with torch.random.fork_rng(devices=[]):
        net: torch.nn.Module = networks[name](weights=None, weights_backbone=None)
    tensors = _read_weights(weights)
    own = net.state_dict()
    # Published weights were saved from networks whose normalisation does not count its batches.
    lacking = [
        key for key in own if key not in tensors and not key.endswith(".num_batches_tracked")
    ]
    strange = [key for key in tensors if key not in own]
    other = [key for key in own if key in tensors and tensors[key].shape != own[key].shape]
    for keys, said in ((lacking, "lacks"), (strange, "has besides"), (other, "has other sizes of")):
        if keys:
            raise ModelError(
                f"{weights} does not fit torchvision's {name}: it {said} {len(keys)} of its "
                f"tensors, such as {keys[0]}; wanted weights of this network for COCO's 91 numbers"
            )
    for key, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(
                f"{weights} gives no numbers: {key} holds NaN or infinity; take another file"
            )
    net.load_state_dict(tensors, strict=False)
    return net.eval().requires_grad_(False)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors and nothing else: a file from anywhere must not be able to run code."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch stumbles over other files in many ways
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise ModelError(
            f"cannot read the weights {path}: {told}; wanted a .pth file with tensors only, or "
            ".safetensors"
        ) from error
    loaded = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    if not isinstance(loaded, dict) or not all(
        isinstance(one, torch.Tensor) for one in loaded.values()
    ):
        raise ModelError(f"{path} holds no weights; wanted a .pth file with tensors only")
    return loaded


def _weights_path(name: str, file: str) -> Path:
    if file:
        return Path(file).expanduser()
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / _url(name).rpartition("/")[2]


def _url(name: str) -> str:
    from torchvision.models import get_model_weights

    return str(get_model_weights(name)["DEFAULT"].url)


def _download(name: str, path: Path) -> None:
    """Fetch weights into torchvision's cache; what does not have the wanted digest is not kept."""
    import torch

    url, wanted = _url(name), _HASH.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot keep weights in {path.parent}: {error.strerror}; TORCH_HOME names another "
            "folder"
        ) from error
    try:
        torch.hub.download_url_to_file(
            url, str(path), None if wanted is None else wanted[1], progress=False
        )
    except (OSError, RuntimeError) as error:  # an address that cannot be reached is an OSError
        told = " ".join(str(error).split())[:160]
        raise ModelError(
            f"cannot download the weights of torchvision:{name} ({told}); check the network, or "
            f"put the file {url} at {path}, or name one: torchvision:{name}:FILE"
        ) from error


def _shrink(image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image_hwc.shape[:2]
    scale = _MAX_SIDE / max(height, width)
    if scale >= 1:
        return image_hwc
    import cv2

    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image_hwc, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
