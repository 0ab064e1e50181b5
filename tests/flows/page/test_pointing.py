"""The page in a browser: pointing at objects, by mouse, finger and keyboard."""

import threading

import cv2
import numpy as np
import pytest

from samcore.masks.rle import decode_mask, rle_from_coco
from samcore.scenes import Scene, box_of
from tests.flows.page.conftest import LONG_MS, Window, open_window


@pytest.fixture(scope="module")
def middle(scene: Scene):
    """A place well within each shape on frame 0: {id: (x, y)}."""
    places = {}
    for obj_id, mask_hw in enumerate(scene.masks_nhw(0), start=1):
        distance = cv2.distanceTransform(mask_hw.astype(np.uint8), cv2.DIST_L2, 5)
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        places[obj_id] = (float(x) + 0.5, float(y) + 0.5)
    return places


def mask_of(served, obj_id: int, frame_idx: int = 0) -> np.ndarray:
    """The mask that the server has for an object."""
    masks = served.client.get(f"/api/masks/{frame_idx}").json()["masks"]
    (found,) = [one["mask"] for one in masks if one["id"] == obj_id]
    height, width = found["size"]
    return decode_mask(rle_from_coco(found, height=height, width=width))


def drawn(window: Window, colour: str) -> np.ndarray:
    """Where the overlay has about this colour."""
    shown = window.canvas("#overlay").astype(int)
    wanted = np.array([int(colour[at : at + 2], 16) for at in (5, 3, 1)])
    return (np.abs(shown[..., :3] - wanted).max(axis=2) < 60) & (shown[..., 3] > 60)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Of two masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def objects_of(window: Window) -> list[dict]:
    """What the saved prompts file says."""
    return window.served.prompts["objects"]


def test_a_click_shows_its_mask(window, middle, scene) -> None:
    """A click makes an object, its mask appears under the click, and the file has the click; a
    right click and a Shift-click say what is off it."""
    x, y = middle[1]
    window.click(x, y)
    obj_id = _only(window)
    window.masked(obj_id)
    (item,) = objects_of(window)
    (px, py, label) = item["prompts"][0]["points"][0]
    assert (round(px - x, 1), round(py - y, 1), label) == (0, 0, 1)
    mask_hw = mask_of(window.served, obj_id)
    assert mask_hw[int(y), int(x)]
    assert iou(mask_hw, scene.masks_nhw(0)[0]) > 0.5
    assert iou(drawn(window, _colour(window, obj_id)), mask_hw) > 0.8

    off = middle[2]
    before = window.served.session.project.revision
    window.click(*off, button="right")
    window.saved(before + 1)
    window.page.keyboard.down("Shift")
    window.click(off[0] + 3, off[1])
    window.page.keyboard.up("Shift")
    window.saved(before + 2)

    (item,) = objects_of(window)
    assert [label for *_, label in item["prompts"][0]["points"]] == [1, 0, 0]


def _only(window: Window) -> int:
    """The number of the only object, once there is one."""
    window.page.wait_for_selector("#objects li:only-child", timeout=LONG_MS)
    return int(window.page.get_attribute("#objects li", "data-id"))


def _colour(window: Window, obj_id: int) -> str:
    news = window.served.client.get("/api/news?wait=false").json()
    objects = news["topics"]["project"]["objects"]
    return next(one["colour"] for one in objects if one["id"] == obj_id)


def test_encoding_is_shown(window, monkeypatch, middle) -> None:
    """While a frame is encoded the page says so, and a click waits for it; afterwards clicks cost
    no encoding."""
    clicks = window.served.session.clicks()
    go_on, decoded, real = threading.Event(), [], clicks._frame

    def held(frame_idx: int):
        if frame_idx == 3:  # others may be encoded on the way there
            decoded.append(frame_idx)
            go_on.wait(240)
        return real(frame_idx)

    monkeypatch.setattr(clicks, "_frame", held)
    try:
        window.press(*["ArrowRight"] * 3)
        window.see(3)
        window.page.wait_for_selector("#busy >> text=Encoding frame 3", timeout=LONG_MS)
        window.click(*middle[1])
        obj_id = _only(window)
    finally:
        go_on.set()
    window.masked(obj_id)
    window.page.wait_for_selector("#busy", state="hidden", timeout=LONG_MS)
    window.click(middle[1][0] + 1, middle[1][1])
    _until(window, lambda: len(objects_of(window)[0]["prompts"][0]["points"]) == 2)
    assert decoded == [3]


def test_quick_clicks_are_of_one_object(window, middle) -> None:
    """A second click before the server has answered the first one says more of the same object."""
    x, y = middle[1]
    window.click(x, y)
    window.click(x + 1, y)
    window.click(*middle[2], button="right")
    _only(window)
    _until(window, lambda: len(objects_of(window)[0]["prompts"][0]["points"]) == 3)
    assert len(objects_of(window)) == 1


def test_a_drag_is_a_box(window, scene) -> None:
    """A drag gives the box that was drawn, whichever corner it began at, and its mask."""
    x1, y1, x2, y2 = box_of(scene.masks_nhw(0)[1])
    window.drag((x2, y2), (x1, y2), (x1, y1))
    obj_id = _only(window)
    window.masked(obj_id)

    (item,) = objects_of(window)
    assert np.allclose(item["prompts"][0]["box"], [x1, y1, x2, y2], atol=0.6)
    assert iou(mask_of(window.served, obj_id), scene.masks_nhw(0)[1]) > 0.6


def test_drawing_gives_a_mask(window) -> None:
    """What is outlined is filled, what is painted is added, and what is painted with Shift is taken
    away; the file has the mask."""
    window.page.click("[data-tool=lasso]")
    corners = [(20, 20), (60, 20), (60, 60), (20, 60), (20, 21)]
    window.drag(*corners)
    obj_id = _only(window)
    window.masked(obj_id)
    square = np.zeros((96, 128), dtype=bool)
    square[20:60, 20:60] = True
    given = _given_mask(window)
    assert iou(given, square) > 0.95

    revision = window.served.session.project.revision
    window.page.click("[data-tool=brush]")
    window.page.fill("#brush-size input", "10")
    window.drag((80, 40), (110, 40))
    window.saved(revision + 1)
    window.page.wait_for_selector(f'body[data-masks="{obj_id}"]', timeout=LONG_MS)
    added = _given_mask(window)
    assert added[40, 95]
    assert added[square].mean() > 0.95
    assert not added[50, 95]

    window.page.keyboard.down("Shift")
    window.drag((30, 40), (50, 40))
    window.page.keyboard.up("Shift")
    window.saved(revision + 2)
    assert not _given_mask(window)[40, 40]
    window.page.click("[data-tool=point]")


def _given_mask(window: Window) -> np.ndarray:
    (item,) = objects_of(window)
    height, width = item["prompts"][0]["mask"]["size"]
    return decode_mask(rle_from_coco(item["prompts"][0]["mask"], height=height, width=width))


def test_objects_have_a_list(window, middle) -> None:
    """Objects are added, named, selected and removed; a click goes to the selected one; each has
    its colour."""
    page = window.page
    window.click(*middle[1])
    first = _only(window)
    page.click("#add")
    page.wait_for_selector("#objects li:nth-child(2).selected", timeout=LONG_MS)
    second = int(page.get_attribute("#objects li:nth-child(2)", "data-id"))
    window.click(*middle[2])
    window.masked(first, second)
    assert [one["id"] for one in objects_of(window)] == [first, second]

    page.fill("#objects li:nth-child(1) input", "the first")
    page.press("#objects li:nth-child(1) input", "Enter")
    window.saved(window.served.session.project.revision)
    page.click("#objects li:nth-child(1) .pick")
    window.click(middle[1][0] + 2, middle[1][1])
    page.wait_for_selector("#objects li:nth-child(1).selected", timeout=LONG_MS)
    _until(window, lambda: len(objects_of(window)[0]["prompts"][0]["points"]) == 2)
    assert objects_of(window)[0]["label"] == "the first"
    swatches = page.eval_on_selector_all(
        ".swatch", "all => all.map(one => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(swatches)) == 2

    page.click("#objects li:nth-child(2) .remove")
    window.masked(first)
    assert [one["id"] for one in objects_of(window)] == [first]


def _until(window: Window, done) -> None:
    """Wait for what the server knows."""
    for _ in range(1200):
        if done():
            return
        window.page.wait_for_timeout(100)
    raise AssertionError("it did not happen")


def test_undo_and_redo(window, middle) -> None:
    """The buttons go back and forth through what was done, on the screen and in the file."""
    window.click(*middle[1])
    obj_id = _only(window)
    window.masked(obj_id)
    said = objects_of(window)
    window.page.click("#undo")
    window.masked()
    assert objects_of(window) == []
    window.page.click("#redo")
    window.masked(obj_id)
    assert objects_of(window) == said
    window.page.click("#objects li .pick")
    window.page.click("#clear")
    window.masked()
    window.page.keyboard.press("Control+z")
    window.masked(obj_id)


def test_everything_by_keyboard(window, middle, scene) -> None:
    """Without a mouse: a cross that arrows move, clicks on and off by it, a box, an outline, new
    objects, selection, labels, undo and removal."""
    page = window.page
    page.locator("#stage").focus()

    def move_to(x: float, y: float, start: tuple[int, int]) -> None:
        dx, dy = round(x - start[0]), round(y - start[1])
        window.press(*["Control+Shift+Arrow" + ("Right" if dx > 0 else "Left")] * abs(dx))
        window.press(*["Control+Shift+Arrow" + ("Down" if dy > 0 else "Up")] * abs(dy))

    x, y = (round(value) for value in middle[1])
    move_to(x, y, (64, 48))
    window.press("Enter")
    first = _only(window)
    window.masked(first)
    window.press("Shift+ArrowRight", "Shift+Enter")
    _until(window, lambda: len(objects_of(window)[0]["prompts"][0]["points"]) == 2)
    points = objects_of(window)[0]["prompts"][0]["points"]
    assert [(round(px), round(py), label) for px, py, label in points] == [
        (x, y, 1),
        (x + 2, y, 0),
    ]

    window.press("n")
    page.wait_for_selector("#objects li:nth-child(2).selected", timeout=LONG_MS)
    x1, y1, x2, y2 = (round(value) for value in box_of(scene.masks_nhw(0)[1]))
    move_to(x1, y1, (x + 2, y))
    window.press("b")
    move_to(x2, y2, (x1, y1))
    window.press("Enter")
    _until(window, lambda: len(objects_of(window)) == 2)
    assert objects_of(window)[1]["prompts"][0]["box"] == [x1, y1, x2, y2]

    window.press("1")
    page.wait_for_selector("#objects li:nth-child(1).selected", timeout=LONG_MS)
    window.press("Backspace")
    _until(window, lambda: len(objects_of(window)) == 1)
    window.press("Control+z")
    _until(window, lambda: len(objects_of(window)) == 2)
    window.press("2", "Delete")
    _until(window, lambda: len(objects_of(window)) == 1)

    window.press("n", "l")
    page.wait_for_selector('[data-tool=lasso][aria-checked="true"]', timeout=LONG_MS)
    for key in ("Enter", "Shift+ArrowLeft", "Enter", "Shift+ArrowUp", "Enter", "c"):
        window.press(key)
    _until(window, lambda: len(objects_of(window)) == 2)
    assert "mask" in objects_of(window)[1]["prompts"][0]
    window.press("p")

    page.locator("#objects li:nth-child(1) .pick").focus()
    window.press("Tab")
    page.keyboard.type("dog")
    window.press("Enter")
    _until(window, lambda: objects_of(window)[0].get("label") == "dog")

    page.locator("#stage").focus()
    window.press("?")
    assert "Shift + arrows" in page.inner_text("#help")
    window.press("Escape")
    assert not page.is_visible("#help")


def test_focus_can_be_seen_everywhere(window) -> None:
    """Tab goes through all that can be used, and each has a name and a frame when it has the
    focus."""
    names = []
    for _ in range(40):
        window.press("Tab")
        found = window.page.evaluate(
            "() => { const one = document.activeElement; const style = getComputedStyle(one);"
            "return [one.id || one.dataset.tool || one.dataset.label || one.tagName,"
            "style.outlineStyle,"
            "(one.getAttribute('aria-label') || one.textContent || one.labels?.[0]?.textContent"
            " || '').trim()] }"
        )
        if found[0] == "BODY":
            break
        names.append(found[0])
        assert found[1] != "none", found
        assert found[2], found
    assert {"stage", "scrubber", "play", "add", "detector", "help-open", "brush"} <= set(names)


def test_what_is_found_is_taken_by_a_click(window, middle, scene) -> None:
    """The mask generator's finds are offered; a click on one makes it an object with that mask."""
    page = window.page
    page.select_option("#detector", label="masks")
    page.click("#find-now")
    page.wait_for_selector("#found li", timeout=LONG_MS)
    count = page.locator("#found li").count()
    window.click(*middle[1])
    obj_id = _only(window)
    window.masked(obj_id)
    assert page.locator("#found li").count() == count - 1
    assert iou(_given_mask(window), scene.masks_nhw(0)[0]) > 0.5
    page.click("#find-close")
    page.wait_for_selector("#found li", state="detached", timeout=LONG_MS)


def test_a_finger_points_too(chromium, fresh, middle) -> None:
    """On a tablet a tap is a click on the object, and all of the page fits the screen."""
    with open_window(
        chromium, fresh, viewport={"width": 820, "height": 1180}, has_touch=True, is_mobile=True
    ) as window:
        window.open()
        window.page.touchscreen.tap(*window.at(*middle[1]))
        obj_id = _only(window)
        window.masked(obj_id)
        assert mask_of(fresh, obj_id)[int(middle[1][1]), int(middle[1][0])]
        window.page.tap("[data-label='0']")
        window.page.touchscreen.tap(*window.at(*middle[2]))
        _until(window, lambda: len(objects_of(window)[0]["prompts"][0]["points"]) == 2)
        assert objects_of(window)[0]["prompts"][0]["points"][1][2] == 0
        assert _overflow(window) == []
        assert not window.complaints


def _overflow(window: Window) -> list[str]:
    """What does not fit into the window."""
    return window.page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter(one => one.offsetParent &&"
        "!one.closest('#ruler') && (one.getBoundingClientRect().right > innerWidth + 1 ||"
        "one.getBoundingClientRect().left < -1)).map(one => one.id || one.className || one.tagName)"
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (820, 1180)])
def test_the_page_fits_and_can_be_read(chromium, fresh, width, height, dark) -> None:
    """At both sizes nothing lies outside, and in both colour schemes texts stand out."""
    with open_window(
        chromium,
        fresh,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
    ) as window:
        window.open()
        assert _overflow(window) == []
        for selector in ("#name", "#where", ".hint", "#find label", "#find-now", ".chip"):
            assert _contrast(window, selector) >= 4.5, selector


def _contrast(window: Window, selector: str) -> float:
    """The contrast of a text to what is behind it, as WCAG defines it."""
    texts = window.page.eval_on_selector(
        selector,
        "one => { const colour = getComputedStyle(one).color; let behind = one;"
        "while (/rgba\\(.*, 0\\)/.test(getComputedStyle(behind).backgroundColor))"
        " behind = behind.parentElement;"
        "return [colour, getComputedStyle(behind).backgroundColor] }",
    )
    light = []
    for text in texts:
        levels = np.array([float(part) for part in text[4:-1].split(",")[:3]]) / 255
        linear = np.where(levels <= 0.03928, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(light) + 0.05) / (min(light) + 0.05)
