"""Ask a Prefect server for the runs of a list of videos, one each, in place of running here."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.commands.console import Terminal
from flows.commands.run_many import AskedVideo
from flows.server.deployment import Deployment, NotDeployedError, ServerAwayError, StartedRun
from samcore.errors import InputError, SegmentationError
from samcore.progress import Progress, counted
from samcore.video import check_source
from tasks.request.prompt_source import read_prompts
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings
from tasks.store.locations import parse_location

_LOCAL = ("source", "destination", "prompts", "warm_start", "checkpoint", "work_dir", "memory_log")
"""Fields that may be paths, which a worker reads from where it is."""


@dataclass(slots=True)
class AskedRuns:
    """What became of a list at a server."""

    deployment: str
    started: list[tuple[AskedVideo, StartedRun]] = field(default_factory=list)
    """Runs that there are now, also those of an earlier call."""
    failed: list[tuple[AskedVideo, str]] = field(default_factory=list)
    """Videos that got none, and why, in one line."""


def ask_for_runs(
    videos: Sequence[AskedVideo],
    name: str,
    terminal: Terminal,
    *,
    limit: int | None = None,
) -> AskedRuns:
    """Have one run of a deployment for each video; one that has its run already gets no other one.

    A run is known by deployment, video, its size and time (or ETag), and all that is asked of it.
    What the videos' requests leave out is as the deployment says.

    Args:
        videos: What is asked.
        name: FLOW/DEPLOYMENT, or the deployment's name alone.
        terminal: Where progress shows.
        limit: At most so many new runs are made.

    Raises:
        NotDeployedError: There is no such deployment.
        ServerAwayError: The server does not answer. The same command goes on.
        InputError: No server is configured; a file of prompts cannot be read.
    """
    limits = load_settings().limits
    for video in videos:
        read_prompts(video.request, limits)
    asked = AskedRuns(name if "/" in name else f"segment-video/{name}")
    new = 0
    with Deployment(asked.deployment) as deployment:
        own = deployment.parameters().get("request")
        for place, video in enumerate(videos):
            if new == limit:
                break
            note = Progress("asking for runs", place, len(videos), "videos")
            terminal.show(note)
            try:
                if isinstance(source := video.request.source_place, Path):
                    check_source(source, limits)
                run = _start(deployment, video, own if isinstance(own, dict) else {})
            except (ServerAwayError, NotDeployedError):
                raise
            except SegmentationError as error:
                asked.failed.append((video, " ".join(str(error).split())))
                continue
            new += run.is_new
            asked.started.append((video, run))
    return asked


def asked_lines(asked: AskedRuns, *, videos: int) -> Iterator[str]:
    """What there is to say of the runs.

    Args:
        asked: What became of the list.
        videos: Of the list.
    """
    new = sum(run.is_new for _, run in asked.started)
    yield f"{counted(videos, 'video')}: {counted(new, 'new run')} of {asked.deployment}"
    for video, run in asked.started:
        state = "asked for" if run.is_new else run.state.lower()
        yield f"  {video.name}: run {run.name!r}, {state}"
    left = videos - len(asked.started) - len(asked.failed)
    if left:
        yield f"left for the next call: {counted(left, 'video')}"
    if asked.failed:
        yield f"{counted(len(asked.failed), 'video')} without a run:"
    for video, error in asked.failed:
        yield f"  {video.name}: {error}"


def _start(deployment: Deployment, video: AskedVideo, own: dict[str, Any]) -> StartedRun:
    request = _for_workers(video.request)
    said = hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:16]
    key = f"{deployment.name}: {request.source} {video.mark} {said}"
    # `choose_prompts` tells in the run which of the two is the deployment's default.
    return deployment.start(
        {"request": with_defaults(request, own)}, key=key, name=f"{request.video_name}: segment"
    )


def with_defaults(request: SegmentRequest, own: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says, and for all else, each setting too, what a deployment says."""
    said = request.model_dump(mode="json", exclude_unset=True)
    given = {name: value for name, value in said.items() if value is not None}
    settings = {name: value for name, value in given.pop("settings", {}).items() if value != {}}
    return {**own, **given, "settings": {**own.get("settings", {}), **settings}}


def _for_workers(request: SegmentRequest) -> SegmentRequest:
    """The request with absolute paths.

    Raises:
        InputError: It has masks in files that only this command line allows.
    """
    changes: dict[str, Any] = {}
    for name in _LOCAL:
        value = getattr(request, name)
        if isinstance(value, str) and isinstance(place := parse_location(value), Path):
            changes[name] = str(place.expanduser().absolute())
    prompts = request.prompts
    if prompts is not None and not isinstance(prompts, str) and prompts.mask_files:
        raise InputError(
            "--mask and --masks name files of this machine; give --prompts FILE, or masks as run "
            "lengths"
        )
    return request.model_copy(update=changes)
