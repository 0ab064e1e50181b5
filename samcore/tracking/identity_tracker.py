"""A tracker that takes what detectors find on the way: new objects join, mistakes go.

A frame's way differs from `VideoTracker`'s in its order, as a frame's decisions couple objects:

    VideoTracker      for each batch of objects: attention, decoder, memory encoder
    IdentityTracker   for each batch: attention, decoder; then all decisions (`associate`);
                      then for each batch: memory encoder, with the masks that were decided on

A person's objects are decoded and remembered as without detections; batches may differ in shape.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from samcore.config import TrackSettings
from samcore.detectors.detector import Detection
from samcore.errors import InputError
from samcore.identities.association import Decisions, TrackedMask, associate
from samcore.identities.config import AssociationConfig
from samcore.identities.held import HeldFrame, Identities, not_confirmed
from samcore.identities.ledger import Ledger, Track
from samcore.identities.sightings import Detections, Sighting, by_frame, check_pictures, likely
from samcore.machine.meters import StageClock
from samcore.masks.frame_masks import FrameMasks
from samcore.models.family import ImageFeatures, TrackingModel
from samcore.prompts.prompt import Prompt
from samcore.tracking.decided import (
    Logits,
    as_decided,
    encode_decided,
    encode_sightings,
    not_shown,
    on_host,
    scores_on_host,
    sightings_of,
)
from samcore.tracking.encoder import FrameLike
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.postprocess import frame_masks
from samcore.tracking.propagation import DecodedBatch, ObjectOutput, decode_batches
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker

_Encoded = tuple[FrameMemory, ObjectOutput]


class IdentityTracker(VideoTracker):
    """Follows prompted and detected objects, and keeps apart who is who.

    ```python
    tracker = IdentityTracker(model, height=720, width=1280, num_frames=9000)
    for output in tracker.track(frames, detections=found):     # {frame: [Detection, ...]}
        ...                                                    # 14 frames late
    ```

    A new object may be a mistake, which shows within `AssociationConfig.hot_start` frames. So the
    rows of frame t come when frame t + 14 was tracked, or at the video's end, without objects that
    were mistakes. Rows that are held are in the state, as run lengths: whoever goes on from it
    gives them first. Of a stream without an end `finish` gives the last ones.

    Detections belong to absolute frames, so cuts change nothing: masks, ids and rows are the same,
    bit for bit, on the same hardware and settings.
    """

    def __init__(
        self,
        model: TrackingModel,
        *,
        height: int,
        width: int,
        num_frames: int | None = None,
        start_frame: int = 0,
        settings: TrackSettings | None = None,
        warm_start: TrackerState | None = None,
        bank_on_cpu: bool = False,
        clock: StageClock | None = None,
        association: AssociationConfig | None = None,
    ) -> None:
        """As a `VideoTracker`.

        Args:
            association: All constants of association; most defaults are SAM 3's.

        Raises:
            InputError: As for `VideoTracker`, or `encode_every` is not 1.
        """
        super().__init__(
            model,
            height=height,
            width=width,
            num_frames=num_frames,
            start_frame=start_frame,
            settings=settings,
            warm_start=warm_start,
            bank_on_cpu=bank_on_cpu,
            clock=clock,
        )
        if self.settings.encode_every > 1:
            raise InputError("detections need the features of their own frame: set encode_every=1")
        self.association = association or AssociationConfig()
        self.delay = self.association.delay
        self._ledger = Ledger()
        self._held: tuple[HeldFrame, ...] = ()
        self._detections = by_frame(None)
        self._looked_at: tuple[int, list[Detection] | None] = (-1, None)

    @property
    def ledger(self) -> Ledger:
        """What is known of detected objects after the frame that was tracked last."""
        return self._ledger

    @property
    def first_held(self) -> int:
        """The first frame whose rows did not come yet; `next_frame` if all have come."""
        return self._held[0].frame_idx if self._held else self._next_frame

    def add_prompt(self, prompt: Prompt) -> None:
        """Take a prompt, also one that corrects a detected object; that one stays then.

        Raises:
            InputError: As for `VideoTracker`; or the number was that of an object that is gone.
        """
        next_id = self._ledger.next_id
        if prompt.obj_id < next_id and prompt.obj_id not in self.obj_ids:
            raise InputError(
                f"object {prompt.obj_id} cannot begin now: numbers up to {next_id - 1} were given "
                f"to others; take {next_id} or a larger one"
            )
        super().add_prompt(prompt)
        self._ledger = self._ledger.vouching(prompt.obj_id)

    def remove_object(self, obj_id: int) -> None:
        """Forget an object; rows of frames that were tracked stay. Its number does not come again.

        Raises:
            InputError: There is no such object.
        """
        super().remove_object(obj_id)
        self._ledger = self._ledger.reserving([obj_id]).without(obj_id)

    def track(
        self,
        frames: Iterable[FrameLike | NDArray[np.uint8]],
        detections: Detections = None,
    ) -> Iterator[FrameMasks]:
        """Track frames in order, from `first_needed` on, and give those whose rows are final.

        Args:
            frames: As for `VideoTracker`.
            detections: Of these frames. A function is asked about frames in order, and about one
                again after an error.

        Yields:
            The masks of each frame, in order, from `first_held` on. After an error, or where the
            caller stops, nothing is lost: the next call goes on with the frame that is due.

        Raises:
            InputError: A frame is missing or has another size, or a detection is of a picture of
                another size.
        """
        self._detections = by_frame(detections)
        self._looked_at = (-1, None)
        yield from self._final()
        for _ in super().track(frames):
            yield from self._final()

    def step(self, image_rgb_hwc_u8: NDArray[np.uint8]) -> FrameMasks:
        """Refuse: a frame's masks are not known yet when it is tracked."""
        raise InputError(
            f"step gives masks at once, and here they are final {self.delay} frames "
            "later; use track, and finish at the end of a stream"
        )

    def finish(self) -> Iterator[FrameMasks]:
        """Give all rows that are held: no frame comes any more."""
        while self._held:
            yield self._pop()

    def found(self, start: int, stop: int) -> tuple[Track, ...]:
        return tuple(one for one in self._ledger.tracks if start <= one.first_frame < stop)

    def state(self) -> TrackerState:
        """All that is needed to go on at `next_frame`, the rows that are held included.

        Raises:
            StateError: There are prompts that were not encoded.
        """
        identities = Identities(config=self.association, ledger=self._ledger, held=self._held)
        return replace(super().state(), identities=identities)

    @classmethod
    def from_state(
        cls,
        model: TrackingModel,
        state: TrackerState,
        *,
        settings: TrackSettings | None = None,
        bank_on_cpu: bool = False,
        clock: StageClock | None = None,
        association: AssociationConfig | None = None,
    ) -> "IdentityTracker":
        """Go on where a state was taken; the options are those of a new tracker.

        Args:
            association: Has to be what the state was made with; that is the default.

        Raises:
            StateError: The state was made with another model or other settings, or by a tracker
                that takes no detections.
        """
        if association is None and state.identities is not None:
            association = state.identities.config
        tracker = cls(
            model,
            height=state.height,
            width=state.width,
            num_frames=state.num_frames,
            settings=settings,
            bank_on_cpu=bank_on_cpu,
            clock=clock,
            association=association,
        )
        tracker._go_on_from(state)
        if state.identities is not None:
            tracker._ledger = state.identities.ledger
            tracker._held = state.identities.held
        return tracker

    def _final(self) -> Iterator[FrameMasks]:
        """The frames whose young tracks have all been judged."""
        is_end = self.num_frames is not None and self._next_frame >= self.num_frames
        while self._held and (is_end or self._held[0].frame_idx + self.delay < self._next_frame):
            yield self._pop()

    def _pop(self) -> FrameMasks:
        first = self._held[0]
        shown = first.without(not_confirmed(first, self._ledger, self.association))
        masks = shown.masks(height=self.height, width=self.width)
        self._held = self._held[1:]
        return masks

    def _found(self, frame_idx: int) -> list[Detection] | None:
        """The detections of a frame that count; None if nobody looked."""
        if self._looked_at[0] != frame_idx:
            found = self._detections(frame_idx)
            check_pictures(found or (), (self.height, self.width), frame_idx=frame_idx)
            likely_ones = None if found is None else likely(found, self.association)
            self._looked_at = (frame_idx, likely_ones)
        return self._looked_at[1]

    def _needs_image(self, frame_idx: int) -> bool:
        return super()._needs_image(frame_idx) or bool(self._found(frame_idx))

    def _step(self, frame_idx: int, features: ImageFeatures | None) -> FrameMasks:
        """Masks of all objects as they are now. All is computed before anything is changed."""
        objects, gone = self._objects, self._retirement
        encoded: dict[int, _Encoded] = {}
        batches: list[DecodedBatch] = []
        if features is not None:
            encoded = self._encode_waiting(frame_idx, features)
            known = [i for i in objects if objects[i].is_tracked(frame_idx) and i not in encoded]
            batches += self._decode(frame_idx, features, known)
        prompted = {
            obj_id: obj.outputs[frame_idx]
            for obj_id, obj in objects.items()
            if frame_idx in obj.outputs
        }
        prompted.update({obj_id: output for obj_id, (_, output) in encoded.items()})
        decoded = {i: output for batch in batches for i, output in batch.outputs().items()}
        there, logits = self._on_host(decoded | prompted)
        sightings = self._seen(frame_idx, features)
        if features is not None:
            looked_for = self._look_for(frame_idx, features, there, logits, sightings)
            sought = {i: output for batch in looked_for for i, output in batch.outputs().items()}
            found = self._found_again(frame_idx, sought, there, prompted)
            returned, their_logits = self._on_host({i: sought[i] for i in found})
            there, logits = there | returned, logits | their_logits
            batches, decoded = batches + looked_for, decoded | sought

        decisions = self._decide(frame_idx, there, logits, sightings)
        there, logits = as_decided(there, logits, decisions)
        begun: dict[int, _Encoded] = {}
        memories: dict[int, FrameMemory] = {}
        if features is not None:
            begun = encode_sightings(
                *(self.model, features, decisions, logits, self.association),
                frame_idx=frame_idx,
                size_hw=(self.height, self.width),
                bank_device=self._bank_device,
                needs=self._new_policy.needs,
            )
            memories = encode_decided(
                *(self.model, features, batches, logits, decisions.ledger, self.association),
                frame_idx=frame_idx,
                bank_device=self._bank_device,
            )

        outputs = there | {obj_id: output for obj_id, (_, output) in begun.items()}
        for obj_id in decisions.hidden & outputs.keys():
            outputs[obj_id] = not_shown(outputs[obj_id])
        masks = self._masks(frame_idx, outputs, {*prompted, *begun})
        left = {i: obj for i, obj in objects.items() if i not in decisions.removed}
        masks = gone.settled(masks, left, ())
        prompts = encoded | begun
        memories.update({obj_id: memory for obj_id, (memory, _) in prompts.items()})
        changes = gone.changes(left, masks, memories)
        by_person = [obj_id in prompted for obj_id in masks.obj_ids]
        masks = replace(masks, prompted_n=np.array(by_person, np.bool_))
        held = (*(frame.without(decisions.removed) for frame in self._held), HeldFrame.of(masks))

        for obj_id in decisions.removed:
            del objects[obj_id]
        objects.update(changes.returned)
        self._take_prompts(frame_idx, prompts)
        for obj_id in decoded.keys() & (set(masks.obj_ids) - prompts.keys()):
            objects[obj_id].take_step(memories[obj_id], decoded[obj_id])
        self._ledger, self._held = decisions.ledger, held
        self._next_frame = frame_idx + 1
        gone.take(objects, changes, masks)
        for obj in objects.values():
            obj.forget(self._next_frame)
        return masks

    def _decode(
        self, frame_idx: int, features: ImageFeatures, obj_ids: Iterable[int]
    ) -> list[DecodedBatch]:
        """Masks of a frame, by what is remembered of each of these objects."""
        remembered = {i: (self._objects[i].policy, self._objects[i].store) for i in obj_ids}
        batches = decode_batches(
            *(self.model, features, frame_idx, remembered),
            object_batch=self._object_batch,
            max_ptr_age=self._limits.max_obj_ptrs - 1,
            memory_pool=self.settings.memory_pool,
        )
        return list(batches)

    def _masks(
        self, frame_idx: int, outputs: Mapping[int, ObjectOutput], prompted: Collection[int]
    ) -> FrameMasks:
        return frame_masks(
            *(frame_idx, outputs, prompted),
            height=self.height,
            width=self.width,
            fill_hole_area=self.settings.fill_hole_area,
        )

    def _on_host(
        self, outputs: Mapping[int, ObjectOutput]
    ) -> tuple[dict[int, ObjectOutput], dict[int, NDArray[np.float32]]]:
        """The outputs and their logits, cleaned."""
        return on_host(outputs, self._ledger.detected, clean_area=self.association.clean_area)

    def _look_for(
        self,
        frame_idx: int,
        features: ImageFeatures,
        there: Mapping[int, ObjectOutput],
        logits: Logits,
        sightings: Sequence[Sighting] | None,
    ) -> list[DecodedBatch]:
        """Masks of retired objects: from time to time, and where something new is seen, which may
        be one of them."""
        wanted = self._retirement.sought(self._objects, frame_idx)
        if not wanted and sightings:
            retired = self._retirement.sought(self._objects, frame_idx, at_once=True)
            if retired and self._decide(frame_idx, there, logits, sightings).births:
                wanted = retired
        return self._decode(frame_idx, features, [i for i in wanted if i not in there])

    def _found_again(
        self,
        frame_idx: int,
        sought: Mapping[int, ObjectOutput],
        there: Mapping[int, ObjectOutput],
        prompted: Collection[int],
    ) -> set[int]:
        """The retired objects that are there again."""
        promising = self._retirement.promising(sought)
        if not promising:
            return set()
        candidates = {**there, **{i: sought[i] for i in promising}}
        masks = self._masks(frame_idx, candidates, prompted)
        settled = self._retirement.settled(masks, self._objects, promising)
        return promising & set(settled.obj_ids)

    def _seen(self, frame_idx: int, features: ImageFeatures | None) -> list[Sighting] | None:
        """What was detected on the frame, with masks; None if nobody looked."""
        found = self._found(frame_idx)
        if not found or features is None:
            return None if found is None else []
        return sightings_of(
            *(self.model, features, found, self.association),
            frame_idx=frame_idx,
            size_hw=(self.height, self.width),
            object_batch=self._object_batch,
        )

    def _decide(
        self,
        frame_idx: int,
        outputs: Mapping[int, ObjectOutput],
        logits: Logits,
        sightings: Sequence[Sighting] | None,
    ) -> Decisions:
        """What becomes of the frame's objects and detections."""
        scores = scores_on_host(outputs)
        tracks = [TrackedMask(i, logits_hw, scores[i]) for i, logits_hw in logits.items()]
        reserved = self._ledger.reserving(self.obj_ids)
        decisions = associate(reserved, self.association, frame_idx, tracks, sightings)
        if decisions.births:
            return decisions
        # Only a birth takes an id: others are a person's still.
        ledger = decisions.ledger.model_copy(update={"next_id": self._ledger.next_id})
        return replace(decisions, ledger=ledger)
