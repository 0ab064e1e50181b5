"""Formats that are asked for with the masks."""

from collections.abc import Callable
from pathlib import Path

from flows.commands.lines import result_lines
from flows.segment_video import segment_video
from tasks.request.segment_request import SegmentRequest

Ask = Callable[..., SegmentRequest]


def test_a_run_publishes_the_formats_asked_for(prefect_api: str, ask: Ask) -> None:
    """They are in the result when the run ends, the overlay at its usual place; one that is asked
    for later is added without tracking."""
    tiny = {
        "stop": 6,
        "chunk_frames": 6,
        "overlap": 0,
        "report": False,
        "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
    }
    result = segment_video(ask(**tiny, formats=("mots-txt", "overlay")))

    assert (result.exports, result.has_overlay) == (("mots-txt",), True)
    folder = Path(result.destination)
    assert (folder / "overlay.mp4").is_file()
    assert len((folder / "exports" / "mots-txt" / "clip.txt").read_text().splitlines()) == 6
    assert f"the masks as mots-txt: {folder}/exports/mots-txt" in list(
        result_lines(result, seconds=1)
    )

    again = segment_video(ask(**tiny, formats=("mots-txt", "coco-image")))
    assert again.was_there
    assert again.exports == ("coco-image", "mots-txt")
