"""Picture files of every kind become 8-bit RGB, or one line that says why not."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from samcore.errors import PictureError
from samcore.images.picture import FORMATS, decode_picture, read_picture
from samcore.limits import Limits

# As the module has it, where pytest does not make errors of them.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning:PIL"
)
ORIENTATION = 0x0112
RNG = np.random.default_rng(5)
PIXELS = np.kron(RNG.integers(0, 256, (3, 4, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
GREY_16 = (np.arange(24 * 32).reshape(24, 32) * 85).astype(np.uint16)


def saved(image, kind, **options):
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_opencv(ending, pixels):
    """A file as OpenCV writes it: kinds that Pillow cannot write."""
    return cv2.imencode(ending, pixels)[1].tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "WEBP", "JPEG2000", "AVIF"])
def test_kinds_without_loss_give_their_pixels(kind):
    """The very pixels, which can be written to, of each format that may be read."""
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    picture = decode_picture(
        saved(Image.fromarray(PIXELS), kind, **options.get(kind, {})), name="a"
    )
    assert np.abs(picture.image_rgb_hwc_u8.astype(int) - PIXELS).max() <= (
        8 if kind == "AVIF" else 0
    )
    assert picture.image_rgb_hwc_u8.flags.writeable
    assert picture.size_hw == (24, 32)
    assert picture.notes == ()
    assert kind in FORMATS


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(orientation):
    """All eight orientations give the picture as it is seen."""
    turned = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, -1),
        7: np.rot90(PIXELS, 2).transpose(1, 0, 2),
        8: np.rot90(PIXELS, 1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = saved(Image.fromarray(PIXELS), "PNG", exif=exif.tobytes())
    assert np.array_equal(decode_picture(data, name="a").image_rgb_hwc_u8, turned)


def test_damaged_exif_does_not_cost_the_picture():
    """A picture whose EXIF data cannot be read is shown as it lies."""
    data = saved(Image.fromarray(PIXELS), "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 30)
    picture = decode_picture(data, name="a")
    assert picture.size_hw == (24, 32)


@pytest.mark.parametrize(("ending"), [".png", ".tiff"])
def test_sixteen_bits_become_eight(ending):
    """The upper bits, in grey and in colour; with `stretch` those that a grey picture uses."""
    grey = decode_picture(by_opencv(ending, GREY_16), name="a").image_rgb_hwc_u8
    assert np.array_equal(grey, np.repeat((GREY_16 >> 8)[..., None], 3, axis=2))
    colour = np.stack([GREY_16, GREY_16[::-1], GREY_16[:, ::-1]], axis=2)
    read = decode_picture(by_opencv(ending, colour[..., ::-1]), name="a").image_rgb_hwc_u8
    assert np.array_equal(read, colour >> 8)
    dark = by_opencv(ending, GREY_16 >> 6)
    assert decode_picture(dark, name="a").image_rgb_hwc_u8.max() <= 3
    assert np.array_equal(decode_picture(dark, name="a", stretch=True).image_rgb_hwc_u8, grey)


def test_grey_palette_bits_and_cmyk_become_rgb():
    """Other kinds of pixels give what a viewer shows."""
    grey = Image.fromarray(PIXELS[..., 0])
    as_grey = decode_picture(saved(grey, "PNG"), name="a").image_rgb_hwc_u8
    assert np.array_equal(as_grey, np.repeat(PIXELS[..., :1], 3, axis=2))
    palette = Image.fromarray(PIXELS).quantize(256)
    for kind in ("PNG", "GIF"):
        read = decode_picture(saved(palette, kind), name="a").image_rgb_hwc_u8
        assert np.abs(read.astype(int) - PIXELS).max() <= 4
    bits = decode_picture(saved(grey.convert("1", dither=0), "PNG"), name="a").image_rgb_hwc_u8
    assert set(np.unique(bits)) == {0, 255}
    inks = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        read = decode_picture(saved(inks, kind), name="a").image_rgb_hwc_u8
        assert np.abs(read.astype(int) - (255, 0, 0)).max() <= 2


def test_what_is_transparent_is_laid_over_white():
    """Hidden colours do not show; an alpha that hides nothing is left out without a word."""
    rgba = np.dstack([PIXELS, np.zeros((24, 32), np.uint8)])
    rgba[:, :8, 3] = 255
    rgba[:, 8:16, 3] = 128
    picture = decode_picture(saved(Image.fromarray(rgba), "PNG"), name="a")
    read = picture.image_rgb_hwc_u8.astype(int)
    assert np.array_equal(read[:, :8], PIXELS[:, :8])
    half = PIXELS[:, 8:16] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(read[:, 8:16] - half).max() <= 1
    assert (read[:, 16:] == 255).all()
    assert picture.notes == ("what is transparent is laid over white",)
    rgba[..., 3] = 255
    opaque = decode_picture(saved(Image.fromarray(rgba), "PNG"), name="a")
    assert np.array_equal(opaque.image_rgb_hwc_u8, PIXELS)
    assert opaque.notes == ()
    keyed = Image.fromarray(np.uint8([[0, 1], [1, 0]])).convert("L")
    data = saved(keyed, "PNG", transparency=0)
    assert decode_picture(data, name="a").image_rgb_hwc_u8[..., 0].tolist() == [[255, 1], [1, 255]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_taken(kind):
    """Animations and pages give their first picture, and say so."""
    frames = [Image.new("RGB", (16, 12), (60 * i, 0, 0)) for i in range(1, 5)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    picture = decode_picture(data, name="a")
    assert np.abs(picture.image_rgb_hwc_u8.astype(int) - (60, 0, 0)).max() <= 2
    assert picture.notes == ("the first of 4 pictures in the file",)


def png_head(width, height):
    """The beginning of a PNG that claims a size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    body = struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n"
        + body
        + struct.pack(">I", len(idat) - 4)
        + idat
        + struct.pack(">I", zlib.crc32(idat))
    )


NOISE = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
BROKEN = {
    "empty": (b"", "is empty"),
    "text": (b"id,text\n1,dog\n", "is no picture that can be read"),
    "zeros": (bytes(1000), "is no picture that can be read"),
    "program": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "no picture that can be read",
    ),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(40), "it is HEIC; convert it"),
    "cut jpeg": (saved(NOISE, "JPEG")[:2000], "is damaged or cut off"),
    "cut png": (saved(NOISE, "PNG")[:2000], "is damaged or cut off"),
    "cut webp": (saved(NOISE, "WEBP")[:2000], "damaged or cut off"),
    "cut tiff": (saved(NOISE, "TIFF", compression="tiff_lzw")[:2000], "that can be read|damaged"),
    "only a head": (saved(NOISE, "PNG")[:40], "its beginning is damaged"),
    "damaged png": (
        saved(NOISE, "PNG")[:500] + b"\xff" * 50 + saved(NOISE, "PNG")[550:],
        "is damaged or cut off",
    ),
    "wide": (png_head(9000, 9000), "LONGTAKE_MAX_PIXELS"),
    "wider": (png_head(12_000, 10_000), "LONGTAKE_MAX_PIXELS|more pixels than can be opened"),
    "bomb": (png_head(60_000, 60_000), "more pixels than can be opened"),
    "float": (
        by_opencv(".tiff", np.float32([[0.5, 2.5]])),
        "has pixels of float32 from 0.5 to 2.5",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_picture_is_one_line(what, tmp_path):
    """Each gives an error of one line with the file's name, from memory and from a file."""
    data, said = BROKEN[what]
    path = tmp_path / "broken.jpg"
    path.write_bytes(data)
    for read in (lambda: decode_picture(data, name=str(path)), lambda: read_picture(path)):
        with pytest.raises(PictureError, match=said) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert "broken.jpg" in str(caught.value)


def test_any_cut_of_a_file_is_one_line_or_a_picture():
    """Whatever is missing at the end of a file, nothing but a `PictureError` comes of it."""
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        data = saved(NOISE.resize((16, 16)), kind)
        for length in range(0, len(data), max(1, len(data) // 40)):
            with contextlib.suppress(PictureError):
                decode_picture(data[:length], name="a")


def test_places_without_a_picture_are_one_line(tmp_path):
    """A missing file, a folder, a pipe and a forbidden file are said, and nothing blocks."""
    os.mkfifo(tmp_path / "pipe")
    for place, said in ((tmp_path / "none.png", "is not there"), (tmp_path, "is a folder")):
        with pytest.raises(PictureError, match=said):
            read_picture(place)
    with pytest.raises(PictureError, match="wanted a file"):
        read_picture(tmp_path / "pipe")
    with pytest.raises(PictureError, match="is not there"):
        read_picture(tmp_path / "a\0b")


def test_the_limit_is_the_callers():
    """A lower limit refuses a picture before its pixels are decoded."""
    data = png_head(200, 100)
    with pytest.raises(PictureError, match=r"'a' is 200 x 100, 20,000 pixels; the limit is 10,000"):
        decode_picture(data, name="a", limits=Limits(max_pixels=10_000))


def test_nothing_but_the_error_is_said(tmp_path):
    """Warnings of Pillow's own, of a large picture and of damaged tags, do not reach a terminal."""
    large, tags = tmp_path / "large.png", tmp_path / "tags.tiff"
    large.write_bytes(png_head(12_000, 10_000))
    tags.write_bytes(saved(NOISE.resize((16, 16)), "TIFF")[:-20])
    code = (
        "import sys, pathlib\n"
        "from samcore.errors import PictureError\n"
        "from samcore.images.picture import read_picture\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        read_picture(pathlib.Path(name))\n"
        "    except PictureError as error:\n"
        "        print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(large), str(tags)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stderr == ""
    assert len(ran.stdout.splitlines()) == 2
