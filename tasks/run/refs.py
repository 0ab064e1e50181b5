"""What tasks pass to each other: small values that say where things are."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from samcore.disk.files import exclusive
from samcore.errors import InputError
from samcore.result.published import FindingList
from samcore.result.records import Record
from samcore.run.work_folder import WorkFolder
from tasks.store.locations import S3Location, parse_location


class RunRef(Record):
    """What tasks pass to each other about a run: where it is, not what is in it."""

    folder: str
    """`runs/<work key>` on this machine."""
    destination: str
    """Where the result goes: an absolute path or an `s3://` address."""
    credentials: str | None = None
    """Name of the block with the credentials for buckets; None is the standard AWS settings."""
    key: str
    """The result's: `RunRecord.result_key`."""
    video: str
    """The video's name, for people."""
    allow_quality_loss: bool = False
    """Whether chunks may be tracked with a smaller input of the model, if all else is in vain."""
    memory_log: str | None = None
    """File that gets a line of memory use now and then."""
    keep_states: bool = False
    """Whether the states at chunk starts stay, for a later run with other prompts."""

    @property
    def work_key(self) -> str:
        """`RunRecord.work_key`."""
        return Path(self.folder).name

    @property
    def in_bucket(self) -> bool:
        """Whether the result goes to a bucket."""
        return isinstance(parse_location(self.destination), S3Location)


def backward_ref(run: RunRef, mirror: WorkFolder) -> RunRef:
    """The run whose folder is that of the backward pass, see `samcore.run.backward`."""
    changes = {"folder": str(mirror.path), "video": f"{run.video}, backward"}
    return run.model_copy(update=changes)


class ChunkRef(Record):
    """A finished chunk."""

    index: int
    frames: int
    resumed: bool
    """It was done before."""


class ResultRef(Record):
    """A published result."""

    destination: str
    """An absolute path or an `s3://` address."""
    credentials: str | None = None
    """As in `RunRef`."""
    key: str
    frames: int
    objects: int
    seam_agreement: float | None
    seams_identical: bool | None
    findings: FindingList | None = None
    """As in `Manifest`."""
    has_overlay: bool
    has_report: bool = False
    exports: tuple[str, ...] = ()
    """Formats that the masks were exported to as well."""
    states_bytes: int = 0
    """What the states weigh that are kept to correct the result from."""
    was_there: bool
    """It was published before; nothing was tracked."""
    superseded: bool = False
    """The video was replaced meanwhile: this tells of another version's result, which stays."""

    def address(self, name: str) -> str:
        """Where a file of the result is, for people: a path or an `s3://` address."""
        place = parse_location(self.destination)
        return str(place / name if isinstance(place, Path) else f"{place}/{name}")


def lock_result(
    run: RunRef, *, on_wait: Callable[[], None] | None = None
) -> AbstractContextManager[None]:
    """Keep other processes from the same result in a folder, whatever their plan of chunks is;
    wait while one is at it. A result in a bucket has a lease for that, see store/lease.py."""
    place = parse_location(run.destination)
    if not isinstance(place, Path):
        return contextlib.nullcontext()
    return exclusive(place / ".longtake" / "locks" / run.key, on_wait=on_wait)


def refuse_result(destination: object, found: str | None, key: str, *, force: bool) -> None:
    """Refuse to replace somebody's result unasked.

    Args:
        destination: Where it is, for people.
        found: The key of the result there; None if there is none.
        key: The key of the one that is to be there.
        force: Whether to replace it is asked for.

    Raises:
        InputError: It is another request's, and is not to be replaced.
    """
    if found is not None and found != key and not force:
        raise InputError(
            f"{destination} holds the result of another request: choose another place with -o, or "
            "replace it with --force"
        )
