"""From a request over pictures to one exact run: what names it, and what is refused."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.images.plan import PlannedImages, describe_list, plan_images, read_asked, shard_size
from flows.images.request import default_text_detector, validate_images
from samcore.errors import InputError, SegmentationError
from samcore.limits import DEFAULT_LIMITS
from samcore.machine.device import choose_compute
from samcore.picture_runs.read_ahead import read_ahead
from tests.samcore.picture_runs.conftest import picture_png

ROOT = Path(__file__).parents[3]
Plan = Callable[..., PlannedImages]
BOX = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 50, 50]}]}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for place in range(3):
        (pictures / f"{place}.png").write_bytes(picture_png(place))
    return pictures


@pytest.fixture
def plan(folder: Path, tmp_path: Path) -> Plan:
    """Plan a run over them; keywords change the request."""
    return lambda **changes: plan_images(
        validate_images(
            **{
                "pictures": [str(folder)],
                "prompts": BOX,
                "destination": str(tmp_path / "out"),
                "model": "nano",
                "device": "cpu",
                **changes,
            }
        )
    )


def test_what_changes_masks_changes_the_result(plan: Plan, folder: Path, tmp_path: Path) -> None:
    """Prompts, the model's input, a replaced picture and another list do; where the pictures lie,
    how they are cut into shards and whether they are drawn do not."""
    first = plan().record
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    other = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 40, 50]}]}]}

    assert plan(pictures=[str(moved)]).record.result_key == first.result_key
    shards = plan(shard_pictures=1).record
    assert (shards.result_key, len(shards.shards)) == (first.result_key, 3)
    assert shards.work_key != first.work_key
    bare = plan(overlay=False).record
    assert bare.result_key == first.result_key
    assert bare.work_key != first.work_key
    keys = {first.result_key}
    for changes in ({"prompts": other}, {"image_size": 64}, {"prompts": None, "everything": {}}):
        keys.add(plan(**changes).record.result_key)
    (folder / "1.png").write_bytes(picture_png(9, side=65))
    keys.add(plan().record.result_key)
    (folder / "2.png").unlink()
    keys.add(plan().record.result_key)
    assert len(keys) == 6


def test_a_changed_mask_of_a_prompt_is_another_run(plan: Plan, folder: Path) -> None:
    """By options and by a table's rows."""
    table = folder / "t.jsonl"
    table.write_text('{"path": "0.png", "prompts": [{"mask": "m.png"}], "labels": "disc"}\n')
    masks = {"objects": [{"id": 1, "prompts": [{"frame": 0, "mask": str(folder / "m.png")}]}]}
    keys = set()
    for content in (picture_png(0), picture_png(1, side=70)):
        (folder / "m.png").write_bytes(content)
        keys.add(plan(prompts=masks, any_mask_path=True, pictures=[str(folder / "0.png")]).record)
        keys.add(plan(prompts=None, pictures=[str(table)]).record)
    assert len({record.result_key for record in keys}) == 4


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ('"labels": ["a"]', "line 1: labels name the objects of prompts"),
        ('"prompts": [{"box": [1, 2, 3]}]', r"line 1: object 1, prompts\[0\]\.box"),
        ('"prompts": [{"mask": "../m.png"}]', "line 1: mask file ../m.png lies outside"),
        ('"prompts": [{"mask": "none.png"}]', "line 1: there is no mask file"),
        ('"prompts": "none.json"', "line 1: there is no prompts file"),
        (
            '"prompts": [{"points": [[1, 1, 1]]}], "labels": ["a", "b"]',
            "line 1: labels: wanted one",
        ),
    ],
)
def test_a_row_that_cannot_be_is_named(plan: Plan, folder: Path, row: str, wanted: str) -> None:
    """Before anything is segmented."""
    table = folder / "t.jsonl"
    table.write_text(f'{{"path": "0.png", {row}}}\n')

    with pytest.raises(InputError, match=wanted):
        plan(prompts=None, pictures=[str(table)])


def test_a_name_that_is_not_utf8_stops_no_other_picture(
    plan: Plan, folder: Path, tmp_path: Path
) -> None:
    """It is in the list with what is wrong; named by itself it is refused."""
    odd = folder / os.fsdecode(b"\xff.png")
    odd.write_bytes(picture_png(0))
    run = plan()

    assert run.lay_out() is None

    entries = run.folder.entries(0, 4)
    assert tuple(entries) == run.entries
    faults = [entry.fault for entry in entries if entry.fault]
    assert faults == ["its name is not UTF-8: rename the file"]
    (read,) = read_ahead(entries, first=0, batch=4, fetch=None, limits=DEFAULT_LIMITS)
    assert [one.error for one in read if one.picture is None] == faults
    with pytest.raises(InputError, match=r"a valid string.*udcff\.png"):
        plan(pictures=[str(odd)])


def test_every_picture_needs_something_to_look_for(plan: Plan, folder: Path) -> None:
    """A table that says it for some pictures only is refused, unless the request says the rest."""
    table = folder / "t.csv"
    table.write_text('path,prompts\n0.png,"[{""box"": [10, 10, 50, 50]}]"\n1.png,\n2.png,\n')

    with pytest.raises(InputError, match=r"on .*1\.png and 1 more: give --box"):
        plan(prompts=None, pictures=[str(table)])
    entries = plan(pictures=[str(table)]).entries
    assert [entry.prompts is not None for entry in entries] == [True, False, False]


def test_the_list_is_described(folder: Path) -> None:
    """How many pictures, and what was left out."""
    (folder / "note.txt").write_text("x")
    request = validate_images(
        pictures=[str(folder / "0.png"), str(folder)], prompts=BOX, destination=str(folder / "out")
    )

    said = describe_list(read_asked(request))

    assert said == "3 pictures, 1 repetition left out, 1 other file passed over"


def test_shards_take_some_minutes() -> None:
    """More pictures of a small input, one at least of a large one, never too many to repeat."""
    cpu = choose_compute("cpu", "float32")

    sizes = [shard_size(cpu, side) for side in (64, 256, 512, 1024, 8192)]

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 512
    assert sizes[-1] >= 1


def test_texts_have_a_detector(tmp_path: Path) -> None:
    """The model's own where it has one, whatever its folder is called; else one of the hub."""
    assert default_text_detector("nano").startswith("transformers:")
    assert default_text_detector(None).startswith("transformers:")
    assert default_text_detector("sam3") == "sam3"
    assert default_text_detector("hf:facebook/sam3") == "sam3"
    for name, model_type in (("a", "sam3_video"), ("sam3", "sam2_video")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert default_text_detector(f"hf:{tmp_path / 'a'}") == "sam3"
    assert default_text_detector(f"hf:{tmp_path / 'sam3'}").startswith("transformers:")


def test_a_model_without_texts_is_refused(tmp_path: Path) -> None:
    """SAM 3's detector is a part of SAM 3: with another model one line says so, before a picture
    is looked at."""
    (tmp_path / "dog.png").write_bytes(picture_png(0))
    request = validate_images(
        pictures=[str(tmp_path / "dog.png")],
        model="nano",
        detector={"detector": "sam3", "text": ["dog"]},
        destination=str(tmp_path / "out"),
    )
    with pytest.raises(SegmentationError, match="text"):
        read_asked(request)


def test_the_table_of_the_operators_page_is_one(plan: Plan, tmp_path: Path) -> None:
    """What the page shows can be read as it stands."""
    page = (ROOT / "infra" / "README.md").read_text()
    (example,) = re.findall(r"```\n(path,text,prompts,labels\n.*?)```", page, flags=re.DOTALL)
    for name in ("dog.jpg", "cat.jpg"):
        (tmp_path / name).write_bytes(picture_png(0))
    (tmp_path / "todo.csv").write_text(example)
    request = validate_images(
        pictures=[str(tmp_path / "todo.csv")],
        detector={"detector": "transformers:ORG/NAME", "text": ["x"]},
        destination=str(tmp_path / "out"),
    )
    with pytest.MonkeyPatch.context() as patch:
        # Its network is not on this machine.
        patch.setattr("flows.images.plan.look_up_detector", lambda _: None)
        dog, cat = read_asked(request).entries

    assert dog.texts == ("red car", "dog")
    assert cat.prompts is not None
    assert [(one.id, one.label) for one in cat.prompts.objects] == [(1, "cat"), (2, "ball")]


@pytest.mark.parametrize("begun_with_amx", [True, False])
def test_a_run_goes_on_in_the_arithmetic_that_it_was_begun_in(
    plan: Plan, on_cpu: Callable[..., None], begun_with_amx: bool
) -> None:
    """Another kind of CPU plans the same run, unless the person names a dtype."""
    on_cpu(amx=begun_with_amx)
    begun = plan(image_size=64)
    begun.lay_out()
    on_cpu(amx=not begun_with_amx)
    went_on = plan(image_size=64)

    begun_in, other = ("bfloat16", "float32") if begun_with_amx else ("float32", "bfloat16")
    assert went_on.record == begun.record
    assert went_on.ref == begun.ref
    assert went_on.record.dtype == begun_in
    assert plan(image_size=64, dtype=other).ref.key != begun.ref.key


def test_how_many_devices_share_a_run_does_not_name_it(plan: Plan) -> None:
    """Two processes have the keys of one; each gets a device."""
    one, two = plan(), plan(device="cpu,cpu")

    assert two.ref == one.ref
    assert (one.devices, two.devices) == (("cpu",), ("cpu", "cpu"))
    for wrong in ("cpu,", "cpu,auto", "cuda:x", "tpu"):
        with pytest.raises(InputError, match=f"wanted auto, cpu, .*; got '{wrong}'$"):
            plan(device=wrong)
