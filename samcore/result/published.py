"""The JSON records of what is published beside the masks, and of what a manifest says of it."""

from samcore.chunks.seams import SeamReport
from samcore.result.records import Record


class SeamRecord(Record):
    """`seam.json`, in the later chunk's folder: how far it agrees with the one before."""

    left_masks_sha256: str
    right_masks_sha256: str
    """The tables that were compared."""
    report: SeamReport


class SeamList(Record):
    """`seams.json`: one report for each seam, in order."""

    seams: tuple[SeamReport, ...]


class CostRecord(Record):
    """What a result has cost. Seconds are those in which a run held a device, whether that was busy
    or not; waiting for a device, the scan of the video and the outputs beside the masks are not
    among them."""

    device_seconds: float
    """All of it."""
    stages: dict[str, float]
    """The same by stage: what chunks waited for, `prompts` for the prompt pass, `find objects` for
    detection before it, `lost` for work that came to nothing, `other` for the rest."""
    devices: dict[str, float]
    """The same by device, but for what is not of a chunk."""
    object_frames: int
    """Rows of the table: a frame and an object that has begun."""
    seconds_per_object_frame: float
    """All of it by that number."""

    @property
    def lost(self) -> float:
        """Seconds of work that came to nothing, as far as is known."""
        return self.stages.get("lost", 0.0)


class Timings(Record):
    """Seconds."""

    prompt_pass: float
    tracking: float
    """Sum over all chunks, whichever run tracked them."""


class Peaks(Record):
    """The most memory that any chunk, or the prompt pass, used."""

    rss_bytes: int
    vram_bytes: int | None


class StreamCounts(Record):
    """What became of a stream's frames for a while."""

    received: int = 0
    """Frames that came, the dropped ones included."""
    dropped: int = 0
    """Frames that were not tracked, as there was no room for them to wait."""
    reconnected: int = 0
    """Times that the source was gone; nobody knows how many frames that were."""
    restarted: int = 0
    """Times that the process that tracks was; likewise."""
    latency_sum_ms: float = 0.0
    """From the arrival of a frame to its rows; the sum over all tracked frames."""
    latency_max_ms: float = 0.0

    def plus(self, other: "StreamCounts") -> "StreamCounts":
        """Both after one another."""
        mine, its = self.model_dump(), other.model_dump()
        added = {name: value + its[name] for name, value in mine.items()}
        added["latency_max_ms"] = max(self.latency_max_ms, other.latency_max_ms)
        return StreamCounts(**added)


class StreamRecord(Record):
    """What a result of a part of a stream says beside what all results say."""

    drop: str
    """Which frames were dropped when too many waited: `oldest`, `newest` or `never`."""
    first_captured: str
    """When its first frame came: ISO 8601, UTC."""
    last_captured: str
    counts: StreamCounts
    latency_mean_ms: float


class FindingRecord(Record):
    """One place in the result that a person should look at."""

    kind: str
    """One of `samcore.findings.check.CHECKS`."""
    frame: int
    object_id: int | None
    """Whose masks; None for the whole picture."""
    text: str
    """What is odd, without the object's number."""

    def __str__(self) -> str:
        """One line for a person."""
        who = "" if self.object_id is None else f", object {self.object_id}"
        return f"frame {self.frame}{who}: {self.text}"


class FindingList(Record):
    """What a person should look at; the same however long the video is."""

    total: int
    counts: dict[str, int]
    """How many there are of each kind that there is."""
    worst: tuple[FindingRecord, ...]
    """The worst few of each kind, kind by kind."""

    def lines(self, most: int) -> list[str]:
        """At most `most` of the worst ones, and a line that counts the others."""
        lines = [str(item) for item in self.worst[:most]]
        left = self.total - len(lines)
        return [*lines, f"and {left} more"] if left else lines
