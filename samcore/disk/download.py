"""Files on web servers: the opener for `fetch`, and whole downloads of what is published."""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx

from samcore.disk.atomic import storage_errors
from samcore.disk.fetch import Answer, Progress, fetch
from samcore.errors import (
    DamagedObjectError,
    InputError,
    MissingObjectError,
    ModelError,
    SegmentationError,
    StorageError,
    TransientStorageError,
)

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_MAX_REDIRECTS = 5


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


def download_file(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    on_progress: Progress | None = None,
    attempts: int = 5,
    backoff_s: float = 1.0,
) -> None:
    """Have the published file at `path`; return at once if it is there. See `fetch`.

    Args:
        url: Where the file is, http or https.
        path: Where it shall be; its folder is made.
        size: Bytes that it must have.
        sha256: Hex digest that it must have.
        on_progress: Called as bytes arrive.
        attempts: Tries in a row that bring nothing new before giving up.
        backoff_s: Wait before the second try; doubled for each next one.

    Raises:
        ModelError: The file cannot be had, or the server gives another one.
        StorageError: It cannot be written.
    """
    what = f"cannot download {url}"

    @contextlib.contextmanager
    def opener(offset: int, validator: str | None) -> Iterator[Answer]:
        with open_url(url, what=what, offset=offset, validator=validator) as response:
            answer = answer_of(response)
            if on_progress is not None:
                on_progress(answer.begin, size if answer.total is None else answer.total)
            yield answer

    with storage_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fetch(
            opener,
            path,
            what=what,
            source=url,
            size=size,
            checksum=None if sha256 is None else f"sha256:{sha256}",
            on_progress=on_progress,
            only_if_absent=True,
            mode=0o666,
            attempts=attempts,
            backoff_s=backoff_s,
            worth=1,
        )
    except SegmentationError as error:
        if isinstance(error.__cause__, OSError):
            raise  # this machine's disk
        why = str(error)
        if isinstance(error, DamagedObjectError):
            why = f"{what}: the server's file does not have the SHA-256 {sha256}"
        elif isinstance(error, TransientStorageError):
            why += f" ({attempts} attempts)"
        raise ModelError(f"{why}; get the file by other means and put it at {path}") from error


@contextlib.contextmanager
def open_url(
    url: str, *, what: str, offset: int = 0, last: int | None = None, validator: str | None = None
) -> Iterator[httpx.Response]:
    """The answer to GET, after redirects, its body unread; of https to https only.

    Args:
        url: Which address.
        what: Begins each error, which never has the address's query.
        offset: Bytes to leave out, if the server knows ranges.
        last: The last byte that is wanted; None is all.
        validator: Send all of it unless it still is the content that this names.

    Raises:
        MissingObjectError: There is no such file.
        TransientStorageError: No connection, or the server is busy.
        StorageError: The server refuses.
        InputError: It is no address.
    """
    headers = {"Accept-Encoding": "identity"}
    if offset or last is not None:
        headers["Range"] = f"bytes={offset}-{'' if last is None else last}"
    if offset and validator is not None:
        headers["If-Range"] = validator
    only_https = url.lower().startswith("https:")
    try:
        with contextlib.ExitStack() as held:
            client = held.enter_context(httpx.Client(timeout=_TIMEOUT))
            for _ in range(_MAX_REDIRECTS + 1):
                response = held.enter_context(client.stream("GET", url, headers=headers))
                if response.next_request is None:
                    break
                # Not to http, where anyone can read along, and the server inside be another one.
                url = str(response.next_request.url)
                if only_https and response.next_request.url.scheme != "https":
                    raise StorageError(f"{what}: it leads on to an address that is not https")
            else:
                raise StorageError(f"{what}: it leads on and on; give the file's own address")
            _check(what, response, offset)
            yield response
    except httpx.UnsupportedProtocol as error:
        raise InputError(f"{what}: not an address that can be asked") from error
    except httpx.TransportError as error:
        if "CERTIFICATE" in str(error).upper():
            raise StorageError(f"{what}: the server's certificate is not trusted") from error
        raise TransientStorageError(
            f"{what}: the connection failed ({type(error).__name__})"
        ) from error
    except (httpx.InvalidURL, httpx.HTTPError) as error:
        raise InputError(f"{what}: not an address that can be asked") from error


def answer_of(response: httpx.Response) -> Answer:
    """What a web server sends, for `fetch`."""
    span = response.headers.get("Content-Range", "")
    begin = 0
    if response.status_code != httpx.codes.OK:
        match = re.match(r"bytes (\d+)-", span)
        begin = int(match[1]) if match else -1
    blocks = response.iter_raw()
    total = total_of(response)
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        begin, blocks = total or 0, iter(())
    etag = response.headers.get("ETag")
    validator = etag if is_strong(etag) else response.headers.get("Last-Modified")
    # As it comes: of a block that must fill up first, a broken connection would lose all.
    return Answer(validator, total, begin, blocks)


def total_of(response: httpx.Response) -> int | None:
    """Bytes of the whole file; None if the server does not say."""
    if response.status_code == httpx.codes.OK:
        length = response.headers.get("Content-Length", "")
    else:
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isdigit() else None


def is_strong(validator: str | None) -> bool:
    """Whether equal validators mean equal bytes: an ETag that is not a weak one."""
    return validator is not None and validator.startswith('"')


def _check(what: str, response: httpx.Response, offset: int) -> None:
    status = response.status_code
    if status in (200, 206) or (status == 416 and offset):
        return  # 416: there is nothing after what has come, so that is all, or too much
    if status in (404, 410):
        raise MissingObjectError(f"{what}: there is no such file ({status})")
    if status in (401, 403):
        raise StorageError(
            f"{what}: the server refuses it (status {status}); a signed address may have expired"
        )
    if status in (408, 425, 429) or status >= 500:
        raise TransientStorageError(f"{what}: the server is busy or has a fault ({status})")
    raise StorageError(f"{what}: the server refuses it (status {status})")
