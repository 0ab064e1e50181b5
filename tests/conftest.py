"""What holds for every test, and what tests of tasks, flows and the command share: one request."""

import json
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter
from tasks.request import SegmentRequest, validate_request

NUM_FRAMES = 66


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`needs_cuda` skips on a laptop, and fails where FAIL_WITHOUT_CUDA=1 says a GPU must be."""
    if torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU; there is none here")
    for item in items:
        if "needs_cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    """No test sees the random numbers that another one drew."""
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Two shapes; both can be seen on frame 0."""
    return Scene(3, num_frames=NUM_FRAMES, height=96, width=128, num_objects=2)


@pytest.fixture(scope="session")
def clip(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as an mp4."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, width=scene.width, height=scene.height, rate=Fraction(24)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
    return path


@pytest.fixture(scope="session")
def prompts(scene: Scene) -> dict[str, object]:
    """A box, a later correction by points, and an object that begins later."""
    box_1 = box_of(scene.masks_nhw(0)[0])
    box_2 = box_of(scene.masks_nhw(10)[1])
    x1, y1, x2, y2 = box_of(scene.masks_nhw(30)[0])
    middle = [(x1 + x2) / 2, (y1 + y2) / 2, 1]
    return {
        "objects": [
            {
                "id": 1,
                "label": "first shape",
                "prompts": [{"frame": 0, "box": list(box_1)}, {"frame": 30, "points": [middle]}],
            },
            {"id": 7, "prompts": [{"frame": 10, "box": list(box_2)}]},
        ]
    }


@pytest.fixture(scope="session")
def prompts_file(prompts: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prompts as a JSON file."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.json"
    path.write_text(json.dumps(prompts))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no checkpoint of this machine, and leave none."""
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


Ask = Callable[..., SegmentRequest]


@pytest.fixture
def ask(clip: Path, prompts: dict[str, object], tmp_path: Path) -> Ask:
    """Make a request for the clip; keywords change it."""
    return lambda **changes: validate_request(
        **{
            "source": str(clip),
            "prompts": prompts,
            "destination": str(tmp_path / "out"),
            "model": "nano",
            "settings": {"device": "cpu"},
            "chunk_frames": 20,
            "overlap": 5,
            **changes,
        }
    )
