"""Prompts from files and options, checked and held against a video."""

import json
import math
import struct
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from PIL import Image

from samcore.errors import InputError
from samcore.limits import Limits
from samcore.masks.rle import encode_masks, run_lengths
from samcore.prompts.file import PromptFile, parse_prompts
from samcore.prompts.kept import from_file, to_file
from samcore.prompts.options import (
    merge_options,
    parse_box_option,
    parse_mask_option,
    parse_masks_option,
    parse_point_option,
)
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest, resolve_prompts


@dataclass
class Video:
    """100 frames of 64 x 48 pixels at 10 frames per second."""

    width: int = 64
    height: int = 48
    num_frames: int = 100


def frame_at(seconds):
    if seconds >= 10:
        raise InputError(f"{seconds:g} s is past the end of the video at 10 s")
    return int(seconds * 10)


def resolve(source, tmp_path, *, start=0, stop=100, allow_any_path=False):
    spec = source if isinstance(source, PromptFile) else parse_prompts(source)
    return resolve_prompts(
        spec,
        video=Video(),
        frame_at=frame_at,
        base_dir=tmp_path,
        start=start,
        stop=stop,
        allow_any_path=allow_any_path,
    )


BOX = {"frame": 0, "box": [10, 5, 30, 40]}


def one_object(*prompts, **fields):
    return {"objects": [{"id": 3, "prompts": list(prompts), **fields}]}


def disc():
    """A mask of the video's size."""
    mask_hw = np.zeros((48, 64), np.uint8)
    cv2.circle(mask_hw, (30, 20), 12, 1, -1)
    return mask_hw


def test_the_documented_file(tmp_path):
    """The example of the documentation gives its prompts, by object and frame."""
    Image.fromarray(disc() * 255).save(tmp_path / "dog.png")
    path = tmp_path / "prompts.json"
    path.write_text(
        """\ufeff{"objects": [
          {"id": 7, "prompts": [{"time": 2.5, "box": [1, 2, 64, 48]}]},
          {"id": 1, "label": "dog", "prompts": [
            {"frame": 90, "mask": "dog.png"},
            {"frame": 30, "points": [[50.5, 30, 1], [0, 47, 0]]},
            {"frame": 0, "box": [41, 18, 60.25, 47]}]}
        ]}""",
        encoding="utf-8",
    )

    spec = parse_prompts(path)
    first, clicked, masked, other = resolve(spec, tmp_path)

    assert spec.labels == {1: "dog"}
    assert [(p.obj_id, p.frame_idx) for p in (first, clicked, masked, other)] == [
        (1, 0),
        (1, 30),
        (1, 90),
        (7, 25),
    ]
    assert first.box_xyxy_px == (41, 18, 60.25, 47)
    assert (clicked.points_xy_px, clicked.point_labels) == (((50.5, 30), (0, 47)), (1, 0))
    assert masked.mask_hw is not None
    np.testing.assert_array_equal(masked.mask_hw, disc() == 1)
    assert other.box_xyxy_px == (1, 2, 64, 48)


def test_entries_for_one_frame_go_together(tmp_path):
    """A box and clicks on one frame make one prompt, whether by frame or by time."""
    spec = one_object(
        {"frame": 20, "points": [[1, 2, 0]]},
        {"time": 2.0, "box": [10, 5, 30, 40]},
        {"frame": 20, "points": [[12, 9, 1], [1, 1, 0]]},
        {"frame": 21, "points": [[5, 5, 1]]},
    )

    together, alone = resolve(spec, tmp_path)

    assert (together.obj_id, together.frame_idx) == (3, 20)
    assert together.box_xyxy_px == (10, 5, 30, 40)
    assert together.points_xy_px == ((1, 2), (12, 9), (1, 1))
    assert together.point_labels == (0, 1, 0)
    assert alone.points_xy_px == ((5, 5),)


def test_json_text_and_its_meaning_are_taken_alike():
    """A file's text and what it stands for are the same request, which comes back from JSON."""
    spec = parse_prompts(one_object(BOX, {"time": 1.5, "points": [[1, 2, 1]]}, label="dog"))

    assert (
        parse_prompts(
            json.dumps(one_object(BOX, {"time": 1.5, "points": [[1, 2, 1]]}, label="dog"))
        )
        == spec
    )
    assert parse_prompts(spec.model_dump_json(exclude_none=True)) == spec


def refused(action, *words):
    """The action is refused in one line that holds all the words."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert word in message, message
    return message


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param({}, ["objects is missing"], id="nothing"),
        pytest.param([], ["{...}", "[]"], id="a list"),
        pytest.param({"objects": []}, ["objects", "at least one", "got 0"], id="no objects"),
        pytest.param({"objectz": [BOX]}, ["unknown key 'objectz'", "objects"], id="misspelt top"),
        pytest.param({"objects": [3]}, ["objects[0]", "{...}", "3"], id="no object"),
        pytest.param(
            {"objects": [{"id": i, "prompts": [BOX]} for i in range(10_001)]},
            ["10,001 objects", "limit is 10,000", "LONGTAKE_MAX_OBJECTS"],
            id="too many objects",
        ),
        pytest.param(
            {"objects": [{"id": 4, "prompts": [BOX]}] * 2}, ["object 4", "twice"], id="id twice"
        ),
        pytest.param({"objects": [{"prompts": [BOX]}]}, ["objects[0]", "id"], id="no id"),
        pytest.param(
            one_object(BOX, id=-1), ["object -1, id", "0 to 2147483647"], id="negative id"
        ),
        pytest.param(one_object(BOX, id=2**31), ["id", "0 to 2147483647"], id="huge id"),
        pytest.param(one_object(BOX, id="1"), ["id", "whole number", "'1'"], id="id as text"),
        pytest.param(one_object(BOX, id=True), ["id", "True"], id="id true"),
        pytest.param(
            one_object(BOX, colour=1), ["object 3", "'colour'", "label"], id="unknown key"
        ),
        pytest.param(
            one_object(BOX, label="a\nb"), ["object 3, label", "line"], id="label of lines"
        ),
        pytest.param(one_object(BOX, label="x" * 201), ["label", "200"], id="long label"),
        pytest.param(one_object(), ["object 3, prompts", "at least one"], id="no prompts"),
        pytest.param(
            one_object({"frame": 1}), ["prompts[0]", "box, points or a mask"], id="empty prompt"
        ),
        pytest.param(
            one_object({"frame": 1, "points": []}), ["box, points or a mask"], id="no points"
        ),
        pytest.param(
            one_object(BOX, {"frame": 1, "boxx": [1, 2, 3, 4]}),
            ["object 3, prompts[1]", "'boxx'", "frame, time, box, points, mask"],
            id="misspelt box",
        ),
        pytest.param(
            one_object({"box": [1, 2, 3, 4]}), ["frame or time", "neither"], id="no frame"
        ),
        pytest.param(
            one_object({**BOX, "time": 1}), ["frame or time", "both"], id="frame and time"
        ),
        pytest.param(
            one_object({**BOX, "frame": -1}), ["prompts[0].frame", "-1"], id="frame below 0"
        ),
        pytest.param(one_object({**BOX, "frame": 1.5}), ["frame", "1.5"], id="half a frame"),
        pytest.param(
            one_object({"time": -2, "box": [1, 2, 3, 4]}), ["time", "-2"], id="time below 0"
        ),
        pytest.param(
            one_object({"time": math.inf, "box": [1, 2, 3, 4]}), ["time", "inf"], id="time infinite"
        ),
        pytest.param(
            one_object({"frame": 0, "box": [1, 2, 3]}), ["box", "four numbers"], id="three numbers"
        ),
        pytest.param(
            one_object({"frame": 0, "box": [1, 2, math.nan, 3]}), ["box[2]", "nan"], id="box of NaN"
        ),
        pytest.param(
            one_object({"frame": 0, "box": [1, 2, "30", 40]}), ["box[2]", "'30'"], id="box of text"
        ),
        pytest.param(
            one_object({"frame": 0, "box": [30, 5, 10, 40]}), ["box", "inside out"], id="inside out"
        ),
        pytest.param(
            one_object({"frame": 0, "box": [10, 5, 10, 40]}), ["box", "empty"], id="empty box"
        ),
        pytest.param(
            one_object({"frame": 0, "points": [[1, 2]]}),
            ["points[0]", "[x, y, label]"],
            id="no label",
        ),
        pytest.param(
            one_object({"frame": 0, "points": [[1, 2, 2]]}),
            ["points[0]", "1 on", "0 off", "2"],
            id="label 2",
        ),
        pytest.param(
            one_object({"frame": 0, "points": [[math.nan, 2, 1]]}),
            ["points[0]", "nan"],
            id="point NaN",
        ),
        pytest.param(
            one_object({**BOX, "mask": "a.png"}),
            ["prompts[0]", "box and mask", "both"],
            id="box and mask",
        ),
        pytest.param(
            one_object({"frame": 0, "mask": "x" * 5000}),
            ["prompts[0].mask", "1024"],
            id="long name",
        ),
        pytest.param(
            one_object({"frame": 0, "mask": "a\0b"}), ["mask", "'a\\x00b'"], id="NUL in the name"
        ),
    ],
)
def test_a_bad_request_is_one_clear_line(raw, words):
    """Each mistake names the object, the field and the limit, before any video is opened."""
    refused(lambda: parse_prompts(raw), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param('{"objects": [\n  {"id": 1,}]}', ["line 2 column 12"], id="comma too many"),
        pytest.param("", ["line 1 column 1"], id="empty"),
        pytest.param('{"objects": [], "objects": []}', ["'objects'", "twice"], id="key twice"),
        pytest.param("[" * 100_000, ["not valid JSON"], id="deep"),
        pytest.param("1" * 5000, ["not valid JSON"], id="huge number"),
        pytest.param(
            '{"objects": [{"id": 3, "prompts": [{"frame": 0, "box": [0, 0, NaN, 1e999]}]}]}',
            ["object 3", "box[2]", "nan"],
            id="NaN",
        ),
    ],
)
def test_bad_json_is_one_clear_line(text, words, tmp_path):
    """What is not JSON is refused with its place, and its file where there is one."""
    refused(lambda: parse_prompts(text), *words)
    path = tmp_path / "prompts.json"
    path.write_text(text)
    message = refused(lambda: parse_prompts(path))
    assert str(path) in message or "object 3" in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """Missing, a folder, no text or too large: one line with the file's name."""
    path = tmp_path / "prompts.json"
    refused(lambda: parse_prompts(path), "there is no prompts file", str(path))
    refused(lambda: parse_prompts(tmp_path), "there is no prompts file")
    path.write_bytes(b'{"objects": "\xff"}')
    refused(lambda: parse_prompts(path), str(path), "UTF-8", "byte 13")
    path.write_bytes(b" " * (2**20 + 1))
    limits = Limits(max_prompts_bytes=2**20)
    refused(lambda: parse_prompts(path, limits=limits), str(path), "1,048,576")


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        pytest.param(
            [{**BOX, "frame": 100}], ["prompts[0], frame", "99", "100"], id="past the end"
        ),
        pytest.param(
            [{**BOX, "frame": 9}], ["10 to 79", "9", "frames to track"], id="before start"
        ),
        pytest.param([{**BOX, "frame": 80}], ["10 to 79", "80"], id="after stop"),
        pytest.param(
            [{"time": 10, "box": [1, 2, 3, 4]}],
            ["time", "past the end", "10 s"],
            id="time past the end",
        ),
        pytest.param(
            [{"time": 8.5, "box": [1, 2, 3, 4]}],
            ["time", "10 to 79", "8.5 s", "85"],
            id="time after stop",
        ),
        pytest.param(
            [{"frame": 20, "box": [1, 2, 66, 40]}],
            ["box", "64", "48", "[1, 2, 66, 40]"],
            id="box too wide",
        ),
        pytest.param(
            [{"frame": 20, "box": [1, 2, 3, 49.5]}], ["box", "49.5", "2%"], id="box too low"
        ),
        pytest.param([{"frame": 20, "box": [-2, 2, 3, 4]}], ["box", "-2"], id="box too far left"),
        pytest.param(
            [{"frame": 20, "box": [1, -0.5, 3, 0]}], ["box", "-0.5"], id="box in the margin only"
        ),
        pytest.param(
            [{"frame": 20, "points": [[1, 1, 1], [66, 2, 1]]}],
            ["points[1]", "63", "66", "2%"],
            id="point outside",
        ),
        pytest.param(
            [{"frame": 20, "points": [[1, -1.5, 1]]}], ["points[0]", "-1.5"], id="point above"
        ),
        pytest.param(
            [{"frame": 20, "points": [[1, 1, 0]]}, {"frame": 21, "points": [[1, 1, 1]]}],
            ["frame 20", "points", "label 1"],
            id="only points off the object",
        ),
        pytest.param(
            [{"frame": 20, "box": [1, 2, 3, 4]}] * 2,
            ["prompts[1]", "frame 20, box", "already"],
            id="two boxes",
        ),
        pytest.param([{"frame": 20, "mask": "disc.png"}] * 2, ["mask", "already"], id="two masks"),
        pytest.param(
            [{"frame": 20, "box": [1, 2, 3, 4]}, {"time": 2, "mask": "disc.png"}],
            ["frame 20", "box and mask"],
            id="a box and then a mask",
        ),
        pytest.param(
            [{"frame": 20, "mask": "none.png"}], ["mask", "no mask file"], id="no mask file"
        ),
        pytest.param([{"frame": 20, "mask": "."}], ["mask", "no mask file"], id="a folder"),
        pytest.param(
            [{"frame": 20, "mask": "text.png"}], ["mask", "not a PNG"], id="not a picture"
        ),
        pytest.param([{"frame": 20, "mask": "cut.png"}], ["mask", "cannot read"], id="cut short"),
        pytest.param([{"frame": 20, "mask": "small.png"}], ["32 x 24", "64 x 48"], id="mask size"),
        pytest.param([{"frame": 20, "mask": "black.png"}], ["mask", "empty"], id="empty mask"),
        pytest.param([{"frame": 20, "mask": "../a.png"}], ["mask", "outside"], id="folder above"),
        pytest.param([{"frame": 20, "mask": "/etc/hosts"}], ["mask", "outside"], id="absolute"),
        pytest.param(
            [{"frame": 20, "mask": "link.png"}], ["mask", "outside"], id="link to outside"
        ),
    ],
)
def test_a_prompt_that_does_not_fit_the_video_is_one_clear_line(prompts, words, tmp_path):
    """Whatever lies outside the video names the object, the field and the limit."""
    base_dir = tmp_path / "prompts"
    base_dir.mkdir()
    outside = tmp_path / "a.png"
    Image.fromarray(disc() * 255).save(outside)
    Image.fromarray(disc() * 255).save(base_dir / "disc.png")
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(base_dir / "black.png")
    Image.fromarray(np.ones((24, 32), np.uint8)).save(base_dir / "small.png")
    (base_dir / "cut.png").write_bytes((base_dir / "disc.png").read_bytes()[:70])
    (base_dir / "text.png").write_text("not a picture, but long enough to hold a header")
    (base_dir / "link.png").symlink_to(outside)

    raw = one_object(*prompts, label="dog")
    refused(lambda: resolve(raw, base_dir, start=10, stop=80), "object 3 (dog)", *words)


def test_a_person_may_name_any_file(tmp_path):
    """Files that were named on the command line may lie anywhere."""
    Image.fromarray(disc() * 255).save(tmp_path / "a.png")
    base_dir = tmp_path / "elsewhere"
    base_dir.mkdir()
    for name in (str(tmp_path / "a.png"), "../a.png"):
        (prompt,) = resolve(one_object({"frame": 0, "mask": name}), base_dir, allow_any_path=True)
        assert prompt.mask_hw is not None
        assert prompt.mask_hw.sum() == disc().sum()


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


def test_kept_prompts_are_a_prompts_file(tmp_path):
    """What a tracker is told comes back to the last bit, and held against the video it is the
    same, labels included."""
    mask_hw = disc() == 1
    prompts = (
        Prompt(1, 4, (0.1, 2.0, 63.7, 48.0), ((1 / 3, 40.0), (2.0, 3.0)), (1, 0)),
        Prompt(1, 9, mask_hw=mask_hw, points_xy_px=((30.0, 20.0),), point_labels=(1,)),
        Prompt(7, 0, mask_hw=np.ones_like(mask_hw)),
    )

    spec = parse_prompts(to_file(prompts, {7: "sky"}).model_dump_json(exclude_defaults=True))

    assert spec.labels == {7: "sky"}
    for back in (from_file(spec), resolve(spec, tmp_path)):
        assert [(p.obj_id, p.frame_idx) for p in back] == [(1, 4), (1, 9), (7, 0)]
        assert prompts_digest(back) == prompts_digest(prompts)
    with pytest.raises(InputError, match="another way"):
        from_file(parse_prompts(one_object({"frame": 1, "mask": "a.png"})))


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


def test_what_is_a_little_outside_is_cut_off(tmp_path):
    """A box or point outside by at most 2 % of the side is moved to the edge, and is the same
    request as one that was drawn there."""
    (outside,) = resolve(
        one_object({"frame": 0, "box": [-1.28, -0.5, 65.28, 48.5], "points": [[64, -0.9, 1]]}),
        tmp_path,
    )
    (inside,) = resolve(
        one_object({"frame": 0, "box": [0, 0, 64, 48], "points": [[63, 0, 1]]}), tmp_path
    )

    assert outside.box_xyxy_px == inside.box_xyxy_px == (0, 0, 64, 48)
    assert outside.points_xy_px == inside.points_xy_px == ((63, 0),)
    assert prompts_digest([outside]) == prompts_digest([inside])


def test_a_small_file_with_a_huge_picture_is_not_decoded(tmp_path):
    """The size in the header decides before a pixel is decoded, so that a bomb costs nothing."""
    header = struct.pack(">8s4s4sII", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x0d", b"IHDR", 90_000, 90_000)
    (tmp_path / "bomb.png").write_bytes(header + b"\x01\0\0\0\0")
    bomb = one_object({"frame": 0, "mask": "bomb.png"})

    refused(lambda: resolve(bomb, tmp_path), "90000 x 90000", "64 x 48")


def test_options_say_what_the_file_says(tmp_path):
    """A command line gives the prompts of the file with the same content."""
    Image.fromarray(disc() * 255).save(tmp_path / "a:b.png")
    options = merge_options(
        [parse_box_option("3:0:10,5,30,40"), parse_box_option("1:2.5s:1,2,3.5,4")],
        [parse_point_option("3:0:12,9"), parse_point_option("3:0:1,1,0")],
        [parse_mask_option("9:4:a:b.png")],
    )
    spec = {
        "objects": [
            {"id": 1, "prompts": [{"time": 2.5, "box": [1, 2, 3.5, 4]}]},
            {"id": 3, "prompts": [{**BOX, "points": [[12, 9, 1], [1, 1, 0]]}]},
            {"id": 9, "prompts": [{"frame": 4, "mask": "a:b.png"}]},
        ]
    }

    got, wanted = resolve(options, tmp_path), resolve(spec, tmp_path)

    assert prompts_digest(got) == prompts_digest(wanted)
    assert [(p.obj_id, p.frame_idx) for p in got] == [(1, 25), (3, 0), (9, 4)]


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        pytest.param(parse_box_option, "", [], id="nothing"),
        pytest.param(parse_box_option, "1:0", [], id="no box"),
        pytest.param(parse_box_option, "dog:0:1,2,3,4", [], id="id of letters"),
        pytest.param(parse_box_option, "1:0:1,2,3", ["3 numbers"], id="three numbers"),
        pytest.param(parse_box_option, "1:0:a,b,c,d", [], id="letters"),
        pytest.param(parse_box_option, "1:0:nan,2,3,4", ["nan"], id="NaN"),
        pytest.param(parse_box_option, "1:0:9,2,3,4", ["inside out"], id="inside out"),
        pytest.param(parse_box_option, "1:-1:1,2,3,4", ["12.5s"], id="frame below 0"),
        pytest.param(parse_box_option, "1:1.5:1,2,3,4", ["12.5s"], id="time without s"),
        pytest.param(
            parse_box_option, f"1:{'9' * 5000}:1,2,3,4", ["too large"], id="frame of digits"
        ),
        pytest.param(parse_box_option, f"{'9' * 5000}:1:1,2,3,4", ["too large"], id="id of digits"),
        pytest.param(parse_box_option, "2147483648:0:1,2,3,4", ["2147483647"], id="huge id"),
        pytest.param(parse_point_option, "1:0:5", ["1 number"], id="half a point"),
        pytest.param(parse_point_option, "1:0:5,6,2", ["1 (on", "0 (off"], id="label 2"),
        pytest.param(parse_mask_option, "1:0:", [], id="no file"),
        pytest.param(parse_masks_option, "a.png", ["FRAME:FILE"], id="no frame"),
        pytest.param(parse_masks_option, "x:a.png", ["12.5s"], id="no number of a frame"),
        pytest.param(parse_masks_option, "0:a.png#1", ["a.png#1"], id="one index of all"),
    ],
)
def test_a_bad_option_is_quoted(parse, text, words):
    """The error quotes the option as it was given and shows the form that was wanted."""
    refused(lambda: parse(text), "--", repr(text)[:40], "wanted ", "FRAME:", "such as", *words)


def test_no_options_is_an_error():
    """A command without any prompt says what to give."""
    refused(lambda: merge_options([], [], []), "at least one box, point or mask")


def test_the_digest_is_of_the_content():
    """Order and spelling do not matter; any number, pixel or click that differs does."""
    mask_hw = disc() == 1
    prompts = [
        Prompt(1, 0, box_xyxy_px=(1, 2, 3, 4)),
        Prompt(1, 9, points_xy_px=((1, 2), (3, 4)), point_labels=(1, 0)),
        Prompt(2, 0, mask_hw=mask_hw),
    ]
    other_pixel = mask_hw.copy()
    other_pixel[0, 0] = True
    changed = [
        Prompt(1, 0, box_xyxy_px=(1, 2, 3, 4.0000001)),
        Prompt(1, 1, box_xyxy_px=(1, 2, 3, 4)),
        Prompt(2, 0, box_xyxy_px=(1, 2, 3, 4)),
        Prompt(1, 9, points_xy_px=((1, 2), (3, 4)), point_labels=(1, 1)),
        Prompt(2, 0, mask_hw=other_pixel),
        Prompt(2, 0, mask_hw=mask_hw.reshape(64, 48)),
    ]

    digest = prompts_digest(prompts)

    assert digest == prompts_digest(prompts[::-1])
    same = Prompt(1, 0, box_xyxy_px=(1.0, np.float64(2), 3, 4))
    assert prompts_digest([same, *prompts[1:]]) == digest
    zeros = [Prompt(1, 0, box_xyxy_px=(x, 0, 3, 4)) for x in (0.0, -0.0)]
    assert prompts_digest(zeros[:1]) == prompts_digest(zeros[1:])
    digests = {digest, prompts_digest(prompts[:2]), prompts_digest([])}
    assert len(digests) == 3
    alone = [prompts_digest([prompt]) for prompt in (*prompts, *changed)]
    assert len(set(alone)) == len(alone)
