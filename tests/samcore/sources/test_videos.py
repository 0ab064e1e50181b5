"""Lists of videos: what means one video and what many, and what their results are called."""

from pathlib import Path

import pytest

from samcore.errors import InputError
from samcore.sources.names import stable_names
from samcore.sources.videos import list_videos, means_list, ordered


@pytest.fixture
def tapes(tmp_path: Path) -> Path:
    """b.mp4 (1 byte), a.MKV (3 bytes), new/c.mp4 (2 bytes), a text; frames/ with two pictures."""
    for name, data in (("b.mp4", b"1"), ("a.MKV", b"333"), ("new/c.mp4", b"22"), ("x.txt", b"")):
        path = tmp_path / "tapes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "frames").mkdir()
    for number in range(2):
        (tmp_path / "frames" / f"{number}.png").write_bytes(b"picture")
    return tmp_path / "tapes"


def test_what_means_one_video_and_what_many(tapes: Path) -> None:
    """One file, address or folder of pictures is one video as ever; folders of videos, patterns,
    tables, prefixes and several arguments are lists."""
    (tapes / "todo.csv").write_text("source\nb.mp4\n")
    frames, video = str(tapes.parent / "frames"), str(tapes / "b.mp4")
    one = (video, frames, "s3://b/tapes/a.mp4", "https://h/a.mp4", str(tapes / "missing.mp4"))
    many = (str(tapes), str(tapes / "*.mp4"), str(tapes / "todo.csv"), "s3://b/tapes/", "s3://b")
    assert [text for text in one if means_list([text])] == []
    assert [text for text in many if not means_list([text])] == []
    assert means_list([video, frames])


def test_a_folder_of_both_is_neither(tapes: Path) -> None:
    """Nobody knows what is meant; one line says how to say it."""
    (tapes / "1.jpg").write_bytes(b"picture")
    for call in (means_list, lambda asked: list_videos(asked, columns=())):
        with pytest.raises(InputError, match=r"1 picture and 2 videos.*Name the videos, such as"):
            call([str(tapes)])


def test_names_stay_when_others_are_added(tapes: Path) -> None:
    """Each argument's videos are called by their paths below it; of two alike the later one gets a
    number, and none lies in another one's folder."""
    frames = tapes.parent / "frames"
    first = list_videos([str(tapes)], columns=())
    both = list_videos([str(tapes), str(tapes / "new"), str(frames)], columns=())
    assert [file.name for file in first.files] == ["a.MKV", "b.mp4", "new/c.mp4"]
    assert [file.name for file in both.files] == ["a.MKV", "b.mp4", "new/c.mp4", "frames"]
    assert (first.left_out, both.repeated) == (1, 1)

    places = [("/a/2.mp4", "/a"), ("/b/2.mp4", "/b"), ("/c/2.mp4/z.mp4", "/c")]
    assert stable_names(places) == ["2.mp4", "2-2.mp4", "2-3.mp4/z.mp4"]
    assert stable_names([("s3://b/t/a.mp4", "s3://b/t"), ("s3://b/u", "s3://b")]) == ["a.mp4", "u"]
    assert stable_names([("https://h/a/v.mp4?x=1", "https://h/a")]) == ["v.mp4"]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("given", ["new/c.mp4", "a.MKV", "b.mp4", "frames", "v.mp4"]),
        ("name", ["a.MKV", "b.mp4", "frames", "new/c.mp4", "v.mp4"]),
        ("smallest", ["b.mp4", "new/c.mp4", "a.MKV", "frames", "v.mp4"]),
        ("largest", ["frames", "a.MKV", "new/c.mp4", "b.mp4", "v.mp4"]),
    ],
)
def test_order(tapes: Path, order: str, names: list[str]) -> None:
    """Sizes are those of files, of a folder of pictures that of all of them; what is not known
    without opening it comes last."""
    pattern = str(tapes / "*" / "*.mp4")
    asked = [pattern, str(tapes), str(tapes.parent / "frames"), "https://h/v.mp4"]
    found = list_videos(asked, columns=())
    # The pattern's own names begin behind what is fixed in it.
    assert [file.name for file in ordered(found.files, order)] == names


def test_rows_are_videos_of_their_own(tapes: Path) -> None:
    """Two rows may name one video; what a row says beside it is kept as it stands there."""
    table = tapes / "todo.jsonl"
    table.write_text('{"source": "b.mp4", "stop": 3}\n{"source": "b.mp4", "detect-every": "4"}\n')
    found = list_videos([str(table)], columns=("stop", "detect_every"))
    assert [dict(file.said.options) for file in found.files] == [{"stop": 3}, {"detect_every": "4"}]
    assert [file.name for file in found.files] == ["b.mp4", "b-2.mp4"]
    with pytest.raises(InputError, match=r"todo.jsonl, line 1: unknown column 'stop'"):
        list_videos([str(table)], columns=("chunk_frames",))
