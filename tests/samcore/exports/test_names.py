"""Exports of a folder of pictures call each frame as the picture is called."""

import dataclasses
import json
import urllib.parse

import pytest

from samcore.errors import StorageError
from samcore.exports import write_export
from samcore.masks.table import MaskReader, MaskWriter
from samcore.result import Result
from samcore.video import NAMES_KEY, FrameNames
from tests.samcore.exports.conftest import NUM_FRAMES, START, STOP

TRACKED = range(START, STOP)
NAMINGS = {
    "from 1": [f"{n + 1:04d}.jpg" for n in range(NUM_FRAMES)],
    "every fifth": [f"{5 * n:05d}.jpg" for n in range(NUM_FRAMES)],
    "gaps": [f"img_{n * n}.png" for n in range(NUM_FRAMES)],
    "words": [f"{chr(97 + n)} & ö.png" for n in range(NUM_FRAMES)],
}


@pytest.fixture(params=NAMINGS)
def named(request, case, tmp_path):
    """The awkward result, of a folder of pictures; and the pictures' names."""
    files = tuple(NAMINGS[request.param])
    video = case.masklets.video.model_copy(
        update={"kind": "images", "source": "/data/my pictures.d"}
    )
    table = tmp_path / "named.parquet"
    metadata = {NAMES_KEY: FrameNames(files).to_text()}
    with (
        MaskReader(case.masklets.table) as reader,
        MaskWriter(table, height=video.height, width=video.width, metadata=metadata) as writer,
    ):
        for row in reader.rows():
            writer.write_row(row)
    return dataclasses.replace(case.masklets, table=table, video=video), files


def test_every_format_has_the_names(named, tmp_path):
    """COCO, DAVIS, MOTS and Label Studio name the pictures that were tracked, in their order."""
    masklets, files = named
    out = {}
    for name in ("coco-video", "coco-image", "davis-png", "mots-png", "label-studio"):
        out[name] = tmp_path / name
        write_export(masklets, name, out[name])
    paths = [f"my pictures.d/{files[n]}" for n in TRACKED]
    stems = {files[n].rpartition(".")[0] + ".png" for n in TRACKED}

    video = json.loads((out["coco-video"] / "annotations.json").read_text())
    assert video["videos"][0]["file_names"] == paths
    images = json.loads((out["coco-image"] / "annotations.json").read_text())["images"]
    assert [image["file_name"] for image in images] == paths
    tasks = json.loads((out["label-studio"] / "brush.json").read_text())
    addresses = [urllib.parse.unquote(task["data"]["image"]) for task in tasks]
    assert [address.partition("?d=")[2] for address in addresses] == paths
    for name in ("davis-png", "mots-png"):
        assert {path.name for path in out[name].rglob("*.png")} == stems


@pytest.mark.parametrize("name", ["mots-txt", "mot-txt", "mask-video"])
def test_formats_that_count_frames_say_which_picture_each_is(named, tmp_path, name):
    """Lines have the numbers in the names, if all have one, and `frames.json` has the names."""
    masklets, files = named
    out = tmp_path / name
    write_export(masklets, name, out)

    frames = json.loads((out / "frames.json").read_text())["frames"]
    assert [item["frame"] for item in frames] == list(TRACKED)
    assert [item["file_name"] for item in frames] == [f"my pictures.d/{files[n]}" for n in TRACKED]
    numbers = {
        "0001.jpg": range(1, NUM_FRAMES + 1),
        "00000.jpg": range(0, 5 * NUM_FRAMES, 5),
        "img_0.png": [n * n for n in range(NUM_FRAMES)],
    }.get(files[0], range(1, NUM_FRAMES + 1))
    assert [item["number"] for item in frames] == [numbers[n] for n in TRACKED]
    if name.endswith("txt"):
        (text,) = out.glob("*.txt")
        said = {int(line.replace(",", " ").split()[0]) for line in text.read_text().splitlines()}
        assert said <= {item["number"] for item in frames}
        assert len(said) > 5


def test_numbers_are_those_of_the_names():
    """The last number in each name counts, where all have one and they ascend."""
    assert FrameNames(("0000.jpg", "0005.jpg")).numbers == (0, 5)
    assert FrameNames(("v2_7.jpg", "v2_9.jpg")).numbers == (7, 9)
    assert FrameNames(("a1.jpg", "b1.jpg")).numbers is None
    assert FrameNames(("a1.jpg", "b.jpg")).numbers is None


@pytest.mark.parametrize("text", ['["../../a.jpg"]', '[".."]', '["a/b.jpg"]', "[1]", "{}", "["])
def test_a_name_that_leads_elsewhere_is_refused(text):
    """Names come from a file that may be a stranger's, and become the names of files."""
    with pytest.raises(StorageError, match="names of frames are damaged"):
        FrameNames.from_text(text, where="masks.parquet")


def test_names_of_another_video_are_refused(named, tmp_path):
    """As many names as frames, or the table is not that of the video."""
    masklets, _ = named
    video = masklets.video.model_copy(update={"num_frames": NUM_FRAMES + 1})
    with pytest.raises(StorageError, match="names 20 frames, the video has 21"):
        write_export(dataclasses.replace(masklets, video=video), "davis-png", tmp_path / "x")


def test_frames_of_a_video_file_have_no_names(published):
    """A program that reads a result is not told names that there are not."""
    assert [frame.name for frame in Result(published)] == [None] * len(TRACKED)
