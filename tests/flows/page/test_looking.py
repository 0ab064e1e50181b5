"""The page in a browser: looking at a video."""

import threading

import cv2
import numpy as np
import pytest

from samcore.progress import listening
from samcore.video import open_video
from tests.flows.page.conftest import LONG_MS, open_window, serving


@pytest.fixture(scope="module")
def video(clip):
    """The clip, to compare with."""
    return open_video(clip)


def shows(window, video, frame_idx: int) -> bool:
    """Whether the picture is that of this frame, and not of one some frames away."""
    shown = window.canvas("#picture")[..., 2::-1].astype(int)
    others = {
        other: np.abs(shown - video.frame(other).image_rgb_hwc_u8).mean()
        for other in {frame_idx, max(0, frame_idx - 4), min(65, frame_idx + 4)}
    }
    return min(others, key=others.__getitem__) == frame_idx and others[frame_idx] < 8


def test_any_frame_by_the_scrubber(window, video) -> None:
    """A click on the scrubber shows that very frame, with its time and number; a drag goes on."""
    track = window.page.locator("#track").bounding_box()
    x = track["x"] + track["width"] * 40 / 65
    y = track["y"] + track["height"] / 2
    window.page.mouse.move(x, y)
    assert window.page.inner_text("#tip") == "0:01.667 · 40"
    window.page.mouse.down()
    window.see(40)
    assert shows(window, video, 40)
    assert window.page.inner_text("#where").startswith("0:01.667 / ")
    assert window.page.input_value("#number") == "40"

    window.page.mouse.move(track["x"] + track["width"] * 12 / 65, y, steps=5)
    window.page.mouse.up()
    window.see(12)
    assert shows(window, video, 12)


def test_frames_by_keys(window, video) -> None:
    """Arrow keys step, Page keys leap, Home and End go to the ends; keyframes by comma and dot."""
    for keys, frame in (
        (["ArrowRight"] * 3, 3),
        (["ArrowLeft"], 2),
        (["PageDown"], 12),
        (["PageUp"], 2),
        (["End"], 65),
        (["ArrowRight"], 65),
    ):
        window.press(*keys)
        window.see(frame)
    assert shows(window, video, 65)
    before = int(np.flatnonzero(video.index.key_n)[-1])
    window.press(",")
    window.see(before)
    window.press("Home")
    window.see(0)
    window.press(",")
    window.see(0)


def test_a_frame_by_number_or_time(window) -> None:
    """The field takes a frame's number, or seconds."""
    for text, frame in (("30", 30), ("1.5s", 36), ("0:01", 24), ("99999", 65)):
        window.page.fill("#number", text)
        window.page.press("#number", "Enter")
        window.see(frame)


def test_playing_shows_frames_until_the_end(window) -> None:
    """Space and the button play; at the end it stops, and time has gone on."""
    window.press("End")
    window.see(65)
    window.page.fill("#number", "56")
    window.page.press("#number", "Enter")
    window.see(56)
    window.page.locator("#stage").focus()
    # What the button says is noted: on a busy machine it has played before anybody looks.
    window.page.evaluate(
        """() => {
            const button = document.querySelector("#play");
            window.said = [];
            new MutationObserver(() => window.said.push(button.getAttribute("aria-label")))
                .observe(button, { attributeFilter: ["aria-label"] });
        }"""
    )
    window.press(" ")
    window.see(65)
    window.page.wait_for_selector("#play[aria-label=Play]", timeout=LONG_MS)
    assert window.page.evaluate("window.said") == ["Pause", "Play"]


def test_the_wheel_zooms(window) -> None:
    """A click after a zoom means the pixel that is under it, and Fit goes back."""
    window.page.mouse.move(*window.at(64, 48))
    window.page.mouse.wheel(0, -300)
    window.page.keyboard.press("n")
    window.saved(window.served.session.project.revision)
    window.click(64, 48)
    window.page.wait_for_selector("#clear:not([disabled])", timeout=LONG_MS)
    (item,) = window.served.session.project.objects
    (x, y, _), *_ = item.prompts[0].points
    assert abs(x - 64) < 0.5
    assert abs(y - 48) < 0.5
    window.page.click("#fit")


def test_what_is_indexed_can_be_used(chromium, clip, tmp_path) -> None:
    """While the video is indexed, the page says how far, and shows and steps through what is
    there; it knows all of it afterwards, without being loaded again."""
    go_on = threading.Event()

    def hold(progress) -> None:
        if progress.what == "scanning the video" and progress.done == 20:
            go_on.wait(240)

    with listening(hold), serving(clip, tmp_path / "p") as served:
        try:
            with open_window(chromium, served) as window:
                window.page.goto(served.address)
                window.see(0)
                window.page.wait_for_selector('#scrubber[aria-valuemax="19"]', timeout=LONG_MS)
                assert window.page.inner_text("#notes") == "indexing the video: 20 of 66 frames"
                window.press("End")
                window.see(19)
                go_on.set()
                window.page.wait_for_selector('#scrubber[aria-valuemax="65"]', timeout=LONG_MS)
                window.press("End")
                window.see(65)
                # All frames may be known a moment before the scan has ended.
                window.page.wait_for_selector("#notes:empty", state="attached", timeout=LONG_MS)
        finally:
            go_on.set()


def test_frames_have_the_size_of_the_window(window) -> None:
    """A picture is asked for in about the pixels that it takes on the screen, never more than the
    video has."""
    asked = [url for url in window.requests if "/api/frames/" in url]
    assert asked
    answer = window.served.client.get(asked[0].partition(window.served.url)[2])
    shape = cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1).shape
    assert shape == (96, 128, 3)
