"""Networks of the package transformers: small random ones from a folder, without a network."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from samcore.detectors import transformers as ours
from samcore.detectors.detector import fetch_detector, look_up_detector, make_detector
from samcore.errors import InputError, ModelError
from samcore.prompts.automatic import AutomaticPrompts
from samcore.scenes import Scene
from tests.samcore.detectors.examples import hub_folder

LABELS = {"person", "car", "dog"}


class OnCpu:
    device = torch.device("cpu")


@pytest.fixture(scope="module")
def image():
    return next(iter(Scene(3, num_frames=4, height=96, width=128))).image_rgb_hwc_u8


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = hub_folder(tmp_path_factory.mktemp(kind) / "net", kind)
        return made[kind]

    return get


def ask(folder, **options):
    return AutomaticPrompts(detector=f"transformers:{folder}", **{"min_score": 0, **options})


def test_types_are_those_of_the_package():
    """Each type that is taken is one of the package's, of the right kind."""
    from transformers.models.auto import modeling_auto as auto

    assert set(ours.OF_KINDS) <= set(auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES)
    assert set(ours.BY_TEXT) <= set(auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES)


@pytest.mark.parametrize("kind", ["rt_detr", "d_fine"])
def test_networks_that_know_kinds_find_them(kind, folders, image):
    """Boxes within the picture, with the labels of the configuration, best first; a bound leaves
    out the rest and nothing else."""
    options = ask(folders(kind))
    look_up_detector(options)
    (found,) = make_detector(options, OnCpu(), batch=1).detect([image])
    assert {item.label for item in found} <= LABELS
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 2
    middle = scores[len(scores) // 2]
    (few,) = make_detector(ask(folders(kind), min_score=middle), OnCpu(), batch=1).detect([image])
    kept = [item.box_xyxy_px for item in few if item.score >= middle]
    assert kept == [item.box_xyxy_px for item in found if item.score >= middle]


@pytest.mark.parametrize("kind", ["grounding-dino", "owlv2"])
def test_networks_that_read_find_what_a_text_says(kind, folders, image):
    """An object's label is one of the texts, of several words, too."""
    options = ask(folders(kind), text=["red car", "person"])
    look_up_detector(options)
    (found,) = make_detector(options, OnCpu(), batch=1).detect([image])
    assert found
    assert {item.label for item in found} <= {"red car", "person"}
    (again,) = make_detector(options, OnCpu(), batch=1).detect([image])
    assert [item.box_xyxy_px for item in again] == [item.box_xyxy_px for item in found]


def test_a_text_counts_as_its_best_word(folders, image):
    """Of a network that scores words, the score of a text is that of its best word, and the best
    text is the label: as the package has it, where texts are of one word each."""
    folder = folders("grounding-dino")
    (found,) = make_detector(ask(folder, text=["car", "dog"]), OnCpu(), batch=1).detect([image])
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(folder)
    net = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=image, text="car. dog.", return_tensors="pt")
    with torch.inference_mode():
        said = net(**inputs)
    scores_ql = said.logits[0].sigmoid()
    words = {1: "car", 3: "dog"}
    best = scores_ql[:, [1, 3]].max(dim=1)
    wanted = sorted(
        (
            (round(float(score), 4), words[(1, 3)[int(which)]])
            for score, which in zip(best.values, best.indices, strict=True)
        ),
        key=lambda one: (-one[0], one[1]),
    )
    assert [(item.score, item.label) for item in found] == wanted


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("rt_detr", {"text": ["car"]}, "is a rt_detr, which knows its own labels only"),
        ("rt_detr", {"labels": ["cat"]}, "does not know 'cat'; it knows car, dog, person"),
        ("owlv2", {}, "looks for what a text says: give one, such as --text"),
        ("owlv2", {"text": ["a. b"]}, "without a full stop"),
        ("owlv2", {"text": ["car"], "labels": ["dog"]}, "does not know 'dog'; it knows car"),
    ],
)
def test_what_does_not_go_together_is_said_early(kind, options, said, folders):
    """By the configuration alone, before any weights are read."""
    with pytest.raises(InputError) as caught:
        look_up_detector(ask(folders(kind), **options))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_long_a_text_is_one_line(folders, image):
    """The number of pieces that the network takes is in it."""
    options = ask(folders("grounding-dino"), text=["red car"] * 12)
    with pytest.raises(InputError, match="takes at most 32 pieces of words, got 38"):
        make_detector(options, OnCpu(), batch=1).detect([image])


def test_a_folder_that_is_no_detector_is_one_line(folders, tmp_path):
    """Another type of model, no configuration, no weights, no preparation, no folder."""
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="of the type 'bert', which detects nothing here; wanted"):
        look_up_detector(ask(tmp_path / "bert"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        look_up_detector(ask(tmp_path / "empty"))
    with pytest.raises(ModelError, match=r"--detect transformers:.*none names; wanted an existing"):
        look_up_detector(ask(tmp_path / "none"))
    with pytest.raises(ModelError, match="such as transformers:ustc-community/dfine-small-coco"):
        look_up_detector(ask("none"))

    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((folders("rt_detr") / "config.json").read_bytes())
    (bare / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin, which may run code"):
        fetch_detector(ask(bare), cache_dir=tmp_path)
    (bare / "model.safetensors").write_bytes(
        (folders("rt_detr") / "model.safetensors").read_bytes()
    )
    with pytest.raises(ModelError, match=r"cannot tell how .* has pictures or texts prepared"):
        make_detector(ask(bare), OnCpu(), batch=1)


def test_a_model_that_is_not_here_is_one_line(monkeypatch, tmp_path):
    """Without a network, or without the package: what to do is in the line, for this option."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        look_up_detector(ask("nobody/nothing"))
    said = str(caught.value)
    assert said.startswith("transformers:nobody/nothing is not on this machine")
    assert said.endswith("take --detect transformers:FOLDER")
    assert "\n" not in said

    monkeypatch.setattr("samcore.models.transformers.family.missing_extra", lambda _: "pip x")
    with pytest.raises(ModelError, match="--detect transformers:a/b needs the packages transfor"):
        look_up_detector(ask("a/b"))


def test_a_gated_model_says_where_its_licence_is(monkeypatch):
    """The hub's own answer, in the words that models get, with this option's name."""
    from samcore.models.transformers import hub

    class Refused(Exception):
        response = type("Response", (), {"status_code": 403})()

    monkeypatch.setattr("huggingface_hub.errors.GatedRepoError", Refused)
    monkeypatch.setattr(hub, "is_logged_in", lambda: True)
    said = hub._why_refused(ours._place("nobody/gated"), Refused())
    assert said.startswith("transformers:nobody/gated does not let your account in: accept its")


def test_every_file_counts_for_the_fingerprint(folders, tmp_path):
    """Weights, the configuration, and how pictures are prepared; not the folder's name."""
    folder = folders("rt_detr")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    said = fetch_detector(ask(folder), cache_dir=tmp_path)
    assert fetch_detector(ask(copy), cache_dir=tmp_path) == said
    prepared = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps({**prepared, "do_resize": False}))
    assert fetch_detector(ask(copy), cache_dir=tmp_path) != said


def test_the_caller_keeps_its_random_numbers(folders):
    """Loading a network leaves torch's generator as it was."""
    before = torch.get_rng_state()
    make_detector(ask(folders("rt_detr")), OnCpu(), batch=1)
    assert np.array_equal(before.numpy(), torch.get_rng_state().numpy())
