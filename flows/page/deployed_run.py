"""A run that a page gave to a deployment of a Prefect server."""

import contextlib
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.arrivals.video_runs import DEPLOYMENT
from flows.server.deployment import Deployment
from samcore.disk.files import write_json
from samcore.errors import InputError
from tasks.request.prompt_source import read_prompts
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings

_OVER = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
_SAID = {
    "SCHEDULED": "waits for a worker",
    "PENDING": "is about to begin",
    "RUNNING": "runs",
    "PAUSED": "is paused",
    "CANCELLING": "is being stopped",
    "COMPLETED": "is done",
    "FAILED": "failed; the Prefect server says why",
    "CANCELLED": "was stopped",
    "CRASHED": "crashed; continue it, or look at the Prefect server",
}


class DeployedRecord(BaseModel):
    """`deployed.json`: the flow run that tracks, or has tracked, for a page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deployment: str
    id: uuid.UUID
    name: str


class DeployedRun:
    """Starts a flow run of `segment-video`, stops it, and finds it again."""

    def __init__(self, folder: Path) -> None:
        """Look for a run that was started before; no server is asked.

        Args:
            folder: The page's own.
        """
        self._path = folder / "deployed.json"
        self.record: DeployedRecord | None = None
        """Of the run that was started last; None if there never was one."""
        with contextlib.suppress(OSError, ValidationError):
            self.record = DeployedRecord.model_validate_json(self._path.read_bytes())

    def start(self, request: SegmentRequest, deployment: str = DEPLOYMENT) -> None:
        """Start it.

        Args:
            request: What is asked; its prompts' file is read here, as a worker may not see it.
            deployment: FLOW/DEPLOYMENT.

        Raises:
            SegmentationError: The prompts are wrong, there is no such deployment, or the server
                does not answer.
        """
        given = read_prompts(request, load_settings().limits)
        if given is not None and given.spec.mask_files:
            raise InputError(
                "a worker cannot see the mask files that the prompts name; draw these masks in the "
                "page, or run it on this machine"
            )
        source = request.source if "://" in request.source else str(request.source_place)
        asked = request.model_copy(
            update={
                "source": source,
                "further_parts": tuple(map(str, request.further_places)),
                "destination": str(request.destination_place),
                "prompts": None if given is None else given.spec,
            }
        )
        with Deployment(deployment) as found:
            run = found.start(
                {"request": asked.model_dump(mode="json", exclude_defaults=True)},
                key=uuid.uuid4().hex,
                name=f"{request.video_name}: segment",
            )
        self.record = DeployedRecord(deployment=deployment, id=run.id, name=run.name)
        write_json(self._path, self.record)

    def stop(self) -> None:
        """Have its worker stop it.

        Raises:
            ServerAwayError: The server does not answer.
        """
        if self.record is not None:
            with Deployment(self.record.deployment) as deployment:
                deployment.cancel(self.record.id)

    def state(self) -> tuple[bool, str]:
        """Whether it goes on or is to begin, and a line about it.

        Raises:
            ServerAwayError: The server does not answer.
        """
        if self.record is None:
            return False, ""
        with Deployment(self.record.deployment) as deployment:
            run = deployment.find(self.record.id)
        if run is None:
            return False, f"run {self.record.name!r} is not at the Prefect server any more"
        return run.state not in _OVER, f"run {run.name!r} {_SAID.get(run.state, run.state.lower())}"

    def forget(self) -> None:
        """A run on this machine takes its place."""
        self.record = None
        self._path.unlink(missing_ok=True)
