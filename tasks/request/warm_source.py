"""Where a request's warm start comes from: a state's file, or a result that has one beside it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from samcore.disk.atomic import storage_errors
from samcore.disk.files import FileRecord, hash_file
from samcore.errors import InputError, MissingObjectError, StorageError
from samcore.limits import Limits
from samcore.models.registry import ModelSpec
from samcore.progress import reporter
from samcore.result.manifest import MEMORY
from samcore.result.records import WarmStartRecord
from samcore.tracking.memory.policy import POLICIES
from samcore.tracking.state_header import StateHeader, check_made_for, read_header
from tasks.request.segment_request import SegmentRequest
from tasks.store.locations import HttpsLocation, S3Location, parse_location


@dataclass(frozen=True, slots=True)
class GivenWarmStart:
    """A warm start as it was given: its file is on this machine, and what it says is in order."""

    path: Path
    header: StateHeader
    record: WarmStartRecord

    def check(
        self, request: SegmentRequest, model: ModelSpec | None = None, dtype: str | None = None
    ) -> None:
        """Hold it against what is to track; what is not known yet is left out.

        Raises:
            StateError: It was made with another model, input size, precision or memory policy.
        """
        check_made_for(
            self.header,
            fingerprint=None if model is None else model.fingerprint,
            image_size=None if model is None else model.image_size,
            dtype=dtype,
            policy=POLICIES.get(request.settings.memory_policy).title,
        )


def read_warm_start(request: SegmentRequest, limits: Limits) -> GivenWarmStart | None:
    """Find the file, fetch it where it lies in a bucket, and read its header.

    Raises:
        InputError: There is no such file or result, or the result has no memory.
        StateError: It is damaged, too large, of another version, or of another policy.
        StorageError: The bucket does not give it.
    """
    if request.warm_start is None:
        return None
    place = parse_location(request.warm_start)
    if isinstance(place, HttpsLocation):
        raise InputError(f"warm_start: wanted a path or s3:// address, got {place}")
    path = _path(place, request, limits)
    header = read_header(path, limits)
    with storage_errors(path, "read"):
        size, sha256 = hash_file(path)
    record = WarmStartRecord(
        source=str(place.expanduser().absolute() if isinstance(place, Path) else place),
        file=FileRecord(name=MEMORY, size=size, sha256=sha256),
        objects=tuple(sorted(obj.obj_id for obj in header.objects)),
    )
    limits.check_objects(len(record.objects))
    given = GivenWarmStart(path, header, record)
    given.check(request)
    return given


def _path(place: Path | S3Location, request: SegmentRequest, limits: Limits) -> Path:
    """The file on this machine."""
    if isinstance(place, Path):
        path = place.expanduser().absolute()
        return _of_result(path, request) if path.is_dir() else path
    if place.key.endswith(Path(MEMORY).suffix):
        return _from_bucket(place, request, limits)
    return _of_result(place, request)


def _of_result(place: Path | S3Location, request: SegmentRequest) -> Path:
    from tasks.results.open import open_result_store  # late: few requests need it

    named = str(place)
    store = open_result_store(place, request.credentials)
    manifest = store.require(named)
    if all(file.name != MEMORY for file in manifest.files):
        raise InputError(
            f"the result in {named} has no {MEMORY}; make it by `longtake memory {named}`"
        )
    return store.fetch(MEMORY)


def _from_bucket(place: S3Location, request: SegmentRequest, limits: Limits) -> Path:
    from tasks.store.object_store import ObjectStore  # late: boto3 takes its time to import

    store = ObjectStore(request.credentials)
    info = store.head(place)
    if info is None:
        raise InputError(f"there is no warm start {place}")
    if info.size > limits.max_state_bytes:
        raise StorageError(
            f"{place} has {info.size:,} bytes; the limit is {limits.max_state_bytes:,}, which "
            "LONGTAKE_MAX_STATE_BYTES raises"
        )
    name = hashlib.sha256(info.identity.encode()).hexdigest()[:16]
    path = request.work_path / "warm" / f"{name}.safetensors"
    try:
        on_progress = reporter("downloading the warm start", "MB", scale=1_000_000)
        store.get_file(place, path, expected=info, on_progress=on_progress)
    except MissingObjectError as error:
        raise InputError(f"there is no warm start {place}") from error
    return path
