"""torchvision's networks, with random weights from a file; nothing is downloaded."""

import hashlib
import urllib.error

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model_weights

from samcore.detectors import torchvision as ours
from samcore.detectors.coco_labels import COCO_LABELS
from samcore.detectors.detector import (
    DETECTORS,
    check_detector,
    fetch_detector,
    look_up_detector,
    make_detector,
)
from samcore.errors import InputError, ModelError
from samcore.prompts.automatic import AutomaticPrompts
from samcore.scenes import Scene
from tests.samcore.detectors.examples import SSD, torchvision_weights

NAMES = DETECTORS.get("torchvision").choices


class OnCpu:
    device = torch.device("cpu")


@pytest.fixture(scope="module")
def image():
    return next(iter(Scene(3, num_frames=4, height=120, width=160))).image_rgb_hwc_u8


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return torchvision_weights(tmp_path_factory.mktemp("weights") / "ssd.pth")


def ask(name, file="", **options):
    return AutomaticPrompts(
        detector=f"torchvision:{name}:{file}" if file else f"torchvision:{name}", **options
    )


def test_labels_are_those_of_the_weights():
    """Our list of names is the one that all published weights were trained with."""
    for name in NAMES:
        known = get_model_weights(name)["DEFAULT"].meta["categories"]
        assert {n: label for n, label in enumerate(known) if n and label != "N/A"} == COCO_LABELS


def test_detections_are_those_of_torchvision(weights, image):
    """Boxes, scores and labels are what the network itself says of the picture; a bound leaves out
    the rest and nothing else."""
    (found,) = make_detector(ask(SSD, weights, min_score=0), OnCpu(), batch=1).detect([image])
    net = ours.build_network(SSD, weights)
    with torch.inference_mode():
        (said,) = net([torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255])
    names = [COCO_LABELS.get(number, "") for number in said["labels"].tolist()]
    scores = [round(score, 4) for score in said["scores"].tolist()]
    boxes = map(tuple, said["boxes"].tolist())
    wanted = sorted(
        ((score, name, box) for score, name, box in zip(scores, names, boxes, strict=True)),
        key=lambda one: (-one[0], *one[1:]),
    )
    assert [(item.score, item.label, item.box_xyxy_px) for item in found] == wanted
    assert len(found) > 10

    bound = found[0].score
    (few,) = make_detector(ask(SSD, weights, min_score=bound), OnCpu(), batch=1).detect([image])
    sure = [item.box_xyxy_px for item in found if item.score >= bound]
    assert [item.box_xyxy_px for item in few if item.score >= bound] == sure


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[1:])
def test_every_network_can_be_built_and_used(name, image, tmp_path):
    """Each with random weights; Mask R-CNN gives masks."""
    path = torchvision_weights(tmp_path / "net.pth", name)
    (found,) = make_detector(ask(name, path, min_score=0), OnCpu(), batch=1).detect([image])
    assert found
    assert all((item.mask_hw is not None) == name.startswith("maskrcnn") for item in found)


def test_weights_come_in_several_forms(weights, tmp_path):
    """Safetensors, weights within a dictionary, and such without counts of batches, as published
    ones are: the same network."""
    tensors = torch.load(weights, weights_only=True)
    few = {key: one for key, one in tensors.items() if not key.endswith("num_batches_tracked")}
    torch.save({"model": few}, tmp_path / "a.pth")
    save_file(few, tmp_path / "b.safetensors")
    nets = [ours.build_network(SSD, path) for path in (weights, *sorted(tmp_path.iterdir()))]
    for net in nets[1:]:
        for one, other in zip(nets[0].parameters(), net.parameters(), strict=True):
            assert torch.equal(one, other)


def test_weights_that_do_not_fit_are_one_line(weights, tmp_path):
    """Missing, strange or other tensors, no numbers, no tensors at all: the line names the file."""
    tensors = torch.load(weights, weights_only=True)
    key = next(iter(tensors))
    without = {name: one for name, one in tensors.items() if name != key}
    for content, said in (
        (without, f"lacks 1 of its tensors, such as {key}"),
        ({**tensors, "more": torch.zeros(1)}, "has besides 1 of its tensors, such as more"),
        ({**tensors, key: torch.zeros(3)}, f"has other sizes of 1 of its tensors, such as {key}"),
        ({**tensors, key: tensors[key] * float("nan")}, "gives no numbers"),
        ([1, 2], "holds no weights"),
    ):
        torch.save(content, tmp_path / "bad.pth")
        with pytest.raises(ModelError) as caught:
            ours.build_network(SSD, tmp_path / "bad.pth")
        assert said in str(caught.value)
        assert str(tmp_path / "bad.pth") in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ModelError, match="cannot read the weights"):
        ours.build_network(SSD, tmp_path / "text.pth")


def test_what_is_wrong_is_said_before_anything_is_loaded(tmp_path):
    """Names, labels and files that are not there."""
    with pytest.raises(InputError, match=r"unknown network: got 'yolo', known are ssdlite"):
        check_detector(
            AutomaticPrompts.model_construct(detector="torchvision:yolo", labels=(), text=())
        )
    with pytest.raises(ValueError, match="does not know 'unicorn'; it knows person, bicycle"):
        ask(SSD, labels=["person", "unicorn"])
    with pytest.raises(InputError, match="there is no file"):
        look_up_detector(ask(SSD, tmp_path / "none.pth"))


def test_weights_are_downloaded_when_they_are_named(weights, tmp_path, monkeypatch):
    """Once, into torchvision's own cache, under the digest in their name; a file there that has
    another one is damaged."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    asked = []

    def download(url, path, prefix, progress):
        asked.append((url, prefix))
        with open(path, "wb") as out:
            out.write(weights.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(ours, "_url", lambda name: f"https://example.org/{name}-{digest[:8]}.pth")
    said = [fetch_detector(ask(SSD), cache_dir=tmp_path) for _ in range(2)]
    assert said[0] == said[1]
    assert asked == [(f"https://example.org/{SSD}-{digest[:8]}.pth", digest[:8])]
    assert make_detector(ask(SSD), OnCpu(), batch=1)
    assert fetch_detector(ask(SSD, weights), cache_dir=tmp_path) == said[0]

    (kept,) = (tmp_path / "hub" / "checkpoints").iterdir()
    kept.write_bytes(b"other")
    with pytest.raises(ModelError, match="is damaged: its SHA-256 begins with") as caught:
        fetch_detector(ask(SSD), cache_dir=tmp_path)
    assert str(kept) in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("no network"), RuntimeError('invalid hash value (expected "a")')],
)
def test_offline_the_line_says_where_the_file_goes(tmp_path, monkeypatch, error):
    """Where the weights are from, where to put them, and how to name a file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ModelError) as caught:
        fetch_detector(ask(SSD), cache_dir=tmp_path)
    said = str(caught.value)
    name = get_model_weights(SSD)["DEFAULT"].url.rpartition("/")[2]
    assert str(tmp_path / "hub" / "checkpoints" / name) in said
    assert f"torchvision:{SSD}:FILE" in said
    assert "\n" not in said
