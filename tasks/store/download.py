"""The opener of an object in a bucket, for `fetch`."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from samcore.disk.fetch import Answer
from samcore.errors import StorageConflictError
from tasks.store.object_info import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BLOCK = 1 << 16
"""Bytes. When a connection breaks, what it brought of a block is lost."""


@contextlib.contextmanager
def open_object(s3: "S3Client", info: ObjectInfo, offset: int) -> Iterator[Answer]:
    """Open the object that `info` tells of; one request.

    Raises:
        StorageConflictError: Something else is stored there now.
        Exception: Whatever boto3 raises.
    """
    location = info.location
    wanted: dict[str, Any] = {"Bucket": location.bucket, "Key": location.key}
    wanted["IfMatch"] = f'"{info.etag}"'
    if info.version_id is not None:
        wanted["VersionId"] = info.version_id
    if offset:
        wanted["Range"] = f"bytes={offset}-"
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
        if not answer.get("ContentRange", "").startswith(f"bytes {offset}-"):
            offset = 0  # the server knows no ranges, and sends all of it
        if answer["ETag"].strip('"') != info.etag or offset + answer["ContentLength"] != info.size:
            raise changed
        yield Answer(info.etag, info.size, offset, body.iter_chunks(_BLOCK))
