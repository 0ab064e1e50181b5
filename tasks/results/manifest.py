"""What a manifest says of its making, and what tasks are told of it."""

import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

from samcore.result.manifest import OVERLAY, REPORT, Manifest
from tasks.run.refs import ResultRef, RunRef

_PACKAGES = ("longtake", "torch", "sam2", "prefect", "numpy", "opencv-python-headless", "pyarrow")


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
        states_bytes=run.keep_states * sum(c.state.size for c in manifest.chunks if c.state),
        was_there=was_there,
        superseded=manifest.key != run.key,
    )


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
