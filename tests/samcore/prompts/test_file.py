"""Prompts from files and options, checked and held against a video."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from samcore.errors import InputError
from samcore.limits import Limits
from samcore.prompts.file import parse_prompts
from samcore.prompts.kept import from_file, to_file
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from tests.samcore.prompts.little_video import BOX, disc, one_object, refused, resolve


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
