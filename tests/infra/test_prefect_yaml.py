"""The deployments, as a Prefect server has them after `longtake deploy` and `longtake serve`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists

from flows.cli import run as run_command
from flows.recover_runs import recover_runs
from flows.segment_images import segment_images
from flows.segment_video import segment_video
from flows.server.budget import Ledger
from flows.server.deployments import (
    Defaults,
    find_prefect_file,
    read_prefect_file,
    with_defaults,
)
from flows.sweep_bucket import sweep_bucket
from flows.watch_stream import watch_stream
from samcore.errors import InputError
from samcore.models.known import DEFAULT_MODEL
from samcore.prompts.automatic import AutomaticPrompts
from samcore.result.manifest import MANIFEST
from tasks.request.segment_request import SegmentRequest
from tests.servers.forked_commands import WarmCommands

ROOT = Path(__file__).parents[2]
FILE = ROOT / "infra" / "prefect.yaml"


def deployed(name: str) -> DeploymentResponse:
    """A deployment as the server has it."""
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(name)


def test_the_file_is_found_and_names_the_flows() -> None:
    """The checkout's own file is applied, and its flows are there by the names in it."""
    assert find_prefect_file() == FILE
    content = read_prefect_file(FILE)

    named = {spec["name"]: spec["entrypoint"] for spec in content["deployments"]}
    assert named == {
        flow.name: f"{flow.fn.__module__}.{flow.fn.__name__}"
        for flow in (segment_video, segment_images, sweep_bucket, recover_runs, watch_stream)
    }
    for spec in content["deployments"]:
        assert spec["description"]
        assert spec["tags"]
        assert spec["concurrency_limit"]["limit"] >= 1
        assert spec["work_pool"]["name"] == "gpu"


@pytest.mark.slow
def test_prefect_itself_takes_the_file(prefect_api: str, tmp_path: Path) -> None:
    """`prefect deploy --all` takes the file as it is, from a folder that has nothing to do with it,
    once there is a work pool; the server then has both deployments as the file says."""
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name="gpu", type="process"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "prefect", "--no-prompt", "deploy"),
            *("--prefect-file", str(FILE), "--all"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": prefect_api},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    segment, sweep = deployed("segment-video/segment-video"), deployed("sweep-bucket/sweep-bucket")
    for deployment in (segment, sweep):
        assert deployment.work_pool_name == "gpu"
        assert not deployment.pull_steps
        assert "longtake" in deployment.tags
    assert segment.concurrency_options is not None
    assert segment.concurrency_options.collision_strategy.value == "ENQUEUE"
    assert [schedule.active for schedule in sweep.schedules] == [False]
    recovery = deployed("recover-runs/recover-runs")
    assert [schedule.active for schedule in recovery.schedules] == [True] * 3
    assert recovery.work_queue_name == "sweeps"
    # Where no model is named, runs end where the worker has none.
    assert segment.parameters == {"request": {"model": DEFAULT_MODEL}}
    assert (segment.work_queue_name, sweep.work_queue_name) == ("default", "sweeps")
    images = deployed("segment-images/segment-images")
    assert images.parameters == {"request": {"model": DEFAULT_MODEL, "everything": {}}}


@pytest.mark.slow
def test_defaults_go_into_the_deployments(
    automations: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`longtake deploy` makes the work pool; what is said to it is what runs begin with, sets the
    sweep to work, has failed runs told of, and bounds a day's device-hours. Nothing is left in the
    folder, and the address of a webhook is not printed."""
    monkeypatch.chdir(tmp_path)
    pool = f"gpu-{uuid.uuid4().hex[:6]}"
    options = ["--pool", pool, "--model", "nano", "--automatic", "7", "--credentials", "minio"]
    options += ["--automatic-option", "min_area=0.01"]
    places = ["--source", "s3://videos/tapes/", "--destination", "s3://results"]

    told = ["--notify", "https://chat.example.com/secret"]
    assert run_command(["deploy", *options, *places, *told, "--budget", "6.5"]) == 0
    said = capsys.readouterr()
    assert "events and sweeps may use 6.5 device-hours a day (UTC)" in said.out
    assert "failed runs are told to the block webhook/longtake-failed-runs" in said.out
    assert "secret" not in said.out + said.err

    segment, sweep = deployed("segment-video/segment-video"), deployed("sweep-bucket/sweep-bucket")
    assert segment.parameters == {
        "request": {
            "model": "nano",
            "automatic": {"max_objects": 7, "min_area": 0.01},
            "credentials": "minio",
        }
    }
    assert deployed("segment-images/segment-images").parameters == {
        "request": {"model": "nano", "everything": {}, "credentials": "minio"}
    }
    assert sweep.parameters == {
        "source": "s3://videos/tapes/",
        "destination": "s3://results",
        "limit": 10,
        "credentials": "minio",
    }
    assert [schedule.active for schedule in sweep.schedules] == [True]
    assert segment.work_pool_name == sweep.work_pool_name == pool
    with get_client(sync_client=True) as client:
        assert Ledger(client).hours() == 6.5
        Ledger(client).set_hours(None)
        assert client.read_work_pool(pool).type == "process"
        assert client.read_automations_by_name("longtake: a crashed run goes on")
        (tells,) = client.read_automations_by_name("longtake: a failed run is told of")
        assert set(tells.trigger.match_related["prefect.resource.name"]) == {
            *("segment-video", "segment-images", "sweep-bucket", "recover-runs"),
            "watch-stream",
        }
    assert list(tmp_path.iterdir()) == []


def test_an_operators_own_request_is_kept() -> None:
    """What the file says of requests stays, but for what the command line says."""
    content = read_prefect_file(FILE)
    content["deployments"][0]["parameters"] = {"request": {"overlay": True, "model": "nano"}}

    changed = with_defaults(content, Defaults(model="sam2.1-small", prompts="s3://b/p.json"))

    assert changed["deployments"][0]["parameters"]["request"] == {
        "overlay": True,
        "model": "sam2.1-small",
        "prompts": "s3://b/p.json",
    }
    assert content["deployments"][0]["parameters"]["request"]["model"] == "nano"


@pytest.mark.parametrize(
    ("own", "said", "left"),
    [
        ({"automatic": {"max_objects": 9}}, Defaults(prompts="p.json"), {"prompts": "p.json"}),
        (
            {"prompts": "p.json"},
            Defaults(automatic=AutomaticPrompts(max_objects=3)),
            {"automatic": {"max_objects": 3}},
        ),
        (
            {"prompts": "p.json"},
            Defaults(automatic=AutomaticPrompts(detector="motion", detect_every=30)),
            {"automatic": {"detector": "motion", "detect_every": 30}},
        ),
        ({"prompts": "p.json"}, Defaults(model="nano"), {"prompts": "p.json", "model": "nano"}),
    ],
)
def test_the_command_line_wins_over_the_file(
    own: dict[str, Any], said: Defaults, left: dict[str, Any]
) -> None:
    """A file of one's own that says what to track, and another choice on the command line, do not
    make a deployment that says both."""
    content = read_prefect_file(FILE)
    content["deployments"][0]["parameters"] = {"request": own}

    assert with_defaults(content, said)["deployments"][0]["parameters"]["request"] == left


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prompts": "p.json", "automatic": AutomaticPrompts()}, "not both"),
        ({"source": "s3://videos"}, "go together"),
        ({"destination": "s3://results"}, "go together"),
        ({"source": "videos", "destination": "s3://results"}, "--source: wanted s3://"),
        ({"source": "s3://videos", "destination": "results"}, "--destination: wanted s3://"),
    ],
)
def test_deployment_defaults_that_cannot_be_are_refused(values: dict[str, Any], says: str) -> None:
    """They are refused before anything is deployed."""
    with pytest.raises(InputError, match=says):
        Defaults(**values)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read"),
        ("deployments: [", "not YAML"),
        ("- 7", "lists no deployments"),
        ("deployments: 7", "lists no deployments"),
    ],
)
def test_deployment_files_that_cannot_be_are_refused(
    content: str | None, says: str, tmp_path: Path
) -> None:
    """A file of one's own that is none is refused in one line."""
    path = tmp_path / "prefect.yaml"
    if content is not None:
        path.write_text(content)

    with pytest.raises(InputError, match=says) as caught:
        read_prefect_file(path)

    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_the_server_refuses_is_one_line(
    automations: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prefect's reason reaches the person, without its traceback."""
    content = yaml.safe_load(FILE.read_text())
    content["deployments"] = content["deployments"][:1]
    content["deployments"][0]["name"] = "wrong"
    content["deployments"][0]["parameters"] = {"request": {"chunk_frames": "many"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))

    assert run_command(["deploy", "--file", str(path)]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "chunk_frames" in line
    assert "'many' is not of type 'integer'" in line


@pytest.mark.slow
def test_serve_runs_all_deployments_in_one_process(
    automations: None, warm: WarmCommands, ask: Callable[..., SegmentRequest], tmp_path: Path
) -> None:
    """`longtake serve` takes up a run that somebody asks the server for, and its masks are
    published; SIGTERM ends it."""
    prompts = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]}
    request = ask(stop=12, chunk_frames=8, overlap=2, prompts=prompts)
    serving = warm.start(["serve"])
    with get_client(sync_client=True) as client:
        _wait(lambda: "segment-video" in serving.out + serving.err or serving.poll() is not None)
        found = client.read_deployment_by_name("segment-video/segment-video")
        made = client.create_flow_run_from_deployment(
            found.id, parameters={"request": request.model_dump(mode="json", exclude_unset=True)}
        )

        def has_ended() -> bool:
            state = client.read_flow_run(made.id).state
            return serving.poll() is not None or (state is not None and state.is_final())

        _wait(has_ended)
        state = client.read_flow_run(made.id).state
    assert state is not None
    assert state.is_completed(), (state, serving.err)
    assert (request.destination_place / MANIFEST).exists()

    serving.kill(signal.SIGTERM)
    assert serving.wait(60) in (0, 143), serving.err


def _wait(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not found():
        if time.monotonic() > deadline:
            pytest.fail("it came to nothing")
        time.sleep(0.5)
