"""The environment, read and written in one place."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from samcore.errors import InputError
from samcore.limits import DEFAULT_LIMITS, Limits

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

_WHERE_PREFECT_IS = ("HOME", "USERPROFILE")
_OF_CLIENTS = ("PREFECT_LOGGING_", "PREFECT_API_URL")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_SOURCE_CACHE_BYTES = 20 * 10**9
_LINGER_S = 120
_EARLY_START_S = 10
_REST_S, _LEAST_REST_S = 300, 10
"""Seconds; Prefect's automations wait for 10 at least."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says."""

    cache_dir: Path
    """Downloaded checkpoints, and digests of large files."""
    runs_per_device: int | None = None
    """Runs that may track on one device at once; 0 for any number; None for one on a GPU and any
    number on a CPU."""
    limits: Limits = DEFAULT_LIMITS
    """The largest inputs that are taken."""
    source_cache_bytes: int = _SOURCE_CACHE_BYTES
    """What downloaded videos may take on the disk; half of its free space at most, in any case."""
    aws_ca_file: Path | None = None
    """Certificates to trust of object stores; None is those that everybody trusts."""
    web_ca_file: Path | None = None
    """The same of web servers."""
    recovery_rest_s: int = _REST_S
    """Seconds from a crash to the next try of a run, see `flows.server.recovery`."""
    server_linger_s: int = _LINGER_S
    """Seconds for which the embedded Prefect server stays for the next command."""
    early_start_s: int = _EARLY_START_S
    """Seconds that a video's scan has to go on for, so that tracking begins before its end."""
    stream_login: str | None = field(default=None, repr=False)
    """`user:password` for streams whose address has none."""


def load_settings() -> Settings:
    """Read the environment.

    `LONGTAKE_CACHE`, else `XDG_CACHE_HOME/longtake`, else `~/.cache/longtake`;
    `LONGTAKE_RUNS_PER_DEVICE`; `LONGTAKE_SOURCE_CACHE_BYTES`; `LONGTAKE_RECOVERY_REST_S`;
    `LONGTAKE_SERVER_LINGER_S`; `LONGTAKE_EARLY_START_S`; `LONGTAKE_STREAM_LOGIN`; and each of
    `Limits`, as `LONGTAKE_MAX_FRAMES` and so on; `AWS_CA_BUNDLE` and `SSL_CERT_FILE`, which boto3
    and httpx read, too.

    Raises:
        InputError: A variable holds something else than it should.
    """
    cache_bytes = _whole_number("LONGTAKE_SOURCE_CACHE_BYTES")
    rest_s = _whole_number("LONGTAKE_RECOVERY_REST_S")
    linger_s = _whole_number("LONGTAKE_SERVER_LINGER_S")
    early_s = _whole_number("LONGTAKE_EARLY_START_S")
    if rest_s is not None and rest_s < _LEAST_REST_S:
        raise InputError(
            f"LONGTAKE_RECOVERY_REST_S must be at least {_LEAST_REST_S}, got {rest_s}; set or "
            "unset it"
        )
    return Settings(
        cache_dir=_checked_cache_dir(),
        runs_per_device=_whole_number("LONGTAKE_RUNS_PER_DEVICE"),
        limits=_limits(),
        source_cache_bytes=_SOURCE_CACHE_BYTES if cache_bytes is None else cache_bytes,
        aws_ca_file=_path("AWS_CA_BUNDLE"),
        web_ca_file=_path("SSL_CERT_FILE"),
        recovery_rest_s=_REST_S if rest_s is None else rest_s,
        server_linger_s=_LINGER_S if linger_s is None else linger_s,
        early_start_s=_EARLY_START_S if early_s is None else early_s,
        stream_login=os.environ.get("LONGTAKE_STREAM_LOGIN") or None,
    )


def _checked_cache_dir() -> Path:
    folder = cache_dir()
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not there.is_dir():
        raise InputError(
            f"the cache cannot be in {folder}: {there} is no folder; set LONGTAKE_CACHE to a folder"
        )
    return folder


def cache_dir() -> Path:
    """The folder for what can be made or fetched again; it need not exist."""
    own = os.environ.get("LONGTAKE_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says that a relative path is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.cache").expanduser()
    return root / "longtake"


def _limits() -> Limits:
    asked = {one.name: _whole_number(f"LONGTAKE_{one.name.upper()}") for one in fields(Limits)}
    return Limits(**{name: number for name, number in asked.items() if number is not None})


def _whole_number(name: str) -> int | None:
    """A variable that holds a whole number from 0 on; None if it is not set, or empty."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name} must be a whole number from 0 on, got {text!r}; set or unset it")
    return int(text)


def _path(name: str) -> Path | None:
    """A variable that holds a path; None if it is not set, or empty."""
    text = os.environ.get(name, "")
    return Path(text).expanduser().absolute() if text else None


def aws_region() -> str | None:
    """`AWS_REGION`, which all of AWS's own libraries heed but botocore: that one knows
    `AWS_DEFAULT_REGION` and configuration files only. None leaves the choice to these."""
    return os.environ.get("AWS_REGION") or None


def aws_settings_digest() -> str:
    """Changes when one of the standard AWS settings does; says nothing of their values."""
    found = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return hashlib.sha256(repr(found).encode(errors="surrogateescape")).hexdigest()


def set_defaults() -> None:
    """Set what Prefect and torch need to run well; what is already set stays.

    Takes effect only before they are imported.
    """
    for name, value in {**PREFECT_DEFAULTS, **TORCH_DEFAULTS}.items():
        os.environ.setdefault(name, value)
    _spare_loopback()


def _spare_loopback() -> None:
    """Keep what talks to this very machine off the network's proxy, which would look for its own.

    Everybody who heeds `HTTP_PROXY` heeds `NO_PROXY`: httpx, boto3, websockets, ffmpeg.
    """
    asked = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in asked.split(",") if host.strip()]
    if "*" not in hosts:
        hosts += [host for host in _LOOPBACK if host not in hosts]
    # Both: some read one, some the other, and some let the small letters win.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


def has_display() -> bool:
    """Whether a browser that is opened here would be seen by a person."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def sets_allocator() -> bool:
    """Whether the environment has settings for the allocator of the C library, which stay."""
    return any(name.startswith("MALLOC_") for name in os.environ)


def has_prefect_server() -> bool:
    """Whether the environment names a Prefect server.

    To be asked before prefect is imported: some addresses that are none fail the import.

    Raises:
        InputError: What it names is no server's address.
    """
    address = os.environ.get("PREFECT_API_URL", "")
    if address:
        check_server_address(address)
    return bool(address)


def check_server_address(address: str) -> None:
    """Look whether a Prefect server could have this address.

    Raises:
        InputError: It could not.
    """
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        shown = address.rpartition("@")[2]  # before it may be a password
        raise InputError(
            f"PREFECT_API_URL must be a server's address such as http://127.0.0.1:4200/api, got "
            f"{shown!r}; set it, or unset it to do without a server of your own"
        )


def quiet_prefect() -> None:
    """Keep Prefect's log and tracebacks off the terminal; its server still gets them.

    Takes effect only before prefect is imported.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is to see `settings`, besides all that this one sees."""
    return {**os.environ, **settings}


def embedded_server_environment(password: str) -> dict[str, str]:
    """The environment of the embedded Prefect server's process.

    Args:
        password: Who does not send it is not served. Here, not on the command line: other users
            see the command lines of all processes.
    """
    environment = dict(os.environ)
    environment.pop("PREFECT_API_URL", None)
    environment.update(
        PREFECT__SERVER_EPHEMERAL="1",
        PREFECT__SERVER_FINAL="1",
        PREFECT_UI_ENABLED="0",
        PREFECT_SERVER_API_AUTH_STRING=password,
        PREFECT_API_AUTH_STRING=password,  # for what the server asks of itself
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS="",  # no page of any site
        # It only needs what this command asks of it. To register all blocks of all collections
        # costs seconds; `prefect server start` does so.
        PREFECT_API_BLOCKS_REGISTER_ON_START="0",
        PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION="0",
    )
    return environment


def own_server_password() -> str:
    """The password that `embedded_server_environment` has given to this process."""
    return os.environ["PREFECT_SERVER_API_AUTH_STRING"]


def prefect_server_settings() -> dict[str, str]:
    """What the environment says to a Prefect server; who sees other settings needs another one."""
    found = {
        name: value
        for name, value in os.environ.items()
        if name in _WHERE_PREFECT_IS
        or (name.startswith("PREFECT_") and not name.startswith(_OF_CLIENTS))
    }
    with contextlib.suppress(OSError):
        profiles = _prefect_home() / "profiles.toml"
        found[str(profiles)] = hashlib.sha256(profiles.read_bytes()).hexdigest()
    return found


def prefect_database() -> Path | None:
    """The file of the database that a Prefect server here uses, unless its address is set."""
    if os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL"):
        return None
    return _prefect_home() / "prefect.db"


def _prefect_home() -> Path:
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
