"""Where a request's prompts come from: typed in, a file, or an object in a bucket."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from samcore.disk.files import make_folder, write_atomic
from samcore.errors import InputError, MissingObjectError
from samcore.limits import Limits
from samcore.masks.image import MAX_FILE_BYTES as MAX_MASK_BYTES
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.file import PromptFile, check_limits, parse_prompts
from tasks.store.locations import HttpsLocation, S3Location, parse_location

if TYPE_CHECKING:
    from tasks.store.object_store import ObjectStore


class AsksForPrompts(Protocol):
    """What requests say of the objects."""

    @property
    def prompts(self) -> PromptFile | str | None: ...
    @property
    def automatic(self) -> AutomaticPrompts | None: ...
    @property
    def credentials(self) -> str | None: ...
    @property
    def work_path(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class GivenPrompts:
    """Prompts as they were given, not yet held against a video."""

    spec: PromptFile
    """The objects."""
    base_dir: Path
    """The folder that mask files are relative to."""


def read_prompts(request: AsksForPrompts, limits: Limits) -> GivenPrompts | None:
    """Read what the request says of its objects; None if they are to be found.

    Raises:
        InputError: Missing, malformed or too large, in one line.
        StorageError: The bucket does not give it.
    """
    if request.automatic is not None:
        limits.check_objects(request.automatic.max_objects)
    if request.prompts is None:
        return None
    if isinstance(request.prompts, PromptFile):
        check_limits(request.prompts, limits)
        return GivenPrompts(request.prompts, Path.cwd())
    place = parse_location(request.prompts)
    if isinstance(place, HttpsLocation):
        raise InputError(f"prompts: wanted a path or s3://bucket/key, got {place}")
    if isinstance(place, S3Location):
        return _from_bucket(place, request, limits)
    path = place.expanduser().absolute()
    return GivenPrompts(parse_prompts(path, limits=limits), path.parent)


def _from_bucket(place: S3Location, request: AsksForPrompts, limits: Limits) -> GivenPrompts:
    """Read a prompts file, and the masks that lie beside it, which it names."""
    from tasks.store.object_store import ObjectStore  # late: boto3 takes its time to import

    store = ObjectStore(request.credentials)
    info = store.head(place)
    if info is None:
        raise InputError(f"there is no prompts file {place}")
    limits.check_prompts_bytes(info.size, name=f"prompts file {place}")
    try:
        text = store.get_bytes(place, limit=limits.max_prompts_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"prompts file {place} is not UTF-8 text, at byte {error.start}"
        ) from error
    except MissingObjectError as error:
        raise InputError(f"there is no prompts file {place}") from error
    try:
        spec = parse_prompts(text, limits=limits)
    except InputError as error:
        raise InputError(f"prompts file {place}: {error}") from error
    folder = _mask_folder(request, place)
    beside = S3Location(place.bucket, place.key.rpartition("/")[0])
    for name in spec.mask_files:
        _fetch_mask(store, beside, name, folder)
    return GivenPrompts(spec, folder)


def _fetch_mask(store: "ObjectStore", beside: S3Location, name: str, folder: Path) -> None:
    source = beside.join(name)  # refuses names that lead elsewhere
    try:
        content = store.get_bytes(source, limit=MAX_MASK_BYTES)
    except MissingObjectError as error:
        raise InputError(f"there is no mask file {source}") from error
    path = folder / name
    make_folder(path.parent)
    write_atomic(path, content)


def _mask_folder(request: AsksForPrompts, place: S3Location) -> Path:
    """A folder of this prompts file's own, that its names cannot lead out of."""
    return request.work_path / "prompts" / hashlib.sha256(place.uri.encode()).hexdigest()[:16]
