"""One file into one object: in bounded memory, and only if its bytes are the right ones."""

import base64
import contextlib
import hashlib
import mimetypes
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from samcore.disk.fetch import Progress
from samcore.disk.files import storage_errors
from samcore.errors import StorageError
from tasks.store.locations import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, MultipartUploadTypeDef

T = TypeVar("T")

SHA256_KEY = "longtake-sha256"
"""Metadata of every object that we write: the hex digest of the whole content."""

_PART = 8 << 20
"""Bytes of a part. A smaller file goes in one request."""
_MAX_PARTS = 10_000
_PARALLEL = 3
"""Parts on their way at once; with the one being read, memory holds one part more."""


def headers_of(name: str, sha256: str) -> dict[str, Any]:
    """What goes with an object: its digest, and a type by which a browser can show it."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {"ContentType": kind, "Metadata": {SHA256_KEY: sha256}}


def upload(
    s3: "S3Client",
    path: Path,
    location: S3Location,
    size: int,
    sha256: str,
    on_progress: Progress | None,
) -> None:
    """Send a file; the object appears, whole, after the last byte was sent and checked.

    The server checks each request's bytes by MD5. The bytes that were sent are hashed on their way,
    and the object is not completed unless their digest is `sha256`: so it vouches for what is in
    the store, not only for what was once on the disk.

    Raises:
        StorageError: The file cannot be read, or is not what `sha256` says.
        Exception: Whatever boto3 raises; the upload is aborted then, unless all of it was sent.
    """
    headers = headers_of(location.name, sha256)
    parts = _read_parts(path, size, sha256)
    if size <= _PART:
        data = b"".join(parts)
        s3.put_object(
            Bucket=location.bucket, Key=location.key, Body=data, ContentMD5=md5_of(data), **headers
        )
        if on_progress is not None:
            on_progress(size, size)
        return
    _send_parts(s3, location, size, parts, headers, on_progress)


def put_if(s3: "S3Client", wanted: dict[str, Any]) -> None:
    """Put, with a condition or without; where it did not hold, the caller sees what is there.

    Raises:
        Exception: Whatever boto3 raises for anything but a condition.
    """
    conditional = {"IfMatch", "IfNoneMatch"} & set(wanted)
    try:
        s3.put_object(**wanted)
    except s3.exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if not conditional or status not in (412, 501):
            raise
        # 412 is also the answer where our own put was done and its answer was lost. 501 is that of
        # servers that do not know the condition: the caller has checked it just now.
        if status == 501:
            s3.put_object(**{name: wanted[name] for name in wanted if name not in conditional})


def _send_parts(
    s3: "S3Client",
    location: S3Location,
    size: int,
    parts: Iterator[bytes],
    headers: dict[str, Any],
    on_progress: Progress | None,
) -> None:
    # Servers that know part checksums want to be told beforehand that there will be some.
    if getattr(s3.meta.config, "request_checksum_calculation", None) == "when_supported":
        headers = headers | {"ChecksumAlgorithm": "CRC32"}
    target: dict[str, Any] = {"Bucket": location.bucket, "Key": location.key}
    target["UploadId"] = s3.create_multipart_upload(**target, **headers)["UploadId"]

    def send(number: int, data: bytes) -> "tuple[CompletedPartTypeDef, int]":
        answer = s3.upload_part(PartNumber=number, Body=data, ContentMD5=md5_of(data), **target)
        part: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part, len(data)

    done: list[CompletedPartTypeDef] = []
    sent = 0
    try:
        # Closed where `on_progress` raises, too: no part may arrive after the abort.
        with contextlib.closing(_in_parallel(send, parts)) as answers:
            for part, count in answers:
                done.append(part)
                sent += count
                if on_progress is not None:
                    on_progress(sent, size)
    except BaseException:
        # Whatever this says, the first error is the one to tell; a sweep takes what stays.
        with contextlib.suppress(Exception):
            s3.abort_multipart_upload(**target)
        raise
    done.sort(key=lambda part: part["PartNumber"])
    # Not aborted where this fails: the object may be there all the same, its answer lost, and some
    # stores take the parts away from it then. "No such upload": likewise. The caller looks.
    with contextlib.suppress(s3.exceptions.NoSuchUpload):
        s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **target)


def _in_parallel(
    send: Callable[[int, bytes], T], parts: Iterator[bytes]
) -> Generator[T, None, None]:
    """What `send` makes of each part and its number from 1; a few at once, in any order."""
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="upload") as pool:
        waiting: set[Future[T]] = set()
        try:
            for number, data in enumerate(parts, start=1):
                waiting.add(pool.submit(send, number, data))
                if len(waiting) == _PARALLEL:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ready:
                        yield future.result()
            for future in waiting:
                yield future.result()
        except BaseException:
            # What has not begun need not; what has is waited for.
            pool.shutdown(cancel_futures=True)
            raise


def abort_stale(s3: "S3Client", prefix: S3Location, older_than_s: float | None) -> int:
    """Abort uploads below `prefix` that began longer ago than that; returns how many."""
    # Some that seem to have begun later than now are among all of them: clocks differ.
    spared = datetime.max.replace(tzinfo=timezone.utc)
    if older_than_s is not None:
        spared = datetime.now(timezone.utc) - timedelta(seconds=older_than_s)
    count = 0
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=prefix.bucket, Prefix=prefix.key
    )
    for page in pages:
        for entry in page.get("Uploads", []):
            if entry["Initiated"] > spared or _is_an_object(s3, prefix.bucket, entry):
                continue
            # Another sweep may be faster.
            with contextlib.suppress(s3.exceptions.NoSuchUpload):
                s3.abort_multipart_upload(
                    Bucket=prefix.bucket, Key=entry["Key"], UploadId=entry["UploadId"]
                )
                count += 1
    return count


def _is_an_object(s3: "S3Client", bucket: str, entry: "MultipartUploadTypeDef") -> bool:
    """Whether the object there is made of just these parts: the upload was completed, and only its
    end got lost. From such an object some stores would take the parts away."""
    place: dict[str, Any] = {"Bucket": bucket, "Key": entry["Key"]}
    try:
        etag = s3.head_object(**place)["ETag"].strip('"')
    except s3.exceptions.ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return False
        raise
    parts: list[str] = []
    with contextlib.suppress(s3.exceptions.NoSuchUpload):
        for page in s3.get_paginator("list_parts").paginate(UploadId=entry["UploadId"], **place):
            parts += [part["ETag"].strip('"') for part in page.get("Parts", [])]
    with contextlib.suppress(ValueError):  # where the store encrypts, these are no digests
        digests = b"".join(bytes.fromhex(part) for part in parts)
        return etag == f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
    return False


def _read_parts(path: Path, size: int, sha256: str) -> Iterator[bytes]:
    """The file's bytes; raises StorageError in place of the end if they are not the wanted ones."""
    length = max(_PART, -(-size // _MAX_PARTS))
    digest = hashlib.sha256()
    count = 0
    with storage_errors(path, "read"), path.open("rb") as file:
        while data := file.read(length):
            digest.update(data)
            count += len(data)
            yield data
    if count != size or digest.hexdigest() != sha256:
        raise StorageError(
            f"cannot upload {path}: it is not the file that was to be uploaded: something wrote to "
            "it in the meantime; run again"
        )


def md5_of(data: bytes) -> str:
    """The value of the header Content-MD5, by which any server checks what came."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
