"""Content digests of large files, remembered from run to run."""

import hashlib
import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from samcore.disk.files import hash_file
from samcore.disk.sealed import open_record, seal_record
from samcore.errors import ModelError

logger = logging.getLogger(__name__)

_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago may change again within the clock's resolution."""


def file_digest(path: Path, *, cache_dir: Path) -> str:
    """SHA-256 of a file's content, in hex.

    Remembered under `cache_dir`/digests by path, size and time of change, so that a checkpoint of
    a gigabyte is read once. A cache that cannot be written only costs time.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        stat = path.stat()
        identity: dict[str, str | int] = {
            "path": str(path.resolve()),
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
        }
        # One file an entry: processes that write at the same time lose nothing of each other's.
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        entry = cache_dir / "digests" / f"{name}.json"
        remembered = _recall(entry, identity)
        if remembered is not None:
            return remembered
        _, digest = hash_file(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
        _remember(entry, identity, digest)
    return digest


def _recall(entry: Path, identity: dict[str, str | int]) -> str | None:
    try:
        digest = open_record(entry.read_bytes(), of=json.dumps(identity))
    except OSError:
        return None
    return digest if isinstance(digest, str) else None


def _remember(entry: Path, identity: dict[str, str | int], digest: str) -> None:
    temporary = entry.with_name(f".{uuid4().hex}.tmp")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(seal_record(digest, of=json.dumps(identity)))
        temporary.replace(entry)
    except OSError as error:
        logger.debug("cannot remember the digest of %s: %s", identity["path"], error)
        with suppress(OSError):
            temporary.unlink()
