"""Begin with memories of another video: what an object looked like there.

Any tracker's state can be begun with. Of each of its objects the conditioning memories are taken
that its policy would read next, at most `MAX_FRAMES`, and get frame numbers before this video:

    frames of the other video     0   40   88        (a box, a correction, a correction)
    numbers here                 -4   -3   -2   .    0 1 2 ...

They are conditioning frames from then on: every step attends to them as to prompts of a person,
and a pointer's age is counted from the number above. Frame -1 stays free, since policies treat the
last frame in another way than those before it.

The idea is MuggledSAM's image priors and Det-SAM2's preload bank.
"""

from dataclasses import replace

import torch

from samcore.errors import InputError, StateError
from samcore.models.family import TrackingModel
from samcore.tracking.keepsakes import Keepsakes
from samcore.tracking.memory.policy import (
    Json,
    MemoryLimits,
    MemoryPolicy,
    PolicyEntry,
    policy_options,
)
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.state import ObjectState, TrackerState
from samcore.tracking.state_header import check_made_for
from samcore.tracking.tracked_object import TrackedObject

MAX_FRAMES = 8
"""Memories of an object: some looks at it. More would crowd out prompts of the video itself."""


def warm_objects(
    state: TrackerState,
    model: TrackingModel,
    entry: PolicyEntry,
    new_policy: MemoryPolicy,
    limits: MemoryLimits,
    *,
    start: int,
    bank_device: torch.device,
    retire: bool,
) -> dict[int, TrackedObject]:
    """All objects of a state, as they begin at frame `start` of another video.

    Args:
        state: What is to be begun with.
        model: That is to track.
        entry: The memory policy.
        new_policy: Of an object without memory.
        limits: Of the tracker.
        start: The first frame that is tracked.
        bank_device: Where memories are kept.
        retire: Whether objects may retire, and so need something to be found again by.

    Raises:
        StateError: The state was made with another model or policy, or has no object, or one
            without a memory of a prompt.
    """
    check_made_for(
        state,
        fingerprint=model.facts.fingerprint,
        image_size=model.facts.image_size,
        dtype=model.dtype_name,
        policy=entry.title,
    )
    if not state.objects:
        raise StateError("the warm start has no objects; make it of a result that has some")
    objects = {}
    for saved in state.objects:
        memories = _cond_memories(saved, state, entry, limits)
        obj = TrackedObject(new_policy, begins=start)
        for number, memory in enumerate(memories, start=-1 - len(memories)):
            obj.store.add(replace(memory, frame_idx=number).to(bank_device))
            # What was seen there does not say where the object is here.
            obj.policy = obj.policy.prompted(number, None)
        if retire:
            obj.keepsakes = Keepsakes.of_memories(tuple(obj.store))
        obj.forget(start)
        objects[saved.obj_id] = obj
    return objects


def _cond_memories(
    saved: ObjectState, state: TrackerState, entry: PolicyEntry, limits: MemoryLimits
) -> list[FrameMemory]:
    """The conditioning memories that an object would attend to next, by ascending frame: of more
    than `MAX_FRAMES` the first one, and the last ones."""
    memories = {memory.frame_idx: memory for memory in (*saved.memories, *saved.keepsakes)}
    try:
        options = policy_options(entry.name, state.policy_options)
        read = _loaded(saved, entry, limits, options).policy.read(state.next_frame)
        found = sorted(frame_idx for frame_idx, position in read.spatial if position == 0)
        if len(found) > MAX_FRAMES:
            found = [found[0], *found[1 - MAX_FRAMES :]]
        return [memories[frame_idx] for frame_idx in found]
    except StateError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        why = str(error) if isinstance(error, InputError) else ascii(error)[:200]
        raise StateError(
            f"the warm start has nothing of object {saved.obj_id} to begin with: {why}"
        ) from error


def _loaded(
    saved: ObjectState, entry: PolicyEntry, limits: MemoryLimits, options: object
) -> TrackedObject:
    """The object as a tracker would go on with it, which checks that all is there."""
    policy_class: type[MemoryPolicy] = entry.load()

    def load(dumped: Json) -> MemoryPolicy:
        return policy_class.load(limits, options, dumped)

    host = torch.device("cpu")
    return TrackedObject.of(saved, load, device=host, bank_device=host)
