"""A request becomes the command line that asks for it."""

from pathlib import Path
from typing import Any

import pytest

from flows.cli import run
from flows.cli.command_line import track_words
from samcore.config import TrackSettings
from tasks.request.segment_request import SegmentRequest, validate_request
from tests.flows.cli.test_options import ASKED


def asked_by(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> SegmentRequest:
    """The request that a command line makes."""
    made: list[SegmentRequest] = []

    def run_local(request: SegmentRequest, *_: object, **__: object) -> None:
        made.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.commands.run_local.run_local", run_local)
    assert run(words) == 130
    return made[0]


@pytest.mark.parametrize("name", ASKED)
def test_a_command_line_asks_for_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Each option that is given in a field comes back as the same request, with prompts in a file
    whose name has a blank in it."""
    args, value = ASKED[name]
    asked = {name: value} | ({"retire_after": 30} if "--retire-after" in args else {})
    fields: dict[str, Any] = {"source": "a b.mp4", "destination": "out", "prompts": "p q.json"}
    settings = {key: asked.pop(key) for key in tuple(asked) if key in TrackSettings.model_fields}
    fields |= {**asked, "settings": settings}

    request = validate_request(**fields)

    words = track_words(request)

    assert words[:2] == ["track", "a b.mp4"]
    assert asked_by(monkeypatch, words) == request


def test_constants_of_a_policy_are_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory policy's constants come back, too."""
    settings = {"memory_policy": "samurai", "memory_policy_options": {"stable_iou": 0.5}}
    fields = {"source": "v.mp4", "destination": "out", "prompts": "p.json", "settings": settings}
    words = track_words(validate_request(**fields))
    assert "stable_iou=0.5" in words
    found = asked_by(monkeypatch, words).settings
    assert found.memory_policy_options == {"stable_iou": 0.5}


def test_what_no_option_says_is_refused() -> None:
    """A field without an option is not left out in silence."""
    with pytest.raises(ValueError, match="no option for source_version"):
        track_words(
            validate_request(source="v.mp4", destination="o", prompts="p.json", source_version="3")
        )
