"""What is asked of a stream, with everything that was left open now chosen."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from samcore.config import TrackSettings
from samcore.limits import Limits
from samcore.machine.device import Compute
from samcore.models.family import TrackingModel
from samcore.models.registry import ModelSpec
from samcore.prompts.prompt import Prompt
from samcore.result.manifest import Manifest
from samcore.result.records import DetectionRecord
from samcore.result.store import ResultStore
from samcore.video.live_queue import DropPolicy
from samcore.video.live_source import LiveSource


@dataclass(frozen=True, slots=True, eq=False)
class WatchPlan:
    """A stream that can be watched."""

    source: LiveSource
    folder: Path
    """Of work in progress, for this destination alone."""
    open_store: Callable[[str], ResultStore[Manifest]]
    """Gives the place of a result by its name."""
    roll_s: float
    """Seconds of a result, counted from midnight, UTC, of some day."""
    chunk_s: float
    """Seconds of a chunk: what a kill can cost."""
    drop: DropPolicy
    waiting: int
    """Frames that may wait."""
    stall_s: float
    """Seconds without a frame after which a connection is given up."""
    spec: ModelSpec
    model: TrackingModel
    compute: Compute
    settings: TrackSettings
    """Nothing in it is `auto` or 0 any more; one frame is encoded at a time."""
    prompts: Callable[[int, int], tuple[Prompt, ...]]
    """Gives the prompts on the first frame, by its width and height."""
    prompts_digest: str
    """Of what was given, before it is held against a picture."""
    labels: dict[int, str | None]
    """What the prompted objects are called."""
    detection: DetectionRecord | None
    versions: dict[str, str]
    limits: Limits
    stdin: int = 0
    """The descriptor that a pipe is read from."""
    patient: bool = False
    """Whether a source that cannot be opened at first is tried again for ever."""

    @property
    def key(self) -> str:
        """Names what is asked: a process goes on only with what one of an equal key has left."""
        identity = {
            "source": self.source.shown,
            "prompts": self.prompts_digest,
            "model": self.spec.fingerprint,
            "settings": {
                **self.settings.model_dump(mode="json"),
                "device": self.settings.device.partition(":")[0],
            },
            "detection": None if self.detection is None else self.detection.identity,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
