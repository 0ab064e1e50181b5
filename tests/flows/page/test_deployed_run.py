"""A page's run by a deployment of a Prefect server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from flows.page.deployed_run import DeployedRun
from flows.server.deployment import NotDeployedError
from samcore.errors import InputError
from tasks.request.segment_request import SegmentRequest, validate_request
from tests.servers.deployed import Deployed


def test_a_run_goes_to_a_deployment(
    prefect_api: str,
    ask: Callable[..., SegmentRequest],
    prompts_file: Path,
    prompts: dict[str, object],
    tmp_path: Path,
) -> None:
    """The flow run asks for what the page's command asks for, with the prompts in it, as a worker
    sees no file of the page; it is found again by another page, is stopped, and started anew."""
    deployed = Deployed()
    request = ask(prompts=str(prompts_file), force=True)
    run = DeployedRun(tmp_path)
    assert run.state() == (False, "")
    run.start(request, deployed.name)

    (asked,) = deployed.requests()
    assert asked["prompts"]["objects"][0]["prompts"] == prompts["objects"][0]["prompts"]  # type: ignore[index]
    again = validate_request(**asked)
    assert again.model_copy(update={"prompts": request.prompts}) == request
    goes_on, line = DeployedRun(tmp_path).state()
    assert goes_on
    assert line.endswith("waits for a worker")

    DeployedRun(tmp_path).stop()
    assert run.state()[1].endswith(("was stopped", "is being stopped"))
    run.start(request, deployed.name)
    assert deployed.count() == 2
    assert run.record is not None
    with get_client(sync_client=True) as client:
        client.delete_flow_run(run.record.id)
    assert run.state() == (False, f"run {run.record.name!r} is not at the Prefect server any more")
    run.forget()
    assert DeployedRun(tmp_path).record is None


def test_what_no_worker_can_do_is_one_line(
    prefect_api: str, ask: Callable[..., SegmentRequest], tmp_path: Path
) -> None:
    """No such deployment; masks in files of this machine."""
    run = DeployedRun(tmp_path)
    with pytest.raises(NotDeployedError, match="longtake deploy"):
        run.start(ask(), "segment-video/nothing")
    path = tmp_path / "p.json"
    path.write_text(
        json.dumps({"objects": [{"id": 1, "prompts": [{"frame": 0, "mask": "a.png"}]}]})
    )
    with pytest.raises(InputError, match="mask files"):
        run.start(ask(prompts=str(path)))
    assert run.record is None
