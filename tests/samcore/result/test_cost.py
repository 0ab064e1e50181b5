"""What a result has cost, from the records of its work."""

import pytest

from samcore.disk.files import FileRecord
from samcore.machine.meters import StageClock
from samcore.result.cost import cost_line, count_cost
from samcore.result.records import ChunkRecord, PassRecord

FILE = FileRecord(name="f", size=1, sha256="0" * 64)


def _chunk(index: int, **changes: object) -> ChunkRecord:
    values = {
        **{"index": index, "start": 0, "stop": 4, "masks": FILE, "state": None, "attempts": 1},
        **{"degradations": (), "device": "GPU", "seconds": 3.0, "frames_per_second": 1.0},
        **{"stages": {"decode": 0.5, "track": 2.0}, "peak_rss_bytes": 1, "peak_vram_bytes": None},
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    return ChunkRecord.model_validate({**values, **changes})


def test_all_seconds_are_of_a_stage() -> None:
    """The stages add up to all device-seconds; work that was lost is one of them, and chunks of
    versions that named no stages count, too."""
    chunks = [_chunk(0), _chunk(1, stages=None, lost_seconds=4.0, device="CPU")]
    prompt_pass = PassRecord(state=FILE, frames=1, seconds=0.25, lost_seconds=1.0)

    cost = count_cost(chunks, [prompt_pass], finding_seconds=2.0, object_frames=49)

    assert cost.stages == {
        **{"find objects": 2.0, "prompts": 0.25, "decode": 0.5, "track": 2.0},
        **{"other": 3.5, "lost": 5.0},
    }
    assert cost.device_seconds == sum(cost.stages.values()) == 13.25
    assert cost.devices == {"GPU": 3.0, "CPU": 7.0}
    assert cost.seconds_per_object_frame == pytest.approx(13.25 / 49, abs=1e-6)
    assert cost_line(cost) == (
        "13.2 device-seconds, 0.27 for each of 49 object-frames; 5.0 of them lost to attempts that "
        "came to nothing"
    )


def test_no_object_costs_nothing_each() -> None:
    """A video in which nothing was found has a cost all the same."""
    cost = count_cost([_chunk(0)], [], finding_seconds=0.0, object_frames=0)
    assert (cost.device_seconds, cost.object_frames) == (3.0, 0)


def test_a_clock_goes_on_from_what_was_counted() -> None:
    """A chunk that was stopped and goes on keeps the seconds of its stages."""
    clock = StageClock({"track": 2.0})
    with clock("write"):
        pass
    assert clock.seconds["track"] == 2.0
    assert clock.seconds["write"] >= 0
