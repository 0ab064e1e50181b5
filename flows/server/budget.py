"""How many device-hours a day events and sweeps may use, and how many they have used.

Both lie at the Prefect server, which all machines share and which outlives them:

- the bound is the variable `longtake_budget_hours`, which may be changed in Prefect's UI, too;
- the ledger has an artifact for each day and run, `longtake-used-20261129`, with the run's
  device-seconds of that day. Each has one writer, the run itself, so nothing is lost between two
  machines, and who wants the sum adds them up.

A day is one of UTC. Only runs that the listener or a sweep asked for are counted and bounded; they
have a tag. A run asks before it begins and before each piece of work on a device. Where the day's
hours are used up it goes back to being scheduled, for the next day, and goes on there where it was.
So the bound is passed by a chunk for each device at most. One that comes when they are used up
already is made with that date.
"""

import contextlib
import json
import logging
import math
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import httpx
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    ArtifactCreate,
    ArtifactUpdate,
    VariableCreate,
    VariableUpdate,
)
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause, PrefectHTTPStatusError
from prefect.states import Scheduled

from samcore.errors import InputError, SegmentationError
from samcore.run.attempts import killed_seconds

_log = logging.getLogger(__name__)

ARRIVAL = "longtake-arrival"
"""Tag of runs that the listener or a sweep asked for."""
WAITS = "WaitsForBudget"
"""Name of the state of a run that waits for the next day; its type is SCHEDULED."""
VARIABLE = "longtake_budget_hours"
_PAGE = 200
_MOST_WAITING = 1000
"""Runs that are listed."""


class BudgetSpentError(SegmentationError, RuntimeError):
    """The day's device-hours are used up: the run waits for the next day."""


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that waits for the next day."""

    name: str
    """As people see it."""
    until: datetime | None
    """When it is scheduled for."""


@dataclass(frozen=True, slots=True)
class DayUse:
    """What a day's budget is, and what is used of it."""

    hours: float | None
    """Device-hours that may be used; None for any number."""
    used_s: float
    """Device-seconds that are used."""
    runs: int
    """That have used them."""

    @property
    def is_spent(self) -> bool:
        """Whether no more work may begin."""
        return self.hours is not None and self.used_s >= self.hours * 3600


def parse_hours(text: str) -> float | None:
    """Device-hours a day, from a command line; None for `off`.

    Raises:
        InputError: It is neither.
    """
    if text.strip().lower() == "off":
        return None
    with contextlib.suppress(ValueError):
        hours = float(text)
        if math.isfinite(hours) and hours >= 0:
            return hours
    raise InputError(
        f"--budget: wanted hours from 0 on, such as 8 or 0.5, or off; got {text!r:.40}"
    )


def today() -> datetime:
    """The beginning of the day that it is, in UTC."""
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def next_day() -> datetime:
    """The beginning of the next one."""
    return today() + timedelta(days=1)


class Ledger:
    """What is kept at a Prefect server."""

    def __init__(self, client: SyncPrefectClient) -> None:
        """Ask nothing yet.

        Args:
            client: Open; what it raises is the caller's affair.
        """
        self._client = client

    def hours(self) -> float | None:
        """Device-hours that may be used a day; None for any number."""
        found = self._client.read_variable_by_name(VARIABLE)
        value = None if found is None else found.value
        with contextlib.suppress(TypeError, ValueError):  # a person may have typed anything there
            return max(0.0, float(str(value)))
        return None

    def set_hours(self, hours: float | None) -> None:
        """Bound them, or no more."""
        found = self._client.read_variable_by_name(VARIABLE)
        if hours is None:
            if found is not None:
                self._client.delete_variable_by_name(VARIABLE)
        elif found is None:
            self._client.create_variable(VariableCreate(name=VARIABLE, value=hours))
        else:
            self._client.update_variable(VariableUpdate(name=VARIABLE, value=hours))

    def use(self) -> DayUse:
        """What is used today."""
        hours = self.hours()
        seconds = [_seconds(found) for found in self._entries(today())]
        return DayUse(hours=hours, used_s=sum(seconds), runs=len(seconds))

    def add(self, run: UUID, seconds: float) -> None:
        """Count device-seconds of a run for today. Only by that run, one call after another."""
        own = ArtifactFilterFlowRunId(any_=[run])
        found = next(iter(self._entries(today(), own)), None)
        total = (0.0 if found is None else _seconds(found)) + seconds
        data = json.dumps([{"day": f"{today():%Y-%m-%d}", "device seconds": round(total, 3)}])
        if found is None:
            self._client.create_artifact(
                ArtifactCreate(
                    key=_key(today()),
                    type="table",
                    description="Device-seconds that this run has used on a day (UTC)",
                    data=data,
                    flow_run_id=run,
                )
            )
        else:
            self._client.update_artifact(found.id, ArtifactUpdate(data=data))

    def waiting(self) -> list[WaitingRun]:
        """The runs that wait for the next day, the first one first; a thousand at most."""
        wanted = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=[WAITS])))
        found: list[WaitingRun] = []
        while len(found) < _MOST_WAITING and (
            page := self._client.read_flow_runs(
                flow_run_filter=wanted, limit=_PAGE, offset=len(found)
            )
        ):
            found += [WaitingRun(run.name, run.next_scheduled_start_time) for run in page]
        return sorted(found, key=lambda run: (str(run.until), run.name))

    def _entries(self, day: datetime, run: ArtifactFilterFlowRunId | None = None) -> list[Any]:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[_key(day)]), flow_run_id=run)
        found: list[Any] = []
        while page := self._client.read_artifacts(
            artifact_filter=wanted, limit=_PAGE, offset=len(found)
        ):
            found += page
        return found


def waiting_state(hours: float | None) -> State[Any]:
    """The state of a run that waits for the next day."""
    of = "" if hours is None else f" of {hours:g} device-hours"
    return Scheduled(
        name=WAITS,
        scheduled_time=next_day(),
        message=f"the day's budget{of} is used up: goes on at {next_day():%Y-%m-%d %H:%M} UTC",
    )


class RunBudget:
    """What the present run has to do with the budget: nothing, unless it has the tag."""

    def __init__(self, run: UUID | None) -> None:
        """Args: the run's id, if its work is counted and bounded."""
        self._run = run

    def check(self) -> None:
        """See that work may begin.

        Raises:
            BudgetSpentError: The day's hours are used up.
        """
        if self._run is None:
            return
        with _server() as ledger:
            use = ledger.use()
            if use.is_spent:
                raise BudgetSpentError(f"the day's budget of {use.hours:g} device-hours is used up")

    @contextlib.contextmanager
    def working(self, mark: Path | None = None, *, devices: int = 1) -> Iterator[None]:
        """Begin a piece of work on a device, if it may begin, and count what it takes.

        Args:
            mark: Of attempts at that work: what one took that was killed is counted, too.
            devices: That are at it.

        Raises:
            BudgetSpentError: The day's hours are used up.
        """
        if self._run is None:
            yield
            return
        self.check()
        lost = 0.0 if mark is None else killed_seconds(mark)
        started = time.monotonic()
        try:
            yield
        finally:
            self.count((time.monotonic() - started + lost) * devices)

    def count(self, seconds: float) -> None:
        """Count device-seconds that were used already."""
        if self._run is not None and seconds:
            with _server() as ledger:
                ledger.add(self._run, seconds)


_present: ContextVar[RunBudget | None] = ContextVar("budget", default=None)


def run_budget() -> RunBudget:
    """That of the present run."""
    return _present.get() or RunBudget(None)


@contextlib.contextmanager
def within_budget() -> Iterator[None]:
    """Have the present flow run keep to the budget within the block, if it has to: it is scheduled
    for the next day where the hours are used up, and its process ends."""
    is_counted = ARRIVAL in (runtime.flow_run.tags or ())
    run = UUID(str(runtime.flow_run.id)) if is_counted else None
    token = _present.set(RunBudget(run))
    try:
        run_budget().check()
        yield
    except BudgetSpentError as error:
        if run is None:
            raise
        _wait(run, error)
    finally:
        _present.reset(token)


def _wait(run: UUID, error: BudgetSpentError) -> NoReturn:
    _log.warning("%s; goes on at %s UTC", error, f"{next_day():%Y-%m-%d %H:%M}")
    with get_client(sync_client=True) as client:
        state = waiting_state(Ledger(client).hours())
        client.set_flow_run_state(run, state, force=True)
    raise Pause(str(error), state=state)


@contextlib.contextmanager
def _server() -> Iterator[Ledger]:
    """The ledger; a server that does not answer must not cost the run its work."""
    try:
        with get_client(sync_client=True) as client:
            yield Ledger(client)
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        _log.warning("the budget is not looked at: %s", " ".join(str(error).split())[:200])


def _key(day: datetime) -> str:
    return f"longtake-used-{day:%Y%m%d}"


def _seconds(artifact: Any) -> float:
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
        data = artifact.data
        rows = json.loads(data) if isinstance(data, str) else data
        return float(rows[0]["device seconds"])
    return 0.0
