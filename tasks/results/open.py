"""The door to published results, in a folder or in a bucket.

store = open_result_store(run)
with store.workspace() as folder:
    write_something(store.fetch("masks.parquet"), folder / "something.json")
    store.add_files({"something.json": folder / "something.json"}, run.key)
"""

import contextlib
import hashlib
import os
from pathlib import Path

from samcore.disk.janitor import remove_stale_copies
from samcore.errors import InputError
from samcore.result.folder import LocalResults
from samcore.result.manifest import M, Manifest
from samcore.result.records import RunRecord
from samcore.result.store import ResultStore
from tasks.results.manifest import result_ref
from tasks.run.refs import ResultRef, RunRef
from tasks.settings import load_settings
from tasks.sources.opened import is_replaced
from tasks.store.locations import HttpsLocation, S3Location, parse_location

__all__ = ["ResultStore", "find_result", "is_superseded", "open_result_store"]


def open_result_store(
    destination: RunRef | ResultRef | str | Path | S3Location,
    credentials: str | None = None,
    *,
    kind: type[M] = Manifest,  # type: ignore[assignment]  # the default of M, too
) -> ResultStore[M]:
    """The place where a run's result is, or is to be. Nothing is read or written yet.

    Args:
        destination: A run or a published result; or a path or an `s3://` address.
        credentials: Name of the AwsCredentials block for a bucket; a run or result knows its own.
        kind: The kind of manifests that are taken for results.

    Raises:
        InputError: No such kind of address, or no such credentials.
    """
    local: Path | None = None
    if isinstance(destination, RunRef):
        local = Path(destination.folder) / "published"
    if isinstance(destination, RunRef | ResultRef):
        credentials = destination.credentials
        destination = destination.destination
    if isinstance(destination, str):
        place = parse_location(destination)
        if isinstance(place, HttpsLocation):
            raise InputError(f"results lie in a folder or at s3://bucket/prefix, got {place}")
        destination = place
    if isinstance(destination, Path):
        return LocalResults(destination.expanduser().absolute(), kind)
    # Late: boto3 takes its time to import, and results in a folder do without it.
    from tasks.results.bucket import BucketResults
    from tasks.store.object_store import shared_store

    prefix = S3Location(destination.bucket, destination.key.rstrip("/"))
    if local is None:
        copies = load_settings().cache_dir / "results"
        local = copies / hashlib.sha256(prefix.uri.encode()).hexdigest()[:16]
        with contextlib.suppress(OSError):
            os.utime(local)
        remove_stale_copies(copies)
    return BucketResults(prefix, shared_store(credentials), local=local, kind=kind)


def find_result(run: RunRef, record: RunRecord) -> ResultRef | None:
    """Find the result that makes this run needless.

    That is the run's own result, if it is whole and names the objects as asked; or the result of a
    newer version of the same video, which this run must not replace. Else None.

    Raises:
        StorageError: The destination cannot be read.
    """
    store = open_result_store(run)
    manifest = store.read_manifest(run.key)
    if manifest is None and isinstance(parse_location(record.source), S3Location):
        there = store.read_manifest()
        if there is not None and is_superseded(run, record, there):
            return result_ref(run, there, was_there=True)
    if manifest is None or manifest.request.objects != record.objects:
        return None
    if manifest.quality_loss and not run.allow_quality_loss:
        return None  # it was made under a wider permission; what is asked now is better
    return result_ref(run, manifest, was_there=True)


def is_superseded(run: RunRef, record: RunRecord, there: Manifest) -> bool:
    """Whether the run's video was replaced by a newer version, and the result is of the same video.

    Only a run of the present version may replace a result. So the result of the last version
    stays, in whatever order the runs end.

    Args:
        run: Which one.
        record: What was asked of it.
        there: What lies at its destination.

    Raises:
        StorageError: The video's bucket does not answer.
    """
    if there.key == run.key or there.request.source != record.source:
        return False
    if record.further_parts:
        return False  # no file alone is the video that was tracked
    return is_replaced(record.source, record.source_digest, credentials=run.credentials)
