"""The door to S3: objects that are whole or absent."""

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from samcore.disk.fetch import Answer, Progress, fetch, has_checksum
from samcore.disk.files import make_folder, storage_errors
from samcore.errors import (
    DamagedObjectError,
    InputError,
    MissingObjectError,
    StorageConflictError,
    StorageError,
    TransientStorageError,
)
from tasks.settings import aws_settings_digest
from tasks.store.aws import (
    NO_ANSWER,
    ClientError,
    ClientOptions,
    aws_client,
    one_line,
    status_of,
)
from tasks.store.download import open_object
from tasks.store.locations import S3Location
from tasks.store.object_info import ObjectInfo, console_url, object_info
from tasks.store.refusals import explain_failure, explain_refusal
from tasks.store.upload import abort_stale, headers_of, md5_of, put_if, upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

_UPLOAD_LASTS_S = 86_400.0
"""No upload of one file takes a day."""


class ObjectStore:
    """Objects in buckets. One is made where it is used: it holds connections and cannot be pickled.

    What can pass is tried again inside each call, with growing pauses; what remains is a
    `TransientStorageError`, for a task to retry. All other errors are a person's to put right.
    """

    def __init__(
        self, credentials: str | None = None, *, options: ClientOptions | None = None
    ) -> None:
        """Raises InputError: see `aws_client`."""
        self._s3: S3Client = aws_client("s3", credentials=credentials, options=options)
        self._buckets: set[str] = set()

    @property
    def endpoint(self) -> str:
        """Host and port that it talks to."""
        parts = urlsplit(self._s3.meta.endpoint_url)
        return parts.netloc.rpartition("@")[2]

    def head(self, location: S3Location, *, version_id: str | None = None) -> ObjectInfo | None:
        """What is stored there now; None if nothing is.

        Args:
            location: Which object.
            version_id: This version of it, though it be replaced; None is the present one.

        Raises:
            StorageError: No such bucket, no permission.
        """
        wanted: dict[str, Any] = {"Bucket": location.bucket, "Key": location.key}
        if version_id is not None:
            wanted["VersionId"] = version_id
        try:
            with self._calls(f"cannot look at {location.uri}"):
                try:
                    answer = self._s3.head_object(**wanted, ChecksumMode="ENABLED")
                except ClientError as error:
                    if status_of(error) in (404, 412) or status_of(error) >= 500:
                        raise
                    # An answer to HEAD has no body and so no reason; one to GET has.
                    found = self._s3.get_object(**wanted, ChecksumMode="ENABLED")
                    found["Body"].close()
                    return object_info(location, dict(found))
        except MissingObjectError:
            self._check_bucket(location.bucket)
            return None
        return object_info(location, dict(answer))

    def list(self, prefix: S3Location) -> Iterator[ObjectInfo]:
        """All objects whose keys begin with the prefix's, by key; pages are asked for as needed.

        Raises:
            StorageError: No such bucket, no permission to list.
        """
        with self._calls(f"cannot list {prefix.uri}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=prefix.bucket, Prefix=prefix.key
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    etag = entry["ETag"].strip('"')
                    try:
                        location = S3Location(prefix.bucket, entry["Key"])
                    except InputError:
                        continue  # a key that no location of ours can name
                    yield ObjectInfo(
                        location, entry["Size"], etag, None, None, entry["LastModified"]
                    )

    def get_bytes(self, location: S3Location, *, limit: int) -> bytes:
        """A small object's content.

        Raises:
            MissingObjectError: There is none.
            StorageError: It is larger than `limit` bytes; no permission.
        """
        with self._calls(f"cannot read {location.uri}"):
            answer = self._s3.get_object(Bucket=location.bucket, Key=location.key)
            with contextlib.closing(answer["Body"]) as body:
                size = answer["ContentLength"]
                if size > limit:
                    raise StorageError(
                        f"cannot read {location.uri}: it has {size} bytes, at most {limit} are "
                        "allowed here"
                    )
                data = body.read()
        checksum = object_info(location, dict(answer)).checksum
        if not has_checksum(data, checksum):
            raise DamagedObjectError(
                f"cannot read {location.uri}: what came does not have its checksum"
            )
        return data

    def get_file(
        self,
        location: S3Location,
        path: Path,
        *,
        expected: ObjectInfo | None = None,
        on_progress: Progress | None = None,
    ) -> ObjectInfo:
        """Download an object; `path` appears when all of it is there and its checksum is right.

        What a call that failed has fetched stays beside `path`, and the next call fetches the rest.

        Args:
            location: Which object.
            path: Where to; replaced if it is there.
            expected: What `head` said: exactly this content is wanted. None takes what is there.
            on_progress: Called with bytes so far and in all.

        Raises:
            MissingObjectError: There is none.
            StorageConflictError: It changed since `expected`, or in mid-download.
            TransientStorageError: The connection broke, or damaged the bytes.
            StorageError: Disk full, no permission.
        """
        info = expected or self.head(location)
        what = f"cannot read {location.uri}"
        if info is None:
            raise MissingObjectError(f"{what}: there is no such object")

        @contextlib.contextmanager
        def opener(offset: int, _validator: str | None) -> Iterator[Answer]:
            with self._calls(what), open_object(self._s3, info, offset) as answer:
                yield answer

        make_folder(path.parent)
        fetch(
            opener,
            path,
            what=what,
            source=info.identity,
            size=info.size,
            checksum=info.checksum,
            on_progress=on_progress,
        )
        return info

    def put_file(
        self,
        path: Path,
        location: S3Location,
        *,
        sha256: str,
        on_progress: Progress | None = None,
    ) -> bool:
        """Upload a file unless the bucket has these bytes; again after a crash costs one HEAD.

        Args:
            path: A file that no process writes to any more.
            location: Where to; replaced if other bytes are there.
            sha256: Hex digest of its content. It goes into the object's metadata, and nothing is
                stored unless the bytes that were sent have it.
            on_progress: Called with bytes so far and in all.

        Returns:
            False if these bytes were there, and nothing was sent.

        Raises:
            StorageError: The file is not what `sha256` says, or cannot be read; no such bucket, no
                permission.
            StorageConflictError: Another writer replaced it at the same time.
            TransientStorageError: The server did not take it, or did not say so; what is there is
                whole, the old object or the new one.
        """
        with storage_errors(path, "read"):
            size = path.stat().st_size
        stored = self.head(location)
        if stored is not None and stored.is_made_of(size, sha256):
            return False
        what = f"cannot write {location.uri}"
        with self._calls(what):
            upload(self._s3, path, location, size, sha256, on_progress)
        stored = self.head(location)
        if stored is None:
            raise TransientStorageError(f"{what}: the server took it, and does not have it")
        if not stored.is_made_of(size, sha256):
            raise StorageConflictError(f"{what}: it has been changed by another writer")
        return True

    def put_bytes(
        self,
        location: S3Location,
        data: bytes,
        *,
        only_if_absent: bool = False,
        only_if_etag: str | None = None,
    ) -> ObjectInfo:
        """Write a small object; with a condition it is read back, too.

        Args:
            location: Where to.
            data: The content. Two writers that race must not write the same bytes if only one of
                them may win: equal bytes count as written by oneself, as after a lost answer.
            only_if_absent: Do not replace anything.
            only_if_etag: Replace only the content with this ETag. Where the server does not know
                that condition it is checked just before instead, and afterwards.

        Returns:
            What is stored now; its `etag` is for the next `only_if_etag`.

        Raises:
            StorageConflictError: The condition did not hold, or another writer came in between.
            StorageError: No such bucket, no permission.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        what = f"cannot write {location.uri}"
        wanted: dict[str, Any] = {"Bucket": location.bucket, "Key": location.key, "Body": data}
        wanted |= headers_of(location.name, sha256)
        wanted["ContentMD5"] = md5_of(data)
        conditional = only_if_absent or only_if_etag is not None
        if conditional:
            # Checked here, too: there are servers that take conditions, and ignore them.
            found = self.head(location)
            etag = (only_if_etag or "").strip('"') or None
            if (found and found.etag) != etag and not (
                found and found.is_made_of(len(data), sha256)
            ):
                raise StorageConflictError(f"{what}: it has been changed by another writer")
            wanted |= {"IfMatch": f'"{etag}"'} if etag else {"IfNoneMatch": "*"}
        with self._calls(what):
            put_if(self._s3, wanted)
        info = self.head(location)
        if info is None:
            raise TransientStorageError(f"{what}: the server took it, and does not have it")
        if conditional and not (
            info.is_made_of(len(data), sha256) and self.get_bytes(location, limit=len(data)) == data
        ):
            raise StorageConflictError(f"{what}: it has been changed by another writer")
        return info

    def delete(self, location: S3Location) -> None:
        """Remove an object; nothing happens if there is none.

        Raises:
            StorageError: No such bucket, no permission.
        """
        with self._calls(f"cannot delete {location.uri}"):
            self._s3.delete_object(Bucket=location.bucket, Key=location.key)

    def presign(self, location: S3Location, *, seconds: int, version_id: str | None = None) -> str:
        """A URL that reads the object without credentials for a while: a secret, not for logs.

        It also ends with the credentials that made it, if these are temporary ones.

        Raises:
            StorageError: There are no credentials.
        """
        wanted: dict[str, Any] = {"Bucket": location.bucket, "Key": location.key}
        if version_id is not None:
            wanted["VersionId"] = version_id
        with self._calls(f"cannot make a URL for {location.uri}"):
            return self._s3.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds)

    def console_url(self, location: S3Location) -> str | None:
        """The object's page in AWS's console; None for a store that is not AWS's."""
        return console_url(location, self.endpoint, self._s3.meta.partition)

    def abort_stale_uploads(self, prefix: S3Location, *, older_than_s: float | None) -> int:
        """Remove what killed uploads left below a prefix: stores keep it, and charge for it.

        Args:
            prefix: Where to look.
            older_than_s: Spare uploads that began within this many seconds: they may be alive.
                None spares none.

        Returns:
            How many were removed.
        """
        with self._calls(f"cannot clean up {prefix.uri}"):
            return abort_stale(self._s3, prefix, older_than_s)

    def _check_bucket(self, bucket: str) -> None:
        """Tell a missing bucket from a missing object: HEAD says 404 for both.

        Raises:
            StorageError: There is no such bucket.
        """
        if bucket in self._buckets:
            return
        try:
            self._s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if status_of(error) == 404:
                raise explain_refusal(
                    f"cannot use s3://{bucket}", code="NoSuchBucket", status=404, message=""
                ) from None
            return  # whoever may read objects need not be allowed to look at the bucket
        except NO_ANSWER:
            return
        self._buckets.add(bucket)

    @contextlib.contextmanager
    def _calls(self, what: str) -> Iterator[None]:
        """Turn what boto3 raises into one line of ours, without signatures or secrets."""
        try:
            yield
        except ClientError as error:
            said = error.response.get("Error", {})
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            raise explain_refusal(
                what,
                code=str(said.get("Code", "")),
                status=status_of(error),
                message=str(said.get("Message", "")),
                region=headers.get("x-amz-bucket-region") or str(said.get("Region", "")) or None,
            ) from error
        except NO_ANSWER as error:
            kinds = {kind.__name__ for kind in type(error).__mro__}
            raise explain_failure(what, self.endpoint, kinds, one_line(error)) from error


_SHARED_LASTS_S = 600.0
"""A client takes a good part of a second to make; but credentials in a block get changed."""
_shared_lock = threading.Lock()
_shared: dict[object, tuple[float, ObjectStore]] = {}
"""By what they were made of; with the time when that was."""


def shared_store(credentials: str | None, *, options: ClientOptions | None = None) -> ObjectStore:
    """The store by these credentials; threads may use it at the same time.

    Args:
        credentials: Name of an AwsCredentials block; None is the standard AWS settings.
        options: How patient it is.

    Raises:
        InputError: No such block, or settings that no client can be made of.
    """
    identity = (credentials, options, aws_settings_digest())
    with _shared_lock:
        now = time.monotonic()
        for old in [
            key for key, (made_at, _) in _shared.items() if now - made_at > _SHARED_LASTS_S
        ]:
            del _shared[old]
        if identity not in _shared:
            _shared[identity] = now, ObjectStore(credentials, options=options)
        return _shared[identity][1]


def remove_stale_uploads(store: ObjectStore, prefix: S3Location, *, at_once: bool = False) -> None:
    """Remove what killed uploads left below a prefix, where server and rights let it.

    Args:
        store: Where the bucket is.
        prefix: Where to look.
        at_once: No process is uploading there. Else, uploads of the last day are spared.
    """
    try:
        store.abort_stale_uploads(prefix, older_than_s=None if at_once else _UPLOAD_LASTS_S)
    except StorageError as error:
        # To list uploads takes a right of its own, and some servers cannot do it.
        _log.info("left what killed uploads may have left: %s", error)
