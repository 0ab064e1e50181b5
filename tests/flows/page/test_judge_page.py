"""A result on the page, in a real browser: looked at, corrected, compared with the one before."""

import io
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.commands.demo_video import demo_scene
from flows.commands.open_page import what_to_open
from samcore.errors import VideoError
from samcore.masks.table import MaskReader
from samcore.prompts.file import parse_prompts
from samcore.result.manifest import read_manifest
from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter
from tasks.publish import publish
from tasks.request.segment_request import validate_request
from tasks.settings import load_settings
from tests.flows.page.browsing import click_lane, looking, opened, pixels_of, to_frame
from tests.flows.page.test_run_page import server_for_runs as server_for_runs
from tests.tasks.conftest import _track_chunks

PICTURE = Path(__file__).parents[3] / "infra" / "page.png"
FRAMES, CLICKED = 96, 50
GONE = range(51, 80)
"""Where shape 1 of the demo's scene is out of the picture."""


@pytest.fixture(scope="module")
def demo() -> Scene:
    return demo_scene()


@pytest.fixture(scope="module")
def made(demo: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's scene at half its speed, and its result with the run's folder."""
    folder = tmp_path_factory.mktemp("judge")
    video = folder / "scene.mp4"
    with VideoWriter(video, width=demo.width, height=demo.height, rate=Fraction(12)) as writer:
        for frame in demo:
            writer.write(frame.image_rgb_hwc_u8)
    objects = [
        {
            "id": obj_id,
            "label": f"shape {obj_id}",
            "prompts": [{"frame": 0, "box": list(box_of(demo.masks_nhw(0)[obj_id - 1]))}],
        }
        for obj_id in demo.obj_ids
    ]
    request = validate_request(
        source=str(video),
        prompts=parse_prompts({"objects": objects}),
        destination=str(folder / "out"),
        model="nano",
        settings={"device": "cpu"},
        chunk_frames=24,
        overlap=4,
        report=False,
    )
    publish.fn(_track_chunks(request), request)
    return folder / "out"


def rows_of(result: Path, obj_id: int) -> dict[int, bytes]:
    with MaskReader(result / "masks.parquet") as reader:
        return {row.frame: row.packed() for row in reader.rows() if row.object_id == obj_id}


def middle(demo: Scene, frame: int, obj_id: int) -> tuple[float, float]:
    x1, y1, x2, y2 = box_of(demo.masks_nhw(frame)[obj_id - 1])
    return (x1 + x2) / 2, (y1 + y2) / 2


def test_a_result_is_judged_corrected_and_compared(
    server_for_runs: None, chromium: Any, demo: Scene, made: Path, tmp_path: Path
) -> None:
    """`open RESULT` shows the result with its prompts. Each finding leads to its place. A click on
    a mask selects its object and becomes a correction from there on; the page says what a run
    would track; the run tracks that and leaves all else to the bit; and the two results are shown
    one after the other and side by side."""
    tracked = shutil.copytree(made, tmp_path / "out")
    before = {obj_id: rows_of(tracked, obj_id) for obj_id in (1, 2)}
    with opened(tracked) as served, looking(chromium, served) as window:
        page = window.page
        page.wait_for_selector("body[data-run=done][data-lanes='2']")
        labels = page.eval_on_selector_all(".object input", "all => all.map((one) => one.value)")
        assert labels == ["shape 1", "shape 2"]
        assert page.is_hidden("#which")
        assert page.inner_text("#run-line") == "Done."

        # A finding leads to its place and its object.
        found = page.locator(".finding", has_text="absent for")
        assert "shape 1: absent for 2." in found.inner_text()
        found.click()
        page.wait_for_selector(f"body[data-frame='{GONE[0]}'][data-result='{GONE[0]}']")
        assert set(pixels_of(window)) == {2}
        assert "1" in page.inner_text(".object.selected")
        page.press("#stage", "Home")
        page.press("#stage", "f")
        page.wait_for_selector(f"body[data-frame='{GONE[0]}']")
        click_lane(window, 1, 20 / 95)
        page.wait_for_selector("body[data-frame='20'][data-result='20']")
        assert "2" in page.inner_text(".object.selected .pick")

        # A click on a mask is for its object, whichever is selected.
        to_frame(window, CLICKED, shows="result")
        page.keyboard.press("1")
        page.wait_for_selector("#model[data-state=ready]")
        place = middle(demo, CLICKED, 2)
        window.click(*place, button="right")
        window.saved(1)
        assert "2" in page.inner_text(".object.selected .pick")
        saved = served.session.project.objects[1].prompts[1]
        assert (saved.frame, saved.from_here, saved.points[0][2]) == (CLICKED, True, 0)
        page.keyboard.press("Control+z")
        window.saved(2)
        window.click(*place)
        window.saved(3)
        line = f"A new run tracks object 2 from frame {CLICKED}: {FRAMES - CLICKED} frames."
        page.get_by_text(line).wait_for()
        asked = json.loads((tracked / "prompts.json").read_text())["objects"][1]["prompts"]
        assert asked[1] | {"points": []} == {"frame": CLICKED, "points": [], "from_here": True}
        assert asked[1]["points"][0] == pytest.approx([*place, 1], abs=1)

        # Run again.
        key = read_manifest(tracked).key
        assert page.inner_text("#run-start") == "Run again"
        page.click("#run-start")
        page.wait_for_selector("body[data-run=running]")
        page.wait_for_selector("body[data-run=done]")
        manifest = read_manifest(tracked)
        assert manifest.key != key
        assert manifest.correction is not None
        assert manifest.correction.changed == {2: CLICKED}
        after = {obj_id: rows_of(tracked, obj_id) for obj_id in (1, 2)}
        assert after[1] == before[1]
        changed = [frame for frame in range(FRAMES) if after[2][frame] != before[2][frame]]
        assert changed
        assert changed[0] >= CLICKED

        # Before and after, at any frame.
        to_frame(window, changed[-1], shows="result")
        now = pixels_of(window)
        page.click("[data-which=before]")
        page.wait_for_selector(f"body[data-before='{changed[-1]}']")
        then = pixels_of(window, "before")
        with MaskReader(tracked / "masks.parquet") as reader:
            assert now == {
                row.object_id: row.area
                for row in reader.rows(changed[-1], changed[-1] + 1)
                if row.area
            }
        assert then.keys() == now.keys()
        page.press("#stage", "v")
        page.wait_for_selector("[data-which=split][aria-checked=true]")
        edge = page.locator("#edge")
        box = edge.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] - 100, box["y"] + 30)
        page.mouse.up()
        assert edge.bounding_box()["x"] == pytest.approx(box["x"] - 113, abs=2)
        edge.press("ArrowRight")
        assert edge.bounding_box()["x"] > box["x"] - 113


def test_the_readmes_picture(chromium: Any, made: Path, tmp_path: Path) -> None:
    """The README's picture is the page as it is. `WRITE_PICTURES=1` takes it anew: each machine has
    letters of its own."""
    taken = tmp_path / PICTURE.name
    result = shutil.copytree(made, tmp_path / "out")
    with opened(result) as served, looking(chromium, served) as window:
        page = window.page
        page.wait_for_selector("body[data-run=done][data-lanes='2']")
        page.wait_for_selector("#model[data-state=ready]")
        to_frame(window, 90, shows="result")
        window.press("1")
        page.wait_for_selector(".object.selected")
        page.wait_for_function(
            """async () => (await import("/static/state.js")).state.encode?.frame === 90"""
        )
        page.wait_for_selector("#busy", state="hidden")
        page.mouse.move(0, 0)
        png = page.screenshot()
    # Few colours, as the picture is fetched with the README.
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(200, dither=Image.Dither.NONE).save(taken, optimize=True)
    if os.environ.get("WRITE_PICTURES") == "1":
        shutil.copy(taken, PICTURE)
    sizes = [path.stat().st_size for path in (taken, PICTURE)]
    assert max(sizes) < 200_000
    kept = Image.open(io.BytesIO(PICTURE.read_bytes())).convert("RGB")
    assert picture.size == kept.size == (1280, 800)
    assert np.abs(np.asarray(picture, dtype=float) - np.asarray(kept, dtype=float)).mean() < 8


def test_what_is_gone_is_said(made: Path, tmp_path: Path) -> None:
    """A result whose video is gone says so, with the way out, which works; one whose run's folder
    is gone can be looked at, and says that its prompts are."""
    result = tmp_path / "moved"
    shutil.copytree(made, result, ignore=shutil.ignore_patterns(".longtake", "pro*.json"))
    manifest = json.loads((result / "manifest.json").read_text())
    manifest["request"]["source"] = str(tmp_path / "gone.mp4")
    (result / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VideoError, match="gone") as raised:
        what_to_open(str(result), {}, None, load_settings())
    assert f"longtake open VIDEO -o {result}" in str(raised.value)
    assert "\n" not in str(raised.value)

    video = made.parent / "scene.mp4"
    opened = what_to_open(str(video), {}, str(result), load_settings())
    assert (opened.request.model, opened.request.chunk_frames) == ("nano", 24)
    assert opened.note is not None
    assert str(result / "prompts.json") in opened.note
