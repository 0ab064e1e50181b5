"""The flow with other prompts for a finished run."""

from collections.abc import Callable
from pathlib import Path

from flows.commands.lines import result_lines
from flows.segment_video import segment_video
from tasks.request.segment_request import SegmentRequest

CHUNKS = {"image_size": 64, "stop": 14, "chunk_frames": 6, "overlap": 2, "force": True}
BOX = {"frame": 0, "box": [10, 10, 60, 60]}


def test_a_corrected_run_says_what_it_tracked(
    prefect_api: str, ask: Callable[..., SegmentRequest], tmp_path: Path
) -> None:
    """The masks are those of a run that was asked so; the closing lines say what was tracked again
    and what the states weigh that the next correction begins from."""
    more = {"frame": 9, "points": [[40, 40, 1]], "from_here": True}
    first = {"objects": [{"id": 1, "prompts": [BOX]}]}
    corrected = {"objects": [{"id": 1, "prompts": [BOX, more]}]}
    segment_video(ask(**CHUNKS, prompts=first))

    result = segment_video(ask(**CHUNKS, prompts=corrected))

    lines = list(result_lines(result, seconds=1.0))
    assert "tracked again: 10 of 14 frames, 1 of 1 object; all else is as it was" in lines
    (kept,) = (line for line in lines if line.startswith("kept to correct it from: "))
    assert kept.endswith(" MB of states (--no-keep-states drops them)")
    fresh = ask(**CHUNKS, prompts=corrected, destination=str(tmp_path / "fresh"), keep_states=False)
    there = segment_video(fresh)
    masks = [Path(one.destination) / "masks.parquet" for one in (result, there)]
    assert masks[0].read_bytes() == masks[1].read_bytes()
    assert not any("again" in line or "kept" in line for line in result_lines(there, seconds=1.0))
    states = [*Path(result.destination).glob(".longtake/runs/*/chunks/*/state.safetensors")]
    assert segment_video(ask(**CHUNKS, prompts=corrected)).was_there
    assert all(state.exists() for state in states)
    assert segment_video(ask(**CHUNKS, prompts=corrected, keep_states=False)).was_there
    own = [*Path(result.destination).glob(".longtake/runs/*/chunks/*/state.safetensors")]
    assert 0 < len(own) < len(states)  # those of the run that it corrects are its own
