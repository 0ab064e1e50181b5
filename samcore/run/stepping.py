"""From the numbers of frames, by which a run is asked for and published, to the tracker's steps,
and back, where only some frames are tracked; see samcore/video/tracked.py."""

from collections.abc import Iterable
from dataclasses import replace

from samcore.chunks.plan import Chunk
from samcore.errors import InputError
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.prompt import Prompt
from samcore.video import VideoSource
from samcore.video.tracked import TrackedFrames


def check_tracked(
    prompts: Iterable[Prompt], frames: TrackedFrames | None, video: VideoSource
) -> None:
    """Refuse prompts on frames that are not tracked.

    Raises:
        InputError: Names the object, its frame and the nearest ones that are tracked.
    """
    for prompt in prompts:
        _check(prompt.frame_idx, f"object {prompt.obj_id}, frame", frames, video)


def automatic_in_steps(
    options: AutomaticPrompts, frames: TrackedFrames | None, video: VideoSource
) -> AutomaticPrompts:
    """What is to be found, with the step in place of the frame on which to look.

    Raises:
        InputError: That frame is not tracked; names the nearest ones.
    """
    if frames is None or options.frame is None:
        return options
    if not 0 <= options.frame < video.info.num_frames:
        raise InputError(
            f"automatic.frame: wanted a frame of the video, at most {video.info.num_frames - 1}, "
            f"got {options.frame}"
        )
    _check(options.frame, "automatic.frame", frames, video)
    return options.model_copy(update={"frame": frames.step_of(options.frame)})


def _check(frame_idx: int, where: str, frames: TrackedFrames | None, video: VideoSource) -> None:
    if frames is None or frame_idx in frames:
        return
    near = [
        f"{number} ({float(video.time_s(number)):.3f} s)" for number in frames.nearest(frame_idx)
    ]
    raise InputError(
        f"{where}: {frame_idx} is not among the frames that are tracked, {frames.said}; the "
        f"nearest are {' and '.join(near)}"
    )


def prompts_in_steps(prompts: Iterable[Prompt], frames: TrackedFrames | None) -> tuple[Prompt, ...]:
    """Prompts as the tracker takes them."""
    if frames is None:
        return tuple(prompts)
    return tuple(replace(one, frame_idx=frames.step_of(one.frame_idx)) for one in prompts)


def prompts_in_frames(
    prompts: Iterable[Prompt], frames: TrackedFrames | None
) -> tuple[Prompt, ...]:
    """Prompts that were made of steps, with their true numbers."""
    if frames is None:
        return tuple(prompts)
    return tuple(replace(one, frame_idx=frames.number(one.frame_idx)) for one in prompts)


def chunks_in_frames(chunks: tuple[Chunk, ...], frames: TrackedFrames | None) -> tuple[Chunk, ...]:
    """A plan that was made of steps, with the numbers of frames: a chunk ends before the next frame
    that is tracked."""
    if frames is None:
        return chunks
    return tuple(
        Chunk(one.index, frames.number(one.start), frames.number(one.stop)) for one in chunks
    )
