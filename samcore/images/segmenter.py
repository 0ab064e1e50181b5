"""Segment single pictures with the image half of any tracking model, many at once."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samcore.detectors.detector import Detection, Detector, LooksForText
from samcore.errors import InputError
from samcore.images.decode import Asked, ask, decode_prompts
from samcore.images.encode import encode_pictures
from samcore.images.everything import EverythingOptions
from samcore.images.generator import MaskGenerator, Proposal
from samcore.images.result import PictureMask, PictureMasks
from samcore.machine.batches import free_bytes, picture_batches
from samcore.machine.rung import Rung
from samcore.masks.rle import Rle, encode_masks
from samcore.models.family import Candidates as DecoderMasks
from samcore.models.family import TrackingModel
from samcore.prompts.automatic import AutomaticPrompts, as_label, choose_detections
from samcore.prompts.prompt import Prompt
from samcore.tracking.numbers import check_numbers
from samcore.tracking.postprocess import fill_holes_and_remove_specks, masks_at_video_size

Candidates = Literal["best", "all", "single"]
"""Which masks there are for a prompt: the best one, where the model decides for how many clicks
three compete; all three; or the one that the model makes for prompts that say enough."""
Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""
_MULTIMASK: dict[str, bool | None] = {"best": None, "all": True, "single": False}
_MOST_LOGIT = 32.0
"""Logits that are kept lie between this and its negative, as the sam2 package gives them."""


def picture_rung(model: TrackingModel) -> Rung:
    """How many pictures and prompts this model takes at once, by its input and what is free now.

    `OomLadder` steps down from it: `encode_batch` is pictures, `object_batch` prompts.
    """
    compute, size = model.compute, model.facts.image_size
    pictures, prompts = picture_batches(
        compute.device.type, size, free_bytes=free_bytes(str(compute.device))
    )
    return Rung(encode_batch=pictures, object_batch=prompts, image_size=size)


class ImageSegmenter:
    """Segments pictures: N go through the image encoder at once, and the prompts of all of them
    through the mask decoder at once.

    Results are those of one picture at a time, but for rounding. Nothing is kept between calls.
    What runs out of memory is raised as it is; the caller makes another segmenter with a smaller
    rung, which costs nothing.
    """

    def __init__(self, model: TrackingModel, *, rung: Rung | None = None) -> None:
        """Make a segmenter.

        Args:
            model: Of any family; runs on its device.
            rung: How many pictures (`encode_batch`) and prompts (`object_batch`) are worked on at
                once; None is `picture_rung(model)`.
        """
        self._model = model
        self._rung = picture_rung(model) if rung is None else rung

    @property
    def rung(self) -> Rung:
        """How much is done at once. Give as many pictures as `rung.encode_batch`, or a multiple of
        that, in a call."""
        return self._rung

    def segment(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        prompts: Sequence[Sequence[Prompt]],
        *,
        candidates: Candidates = "best",
        mask_threshold: float = 0.0,
        min_region_area: int = 0,
        keep_logits: bool = False,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what prompts say.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            prompts: For each picture its prompts, each for one object: a box, points, a box with
                points, a mask, a mask with points, or (`PicturePrompt`) an earlier answer with a
                box or points. None at all gives no masks.
            candidates: Which masks are given for each prompt.
            mask_threshold: Logits above this are inside.
            min_region_area: As in `EverythingOptions`.
            keep_logits: Whether masks have `logits_hw`, to be corrected later.
            on_progress: Told how many pictures are done.

        Returns:
            The masks of each picture; of each prompt one, or with `all` three.

        Raises:
            InputError: A picture or prompt cannot be used; the line names it.
            ModelError: The model gives no numbers.
        """
        if len(prompts) != len(pictures_rgb_hwc_u8):
            raise InputError(
                f"wanted a list of prompts for each picture, got {len(prompts)} for "
                f"{len(pictures_rgb_hwc_u8)} pictures"
            )
        if candidates not in _MULTIMASK:
            raise InputError(f"candidates: wanted {', '.join(_MULTIMASK)}, got {candidates!r}")
        sizes = _check_pictures(pictures_rgb_hwc_u8)
        given = _Given(candidates, mask_threshold, min_region_area, keep_logits)
        # All of them are checked before anything takes time.
        asked = [
            [
                ask(
                    prompt,
                    picture=picture % self._rung.encode_batch,
                    place=place,
                    size_hw=size_hw,
                    name=f"picture {picture}",
                    side=self._model.facts.logits_size,
                )
                for place, prompt in enumerate(of_picture)
            ]
            for picture, (of_picture, size_hw) in enumerate(zip(prompts, sizes, strict=True))
        ]
        made: list[PictureMasks] = []
        for first in range(0, len(sizes), self._rung.encode_batch):
            part = slice(first, first + self._rung.encode_batch)
            masks = self._segment(pictures_rgb_hwc_u8[part], asked[part], given, first)
            made += [
                PictureMasks(*size_hw, tuple(of_picture))
                for size_hw, of_picture in zip(sizes[part], masks, strict=True)
            ]
            if on_progress is not None:
                on_progress(len(made), len(sizes))
        return made

    def everything(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        options: EverythingOptions | None = None,
        *,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment everything that the model has a good mask for.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            options: How; None is as the sam2 package has it.
            on_progress: Told how many points are done, of those of all pictures.

        Returns:
            The masks of each picture, best first by predicted IoU, those of smaller crops before.

        Raises:
            InputError: A picture cannot be used.
            ModelError: The model gives no numbers.
        """
        sizes = _check_pictures(pictures_rgb_hwc_u8)
        wanted = EverythingOptions() if options is None else options
        at_once = min(wanted.points_per_batch, self._rung.object_batch)
        generator = MaskGenerator(
            self._model,
            wanted.model_copy(update={"points_per_batch": at_once}),
            views_at_once=self._rung.encode_batch,
        )
        found = generator.generate(
            pictures_rgb_hwc_u8,
            names=[f"picture {picture}" for picture in range(len(sizes))],
            on_progress=on_progress,
        )
        return [
            PictureMasks(*size_hw, tuple(map(_as_mask, range(1, len(masks) + 1), masks)))
            for size_hw, masks in zip(sizes, found, strict=True)
        ]

    def detected(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        detector: Detector,
        options: AutomaticPrompts,
        *,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what a detector finds: masks are taken as they are, boxes go to the decoder.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            detector: From `make_detector(options, model, batch=...)`.
            options: Which of its detections count, and how many there may be on a picture.
            on_progress: Told how many pictures are done.

        Returns:
            The masks of each picture, best first, with the detector's scores and labels.

        Raises:
            InputError: A picture cannot be used, or a text is longer than the detector takes.
            ModelError: The model gives no numbers.
        """
        sizes = _check_pictures(pictures_rgb_hwc_u8)
        found = [
            choose_detections(detections, options)
            for detections in detector.detect(pictures_rgb_hwc_u8)
        ]
        # The boxes of all pictures go to the decoder together.
        boxes = [
            [
                Prompt(number, 0, box_xyxy_px=item.box_xyxy_px)
                for number, item in enumerate(items, start=1)
                if item.box_xyxy_px is not None
            ]
            for items in found
        ]
        with_boxes = [picture for picture, of_picture in enumerate(boxes) if of_picture]
        segmented = self.segment(
            [pictures_rgb_hwc_u8[picture] for picture in with_boxes],
            [boxes[picture] for picture in with_boxes],
        )
        decoded = dict(zip(with_boxes, segmented, strict=True))
        made: list[PictureMasks] = []
        for picture, (items, size_hw) in enumerate(zip(found, sizes, strict=True)):
            by_id = {one.obj_id: one for one in decoded[picture].masks} if boxes[picture] else {}
            masks = [
                _of_detection(item, number, by_id.get(number))
                for number, item in enumerate(items, start=1)
            ]
            made.append(PictureMasks(*size_hw, tuple(masks)))
        if on_progress is not None:
            on_progress(len(made), len(made))
        return made

    def by_text(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        texts: Sequence[Sequence[str]],
        detector: Detector,
        options: AutomaticPrompts,
        *,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what texts say.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            texts: For each picture what to look for on it, one concept or several.
            detector: One that takes text, from `make_detector`; see `LooksForText`.
            options: As for `detected`; its own `text` does not count.
            on_progress: Told how many pictures are done.

        Returns:
            The masks of each picture, best first; `label` is the concept that gave one.

        Raises:
            InputError: A picture or text cannot be used, or the detector takes none.
            ModelError: The model gives no numbers.
        """
        if len(texts) != len(pictures_rgb_hwc_u8):
            raise InputError(
                f"wanted texts for each picture, got {len(texts)} for "
                f"{len(pictures_rgb_hwc_u8)} pictures"
            )
        if not isinstance(detector, LooksForText):
            raise InputError(f"text: the detector {options.detector} does not take any")
        _check_pictures(pictures_rgb_hwc_u8)
        alike: dict[tuple[str, ...], list[int]] = {}
        for picture, words in enumerate(texts):
            if not words:
                raise InputError(f"text: there is none for picture {picture}; give one or several")
            alike.setdefault(tuple(words), []).append(picture)
        looking = {words: detector.looking_for(words) for words in alike}
        made: dict[int, PictureMasks] = {}
        for words, pictures in alike.items():
            found = self.detected(
                [pictures_rgb_hwc_u8[picture] for picture in pictures],
                looking[words],
                options.model_copy(update={"text": words}),
            )
            made |= zip(pictures, found, strict=True)
            if on_progress is not None:
                on_progress(len(made), len(texts))
        return [made[picture] for picture in range(len(texts))]

    def _segment(
        self,
        images: Sequence[NDArray[np.uint8]],
        asked: Sequence[Sequence[Asked]],
        given: "_Given",
        first: int,
    ) -> list[list[PictureMask]]:
        """The masks of pictures that go through the encoder together, from the `first` one on."""
        made: list[list[list[PictureMask]]] = [[[] for _ in of_picture] for of_picture in asked]
        every = [one for of_picture in asked for one in of_picture]
        if not every:
            return [[] for _ in asked]
        with self._model.running():
            features = encode_pictures(self._model, images)
            for batch, decoded in decode_prompts(
                self._model,
                features,
                every,
                at_once=self._rung.object_batch,
                multimask=_MULTIMASK[given.candidates],
            ):
                chosen = self._choose(decoded, given, batch, first)
                for picture in sorted({one.picture for one in batch}):
                    rows = [row for row, one in enumerate(batch) if one.picture == picture]
                    of_rows = _masks(chosen, rows, batch, images[picture].shape[:2], given)
                    for row, masks in zip(rows, of_rows, strict=True):
                        made[picture][batch[row].place] = masks
        return [[mask for masks in of_picture for mask in masks] for of_picture in made]

    def _choose(
        self, decoded: DecoderMasks, given: "_Given", batch: Sequence[Asked], first: int
    ) -> "_Chosen":
        """The candidates that are wanted, K of each of B prompts; one wait for the device."""
        ious_bm = decoded.ious_bm
        if given.candidates == "all":
            index_bk = torch.arange(ious_bm.shape[1], device=ious_bm.device).expand(len(batch), -1)
        else:
            index_bk = ious_bm.argmax(dim=1, keepdim=True)
        rows_b1 = torch.arange(len(batch), device=ious_bm.device)[:, None]
        logits_bkhw = decoded.logits_bmhw[rows_b1, index_bk].float()
        score_b1 = decoded.score_b1.float()
        numbers = torch.cat([index_bk, ious_bm.gather(1, index_bk), score_b1], dim=1)
        finite_b1 = logits_bkhw.flatten(1).isfinite().all(dim=1, keepdim=True)
        table_bn = torch.cat([numbers, finite_b1], dim=1).cpu()
        if not bool(table_bn.isfinite().all()) or not bool(table_bn[:, -1].all()):
            bad_b = ~table_bn.isfinite().all(dim=1) | (table_bn[:, -1] == 0)
            picture = first + batch[int(bad_b.nonzero()[0])].picture
            check_numbers(self._model, [torch.tensor(False)], where=f"picture {picture}")
        count = index_bk.shape[1]
        return _Chosen(
            logits_bkhw=logits_bkhw,
            index_bk=table_bn[:, :count].int().tolist(),
            ious_bk=table_bn[:, count : 2 * count].tolist(),
            score_b=table_bn[:, -2].tolist(),
        )


@dataclass(frozen=True, slots=True)
class _Given:
    """What `segment` was asked to give."""

    candidates: Candidates
    mask_threshold: float
    min_region_area: int
    keep_logits: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """K candidates of each of B prompts."""

    logits_bkhw: Tensor
    index_bk: list[list[int]]
    ious_bk: list[list[float]]
    score_b: list[float]


def _check_pictures(images: Sequence[NDArray[np.uint8]]) -> list[tuple[int, int]]:
    """Rows and columns of each picture.

    Raises:
        InputError: One is not H x W x 3 of 8 bits, or has no pixels.
    """
    for picture, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                f"picture {picture} is {image.dtype} of shape {image.shape}; wanted uint8 of "
                "shape (H, W, 3)"
            )
    return [(image.shape[0], image.shape[1]) for image in images]


def _masks(
    chosen: _Chosen,
    rows: Sequence[int],
    batch: Sequence[Asked],
    size_hw: tuple[int, ...],
    given: _Given,
) -> Iterator[list[PictureMask]]:
    """The masks of some prompts of one picture, at its size; a list for each prompt."""
    logits_rkhw = chosen.logits_bkhw[torch.tensor(rows, device=chosen.logits_bkhw.device)]
    for row, logits_khw in zip(rows, logits_rkhw, strict=True):
        prompt = batch[row].prompt
        rles = _at_picture_size(logits_khw, size_hw, given)
        kept_khw = None
        if given.keep_logits:
            kept_khw = logits_khw.clamp(-_MOST_LOGIT, _MOST_LOGIT).cpu().numpy()
        yield [
            PictureMask(
                obj_id=prompt.obj_id,
                rle=rle,
                score=iou,
                predicted_iou=iou,
                object_score=chosen.score_b[row],
                candidate=index,
                label=prompt.label,
                logits_hw=None if kept_khw is None else kept_khw[place],
            )
            for place, (rle, iou, index) in enumerate(
                zip(rles, chosen.ious_bk[row], chosen.index_bk[row], strict=True)
            )
        ]


def _at_picture_size(logits_khw: Tensor, size_hw: tuple[int, ...], given: _Given) -> list[Rle]:
    if given.min_region_area > 0:
        logits_khw = fill_holes_and_remove_specks(
            logits_khw, max_area=given.min_region_area, threshold=given.mask_threshold
        )
    if given.mask_threshold:
        logits_khw = logits_khw - given.mask_threshold
    height, width = size_hw[:2]
    return encode_masks(masks_at_video_size(logits_khw[:, None], height=height, width=width))


def _as_mask(obj_id: int, proposal: Proposal) -> PictureMask:
    """What the mask generator proposes as a mask; of one that has no logit near the threshold
    nobody can say how stable it is."""
    stability = 0.0 if math.isnan(proposal.stability) else proposal.stability
    return PictureMask(
        obj_id=obj_id,
        rle=proposal.rle,
        score=proposal.predicted_iou * stability,
        predicted_iou=proposal.predicted_iou,
        stability=stability,
        candidate=proposal.candidate,
        point_xy_px=proposal.point_xy_px,
        crop_xyxy_px=proposal.crop_xyxy_px,
    )


def _of_detection(item: Detection, obj_id: int, decoded: PictureMask | None) -> PictureMask:
    """A detection with its mask: its own, or the one that was decoded from its box."""
    label, mask_hw = as_label(item.label), item.enlarged()
    if decoded is not None:
        return replace(decoded, score=item.score, label=label)
    if mask_hw is None:
        raise ValueError(f"detection {obj_id} has neither a mask nor a decoded one")
    return PictureMask(obj_id, encode_masks(mask_hw[None])[0], item.score, label=label)
