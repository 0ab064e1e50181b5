"""The detector `sam3`: whatever a text says, by the detector of the SAM 3 that tracks.

SAM 3's detector and tracker have one image encoder, so that a frame is encoded once for both: see
`TextDetector.detect_features`. What is done with the network's proposals is step 1 of SAM 3's own
video predictor, with the constants of `build_sam3_video_model` (facebookresearch/sam3 at 99d02f2,
`sam3_video_base.py`): a proposal's score is the probability of the text times that it is in the
picture at all; those above the least score stay (0.5 there); of two masks of one text with an IoU
above 0.1 the better one stays.
"""

from __future__ import annotations  # torch takes a second to import; only types need it here

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.detector import Detection, Progress
from samcore.detectors.wanted import least_score
from samcore.errors import InputError
from samcore.models.text import check_texts, text_heads

if TYPE_CHECKING:
    from torch import Tensor

    from samcore.models.family import ImageFeatures, TrackingModel
    from samcore.models.registry import ModelSpec
    from samcore.prompts.automatic import AutomaticPrompts

_SAME_MASK = 0.1
"""IoU of two masks of one text above which the one that is less sure is left out:
`det_nms_thresh` of `build_sam3_video_model`."""
_INSIDE = 0.5
"""Probability above which a pixel is inside: `post_process_instance_segmentation` in transformers.
The same as a logit above 0."""
_MAX_SIDE = 1024
"""Of larger pictures the masks are smaller: they are made of logits with 288 rows, and many masks
at the size of an 8K picture would not fit into memory."""


class TextDetectorFiles:
    """The files are those of the model: here they are only held against what is asked."""

    def check(self, what: str, options: AutomaticPrompts) -> None:
        if not options.text:
            raise InputError(
                "text: the detector sam3 looks for what a text says: give one, such as --text "
                "'red car'"
            )
        unknown = [label for label in options.labels if label not in options.text]
        if unknown:
            raise InputError(
                f"labels: the labels of the detector sam3 are the texts, and {unknown[0]!r} is "
                f"none of them: {', '.join(options.text)}"
            )

    def look_up(self, what: str, options: AutomaticPrompts) -> None:
        """Nothing: `check_model` sees what is to be seen."""

    def fetch(
        self,
        what: str,
        options: AutomaticPrompts,
        *,
        cache_dir: Path,
        on_progress: Progress | None = None,
    ) -> str:
        """Nothing: the model is here."""
        return ""

    def check_model(self, model: ModelSpec, options: AutomaticPrompts) -> str:
        return check_texts(model, options.text)


class TextDetector:
    """Finds what texts say, each object with its text as the label; meets `FeatureDetector`."""

    def __init__(self, model: TrackingModel, options: AutomaticPrompts, *, batch: int) -> None:
        """Encode the texts: once, not on each frame.

        Args:
            model: SAM 3 with its detector; runs on its device.
            options: The texts, and how sure it must be.
            batch: Frames that `detect` encodes at once, and texts that are looked for at once; no
                more than frames that the tracker encodes at once on the model's device.

        Raises:
            InputError: The model finds no texts, or one is too long.
            ModelError: The detector's weights cannot be used.
        """
        from samcore.machine.batches import default_batches

        self._model = model
        self._options = options
        self._heads = text_heads(model, tuple(dict.fromkeys(options.text)))
        self._least = least_score(options)
        most, _ = default_batches(model.device.type, model.facts.image_size)
        self._at_once = min(batch, most)

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Find masks. Frames are encoded in the batches in which the tracker encodes them, which
        lie at multiples of their size in the video and are filled up: whatever else is asked for,
        a frame gives the same.

        Raises:
            ModelError: The model gives no numbers.
        """
        from samcore.tracking.encoder import FrameEncoder, numbered

        found: list[list[Detection]] = []
        for (height, width), group in itertools.groupby(images_rgb_hwc_u8, lambda i: i.shape[:2]):
            encoder = FrameEncoder(
                self._model, height=height, width=width, batch_size=self._at_once
            )
            for batch in encoder.batches(numbered(group, first_frame + len(found))):
                with self._model.running():
                    features = encoder.encode(batch)
                found += self.detect_features(
                    [features[frame.frame_idx] for frame in batch],
                    picture_hw=(height, width),
                    first_frame=batch[0].frame_idx,
                )
                if on_progress is not None:
                    on_progress(len(found), len(images_rgb_hwc_u8))
        return found

    def looking_for(self, texts: Sequence[str]) -> TextDetector:
        """The same detector with other texts.

        Raises:
            InputError: A text is too long.
        """
        options = self._options.model_copy(update={"text": tuple(texts)})
        return TextDetector(self._model, options, batch=self._at_once)

    def detect_features(
        self,
        features: Sequence[ImageFeatures],
        *,
        picture_hw: tuple[int, int],
        first_frame: int = 0,
    ) -> list[list[Detection]]:
        """Find masks on frames that the tracking model has encoded; see `FeatureDetector`.

        Behind the image encoder, where a text takes less than a tenth of that one's work, each
        frame is looked at by itself, with several texts together: the shapes that the network works
        in depend on neither the chunks nor the other frames.

        Raises:
            ModelError: The model gives no numbers.
        """
        found = []
        with self._model.running():
            for frame_idx, of_frame in enumerate(features, start=first_frame):
                found.append(self._look(of_frame, picture_hw, frame_idx))
        return found

    def _look(
        self, features: ImageFeatures, picture_hw: tuple[int, int], frame_idx: int
    ) -> list[Detection]:
        """All that is on a frame, best first; ties go by text and box."""
        import torch

        from samcore.tracking.numbers import check_numbers

        texts, found = self._heads.texts, []
        for first in range(0, len(texts), self._at_once):
            numbers = range(first, min(first + self._at_once, len(texts)))
            said = self._heads.find(features, numbers)
            given = (said.scores_kq, said.boxes_kq4, said.logits_kqhw)
            are_finite = torch.stack([tensor.isfinite().all() for tensor in given]).all()
            check_numbers(self._model, [are_finite], where=f"frame {frame_idx}")
            for row, number in enumerate(numbers):
                scores_n, boxes_n4, logits_nhw = keep_best(
                    said.scores_kq[row],
                    said.boxes_kq4[row],
                    said.logits_kqhw[row],
                    least=self._least,
                )
                masks_nhw = _enlarged(logits_nhw, picture_hw)
                found += [
                    (-score, texts[number], box, mask_hw)
                    for score, box, mask_hw in zip(scores_n, boxes_n4, masks_nhw, strict=True)
                    if mask_hw.any()
                ]
        return [
            Detection(-score, picture_hw, mask_hw=mask_hw, label=text)
            for score, text, _, mask_hw in sorted(found, key=lambda one: one[:3])
        ]


def keep_best(
    scores_q: Tensor, boxes_q4: Tensor, logits_qhw: Tensor, *, least: float
) -> tuple[list[float], list[tuple[float, ...]], Tensor]:
    """Leave out proposals that are not sure enough, show nothing, or show what a better one shows.

    Scores and boxes are rounded to four digits before anything is decided by them: their last bits
    may differ from machine to machine.

    Args:
        scores_q: Of the proposals for one text, 0 to 1.
        boxes_q4: Left, top, right, bottom as parts of the picture.
        logits_qhw: Their masks; above 0 is inside.
        least: The least score.

    Returns:
        Scores, boxes and logits of the others, best first; ties go by box.
    """
    scores = [round(score, 4) for score in scores_q.tolist()]
    boxes = [tuple(round(side, 4) for side in box) for box in boxes_q4.tolist()]
    sure = [place for place, score in enumerate(scores) if score >= least]
    order = sorted(sure, key=lambda place: (-scores[place], boxes[place], place))
    masks_nhw = (logits_qhw[order] > 0).cpu().numpy()
    kept: list[int] = []
    for row in range(len(order)):
        better = (masks_nhw[other] for other in kept)
        if masks_nhw[row].any() and all(_iou(masks_nhw[row], one) <= _SAME_MASK for one in better):
            kept.append(row)
    places = [order[row] for row in kept]
    return [scores[at] for at in places], [boxes[at] for at in places], logits_qhw[places]


def _iou(one_hw: NDArray[np.bool_], other_hw: NDArray[np.bool_]) -> float:
    """Share that two masks have in common of what they cover together; not both are empty."""
    return int(np.count_nonzero(one_hw & other_hw)) / int(np.count_nonzero(one_hw | other_hw))


def _enlarged(logits_nhw: Tensor, picture_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks at the size of the picture, or as large as they are kept: N x H x W."""
    import torch.nn.functional as F

    scale = min(1.0, _MAX_SIDE / max(picture_hw))
    height, width = (max(1, round(side * scale)) for side in picture_hw)
    if not len(logits_nhw):
        return np.zeros((0, height, width), np.bool_)
    inside_n1hw = logits_nhw.sigmoid()[:, None]
    inside_nhw = F.interpolate(
        inside_n1hw, size=(height, width), mode="bilinear", align_corners=False
    )[:, 0]
    masks_nhw: NDArray[np.bool_] = (inside_nhw > _INSIDE).cpu().numpy()
    return masks_nhw
