"""Files on web servers: reads their sizes, and resumes broken downloads."""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from samcore.errors import (
    InputError,
    MissingObjectError,
    StorageConflictError,
    StorageError,
    TransientStorageError,
)
from tasks.store.locations import HttpsLocation
from tasks.store.part_file import PartFile, Progress
from tasks.store.upload import SHA256_KEY

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_MAX_REDIRECTS = 5
_BLOCK = 1 << 16
_WORTH_GOING_ON = 8 << 20
"""Bytes; as for objects: a connection that brought as much is opened again for the rest."""


class _WithoutQueries(logging.Filter):
    """Keeps signatures out of the log: httpx tells every address that it asks."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.copy_with(query=None) if isinstance(arg, httpx.URL) else arg
                for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_WithoutQueries())


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
    with _open(location, {"Range": "bytes=0-0"}) as answer:
        return _web_file(location, answer)


def fetch(file: WebFile, path: Path, *, limit: int, on_progress: Progress | None = None) -> None:
    """Download a file; `path` appears when all of it is there.

    Args:
        file: What `look_at` said: exactly this content is wanted.
        path: Where to. What a call that failed has fetched stays beside it for the next one.
        limit: Bytes that it may have.
        on_progress: Called with bytes so far and in all.

    Raises:
        InputError: It is larger than `limit`.
        StorageConflictError: It has changed since.
        TransientStorageError: The connection broke, or the server is busy.
        StorageError: Disk full; the server refuses.
    """
    if file.size is not None and file.size > limit:
        raise _too_large(file, limit)
    version = f"{file.location.url} {file.size} {file.validator}"
    with PartFile.open(path, version=version, checksum=file.checksum) as part:
        # Without a strong validator there is no telling whether the rest belongs to what is there.
        if part.size and not is_strong(file.validator):
            part.restart()
        done = file.size is not None and part.size == file.size
        while not done:
            begun = part.size
            try:
                _fetch_rest(file, part, limit, on_progress)
                done = True
            except TransientStorageError:
                if part.size - begun < _WORTH_GOING_ON or not is_strong(file.validator):
                    raise
        part.commit(file.location.uri)


def _fetch_rest(file: WebFile, part: PartFile, limit: int, on_progress: Progress | None) -> None:
    headers = {}
    if part.size:
        headers = {"Range": f"bytes={part.size}-", "If-Range": file.validator or ""}
    with _open(file.location, headers) as answer:
        found = _web_file(file.location, answer)
        if (found.size, found.validator) != (file.size, file.validator):
            raise StorageConflictError(
                f"cannot read {file.location.uri}: it changed while it was downloaded; run again "
                "to take what is there now"
            )
        if part.size and answer.status_code != 206:
            part.restart()  # the server knows no ranges, and sends all of it
        for block in answer.iter_raw(_BLOCK):
            if part.size + len(block) > limit:
                part.restart()
                raise _too_large(file, limit)
            part.write(block)
            if on_progress is not None:
                on_progress(part.size, file.size)
    if file.size is not None and part.size != file.size:
        raise TransientStorageError(f"cannot read {file.location.uri}: the connection broke")


@contextlib.contextmanager
def _open(location: HttpsLocation, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """The answer to GET, after redirects, its body unread."""
    what = f"cannot read {location.uri}"
    request = {"Accept-Encoding": "identity", **headers}
    try:
        with contextlib.ExitStack() as held:
            client = held.enter_context(httpx.Client(timeout=_TIMEOUT))
            url = location.url
            for _ in range(_MAX_REDIRECTS + 1):
                answer = held.enter_context(client.stream("GET", url, headers=request))
                if answer.next_request is None:
                    break
                # Not to http, where anyone can read along, and the server inside be another one.
                url = str(answer.next_request.url)
                if answer.next_request.url.scheme != "https":
                    raise StorageError(f"{what}: it leads on to an address that is not https")
            else:
                raise StorageError(f"{what}: it leads on and on; give the file's own address")
            _check(what, answer)
            yield answer
    except httpx.TransportError as error:
        if "CERTIFICATE" in str(error).upper():
            raise StorageError(f"{what}: the server's certificate is not trusted") from error
        raise TransientStorageError(
            f"{what}: the connection failed ({type(error).__name__})"
        ) from error
    except (httpx.InvalidURL, httpx.HTTPError) as error:
        raise InputError(f"{what}: not an address that can be asked") from error


def _check(what: str, answer: httpx.Response) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    if status in (404, 410):
        raise MissingObjectError(f"{what}: there is no such file")
    if status in (401, 403):
        raise StorageError(
            f"{what}: the server refuses it (status {status}); a signed address may have expired"
        )
    if status in (408, 425, 429) or status >= 500:
        raise TransientStorageError(f"{what}: the server is busy or has a fault ({status})")
    raise StorageError(f"{what}: the server refuses it (status {status})")


def _web_file(location: HttpsLocation, answer: httpx.Response) -> WebFile:
    headers = answer.headers
    match = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("content-range", ""))
    if answer.status_code == 206:
        size = int(match[1]) if match else None
    else:
        length = headers.get("content-length", "")
        size = int(length) if length.isdigit() else None
    sha256 = headers.get(f"x-amz-meta-{SHA256_KEY}")
    return WebFile(
        location=location,
        size=size,
        validator=headers.get("etag") or headers.get("last-modified"),
        checksum=f"sha256:{sha256}" if sha256 else None,
        final_url=str(answer.url),
    )


def is_strong(validator: str | None) -> bool:
    """Whether equal validators mean equal bytes: an ETag that is not a weak one."""
    return validator is not None and validator.startswith('"')


def _too_large(file: WebFile, limit: int) -> InputError:
    return InputError(f"cannot read {file.location.uri}: at most {limit} bytes are taken")
