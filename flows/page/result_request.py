"""From a result back to the request that made it, so that a page can correct it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samcore.chunks.handoff import find_handoff
from samcore.disk.files import copy_atomic, make_folder
from samcore.models.known import KNOWN_MODELS
from samcore.models.registry import ModelSpec
from samcore.result.manifest import OVERLAY, REPORT, Manifest
from samcore.result.records import RunRecord
from samcore.run.folder import RunFolder

_ASKED = (
    *("dtype", "stretch", "memory_policy", "memory_policy_options", "retire_after"),
    *("look_for_every", "archive_size", "encode_every", "memory_pool"),
)
"""Settings that `track` has an option for and that are not chosen anew on each machine."""
_OF_MODEL = ("model", "checkpoint", "config", "image_size", "plain_engine", "compile")
_OF_CHUNKS = ("chunk_frames", "overlap")


def request_fields(manifest: Manifest) -> dict[str, Any]:
    """The fields of a request that gives the same result from the same prompts, but for where it
    goes. The device is left to the machine.

    Args:
        manifest: Of the result. What it was told by detectors is not among the fields: what these
            found at its beginning are prompts of its run, and so a hand-off is left out that wants
            detectors. Directions are said by its prompts.
    """
    record = manifest.request
    names = {file.name for file in manifest.files}
    settings = record.settings.model_dump(include=set(_ASKED), exclude_defaults=True)
    return {
        **_model(record.model),
        **_chunks(record),
        **_frames(record),
        "source": record.source,
        "further_parts": record.further_parts,
        "start": record.start,
        "stop": None if record.stop == manifest.video.num_frames else record.stop,
        "handoff": "memory" if find_handoff(record.handoff).is_parallel else record.handoff,
        "shards": len(record.shards) or None,
        "warm_start": None if record.warm_start is None else record.warm_start.source,
        "settings": settings,
        "report": REPORT in names,
        "overlay": OVERLAY in names,
        "formats": manifest.exports,
    }


def with_result(given: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    """What a person gives, and for all else what a result was made with; without its video."""
    known = request_fields(manifest)
    settings = {**known.pop("settings"), **given.get("settings", {})}
    left = ["source"]
    if given.get("model") or given.get("checkpoint"):
        left += _OF_MODEL
    if given.get("chunk_frames") or given.get("overlap"):
        left += _OF_CHUNKS
    known = {name: value for name, value in known.items() if name not in left}
    chosen = {name: value for name, value in given.items() if value is not None}
    return {**known, **chosen, "settings": settings}


def bring_prompts(manifest: Manifest, work_dir: Path, target: Path) -> bool:
    """Copy the prompts of a result, as its run's folder keeps them, to where a page begins with
    them; what is there already stays.

    Args:
        manifest: Of the result.
        work_dir: Where runs are.
        target: The page's prompts file.

    Returns:
        Whether there are prompts at `target` now.

    Raises:
        StorageError: The folder cannot be written to.
    """
    if target.exists():
        return True
    source = RunFolder.for_key(work_dir, manifest.request.work_key).path / "prompts.json"
    if not source.exists():
        return False
    make_folder(target.parent)
    copy_atomic(source, target)
    return True


def _model(spec: ModelSpec) -> dict[str, Any]:
    known = next((model for model in KNOWN_MODELS if model.name == spec.name), None)
    fields: dict[str, Any] = {"plain_engine": spec.is_plain, "compile": spec.is_compiled}
    if known is not None or spec.name.startswith("hf:"):
        fields["model"] = spec.name
    else:
        fields |= {"checkpoint": str(spec.checkpoint), "config": spec.config}
    if known is None or known.image_size != spec.image_size:
        fields["image_size"] = spec.image_size
    return fields


def _chunks(record: RunRecord) -> dict[str, int]:
    """The plan's numbers; of a single chunk the defaults cut nothing either if they are longer."""
    record = record.in_steps()
    chunks = record.chunks
    length = chunks[0].stop - chunks[0].start
    if len(chunks) > 1:
        return {"chunk_frames": length, "overlap": record.overlap(1)}
    return {"chunk_frames": max(length, 240)}


def _frames(record: RunRecord) -> dict[str, Any]:
    """Which frames are tracked, where these are not all."""
    tracked = record.tracked
    if tracked is None:
        return {}
    return {"every": tracked.every, "fps": None if tracked.fps is None else float(tracked.fps)}
