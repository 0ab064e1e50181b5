"""Segment single pictures with the image half of any tracking model, many at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.abilities import LooksForText
from samcore.detectors.detector import Detection, Detector
from samcore.detectors.wanted import keep_wanted
from samcore.errors import InputError
from samcore.images.candidates import Wanted, choose_candidates, masks_of
from samcore.images.decode import Asked, ask, decode_prompts
from samcore.images.encode import encode_pictures
from samcore.images.everything import EverythingOptions
from samcore.images.generator import MaskGenerator, Proposal
from samcore.images.result import PictureMask, PictureMasks
from samcore.machine.batches import free_bytes, picture_batches
from samcore.machine.rung import Rung
from samcore.masks.rle import encode_masks
from samcore.models.family import TrackingModel
from samcore.prompts.automatic import AutomaticPrompts, as_label, choose_detections
from samcore.prompts.prompt import Prompt
from samcore.tracking.numbers import refuse_numbers

Candidates = Literal["best", "all", "single"]
"""Which masks there are for a prompt: the best one, where the model decides for how many clicks
three compete; all three; or the one that the model makes for prompts that say enough."""
Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""
_MULTIMASK: dict[str, bool | None] = {"best": None, "all": True, "single": False}


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
        names: Sequence[str] | None = None,
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
            names: What errors call the pictures; None is `picture 0`, `picture 1`, and so on.
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
        names, sizes = _check_pictures(pictures_rgb_hwc_u8, names)
        given = Wanted(
            _MULTIMASK[candidates],
            candidates == "all",
            mask_threshold,
            min_region_area,
            keep_logits,
        )
        # All of them are checked before anything takes time.
        asked = [
            [
                ask(
                    prompt,
                    picture=picture % self._rung.encode_batch,
                    place=place,
                    size_hw=size_hw,
                    name=names[picture],
                    side=self._model.facts.logits_size,
                )
                for place, prompt in enumerate(of_picture)
            ]
            for picture, (of_picture, size_hw) in enumerate(zip(prompts, sizes, strict=True))
        ]
        made: list[PictureMasks] = []
        for first in range(0, len(sizes), self._rung.encode_batch):
            part = slice(first, first + self._rung.encode_batch)
            masks = self._segment(pictures_rgb_hwc_u8[part], asked[part], given, names[part])
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
        names: Sequence[str] | None = None,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment everything that the model has a good mask for.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            options: How; None is as the sam2 package has it.
            names: What errors call the pictures; None is `picture 0`, `picture 1`, and so on.
            on_progress: Told how many points are done, of those of all pictures.

        Returns:
            The masks of each picture, best first by predicted IoU, those of smaller crops before.

        Raises:
            InputError: A picture cannot be used.
            ModelError: The model gives no numbers.
        """
        names, sizes = _check_pictures(pictures_rgb_hwc_u8, names)
        wanted = EverythingOptions() if options is None else options
        at_once = min(wanted.points_per_batch, self._rung.object_batch)
        generator = MaskGenerator(
            self._model,
            wanted.model_copy(update={"points_per_batch": at_once}),
            views_at_once=self._rung.encode_batch,
        )
        found = generator.generate(pictures_rgb_hwc_u8, names=names, on_progress=on_progress)
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
        names: Sequence[str] | None = None,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what a detector finds: masks are taken as they are, boxes go to the decoder.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            detector: From `make_detector(options, model, batch=...)`.
            options: Which of its detections count, and how many there may be on a picture.
            names: What errors call the pictures; None is `picture 0`, `picture 1`, and so on.
            on_progress: Told how many pictures are done.

        Returns:
            The masks of each picture, best first, with the detector's scores and labels.

        Raises:
            InputError: A picture cannot be used, or a text is longer than the detector takes.
            ModelError: The model gives no numbers.
        """
        names, sizes = _check_pictures(pictures_rgb_hwc_u8, names)
        made: list[PictureMasks] = []
        for first in range(0, len(sizes), self._rung.encode_batch):
            part = slice(first, first + self._rung.encode_batch)
            images = pictures_rgb_hwc_u8[part]
            found = detector.detect(images, first_frame=first)
            wanted = [keep_wanted(of_picture, options) for of_picture in found]
            chosen = [choose_detections(of_picture, options) for of_picture in wanted]
            made += self._segment_found(images, chosen, names[part])
            if on_progress is not None:
                on_progress(len(made), len(pictures_rgb_hwc_u8))
        return made

    def by_text(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        texts: Sequence[Sequence[str]],
        detector: Detector,
        options: AutomaticPrompts,
        *,
        names: Sequence[str] | None = None,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what texts say.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            texts: For each picture what to look for on it, one concept or several.
            detector: One that takes text, from `make_detector`; see `LooksForText`.
            options: As for `detected`; its own `text` does not count.
            names: What errors call the pictures; None is `picture 0`, `picture 1`, and so on.
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
        names, _ = _check_pictures(pictures_rgb_hwc_u8, names)
        for name, words in zip(names, texts, strict=True):
            if isinstance(words, str) or not words or not all(word.strip() for word in words):
                raise InputError(
                    f"text: wanted a list of one concept or several for {name}, got {words!r}"
                )
        # All texts are checked before anything takes time.
        looking = {words: detector.looking_for(words) for words in dict.fromkeys(map(tuple, texts))}
        made: list[PictureMasks] = []
        for first in range(0, len(texts), self._rung.encode_batch):
            part = slice(first, first + self._rung.encode_batch)
            images, asked = pictures_rgb_hwc_u8[part], [tuple(words) for words in texts[part]]
            chosen = [
                choose_detections(keep_wanted(of_picture, wanted), wanted)
                for of_picture, words in zip(_look_for(images, asked, looking), asked, strict=True)
                for wanted in (options.model_copy(update={"text": words}),)
            ]
            made += self._segment_found(images, chosen, names[part])
            if on_progress is not None:
                on_progress(len(made), len(texts))
        return made

    def _segment_found(
        self,
        images: Sequence[NDArray[np.uint8]],
        found: Sequence[Sequence[Detection]],
        names: Sequence[str],
    ) -> list[PictureMasks]:
        """The masks of detections; boxes of all pictures go to the decoder together."""
        boxes = [
            [
                Prompt(number, 0, box_xyxy_px=item.box_xyxy_px)
                for number, item in enumerate(items, start=1)
                if item.box_xyxy_px is not None
            ]
            for items in found
        ]
        with_boxes = [place for place, of_picture in enumerate(boxes) if of_picture]
        segmented = self.segment(
            [images[place] for place in with_boxes],
            [boxes[place] for place in with_boxes],
            names=[names[place] for place in with_boxes],
        )
        decoded = dict(zip(with_boxes, segmented, strict=True))
        made: list[PictureMasks] = []
        for place, (items, image_hwc) in enumerate(zip(found, images, strict=True)):
            by_id = {one.obj_id: one for one in decoded[place].masks} if boxes[place] else {}
            masks = [
                _of_detection(item, number, by_id.get(number))
                for number, item in enumerate(items, start=1)
            ]
            made.append(PictureMasks(image_hwc.shape[0], image_hwc.shape[1], tuple(masks)))
        return made

    def _segment(
        self,
        images: Sequence[NDArray[np.uint8]],
        asked: Sequence[Sequence[Asked]],
        given: Wanted,
        names: Sequence[str],
    ) -> list[list[PictureMask]]:
        """The masks of pictures that go through the encoder together."""
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
                multimask=given.multimask,
            ):
                chosen = choose_candidates(decoded, every=given.every)
                if (bad := chosen.first_without_numbers) is not None:
                    refuse_numbers(self._model, where=names[batch[bad].picture])
                for picture in sorted({one.picture for one in batch}):
                    rows = [row for row, one in enumerate(batch) if one.picture == picture]
                    prompts = [batch[row].prompt for row in rows]
                    masks = masks_of(chosen, rows, prompts, images[picture].shape[:2], given)
                    for row, of_prompt in zip(rows, masks, strict=True):
                        made[picture][batch[row].place] = of_prompt
        return [[mask for masks in of_picture for mask in masks] for of_picture in made]


def _check_pictures(
    images: Sequence[NDArray[np.uint8]], names: Sequence[str] | None
) -> tuple[Sequence[str], list[tuple[int, int]]]:
    """The name of each picture, and its rows and columns.

    Raises:
        InputError: One is not H x W x 3 of 8 bits, or has no pixels.
    """
    if names is None:
        names = [f"picture {picture}" for picture in range(len(images))]
    for name, image in zip(names, images, strict=True):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                f"{name} is {image.dtype} of shape {image.shape}; wanted uint8 of shape (H, W, 3)"
            )
    return names, [(image.shape[0], image.shape[1]) for image in images]


def _look_for(
    images: Sequence[NDArray[np.uint8]],
    texts: Sequence[tuple[str, ...]],
    looking: Mapping[tuple[str, ...], Detector],
) -> list[list[Detection]]:
    """What is found on each picture; those with the same texts are looked at together."""
    found: list[list[Detection]] = [[] for _ in images]
    for words in dict.fromkeys(texts):
        places = [place for place, wanted in enumerate(texts) if wanted == words]
        together = looking[words].detect([images[place] for place in places])
        for place, detections in zip(places, together, strict=True):
            found[place] = detections
    return found


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
