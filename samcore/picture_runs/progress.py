"""How far a run over pictures is, for people."""

import threading
import time
from collections.abc import Sequence

from samcore.chunks.plan import Chunk
from samcore.progress import Progress, clock, report

SEGMENTING = "segmenting"
"""What reports about a run's pictures are of."""


class PictureProgress:
    """Turns the pictures of shards into reports about the run, whoever does them: any number of
    threads may tell of shards side by side."""

    def __init__(self, total: int, todo: Sequence[Chunk]) -> None:
        """Start the clock.

        Args:
            total: Pictures of the run.
            todo: Shards that are not done yet.
        """
        self._total = total
        self._before = total - sum(shard.stop - shard.start for shard in todo)
        self._pictures: dict[int, int] = {}
        self._ended: set[int] = set()
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def at(self, shard: Chunk, done: int) -> None:
        """So many pictures of a shard are done; 0 when it is begun, also once again."""
        with self._lock:  # also while it reports: numbers come in their order
            if shard.index in self._ended:
                return
            self._pictures[shard.index] = done
            here = sum(self._pictures.values())
            rate = here / max(time.monotonic() - self._started, 1e-6)
            reached = self._before + here
            said = []
            if rate:
                said = [f"{rate:.1f} pictures/s", f"{clock((self._total - reached) / rate)} left"]
            text = ", ".join([f"{SEGMENTING}: {reached} of {self._total} pictures", *said])
            note = "  ".join(said)
            report(Progress(SEGMENTING, reached, self._total, "pictures", note=note, text=text))

    def end(self, shard: Chunk) -> None:
        """A shard is done."""
        with self._lock:
            self._pictures[shard.index] = shard.stop - shard.start
            self._ended.add(shard.index)
