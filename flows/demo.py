"""`longtake demo`: a video from nothing, tracked, with something to look at."""

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from flows.console import Terminal
from flows.report import result_lines
from flows.run_local import run_local
from samcore.errors import StorageError
from samcore.masks.table import MaskReader
from samcore.models.registry import KNOWN_MODELS
from samcore.overlay import draw_masks
from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter
from tasks.files import make_folder, write_atomic
from tasks.manifest import MASKS
from tasks.request import validate_request
from tasks.settings import Settings

_TRAINED, _UNTRAINED = "nano", "random-tiny"
_SEED = 11
_FRAMES, _HEIGHT, _WIDTH = 48, 240, 320
_RATE = Fraction(12)
_CHUNK_FRAMES, _OVERLAP = 20, 4
_STILL_FRAME = 30


def run_demo(
    folder: Path, terminal: Terminal, settings: Settings, *, verbose: bool
) -> Iterator[str]:
    """Make the video, track it over several chunks, and say what came out.

    Args:
        folder: Where all of it goes.
        terminal: Where progress shows.
        settings: Of the environment.
        verbose: Show Prefect's log.

    Yields:
        Lines for a person.

    Raises:
        StorageError: The folder cannot be written to.
    """
    started = time.monotonic()
    folder = folder.expanduser().absolute()
    scene = Scene(
        _SEED, difficulty="medium", num_frames=_FRAMES, height=_HEIGHT, width=_WIDTH, num_objects=2
    )
    video = folder / "scene.mp4"
    _write_video(scene, video)
    model = _TRAINED if any(known.name == _TRAINED for known in KNOWN_MODELS) else _UNTRAINED
    request = validate_request(
        source=str(video),
        prompts={"objects": [_prompts(scene, obj_id) for obj_id in scene.obj_ids]},
        destination=str(folder),
        model=model,
        chunk_frames=_CHUNK_FRAMES,
        overlap=_OVERLAP,
        overlay=True,
        force=True,  # the folder is the demo's own
    )
    result = run_local(request, terminal, settings=settings, verbose=verbose)
    still = folder / "still.png"
    _write_still(scene, folder / MASKS, still)
    yield f"video of {_FRAMES} frames, made up: {video}"
    yield from result_lines(result, seconds=time.monotonic() - started)
    yield f"one frame to look at: {still}"
    if model == _UNTRAINED:
        yield f"model {model} has random weights: the masks are noise, the machinery is real"
    else:
        overlap = _mean_overlap(scene, folder / MASKS)
        yield f"J, mean overlap with the truth, which a made-up video has: {overlap:.3f}"


def _write_video(scene: Scene, path: Path) -> None:
    make_folder(path.parent)
    with VideoWriter(path, width=scene.width, height=scene.height, rate=_RATE) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)


def _prompts(scene: Scene, obj_id: int) -> dict[str, object]:
    """A box on the first frame that shows the object well."""
    frame_idx = scene.first_visible(obj_id)
    box = box_of(scene.masks_nhw(frame_idx)[obj_id - 1])
    return {
        "id": obj_id,
        "label": f"shape {obj_id}",
        "prompts": [{"frame": frame_idx, "box": list(box)}],
    }


def _write_still(scene: Scene, masks: Path, path: Path) -> None:
    with MaskReader(masks) as reader:
        image = draw_masks(scene.frame(_STILL_FRAME).image_rgb_hwc_u8, reader.masks(_STILL_FRAME))
    written, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not written:
        raise StorageError(f"cannot make {path}: this build of OpenCV writes no PNG")
    write_atomic(path, png.tobytes())


def _mean_overlap(scene: Scene, masks: Path) -> float:
    """Mean IoU with the truth over objects and frames; two empty masks agree."""
    ious: list[float] = []
    with MaskReader(masks) as reader:
        for frame_idx, rows in reader.frames_iter():
            truth_nhw = scene.masks_nhw(frame_idx)
            for row in rows:
                found_hw, true_hw = row.mask(), truth_nhw[row.object_id - 1]
                union = np.count_nonzero(found_hw | true_hw)
                shared = np.count_nonzero(found_hw & true_hw)
                ious.append(shared / union if union else 1.0)
    return float(np.mean(ious))
