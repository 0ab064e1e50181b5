"""The picture of the page in the README."""

from pathlib import Path

import cv2
import numpy as np

from flows.commands.demo_video import VIDEO, demo_scene, write_video
from samcore.scenes import box_of
from tests.flows.page.conftest import open_window, serving

ROOT = Path(__file__).parents[3]
PICTURE = ROOT / "infra" / "page.png"


def test_the_readme_shows_the_page(chromium, tmp_path) -> None:
    """The picture is that of the page as it is, on the demo's video with both shapes prompted."""
    scene, made = demo_scene(), tmp_path / "page.png"
    write_video(scene, tmp_path / VIDEO)
    with (
        serving(tmp_path / VIDEO, tmp_path / "p") as served,
        open_window(chromium, served) as window,
    ):
        window.open()
        for frame_idx, obj_id in ((scene.first_visible(one), one) for one in scene.obj_ids):
            box = box_of(scene.masks_nhw(frame_idx)[obj_id - 1])
            served.edit("box", id=None, frame=frame_idx, box=[float(side) for side in box])
            served.edit("rename", id=obj_id, label=f"shape {obj_id}")
        last = max(scene.first_visible(one) for one in scene.obj_ids)
        window.page.fill("#number", str(last))
        window.page.press("#number", "Enter")
        window.see(last)
        both = [one for one in scene.obj_ids if scene.first_visible(one) == last]
        window.masked(*both)
        window.page.wait_for_selector("#busy", state="hidden")
        window.page.screenshot(path=made)

    now, kept = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (made, PICTURE))
    assert kept is not None, f"there is no {PICTURE}: look at {made}, and put it there"
    assert kept.shape == now.shape == (800, 1280)
    small = [cv2.resize(one, (64, 40), interpolation=cv2.INTER_AREA) for one in (now, kept)]
    alike = np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]
    assert alike > 0.8, f"the page looks otherwise by now: look at {made}, and put it there"
