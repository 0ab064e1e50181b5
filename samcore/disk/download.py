"""Fetch a large file over HTTP: resumed after a cut, checked, and whole or not there at all."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from samcore.disk.locks import locked
from samcore.errors import ModelError, StorageError

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the total, if known."""


class _Interrupted(Exception):
    """The transfer broke off; trying again may help."""


class _Refused(Exception):
    """The server cannot give the file; trying again will not help."""


@dataclass(frozen=True, slots=True)
class _Target:
    """One file to fetch, and where its unfinished bytes wait."""

    url: str
    path: Path
    size: int | None
    sha256: str | None

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def note(self) -> Path:
        """Says which version of which URL the unfinished bytes belong to."""
        return self.path.with_name(f"{self.path.name}.part.json")

    @property
    def lock(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")


def download_file(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    on_progress: Progress | None = None,
    attempts: int = 5,
    backoff_s: float = 1.0,
    timeout_s: float = 30.0,
) -> None:
    """Have the file at `path`; return at once if it is there.

    What a broken transfer left is kept beside it and carried on from, also by another process and
    another day, if the server vouches that its file is still the same. Two processes that want one
    file wait for each other. `path` appears whole and checked, never half.

    Args:
        url: Where the file is, http or https.
        path: Where it shall be; its folder is made.
        size: Bytes that it must have.
        sha256: Hex digest that it must have.
        on_progress: Called as bytes arrive.
        attempts: Tries in a row that bring nothing new before giving up.
        backoff_s: Wait before the second try; doubled for each next one.
        timeout_s: Silence after which a connection counts as broken.

    Raises:
        ModelError: The file cannot be had, or the server gives another one.
        StorageError: It cannot be written.
    """
    target = _Target(url, path, size, sha256)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(target.lock):
            if not path.is_file():
                _fetch(
                    target,
                    on_progress,
                    attempts=attempts,
                    backoff_s=backoff_s,
                    timeout_s=timeout_s,
                )
    except _Refused as error:
        raise ModelError(
            f"cannot download {url}: {error}; get the file by other means and put it at {path}"
        ) from error


def _fetch(
    target: _Target,
    on_progress: Progress | None,
    *,
    attempts: int,
    backoff_s: float,
    timeout_s: float,
) -> None:
    failures, most, restarted = 0, _part_size(target), False
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(timeout_s)) as client:
        while True:
            try:
                resumed = _transfer(client, target, on_progress)
                if _check(target, may_restart=resumed and not restarted):
                    break
                restarted = True
            except _Interrupted as error:
                # A transfer that gets further each time may break as often as it likes.
                failures = 0 if _part_size(target) > most else failures + 1
                most = max(most, _part_size(target))
                if failures >= attempts:
                    raise _Refused(f"{error} ({attempts} attempts)") from error
                logger.info("download broke off, trying again: %s", error)
                time.sleep(backoff_s * 2 ** max(0, failures - 1))
    with _writing(target.path):
        target.note.unlink(missing_ok=True)
        os.replace(target.part, target.path)


def _transfer(client: httpx.Client, target: _Target, on_progress: Progress | None) -> bool:
    """One try; True if it carried on from earlier bytes.

    Raises:
        _Interrupted: It broke off.
        _Refused: The server does not give the file.
    """
    offset, validator = _resumable(target)
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator is not None:
            headers["If-Range"] = validator
    try:
        with client.stream("GET", target.url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                _expect_complete(response, target, offset)
                return True
            offset, total = _accept(response, target, offset)
            _receive(response, target, offset, total, on_progress)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        told = str(error) or type(error).__name__
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            raise _Refused(told) from error
        raise _Interrupted(told) from error
    return offset > 0


def _resumable(target: _Target) -> tuple[int, str | None]:
    """How many bytes to carry on from, and what proves that they are the same file's."""
    try:
        note = json.loads(target.note.read_text())
        validator = note["validator"]
        same = note["url"] == target.url
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None
    # Without a validator only the final digest can tell whether old and new bytes belong together.
    if not same or (validator is None and target.sha256 is None):
        return 0, None
    return _part_size(target), validator


def _expect_complete(response: httpx.Response, target: _Target, offset: int) -> None:
    """The server has no bytes past `offset`: then those that are here must be all."""
    if offset != (target.size or _range_total(response)):
        _drop(target)
        raise _Interrupted("the server's file is shorter than what is here")


def _accept(response: httpx.Response, target: _Target, offset: int) -> tuple[int, int | None]:
    """Where the response's bytes begin in the file, and the file's size if known."""
    status = response.status_code
    if status in _RETRIED_STATUS:
        raise _Interrupted(f"the server says {status} {response.reason_phrase}")
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise _Refused(f"the server says {status} {response.reason_phrase}")
    begin = 0
    if status == httpx.codes.PARTIAL_CONTENT:
        begin = _range_begin(response)
        if begin != offset:
            _drop(target)
            raise _Interrupted(f"asked for bytes from {offset}, got them from {begin}")
        total = _range_total(response)
    else:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    if target.size is not None and total not in (None, target.size):
        raise _Refused(f"the server's file has {total} bytes, wanted {target.size}")
    return begin, total or target.size


def _receive(
    response: httpx.Response,
    target: _Target,
    offset: int,
    total: int | None,
    on_progress: Progress | None,
) -> None:
    with _writing(target.path):
        if offset == 0:
            _drop(target)
            validator = _validator(response)
            target.note.write_text(json.dumps({"url": target.url, "validator": validator}))
        file = target.part.open("ab")
    done = offset
    try:
        if on_progress is not None:
            on_progress(done, total)
        # As it comes: of a block that must fill up first, a broken connection would lose all.
        for block in response.iter_raw():
            if total is not None and done + len(block) > total:
                raise _Refused(f"the server sends more than the {total} bytes that it announced")
            with _writing(target.path):
                file.write(block)
            done += len(block)
            if on_progress is not None:
                on_progress(done, total)
        with _writing(target.path):
            file.flush()
            os.fsync(file.fileno())
    finally:
        with _writing(target.path):
            file.close()
    if total is not None and done != total:
        raise _Interrupted(f"got {done} of {total} bytes")


def _check(target: _Target, *, may_restart: bool) -> bool:
    """Whether the bytes are the wanted file's; False to fetch it again from its start.

    Raises:
        _Refused: They are another file's.
    """
    size = _part_size(target)
    digest = None
    if target.sha256 is not None and (target.size is None or size == target.size):
        with _writing(target.path), target.part.open("rb") as file:
            running = hashlib.sha256()
            while block := file.read(_BLOCK):
                running.update(block)
        digest = running.hexdigest()
    if target.size in (None, size) and digest == target.sha256:
        return True
    _drop(target)
    if may_restart:
        # Perhaps the old bytes were of another version: the whole file anew decides.
        logger.info("the resumed download of %s is damaged; starting anew", target.url)
        return False
    if digest is None:
        raise _Refused(f"the server's file has {size} bytes, wanted {target.size}")
    raise _Refused(
        f"the server's file has SHA-256 {digest}, wanted {target.sha256}: it is damaged or another"
    )


def _part_size(target: _Target) -> int:
    try:
        return target.part.stat().st_size
    except OSError:
        return 0


def _drop(target: _Target) -> None:
    with _writing(target.path):
        target.part.unlink(missing_ok=True)
        target.note.unlink(missing_ok=True)


def _validator(response: httpx.Response) -> str | None:
    """What the server vouches for a version of the file by; weak ETags vouch for no bytes."""
    etag: str | None = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    modified: str | None = response.headers.get("Last-Modified")
    return modified


def _range_begin(response: httpx.Response) -> int:
    begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(begin) if begin.isdigit() else -1


def _range_total(response: httpx.Response) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


@contextmanager
def _writing(path: Path) -> Iterator[Any]:
    """Turn the file system's refusals into one clear line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; make room or permission there, or "
            "choose another cache folder"
        ) from error
