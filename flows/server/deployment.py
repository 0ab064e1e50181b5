"""Starting runs of a deployment at a Prefect server, once for each key."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import AwaitingRetry, Cancelling

from samcore.errors import InputError, SegmentationError
from tasks.settings import check_server_address

_T = TypeVar("_T")
_FRESH_S = 10.0
"""Seconds for which a deployment is taken to be as it was read."""
_TOKEN = "longtake.token"
_PAGE = 200


class ServerAwayError(SegmentationError, ConnectionError):
    """The Prefect server does not answer, or not now: the same call may work later."""


class NotDeployedError(SegmentationError, LookupError):
    """The Prefect server has no such deployment."""


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A flow run that there is now."""

    name: str
    """As people see it."""
    is_new: bool
    """Made by this call; False: it was there under the same key."""
    state: str
    """What it is doing: SCHEDULED, RUNNING, COMPLETED, FAILED and so on."""
    id: UUID
    """The server's name for it."""
    since: datetime
    """Since when it is in that state."""
    tries: int = 0
    """How often it was begun."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What it is called with."""


def server_address() -> str:
    """The address of the Prefect server that is configured, without user and password.

    Raises:
        InputError: None is, or it is no address.
    """
    address = PREFECT_API_URL.value()
    if not address:
        raise InputError(
            "there is no Prefect server; start one with `prefect server start` and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    check_server_address(address)
    return str(httpx.URL(address).copy_with(userinfo=b"")).rstrip("/")


def check_server() -> None:
    """Ask the configured Prefect server for a trifle, once.

    Raises:
        InputError: No server is configured, or there is something else at its address.
        ServerAwayError: It does not answer, or does not let us in.
    """
    server = server_address()
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            server_errors(server),
            get_client(sync_client=True) as client,
        ):
            client.read_flows(limit=1)
    except (InputError, ValueError) as error:  # it answers, but not as Prefect's does
        raise InputError(
            f"no Prefect server answers at {server}; PREFECT_API_URL is an address such as "
            "http://127.0.0.1:4200/api"
        ) from error


def default_request(deployment_id: str | None) -> object:
    """What a deployment says of requests, as it was deployed; None if it says nothing.

    Args:
        deployment_id: The server's name for it; None for a run of no deployment.
    """
    if deployment_id is None:
        return None
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        return client.read_deployment(UUID(deployment_id)).parameters.get("request")
    return None  # somebody has deleted it meanwhile


def share_run(count: int, parameters: dict[str, Any]) -> None:
    """Start more runs of this run's own deployment, which share its work; each only once, however
    often this run is begun. Does nothing without a deployment.

    Args:
        count: How many.
        parameters: What they are called with.

    Raises:
        ServerAwayError: The server does not answer.
    """
    name = runtime.deployment.name
    if not name:
        return
    with Deployment(f"{runtime.flow_run.flow_name}/{name}") as deployment:
        for number in range(1, count + 1):
            key = f"{runtime.flow_run.id} helper {number}"
            deployment.start(parameters, key=key, name=f"{runtime.flow_run.name} ({number + 1})")


def _as_started(run: FlowRun, *, is_new: bool) -> StartedRun:
    since = run.created if run.state is None else run.state.timestamp
    return StartedRun(
        name=run.name,
        is_new=is_new,
        state=run.state_type.value if run.state_type is not None else "SCHEDULED",
        id=run.id,
        since=since or datetime.now(timezone.utc),
        tries=run.run_count,
        parameters=run.parameters or {},
    )


class Deployment:
    """One deployment of a flow. A context manager; holds connections to the server."""

    def __init__(self, name: str) -> None:
        """Nothing is called yet.

        Args:
            name: FLOW/DEPLOYMENT.

        Raises:
            InputError: No server is configured, or it is no such name.
        """
        if name.count("/") != 1 or name.startswith("/") or name.endswith("/"):
            raise InputError(f"a deployment is given as FLOW/DEPLOYMENT, got {name!r}")
        self.server = server_address()
        """The server's address, without user and password."""
        self.name = name
        self._client: SyncPrefectClient = get_client(sync_client=True)
        self._id: UUID | None = None
        self._parameters: dict[str, Any] = {}
        self._read_at = float("-inf")

    def __enter__(self) -> "Deployment":
        self._client.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._client.__exit__(*error)

    def parameters(self) -> dict[str, Any]:
        """What it runs with when nothing else is said.

        Raises:
            NotDeployedError: There is no such deployment.
            ServerAwayError: The server does not answer.
            InputError: The server does not let us in.
        """
        self._read()
        return dict(self._parameters)

    def start(
        self,
        parameters: dict[str, Any],
        *,
        key: str,
        name: str,
        tags: Sequence[str] = (),
        state: State[Any] | None = None,
    ) -> StartedRun:
        """Make a run, or find the one that was made under the same key.

        Args:
            parameters: In place of the deployment's own; what is not named stays.
            key: One run for each, however often and from wherever it is asked for.
            name: For people, until the run names itself.
            tags: Beside the deployment's own.
            state: That a new run is in; None is scheduled for now.

        Raises:
            NotDeployedError: There is no such deployment.
            ServerAwayError: The server does not answer; the run may have been made.
            InputError: The server does not take these parameters.
        """
        token = uuid.uuid4().hex
        deployment_id = self._read()
        try:
            with self._calls():
                run = self._client.create_flow_run_from_deployment(
                    deployment_id,
                    parameters=parameters,
                    idempotency_key=key,
                    name=name,
                    labels={_TOKEN: token},
                    tags=tags,
                    state=state,
                )
        except NotDeployedError:
            self._read_at = float("-inf")  # it may have been deployed anew, under another id
            raise
        return _as_started(run, is_new=run.labels.get(_TOKEN) == token)

    def asking(self, ask: Callable[[SyncPrefectClient], _T]) -> _T:
        """What the server answers to something else.

        Raises:
            ServerAwayError: The server does not answer.
            InputError: It does not take what it is asked.
        """
        with self._calls():
            return ask(self._client)

    def runs(self, *states: str) -> tuple[StartedRun, ...]:
        """All runs that are in one of these states, whoever asked for them; the oldest first.

        Raises:
            NotDeployedError: There is no such deployment.
            ServerAwayError: The server does not answer.
        """
        wanted = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[self._read()]),
            state=FlowRunFilterState(
                type=FlowRunFilterStateType(any_=[StateType(state) for state in states])
            ),
        )
        found: list[FlowRun] = []
        with self._calls():
            while page := self._client.read_flow_runs(
                flow_run_filter=wanted, limit=_PAGE, offset=len(found)
            ):
                found += page
        runs = [_as_started(run, is_new=False) for run in found]
        return tuple(sorted(runs, key=lambda run: run.since))

    def find(self, run_id: UUID) -> StartedRun | None:
        """One run as it is now; None if it was deleted.

        Raises:
            ServerAwayError: The server does not answer.
        """
        with self._calls(), contextlib.suppress(ObjectNotFound):
            return _as_started(self._client.read_flow_run(run_id), is_new=False)
        return None

    def cancel(self, run_id: UUID) -> None:
        """Have a run's worker stop it, which saves where it is; one that waits never begins.

        Raises:
            ServerAwayError: The server does not answer.
        """
        state: State[Any] = Cancelling(message="stopped in the page")
        with self._calls(), contextlib.suppress(ObjectNotFound):
            self._client.set_flow_run_state(run_id, state)

    def last_heartbeat(self, run: StartedRun) -> datetime | None:
        """When a run's process last told the server that it is alive; None if it never did.

        Raises:
            ServerAwayError: The server does not answer.
        """
        wanted = EventFilter(
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        )
        with self._calls():
            events = self._client.read_events(wanted, limit=1).events  # the newest comes first
        return events[0].occurred if events else None

    def restart(self, run: StartedRun) -> bool:
        """Schedule a run again, which goes on where it was; False if its state is another one than
        it was seen in.

        Raises:
            ServerAwayError: The server does not answer.
            InputError: The server does not let it be run again.
        """
        state: State[Any] = AwaitingRetry(message="goes on where it was")
        with self._calls():
            try:
                now = self._client.read_flow_run(run.id).state
            except ObjectNotFound:
                return False
            if now is None or (now.type.value, now.timestamp) != (run.state, run.since):
                return False
            self._client.set_flow_run_state(run.id, state, force=True)
        return True

    def _read(self) -> UUID:
        if self._id is None or time.monotonic() - self._read_at > _FRESH_S:
            with self._calls():
                found = self._client.read_deployment_by_name(self.name)
            self._id = found.id
            self._parameters = dict(found.parameters)
            self._read_at = time.monotonic()
        return self._id

    @contextlib.contextmanager
    def _calls(self) -> Iterator[None]:
        """Turn what the client raises into one line of ours."""
        try:
            with server_errors(self.server):
                yield
        except ObjectNotFound as error:
            raise NotDeployedError(
                f"the Prefect server at {self.server} has no deployment {self.name!r}; make it "
                "with `longtake deploy`, or run `longtake serve`"
            ) from error


@contextlib.contextmanager
def server_errors(server: str, *, asked: str = "run") -> Iterator[None]:
    """Turn what Prefect's client raises into one line; what is not found is the caller's affair.

    Args:
        server: Its address.
        asked: What it is asked to take.

    Raises:
        ServerAwayError: It does not answer, or does not let us in.
        InputError: It does not take what it is asked to.
    """
    try:
        yield
    except PrefectHTTPStatusError as error:
        raise _refusal(server, asked, error.response) from error
    except httpx.HTTPError as error:
        raise ServerAwayError(
            f"the Prefect server at {server} does not answer ({type(error).__name__}); check "
            "PREFECT_API_URL"
        ) from error


def _refusal(server: str, asked: str, response: httpx.Response) -> SegmentationError:
    status = response.status_code
    if status >= 500 or status in (408, 425, 429):
        return ServerAwayError(
            f"the Prefect server at {server} is busy or has a fault (status {status})"
        )
    if status in (401, 403):
        return ServerAwayError(
            f"the Prefect server at {server} does not let us in; set PREFECT_API_AUTH_STRING"
        )
    said = ""
    with contextlib.suppress(ValueError, AttributeError):
        said = str(response.json().get("detail", ""))
    said = " ".join(said.split())[:300] or f"status {status}"
    return InputError(f"the Prefect server does not take this {asked}: {said}")
