"""What holds for every format: whole or absent, one clear line, flat memory."""

import dataclasses
import os
import signal
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from samcore.errors import InputError, StorageError
from samcore.exports import FORMATS, by_object, check_formats, folder, write_export
from samcore.exports.folder import files_in
from samcore.exports.source import ExportSource
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskReader, MaskWriter
from samcore.video import VideoWriter, open_video

FROM_MASKS = [item.name for item in FORMATS if not item.sees_frames]


@pytest.mark.parametrize("name", FROM_MASKS)
def test_each_format_says_what_it_wrote(case, tmp_path, name):
    """The files are those that are there; progress ends at all of it; twice gives equal bytes."""
    seen = []
    write_export(case.masklets, name, tmp_path / "a", on_progress=lambda *step: seen.append(step))
    write_export(case.masklets, name, tmp_path / "b")

    files = list(files_in(tmp_path / "a"))
    assert files == sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_an_unknown_format_is_told_with_the_known_ones(case, tmp_path):
    """One line that lists them all; nothing is made."""
    with pytest.raises(InputError) as caught:
        write_export(case.masklets, "coco", tmp_path / "out")
    assert str(caught.value) == f"unknown format: got 'coco', known are {', '.join(FORMATS.names)}"
    assert os.listdir(tmp_path) == []
    assert [item.name for item in check_formats(["mot-txt", "cvat-xml", "mot-txt"])] == [
        "mot-txt",
        "cvat-xml",
    ]


def test_what_is_there_is_kept_unless_told(case, tmp_path):
    """A folder with something in it is refused with the way out; replaced, it is so as a whole."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out is there already and not empty.*--force"):
        write_export(case.masklets, "mot-txt", out)
    assert os.listdir(out) == ["notes.txt"]

    write_export(case.masklets, "mot-txt", out, replace=True)
    assert sorted(os.listdir(out)) == [f"{case.masklets.sequence}.txt", "objects.json"]

    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is in the way"):
        write_export(case.masklets, "mot-txt", tmp_path / "file", replace=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


@pytest.mark.parametrize("name", FROM_MASKS)
def test_damaged_masks_leave_nothing(case, tmp_path, name):
    """A mask that cannot be one is told with its frame and object; the old folder stays."""
    bad = tmp_path / "bad.parquet"
    video = case.masklets.video
    with (
        MaskReader(case.masklets.table) as reader,
        MaskWriter(bad, height=video.height, width=video.width) as writer,
    ):
        for row in reader.rows():
            is_bad = (row.frame, row.object_id) == (11, 12)
            writer.write_row(dataclasses.replace(row, counts=row.counts[:-1]) if is_bad else row)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    masklets = dataclasses.replace(case.masklets, table=bad)
    if name in ("coco-image", "mot-txt"):  # copy runs as they are, or need none
        return
    with pytest.raises(StorageError, match="frame 11, object 12: damaged mask"):
        write_export(masklets, name, tmp_path / "out", replace=True)
    assert sorted(os.listdir(tmp_path)) == ["bad.parquet", "out"]
    assert os.listdir(tmp_path / "out") == ["old"]


def test_a_table_of_other_frames_is_refused(case, tmp_path):
    """A table that does not fit its manifest is not exported in part."""
    masklets = dataclasses.replace(case.masklets, start=3)
    with pytest.raises(StorageError, match="frame 2 has not what its manifest says"):
        write_export(masklets, "coco-image", tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [item.name for item in FORMATS if not item.sees_frames])
def test_objects_that_nobody_announced_are_written(case, tmp_path, name):
    """A table may have objects that no request named: every format writes them like the others."""
    announced = dataclasses.replace(case.masklets, object_ids=(1, 40))
    assert announced.object_ids == (1, 7, 12, 40)

    written = case.write(name, tmp_path)
    write_export(announced, name, tmp_path / "announced")

    assert [*files_in(tmp_path / "announced")] == [*files_in(written)]
    for file in files_in(written):
        assert (tmp_path / "announced" / file).read_bytes() == (written / file).read_bytes()


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """Masks with the video that was tracked, for the format that shows its frames."""
    folder = tmp_path_factory.mktemp("filmed")
    rng = np.random.default_rng(0)
    with VideoWriter(folder / "v.mp4", width=64, height=48, rate=Fraction(30)) as writer:
        for _ in range(10):
            writer.write(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8))
    video = open_video(folder / "v.mp4")
    table = folder / "masks.parquet"
    one = np.ones(1, np.float32)
    with MaskWriter(table, height=48, width=64) as writer:
        for frame in range(10):
            mask_bhw = np.zeros((1, 48, 64), bool)
            mask_bhw[:, 10:30, frame : frame + 20] = True
            writer.write(FrameMasks(frame, (1,), mask_bhw, one, one, one > 2), pts=frame)
    return ExportSource(table, video.info, 0, 10, (1,), {1: "car"}), video


@pytest.mark.parametrize("name", FORMATS.names)
@pytest.mark.parametrize("share", [0, 0.2, 0.6, 0.999])
def test_a_full_disk_is_one_clear_line(case, filmed, full_disk, tmp_path, name, share):
    """Wherever it fills up, in the spool file or the result, at its beginning or its last bytes,
    the line is clear and names the place, nothing is left, and an older result stays."""
    masklets, video = filmed if FORMATS.get(name).sees_frames else (case.masklets, None)
    write_export(masklets, name, tmp_path / "x", video=video)
    before = {file: (tmp_path / "x" / file).read_bytes() for file in files_in(tmp_path / "x")}
    room = int(max(map(len, before.values())) * share)

    for out in ("x", "y"):
        with full_disk(room), pytest.raises(StorageError, match="free some space") as caught:
            write_export(masklets, name, tmp_path / out, video=video, replace=True)
        assert str(tmp_path / out) in str(caught.value)
        assert ".tmp" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["x"]
    after = {file: (tmp_path / "x" / file).read_bytes() for file in files_in(tmp_path / "x")}
    assert after == before


def test_a_folder_that_cannot_be_written_is_told(case, tmp_path):
    """The reason is in the line, with the folder's name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/out"):
        write_export(case.masklets, "mot-txt", tmp_path / "file" / "out")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import conftest
from samcore.exports import write_export

def kill(done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

tmp = Path(sys.argv[1])
write_export(conftest.make_case(tmp / "case").masklets, "davis-png", tmp / "out" / "x",
             on_progress=kill)
"""


def test_a_killed_export_leaves_no_folder(case, tmp_path):
    """Killed in the middle, there is no folder under its name, and the next try makes it whole."""
    (tmp_path / "case").mkdir()
    out = tmp_path / "out"
    code = KILLED.format(folder=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = os.listdir(out)
    assert left.startswith(".x.")
    assert left.endswith(".tmp")

    write_export(case.masklets, "davis-png", out / "x")
    assert len(list((out / "x").rglob("*.png"))) == len(case.masks)


def test_names_are_listed_in_turn(tmp_path, monkeypatch):
    """All files in their paths' order, also if some are removed on the way; a few names are held,
    however many files there are."""
    monkeypatch.setattr(folder, "_BATCH", 8)
    there = [Path("a", f"{i:05d}") for i in range(50)] + [Path("b"), Path("c", "d", "e")]
    for path in there:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "empty").mkdir()
    assert list(folder.files_in(tmp_path)) == there
    for place, path in enumerate(folder.files_in(tmp_path)):
        assert path == there[place]
        (tmp_path / path).unlink()

    peaks = []
    monkeypatch.setattr(folder, "_BATCH", 100)
    for count in (300, 3000):
        for i in range(count):
            (tmp_path / f"{i:05d}").touch()
        # Other tests' threads may have memory at the same time: the least is what listing takes.
        peaks.append(min(_peak_of(lambda: _count_files(tmp_path)) for _ in range(5)))
        assert _count_files(tmp_path) == count
    assert peaks[1] < peaks[0] + 20_000


def _count_files(place):
    return sum(1 for _ in folder.files_in(place))


def _peak(masklets, name, place):
    return _peak_of(lambda: write_export(masklets, name, place))


def _peak_of(work):
    """Bytes; other tests' threads may have some at the same time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["coco-video", "label-studio", "cvat-xml"])
def test_memory_does_not_grow_with_the_video(tmp_path, monkeypatch, make_case, name):
    """ExportSource are told one after another without any being held: six times the frames take
    hardly more memory."""
    monkeypatch.setattr(by_object, "BATCH_BYTES", 30_000)
    noise = np.random.default_rng(0).random((8, 33, 47)) < 0.5

    def draw(frame):
        return {1: noise[frame % 8], 2: noise[(frame + 1) % 8]}

    peaks = []
    for frames in (20, 120):
        place = tmp_path / str(frames)
        place.mkdir()
        masklets = make_case(place, draw=draw, ids=(1, 2), labels={}, start=0, stop=frames).masklets
        peaks.append(min(_peak(masklets, name, place / str(turn)) for turn in range(3)))
    # The longer one's table holds 300 kB more.
    assert peaks[1] < peaks[0] + 100_000
