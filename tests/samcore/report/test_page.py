"""The page as a person sees it: in a browser, wide and narrow, light and dark."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from samcore.errors import StorageError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskWriter
from samcore.prompts.prompt import Prompt
from samcore.report.facts import MemorySample
from samcore.report.gather import MAX_PICTURES
from samcore.report.page import render_report
from tests.samcore.report.conftest import (
    BACK,
    CUT,
    DOUBT,
    FRAMES,
    GONE,
    HEIGHT,
    JUMP,
    WIDTH,
    chunk,
    masks_of,
    seam,
    square,
    write_table,
)
from tests.samcore.viewing import gather, write_report

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
    _check_troubles(page)
    _check_links(page)
    _check_drawn(page, figures_in(text))
    _check_area(page)
    _check_phone_in_the_dark(page)
    assert page.complaints == []


def test_the_page_says_when_objects_were_not_tracked(facts, gathered):
    """It is beside those that retired, the first few times; other runs have no such column."""
    times = tuple(f"retired at {frame}, returned at {frame + 9}" for frame in (10, 30, 50, 70, 90))
    text = render_report(facts(retirements={1: times[:1], 3: times}), gathered)

    assert ">not tracked</th>" in text
    assert ">retired at 10, returned at 19</td>" in text
    assert "retired at 70, returned at 79; and 1 more</td>" in text
    assert "not tracked</th>" not in render_report(facts(), gathered)


def figures_in(page_text):
    """What the page's plots show, by their names."""
    return json.loads(re.search(r'id="figures"[^>]*>(.*?)</script>', page_text)[1])


def traces_in(figure):
    """A plot's traces by their names."""
    return {trace.get("name"): trace for trace in figure["data"]}


def _check_drawn(page, figures):
    """The browser drew every trace of the page's data, and none is without a line, bar or mark."""
    for name, figure in figures.items():
        shown = page.evaluate(
            "name => document.getElementById('plot-' + name).data.map(trace => trace.name)", name
        )
        assert shown == [trace.get("name") for trace in figure["data"]]
    lines = page.locator("#plot-memory .scatterlayer .trace path.js-line")
    assert lines.count() == len(figures["memory"]["data"])
    assert all(lines.evaluate_all("lines => lines.map(line => line.getTotalLength() > 0)"))
    areas = page.locator("#plot-area .scatterlayer path.js-line")
    assert areas.count() == 4  # three objects; one is in two parts, before and after it was away
    assert page.locator("#plot-seams .points path").count() == 2
    assert page.locator("#plot-speed .bars .point").count() == 3
    assert page.locator("#plot-lanes .heatmaplayer image").count() == 2  # absent and score


def _check_troubles(page):
    """The chunk that was tried again is listed with its frames, tries and what it gave up."""
    rows = page.locator("#troubles tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    assert rows == [["1", "40 to 83", "3", "frame 50: encoder batch 4 to 2"]]


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


def test_lanes_show_where_each_object_is(facts, gathered):
    """Of each object and frame: grey exactly where it is absent, else how sure the tracker is and
    how large it is, from the masks' own pixels."""
    lanes = traces_in(figures_in(render_report(facts(), gathered))["lanes"])
    area_fn = np.stack([masks_of(frame).sum(axis=(1, 2)) for frame in range(FRAMES)], axis=1)
    away = set(range(GONE, BACK))

    assert [len(lanes[name]["z"]) for name in ("absent", "score", "area")] == [3, 3, 3]
    for row, absent in enumerate((away, set(), set())):
        grey, score, area = (lanes[name]["z"][row] for name in ("absent", "score", "area"))
        assert len(grey) == len(score) == len(area) == FRAMES
        assert {frame for frame, value in enumerate(grey) if value is not None} == absent
        assert {frame for frame, value in enumerate(score) if value is None} == absent
        assert {frame for frame, value in enumerate(area) if value is None} == absent
        for frame in set(range(FRAMES)) - absent:
            doubted = row == 2 and DOUBT <= frame < DOUBT + 5
            assert score[frame] == pytest.approx(0.55 if doubted else 0.998, abs=0.001)
            largest = area_fn[row].max()
            assert area[frame] == pytest.approx(area_fn[row, frame] / largest, abs=0.001)
        told = [pixels for _, _, pixels in lanes["score"]["customdata"][row]]
        assert told == area_fn[row].tolist()
    assert lanes["absent"]["x"] == lanes["score"]["x"] == list(range(FRAMES))
    jump = lanes["May be another object"]
    assert (jump["x"], jump["y"]) == ([JUMP], [1])
    assert (lanes["Long absences"]["x"], lanes["Long absences"]["y"]) == ([GONE], [0])


def test_areas_are_those_of_the_masks(facts, gathered):
    """In percent of the picture, frame by frame; a gap where the object is absent."""
    lines = figures_in(render_report(facts(), gathered))["area"]["data"]

    assert [line["name"] for line in lines] == ["1 ball", "2", "3"]
    for row, line in enumerate(lines):
        assert line["x"] == list(range(FRAMES))
        for frame, percent in enumerate(line["y"]):
            pixels = int(masks_of(frame)[row].sum())
            wanted = pytest.approx(100 * pixels / (HEIGHT * WIDTH), abs=0.001) if pixels else None
            assert percent == wanted, (row, frame)


def test_memory_is_what_was_measured(facts, gathered):
    """Each chunk's peak lies over its own frames, and the samples where they were taken, for main
    and GPU memory alike; on a machine without a GPU there is no line of one."""
    ram, gpu = (900, 1250, 1100), (2000, 3500, 2250)
    spans = ((0, 44), (40, 84), (80, 120))
    chunks = tuple(
        chunk(i, *spans[i], peak_rss_bytes=ram[i] * 10**6, peak_vram_bytes=gpu[i] * 10**6)
        for i in range(3)
    )
    samples = tuple(MemorySample(f, (800 + f) * 10**6, (1500 + f) * 10**6) for f in (0, 45, 119))
    drawn = render_report(facts(chunks=chunks, memory=samples), gathered)
    lines = {name: (line["x"], line["y"]) for name, line in _memory(drawn).items()}

    ends = [0, 40, 40, 80, 80, 120]
    assert lines == {
        "RAM, peak of the chunk": (ends, [0.9, 0.9, 1.25, 1.25, 1.1, 1.1]),
        "RAM in use": ([0, 45, 119], [0.8, 0.845, 0.919]),
        "GPU, peak of the chunk": (ends, [2.0, 2.0, 3.5, 3.5, 2.25, 2.25]),
        "GPU in use": ([0, 45, 119], [1.5, 1.545, 1.619]),
    }
    without = tuple(replace(one, peak_vram_bytes=None) for one in chunks)
    drawn = render_report(facts(chunks=without), gathered)
    assert list(_memory(drawn)) == ["RAM, peak of the chunk", "RAM in use"]


def _memory(page_text):
    return traces_in(figures_in(page_text)["memory"])


def test_seams_and_speed_lie_at_their_frames(facts, gathered):
    """Each seam's agreement is at its first frame, one that is identical in another colour; and
    the chunk that gave something up has another colour than those that did not."""
    figures = figures_in(render_report(facts(), gathered))

    (seams,) = figures["seams"]["data"]
    assert (seams["x"], seams["y"]) == ([40, 80], [1.0, 0.97])
    identical, other = seams["marker"]["color"]
    assert identical != other
    assert "identical" in seams["text"][0]
    assert "identical" not in seams["text"][1]
    (speed,) = figures["speed"]["data"]
    assert (speed["x"], speed["width"]) == ([0, 40, 80], [40, 40, 40])
    assert speed["y"] == pytest.approx([44 / 3, 44 / 3, 40 / 3], abs=0.01)
    first, degraded, last = speed["marker"]["color"]
    assert first == last != degraded
    (stages,) = figures["stages"]["data"]
    assert dict(zip(stages["y"], stages["x"], strict=True)) == {
        "prompt pass": 0.4,
        "decode": 1.5,
        "track": 7.5,
    }


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
    assert "given: a box for object 2 (dog)" in text
    assert text.count("<p>given:") == 2
    # It is drawn into the pictures of its frames, and into no others.
    without = gather(replace(told, prompts=()), table, video)
    pictures, bare = ({p.frame: p.jpeg for p in content.pictures} for content in (shown, without))
    assert {frame for frame in bare if pictures[frame] != bare[frame]} == {0, 37}
    assert text.index("Prompts that were missed") < text.index('href="#frame-37"')


def test_report_is_one_file_of_bounded_size(video, facts, tmp_path):
    """However much there is to tell: 80 pictures, 2.5 MB of plotly and a page to go with it."""
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

    write_report(many, table, video, path)

    shown, text = gather(many, table, video), path.read_text()
    assert len(shown.pictures) <= MAX_PICTURES
    assert text.count("<img ") == len(shown.pictures)
    assert shown.findings.counts["jump"] > 20
    assert "the worst 7 are listed" in text
    assert "The first 100 of 3000 chunks" in text
    figures = figures_in(text)
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


def test_report_of_a_run_with_little_to_tell(facts, video, tmp_path):
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


def test_what_to_know_of_the_video_is_said(facts, gathered):
    """Changes of size and restarts of the clock stand in the page, as text."""
    text = render_report(facts(remarks=("the clock <b>starts</b> again at frame 25",)), gathered)

    assert "the clock &lt;b&gt;starts&lt;/b&gt; again at frame 25" in text


def test_a_folder_that_cannot_be_written_to(facts, video, table, tmp_path):
    """One clear error, and nothing half written."""
    with pytest.raises(StorageError, match="there is no folder"):
        write_report(facts(), table, video, tmp_path / "gone" / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_report_on_a_full_disk_is_one_clear_line(facts, full_disk, video, table, tmp_path, share):
    """Wherever it fills up, the line names the page, and the one that was there stays."""
    path = tmp_path / "report.html"
    write_report(facts(), table, video, path)
    before = path.read_bytes()

    for out in (path, tmp_path / "other.html"):
        with (
            full_disk(int(len(before) * share)),
            pytest.raises(StorageError, match="the disk is full; free some space") as caught,
        ):
            write_report(facts(title="later"), table, video, out)
        assert str(caught.value).startswith(f"cannot write {out}: ")
        assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["report.html"]
    assert path.read_bytes() == before
