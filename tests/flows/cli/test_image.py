"""`longtake image`: what its options ask for."""

import pytest

from flows.cli import run
from flows.images.request import ImagesRequest
from samcore.prompts.automatic import AutomaticPrompts


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (["--detect", "masks", "--max-objects", "3"], {"detector": "masks", "max_objects": 3}),
        (
            ["--detect", "transformers:ORG/NAME", "--text", "red car", "--text", "dog"],
            {"detector": "transformers:ORG/NAME", "text": ["red car", "dog"]},
        ),
        (["--text", "dog", "--model", "sam3"], {"detector": "sam3", "text": ["dog"]}),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_a_detector_and_its_texts_reach_the_request(
    args: list[str], wanted: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One detector, as it is named; texts without one go to the model's own."""
    made: list[ImagesRequest] = []

    def run_images(request: ImagesRequest, *_: object, **__: object) -> None:
        made.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.commands.run_images.run_images", run_images)

    assert run(["image", "a.png", "-o", "out", *args]) == 130
    assert made[0].detector == AutomaticPrompts.model_validate(wanted)
