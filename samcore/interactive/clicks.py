"""Masks of prompts on single frames, as soon as a person has clicked."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from samcore.config import TrackSettings
from samcore.machine.batches import default_batches
from samcore.masks.rle import Rle, encode_masks
from samcore.models.family import ImageFeatures, TrackingModel
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from samcore.tracking.encoder import FrameEncoder, FrameLike
from samcore.tracking.postprocess import frame_masks
from samcore.tracking.propagation import mask_of_prompt

_KEPT_FRAMES = 4
_KEPT_MASKS = 512


@dataclass(frozen=True, slots=True)
class PromptMask:
    """What the model makes of an object's prompt."""

    obj_id: int
    rle: Rle
    """At the size of the video."""
    object_score: float
    """Logit that the object is on the frame at all; above 0 is present."""
    predicted_iou: float
    """The model's guess of the mask's quality, in [0, 1]."""


class ClickSession:
    """Gives the masks that a run has on prompted frames, to the bit, one frame at a time.

    A frame goes through the image encoder once; each prompt on it costs the mask decoder alone.
    Keeps the features of a few frames, whatever the video's length. Threads wait for one another.
    """

    def __init__(
        self,
        model: TrackingModel,
        *,
        height: int,
        width: int,
        settings: TrackSettings,
        frame: Callable[[int], FrameLike],
        on_encode: Callable[[int, bool], None] | None = None,
    ) -> None:
        """Encode nothing yet.

        Args:
            model: The one that the run will use.
            height, width: Size of the video in pixels.
            settings: Those of the run.
            frame: Gives a frame of the video.
            on_encode: Told of a frame when it begins to be encoded (False) and when it is (True).
        """
        self._model = model
        self.size_hw = (height, width)
        """Of the video."""
        self._size = {"height": height, "width": width}
        self._fill_hole_area = settings.fill_hole_area
        batch, _ = default_batches(model.device.type, model.facts.image_size)
        # The same batch and place in it as in the run: kernels may round by both.
        self._encoder = FrameEncoder(
            model, height=height, width=width, batch_size=settings.encode_batch or batch
        )
        self._frame = frame
        self._on_encode = on_encode
        self._lock = threading.RLock()
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()
        self._masks: OrderedDict[str, PromptMask] = OrderedDict()

    @contextlib.contextmanager
    def model(self) -> Iterator[TrackingModel]:
        """The model, for something else that the person asked for; nobody else has it meanwhile."""
        with self._lock:
            yield self._model

    def is_encoded(self, frame_idx: int) -> bool:
        """Whether a click on this frame costs the decoder alone."""
        return frame_idx in self._features

    def encode(self, frame_idx: int) -> ImageFeatures:
        """Features of a frame, encoded if they are not there.

        Raises:
            InputError: There is no such frame, or it is not indexed yet.
            VideoError: It cannot be decoded.
        """
        with self._lock:
            found = self._features.get(frame_idx)
            if found is None:
                self._tell(frame_idx, done=False)
                try:
                    frame = self._frame(frame_idx)
                    with self._model.running():
                        found = self._encoder.encode([frame])[frame_idx]
                finally:
                    self._tell(frame_idx, done=True)
                while len(self._features) >= _KEPT_FRAMES:
                    self._features.popitem(last=False)
                self._features[frame_idx] = found
            self._features.move_to_end(frame_idx)
            return found

    def masks(self, prompts: Sequence[Prompt]) -> list[PromptMask]:
        """The masks of prompts, in their order; those that were asked before are known.

        Raises:
            ModelError: The model gives no numbers.
            InputError, VideoError: As `encode`.
        """
        return [self._mask(prompt) for prompt in prompts]

    def _mask(self, prompt: Prompt) -> PromptMask:
        key = prompts_digest([prompt])
        with self._lock:
            found = self._masks.get(key)
            if found is None:
                features = self.encode(prompt.frame_idx)
                with self._model.running():
                    output = mask_of_prompt(self._model, features, prompt, **self._size)
                    masks = frame_masks(
                        prompt.frame_idx,
                        {prompt.obj_id: output},
                        (prompt.obj_id,),
                        fill_hole_area=self._fill_hole_area,
                        **self._size,
                    )
                found = PromptMask(
                    prompt.obj_id,
                    encode_masks(masks.masks_nhw)[0],
                    float(masks.object_scores_n[0]),
                    float(masks.predicted_ious_n[0]),
                )
                while len(self._masks) >= _KEPT_MASKS:
                    self._masks.popitem(last=False)
                self._masks[key] = found
            self._masks.move_to_end(key)
            return found

    def _tell(self, frame_idx: int, *, done: bool) -> None:
        if self._on_encode is not None:
            self._on_encode(frame_idx, done)
