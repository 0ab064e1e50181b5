"""What a person should look at: the worst cases of each kind, and how many there are."""

import heapq
from dataclasses import dataclass, field

from samcore.findings.check import CHECKS


def kinds() -> dict[str, str]:
    """All kinds, in the order in which they are listed, with their headings.

    Asked for, not a constant: other packages' checks import this module.
    """
    return {entry.name: entry.heading for entry in CHECKS}


@dataclass(frozen=True, slots=True)
class Finding:
    """One place in the video to look at."""

    kind: str
    """What is the matter: the name of the check that found it."""
    frame: int
    """Where to look."""
    object_id: int | None
    """Whose masks; None for the whole picture."""
    severity: float
    """The larger, the worse; comparable within a kind."""
    text: str
    """What is the matter, without the object's name."""


@dataclass
class Findings:
    """Collects findings: the worst `limit` of each kind, however many are added."""

    limit: int
    """Of each kind."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(kinds(), 0))
    """How many there are in all."""
    _worst: dict[str, list[tuple[float, int, int, Finding]]] = field(
        default_factory=lambda: {kind: [] for kind in kinds()}
    )

    def add(self, finding: Finding) -> None:
        """Take one; of equally bad ones the earlier stay."""
        self.counts[finding.kind] += 1
        heap = self._worst[finding.kind]
        order = (finding.severity, -finding.frame, -self.counts[finding.kind], finding)
        if len(heap) < self.limit:
            heapq.heappush(heap, order)
        else:
            heapq.heappushpop(heap, order)

    @property
    def total(self) -> int:
        """How many there are of all kinds that count."""
        return sum(self.counts[entry.name] for entry in CHECKS if not entry.hint)

    def worst(self, kind: str) -> list[Finding]:
        """The ones that are kept, in the order of frames."""
        found = [item for *_, item in self._worst[kind]]
        return sorted(found, key=lambda item: (item.frame, item.object_id or 0))

    def frames(self) -> set[int]:
        """The frames to show."""
        return {item.frame for kind in kinds() for item in self.worst(kind)}
