"""`longtake demo`: a video from nothing, tracked, with something to look at."""

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from flows.commands.console import Terminal
from flows.commands.demo_video import MODEL, VIDEO, demo_scene, write_video
from flows.commands.lines import result_lines
from flows.commands.run_local import run_local
from samcore.disk.files import write_atomic
from samcore.errors import StorageError
from samcore.masks.table import MaskReader
from samcore.result.manifest import MASKS, OVERLAY
from samcore.scenes import Scene, box_of
from samcore.video import open_video
from tasks.request.segment_request import validate_request
from tasks.settings import Settings

_CHUNK_FRAMES, _OVERLAP = 32, 4
_SHOWN = (8, 44, 66, 92)


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
    scene = demo_scene()
    video = folder / VIDEO
    write_video(scene, video)
    request = validate_request(
        source=str(video),
        prompts={"objects": [_prompts(scene, obj_id) for obj_id in scene.obj_ids]},
        destination=str(folder),
        model=MODEL,
        chunk_frames=_CHUNK_FRAMES,
        overlap=_OVERLAP,
        overlay=True,
        force=True,  # the folder is the demo's own
    )
    result = run_local(request, terminal, settings=settings, verbose=verbose)
    sheet = folder / "frames.png"
    _write_sheet(folder / OVERLAY, sheet)
    yield f"video of {scene.num_frames} frames, made up: {video}"
    yield from result_lines(result, seconds=time.monotonic() - started)
    yield f"four of its frames in one picture: {sheet}"
    yield from _truth_lines(scene, folder / MASKS)


def _prompts(scene: Scene, obj_id: int) -> dict[str, object]:
    """A box on the first frame that shows the object well."""
    frame_idx = scene.first_visible(obj_id)
    box = box_of(scene.masks_nhw(frame_idx)[obj_id - 1])
    return {
        "id": obj_id,
        "label": f"shape {obj_id}",
        "prompts": [{"frame": frame_idx, "box": list(box)}],
    }


def _write_sheet(overlay: Path, path: Path) -> None:
    """Some frames of the overlay, two by two."""
    video = open_video(overlay)
    shown = [video.frame(frame_idx).image_rgb_hwc_u8 for frame_idx in _SHOWN]
    sheet = np.vstack([np.hstack(shown[:2]), np.hstack(shown[2:])])
    written, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not written:
        raise StorageError(f"cannot make {path}: this build of OpenCV writes no PNG")
    write_atomic(path, png.tobytes())


def _truth_lines(scene: Scene, masks: Path) -> Iterator[str]:
    """How well the masks fit, which is known of a made-up video."""
    with MaskReader(masks) as reader:
        for obj_id in scene.obj_ids:
            ious: list[float] = []
            told_absent: list[bool] = []
            for row in reader.rows():
                if row.object_id != obj_id or row.prompted:
                    continue
                true_hw = scene.masks_nhw(row.frame)[obj_id - 1]
                if true_hw.any():
                    found_hw = row.mask()
                    shared = np.count_nonzero(found_hw & true_hw)
                    ious.append(shared / np.count_nonzero(found_hw | true_hw))
                else:
                    told_absent.append(row.area == 0)
            line = (
                f"shape {obj_id}: mean J {np.mean(ious):.3f} on the {len(ious)} frames that show it"
            )
            if told_absent:
                line += f"; absent on {len(told_absent)}, and said so on {sum(told_absent)}"
            yield line
