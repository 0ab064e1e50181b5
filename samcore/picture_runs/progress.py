"""How far a run over pictures is, for people."""

import time
from collections.abc import Sequence

from samcore.chunks.plan import Chunk
from samcore.progress import Progress, clock, report

SEGMENTING = "segmenting"
"""What reports about a run's pictures are of."""


class PictureProgress:
    """Turns the pictures of shards into reports about the run."""

    def __init__(self, total: int, todo: Sequence[Chunk]) -> None:
        """Start the clock.

        Args:
            total: Pictures of the run.
            todo: Shards that are not done yet.
        """
        self._total = total
        self._done = total - sum(shard.stop - shard.start for shard in todo)
        self._here = 0
        self._started = time.monotonic()

    def begin(self, shard: Chunk) -> None:
        """A shard is begun."""
        self.at(0)

    def at(self, done: int) -> None:
        """So many pictures of the present shard are done."""
        here = self._here + done
        rate = here / max(time.monotonic() - self._started, 1e-6)
        reached = self._done + done
        said = []
        if rate:
            said = [f"{rate:.1f} pictures/s", f"{clock((self._total - reached) / rate)} left"]
        text = ", ".join([f"{SEGMENTING}: {reached} of {self._total} pictures", *said])
        note = "  ".join(said)
        report(Progress(SEGMENTING, reached, self._total, "pictures", note=note, text=text))

    def end(self, shard: Chunk) -> None:
        """A shard is done."""
        self._here += shard.stop - shard.start
        self._done += shard.stop - shard.start
