"""What a result has cost: the seconds that devices were held for it."""

from collections import defaultdict
from collections.abc import Sequence

from samcore.progress import counted
from samcore.result.published import CostRecord
from samcore.result.records import ChunkRecord, PassRecord


def count_cost(
    chunks: Sequence[ChunkRecord],
    passes: Sequence[PassRecord],
    *,
    finding_seconds: float,
    object_frames: int,
) -> CostRecord:
    """Add up what a run has cost.

    Args:
        chunks: All of them.
        passes: Over prompted frames; one for each direction, if any.
        finding_seconds: That a device was held for detection before the first chunk.
        object_frames: Rows of the table.
    """
    stages: defaultdict[str, float] = defaultdict(float)
    devices: defaultdict[str, float] = defaultdict(float)
    if finding_seconds:
        stages["find objects"] += finding_seconds
    for done in passes:
        stages["prompts"] += done.seconds
    for chunk in chunks:
        known = chunk.stages or {}
        for name, seconds in known.items():
            stages[name] += seconds
        stages["other"] += max(0.0, chunk.seconds - sum(known.values()))
        devices[chunk.device] += chunk.seconds + chunk.lost_seconds
    done_all: list[ChunkRecord | PassRecord] = [*chunks, *passes]
    lost = sum(done.lost_seconds for done in done_all)
    if lost:
        stages["lost"] += lost
    total = sum(stages.values())
    return CostRecord(
        device_seconds=round(total, 3),
        stages={name: round(seconds, 3) for name, seconds in stages.items()},
        devices={name: round(seconds, 3) for name, seconds in devices.items()},
        object_frames=object_frames,
        seconds_per_object_frame=round(total / max(1, object_frames), 6),
    )


def cost_line(cost: CostRecord) -> str:
    """What it has cost, for a person."""
    lost = f"; {cost.lost:.1f} of them lost to attempts that came to nothing" if cost.lost else ""
    each, of = f"{cost.seconds_per_object_frame:.3g}", counted(cost.object_frames, "object-frame")
    return f"{cost.device_seconds:.1f} device-seconds, {each} for each of {of}{lost}"
