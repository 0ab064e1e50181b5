"""The page as a person sees it: in a browser, wide and narrow, light and dark."""

import json
import re

import numpy as np
import pytest

from samcore.errors import StorageError
from samcore.masks.table import MaskWriter
from samcore.report.gather import MAX_PICTURES, gather
from samcore.report.page import render_report, write_report
from samcore.tracking.outputs import FrameMasks
from samcore.tracking.prompts import Prompt
from tests.samcore.report.conftest import (
    CUT,
    FRAMES,
    GONE,
    HEIGHT,
    JUMP,
    WIDTH,
    chunk,
    seam,
    square,
    write_table,
)

HOSTILE = "y" * 90 + "</script><script>alert(1)</script><img src=x onerror=alert(2)> & <b>bold</b>"


@pytest.fixture(scope="module")
def gathered(video, table):
    from samcore.report.facts import ReportFacts

    plain = ReportFacts(
        title="",
        start=0,
        stop=FRAMES,
        rate=10.0,
        height=HEIGHT,
        width=WIDTH,
        labels={},
        chunks=(),
        seams=(),
    )
    return gather(plain, table, video)


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a page; what it complained of and asked for is noted."""
    contexts = []

    def show(page_text, *, width=1200, dark=False, touch=False):
        path = tmp_path / "report.html"
        path.write_text(page_text)
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            has_touch=touch,
            is_mobile=touch,
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-drawn]", timeout=60_000)
        return page

    yield show
    for context in contexts:
        context.close()


def test_the_page_in_a_browser(opened, facts, gathered):
    """All plots are drawn, without a complaint and without asking any machine for anything; lanes
    and warnings are there, and names are shown as they are and never run."""
    text = render_report(facts(title=HOSTILE, labels={1: HOSTILE, 2: "<b>x", 3: "ball"}), gathered)
    assert "<script>alert" not in text
    assert "<img src=x" not in text

    page = opened(text)

    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    for name in ("lanes", "area", "seams", "memory", "speed", "stages"):
        assert page.locator(f"#plot-{name} svg.main-svg").count() > 0, name
    ticks = " ".join(page.locator("#plot-lanes .ytick text").all_text_contents())
    assert "3 ball" in ticks
    assert "<b>x" in ticks
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("#object-table .label").first.inner_text() == HOSTILE
    kinds = page.locator("ul.findings").evaluate_all("lists => lists.map(x => x.dataset.kind)")
    assert kinds == ["jump", "absence", "doubt", "cut"]
    _check_links(page)
    _check_area(page)
    _check_phone_in_the_dark(page)
    assert page.complaints == []


def _check_links(page):
    """A warning leads to its picture."""
    page.locator(f"a[href='#frame-{GONE}']").first.click()
    shot = page.locator(f"#frame-{GONE}")
    assert shot.evaluate("shot => shot.matches(':target')")
    page.wait_for_function(  # it scrolls smoothly
        "shot => { const box = shot.getBoundingClientRect();"
        "return box.x >= 0 && box.right <= innerWidth && box.bottom > 0 && box.y < innerHeight }",
        arg=shot.element_handle(),
    )
    assert shot.locator("img").evaluate("image => image.complete && image.naturalWidth > 0")


def _check_area(page):
    """The button changes what lanes show."""
    page.get_by_role("button", name="area").click()
    shown = page.evaluate(
        "document.getElementById('plot-lanes').data.filter(t => t.visible !== false && "
        "t.type === 'heatmap').map(t => t.name)"
    )
    assert shown == ["absent", "area"]
    assert page.get_by_role("button", name="area").get_attribute("aria-pressed") == "true"


def _check_phone_in_the_dark(page):
    """Nothing is wider than a phone, and page and plots follow when night falls."""
    page.set_viewport_size({"width": 360, "height": 780})
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "() => document.getElementById('plot-memory').layout.font.color === '#e9ecef' && "
        "document.documentElement.scrollWidth <= 360"
    )
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 60


def test_pictures_show_findings_and_the_whole_way(gathered):
    """Each finding has its picture, and others are spread evenly from the first frame to the last;
    cuts are among the findings."""
    frames = [picture.frame for picture in gathered.pictures]

    assert {0, JUMP, GONE, CUT, FRAMES - 1} <= set(frames)
    assert frames == sorted(frames)
    assert max(np.diff(frames)) <= FRAMES / 12 + 1
    (cut,) = gathered.findings.worst("cut")
    assert cut.frame == CUT


def test_where_objects_begin_is_shown(video, facts, tmp_path):
    """The first frame of each object has a picture that says so, and a prompt that was missed is
    the first thing to look at."""

    def masks(frame_idx):
        return square(10, 10, 20)[None] if frame_idx < 37 else np.stack([square(10, 10, 20)] * 2)

    table = tmp_path / "masks.parquet"
    with MaskWriter(table, height=HEIGHT, width=WIDTH) as writer:
        for frame_idx in range(FRAMES):
            masks_nhw = masks(frame_idx)
            n = len(masks_nhw)
            high = np.full(n, 6, np.float32)
            prompted = np.full(n, frame_idx in (0, 37))
            writer.write(
                FrameMasks(frame_idx, (1, 2)[:n], masks_nhw, high, high / 7, prompted), frame_idx
            )
    prompts = (
        Prompt(1, 0, box_xyxy_px=(9, 9, 31, 31)),
        Prompt(2, 37, box_xyxy_px=(70, 60, 90, 80)),
        Prompt(2, FRAMES + 3, box_xyxy_px=(70, 60, 90, 80)),
    )
    told = facts(prompts=prompts, labels={1: "cat", 2: "dog"})

    shown = gather(told, table, video)

    (missed,) = shown.findings.worst("prompt")
    assert (missed.frame, missed.object_id) == (37, 2)
    assert 37 in [picture.frame for picture in shown.pictures]
    text = render_report(told, shown)
    assert "begins: object 2 (dog)" in text
    assert text.index("Prompts that were missed") < text.index('href="#frame-37"')


def test_one_file_of_bounded_size(video, facts, tmp_path):
    """However much there is to tell: 60 pictures, 2.5 MB of plotly and a page to go with it."""
    rng = np.random.default_rng(3)

    def masks(frame_idx):
        # Everything jumps and flickers all the time.
        spots = rng.integers(0, 80, (12, 2))
        return np.stack([square(x, y % 70, 12 if rng.random() > 0.2 else 0) for x, y in spots])

    table = write_table(tmp_path / "masks.parquet", masks=masks, obj_ids=tuple(range(1, 13)))
    many = facts(
        chunks=tuple(chunk(i, i * FRAMES // 3000, FRAMES, attempts=2) for i in range(3000)),
        seams=tuple(seam(i, i % FRAMES, 0.9) for i in range(3000)),
        labels={i: f"object {i}" for i in range(1, 13)},
    )
    path = tmp_path / "report.html"

    shown = write_report(many, table, video, path)

    text = path.read_text()
    assert len(shown.pictures) <= MAX_PICTURES
    assert text.count("<img ") == len(shown.pictures)
    assert shown.findings.counts["jump"] > 20
    assert "the worst 7 are listed" in text
    assert "The first 100 of 3000 chunks" in text
    figures = json.loads(re.search(r'id="figures"[^>]*>(.*?)</script>', text)[1])
    assert (
        max(
            len(trace.get("x") or ())
            for name in ("seams", "memory", "speed")
            for trace in figures[name]["data"]
        )
        <= 800
    )
    assert len(text) < 5_000_000
    assert text.count("Copyright") == 0  # plotly is there once, and packed


def test_a_run_with_little_to_tell(facts, video, tmp_path):
    """One frame, one chunk, no seam, no finding: the page says so."""
    table = write_table(
        tmp_path / "masks.parquet",
        frames=range(1),
        masks=lambda _: square(10, 10, 20)[None],
        obj_ids=(1,),
    )
    alone = (chunk(0, 0, 1, peak_vram_bytes=None, stages=None),)
    small = facts(stop=1, chunks=alone, seams=(), memory=(), labels={1: None})
    text = render_report(small, gather(small, table, video))

    assert "Nothing odd was found" in text
    assert "There is none: a single chunk" in text
    assert "every chunk was tracked at the first try" in text
    assert 'id="plot-seams"' not in text


def test_a_folder_that_cannot_be_written_to(facts, video, table, tmp_path):
    """One clear error, and nothing half written."""
    with pytest.raises(StorageError, match="there is no folder"):
        write_report(facts(), table, video, tmp_path / "gone" / "report.html")
    assert list(tmp_path.iterdir()) == []
