"""What every runner of units is, and the list of them.

A unit of work (samcore/run/units.py) is one Prefect task. A runner hands it to one of Prefect's own
task runners, which brings it to wherever its engine has a worker. Workers share with the flow only
the destination, a folder or a bucket, and the video's address.
"""

import contextlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from samcore.errors import InputError
from samcore.registry import Entry, Registry

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner  # late: the command's options need no Prefect


class MakesTaskRunner(Protocol):
    """The home of a runner: a function."""

    def __call__(self, address: str | None, workers: int, *, on_gpu: bool) -> "UnitEngine | None":
        """The engine, not started yet; None if the run's own process does it all.

        Args:
            address: Of a cluster that runs; None to start one here.
            workers: How many to start here.
            on_gpu: Whether a unit needs a GPU of its own.
        """


@dataclass(frozen=True, slots=True)
class UnitEngine:
    """One of Prefect's task runners, with what differs between them."""

    task_runner: "TaskRunner[Any]"
    asking: Callable[[], contextlib.AbstractContextManager[Any]]
    """Within this, what is submitted asks for what a unit needs, in the engine's own terms."""
    is_lost: Callable[[BaseException], bool]
    """Whether an error says that a worker has died under its unit, more often than the engine
    itself puts up with."""
    stop: Callable[[], None] = lambda: None
    """Tells workers to save where they are, before the engine is closed in the middle of work.
    Where it does nothing, the engine ends its own workers, and others go on to their unit's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerEntry(Entry):
    """A runner. Its home is a `MakesTaskRunner`."""

    takes: str = ""
    """What may stand behind its name and a colon, for people."""
    takes_address: bool = False
    """Whether that may be a cluster's address, and not only a number of workers."""
    package: str | None = None
    """What has to be installed, as it is imported; the extra has the runner's name."""


RUNNERS = Registry(
    "runner",
    "longtake.runners",
    RunnerEntry,
    [
        RunnerEntry(
            name="here",
            about="one unit after another in the run's own process",
            home="tasks.runners.runner:no_engine",
        ),
        RunnerEntry(
            name="processes",
            about="processes of this machine",
            home="tasks.runners.processes:make_engine",
            takes="N",
        ),
        RunnerEntry(
            name="dask",
            about="workers of a Dask cluster, or N on this machine",
            home="tasks.runners.dask:make_engine",
            takes="N|ADDRESS",
            takes_address=True,
            package="prefect_dask",
        ),
        RunnerEntry(
            name="ray",
            about="workers of a Ray cluster, or N on this machine",
            home="tasks.runners.ray:make_engine",
            takes="N|ADDRESS",
            takes_address=True,
            package="prefect_ray",
        ),
    ],
)
"""The runners, by name."""


@dataclass(frozen=True, slots=True)
class AskedRunner:
    """A runner as a person names it, such as `dask:tcp://10.0.0.7:8786` or `ray:4`."""

    entry: RunnerEntry
    address: str | None = None
    number: int | None = None
    """Workers to start on this machine; None is as many as suit it."""

    @classmethod
    def of(cls, text: str) -> "AskedRunner":
        """Take a name apart.

        Raises:
            InputError: There is no such runner, or it takes no such thing.
        """
        name, colon, rest = text.partition(":")
        entry = RUNNERS.get(name)
        if not colon:
            return cls(entry)
        if rest.isascii() and rest.isdigit() and 0 < int(rest) <= _MOST and entry.takes:
            return cls(entry, number=int(rest))
        if rest and entry.takes_address and not rest.isdigit():
            return cls(entry, address=rest)
        wanted = f"{name}[:{entry.takes}]" if entry.takes else name
        raise InputError(f"runner: wanted {wanted}, N from 1 to {_MOST}, got {text!r}")

    @property
    def is_here(self) -> bool:
        """Whether the run's own process does it all."""
        return self.entry.name == "here"

    def workers(self, device: str) -> int | None:
        """Units that are at work at once; None if only the cluster knows.

        Args:
            device: Where models run.
        """
        if self.is_here:
            return 1
        if self.address is not None:
            return None
        if self.number is not None:
            return self.number
        if device.startswith("cuda"):
            import torch  # late: the command's options are checked without it

            return max(1, torch.cuda.device_count())
        return max(2, (os.cpu_count() or 1) // 4)

    def check_installed(self) -> None:
        """Refuse an engine that is not here; nothing is imported.

        Raises:
            InputError: Its package is not installed.
        """
        name, package = self.entry.name, self.entry.package
        if package is not None and importlib.util.find_spec(package) is None:
            raise InputError(
                f"runner {name}: the package {package.replace('_', '-')} is not installed here: "
                f"pip install 'longtake[{name}]', on the workers, too"
            )

    def engine(self, device: str) -> UnitEngine | None:
        """The engine, which is installed, not started yet; None for the run's own process."""
        make: MakesTaskRunner = self.entry.load()
        workers = self.workers(device) or 1
        return make(self.address, workers, on_gpu=device.startswith("cuda"))


_MOST = 256


def no_engine(address: str | None, workers: int, *, on_gpu: bool) -> None:
    """The run's own process needs no engine."""
