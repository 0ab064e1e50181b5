"""A folder of images is a video."""

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.commands.lines import video_lines
from samcore.errors import InputError, VideoError
from samcore.limits import Limits
from samcore.video import open_video, source_digest


def _picture(number, height=30, width=40):
    """An RGB picture that tells its number."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:] = (number, 100, 255 - number)
    picture[: height // 2, : width // 2] = (200, number, 50)
    return picture


def _write(path, picture_rgb):
    assert cv2.imwrite(str(path), picture_rgb[:, :, ::-1])


@pytest.fixture
def folder(tmp_path):
    """Twelve PNG frames, named without leading zeros."""
    for number in range(12):
        _write(tmp_path / f"frame{number}.png", _picture(number))
    return tmp_path


def test_frames_come_in_natural_order_in_true_colours(folder):
    """Frame 10 comes after frame 2, and red stays red."""
    source = open_video(folder)

    assert (source.info.kind, source.info.width, source.info.height) == ("images", 40, 30)
    assert (source.info.num_frames, source.info.codec) == (12, "png")
    with source.read() as reader:
        for number, frame in enumerate(reader):
            assert frame.frame_idx == frame.pts == number
            assert frame.image_rgb_hwc_u8.flags.c_contiguous
            assert (frame.image_rgb_hwc_u8 == _picture(number)).all()
    assert (source.frame(11).image_rgb_hwc_u8 == _picture(11)).all()


def test_frames_of_a_stretch_are_those_of_the_whole_folder(folder):
    """Reading may start anywhere, and times count from the first image."""
    source = open_video(folder)

    with source.read(3, 6) as reader:
        frames = list(reader)

    assert [frame.frame_idx for frame in frames] == [3, 4, 5]
    assert [int(frame.image_rgb_hwc_u8[-1, -1, 0]) for frame in frames] == [3, 4, 5]
    assert source.frame_at(float(source.time_s(7))) == 7


def test_names_of_all_kinds_are_sorted(tmp_path):
    """Names with letters after numbers and upper case sort without an error."""
    for number, name in enumerate(["1.png", "1b.png", "02.PNG", "a.png", "b10.png", "b9.png"]):
        _save(tmp_path / name, _picture(10 * number))
    (tmp_path / ".hidden.png").write_text("no image")

    source = open_video(tmp_path)

    assert source.info.left_out is None
    with source.read() as reader:
        first_pixels = [int(frame.image_rgb_hwc_u8[-1, -1, 0]) for frame in reader]
    assert first_pixels == [0, 10, 20, 30, 50, 40]
    assert source.names.files == ("1.png", "1b.png", "02.PNG", "a.png", "b9.png", "b10.png")


def _save(path, picture_rgb):
    suffix = path.suffix.lower()
    path.write_bytes(cv2.imencode(suffix, picture_rgb[:, :, ::-1])[1].tobytes())


@pytest.mark.parametrize(
    ("files", "frames", "left_out"),
    [
        (["0.jpg", "1.jpg", "0.png", "1.png"], ["0.jpg", "1.jpg"], "2 PNG files"),
        (["0.jpg", "0.png", "1.png"], ["0.png", "1.png"], "1 JPEG file"),
        (["0.png", "1.png", "1.webp"], ["0.png", "1.png"], "1 WebP file"),
        (["0.tif", "1.tif", "0.webp"], ["0.tif", "1.tif"], "1 WebP file"),
        (["0.jpg", "1.jpeg", "a.txt", "Thumbs.db"], ["0.jpg", "1.jpeg"], "2 other files"),
    ],
    ids=["a mask beside each", "thumbnails of some", "one in WebP", "TIFF", "no pictures"],
)
def test_one_kind_of_picture_is_read(tmp_path, files, frames, left_out):
    """The kind that has a picture of every name wins, JPEG before PNG; the rest is told, anew each
    time, although it is no part of what identifies the folder."""
    for name in files:
        if name.endswith(("txt", "db")):
            (tmp_path / name).write_text("no image")
        else:
            _save(tmp_path / name, _picture(7))
    index_path = tmp_path / ".work" / "index.parquet"

    source = open_video(tmp_path, index_path=index_path)

    assert source.names.files == tuple(frames)
    assert source.info.num_frames == len(frames)
    assert source.info.left_out == left_out
    (tmp_path / "more.csv").write_text("no image")
    again = open_video(tmp_path, index_path=index_path)
    assert again.info.digest == source.info.digest
    assert again.info.left_out != left_out
    assert any("left out" in line for line in video_lines(again.info))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["0.jpg", "1.png"], "1 JPEG file, 1 PNG file"),
        (["0.jpg", "1.jpg", "2.webp"], "2 JPEG files, 1 WebP file"),
        (["0.gif", "1.gif"], "no JPEG, PNG, BMP, TIFF or WebP images .*, but 2 gif files"),
        (["0.tif", "1.jpg", "2.tif"], "1 JPEG file, 2 TIFF files"),
        (["0.jpg", "0.jpeg"], r"0\.jpe?g and 0\.jpe?g .* have one name"),
    ],
)
def test_a_folder_that_may_be_two_things_is_refused(tmp_path, files, words):
    """Where no kind has all names, nobody knows which are the frames: one line says so."""
    for name in files:
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(VideoError, match=words):
        open_video(tmp_path)


@pytest.mark.parametrize("kind", ["bmp", "tif", "webp"])
def test_other_kinds_of_pictures_are_frames(tmp_path, kind):
    """A folder of them is a video like one of PNG, pixel for pixel where they are lossless."""
    for number in range(3):
        picture = Image.fromarray(_picture(number))
        picture.save(
            tmp_path / f"{number}.{kind}", **({"lossless": True} if kind == "webp" else {})
        )

    source = open_video(tmp_path)

    assert source.info.codec == {"tif": "tiff"}.get(kind, kind)
    with source.read() as reader:
        for number, frame in enumerate(reader):
            assert (frame.image_rgb_hwc_u8 == _picture(number)).all()
    path = tmp_path / f"1.{kind}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match=rf"1\.{kind}"):
        open_video(tmp_path)


def test_a_file_of_several_pictures_is_no_frame(tmp_path):
    """A stack in one TIFF is refused: nobody knows which of its pictures is meant."""
    pages = [Image.fromarray(_picture(number)) for number in range(3)]
    pages[0].save(tmp_path / "0.tif", save_all=True, append_images=pages[1:])

    with pytest.raises(VideoError, match=r"0\.tif' holds 3 pictures"):
        open_video(tmp_path)


def test_a_large_picture_is_refused_before_it_is_decoded(tmp_path):
    """The limit holds for all kinds."""
    Image.fromarray(_picture(1)).save(tmp_path / "0.bmp")

    with pytest.raises(VideoError, match="40 x 30, 1,200 pixels"):
        open_video(tmp_path, limits=Limits(max_pixels=1000))


def test_grey_tiffs_are_stretched_by_one_measure(tmp_path):
    """Microscopes write 12 of 16 bits: the brightest frame says which are in use."""
    for number, level in enumerate((2047, 4095, 1023)):
        Image.fromarray(np.full((8, 8), level, np.uint16)).save(tmp_path / f"{number}.tif")

    assert open_video(tmp_path).info.used_bits == 12
    bright = open_video(tmp_path, stretch=True)
    assert [bright.frame(n).image_rgb_hwc_u8[0, 0, 0] for n in range(3)] == [127, 255, 63]


@pytest.mark.parametrize("bits", [6, 12, 15])
def test_stretching_uses_the_bits_in_use(tmp_path, bits):
    """Data of few bits in PNGs of 16 is stretched by one measure for all frames, that of the
    brightest; without that it is said that the pictures are nearly black."""
    brightest = (1 << bits) - 1
    for number, level in enumerate((brightest // 2, brightest, brightest // 4)):
        stored = np.zeros((8, 8, 3), np.uint16)
        stored[:4] = (level, level // 2, 0)
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), stored[:, :, ::-1])
    index_path = tmp_path / ".work" / "index.parquet"

    dark = open_video(tmp_path, index_path=index_path)
    bright = open_video(tmp_path, index_path=index_path, stretch=True)

    assert dark.info == bright.info
    assert dark.info.used_bits == bits
    assert dark.info.is_nearly_black == (bits < 15)
    assert any("--stretch" in line for line in video_lines(dark.info)) == (bits < 15)
    assert [dark.frame(n).image_rgb_hwc_u8[0, 0, 0] for n in range(3)] == [
        level >> 8 for level in (brightest // 2, brightest, brightest // 4)
    ]
    found = [bright.frame(n).image_rgb_hwc_u8[0, 0].tolist() for n in range(3)]
    expected = [[127, 63, 0], [255, 127, 0], [63, 31, 0]]
    assert np.abs(np.array(found) - expected).max() <= 256 >> bits


def test_stretching_of_8_bit_images_is_refused(folder, tmp_path):
    """Pictures of 8 bits and video files are refused, not passed over."""
    with pytest.raises(InputError, match="PNG with 8 bits"):
        open_video(folder, stretch=True)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(InputError, match="is a video file"):
        open_video(tmp_path / "a.mp4", stretch=True)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((8, 8), 0x8000, np.uint16), (128, 128, 128)),
        (np.full((8, 8), 77, np.uint8), (77, 77, 77)),
        (np.full((8, 8, 4), (10, 20, 30, 0), np.uint8), (30, 20, 10)),
        (np.full((8, 8, 3), (0x1000, 0x2000, 0x3000), np.uint16), (0x30, 0x20, 0x10)),
    ],
    ids=["16-bit grey", "grey", "alpha", "16-bit colour"],
)
def test_every_depth_becomes_8_bit_rgb(tmp_path, stored, expected):
    """Deep, grey and transparent PNGs are given as 8-bit RGB."""
    assert cv2.imwrite(str(tmp_path / "0.png"), stored)

    picture = open_video(tmp_path).frame(0).image_rgb_hwc_u8

    assert picture.shape == (8, 8, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_images_of_two_sizes_are_refused(folder):
    """The first image of another size is named, with both sizes."""
    _write(folder / "frame5.png", _picture(5, height=20))

    with pytest.raises(VideoError, match=r"frame0\.png is 40x30 and frame5\.png is 40x20"):
        open_video(folder)


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_a_damaged_image_is_named(folder, content):
    """A file that is no image is refused by its name."""
    (folder / "frame7.png").write_bytes(content)

    with pytest.raises(VideoError, match=r"frame7\.png' is not an image"):
        open_video(folder)


def test_an_image_that_changes_is_noticed(folder):
    """A frame that was replaced after the scan is not passed off as the scanned one."""
    source = open_video(folder)
    _write(folder / "frame4.png", _picture(99))

    with source.read() as reader:
        for number in range(4):
            assert (next(reader).image_rgb_hwc_u8 == _picture(number)).all()
        with pytest.raises(VideoError, match=r"frame 4, .*changed"):
            next(reader)


def test_an_image_that_goes_is_noticed(folder):
    """A frame that was removed after the scan is an error that names the file."""
    source = open_video(folder)
    (folder / "frame11.png").unlink()

    with pytest.raises(VideoError, match=r"frame11\.png"):
        source.frame(11)


def test_the_digest_goes_by_names_and_contents(folder):
    """Renaming, changing or adding an image changes the digest; reading does not."""
    digests = [source_digest(folder), open_video(folder).info.digest]
    assert digests[0] == digests[1]

    (folder / "frame11.png").rename(folder / "frame12.png")
    digests.append(source_digest(folder))
    _write(folder / "frame0.png", _picture(1))
    digests.append(source_digest(folder))
    _write(folder / "frame99.png", _picture(1))
    digests.append(source_digest(folder))
    assert len(set(digests)) == 4


def test_index_of_an_image_folder_is_kept_and_used(folder, tmp_path_factory):
    """A folder is scanned once; an image more makes another scan."""
    index_path = tmp_path_factory.mktemp("index") / "index.parquet"
    calls: list[tuple[int, int | None]] = []

    def on_progress(done: int, total: int | None) -> None:
        calls.append((done, total))

    first = open_video(folder, index_path=index_path, on_progress=on_progress)
    again = open_video(folder, index_path=index_path, on_progress=on_progress)
    assert calls == [(done, 12) for done in range(1, 13)]
    assert again.info == first.info

    _write(folder / "frame12.png", _picture(12))
    assert open_video(folder, index_path=index_path).info.num_frames == 13
