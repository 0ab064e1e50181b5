"""The table of nano's card is of the shipped weights, and it is as good as nano has to be."""

import pytest

from samcore.machine.device import choose_compute
from samcore.models.known import NANO_DIR
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import SCENE_KINDS
from samcore.scenes.photos import PHOTOGRAPHS
from samcore.training.clips import TEST_SEEDS
from samcore.training.evaluation import EvalPrompt
from tests.bench.nano_quality import (
    FRAME_PROMPTS,
    PROMPTS,
    WORLDS,
    Record,
    WorldsRecord,
    measure_worlds,
    score_one,
)

KINDS_OF_RECORD = ("easy 1", "easy 2", "easy 3", "medium 2", "hard 2")
SEED = 20_004
"""Its three objects are told apart with every kind of prompt: where two swap in some frame, the
last bits of another processor may decide it."""


@pytest.fixture(scope="module")
def record() -> Record:
    """What tests/bench/nano_quality.py wrote beside the weights."""
    return Record.model_validate_json((NANO_DIR / "quality.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def worlds() -> WorldsRecord:
    """What it wrote of the other kinds of scenes."""
    return WorldsRecord.model_validate_json((NANO_DIR / "worlds.json").read_text(encoding="utf-8"))


def test_the_records_are_of_the_shipped_weights(
    record: Record, worlds: WorldsRecord, tmp_path
) -> None:
    """Another file of weights, configuration or input size asks for new records."""
    spec = resolve_model("nano", cache_dir=tmp_path, plain_engine=True)

    for one in (record, worlds.tracked, worlds.prompted):
        assert one.fingerprint == spec.fingerprint
        assert one.size == spec.image_size


def test_the_record_is_whole(record: Record) -> None:
    """Eight scenes of each kind with every kind of prompt, 200 frames long, of test seeds alone."""
    assert record.frames == 200
    found = [(scene.kind, scene.prompt, scene.seed) for scene in record.scenes]
    wanted = {
        (kind, prompt, seed)
        for kind in KINDS_OF_RECORD
        for prompt in PROMPTS
        for seed in TEST_SEEDS[:8]
    }

    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_the_record_of_other_kinds_is_whole(worlds: WorldsRecord) -> None:
    """Eight scenes of 120 frames for each kind and number of objects, and forty frames by
    themselves with every kind of prompt, of test seeds alone."""
    assert (worlds.tracked.frames, worlds.prompted.frames) == (120, 1)
    tracked = [(scene.kind, scene.prompt, scene.seed) for scene in worlds.tracked.scenes]
    prompted = [(scene.kind, scene.prompt, scene.seed) for scene in worlds.prompted.scenes]

    assert sorted(tracked) == sorted(
        (kind, "box", seed) for kind in WORLDS for seed in TEST_SEEDS[:8]
    )
    assert sorted(prompted) == sorted(
        (kind, prompt, seed)
        for kind in WORLDS
        for prompt in FRAME_PROMPTS
        for seed in TEST_SEEDS[:40]
    )


def test_the_card_has_the_records_tables(record: Record, worlds: WorldsRecord) -> None:
    """The numbers that people read are the recorded ones."""
    card = (NANO_DIR / "README.md").read_text(encoding="utf-8")
    assert record.table() in card
    assert worlds.table() in card


@pytest.mark.parametrize("kind", WORLDS)
def test_other_kinds_are_followed(worlds: WorldsRecord, kind: str) -> None:
    """Far better than "the first mask, for ever", also on the kind that was never trained on."""
    row = worlds.tracked.row(kind, "box")

    assert row.j > 2 * row.copy_j


@pytest.mark.parametrize(
    ("kind", "least"),
    [("easy 1", 0.85), ("easy 2", 0.75), ("easy 3", 0.65), ("medium 2", 0.55)],
)
def test_objects_are_followed(record: Record, kind: str, least: float) -> None:
    """Mean J over the frames that show the object: prompted by a box, and over all prompts."""
    over_prompts = record.pooled(lambda scene: scene.kind == kind)

    assert record.row(kind, "box").j >= least
    assert over_prompts.j >= least


@pytest.mark.parametrize("kind", KINDS_OF_RECORD)
def test_no_kind_of_prompt_is_worse(record: Record, kind: str) -> None:
    """Box, point and mask prompts come to about the same."""
    js = [record.row(kind, prompt).j for prompt in PROMPTS]

    assert max(js) - min(js) <= 0.05


@pytest.mark.parametrize("prompt", PROMPTS)
def test_presence_is_told_right(record: Record, prompt: EvalPrompt) -> None:
    """Of the frames of all kinds of scenes, with and without the object."""
    pooled = record.pooled(lambda scene: scene.prompt == prompt)

    assert pooled.present_right >= 0.9
    assert pooled.absent_right is not None
    assert pooled.absent_right >= 0.7
    assert pooled.num_absent > 1000


def test_the_card_names_the_photographs() -> None:
    """Each photograph that scenes are made from is on the card, with its author and licence."""
    card = (NANO_DIR / "README.md").read_text(encoding="utf-8")

    for photo in PHOTOGRAPHS:
        assert f"`{photo.file}` | {photo.subject} | {photo.author} | {photo.licence} |" in card


def test_other_kinds_of_scenes_are_measured(tmp_path) -> None:
    """A short measurement has a row for each kind that was asked for, with prompted frames by
    themselves for each kind of prompt; the kind that was left out of the training is among
    those that are measured by default."""
    spec = resolve_model("nano", cache_dir=tmp_path)
    model = load_model(spec, choose_compute("cpu", "float32"))

    worlds = measure_worlds(spec, model, kinds=("solids 2",), num_scenes=1, frames=3)

    ious = [worlds.prompted.row("solids 2", prompt).prompted_iou for prompt in FRAME_PROMPTS]
    assert all(0 < iou <= 1 for iou in ious)
    assert len(set(ious)) == 3
    assert worlds.tracked.row("solids 2", "box").num_present > 0
    heading, _, solids = worlds.table().splitlines()
    assert solids.endswith(" | ".join(f"{iou:.3f}" for iou in ious) + " |")
    assert heading.count("|") == solids.count("|")
    by_mask = score_one(model, "solids 2", TEST_SEEDS[0], "mask", frames=1, size=128).score
    assert by_mask.prompted_iou is not None
    assert by_mask.prompted_iou > 0.9
    assert (by_mask.num_prompted, by_mask.num_objects) == (2, 0)
    left_out = {name for name, kind in SCENE_KINDS.items() if not kind.trained_on}
    assert {kind.partition(" ")[0] for kind in WORLDS} > left_out


def test_the_weights_are_small() -> None:
    """They come with every installation."""
    assert (NANO_DIR / "nano.safetensors").stat().st_size <= 8_000_000


def test_a_scene_scores_as_recorded(record: Record, tmp_path) -> None:
    """The model as everyone gets it does on a scene of three objects what the record says."""
    (recorded,) = (
        scene
        for scene in record.scenes
        if (scene.kind, scene.seed, scene.prompt) == ("easy 3", SEED, "box")
    )
    model = load_model(resolve_model("nano", cache_dir=tmp_path), choose_compute("cpu", "float32"))

    now = score_one(
        model, "easy 3", SEED, "box", frames=record.frames, size=record.size
    )  # fmt: skip

    assert now.score.j == pytest.approx(recorded.score.j, abs=0.01)
    assert now.score.copy_j == pytest.approx(recorded.score.copy_j, abs=1e-9)
    assert now.score.present_right == pytest.approx(recorded.score.present_right, abs=0.01)
    assert now.score.num_present == recorded.score.num_present
