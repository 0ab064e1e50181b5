"""Masks that a prompts file names or holds, of every kind that there is."""

import json
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from samcore.limits import Limits
from samcore.masks.rle import encode_masks, run_lengths
from samcore.prompts.file import parse_prompts
from samcore.prompts.options import (
    merge_options,
    parse_mask_option,
    parse_masks_option,
)
from samcore.prompts.resolve import prompts_digest, resolve_prompts
from tests.samcore.prompts.little_video import (
    BOX,
    Video,
    disc,
    frame_at,
    one_object,
    refused,
    resolve,
)


def palette_image(indices, colours):
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([level for colour in colours for level in colour])
    return image


def mask_images():
    """The same disc as different programs would save it."""
    inside = disc()
    gray = inside * 255
    colour = np.stack([inside * 0, inside * 40, inside * 0], axis=2)
    noisy = np.random.default_rng(0).integers(1, 255, (48, 64, 3), dtype=np.uint8)
    return {
        "gray": Image.fromarray(gray),
        "faint gray": Image.fromarray(inside),
        "one bit": Image.fromarray(gray).convert("1"),
        "16 bit": Image.fromarray(inside.astype(np.uint16) * 256),
        "colour": Image.fromarray(colour),
        "opaque colour": Image.fromarray(np.dstack([colour, gray * 0 + 255])),
        "gray with opacity": Image.merge(
            "LA", [Image.fromarray(gray), Image.fromarray(gray * 0 + 255)]
        ),
        "cut-out": Image.fromarray(np.dstack([noisy, gray])),
        "black cut-out": Image.fromarray(np.dstack([noisy * 0, gray])),
        "palette": palette_image(inside * 2, [(0, 0, 0), (9, 9, 9), (128, 0, 0)]),
        "palette, bright ground": palette_image(inside, [(255, 255, 255), (0, 0, 200)]),
        "palette, black second": palette_image(1 - inside, [(255, 255, 255), (0, 0, 0)]),
    }


@pytest.mark.parametrize("kind", list(mask_images()))
def test_masks_of_every_kind_of_png(kind, tmp_path):
    """Gray, colour, palette and transparent pictures give the same mask."""
    mask_images()[kind].save(tmp_path / "mask.png")

    (prompt,) = resolve(one_object({"frame": 0, "mask": "mask.png"}), tmp_path)

    assert prompt.mask_hw is not None
    assert prompt.mask_hw.dtype == np.bool_
    np.testing.assert_array_equal(prompt.mask_hw, disc() == 1)


def numbered(mode="P", *, ids=(1, 2), void=255):
    """A picture of two objects of 60 and 200 pixels and a void border, by their numbers."""
    value_hw = np.zeros((48, 64), np.uint16 if mode == "I;16" else np.uint8)
    value_hw[2:8, 4:14] = ids[0]
    value_hw[20:30, 4:24] = ids[1]
    value_hw[30, 4:24] = void
    image = Image.fromarray(value_hw)
    if mode == "P":
        image.putpalette([level for i in range(256) for level in (i, 255 - i if i else 0, i // 2)])
    return image


def rle(counts, size=(48, 64), **more):
    """A prompt by run lengths."""
    return {"frame": 20, "mask": {"size": list(size), "counts": counts, **more}}


def test_a_mask_may_be_run_lengths(tmp_path):
    """Compressed as COCO does it, or as numbers, the mask is the PNG's, points beside it, too; and
    no file is wanted."""
    Image.fromarray(disc() * 255).save(tmp_path / "disc.png")
    (packed,) = encode_masks(disc()[None] == 1)
    runs = run_lengths(packed).tolist()
    points = {"points": [[30, 20, 1]]}
    wanted = resolve(one_object({"frame": 20, "mask": "disc.png", **points}), tmp_path)

    for counts in (packed.counts.decode(), runs):
        spec = parse_prompts(json.dumps(one_object({**rle(counts), **points})))
        assert spec.mask_files == ()
        got = resolve(spec, tmp_path)
        np.testing.assert_array_equal(got[0].mask_hw, disc() == 1)
        assert prompts_digest(got) == prompts_digest(wanted)
        again = parse_prompts(spec.model_dump_json(exclude_defaults=True))
        assert prompts_digest(resolve(again, tmp_path)) == prompts_digest(wanted)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        pytest.param(rle([0, 3072], size=(64, 48)), ["size", "[48, 64]", "[64, 48]"], id="size"),
        pytest.param(rle([3072]), ["empty"], id="empty"),
        pytest.param(rle([3000, 2]), ["run lengths", "3002"], id="too few pixels"),
        pytest.param(rle([2**62, 2**62]), ["run lengths"], id="huge runs"),
        pytest.param(rle([]), ["run lengths"], id="no runs"),
        pytest.param(rle(""), ["run lengths"], id="no text"),
        pytest.param(rle("abc def"), ["run lengths"], id="any text"),
        pytest.param(rle("\u00e9\u20ac"), ["run lengths"], id="no ASCII"),
        pytest.param(rle([-3, 3075]), ["prompts[0].mask", "COCO RLE", "counts"], id="below 0"),
        pytest.param(rle([1.5, 2]), ["prompts[0].mask", "COCO RLE"], id="half a pixel"),
        pytest.param(rle(7), ["prompts[0].mask", "COCO RLE"], id="a number"),
        pytest.param(rle([3072], size=(48,)), ["prompts[0].mask", "COCO RLE"], id="one side"),
        pytest.param(rle([3072], size=(0, 64)), ["prompts[0].mask", "COCO RLE"], id="no rows"),
        pytest.param(rle([3072], area=3), ["prompts[0].mask", "COCO RLE"], id="unknown key"),
        pytest.param({"frame": 20, "mask": {}}, ["prompts[0].mask", "COCO RLE"], id="nothing"),
        pytest.param({"frame": 20, "mask": 5}, ["prompts[0].mask", "PNG", "RLE"], id="no mask"),
        pytest.param({**rle([0, 3072]), "box": [1, 2, 3, 4]}, ["box and mask"], id="a box, too"),
    ],
)
def test_run_lengths_that_are_no_mask_are_one_clear_line(prompt, words, tmp_path):
    """Of another size, damaged, empty or something else: the line names the object and what is
    wrong."""
    refused(lambda: resolve(one_object(prompt), tmp_path), "object 3", *words)


@pytest.mark.parametrize("mode", ["P", "L", "I;16"])
def test_an_index_is_an_object(mode, tmp_path):
    """Of a PNG with several objects each gets its own pixels, and the void border is nobody's: by
    the object's id, by `#INDEX`, or all at once."""
    ids, void = ((1001, 2002), 10_000) if mode == "I;16" else ((1, 2), 255)
    numbered(mode, ids=ids, void=void).save(tmp_path / "a.png")

    def areas(spec):
        return {p.obj_id: int(p.mask_hw.sum()) for p in resolve(spec, tmp_path)}

    one, other = ids
    by_id = [
        {"id": one, "prompts": [{"frame": 0, "mask": "a.png"}]},
        {"id": other, "prompts": [{"frame": 0, "mask": "a.png"}]},
    ]
    assert areas({"objects": by_id}) == {one: 60, other: 200}
    assert areas(one_object({"frame": 0, "mask": f"a.png#{other}"})) == {3: 200}
    assert areas(one_object({"frame": 0, "mask": f"a.png#{void}"})) == {3: 20}
    assert areas({"masks": [{"time": 2.5, "mask": "a.png"}]}) == {one: 60, other: 200}
    assert areas(merge_options([], [], [], [parse_masks_option("2.5s:a.png")])) == {
        one: 60,
        other: 200,
    }
    options = [parse_mask_option(f"7:4:a.png#{one}")], [parse_masks_option("4:a.png")]
    assert areas(merge_options([], [], *options)) == {7: 60, one: 60, other: 200}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (one_object({"frame": 0, "mask": "a.png"}), ["object 3", "1, 2", "a.png#1"]),
        (one_object({"frame": 0, "mask": "a.png#7"}), ["no object 7", "1, 2"]),
        (one_object({"frame": 0, "mask": "a.png#0"}), ["no object 0", "1, 2"]),
        (one_object({"frame": 0, "mask": "rgb.png#1"}), ["one mask", "leave out #1"]),
        (one_object({"frame": 0, "mask": "void.png"}), ["void pixels only", "255"]),
        (
            one_object({"frame": 0, "mask": "swapped.png"}),
            ["renumbered", "0, 1, 2", "swapped.png#0"],
        ),
        ({"masks": [{"frame": 0, "mask": "swapped.png"}]}, ["masks[0]", "renumbered"]),
        ({"masks": [{"frame": 0, "mask": "a.png#1"}]}, ["masks[0].mask", "a.png#1"]),
        ({"masks": [{"frame": 0, "mask": "a.png", "id": 1}]}, ["'id'", "frame, time, mask"]),
        ({"masks": [{"mask": "a.png"}]}, ["masks[0]", "either frame or time"]),
        ({"masks": [{"frame": 200, "mask": "a.png"}]}, ["masks[0]", "at most 99"]),
        ({"masks": [{"frame": 0}]}, ["masks[0]", "mask is missing"]),
        ({"masks": [{"frame": 0, "mask": "a.png"}] * 2}, ["masks[1]", "object 1", "already"]),
        (
            {
                "objects": [{"id": 2, "prompts": [BOX]}],
                "masks": [{"frame": 0, "mask": "a.png"}],
            },
            ["object 2", "box and mask"],
        ),
        ({"objects": [], "masks": []}, ["at least one object"]),
    ],
)
def test_what_an_index_cannot_be(spec, words, tmp_path):
    """One line says which indices there are, and how to choose one."""
    numbered().save(tmp_path / "a.png")
    numbered().convert("RGB").save(tmp_path / "rgb.png")
    numbered(ids=(255, 255)).save(tmp_path / "void.png")
    swapped = numbered()
    swapped.putpalette([9, 9, 9, 0, 0, 200, 0, 200, 0] + [0, 0, 0] * 253)
    swapped.save(tmp_path / "swapped.png")

    refused(lambda: resolve(spec, tmp_path), *words)


def test_a_soft_mask_is_one_object(tmp_path):
    """Grey edges around a bright middle are no objects of their own."""
    soft = cv2.GaussianBlur(disc() * 255, (5, 5), 1)
    Image.fromarray(soft).save(tmp_path / "soft.png")

    for spec in (
        one_object({"frame": 0, "mask": "soft.png"}),
        {"masks": [{"frame": 0, "mask": "soft.png"}]},
    ):
        (prompt,) = resolve(spec, tmp_path)
        np.testing.assert_array_equal(prompt.mask_hw, soft > 0)


def test_objects_of_a_picture_count_against_the_limit(tmp_path):
    """A picture of 16 bits may hold thousands: it is refused before there is a mask of each."""
    value_hw = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) % 50
    Image.fromarray(value_hw).save(tmp_path / "many.png")
    spec = parse_prompts({"masks": [{"frame": 0, "mask": "many.png"}]})

    def resolve_all():
        resolve_prompts(
            spec,
            video=Video(),
            frame_at=frame_at,
            base_dir=tmp_path,
            start=0,
            stop=1,
            limits=Limits(max_objects=48),
        )

    refused(resolve_all, "49 objects", "LONGTAKE_MAX_OBJECTS")


def test_a_small_file_with_a_huge_picture_is_not_decoded(tmp_path):
    """The size in the header decides before a pixel is decoded, so that a bomb costs nothing."""
    header = struct.pack(">8s4s4sII", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x0d", b"IHDR", 90_000, 90_000)
    (tmp_path / "bomb.png").write_bytes(header + b"\x01\0\0\0\0")
    bomb = one_object({"frame": 0, "mask": "bomb.png"})

    refused(lambda: resolve(bomb, tmp_path), "90000 x 90000", "64 x 48")
