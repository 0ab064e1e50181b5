"""Track backward: from an object's first prompt to the frames before it."""

from collections.abc import Mapping
from typing import ClassVar

from samcore.errors import InputError
from samcore.masks.frame_masks import FrameMasks
from samcore.models.family import ImageFeatures
from samcore.prompts.prompt import Prompt
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.propagation import ObjectOutput
from samcore.tracking.tracker import VideoTracker


class BackwardTracker(VideoTracker):
    """Follows objects through a video that is mirrored in time.

    ```python
    mirror = BackwardVideo(video)              # its frame i is the video's frame last - i
    tracker = BackwardTracker(model, height=720, width=1280, num_frames=9000, start_frame=8970)
    tracker.add_box(obj_id=1, frame_idx=8970, box_xyxy_px=(412, 180, 640, 520))   # frame 29
    tracker.encode_prompts([mirror.frame(8970)])
    for output in tracker.track(mirror.read(8970)):          # frames 29, 28, ..., 0 of the video
        ...
    ```

    All frame numbers, those in states too, are the mirrored video's: 0 is the video's last frame.
    So all that is true of a tracker holds here: what is remembered, and that cuts change nothing.

    Only the beginning differs. An object begins at its first prompt *in the video*, the last one
    here. Its other prompts lie behind that, at frames that are not tracked: they are memory, and
    give no masks. With prompts on frames 10 and 40 of the video:

        video       0 . . . . . 10 . . . . . . . 40 . . .
        masks       <===========p
        memory                  p                p

    This is what SAM 2's own predictor gives by `propagate_in_video(reverse=True)` on a new state
    of the object, which starts at its first prompt. What it tracked forward before that, on the
    same state, it would read too; here both directions know only the prompts, so that neither
    depends on the other.

    All prompts have to be encoded before anything is tracked. Of more prompted frames than
    `max_cond_frames` the video's last one is read, which is the first one here, and the closest.
    """

    backward: ClassVar[bool] = True

    def add_prompt(self, prompt: Prompt) -> None:
        """Take a prompt on any frame; also one behind the object's first, which is memory only.

        Raises:
            InputError: As for `VideoTracker`, but a frame that has gone by is right; or it would be
                the first prompt in the video of an object that is tracked from another one already.
        """
        obj = self._objects.get(prompt.obj_id)
        if obj is not None and obj.begins < self._next_frame <= prompt.frame_idx:
            raise InputError(
                f"object {prompt.obj_id} is tracked backward from a prompt already, up to frame "
                f"{self._next_frame}: a prompt that comes before it in the video, on frame "
                f"{prompt.frame_idx} here, has to be added before that"
            )
        super().add_prompt(prompt)

    def _take_prompts(
        self, frame_idx: int, encoded: Mapping[int, tuple[FrameMemory, ObjectOutput]]
    ) -> None:
        known = {obj_id: self._objects[obj_id].begins for obj_id in encoded.keys() & self._objects}
        super()._take_prompts(frame_idx, encoded)
        for obj_id in encoded:
            obj = self._objects[obj_id]
            obj.begins = max(frame_idx, known.get(obj_id, frame_idx))
            ahead = obj.begins >= self._next_frame
            obj.outputs = {obj.begins: obj.outputs[obj.begins]} if ahead else {}

    def _step(self, frame_idx: int, features: ImageFeatures | None) -> FrameMasks:
        if self._waiting:
            raise InputError(
                f"prompts on frames {list(self.prompted_frames)} are not encoded, and whoever "
                "tracks backward has to know all of them: call encode_prompts with these frames"
            )
        return super()._step(frame_idx, features)
