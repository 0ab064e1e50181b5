"""The bytes of an object that are still to come."""

import contextlib
from typing import TYPE_CHECKING, Any

from samcore.errors import StorageConflictError
from tasks.store.object_info import ObjectInfo
from tasks.store.part_file import PartFile, Progress

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BLOCK = 1 << 16
"""Bytes. When a connection breaks, what it brought of a block is lost."""


def fetch_rest(
    s3: "S3Client", info: ObjectInfo, part: PartFile, on_progress: Progress | None
) -> None:
    """Append to `part` what it lacks of the object that `info` tells of; one request.

    Raises:
        StorageConflictError: Something else is stored there now.
        StorageError: Disk full.
        Exception: Whatever boto3 raises. What has come stays.
    """
    location = info.location
    wanted: dict[str, Any] = {"Bucket": location.bucket, "Key": location.key}
    wanted["IfMatch"] = f'"{info.etag}"'
    if info.version_id is not None:
        wanted["VersionId"] = info.version_id
    if part.size:
        wanted["Range"] = f"bytes={part.size}-"
    changed = StorageConflictError(
        f"cannot read {location.uri}: it changed while it was downloaded; run again to take what "
        "is there now"
    )
    try:
        answer = s3.get_object(**wanted)
    except s3.exceptions.ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
            raise changed from None
        raise
    with contextlib.closing(answer["Body"]) as body:
        if answer["ETag"].strip('"') != info.etag:
            raise changed
        if part.size and not answer.get("ContentRange", "").startswith(f"bytes {part.size}-"):
            part.restart()  # the server knows no ranges, and sends all of it
        for block in body.iter_chunks(_BLOCK):
            part.write(block)
            if on_progress is not None:
                on_progress(part.size, info.size)
    if part.size != info.size:
        raise changed  # the server called it all, and it is more or less than it was
