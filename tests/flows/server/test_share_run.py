"""Runs that share the work of one: as many as were asked for, and each once."""

import uuid

import pytest

from flows.segment_images import segment_images
from flows.server.deployment import share_run
from tests.servers.deployed import Deployed

PARAMETERS = {"request": {"pictures": ["s3://b/new/"], "destination": "s3://b/out", "workers": 1}}


@pytest.mark.usefixtures("prefect_api")
def test_helpers_are_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the run is begun, as after a crash; without a deployment there are none."""
    deployed = Deployed(segment_images)
    runtime = {
        "FLOW_RUN__ID": str(uuid.uuid4()),
        "FLOW_RUN__FLOW_NAME": "segment-images",
        "FLOW_RUN__NAME": "new: segment",
    }
    for name, value in runtime.items():
        monkeypatch.setenv(f"PREFECT__RUNTIME__{name}", value)
    share_run(2, PARAMETERS)
    assert deployed.count() == 0

    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__NAME", deployed.name.partition("/")[2])
    share_run(2, PARAMETERS)
    share_run(2, PARAMETERS)

    assert deployed.requests() == [PARAMETERS["request"]] * 2
