"""The published result: what makes it whole, and how it is replaced."""

import json
import platform
import re
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.disk.files import FileRecord
from tasks.run.records import Manifest, ResultRef, RunRef

MANIFEST = "manifest.json"
MASKS = "masks.parquet"
SEAMS = "seams.json"
OVERLAY = "overlay.mp4"
REPORT = "report.html"

MARK = re.compile(r"source-([0-9a-f]{16})\.json")
"""Name of a file of the result that tells which content of a bucket's video it is of, so that it
shows in a listing."""

_PACKAGES = ("longtake", "torch", "sam2", "prefect", "numpy", "opencv-python-headless", "pyarrow")


def published_key(destination: Path) -> str | None:
    """The key of the result that lies there, whole or not; None if none does.

    A manifest that this version cannot read has the key ""; no run replaces it unasked.
    """
    try:
        return manifest_key((destination / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def manifest_key(data: bytes) -> str:
    """The key that a manifest of whatever version names; "" if it names none."""
    try:
        content = json.loads(data)
    except ValueError:
        return ""
    key = content.get("key") if isinstance(content, dict) else None
    return key if isinstance(key, str) else ""


def result_ref(run: RunRef, manifest: Manifest, *, was_there: bool) -> ResultRef:
    """What there is to say of a published result: that of the run, or the one it left in place."""
    return ResultRef(
        destination=run.destination,
        credentials=run.credentials,
        key=manifest.key,
        frames=manifest.frames,
        objects=manifest.num_objects,
        seam_agreement=manifest.seam_agreement,
        seams_identical=manifest.seams_identical,
        findings=manifest.findings,
        has_overlay=any(file.name == OVERLAY for file in manifest.files),
        has_report=any(file.name == REPORT for file in manifest.files),
        exports=manifest.exports,
        was_there=was_there,
        superseded=manifest.key != run.key,
    )


def with_file(manifest: Manifest, record: FileRecord) -> Manifest:
    """The manifest with one more file, or the file's new content."""
    others = [f for f in manifest.files if f.name != record.name]
    return manifest.model_copy(update={"files": (*others, record)})


def versions() -> dict[str, str]:
    """Of Longtake and what it stands on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # Run from a folder that was never installed.
            found[package] = "unknown"
    return found


def now() -> str:
    """The time as records have it: ISO 8601, UTC, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
