"""Files on web servers: what they say of themselves, and their content on this machine."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from samcore.disk import fetch as fetching
from samcore.disk.download import answer_of, is_strong, open_url, total_of
from samcore.disk.fetch import Answer, Progress
from samcore.disk.files import make_folder
from samcore.errors import StorageConflictError
from tasks.store.locations import HttpsLocation
from tasks.store.upload import SHA256_KEY

__all__ = ["WebFile", "fetch", "is_strong", "look_at"]


@dataclass(frozen=True, slots=True)
class WebFile:
    """What a web server says of a file."""

    location: HttpsLocation
    """Where it is."""
    size: int | None
    """Bytes; None if the server does not say."""
    validator: str | None
    """ETag or date of the last change; None if the server says neither."""
    checksum: str | None
    """`sha256:hex`, if it is an object of ours behind a presigned URL."""
    final_url: str = field(repr=False, compare=False)
    """Where the address led to this time; often signed, and good for minutes. Never shown."""


def look_at(location: HttpsLocation) -> WebFile:
    """Ask for a file's first byte, and so for all that its server says of it.

    Raises:
        MissingObjectError: There is none.
        TransientStorageError: No connection, or the server is busy.
        StorageError: The server refuses.
    """
    # No HEAD: presigned URLs are for GET only.
    with open_url(location.url, what=f"cannot read {location.uri}", last=0) as response:
        return _web_file(location, response)


def fetch(file: WebFile, path: Path, *, limit: int, on_progress: Progress | None = None) -> None:
    """Download a file; `path` appears when all of it is there. What has come stays for later.

    Args:
        file: What `look_at` said: exactly this content is wanted.
        path: Where to; its folder is made.
        limit: Bytes that it may have.
        on_progress: Called with bytes so far and in all.

    Raises:
        InputError: It is larger than `limit`.
        StorageConflictError: It has changed since.
        TransientStorageError: The connection broke, or the server is busy.
        StorageError: Disk full; the server refuses.
    """
    what = f"cannot read {file.location.uri}"
    # Without a strong one there is no telling whether the rest belongs to what is there.
    validator = file.validator if is_strong(file.validator) else None

    @contextlib.contextmanager
    def opener(offset: int, _validator: str | None) -> Iterator[Answer]:
        with open_url(file.location.url, what=what, offset=offset, validator=validator) as response:
            found = _web_file(file.location, response)
            if (found.size, found.validator) != (file.size, file.validator):
                raise StorageConflictError(
                    f"{what}: it changed while it was downloaded; run again to take what is there "
                    "now"
                )
            yield replace(answer_of(response), validator=validator)

    # The query counts, and may hold a secret, which does not go to the disk.
    source = f"{file.location.url} {file.size} {file.validator}".encode(errors="replace")
    make_folder(path.parent)
    fetching.fetch(
        opener,
        path,
        what=what,
        source=hashlib.sha256(source).hexdigest(),
        size=file.size,
        checksum=file.checksum,
        limit=limit,
        on_progress=on_progress,
    )


def _web_file(location: HttpsLocation, response: httpx.Response) -> WebFile:
    headers = response.headers
    sha256 = headers.get(f"x-amz-meta-{SHA256_KEY}")
    return WebFile(
        location=location,
        size=total_of(response),
        validator=headers.get("etag") or headers.get("last-modified"),
        checksum=f"sha256:{sha256}" if sha256 else None,
        final_url=str(response.url),
    )
