"""Prompts on pictures: beside the sam2 package's image predictor, and in batches."""

import cv2
import numpy as np
import pytest
import torch

from samcore.errors import InputError, ModelError
from samcore.images.everything import EverythingOptions
from samcore.images.prompt import PicturePrompt
from samcore.images.segmenter import ImageSegmenter, picture_rung
from samcore.machine.rung import Rung
from samcore.masks.rle import decode_mask
from samcore.models.registry import resolve_model
from samcore.prompts.prompt import Prompt
from samcore.run.oom_ladder import OomLadder
from tests.samcore.images.conftest import package_predictor

ATOL = 2e-4
"""On logits with a standard deviation of 4 (nano), 0.1 (random)."""
MAX_PIXELS = 4
"""Of ten thousand: pixels whose logit is within the tolerance of the threshold."""


def rung(model, pictures, prompts):
    """So many at once."""
    size = model.facts.image_size
    return Rung(encode_batch=pictures, object_batch=prompts, image_size=size)


def of_every_kind(size_hw, side):
    """A prompt of each kind, for a picture and a model with logits of this side."""
    height, width = size_hw
    box = (width * 0.1, height * 0.2, width * 0.6, height * 0.7)
    click, off = (width * 0.4, height * 0.5), (width * 0.8, height * 0.9)
    prior = 20 * np.exp(-(np.linspace(-2, 2, side) ** 2)).astype(np.float32)
    prior_hw = np.minimum(prior[:, None], prior) - 8
    clicks = {"points_xy_px": (click, off), "point_labels": (1, 0)}
    return [
        PicturePrompt(1, box_xyxy_px=box),
        PicturePrompt(2, points_xy_px=(click,), point_labels=(1,)),
        PicturePrompt(3, **clicks),
        PicturePrompt(4, box_xyxy_px=box, **clicks),
        PicturePrompt(5, prior_logits_hw=prior_hw),
        PicturePrompt(6, prior_logits_hw=prior_hw, box_xyxy_px=box),
        PicturePrompt(7, prior_logits_hw=prior_hw, **clicks),
    ]


def ask_the_package(predictor, prompts_of_each, multimask):
    """Masks, scores and logits of each prompt of each picture, by the package's batched call."""
    found = [[] for _ in prompts_of_each]
    for prompts in zip(*prompts_of_each, strict=True):
        first = prompts[0]
        has_points, has_box = bool(first.points_xy_px), first.box_xyxy_px is not None
        has_prior = first.prior_logits_hw is not None
        answers = predictor.predict_batch(
            [np.array(p.points_xy_px, np.float32) for p in prompts] if has_points else None,
            [np.array(p.point_labels) for p in prompts] if has_points else None,
            box_batch=[np.array(p.box_xyxy_px) for p in prompts] if has_box else None,
            mask_input_batch=[p.prior_logits_hw[None] for p in prompts] if has_prior else None,
            multimask_output=multimask,
        )
        for picture, answer in enumerate(zip(*answers, strict=True)):
            found[picture].append(answer)
    return found


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:FutureWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", ["nano", "random-tiny"])
def test_prompts_give_the_packages_masks(name, multimask, load, pictures):
    """Boxes, clicks, masks and all that goes together, one mask or three candidates, of pictures of
    four sizes in one batch: the package's masks, scores and logits within float tolerance."""
    model = load(name)
    side = model.facts.logits_size
    prompts = [of_every_kind(image.shape[:2], side) for image in pictures]

    ours = ImageSegmenter(model, rung=rung(model, 4, 64)).segment(
        pictures, prompts, candidates="all" if multimask else "single", keep_logits=True
    )
    with package_predictor(model) as predictor:
        predictor.set_image_batch(pictures)
        theirs = ask_the_package(predictor, prompts, multimask)

    each = 3 if multimask else 1
    for found, wanted, image in zip(ours, theirs, pictures, strict=True):
        assert (found.height, found.width) == image.shape[:2]
        assert [mask.obj_id for mask in found.masks] == [
            i for i in range(1, 8) for _ in range(each)
        ]
        assert [mask.candidate for mask in found.masks] == list(range(each)) * 7
        flat = [
            (masks[i], ious[i], logits[i]) for masks, ious, logits in wanted for i in range(each)
        ]
        for mask, (mask_hw, iou, logits_hw) in zip(found.masks, flat, strict=True):
            assert mask.score == mask.predicted_iou == pytest.approx(float(iou), abs=1e-4)
            np.testing.assert_allclose(mask.logits_hw, logits_hw, atol=ATOL, rtol=1e-4)
            assert np.count_nonzero(mask.mask() != (mask_hw > 0)) <= MAX_PIXELS


def test_the_best_candidate_is_the_surest_one(load, pictures):
    """`best` gives the candidate with the highest predicted IoU of a click, and of a box, which
    says enough, the single mask."""
    model = load("nano")
    segmenter = ImageSegmenter(model, rung=rung(model, 4, 64))
    prompts = [of_every_kind(image.shape[:2], model.facts.logits_size)[:2] for image in pictures]
    by = {
        kind: segmenter.segment(pictures, prompts, candidates=kind)
        for kind in ("best", "all", "single")
    }
    for best, every, single in zip(*by.values(), strict=True):
        of_click = max((m for m in every.masks if m.obj_id == 2), key=lambda m: m.score)
        assert best.masks[1].rle == of_click.rle
        assert best.masks[1].candidate == of_click.candidate
        assert best.masks[0].rle == single.masks[0].rle


@pytest.mark.parametrize("name", ["nano", "random-tiny"])
def test_batches_give_what_single_pictures_give(name, load, pictures):
    """Whatever goes through encoder and decoder at once, masks and scores are those of one picture
    and one prompt at a time, within float tolerance; in the prompts' order."""
    model = load(name)
    side = model.facts.logits_size
    prompts = [of_every_kind(image.shape[:2], side) for image in pictures]
    prompts[1] = prompts[1][::-1]
    prompts[2] = []
    told = []

    one_by_one = ImageSegmenter(model, rung=rung(model, 1, 1)).segment(
        pictures, prompts, candidates="all", keep_logits=True
    )
    for sizes in ((4, 64), (3, 2)):
        batched = ImageSegmenter(model, rung=rung(model, *sizes)).segment(
            pictures,
            prompts,
            candidates="all",
            keep_logits=True,
            on_progress=lambda done, total: told.append((done, total)),
        )
        for found, wanted in zip(batched, one_by_one, strict=True):
            assert len(found.masks) == len(wanted.masks)
            for mask, alone in zip(found.masks, wanted.masks, strict=True):
                assert (mask.obj_id, mask.candidate) == (alone.obj_id, alone.candidate)
                np.testing.assert_allclose(mask.logits_hw, alone.logits_hw, atol=ATOL, rtol=1e-4)
                assert mask.object_score == pytest.approx(alone.object_score, abs=ATOL)
                assert np.count_nonzero(mask.mask() != alone.mask()) <= MAX_PIXELS
    assert one_by_one[2].masks == ()
    assert told == [(4, 4), (3, 4), (4, 4)]


def test_encoder_and_decoder_see_all_pictures_at_once(load, pictures, monkeypatch):
    """Four pictures are one call of the encoder; their boxes are one call of the decoder."""
    model = load("nano")
    calls = []
    encode, decode = type(model).encode_images, type(model).decode
    monkeypatch.setattr(
        type(model),
        "encode_images",
        lambda self, images: calls.append(len(images)) or encode(self, images),
    )
    monkeypatch.setattr(
        type(model),
        "decode",
        lambda self, fused, *rest, **more: (
            calls.append(-len(fused)) or decode(self, fused, *rest, **more)
        ),
    )
    boxes = [[Prompt(n, 0, box_xyxy_px=(5, 5, 40, 40)) for n in (1, 2)] for _ in pictures]
    ImageSegmenter(model, rung=rung(model, 4, 64)).segment(pictures, boxes)
    assert calls == [4, -8]


def test_a_mask_is_given_to_the_decoder_as_logits(load, pictures):
    """A mask at the picture's size is a prior of 10 inside and -10 outside; the label stays."""
    model = load("nano")
    segmenter = ImageSegmenter(model)
    image = np.ascontiguousarray(pictures[1][:90, :90])
    mask_hw = np.zeros((90, 90), bool)
    mask_hw[20:60, 30:80] = True
    at_input = cv2.resize(mask_hw.astype(np.float32), (128, 128), interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(
        (at_input >= 0.5) * 20 - np.float32(10), (32, 32), interpolation=cv2.INTER_AREA
    )
    asked = [Prompt(1, 0, mask_hw=mask_hw, label="it"), PicturePrompt(2, prior_logits_hw=small)]
    (found,) = segmenter.segment([image], [asked], keep_logits=True)
    by_mask, by_logits = found.masks
    assert by_mask.label == "it"
    assert np.corrcoef(by_mask.logits_hw.ravel(), by_logits.logits_hw.ravel())[0, 1] > 0.99
    assert by_mask.predicted_iou == pytest.approx(by_logits.predicted_iou, abs=0.05)


def test_an_answer_can_be_corrected(load, pictures):
    """An earlier answer's logits with a click off it give a mask without the place."""
    segmenter, (image, *_) = ImageSegmenter(load("nano")), pictures
    (first,) = segmenter.segment(
        [image], [[Prompt(1, 0, box_xyxy_px=(10, 10, 90, 80))]], keep_logits=True
    )
    (mask,) = first.masks
    assert np.abs(mask.logits_hw).max() <= 32
    y, x = np.argwhere(mask.mask())[mask.area // 2]
    click = {"points_xy_px": ((float(x), float(y)),), "point_labels": (0,)}
    off = PicturePrompt(1, prior_logits_hw=mask.logits_hw, **click)
    (less,) = segmenter.segment([image], [[off]])
    assert not less.masks[0].mask()[y, x]


def test_threshold_and_small_regions_change_the_mask(load, pictures):
    """A higher threshold gives a part of the mask; no hole or speck of few pixels is left."""
    model, (image, *_) = load("random-tiny"), pictures
    segmenter = ImageSegmenter(model)
    prompts = [[Prompt(1, 0, box_xyxy_px=(10, 10, 90, 80))]]

    def segment(**options):
        return segmenter.segment([image], prompts, keep_logits=True, **options)[0].masks[0]

    plain = segment()
    above = float(np.median(plain.logits_hw[plain.logits_hw > 0]))
    higher = segment(mask_threshold=above)
    assert 0 < higher.area < plain.area
    assert not (higher.mask() & ~plain.mask()).any()
    cleaned = segment(min_region_area=60)
    assert cleaned.area != plain.area
    assert parts(cleaned.mask()) < parts(plain.mask())


def parts(mask_hw):
    """How many connected parts a mask and its background have."""
    return sum(cv2.connectedComponents(one.astype(np.uint8))[0] for one in (mask_hw, ~mask_hw))


NO_POINTS = Prompt(1, 0)
BOX = {"box_xyxy_px": (1.0, 1.0, 9.0, 9.0)}
WRONG = {
    "nothing": (NO_POINTS, "the prompt for object 1 on picture 1 has no box, point or mask"),
    "mask's size": (
        Prompt(1, 0, mask_hw=np.ones((4, 4), bool)),
        r"object 1 on picture 1 has a mask of shape \(4, 4\); wanted \(120, 90\)",
    ),
    "both": (Prompt(1, 0, mask_hw=np.ones((120, 90), bool), **BOX), "has a box beside a mask"),
    "no numbers": (Prompt(1, 0, box_xyxy_px=(1, 2, float("nan"), 4)), "that are no numbers"),
    "labels": (Prompt(1, 0, points_xy_px=((1, 2),)), "has 1 points, 0 labels"),
    "prior": (
        PicturePrompt(1, prior_logits_hw=np.zeros((3, 3), np.float32)),
        r"has prior logits of shape \(3, 3\); wanted \(32, 32\) numbers",
    ),
    "frame": (Prompt(1, 5, **BOX), "is outside the video"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_prompts_are_named_before_any_work(what, load, pictures, monkeypatch):
    """The line says on which picture and for which object; nothing was encoded."""
    model = load("nano")
    monkeypatch.setattr(type(model), "encode_images", None)
    prompt, said = WRONG[what]
    with pytest.raises(InputError, match=said):
        ImageSegmenter(model).segment(pictures[:2], [[Prompt(1, 0, **BOX)], [prompt]])


def test_wrong_pictures_and_numbers_are_one_line(load, pictures):
    """What is no picture, lists that do not go together, and an unknown choice are refused."""
    segmenter = ImageSegmenter(load("nano"))
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match=r"picture 1 is .* wanted uint8"):
            segmenter.segment([pictures[0], wrong], [[], []])
        with pytest.raises(InputError, match=r"picture 0 is .* wanted uint8"):
            segmenter.everything([wrong])
    with pytest.raises(InputError, match="a list of prompts for each picture, got 1 for 2"):
        segmenter.segment(pictures[:2], [[]])
    with pytest.raises(InputError, match="candidates: wanted best, all, single, got 'three'"):
        segmenter.segment(pictures[:1], [[]], candidates="three")
    with pytest.raises(InputError, match=r"object 1 on b\.png has no box, point or mask"):
        segmenter.segment(pictures[:2], [[], [NO_POINTS]], names=["a.png", "b.png"])
    assert segmenter.segment([], []) == segmenter.everything([]) == []


def test_a_model_without_numbers_is_refused_by_the_picture(load, pictures, monkeypatch):
    """NaN for one prompt of a batch is an error that names its picture."""
    model = load("nano")
    decode = type(model).decode

    def spoiled(self, *args, **options):
        decoded = decode(self, *args, **options)
        decoded.logits_bmhw[1] = torch.nan
        return decoded

    monkeypatch.setattr(type(model), "decode", spoiled)
    boxes = [[Prompt(1, 0, **BOX)]] * 4
    with pytest.raises(ModelError, match="gives no numbers on picture 3"):
        # The third and fourth picture are decoded together.
        ImageSegmenter(model, rung=rung(model, 2, 64)).segment(
            [*pictures[:2], *pictures[2:]], [[], [], *boxes[2:]]
        )


def test_the_ladder_finds_what_fits(load, pictures, monkeypatch, tmp_path):
    """Where memory suffices for a picture and two prompts at once, the ladder of a run steps down
    to that, and the masks are those of enough memory."""
    model = load("nano")
    prompts = [of_every_kind(image.shape[:2], model.facts.logits_size) for image in pictures]
    roomy = ImageSegmenter(model, rung=rung(model, 4, 8)).segment(pictures, prompts)
    encode, decode = type(model).encode_images, type(model).decode

    def little(most, call):
        def limited(self, images, *rest, **more):
            if len(images) > most:
                raise torch.OutOfMemoryError(f"out of memory: {len(images)}")
            return call(self, images, *rest, **more)

        return limited

    monkeypatch.setattr(type(model), "encode_images", little(1, encode))
    monkeypatch.setattr(type(model), "decode", little(2, decode))
    ladder = OomLadder(
        rung(model, 4, 8),
        resolve_model("nano", cache_dir=tmp_path),
        num_objects=8,
        device="cpu",
        allow_quality_loss=False,
    )
    options = EverythingOptions(points_per_side=2, min_predicted_iou=0, min_stability=0)

    def work():
        segmenter = ImageSegmenter(model, rung=ladder.rung)
        return segmenter.segment(pictures, prompts), segmenter.everything(pictures[:1], options)

    found, _ = ladder.run_until_it_fits(work, frame_idx=lambda: 0)
    assert ladder.rung == rung(model, 1, 2)
    assert len(ladder.steps) == 5
    for few, many in zip(found, roomy, strict=True):
        for mask, wanted in zip(few.masks, many.masks, strict=True):
            assert np.count_nonzero(mask.mask() != wanted.mask()) <= MAX_PIXELS


def test_how_much_is_done_at_once_follows_from_the_model(load):
    """The default is chosen for the model's input on its device."""
    model = load("nano")
    chosen = ImageSegmenter(model).rung
    assert chosen == picture_rung(model)
    assert chosen.image_size == 128
    assert chosen.encode_batch >= 1
    assert chosen.object_batch == 64


def test_masks_know_their_area_and_box(load, pictures):
    """Area and box are those of the mask."""
    (found,) = ImageSegmenter(load("nano")).segment(
        pictures[:1], [[Prompt(7, 0, box_xyxy_px=(10, 10, 90, 80))]]
    )
    (mask,) = found.masks
    mask_hw = decode_mask(mask.rle)
    rows, columns = np.flatnonzero(mask_hw.any(1)), np.flatnonzero(mask_hw.any(0))
    assert mask.area == np.count_nonzero(mask_hw) > 0
    assert mask.box_xywh == (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert mask.obj_id == 7
