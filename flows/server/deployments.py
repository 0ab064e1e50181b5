"""The deployments of infra/prefect.yaml: given to a Prefect server, or served by this machine."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

import flows
from flows.commands.process import run_until_told
from flows.server.budget import Ledger, parse_hours
from flows.server.deployment import server_address, server_errors
from flows.server.notify import BLOCK, find_target, install_notification
from flows.server.recovery import install_recovery
from samcore.errors import InputError, SegmentationError
from samcore.prompts.automatic import AutomaticPrompts
from tasks.settings import child_environment
from tasks.store.locations import S3Location, parse_location

SEGMENT, IMAGES, SWEEP = "segment-video", "segment-images", "sweep-bucket"
WATCH = "watch-stream"
PoolType = Literal["process", "kubernetes"]
_FILE = "prefect.yaml"
_JOB_TEMPLATES = ("kubernetes/base-job-template.json", "base-job-template.json")
_DEPLOY_TIMEOUT_S = 300
_SHARED = ("model", "credentials")
"""Of the defaults for videos, what runs over pictures and streams have, too."""


class DeployError(SegmentationError, RuntimeError):
    """The Prefect server does not answer, or does not take the deployments."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What runs do by default. All of it can be seen in Prefect's UI."""

    prompts: str | None = None
    """Path or `s3://` address of a prompts file for videos that have none beside them."""
    automatic: AutomaticPrompts | None = None
    """Find objects in such videos."""
    model: str | None = None
    """As in `longtake models`."""
    credentials: str | None = None
    """Name of an AwsCredentials block."""
    source: str | None = None
    """Where the sweep looks for videos; None leaves its schedule off."""
    destination: str | None = None
    """Where the results of swept videos go."""

    def __post_init__(self) -> None:
        if self.prompts is not None and self.automatic is not None:
            raise InputError("give --prompts, or --automatic or --detect; not both")
        if (self.source is None) != (self.destination is None):
            raise InputError("--source and --destination go together: the sweep needs both")
        for option, text in (("--source", self.source), ("--destination", self.destination)):
            if text is not None and not isinstance(parse_location(text), S3Location):
                raise InputError(f"{option}: wanted s3://bucket or s3://bucket/prefix, got {text}")

    def request(self) -> dict[str, Any]:
        """What requests begin with."""
        automatic = None
        if self.automatic is not None:
            automatic = self.automatic.model_dump(mode="json", exclude_unset=True)
        given = {
            "prompts": self.prompts,
            "automatic": automatic,
            "model": self.model,
            "credentials": self.credentials,
        }
        return {name: value for name, value in given.items() if value is not None}

    def sweep(self) -> dict[str, Any]:
        """What sweeps are called with."""
        given = {
            "source": self.source,
            "destination": self.destination,
            "credentials": self.credentials,
        }
        return {name: value for name, value in given.items() if value is not None}


def find_prefect_file() -> Path:
    """`infra/prefect.yaml` of the checkout that runs, or what the installation brought along.

    Raises:
        InputError: Neither is there.
    """
    room = Path(flows.__path__[0]).parent
    folders = (room, Path(sys.prefix) / "share" / "longtake", Path(sys.prefix))
    for folder in folders:
        path = folder / "infra" / _FILE
        if path.is_file():
            return path
    raise InputError(f"{_FILE} is not with this installation; give it with --file")


def read_prefect_file(path: Path) -> dict[str, Any]:
    """The file's content.

    Raises:
        InputError: It cannot be read, or is no such file.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("deployments"), list):
        raise InputError(f"{path} lists no deployments")
    return content


def with_defaults(
    content: Mapping[str, Any], defaults: Defaults, *, pool: str | None = None
) -> dict[str, Any]:
    """The file's content with what was said on the command line filled in."""
    changed: dict[str, Any] = json.loads(json.dumps(content, default=str))
    for spec in changed["deployments"]:
        parameters = spec.setdefault("parameters", {}) or {}
        spec["parameters"] = parameters
        if pool is not None:
            spec.setdefault("work_pool", {})["name"] = pool
        if spec.get("name") == SEGMENT and defaults.request():
            request = dict(parameters.get("request") or {})
            if defaults.prompts is not None or defaults.automatic is not None:
                # One of the two counts, and the command line wins over the file.
                request = {k: v for k, v in request.items() if k not in ("prompts", "automatic")}
            parameters["request"] = {**request, **defaults.request()}
        if spec.get("name") in (IMAGES, WATCH):
            own = {name: value for name, value in defaults.request().items() if name in _SHARED}
            parameters["request"] = {**dict(parameters.get("request") or {}), **own}
        if spec.get("name") == SWEEP:
            parameters.update(defaults.sweep())
            if defaults.source is not None:
                for schedule in spec.get("schedules", []):
                    schedule["active"] = True
    return changed


def deploy(
    file: Path,
    defaults: Defaults,
    *,
    pool: str = "gpu",
    pool_type: PoolType | None = None,
    notify: str | None = None,
    budget: str | None = None,
) -> list[str]:
    """Make the work pool if need be, and apply the file by `prefect deploy`; lines for a person.

    Runs that crash are scheduled again by automations, which are made, too.

    Args:
        file: As `infra/prefect.yaml`.
        defaults: Filled in.
        pool: Name of the work pool.
        pool_type: Of a pool that is made now; a pool that is there must be of it, unless None.
        notify: What to tell of failed runs: a block as TYPE/NAME, or the address of a webhook.
        budget: Device-hours a day that events and sweeps may use, or `off`; None leaves it as is.

    Raises:
        InputError: No server is configured; the file is wrong; the pool is of another type; there
            is no such block; the server does not take it.
        ServerAwayError: The server does not answer.
        DeployError: `prefect deploy` fails.
    """
    hours = None if budget is None else parse_hours(budget)
    server = server_address()
    content = with_defaults(read_prefect_file(file), defaults, pool=pool)
    told = None
    if notify is not None:
        with server_errors(server, asked="deployment"), get_client(sync_client=True) as client:
            told = find_target(client, notify)
    made = _make_pool(server, pool, pool_type, file)
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    with tempfile.TemporaryDirectory(prefix="longtake-deploy-") as folder:
        path = Path(folder) / _FILE
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        try:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "prefect", "--no-prompt", "deploy"),
                    *("--prefect-file", str(path), "--all"),
                ],
                cwd=folder,  # where the person is there may be other files of these names
                env=child_environment(settings),
                capture_output=True,
                text=True,
                timeout=_DEPLOY_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeployError(
                f"the Prefect server at {server} took more than {_DEPLOY_TIMEOUT_S} s"
            ) from error
    if done.returncode != 0:
        raise DeployError(f"prefect deploy failed: {_reason(done.stdout + done.stderr)}")
    flow_names = [_flow(spec).name for spec in content["deployments"]]
    with server_errors(server, asked="deployment"), get_client(sync_client=True) as client:
        install_recovery()
        if told is not None:
            install_notification(client, told, flow_names)
        if budget is not None:
            Ledger(client).set_hours(hours)
        bound = Ledger(client).hours()
    names = [_full_name(spec) for spec in content["deployments"]]
    lines = [*made, f"deployed {', '.join(names)} to {server}"]
    if notify is not None:
        # Not an address: it may be a secret.
        block = f"webhook/{BLOCK}" if "://" in notify else notify
        lines.append(f"failed runs are told to the block {block}")
    if bound is not None:
        lines.append(
            f"events and sweeps may use {bound:g} device-hours a day (UTC); `longtake budget` "
            "shows what is used and what waits"
        )
    if defaults.source is None:
        lines.append(f"{SWEEP}'s schedule is off; --source and --destination set it to work")
    return lines


def serve_here(file: Path, defaults: Defaults, *, limit: int = 1) -> None:
    """Make the deployments, and run in processes of this machine what they are asked for.

    Ends with SIGTERM or SIGINT, as `Ending` says; for the main thread.

    Args:
        file: As `infra/prefect.yaml`; what it says of work pools plays no part.
        defaults: Filled in.
        limit: Videos that are tracked at once.

    Raises:
        InputError: No server is configured, the file is wrong, or the server does not take it.
        ServerAwayError: The server does not answer.
    """
    server = server_address()
    if limit < 1:
        raise InputError(f"--limit must be at least 1, got {limit}")
    content = with_defaults(read_prefect_file(file), defaults)
    with server_errors(server, asked="deployment"):
        deployments = [_served(spec, limit) for spec in content["deployments"]]
        install_recovery()
        # Two more, so that a sweep and a look for left runs need not wait for hours until a video
        # is tracked.
        runner = _Runner(limit=limit + 2)
        made = [runner.add_deployment(deployment) for deployment in deployments]
        ids = [one for one in made if isinstance(one, UUID)]  # outside of coroutines all are
        names = ", ".join(_full_name(spec) for spec in content["deployments"])
        print(f"serving {names}: what is asked of {server} runs here; Ctrl-C ends it", flush=True)
        try:
            run_until_told(runner.start())
        finally:
            _pause(ids)


class _Runner(Runner):
    """Prefect's, with an end that does not wait for servers that are gone."""

    def __init__(self, *, limit: int) -> None:
        # Before it ends runs it would pause deployments, and try for minutes: `_pause` does it.
        super().__init__(limit=limit, pause_on_shutdown=False)

    def handle_sigterm(self, *_: object, **__: object) -> None:
        """Take SIGTERM for Ctrl-C, which `run_until_told` hears; Prefect puts this in its place."""
        signal.raise_signal(signal.SIGINT)


def _pause(deployments: Sequence[UUID]) -> None:
    """Have no runs scheduled while nobody runs them; a server that is gone does not matter."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        contextlib.suppress(httpx.HTTPError, ObjectNotFound),
        get_client(sync_client=True) as client,
    ):
        for deployment in deployments:
            client.pause_deployment(deployment)


def _served(spec: Mapping[str, Any], limit: int) -> RunnerDeployment:
    """One deployment of the file, for this process to run.

    Raises:
        InputError: It names no flow.
    """
    own = _concurrency(spec.get("concurrency_limit"))
    if spec.get("name") in (SEGMENT, IMAGES, WATCH):
        own = ConcurrencyLimitConfig(limit=limit)
    return RunnerDeployment.from_flow(
        _flow(spec),
        name=str(spec["name"]),
        # None, not an empty list, where there are none: Prefect 3.9 warns of those.
        schedules=[_schedule(one) for one in spec.get("schedules") or []] or None,
        concurrency_limit=own,
        parameters=dict(spec.get("parameters") or {}),
        description=spec.get("description"),
        tags=[str(tag) for tag in spec.get("tags") or []],
        paused=False,  # which an earlier `serve` has left behind when it ended
        # The flows are installed; a path would tie the deployment to this folder.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _flow(spec: Mapping[str, Any]) -> Flow[..., Any]:
    module, _, name = str(spec.get("entrypoint", "")).rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"deployment {spec.get('name')!r}: no flow {spec.get('entrypoint')!r}"
        ) from error
    if not isinstance(found, Flow):
        raise InputError(f"deployment {spec.get('name')!r}: {spec.get('entrypoint')!r} is no flow")
    return found


def _concurrency(value: object) -> ConcurrencyLimitConfig | None:
    if isinstance(value, Mapping):
        return ConcurrencyLimitConfig.model_validate(dict(value))
    return ConcurrencyLimitConfig(limit=value) if isinstance(value, int) else None


def _schedule(spec: Mapping[str, Any]) -> Schedule:
    common: dict[str, Any] = {
        name: spec[name]
        for name in ("timezone", "active", "parameters", "slug")
        if spec.get(name) is not None
    }
    if "cron" in spec:
        return Cron(str(spec["cron"]), **common)
    if "interval" in spec:
        return Interval(timedelta(seconds=float(spec["interval"])), **common)
    return RRule(str(spec["rrule"]), **common)


def _full_name(spec: Mapping[str, Any]) -> str:
    return f"{_flow(spec).name}/{spec.get('name')}"


def _make_pool(server: str, name: str, kind: PoolType | None, file: Path) -> list[str]:
    """Make the work pool unless it is there; what there is to say of it."""
    with server_errors(server, asked="deployment"), get_client(sync_client=True) as client:
        try:
            found = client.read_work_pool(name)
        except ObjectNotFound:
            made: PoolType = kind or "process"
            pool = WorkPoolCreate(name=name, type=made, base_job_template=_job_template(made, file))
            try:
                client.create_work_pool(pool)
            except ObjectAlreadyExists:
                return []  # by another process, a moment ago
            return [f"made the work pool {name!r} for workers of type {made}"]
    if kind is not None and found.type != kind:
        raise InputError(
            f"the work pool {name!r} is of type {found.type}, not {kind}; give another --pool"
        )
    return []


def _job_template(kind: PoolType, file: Path) -> dict[str, Any]:
    """What workers make of a run."""
    if kind == "process":
        return ProcessWorker.get_default_base_job_template()
    for name in _JOB_TEMPLATES:
        path = file.parent / name
        if path.is_file():
            template: dict[str, Any] = json.loads(path.read_text())
            return template
    raise InputError(f"there is no {_JOB_TEMPLATES[0]} beside {file}")


def _reason(text: str) -> str:
    """What `prefect deploy` says is wrong: the server's own words, if it prints them."""
    said = re.findall(r"""'(?:detail|msg)': (?:"([^"]*)"|'([^']*)')""", text)
    if said:
        return " ".join("".join(said[-1]).split())[:500]
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-3:])[:500] or "it said nothing"
