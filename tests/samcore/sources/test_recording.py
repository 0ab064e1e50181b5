"""What names the files of one recording."""

import pytest

from samcore.errors import InputError
from samcore.sources.recording import recording_parts


def test_files_lists_folders_and_patterns_keep_their_order(tmp_path):
    """Files as named; lines of a list, relative to it; a folder's videos by their numbers."""
    card = tmp_path / "card"
    card.mkdir()
    names = ["clip2.mp4", "clip10.mp4", "clip1.mp4"]
    for name in names:
        (card / name).write_bytes(b"x")
    (card / "notes.md").write_text("no video")
    in_order = [str(card / f"clip{number}.mp4") for number in (1, 2, 10)]
    listed = tmp_path / "parts.txt"
    listed.write_text("# of Monday\n\ncard/clip10.mp4\n https://host/x.mp4 \n")

    assert recording_parts([str(card / name) for name in names]) == [str(card / n) for n in names]
    assert recording_parts([str(card)]) == in_order
    assert recording_parts([str(card / "clip1*.mp4")]) == [in_order[0], in_order[2]]
    assert recording_parts([str(listed)]) == [in_order[2], "https://host/x.mp4"]
    assert recording_parts([in_order[1], str(listed)])[0] == in_order[1]


def test_what_names_no_recording_is_refused(tmp_path):
    """One line says what is wrong."""
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x")

    with pytest.raises(InputError, match="named more than once"):
        recording_parts([str(video), str(video)])
    with pytest.raises(InputError, match=r"cannot read the list .*gone\.txt"):
        recording_parts([str(tmp_path / "gone.txt")])
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text in UTF-8"):
        recording_parts([str(tmp_path / "bad.txt")])
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="no videos"):
        recording_parts([str(tmp_path / "empty.txt")])
