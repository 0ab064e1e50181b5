"""Masks drawn over the video."""

import dataclasses
import itertools
import os
import subprocess
import tracemalloc
from fractions import Fraction

import cv2
import numpy as np
import pytest

from samcore.drawing import Patch, draw_masks, draw_patches, object_colour
from samcore.errors import InputError, StorageError
from samcore.findings.finding import Findings
from samcore.findings.prompted import watch_prompts
from samcore.lettering import has_font
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.rle import encode_box
from samcore.masks.row import MaskRow
from samcore.masks.table import MaskReader, MaskWriter
from samcore.prompts.prompt import Prompt
from samcore.report.pictures import draw_picture
from samcore.video import VideoWriter, open_video
from samcore.video.decoder import find_ffmpeg
from tests.samcore.viewing import write_overlay
from tests.streams import ask_stream

HEIGHT, WIDTH = 144, 192
GRAY = 120


def picture(height=HEIGHT, width=WIDTH):
    return np.full((height, width, 3), GRAY, np.uint8)


def block(left, top, size=40, *, height=HEIGHT, width=WIDTH):
    mask_hw = np.zeros((height, width), bool)
    mask_hw[top : top + size, left : left + size] = True
    return mask_hw


def test_a_mask_is_tinted_and_outlined():
    """Inside, the picture shines through in the object's colour; the edge has the colour itself."""
    image = picture()
    drawn = draw_masks(image, {1: block(60, 60)}, opacity=0.5)

    colour = np.array(object_colour(1))
    np.testing.assert_allclose(drawn[80, 80], (colour + GRAY) / 2, atol=1)
    assert tuple(drawn[99, 80]) == object_colour(1)
    assert (image == GRAY).all(), "the caller's picture was drawn on"


def test_the_rest_of_the_picture_stays():
    """Away from masks and their labels no pixel changes, also where an object is absent."""
    drawn = draw_masks(picture(), {1: block(60, 60), 2: block(0, 0, 0)}, labels={2: "gone"})

    changed_y, changed_x = np.nonzero((drawn != GRAY).any(axis=2))
    assert changed_y.max() < 100
    assert changed_y.min() > 30  # the label sits on the mask
    assert changed_x.min() >= 60


def test_a_hole_stays_open():
    """What is not in the mask is not tinted, even within the object."""
    mask_hw = block(60, 60)
    mask_hw[75:85, 75:85] = False
    assert (draw_masks(picture(), {1: mask_hw})[80, 80] == GRAY).all()


@pytest.mark.parametrize(
    ("left", "top"), [(0, 0), (WIDTH - 6, 0), (0, HEIGHT - 6), (WIDTH - 6, HEIGHT - 6)]
)
@pytest.mark.parametrize("label", ["", "a dog", "größer ångström", "犬", "line\nbreak", "w" * 300])
def test_labels_stay_in_the_picture(left, top, label):
    """A label is drawn whole wherever its object is, in whatever letters."""
    mask_hw = block(left, top, 6)
    without = draw_masks(picture(), {12: mask_hw})
    drawn = draw_masks(picture(), {12: mask_hw}, labels={12: label})

    middle = draw_masks(picture(), {12: block(10, 70, 6)}, labels={12: label})
    wanted = np.all(middle == object_colour(12), axis=2).sum()
    found = np.all(drawn == object_colour(12), axis=2).sum()
    assert found > 0.9 * wanted if len(label) < 100 else found > 0
    assert (drawn != without).any() == (label != "" and has_font(label.replace("\n", " ")))


def test_labels_do_not_cover_each_other():
    """Objects in one place have their labels side by side, each with its whole ground."""
    masks = {obj_id: block(80, 60 + obj_id, 20) for obj_id in (1, 2, 3)}
    drawn = draw_masks(picture(), masks)

    alone = [
        np.all(draw_masks(picture(), {i: masks[i]}) == object_colour(i), axis=2).sum()
        for i in masks
    ]
    ground = [np.all(drawn == object_colour(i), axis=2).sum() for i in masks]
    outline = 4 * 20 * 2
    assert all(g > a - outline for g, a in zip(ground, alone, strict=True))


def test_a_small_picture_with_a_crowd():
    """Hundreds of objects on a thumbnail are drawn, quickly and without a complaint."""
    rng = np.random.default_rng(0)
    masks = {i: rng.random((20, 30)) < 0.2 for i in range(300)}
    drawn = draw_masks(picture(20, 30), masks, caption="frame 1")
    assert drawn.shape == (20, 30, 3)


def test_a_mask_of_another_size_is_refused():
    """The object whose mask does not fit is named."""
    with pytest.raises(ValueError, match=r"144 x 192, got \(10, 10\) for object 4"):
        draw_masks(picture(), {4: np.ones((10, 10), bool)})


def test_boxes_are_drawn_like_whole_masks(tmp_path):
    """To the last pixel, with masks that overlap, touch the edges, or are empty."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    masks_nhw = np.stack(
        [
            block(40, 60),
            block(60, 70),
            block(0, 0, 0),
            block(0, 0, 7),
            block(WIDTH - 5, HEIGHT - 5, 5),
            rng.random((HEIGHT, WIDTH)) < 0.01,
            np.ones((HEIGHT, WIDTH), bool),
        ]
    )
    ids, one = tuple(range(2, 9)), np.ones(7, np.float32)
    with MaskWriter(tmp_path / "table", height=HEIGHT, width=WIDTH) as writer:
        writer.write(FrameMasks(0, ids, masks_nhw, one, one, one > 2), pts=0)
    with MaskReader(tmp_path / "table") as reader:
        rows = list(reader.rows())
    told = {"labels": {3: "dog"}, "scores": {2: 0.5}, "caption": "frame 0"}

    patches = [Patch(row.object_id, row.x, row.y, row.crop()) for row in rows if row.area]
    drawn = draw_patches(image, patches, **told)

    whole = draw_masks(image, dict(zip(ids, masks_nhw, strict=True)), **told)
    np.testing.assert_array_equal(drawn, whole)
    for row, mask_hw in zip(rows, masks_nhw, strict=True):
        box = mask_hw[row.y : row.y + row.h, row.x : row.x + row.w]
        np.testing.assert_array_equal(row.crop(), box)


def test_many_objects_in_large_pictures_take_little_memory(tmp_path):
    """Masks are drawn one after another: those of 400 objects would be 830 MB."""
    height, width, num = 1080, 1920, 400
    shape_hw = np.ones((30, 40), bool)
    with MaskWriter(tmp_path / "table", height=height, width=width) as writer:
        for frame in range(2):
            for obj_id in range(num):
                x, y = obj_id % 20 * 90, obj_id // 20 * 50
                rle = encode_box(shape_hw, (x, y), height=height, width=width)
                row = MaskRow(
                    frame, frame, obj_id, 5.0, 0.9, False, x, y, 40, 30, 1200, height, width,
                    rle.counts,
                )  # fmt: skip
                writer.write_row(row)
    with VideoWriter(tmp_path / "v.mp4", width=width, height=height, rate=Fraction(25)) as video:
        for _ in range(2):
            video.write(picture(height, width))
    source = open_video(tmp_path / "v.mp4")
    image = source.frame(0).image_rgb_hwc_u8

    def overlay():
        write_overlay(source, tmp_path / "table", tmp_path / "overlay.mp4")

    def report():
        prompts = [Prompt(obj_id, 0, box_xyxy_px=(5, 5, 45, 40)) for obj_id in range(num)]
        with MaskReader(tmp_path / "table") as reader:
            watch_prompts(prompts, reader, Findings(5).add)
            draw_picture(0, image, reader.masks(0))

    for work in (overlay, report):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000_000


# Linear RGB as people see it who lack red or green cones (Vienot, Brettel and Mollon 1999).
COLOUR_VISION = {
    "full": np.eye(3),
    "no red cones": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.004, -0.004, 1]]),
    "no green cones": np.array(
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.0223, 0.0223, 1]]
    ),
}


@pytest.mark.parametrize("vision", list(COLOUR_VISION))
def test_colours_can_be_told_apart(vision):
    """The first objects' colours differ clearly, with full and with dichromatic vision."""
    linear = (np.array([object_colour(i) for i in range(1, 8)]) / 255) ** 2.2
    seen = np.clip(linear @ COLOUR_VISION[vision].T, 0, 1) ** (1 / 2.2) * 255

    apart = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert apart > 30


def test_the_first_21_objects_have_21_colours():
    """And any id has one whose levels are bytes."""
    assert len({object_colour(i) for i in range(1, 22)}) == 21
    for obj_id in (0, 1, 999, 2**31 - 1):
        assert all(0 <= level <= 255 for level in object_colour(obj_id))


def test_each_object_keeps_its_colour():
    """An object's outline has the same colour whoever else is in the picture, wherever the object
    is and in whatever order masks come; and the colours are those of every run before."""
    grey = np.full((60, 90, 3), 90, np.uint8)
    here, there = np.zeros((2, 60, 90), bool)
    here[30:50, 10:30], there[25:55, 50:80] = True, True
    for obj_id in (2, 5, 40):
        alone = draw_masks(grey, {obj_id: here})
        among = draw_masks(grey, {obj_id + 1: there, obj_id: here, 1: np.roll(here, -26, 0)})
        elsewhere = draw_masks(grey, {1: here, obj_id: there})
        outlines = (alone[49, 15:25], among[49, 15:25], elsewhere[54, 55:75])
        for pixels in outlines:
            assert {tuple(pixel) for pixel in pixels.tolist()} == {object_colour(obj_id)}
    assert [object_colour(i) for i in (1, 2, 7, 8, 15, 22)] == COLOURS


COLOURS = [(230, 159, 0), (86, 180, 233), (213, 94, 0), (255, 203, 87), (143, 99, 0), (230, 159, 0)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """20 gray frames."""
    path = tmp_path_factory.mktemp("video") / "gray.mp4"
    with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=Fraction(30000, 1001)) as writer:
        for _ in range(20):
            writer.write(picture())
    return open_video(path)


def write_table(path, start, stop, *, height=HEIGHT, width=WIDTH):
    """Object 1 moves 8 pixels a frame along the middle; on frame 7 there is no row at all."""
    one = np.ones(1, np.float32)
    with MaskWriter(path, height=height, width=width) as writer:
        for frame in range(start, stop):
            if frame != 7:
                masks = block(8 * frame, 60, height=height, width=width)[None]
                writer.write(FrameMasks(frame, (1,), masks, one, one, one > 2), pts=frame)
    return path


@pytest.mark.parametrize(
    ("start", "stop", "frames"),
    [(None, None, range(3, 12)), (5, 9, range(5, 9)), (0, 20, range(20))],
)
def test_each_frame_has_its_own_masks(video, tmp_path, start, stop, frames):
    """Frame by frame the mask lies where the table says, at the video's size and rate."""
    table = write_table(tmp_path / "masks.parquet", 3, 12)
    seen = []

    written = write_overlay(
        video,
        table,
        tmp_path / "overlay.mp4",
        start=start,
        stop=stop,
        on_progress=lambda done, total: seen.append((done, total)),
    )

    assert written == len(frames)
    assert seen == [(done + 1, len(frames)) for done in range(len(frames))]
    overlay = open_video(tmp_path / "overlay.mp4")
    assert (overlay.info.width, overlay.info.height) == (WIDTH, HEIGHT)
    assert overlay.info.num_frames == len(frames)
    assert overlay.info.avg_rate == video.info.avg_rate
    with overlay.read() as reader:
        for frame, shown in zip(frames, reader, strict=True):
            row = shown.image_rgb_hwc_u8[85].astype(int)
            tinted = np.flatnonzero(row[:, 0] - row[:, 2] > 30)  # object 1 is orange
            if 3 <= frame < 12 and frame != 7:
                assert abs(tinted[0] - 8 * frame) <= 2
                assert abs(tinted[-1] - min(8 * frame + 39, WIDTH - 1)) <= 2
            else:
                assert len(tinted) == 0


def test_masks_of_another_video_are_refused(video, tmp_path):
    """Masks of another size are an error that gives both, and no file is made."""
    table = write_table(tmp_path / "masks.parquet", 0, 3, height=150, width=200)
    with pytest.raises(InputError, match="200 x 150 pixels, the video is 192 x 144"):
        write_overlay(video, table, tmp_path / "overlay.mp4")
    assert os.listdir(tmp_path) == ["masks.parquet"]


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (0, 21), (-1, 5)])
def test_frames_that_are_not_there_are_refused(video, tmp_path, start, stop):
    """A range outside the video is one line with the limits."""
    table = write_table(tmp_path / "masks.parquet", 0, 3)
    with pytest.raises(InputError, match=r"no frames to draw: .* stop <= 20"):
        write_overlay(video, table, tmp_path / "overlay.mp4", start=start, stop=stop)


def test_a_table_without_masks_has_nothing_to_show(video, tmp_path):
    """Without rows the range has to be given; then the plain video is written."""
    table = write_table(tmp_path / "masks.parquet", 0, 0)
    with pytest.raises(InputError, match="no frames to draw"):
        write_overlay(video, table, tmp_path / "overlay.mp4")
    assert write_overlay(video, table, tmp_path / "overlay.mp4", start=0, stop=2) == 2


def test_nothing_is_left_when_masks_are_damaged(video, tmp_path):
    """A mask that cannot be one ends the work with its file and frame, and leaves no video."""
    good = write_table(tmp_path / "good.parquet", 0, 4)
    bad = tmp_path / "bad.parquet"
    with MaskReader(good) as reader, MaskWriter(bad, height=HEIGHT, width=WIDTH) as writer:
        for row in reader.rows():
            counts = row.counts[:-1] if row.frame == 2 else row.counts
            writer.write_row(dataclasses.replace(row, counts=counts))

    with pytest.raises(StorageError, match=r"bad\.parquet: frame 2"):
        write_overlay(video, bad, tmp_path / "overlay.mp4")
    assert sorted(os.listdir(tmp_path)) == ["bad.parquet", "good.parquet"]


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_full_disk_leaves_no_overlay(video, full_disk, tmp_path, share):
    """Wherever it fills up, one line names the video, and the one that was there stays."""
    folder = tmp_path / "folder"
    folder.mkdir()
    table = write_table(tmp_path / "masks.parquet", 0, 6)
    write_overlay(video, table, folder / "overlay.mp4")
    before = (folder / "overlay.mp4").read_bytes()

    with (
        full_disk(int(len(before) * share)),
        pytest.raises(StorageError, match=r"/overlay\.mp4': free some space") as caught,
    ):
        write_overlay(video, table, folder / "overlay.mp4")
    assert "\n" not in str(caught.value)
    assert os.listdir(folder) == ["overlay.mp4"]
    assert (folder / "overlay.mp4").read_bytes() == before


def test_a_score_stands_beside_the_label():
    """The score makes the label wider, and other scores look different."""
    masks = {3: block(20, 80)}
    plain = draw_masks(picture(), masks, labels={3: "dog"})
    drawn = [draw_masks(picture(), masks, labels={3: "dog"}, scores={3: s}) for s in (0.5, 1.0)]

    ground = [np.all(image == object_colour(3), axis=2).sum() for image in (plain, *drawn)]
    assert ground[1] > ground[0] + 50
    assert (drawn[0] != drawn[1]).any()
    assert (draw_masks(picture(), masks, labels={3: "dog"}, scores={4: 1.0}) == plain).all()


def make_film(path, *options, seconds=3):
    """A moving picture; a tone that is silent but for its second second."""
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-y"]
    command += ["-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=20:duration={seconds}"]
    command += ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    command += ["-af", "volume='between(t,1,2)':eval=frame", "-c:v", "libx264", "-pix_fmt"]
    command += ["yuv420p", *options, f"file:{path}"]
    subprocess.run(command, check=True, capture_output=True)
    return open_video(path)


def loudness(path):
    """Root mean square of each tenth of a second, first channel."""
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-i", f"file:{path}", "-vn"]
    command += ["-f", "f32le", "-ac", "1", "-ar", "16000", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    samples = np.frombuffer(data, np.float32)
    return np.sqrt((samples[: len(samples) // 1600 * 1600].reshape(-1, 1600) ** 2).mean(axis=1))


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize(
    ("container", "start", "stop"), [("mp4", 0, 60), ("mkv", 15, 50), ("ts", 15, 50)]
)
def test_the_sound_of_the_stretch_is_kept(tmp_path, container, start, stop):
    """What is heard with a frame of the video is heard with it in the overlay, and no more."""
    film = make_film(tmp_path / f"film.{container}", "-c:a", "aac")
    table = write_table(tmp_path / "masks.parquet", 0, 60)
    write_overlay(film, table, tmp_path / "overlay.mp4", start=start, stop=stop)

    overlay = open_video(tmp_path / "overlay.mp4")
    assert overlay.info.num_frames == stop - start
    loud = loudness(tmp_path / "overlay.mp4") > 0.03
    assert len(loud) == pytest.approx((stop - start) / 2, abs=2)
    first, last = (20 - start) / 2, (40 - start) / 2
    assert np.flatnonzero(loud)[0] == pytest.approx(first, abs=1.1)
    assert np.flatnonzero(loud)[-1] + 1 == pytest.approx(min(last, len(loud)), abs=1.1)


@pytest.mark.parametrize("container", ["mkv", "ts"])
@pytest.mark.parametrize(("start", "stop"), [(0, 120), (70, 110)])
def test_sound_and_picture_go_on_where_the_clock_starts_again(tmp_path, container, start, stop):
    """Of two recordings joined end to end, the overlay shows every frame for its time, and the tone
    of each is heard where it is in the pictures, also in a stretch of the second one."""
    part = tmp_path / f"part.{container}"
    make_film(part, "-c:a", "aac", "-g", "20")
    joined = tmp_path / f"joined.{container}"
    joined.write_bytes(part.read_bytes() * 2)
    table = write_table(tmp_path / "masks.parquet", 0, 120)
    write_overlay(open_video(joined), table, tmp_path / "overlay.mp4", start=start, stop=stop)

    overlay = open_video(tmp_path / "overlay.mp4")
    assert overlay.info.num_frames == stop - start
    assert overlay.info.duration_s == pytest.approx((stop - start) / 20, abs=0.01)
    loud = np.flatnonzero(loudness(tmp_path / "overlay.mp4") > 0.03)
    tones = [range(10, 20), range(40, 50)]
    expected = [place - start / 2 for tone in tones for place in tone]
    expected = [place for place in expected if 0 <= place < (stop - start) / 2]
    assert set(loud) >= set(expected[1:-1]) - {19 - start / 2, 40 - start / 2}
    assert len(loud) == pytest.approx(len(expected), abs=3)


@pytest.mark.usefixtures("each_ffmpeg")
def test_a_varying_rate_is_kept(tmp_path):
    """Where frames are shown for different times, they are so in the overlay, to the tick."""
    no_drop = "-fps_mode" if find_ffmpeg().has_fps_mode else "-vsync"
    film = make_film(
        tmp_path / "film.mp4", "-vf", "select='mod(n,5)*mod(n,7)'", no_drop, "passthrough", "-an"
    )
    assert film.info.variable_rate
    table = write_table(tmp_path / "masks.parquet", 3, 20)
    write_overlay(film, table, tmp_path / "overlay.mp4")

    overlay = open_video(tmp_path / "overlay.mp4")
    wanted = [film.time_s(frame) - film.time_s(3) for frame in range(3, 20)]
    assert [overlay.time_s(frame) for frame in range(17)] == wanted


@pytest.mark.usefixtures("each_ffmpeg")
def test_the_overlay_is_what_browsers_take(tmp_path):
    """H.264 with marked colours, and AAC, in an mp4 whose index is in front."""
    film = make_film(tmp_path / "film.mkv", "-c:a", "flac", seconds=1)
    table = write_table(tmp_path / "masks.parquet", 0, 20)
    write_overlay(film, table, tmp_path / "overlay.mp4")

    stream = ask_stream(tmp_path / "overlay.mp4")
    assert (stream.codec, stream.pix_fmt) == ("h264", "yuv420p")
    assert stream.colours == ("tv", "bt709", "bt709", "bt709")
    assert stream.sound == "aac"
    data = (tmp_path / "overlay.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


PLAYER = """<!doctype html><body style="margin: 0">
<video src="overlay.mp4" muted style="display: block"></video>"""


@pytest.mark.usefixtures("each_ffmpeg")
def test_a_browser_plays_it(chromium, tmp_path):
    """Chromium takes the video and its sound without an error, knows its size and how long it is,
    shows the frame that our own reader gives, and plays on from there."""
    film = make_film(tmp_path / "film.mkv", "-c:a", "flac", seconds=2)
    table = write_table(tmp_path / "masks.parquet", 0, 40)
    write_overlay(film, table, tmp_path / "overlay.mp4")
    (tmp_path / "player.html").write_text(PLAYER)

    page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    try:
        page.goto((tmp_path / "player.html").as_uri())
        video = page.locator("video")
        page.wait_for_function(
            "() => { const v = document.querySelector('video'); "
            "return v.error !== null || v.readyState >= 3 }"
        )
        assert video.evaluate("v => v.error && v.error.message") is None
        assert video.evaluate("v => [v.videoWidth, v.videoHeight]") == [WIDTH, HEIGHT]
        assert video.evaluate("v => v.duration") == pytest.approx(2, abs=0.05)

        video.evaluate(
            "v => new Promise(done => { v.requestVideoFrameCallback(done); v.currentTime = 0.525 })"
        )
        shown = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        with open_video(tmp_path / "overlay.mp4").read(10, 11) as reader:
            (frame,) = reader
        apart = np.abs(shown[:, :, ::-1].astype(int) - frame.image_rgb_hwc_u8)
        assert apart.mean() < 6  # the frames beside it: 11 and 12

        video.evaluate("v => v.play()")
        page.wait_for_function("() => document.querySelector('video').currentTime > 1")
        page.wait_for_function("() => document.querySelector('video').ended")
        assert video.evaluate("v => v.error") is None
        assert video.evaluate("v => v.webkitAudioDecodedByteCount") > 0
    finally:
        page.close()
