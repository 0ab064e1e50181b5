"""A deployment at the tests' Prefect server whose runs nobody executes: they are there to count."""

import uuid
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Failed
from prefect.types.entrypoint import EntrypointType

from flows.segment_video import segment_video


class Deployed:
    """`segment-video`, or another flow, deployed under a name of its own."""

    def __init__(self, flow: Flow[..., Any] = segment_video, /, **request: Any) -> None:
        """Deploy it.

        Args:
            flow: Which one.
            request: What requests begin with.
        """
        deployment = RunnerDeployment.from_flow(
            flow,
            name=f"test-{uuid.uuid4().hex[:8]}",
            parameters={"request": request} if request else {},
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        self.id = deployment.apply()
        self.name = f"{flow.name}/{deployment.name}"

    def runs(self) -> list[FlowRun]:
        """All runs that there are, the newest last."""
        of_this = DeploymentFilter(id=DeploymentFilterId(any_=[self.id]))
        runs: list[FlowRun] = []
        with get_client(sync_client=True) as client:
            while page := client.read_flow_runs(
                deployment_filter=of_this, limit=200, offset=len(runs)
            ):
                runs += page
        return sorted(runs, key=lambda run: str(run.created))

    def count(self) -> int:
        """How many there are."""
        with get_client(sync_client=True) as client:
            answer = client.request(
                "POST",
                "/flow_runs/count",
                json={"deployments": {"id": {"any_": [str(self.id)]}}},
            )
        return int(answer.json())

    def requests(self) -> list[dict[str, Any]]:
        """What they are asked for, in their order."""
        return [run.parameters["request"] for run in self.runs()]

    def ask(self, **request: Any) -> FlowRun:
        """Ask for a run as a person does, by the API; the form does so, too."""
        with get_client(sync_client=True) as client:
            return client.create_flow_run_from_deployment(self.id, parameters={"request": request})

    def leave(self, run: FlowRun, state: State[Any]) -> None:
        """Put a run into the state in which dead workers leave one."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, state, force=True)

    def fail(self, run: FlowRun) -> None:
        """End a run as one ends that cannot work."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Failed(message="by the test"), force=True)
