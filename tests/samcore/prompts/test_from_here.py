"""`from_here` in a prompts file."""

from pathlib import Path

import pytest

from samcore.errors import InputError
from samcore.prompts.file import parse_prompts
from samcore.prompts.kept import from_file, to_file
from samcore.prompts.resolve import prompts_digest, resolve_prompts
from tests.samcore.prompts.little_video import Video, frame_at

BOX = {"frame": 0, "box": [10, 10, 40, 30]}


def prompts_of(*entries, begun=()):
    spec = parse_prompts({"objects": [{"id": 1, "prompts": list(entries)}]})
    return resolve_prompts(
        spec,
        video=Video(),
        frame_at=frame_at,
        base_dir=Path(),
        start=0,
        stop=100,
        begun=begun,
    )


def test_it_is_in_the_key_only_where_it_is_set():
    """Prompts without it have the digest that they always had; with it, another one."""
    plain = prompts_of(BOX, {"frame": 5, "points": [[20, 20, 1]]})
    said = prompts_of(BOX, {"frame": 5, "points": [[20, 20, 1]], "from_here": False})
    held = prompts_of(BOX, {"frame": 5, "points": [[20, 20, 1]], "from_here": True})

    assert prompts_digest(plain) == prompts_digest(said) != prompts_digest(held)
    assert [prompt.from_here for prompt in held] == [False, True]
    assert from_file(to_file(held))[1].from_here
    assert "from_here" not in to_file(plain).model_dump_json(exclude_defaults=True)


def test_an_object_begins_at_its_first_prompt_anyway():
    """Of the first prompt it says nothing, unless the object is there before it."""
    held = {**BOX, "from_here": True}

    assert prompts_digest(prompts_of(held)) == prompts_digest(prompts_of(BOX))
    assert prompts_of(held, begun=(1,))[0].from_here


def test_entries_of_one_frame_agree():
    """Two entries that make one prompt cannot say both; nor can anything but true and false."""
    with pytest.raises(InputError, match=r"object 1, prompts\[2\], frame 5, from_here: .*both"):
        prompts_of(
            BOX,
            {"frame": 5, "points": [[20, 20, 1]], "from_here": True},
            {"frame": 5, "points": [[25, 20, 0]]},
        )
    with pytest.raises(InputError, match="from_here: wanted true or false, got 1"):
        parse_prompts({"objects": [{"id": 1, "prompts": [{**BOX, "from_here": 1}]}]})
