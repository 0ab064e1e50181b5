"""One command asks a server for a run for each video, however often it is given."""

import os
from pathlib import Path

import pytest

from flows.cli import run
from flows.commands.run_deployed import with_defaults
from tasks.request.segment_request import validate_request
from tests.servers.deployed import Deployed


def test_a_run_for_each_video_once(
    prefect_api: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Paths are absolute; what the command leaves out is the deployment's. The same command makes
    no other run, another request or another content of the video does; one that cannot be asked
    for does not stop the others."""
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    table = tmp_path / "todo.csv"
    table.write_text("source,stop\na.mp4,\nmissing.mp4,\nb.mp4,9\n")
    deployed = Deployed(model="nano", automatic={"max_objects": 3})
    args = ["track", str(table), "-o", "out", "--deployment", deployed.name]
    box = ("--box", "1:0:10,10,60,60")

    assert run([*args, *box]) == 3
    out = capfd.readouterr().out
    assert "3 videos: 2 new runs of segment-video/" in out
    assert "1 video without a run:\n  missing.mp4: " in out
    first, second = deployed.requests()
    assert first["source"] == str(tmp_path / "a.mp4")
    assert (first["model"], second["stop"]) == ("nano", 9)
    assert first["destination"] == os.path.abspath("out/a.mp4")
    assert first["prompts"]["objects"][0]["id"] == 1

    assert run([*args, *box]) == 3
    assert "  a.mp4: run 'a.mp4: segment', scheduled" in capfd.readouterr().out
    assert deployed.count() == 2

    assert run([*args, "--automatic", "2", "--limit", "1"]) == 0
    assert "left for the next call: 2 videos" in capfd.readouterr().out
    assert deployed.count() == 3

    one = ["track", str(tmp_path / "b.mp4"), "-o", "one", "--deployment", deployed.name, *box]
    assert (run(one), run(one)) == (0, 0)
    (tmp_path / "b.mp4").touch()
    assert run(one) == 0
    assert deployed.count() == 5
    assert run([*one[:-3], "nothing/such", *box]) == 2
    assert "has no deployment 'nothing/such'" in capfd.readouterr().err


def test_what_a_command_leaves_out_is_the_deployments() -> None:
    """Nothing that is not said takes the place of what the deployment says, each setting by itself,
    and credentials, too."""
    request = validate_request(
        source="s3://bucket/a.mp4",
        destination="s3://bucket/out",
        prompts={"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [1, 1, 9, 9]}]}]},
        automatic=None,
        credentials=None,
        settings={"dtype": "float32", "memory_policy_options": {}},
    )
    own = {
        "credentials": "store",
        "model": "nano",
        "settings": {"device": "cpu", "dtype": "auto", "memory_policy_options": {"max_frames": 3}},
    }
    found = with_defaults(request, own)
    assert (found["credentials"], found["model"]) == ("store", "nano")
    assert found["settings"] == {**own["settings"], "dtype": "float32"}
    assert with_defaults(request, {})["settings"] == {"dtype": "float32"}
