"""Finished chunks, which nobody is to track again."""

from pathlib import Path


class Finished:
    """The finished chunks of a run, as they were first seen."""

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._seen: dict[Path, tuple[int, int]] = {}

    def look(self) -> None:
        """Fail if a chunk that was finished was tracked again."""
        for path in sorted(self._destination.glob(".longtake/runs/*/chunks/*/done.json")):
            stat = path.stat()
            identity = (stat.st_ino, stat.st_mtime_ns)
            assert self._seen.setdefault(path, identity) == identity, f"{path} was written twice"
        assert all(path.exists() for path in self._seen)

    def __len__(self) -> int:
        return len(self._seen)
