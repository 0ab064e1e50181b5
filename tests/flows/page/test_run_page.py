"""The run of a page, in a real browser: started, watched, stopped, gone on with, found again."""

import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.page import run_process
from flows.page.run_process import RunProcess
from flows.segment_video import segment_video
from samcore.masks.table import MaskReader
from samcore.result.reader import Result
from samcore.scenes import Scene, box_of
from tasks.plan_run import plan_run
from tests.flows.cli.test_command_line import asked_by
from tests.flows.page.browsing import click_lane, looking, opened, pixels_of, to_frame
from tests.flows.page.conftest import Served

FIELDS = {
    "model": "nano",
    "settings": {"device": "cpu"},
    "stop": 48,
    "chunk_frames": 8,
    "overlap": 2,
    "report": False,
}
"""Eight chunks of the clip."""
ROOT = Path(__file__).parents[3]


def held_by(gate: Path) -> str:
    """What a page's run is to execute: the command, which stops after three of its chunks for as
    long as this file is there. However busy the machine, a window sees it at work."""
    gate.touch()
    return f"""
import pathlib, time
from flows.cli import main
from samcore.progress import TRACKING, listening

gate, until = pathlib.Path({str(gate)!r}), time.monotonic() + 240

def hold(progress):
    if progress.what == TRACKING and progress.done > 21:
        while gate.exists() and time.monotonic() < until:
            time.sleep(0.01)

with listening(hold):
    main()
"""


@pytest.fixture
def server_for_runs(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs need not start a Prefect server of their own, which takes longer than tracking."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)


def test_a_run_from_the_page(
    server_for_runs: None,
    chromium: Any,
    clip: Path,
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A box is drawn and Run pressed: prompts.json is written, the command to copy asks for the
    very same result, masks appear while chunks finish, Stop saves, Continue goes on without doing a
    chunk twice, and at the end each frame shows the masks of the published table, and each object
    has its lane."""
    out, gate = tmp_path / "out", tmp_path / "gate"
    monkeypatch.setattr(run_process, "_CODE", held_by(gate))
    with opened(clip, out, **FIELDS) as served, looking(chromium, served) as window:
        page = window.page
        page.wait_for_selector("body[data-run=none]")
        assert page.is_disabled("#run-start")
        assert not page.is_visible("#result-panel")
        x1, y1, x2, y2 = box(scene)
        window.drag((x1, y1), (x2, y2))
        window.saved(1)
        page.wait_for_selector("#run-start:enabled")
        saved = json.loads((out / "prompts.json").read_text())
        assert [one["id"] for one in saved["objects"]] == [1]

        page.click("#run-command summary")
        words = shlex.split(page.inner_text("#command"))
        assert words[:3] == ["longtake", "track", str(clip)]
        assert words[words.index("--prompts") + 1] == str(out / "prompts.json")
        request = asked_by(monkeypatch, words[1:])

        page.click("#run-start")
        page.wait_for_selector("body[data-run=running]")
        assert page.is_hidden("#run-start")
        page.wait_for_selector("body[data-run=running]:not([data-chunks=''],[data-chunks='0'])")
        page.wait_for_selector("body[data-result='0']")
        page.wait_for_selector("body[data-lanes='1']")
        with page.expect_response("**/api/run"):
            page.click("#run-stop")
        gate.unlink()
        page.wait_for_selector("body[data-run=stopped]")
        assert not (out / "manifest.json").exists()
        done = {path: path.stat().st_mtime_ns for path in out.rglob("done.json")}
        assert 1 <= len(done) < 8
        to_frame(window, 3, shows="result")
        half = pixels_of(window)
        assert "goes on from there" in page.inner_text("#run-line")

        assert page.inner_text("#run-start") == "Continue"
        page.press("#stage", "g")
        page.wait_for_selector("body[data-run=done]")
        assert {path: path.stat().st_mtime_ns for path in done} == done
        assert Result(out).key == plan_run.fn(request).key
        with MaskReader(out / "masks.parquet") as reader:
            for frame in (47, 3, 20):
                to_frame(window, frame, shows="result")
                areas = {row.object_id: row.area for row in reader.rows(frame, frame + 1)}
                assert pixels_of(window) == areas
                if frame == 3:
                    assert half == areas
        to_frame(window, 0)
        click_lane(window, 0, 40 / 65)  # of 66 frames
        page.wait_for_selector("body[data-frame='40'][data-result='40']")
        assert page.is_visible(".object.selected")
    assert "stopped" not in RunProcess(out).state().line


_SERVE = """
import json, sys, time
from flows.commands.open_page import what_to_open
from flows.page import run_process
from flows.page.server import PageServer, listen_on
from flows.page.session import open_session
from tasks.settings import load_settings
clip, out, fields, run_process._CODE = sys.argv[1:]
settings = load_settings()
asked = what_to_open(clip, json.loads(fields), out, settings)
with open_session(asked.request, asked.folder, settings=settings) as session:
    with PageServer(session, listen_on(0)).running() as address:
        print(address, flush=True)
        time.sleep(600)
"""


def test_a_killed_server_loses_no_run(
    server_for_runs: None, chromium: Any, clip: Path, scene: Scene, tmp_path: Path
) -> None:
    """The page's server is killed while a run goes on: the window says so, the run goes on to its
    end, and the page that is opened next has the prompts, finds the run and shows its masks."""
    out = tmp_path / "out"
    out.mkdir()
    prompts = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box(scene)}]}]}
    (out / "prompts.json").write_text(json.dumps(prompts))
    gate = tmp_path / "gate"
    command = [sys.executable, "-c", _SERVE, str(clip), str(out), json.dumps(FIELDS), held_by(gate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            there = Served(None, server.stdout.readline().strip(), None)  # type: ignore[arg-type]
            with looking(chromium, there, lost=True) as window:
                page = window.page
                page.press("#stage", "g")
                page.wait_for_selector(
                    "body[data-run=running]:not([data-chunks=''],[data-chunks='0'])"
                )
                server.kill()
                page.wait_for_selector("body[data-lost=yes]")
        finally:
            server.kill()
            gate.unlink()
    found = RunProcess(out)
    assert found.record is not None
    with opened(clip, out, **FIELDS) as served, looking(chromium, served) as window:
        page = window.page
        assert [one.id for one in served.session.project.objects] == [1]
        page.wait_for_selector("body[data-run]")
        assert page.get_attribute("body", "data-run") in ("running", "done")
        page.wait_for_selector("body[data-run=done][data-lanes='1']")
        to_frame(window, 47, shows="result")
    assert RunProcess(out).record == found.record  # nobody started another one
    assert Result(out).manifest.frames == 48


def deploy_and_list() -> list[dict[str, Any]]:
    """Have the deployment that a page's runs go to; gives what its runs are asked for."""
    deployment = RunnerDeployment.from_flow(
        segment_video, name="segment-video", entrypoint_type=EntrypointType.MODULE_PATH
    )
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.apply()]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(deployment_filter=wanted)
    return [run.parameters["request"] for run in runs]


def test_a_run_can_go_to_a_deployment(
    server_for_runs: None, chromium: Any, clip: Path, scene: Scene, tmp_path: Path
) -> None:
    """Where a Prefect server is named, the page offers its workers: the flow run is asked for the
    prompts of the page, its state shows, and Stop cancels it."""
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as aside:  # the browser's event loop is in this thread
        before = aside.submit(deploy_and_list).result()
        with opened(clip, out, **FIELDS) as served, looking(chromium, served) as window:
            page = window.page
            x1, y1, x2, y2 = box(scene)
            window.drag((x1, y1), (x2, y2))
            window.saved(1)
            page.select_option("#run-place", "deploy")
            page.click("#run-start")
            page.get_by_text("waits for a worker").first.wait_for()
            assert page.get_attribute("body", "data-run") == "running"
            asked = [one for one in aside.submit(deploy_and_list).result() if one not in before]
            assert [one["destination"] for one in asked] == [str(out)]
            assert [one["id"] for one in asked[0]["prompts"]["objects"]] == [1]
            page.click("#run-stop")
            page.wait_for_selector("body[data-run=none]")


def test_a_run_that_fails_says_why(
    server_for_runs: None, chromium: Any, clip: Path, scene: Scene, tmp_path: Path
) -> None:
    """What is wrong with a run is on the page in the command's own line."""
    with (
        opened(clip, tmp_path / "out", **{**FIELDS, "stop": 999}) as served,
        looking(chromium, served) as window,
    ):
        x1, y1, x2, y2 = box(scene)
        window.drag((x1, y1), (x2, y2))
        window.saved(1)
        window.press("g")
        window.page.get_by_text("The run has failed.").wait_for()
        assert "frames [0, 999) are not in the video" in window.page.inner_text("#run-plan")


def box(scene: Scene) -> list[float]:
    return list(box_of(scene.masks_nhw(0)[0]))
