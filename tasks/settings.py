"""The environment, read and written in one place."""

import os
from dataclasses import dataclass
from pathlib import Path

PREFECT_DEFAULTS = {
    # An empty database takes 116 migrations, half a minute on two cores; Prefect gives up at 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The engine logs from threads of its own, which belong to no run.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # What the engine warns of shows in the log of the task run.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "samcore,tasks,flows",
}

TORCH_DEFAULTS = {
    # Threads that wait for each other sleep. By default they spin, and beside any other busy
    # process (a decoder, say) tracking on a CPU becomes several times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says."""

    cache_dir: Path
    """Downloaded checkpoints, and digests of large files."""


def load_settings() -> Settings:
    """Read the environment: `LONGTAKE_CACHE`, else `XDG_CACHE_HOME/longtake`, else
    `~/.cache/longtake`."""
    own = os.environ.get("LONGTAKE_CACHE")
    if own:
        return Settings(cache_dir=Path(own).expanduser().absolute())
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says that a relative path is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.cache").expanduser()
    return Settings(cache_dir=root / "longtake")


def set_defaults() -> None:
    """Set what Prefect and torch need to run well; what is already set stays.

    Takes effect only before they are imported.
    """
    for name, value in {**PREFECT_DEFAULTS, **TORCH_DEFAULTS}.items():
        os.environ.setdefault(name, value)


def has_prefect_server() -> bool:
    """Whether the environment names a Prefect server."""
    return bool(os.environ.get("PREFECT_API_URL"))


def quiet_prefect() -> None:
    """Keep Prefect's log and tracebacks off the terminal; its server still gets them.

    Takes effect only before prefect is imported.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")


def embedded_server_environment() -> dict[str, str]:
    """The environment of the embedded Prefect server's process."""
    environment = dict(os.environ)
    environment.pop("PREFECT_API_URL", None)
    environment.update(
        PREFECT__SERVER_EPHEMERAL="1", PREFECT__SERVER_FINAL="1", PREFECT_UI_ENABLED="0"
    )
    return environment
