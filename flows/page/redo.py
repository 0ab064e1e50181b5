"""What a run would track again of a result whose prompts were changed."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samcore.errors import LostWorkError
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from samcore.result.manifest import Manifest
from samcore.run.correction import plan_correction, why_all_is_tracked
from samcore.run.folder import RunFolder

_SAID = 3
"""Objects that are named."""


def why_everything(manifest: Manifest, work_dir: Path, *, in_bucket: bool) -> str | None:
    """Why a run with other prompts tracks all frames of a result again; None if it need not. Reads
    all masks of the run's folder.

    Args:
        manifest: Of the result.
        work_dir: Where runs are.
        in_bucket: Whether the result is in a bucket.
    """
    if in_bucket:
        return "the result is in a bucket"
    return why_all_is_tracked(RunFolder.for_key(work_dir, manifest.request.work_key))


def what_to_redo(
    manifest: Manifest, prompts: Sequence[Prompt], work_dir: Path, *, why: str | None
) -> dict[str, Any]:
    """What a run with these prompts would track, as JSON: `changed`, and a line for a person.

    Args:
        manifest: Of the result.
        prompts: Those of the page, held against the video.
        work_dir: Where runs are.
        why: From `why_everything`.
    """
    record = manifest.request
    if prompts_digest(prompts) == record.prompts_digest:
        return {"changed": False, "text": ""}
    with contextlib.suppress(LostWorkError):
        if why is None:
            plan = plan_correction(RunFolder.for_key(work_dir, record.work_key), prompts)
            parts = list(_tracked(plan.tracked, record.stop))
            if plan.removed:
                parts.append(f"drops {_objects(plan.removed)}")
            return {"changed": True, "text": "; ".join(parts)}
    because = why or "the finished run's folder is gone"
    return {"changed": True, "text": f"tracks all {_frames(manifest.frames)} again: {because}"}


def _tracked(tracked: Mapping[int, int], stop: int) -> Sequence[str]:
    by_frame: dict[int, list[int]] = {}
    for obj_id, frame in tracked.items():
        by_frame.setdefault(frame, []).append(obj_id)
    return [
        f"tracks {_objects(ids)} from frame {frame:,}: {_frames(stop - frame)}"
        for frame, ids in sorted(by_frame.items())
    ]


def _frames(count: int) -> str:
    return f"{count:,} frame{'' if count == 1 else 's'}"


def _objects(ids: Sequence[int]) -> str:
    named = ", ".join(map(str, ids[:_SAID]))
    more = f" and {len(ids) - _SAID} more" if len(ids) > _SAID else ""
    return f"object{'' if len(ids) == 1 else 's'} {named}{more}"
