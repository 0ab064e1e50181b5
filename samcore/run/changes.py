"""What of a finished run can be other masks, if its prompts are changed.

Objects are independent in what they remember. In the last bit they are so only if each is a batch
of its own: a row's rounding depends on how many rows its batch has. A prompt that holds from its
frame on leaves the batches of others as they were (`TrackedObject.stand_in`); any other change of
prompts alters them, and then all objects are tracked again from there on.

    object                          1            2            3
    a prompt more, from_here, at f  from f on    as it was    as it was
    a prompt more for all frames    all frames   all frames   all frames
        with object_batch 1         all frames   as it was    as it was

Imports no torch: a page asks this after every click.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samcore.chunks.handoff import find_handoff
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from samcore.result.records import RunRecord
from samcore.tracking.memory.policy import POLICIES, MemoryLimits, policy_options


@dataclass(frozen=True, slots=True)
class Changes:
    """What other prompts change."""

    first_frames: dict[int, int]
    """Of each object whose masks can be others: the first frame where they can."""
    fresh: frozenset[int]
    """Those of them that begin anew: nothing that was remembered of them holds."""
    kept: tuple[int, ...]
    """Objects whose masks are what they were, on all frames."""
    removed: tuple[int, ...]
    """Objects that are not asked for any more."""
    spreads_from: int | None = None
    """The frame from which on objects are tracked again whose prompts are as they were; None if
    there are none."""


def why_not_taken(record: RunRecord) -> str | None:
    """Why nothing of a run can be taken for another one with other prompts; None if it can."""
    if not find_handoff(record.handoff).hands_on_state:
        return f"chunks of the hand-off {record.handoff} leave no states"
    if record.detection is not None:
        return "what detectors find depends on all objects"
    if record.settings.retirement is not None:
        return "which objects retire depends on all of them"
    if record.tracked is not None:
        return "only some frames are tracked"
    if record.shards:
        return "its objects are tracked in shares"
    if record.directions:
        return "objects are tracked backward, too"
    if record.warm_start is not None:
        return "it begins with objects of another video"
    return None


def differ_in_prompts(old: RunRecord, new: RunRecord) -> bool:
    """Whether two runs differ in their prompts, and in nothing else that masks depend on; their
    chunks are the same."""
    as_new = old.model_copy(update={"prompts_digest": new.prompts_digest})
    return as_new.work_key == new.work_key and old.prompts_digest != new.prompts_digest


def compare_prompts(
    record: RunRecord, before: Sequence[Prompt], after: Sequence[Prompt]
) -> Changes:
    """What changes if a run with some prompts is asked for with others.

    Args:
        record: Of the run, for which `why_not_taken` knows nothing.
        before: Its prompts.
        after: The new ones.
    """
    old, new = _by_object(before), _by_object(after)
    entry = POLICIES.get(record.settings.memory_policy)
    options = policy_options(entry.name, record.settings.memory_policy_options)
    # What it wants to see does not depend on the model.
    limits = MemoryLimits(num_maskmem=64, max_obj_ptrs=64, max_cond_frames=2)
    sees_masks = bool(entry.load().new(limits, options).needs)
    first: dict[int, int] = {}
    fresh: set[int] = set()
    spreading: list[int] = []
    for obj_id in sorted({*old, *new}):
        was, now = old.get(obj_id, {}), new.get(obj_id, {})
        others = {t for t in {*was, *now} if _digest(was.get(t)) != _digest(now.get(t))}
        if not others:
            continue
        found = [prompts[t] for prompts in (was, now) for t in others if t in prompts]
        if was and now and all(prompt.from_here for prompt in found):
            first[obj_id] = min(others)
            spreading += [min(others)] * sees_masks
            continue
        begins = min({*was, *now})
        spreading.append(begins)
        if now:
            first[obj_id] = begins
            fresh.add(obj_id)
    spreads_from = None
    if record.settings.object_batch != 1 and spreading:
        everywhere = min(spreading)
        if any(first.get(obj_id, record.stop) > everywhere for obj_id in new.keys() - fresh):
            spreads_from = everywhere
        first = {
            obj_id: min(everywhere, first.get(obj_id, everywhere))
            if obj_id not in fresh
            else first[obj_id]
            for obj_id in new
        }
    return Changes(
        first_frames=dict(sorted(first.items())),
        fresh=frozenset(fresh),
        kept=tuple(sorted(new.keys() - first.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        spreads_from=spreads_from,
    )


def _by_object(prompts: Sequence[Prompt]) -> dict[int, Mapping[int, Prompt]]:
    found: dict[int, dict[int, Prompt]] = defaultdict(dict)
    for prompt in prompts:
        found[prompt.obj_id][prompt.frame_idx] = prompt
    return dict(found)


def _digest(prompt: Prompt | None) -> str | None:
    return None if prompt is None else prompts_digest((prompt,))
