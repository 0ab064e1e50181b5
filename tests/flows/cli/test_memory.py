"""`longtake memory` and `--warm-start`, as far as they can be wrong before torch is imported."""

from pathlib import Path

import pytest

from flows.cli import run


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["memory", "out", "--frames", "0,x"], "--frames: wanted whole numbers such as 0,40"),
        (["memory", "out", "--objects", "-1"], "--objects: wanted whole numbers such as 0,40"),
        (["memory", "out", "-o", "s3://b/k"], "--output is a path of this machine"),
        (["memory", "out", "--memory-policy", "elephant"], "known are sam2, sam2-stride"),
        (["memory", "missing"], "give the one that was tracked to (-o)"),
        (
            ["track", "v.mp4", "-o", "out", "--warm-start", "s", "--automatic", "3"],
            "warm_start and automatic: wanted one of them, got both",
        ),
        (["track", "v.mp4", "-o", "out", "--warm-start", "missing"], "No such file"),
        (["track", "v.mp4", "-o", "out"], "or --warm-start STATE to begin with those"),
    ],
)
def test_a_mistake_is_one_line(
    args: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, and a line that says what was wrong; nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert run(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())


def test_a_memory_is_in_the_way(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is there is said before the result is looked for."""
    monkeypatch.chdir(tmp_path)
    Path("dog.safetensors").touch()
    assert run(["memory", "missing", "-o", "dog.safetensors"]) == 2
    assert "choose another name, or give --force" in capsys.readouterr().err
