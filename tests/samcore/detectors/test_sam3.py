"""SAM 3's detector of texts beside transformers' own, on a small random model."""

import json
import shutil
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

import transformers
from safetensors.torch import load_file, save_file

from samcore.detectors import sam3
from samcore.detectors.detector import (
    fetch_detector,
    find_detector,
    look_up_detector,
    make_detector,
)
from samcore.detectors.sam3 import keep_best
from samcore.errors import InputError, ModelError
from samcore.identities.config import AssociationConfig
from samcore.images.segmenter import ImageSegmenter
from samcore.machine.device import choose_compute
from samcore.machine.rung import Rung
from samcore.models.loader import load_model
from samcore.models.registry import check_may_take_text, resolve_model
from samcore.models.text import text_heads
from samcore.models.transformers import concepts
from samcore.prompts.automatic import AutomaticPrompts
from samcore.scenes import Scene
from samcore.tracking.encoder import FrameEncoder, numbered
from samcore.tracking.identity_tracker import IdentityTracker
from tests.samcore.models.transformers.small_models import save_sam3_video, small_net

HEIGHT, WIDTH = 96, 128
TEXTS = ("red car", "person", "dog")


@pytest.fixture(scope="module")
def images():
    scene = Scene(3, num_frames=11, height=HEIGHT, width=WIDTH, num_objects=2)
    return [frame.image_rgb_hwc_u8 for frame in scene]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_sam3_video(tmp_path_factory.mktemp("hub") / "sam3")


@pytest.fixture(scope="module")
def spec(folder, tmp_path_factory):
    return resolve_model(f"hf:{folder}", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def model(spec):
    return load_model(spec, choose_compute("cpu", "float32"))


@pytest.fixture(scope="module")
def theirs(folder):
    """The package's own detector and processor."""
    net = transformers.Sam3Model.from_pretrained(folder).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    image_processor = transformers.Sam3ImageProcessor(size={"height": 84, "width": 84})
    return net, transformers.Sam3Processor(image_processor, tokenizer)


def ask(*texts, **options):
    return AutomaticPrompts(text=texts or TEXTS, **{"min_score": 0, **options})


def encoded(model, images):
    """Features as the tracker has them: frames one by one."""
    with model.running():
        return [model.encode_images(model.preprocess(image[None]))[0] for image in images]


def same(one, other):
    """To the last bit."""
    return [(item.score, item.label, item.picture_hw) for item in one] == [
        (item.score, item.label, item.picture_hw) for item in other
    ] and all(np.array_equal(a.mask_hw, b.mask_hw) for a, b in zip(one, other, strict=True))


@contextmanager
def passes_of(model):
    """How many pictures the image encoder's trunk is given, each time."""
    seen = []
    hook = model._net.vision_encoder.backbone.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    yield seen
    hook.remove()


def run_theirs(model, theirs, image, text, net=None):
    """What `Sam3Model` says of a picture and a text."""
    own, processor = theirs
    net = net or own
    words = processor(text=text, return_tensors="pt", original_sizes=[[HEIGHT, WIDTH]])
    with torch.inference_mode():
        return net(
            pixel_values=model.preprocess(image[None]),
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
        )


def test_proposals_are_those_of_the_package(model, theirs, images):
    """Scores, boxes and masks of each of three texts, from the tracker's features, are those of
    `Sam3Model` on the picture and that text."""
    heads = text_heads(model, TEXTS)
    (features,) = encoded(model, images[:1])
    with model.running():
        said = heads.find(features, range(3))
    for number, text in enumerate(TEXTS):
        out = run_theirs(model, theirs, images[0], text)
        scores_q = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
        torch.testing.assert_close(said.scores_kq[number], scores_q, rtol=0, atol=1e-6)
        torch.testing.assert_close(said.boxes_kq4[number], out.pred_boxes[0], rtol=0, atol=1e-6)
        large = float(out.pred_masks.abs().max())
        torch.testing.assert_close(
            said.logits_kqhw[number], out.pred_masks[0], rtol=0, atol=1e-5 * large
        )


def test_another_input_size_is_the_package_s_too(folder, theirs, images, tmp_path):
    """The detector follows the size that the tracker was asked for."""
    spec = resolve_model(f"hf:{folder}", image_size=112, cache_dir=tmp_path)
    model = load_model(spec, choose_compute("cpu", "float32"))
    config = transformers.Sam3VideoConfig.from_pretrained(folder).detector_config
    config.image_size = 112
    net = transformers.Sam3Model.from_pretrained(folder, config=config).eval()
    heads = text_heads(model, ("dog",))
    (features,) = encoded(model, images[:1])
    with model.running():
        said = heads.find(features, [0])
    out = run_theirs(model, theirs, images[0], "dog", net)
    scores_kq = out.pred_logits.sigmoid() * out.presence_logits.sigmoid()
    torch.testing.assert_close(said.scores_kq, scores_kq, rtol=0, atol=1e-6)
    assert said.logits_kqhw.shape == out.pred_masks.shape == (1, 5, 32, 32)


@pytest.mark.parametrize("threshold", [0.0, 0.15])
def test_what_is_found_is_as_in_the_package(threshold, model, theirs, images, monkeypatch):
    """Without the rule on masks that lie upon each other: `post_process_instance_segmentation` of
    what `Sam3Model` says gives the same scores, boxes and masks of the picture's size."""
    monkeypatch.setattr(sam3, "_SAME_MASK", 1.0)
    out = run_theirs(model, theirs, images[0], "person")
    (wanted,) = theirs[1].post_process_instance_segmentation(
        out, threshold=threshold, target_sizes=[(HEIGHT, WIDTH)]
    )
    order = wanted["scores"].argsort(descending=True)
    order = order[wanted["masks"][order].flatten(1).any(dim=1)]
    assert (len(order) == 5) == (threshold == 0)
    assert len(order) > 1

    detector = make_detector(ask("person", min_score=threshold), model, batch=4)
    (features,) = encoded(model, images[:1])
    (found,) = detector.detect_features([features], picture_hw=(HEIGHT, WIDTH))
    assert [item.score for item in found] == pytest.approx(
        wanted["scores"][order].tolist(), abs=6e-5
    )
    assert {item.label for item in found} == {"person"}
    masks_nhw = np.stack([item.mask_hw for item in found])
    assert np.array_equal(masks_nhw, wanted["masks"][order].numpy().astype(bool))
    with model.running():
        said = text_heads(model, ("person",)).find(features, [0])
    kept = keep_best(said.scores_kq[0], said.boxes_kq4[0], said.logits_kqhw[0], least=threshold)
    boxes_n4 = np.array(kept[1]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    assert np.abs(boxes_n4 - wanted["boxes"][order].numpy()).max() < 1e-4 * WIDTH


def test_of_masks_upon_each_other_the_best_stays():
    """As suppression by a table of all IoUs has it; scores count with four digits, ties go by box,
    and what is below the bound or empty does not count."""
    generator = torch.Generator().manual_seed(0)
    logits_qhw = torch.full((40, 24, 24), -1.0)
    for mask_hw in logits_qhw[1:]:
        top, left = torch.randint(0, 16, (2,), generator=generator).tolist()
        height, width = torch.randint(1, 9, (2,), generator=generator).tolist()
        mask_hw[top : top + height, left : left + width] = 1
    scores_q = torch.rand(40, generator=generator)
    scores_q[0] = 0.99  # the empty one
    scores_q[[5, 6]] = torch.tensor([0.90002, 0.89998])
    logits_qhw[6] = logits_qhw[5]
    boxes_q4 = torch.rand(40, 4, generator=generator)
    boxes_q4[5, 0], boxes_q4[6, 0] = 0.9, 0.1

    scores, boxes, kept = keep_best(scores_q, boxes_q4, logits_qhw, least=0.2)

    flat = (logits_qhw > 0).flatten(1).float()
    common = flat @ flat.T
    ious = common / (flat.sum(1)[:, None] + flat.sum(1)[None] - common).clamp(min=1)
    rounded = scores_q.double().round(decimals=4)
    left = [i for i in range(1, 40) if rounded[i] >= 0.2]
    wanted = []
    while left:
        best = min(left, key=lambda i: (-float(rounded[i]), float(boxes_q4[i, 0])))
        wanted.append(best)
        left = [i for i in left if i != best and ious[best, i] <= 0.1]
    assert len(wanted) < 39
    assert 6 in wanted
    assert 5 not in wanted
    assert scores == [round(float(rounded[i]), 4) for i in wanted]
    assert [box[0] for box in boxes] == [round(float(boxes_q4[i, 0]), 4) for i in wanted]
    assert torch.equal(kept, logits_qhw[wanted])


def test_features_of_the_tracker_give_what_pictures_give(model, images):
    """To the last bit; and the features serve the tracker as before."""
    before = encoded(model, images[:3])
    detector = make_detector(ask(), model, batch=4)
    features = encoded(model, images[:3])
    by_picture = detector.detect(images[:3])
    by_features = detector.detect_features(features, picture_hw=(HEIGHT, WIDTH))
    assert all(by_picture)
    assert all(same(*both) for both in zip(by_picture, by_features, strict=True))
    assert torch.equal(before[1].tokens_n1c, features[1].tokens_n1c)
    assert torch.equal(before[1].high_res_1chw[0], features[1].high_res_1chw[0])


def test_each_frame_goes_through_the_image_encoder_once(model, theirs, images):
    """For the tracker and three texts together; the detector has no trunk and, once the texts are
    encoded, no text encoder of its own."""
    detector = make_detector(ask(), model, batch=4)
    with passes_of(model) as seen:
        detector.detect_features(encoded(model, images[:2]), picture_hw=(HEIGHT, WIDTH))
        assert seen == [1, 1]
    net = theirs[0]
    parts = [
        sum(parameter.numel() for parameter in part.parameters())
        for part in (net, net.vision_encoder.backbone, net.text_encoder, detector._heads.net)
    ]
    assert parts[3] < parts[0] - parts[1] - parts[2]


def test_a_run_of_tracker_and_detector_encodes_each_frame_once(model, images):
    """Detections from the features of the frame that is tracked begin and correct the objects that
    detections of the pictures do, with the same masks; no frame is encoded twice."""
    detector = make_detector(ask("red car", "person", min_score=0.05), model, batch=4)
    config = AssociationConfig(min_score=0.05, birth_score=0.05, hot_start=3, detect_every=2)

    def start():
        size = {"height": HEIGHT, "width": WIDTH, "num_frames": len(images)}
        return IdentityTracker(model, association=config, **size)

    detected = range(0, len(images), config.detect_every)
    by_picture = {i: detector.detect([images[i]], first_frame=i)[0] for i in detected}
    wanted = list(start().track(images, by_picture))
    tracker = start()

    def look(frame_idx):
        if frame_idx not in detected:
            return None
        features = [tracker.features_of(frame_idx)]
        return detector.detect_features(features, picture_hw=(HEIGHT, WIDTH))[0]

    with passes_of(model) as seen:
        rows = list(tracker.track(images, look))
    assert seen == [1] * len(images)
    assert len(rows) == len(wanted) == len(images)
    assert wanted[-1].obj_ids
    for row, other in zip(rows, wanted, strict=True):
        assert row.obj_ids == other.obj_ids
        assert np.array_equal(row.masks_nhw, other.masks_nhw)


def test_batches_of_frames_lie_at_multiples_of_their_size(model, images, monkeypatch):
    """On a device that gains by it, frames are encoded in true batches; wherever one begins and
    ends, a frame gives the same, to the last bit, and the same as the tracker's own features."""
    monkeypatch.setattr("samcore.machine.batches._MOST_FRAMES", {"cpu": 4})
    detector = make_detector(ask(), model, batch=8)
    with passes_of(model) as seen:
        whole = detector.detect(images, first_frame=0)
        assert seen == [4, 4, 4]
    cuts = [0, 3, 7, 8, 11]
    in_parts = [
        found for a, b in pairwise(cuts) for found in detector.detect(images[a:b], first_frame=a)
    ]
    assert all(same(*both) for both in zip(whole, in_parts, strict=True))
    encoder = FrameEncoder(model, height=HEIGHT, width=WIDTH, batch_size=4)
    for batch in encoder.batches(numbered(images, 0)):
        with model.running():
            features = encoder.encode(batch)
        for frame_idx, of_frame in features.items():
            (found,) = detector.detect_features([of_frame], picture_hw=(HEIGHT, WIDTH))
            assert same(found, whole[frame_idx])


def test_texts_are_encoded_once(spec, images, monkeypatch):
    """When a detector is made: not on each frame, and not again for the same texts, which it may
    be asked for twice."""
    asked = []
    encode = transformers.Sam3Model.get_text_features
    monkeypatch.setattr(
        transformers.Sam3Model,
        "get_text_features",
        lambda self, **given: asked.append(len(given["input_ids"])) or encode(self, **given),
    )
    model = load_model(spec, choose_compute("cpu", "bfloat16"))  # another one: nothing is kept
    options = ask("person", "dog", "person")
    found = make_detector(options, model, batch=4).detect(images[:3])
    make_detector(options, model, batch=2).detect(images[:3])
    assert asked == [1, 1]
    assert {item.label for of_frame in found for item in of_frame} == {"person", "dog"}


def test_one_network_serves_all_texts(spec, images, monkeypatch):
    """Other texts take no second network on the device; those that were looked for before, in
    whatever mixture, are not read again; what is found is what a fresh detector finds."""
    loads = []
    load = concepts._load
    monkeypatch.setattr(concepts, "_load", lambda folder: loads.append(folder) or load(folder))
    model = load_model(spec, choose_compute("cpu", "bfloat16"))
    model._heads = None  # as of a model that was just loaded
    detector = make_detector(ask("person"), model, batch=1)
    both = detector.looking_for(["person", "dog"])
    dog = detector.looking_for(["dog"])
    assert len(loads) == 2
    assert both._heads.net is dog._heads.net is detector._heads.net
    (found,) = dog.detect(images[:1])
    model._heads = None
    (wanted,) = make_detector(ask("dog"), model, batch=1).detect(images[:1])
    assert len(loads) == 3
    assert found
    assert same(found, wanted)


def test_a_text_is_looked_for_as_if_alone(model, images, monkeypatch):
    """Several texts at once give what each gives, but for the last bits; labels are texts."""
    monkeypatch.setattr("samcore.machine.batches._MOST_FRAMES", {"cpu": 2})
    together = make_detector(ask(), model, batch=2).detect(images[:1])[0]
    assert {item.label for item in together} == set(TEXTS)
    for text in TEXTS:
        alone = make_detector(ask(text), model, batch=2).detect(images[:1])[0]
        mine = [item for item in together if item.label == text]
        assert [item.score for item in mine] == pytest.approx(
            [item.score for item in alone], abs=2e-4
        )
        for one, other in zip(mine, alone, strict=True):
            assert np.mean(one.mask_hw != other.mask_hw) < 0.01


def test_masks_of_large_pictures_are_made_smaller(model):
    """No larger than 1024 pixels a side; they are enlarged when they are used."""
    image = np.random.default_rng(0).integers(0, 255, (900, 1600, 3), dtype=np.uint8)
    (found,) = make_detector(ask("person"), model, batch=1).detect([image])
    assert found[0].mask_hw.shape == (576, 1024)
    assert found[0].enlarged().shape == (900, 1600)


def test_a_model_without_numbers_is_one_line(model, images, monkeypatch):
    """NaN in a score is no score."""
    detector = make_detector(ask("a text of its own"), model, batch=1)
    weight = detector._heads.net.dot_product_scoring.text_proj.weight
    monkeypatch.setattr(weight, "data", torch.full_like(weight, float("nan")))
    with pytest.raises(ModelError, match="gives no numbers on frame 7"):
        detector.detect(images[:1], first_frame=7)


def test_text_alone_means_this_detector():
    """Without a detector; another one that is named stays, and the bound is the detector's."""
    assert AutomaticPrompts(text=("person",)).detector == "sam3"
    assert AutomaticPrompts(text=("a",), detector="transformers:a/b").detector == "transformers:a/b"
    assert AutomaticPrompts().detector == "masks"
    assert sam3.least_score(AutomaticPrompts(text=("person",))) == 0.5
    assert find_detector("sam3")[0].of_model


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"detector": "sam3"}, "text: the detector sam3 looks for what a text says: give one"),
        ({"text": ["car"], "labels": ["dog"]}, "and 'dog' is none of them: car"),
        ({"text": [" "]}, "wanted words of at most"),
        ({"text": ["car"], "detector": "masks"}, "take transformers:ORG/NAME or sam3"),
    ],
)
def test_words_that_do_not_go_together_are_refused(options, said):
    """By the words alone, on any machine."""
    with pytest.raises(ValueError, match=said):
        AutomaticPrompts(**options)


@pytest.mark.parametrize(
    ("name", "checkpoint", "said"),
    [
        (None, False, "the model sam2.1-tiny does not look for what a text says; take --model"),
        ("nano", False, "the model nano does not look for"),
        ("edgetam", False, "the model edgetam does not look for"),
        ("sam3", True, "the model of --checkpoint does not look for"),
    ],
)
def test_a_model_that_finds_no_texts_is_known_by_its_name(name, checkpoint, said):
    """Before anything is downloaded."""
    with pytest.raises(InputError, match=said):
        check_may_take_text(name, checkpoint=checkpoint)


def test_names_of_models_that_may_find_texts():
    """SAM 3, and whatever only its folder can tell."""
    check_may_take_text("sam3", checkpoint=False)
    check_may_take_text("hf:some/model", checkpoint=False)


def test_a_folder_without_all_that_it_takes_is_one_line(folder, tmp_path):
    """SAM 3's tracker alone, SAM 2, a detector whose weights were left out, no tokenizer, one that
    cannot be read: each says what to take."""

    def look_up(path):
        return look_up_detector(ask(), resolve_model(f"hf:{path}", cache_dir=tmp_path / "cache"))

    look_up(folder)
    for family in ("sam3", "sam2"):
        small_net(family).save_pretrained(tmp_path / family)
        with pytest.raises(InputError, match=f"hf:.*{family} does not look for what a text says"):
            look_up(tmp_path / family)

    shutil.copytree(folder, tmp_path / "torn")
    weights = tmp_path / "torn" / "model.safetensors"
    tensors = load_file(weights)
    save_file({k: v for k, v in tensors.items() if "detr_" not in k}, weights)
    with pytest.raises(ModelError, match="lacks the weights of SAM 3's detector") as caught:
        look_up(tmp_path / "torn")
    assert str(caught.value).endswith("take the whole model, as facebook/sam3")

    shutil.copytree(folder, tmp_path / "wordless")
    for path in (tmp_path / "wordless").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="has no tokenizer, by which a text is read") as caught:
        look_up(tmp_path / "wordless")
    assert "wants tokenizer.json" in str(caught.value)

    (tmp_path / "wordless" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot read the tokenizer in"):
        look_up(tmp_path / "wordless")


def test_too_long_a_text_is_known_early(spec):
    """By the tokenizer, before any weights are read; one of just the length will do."""
    look_up_detector(ask("a" * 30), spec)
    with pytest.raises(InputError) as caught:
        look_up_detector(ask("dog", "b" * 31), spec)
    assert str(caught.value).startswith("text: SAM 3 takes at most 30 pieces of words a text, got")
    assert "got 31 in 'bbb" in str(caught.value)


def test_the_tokenizer_counts_for_the_fingerprint(folder, spec, tmp_path):
    """Besides what the model's own fingerprint holds; without a model there is none."""
    said = fetch_detector(ask(), model=spec, cache_dir=tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1) + "\n")
    other = resolve_model(f"hf:{copy}", cache_dir=tmp_path)
    assert other.fingerprint == spec.fingerprint
    assert fetch_detector(ask(), model=other, cache_dir=tmp_path) != said
    with pytest.raises(ValueError, match="a part of the run's model, which was not given"):
        fetch_detector(ask(), cache_dir=tmp_path)


def test_pictures_have_their_own_texts_and_sizes(model, images):
    """In a batch of pictures each is looked at for its own texts, as if it were alone."""
    pictures = [images[0], images[1][:72], images[2][:, :96]]
    texts = [("person",), ("red car", "dog"), ("dog",)]
    options = ask(min_area=1e-6, max_objects=3)
    rung = Rung(encode_batch=3, object_batch=8, image_size=model.facts.image_size)
    segmenter = ImageSegmenter(model, rung=rung)
    detector = make_detector(options, model, batch=2)

    found = segmenter.by_text(pictures, texts, detector, options)

    for picture, words, of_picture in zip(pictures, texts, found, strict=True):
        (alone,) = segmenter.by_text([picture], [words], detector, options)
        assert of_picture.masks
        assert {mask.label for mask in of_picture.masks} <= set(words)
        for one, other in zip(of_picture.masks, alone.masks, strict=True):
            assert (one.label, one.score) == (other.label, other.score)
            assert np.array_equal(one.mask(), other.mask())
