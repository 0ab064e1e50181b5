"""Track objects through a video of any length in bounded memory."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from samcore.config import TrackSettings
from samcore.errors import InputError, StateError
from samcore.machine.batches import default_batches
from samcore.machine.meters import StageClock
from samcore.masks.frame_masks import FrameMasks
from samcore.models.family import ImageFeatures, TrackingModel
from samcore.prompts.prompt import Prompt, check_prompt
from samcore.tracking.delay import GivesMasks
from samcore.tracking.encoder import FrameEncoder, FrameFeatures, FrameLike, numbered
from samcore.tracking.memory.policy import POLICIES, MemoryLimits, MemoryPolicy, policy_options
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.postprocess import frame_masks
from samcore.tracking.propagation import ObjectOutput, encode_prompt, propagate
from samcore.tracking.retired import Retirement
from samcore.tracking.state import TrackerState
from samcore.tracking.tracked_object import TrackedObject, stand_ins
from samcore.tracking.warm_start import warm_objects

_Encoded = tuple[FrameMemory, ObjectOutput]


class VideoTracker(GivesMasks):
    """Follows objects through frames that arrive in order, and forgets what it cannot need.

    ```python
    model = load_model(resolve_model("sam2.1-tiny", ...), choose_compute("auto", "auto"))
    tracker = VideoTracker(model, height=720, width=1280)
    tracker.add_box(obj_id=1, frame_idx=0, box_xyxy_px=(412, 180, 640, 520))
    for output in tracker.track(camera):          # any iterable of RGB arrays
        print(output.frame_idx, output.obj_ids, output.masks_nhw.sum(axis=(1, 2)))
    ```

    An object begins at its first prompted frame. A prompted frame's masks come from its prompts
    alone; every other frame's from the memory (`MemoryPolicy`). Prompts of later frames can be
    encoded beforehand (`encode_prompts`, the *prompt pass*): then all frames see them, as with the
    package's own predictor. Prompts that were not are encoded when their frame comes.

    The state after any frame can be saved and carried on elsewhere: `state`, `from_state`. With the
    same hardware and settings the masks are the same, bit for bit, wherever the cuts lie.

    `IdentityTracker` also takes what detectors find on the way.
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
    ) -> None:
        """Start with no objects, or with another video's (`warm_start`).

        Args:
            model: From `samcore.load_model`.
            height, width: Size of the frames in pixels.
            num_frames: Length of the whole video (not of a chunk); None for a stream.
            start_frame: The first frame to come.
            settings: Batch sizes and bounds. Device and precision are the model's already.
            warm_start: A state of another video, to track its objects from `start_frame` on.
            bank_on_cpu: Keep memories in main memory and bring them to the device for each step:
                slower, the same masks, and the GPU holds none of them.
            clock: Told how long encoding (`encode`) and tracking (`track`) take.
        """
        if height < 1 or width < 1:
            raise InputError(
                f"frames need a size of at least 1 x 1 pixels, got {height = }, {width = }"
            )
        if start_frame < 0 or (num_frames is not None and start_frame >= num_frames):
            raise InputError(
                f"start_frame must lie in the video, got {start_frame = }, {num_frames = }"
            )
        settings = settings or TrackSettings()
        encode_batch, object_batch = default_batches(model.device.type, model.facts.image_size)
        self.model = model
        self.height = height
        self.width = width
        self.num_frames = num_frames
        self.settings = settings
        self._encoder = FrameEncoder(
            model, height=height, width=width, batch_size=settings.encode_batch or encode_batch
        )
        self._features = FrameFeatures(self._encoder.of_every(settings.encode_every))
        self._object_batch = settings.object_batch or object_batch
        self._bank_device = torch.device("cpu") if bank_on_cpu else model.device
        self._clock = clock or StageClock()
        self._limits = MemoryLimits.of(
            model.facts, max_cond_frames=settings.max_cond_frames, num_frames=num_frames
        )
        entry = POLICIES.get(settings.memory_policy)
        policy_class: type[MemoryPolicy] = entry.load()
        self._policy_name = entry.title
        options = policy_options(entry.name, settings.memory_policy_options)
        self._new_policy = policy_class.new(self._limits, options)
        self._load_policy = partial(policy_class.load, self._limits, options)
        self._policy_options = options.model_dump(mode="json")
        self._next_frame = start_frame
        self._objects: dict[int, TrackedObject] = {}
        if warm_start is not None:
            self._objects = warm_objects(
                *(warm_start, model, entry, self._new_policy, self._limits),
                start=start_frame,
                bank_device=self._bank_device,
                retire=settings.retirement is not None,
            )
        self._waiting: dict[int, dict[int, Prompt]] = defaultdict(dict)
        self._retirement = Retirement(settings.retirement, self._new_policy, self._bank_device)

    @property
    def next_frame(self) -> int:
        """The frame that `track` or `step` wants next."""
        return self._next_frame

    @property
    def first_needed(self) -> int:
        """The frame that `track` wants first: `next_frame`, or with `encode_every` the one by whose
        features that is tracked, if this tracker has not seen it. Its masks are not given again."""
        return self._features.first_needed(self._next_frame)

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """Objects with prompts, whether they have begun or not or are gone; ascending."""
        waiting = {obj_id for prompts in self._waiting.values() for obj_id in prompts}
        return tuple(sorted(self._objects.keys() | waiting | self._retirement.given_up))

    @property
    def prompted_frames(self) -> tuple[int, ...]:
        """Frames whose prompts were not encoded yet; ascending."""
        return tuple(sorted(self._waiting))

    def add_prompt(self, prompt: Prompt) -> None:
        """Take a prompt on a frame that was not tracked yet.

        Raises:
            InputError: The frame has gone by or is past the end, the object has a prompt there
                already, the prompt says nothing, or its mask has another size than the video.
        """
        where = check_prompt(
            prompt, height=self.height, width=self.width, num_frames=self.num_frames
        )
        if prompt.frame_idx < self._next_frame:
            raise InputError(f"{where} comes too late: the next frame is {self._next_frame}")
        obj = self._objects.get(prompt.obj_id)
        if prompt.obj_id in self._waiting.get(prompt.frame_idx, {}) or (
            obj is not None and prompt.frame_idx in obj.outputs
        ):
            raise InputError(f"{where} is the second one there; put all its points into one prompt")
        if prompt.from_here and self.settings.retirement is not None:
            raise InputError(f"{where} cannot hold from there on where objects retire")
        self._waiting[prompt.frame_idx][prompt.obj_id] = prompt

    def add_box(
        self, obj_id: int, frame_idx: int, box_xyxy_px: tuple[float, float, float, float]
    ) -> None:
        """Prompt with a box: left, top, right, bottom in pixels of the video."""
        self.add_prompt(Prompt(obj_id, frame_idx, box_xyxy_px=box_xyxy_px))

    def add_points(
        self,
        obj_id: int,
        frame_idx: int,
        points_xy_px: Sequence[tuple[float, float]],
        labels: Sequence[int] | None = None,
    ) -> None:
        """Prompt with clicks; labels are 1 for the object (also when left out), 0 for not."""
        labels = [1] * len(points_xy_px) if labels is None else labels
        points = tuple(points_xy_px)
        self.add_prompt(Prompt(obj_id, frame_idx, points_xy_px=points, point_labels=tuple(labels)))

    def add_mask(self, obj_id: int, frame_idx: int, mask_hw: NDArray[np.bool_]) -> None:
        """Prompt with a mask at the video's size."""
        self.add_prompt(Prompt(obj_id, frame_idx, mask_hw=mask_hw.astype(np.bool_)))

    def remove_object(self, obj_id: int) -> None:
        """Forget an object: its memory, its prompts, its outputs.

        Raises:
            InputError: There is no such object.
        """
        if obj_id not in self.obj_ids:
            raise InputError(f"no object {obj_id} to remove; there are {list(self.obj_ids)}")
        self._objects.pop(obj_id, None)
        self._retirement.given_up -= {obj_id}
        for frame_idx in list(self._waiting):
            self._waiting[frame_idx].pop(obj_id, None)
            if not self._waiting[frame_idx]:
                del self._waiting[frame_idx]

    def encode_prompts(self, frames: Iterable[FrameLike]) -> None:
        """Encode prompts before tracking, so that earlier frames see them too (the prompt pass).

        After an error it can be called again with the frames that `prompted_frames` then has.

        Args:
            frames: The frames in `prompted_frames`, or some of them, in ascending order; others
                are passed over.
        """
        for batch in self._encoder.batches(f for f in frames if f.frame_idx in self._waiting):
            with self.model.running(), self._clock("encode"):
                for frame_idx, features in self._encoder.encode(batch).items():
                    self._take_prompts(frame_idx, self._encode_waiting(frame_idx, features))

    def track(self, frames: Iterable[FrameLike | NDArray[np.uint8]]) -> Iterator[FrameMasks]:
        """Track frames in order, from `first_needed` on.

        Frames are encoded `encode_batch` at once, so a frame's masks can come some frames late;
        use `step`, or an `encode_batch` of 1, where that is too late. After an error the tracker
        is as it was after the last frame: call this again with the frames from `first_needed` on.

        Args:
            frames: Frames with their numbers, or plain H x W x 3 RGB arrays, which are numbered
                from `first_needed`.

        Yields:
            The masks of each frame, in order. `state` is that after the frame last yielded.

        Raises:
            InputError: A frame is missing or has another size.
        """
        for batch in self._features.batches(numbered(frames, self.first_needed)):
            for frame in batch:
                if frame.frame_idx < self._next_frame:
                    continue
                if self.settings.encode_every > 1:
                    # A prompt is encoded by its own frame, as in the prompt pass.
                    self.encode_prompts([frame])
                # Around each step, not the loop: held over a yield, the mode would leak into the
                # caller's code.
                with self.model.running():
                    features = None
                    if self._needs_image(frame.frame_idx):
                        features = self.features_of(frame.frame_idx)
                    with self._clock("track"):
                        output = self._step(frame.frame_idx, features)
                yield output

    def features_of(self, frame_idx: int) -> ImageFeatures:
        """Of the frame that is tracked; encoded once, also where a detector looks at them."""
        with self._clock("encode"):
            return self._features.of(frame_idx)

    def step(self, image_rgb_hwc_u8: NDArray[np.uint8]) -> FrameMasks:
        """Track one frame, `next_frame`."""
        (output,) = self.track([image_rgb_hwc_u8])
        return output

    def state(self) -> TrackerState:
        """All that is needed to go on at `next_frame`.

        Raises:
            StateError: There are prompts that were not encoded.
        """
        if self._waiting:
            raise StateError(
                f"prompts on frames {list(self.prompted_frames)} are not encoded yet and would be "
                "lost; call encode_prompts with these frames first"
            )
        objects = tuple(obj.state(obj_id) for obj_id, obj in sorted(self._objects.items()))
        return TrackerState(
            model_fingerprint=self.model.facts.fingerprint,
            image_size=self.model.facts.image_size,
            dtype=self.model.dtype_name,
            height=self.height,
            width=self.width,
            num_frames=self.num_frames,
            next_frame=self._next_frame,
            max_cond_frames=self._limits.max_cond_frames,
            policy=self._policy_name,
            policy_options=self._policy_options,
            objects=objects,
            retirement=self._retirement.dump(),
            given_up=tuple(sorted(self._retirement.given_up)),
            approximations=self.settings.approximations,
        )

    @classmethod
    def from_state(
        cls,
        model: TrackingModel,
        state: TrackerState,
        *,
        settings: TrackSettings | None = None,
        bank_on_cpu: bool = False,
        clock: StageClock | None = None,
    ) -> "VideoTracker":
        """Go on where a state was taken; the options are those of a new tracker.

        Raises:
            StateError: The state was made by another model, input size, precision or bound.
        """
        tracker = cls(
            model,
            height=state.height,
            width=state.width,
            num_frames=state.num_frames,
            settings=settings,
            bank_on_cpu=bank_on_cpu,
            clock=clock,
        )
        tracker._go_on_from(state)
        return tracker

    def _go_on_from(self, state: TrackerState) -> None:
        """Take all that a state has, in the place of nothing."""
        state.check_goes_on_as(self.state())
        self._next_frame = state.next_frame
        self._retirement.given_up = frozenset(state.given_up)
        devices = {"device": self.model.device, "bank_device": self._bank_device}
        for saved in state.objects:
            self._objects[saved.obj_id] = TrackedObject.of(saved, self._load_policy, **devices)
            self._objects[saved.obj_id].forget(state.next_frame)

    def _needs_image(self, frame_idx: int) -> bool:
        """Whether anything looks at this frame's pixels."""
        return (
            frame_idx in self._waiting
            or any(obj.is_tracked(frame_idx) for obj in self._objects.values())
            or bool(self._retirement.sought(self._objects, frame_idx))
        )

    def _encode_waiting(self, frame_idx: int, features: ImageFeatures) -> dict[int, _Encoded]:
        """Memory and masks of the prompts that wait on a frame, by object. They go on waiting."""
        return {
            obj_id: encode_prompt(
                self.model,
                features,
                prompt,
                height=self.height,
                width=self.width,
                bank_device=self._bank_device,
                needs=self._new_policy.needs,
            )
            for obj_id, prompt in sorted(self._waiting.get(frame_idx, {}).items())
        }

    def _take_prompts(self, frame_idx: int, encoded: Mapping[int, _Encoded]) -> None:
        """Remember a frame's prompts, which wait no more."""
        prompts = self._waiting.pop(frame_idx, {})
        for obj_id, (memory, output) in encoded.items():
            # Where an object begins, a prompt holds from there on anyway.
            from_here = obj_id in prompts and prompts[obj_id].from_here and obj_id in self._objects
            new = TrackedObject(self._new_policy, begins=frame_idx)
            self._objects.setdefault(obj_id, new).take_prompt(memory, output, from_here=from_here)

    def _step(self, frame_idx: int, features: ImageFeatures | None) -> FrameMasks:
        """Masks of all objects that have begun; the frame goes into memory.

        All of it is computed before anything is changed, so that a step that fails, for want of
        memory say, leaves the tracker as it was and can be taken again.
        """
        objects, gone = self._objects, self._retirement
        encoded: Mapping[int, _Encoded] = {}
        tracked: dict[int, _Encoded] = {}
        sought: dict[int, _Encoded] = {}
        if features is not None:
            encoded = self._encode_waiting(frame_idx, features)
            known = [i for i in objects if objects[i].is_tracked(frame_idx) and i not in encoded]
            tracked = self._propagate(frame_idx, features, known)
            missed = [i for i in gone.sought(objects, frame_idx) if i not in encoded]
            sought = self._propagate(frame_idx, features, missed)
        promising = gone.promising({obj_id: output for obj_id, (_, output) in sought.items()})
        prompted = {
            obj_id: obj.outputs[frame_idx]
            for obj_id, obj in self._objects.items()
            if frame_idx in obj.outputs
        }
        prompted.update({obj_id: output for obj_id, (_, output) in encoded.items()})
        stepped = tracked | {obj_id: sought[obj_id] for obj_id in sought if obj_id in promising}
        outputs = {obj_id: output for obj_id, (_, output) in stepped.items()} | prompted
        masks = frame_masks(
            frame_idx,
            outputs,
            prompted,
            height=self.height,
            width=self.width,
            fill_hole_area=self.settings.fill_hole_area,
        )
        masks = gone.settled(masks, objects, promising)
        memories = {obj_id: memory for obj_id, (memory, _) in (*stepped.items(), *encoded.items())}
        changes = gone.changes(objects, masks, memories)
        objects.update(changes.returned)
        self._take_prompts(frame_idx, encoded)
        for obj_id in stepped.keys() & set(masks.obj_ids):
            objects[obj_id].take_step(*stepped[obj_id])
        self._next_frame = frame_idx + 1
        gone.take(objects, changes, masks)
        for obj in objects.values():
            obj.forget(self._next_frame)
        return masks

    def _propagate(
        self, frame_idx: int, features: ImageFeatures, obj_ids: Iterable[int]
    ) -> dict[int, _Encoded]:
        """Memory and masks of a frame, by what is remembered of each of these objects."""
        return propagate(
            self.model,
            features,
            frame_idx,
            {i: (self._objects[i].policy, self._objects[i].store) for i in obj_ids},
            object_batch=self._object_batch,
            max_ptr_age=self._limits.max_obj_ptrs - 1,
            memory_pool=self.settings.memory_pool,
            bank_device=self._bank_device,
            stand_ins=stand_ins(self._objects, frame_idx, self._waiting.get(frame_idx, {})),
        )
