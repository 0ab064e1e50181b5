"""What is known early to be wrong is said early: no server is started, and no frame decoded."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import flows.commands.run_local as run_local
from flows.cli import run as longtake
from samcore.errors import StorageError
from samcore.models.known import NANO_DIR
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.sources import opened as sources

Ask = Callable[..., SegmentRequest]

BOX = {"frame": 0, "box": [10, 10, 60, 60]}
NANO_CONFIG = str(NANO_DIR / "config.yaml")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was begun: a server, or the scan of a video."""
    told: list[str] = []

    class Server:
        def __init__(self, cache_dir: Path, *, linger_s: float) -> None:
            told.append("server")
            raise StorageError("no server in this test")

    def open_video(*args: object, **options: object) -> None:
        told.append("scan")
        raise StorageError("no scan in this test")

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(run_local, "EmbeddedServer", Server)
    monkeypatch.setattr(sources, "open_video", open_video)
    return told


@pytest.fixture
def track(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run `longtake track`; its exit code, and what it says."""

    def run(*args: str, source: str = str(clip), objects: int = 1) -> tuple[int, str]:
        spec = {"objects": [{"id": place + 1, "prompts": [BOX]} for place in range(objects)]}
        prompts = tmp_path / "prompts.json"
        prompts.write_text(json.dumps(spec))
        known = ["track", source, "-o", str(tmp_path / "out"), "--prompts", str(prompts)]
        code = longtake([*known, *args])
        return code, capfd.readouterr().err

    return run


Track = Callable[..., tuple[int, str]]


def test_a_good_request_gets_as_far_as_the_server(begun: list[str], track: Track) -> None:
    """So that the tests below look at the right place."""
    code, said = track("--model", "nano")
    assert (code, begun) == (2, ["server"]), said


@pytest.mark.parametrize("content", [None, b""])
def test_a_video_that_is_not_there(
    begun: list[str], track: Track, tmp_path: Path, content: bytes | None
) -> None:
    """Missing or empty."""
    video = tmp_path / "video.mp4"
    if content is not None:
        video.write_bytes(content)
    code, said = track("--model", "nano", source=str(video))
    assert (code, begun, said.count("\n")) == (2, [], 1)
    assert "video.mp4" in said


def _truncated_pt(path: Path) -> None:
    torch.save({"model": load_file(NANO_DIR / "nano.safetensors")}, path)
    path.write_bytes(path.read_bytes()[:-1000])


def _truncated(path: Path) -> None:
    path.write_bytes((NANO_DIR / "nano.safetensors").read_bytes()[:-1000])


def _of_another_model(path: Path) -> None:
    weights = load_file(NANO_DIR / "nano.safetensors")
    weights.popitem()
    save_file(weights, path)


def _nan(path: Path) -> None:
    weights = load_file(NANO_DIR / "nano.safetensors")
    name = next(name for name, weight in weights.items() if weight.is_floating_point())
    weights[name] = weights[name] * float("nan")
    save_file(weights, path)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("cut.pt", _truncated_pt),
        ("cut.safetensors", _truncated),
        ("other.safetensors", _of_another_model),
        ("nan.safetensors", _nan),
        ("text.pt", lambda path: path.write_text("these are no weights")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_that_cannot_be_used(
    begun: list[str], track: Track, tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    """Truncated, of another architecture, without numbers, or no checkpoint at all."""
    make(tmp_path / name)
    code, said = track("--checkpoint", str(tmp_path / name), "--config", NANO_CONFIG)
    assert (code, begun, said.count("\n")) == (2, [], 1), said
    assert name in said


def test_a_machine_that_cannot_compile(begun: list[str], track: Track) -> None:
    """Without a C++ compiler, or with the engine that is not to be compiled."""
    with importlib.import_module("torch._inductor.config").patch({"cpp.cxx": ("no-cxx",)}):
        code, said = track("--model", "nano", "--device", "cpu", "--compile")
    assert (code, begun, said.count("\n")) == (2, [], 1), said
    assert "needs a C++ compiler on a CPU, and there is none here: apt-get install g++" in said
    code, said = track("--model", "nano", "--compile", "--plain-engine")
    assert (code, begun, said.count("\n")) == (2, [], 1), said


@pytest.mark.parametrize(
    ("name", "limit"), [("davis-png", 254), ("mots-txt", 999), ("mots-png", 999)]
)
def test_more_objects_than_a_format_holds(
    begun: list[str], track: Track, name: str, limit: int
) -> None:
    """As many as it holds get further."""
    code, said = track("--model", "nano", "--format", name, objects=limit + 1)
    assert (code, begun, said.count("\n")) == (2, [], 1), said
    assert str(limit) in said
    assert str(limit + 1) in said
    track("--model", "nano", "--format", name, objects=limit)
    assert begun == ["server"]


@pytest.mark.parametrize("wrong", ["credentials", "bucket", "video", "destination"])
def test_what_a_bucket_refuses(
    begun: list[str],
    track: Track,
    clip: Path,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
) -> None:
    """A secret key that is wrong, a bucket that is not there, and a video that is not in it."""
    source, args = f"s3://{bucket}/video.mp4", ["--model", "nano"]
    if wrong == "credentials":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    elif wrong == "bucket":
        source = "s3://no-such-bucket-here/video.mp4"
    elif wrong == "destination":
        source, args = str(clip), [*args, "-o", "s3://no-such-bucket-here/out"]
    code, said = track(*args, source=source)
    assert (code, begun, said.count("\n")) == (2, [], 1), said
    assert "s3://" in said


def test_a_worker_checks_before_it_scans(begun: list[str], ask: Ask, tmp_path: Path) -> None:
    """A deployed run has no command before it: its first task makes the same checks."""
    path = tmp_path / "cut.safetensors"
    _truncated(path)
    with pytest.raises(LookupError, match=r"cut\.safetensors"):
        plan_run.fn(ask(model=None, checkpoint=str(path), config=NANO_CONFIG))
    assert begun == []
