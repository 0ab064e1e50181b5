"""Options of a command say what a prompts file says."""

import pytest
from PIL import Image

from samcore.prompts.options import (
    merge_options,
    parse_box_option,
    parse_mask_option,
    parse_masks_option,
    parse_point_option,
)
from samcore.prompts.resolve import prompts_digest
from tests.samcore.prompts.little_video import BOX, disc, refused, resolve


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
