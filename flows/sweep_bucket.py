"""Flow: find the videos in a bucket that have no result yet, and start their runs."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from flows.arrivals.kinds import kind_of
from flows.arrivals.video_runs import DEPLOYMENT, PROMPTS_SUFFIX, Outcome, VideoFilter, VideoRuns
from flows.recover_runs import recover
from flows.server.budget import WaitingRun
from flows.server.deployment import Deployment, NotDeployedError, ServerAwayError
from samcore.errors import InputError, SegmentationError, TransientStorageError
from samcore.result.manifest import MANIFEST, MARK
from tasks.store.locations import S3Location, parse_location
from tasks.store.object_info import ObjectInfo
from tasks.store.object_store import ObjectStore, remove_stale_uploads

_log = logging.getLogger(__name__)

# The form refuses what does not fit; the lines on it are below.
_Bucket = Annotated[str, Field(json_schema_extra={"pattern": "^s3://."})]
_Limit = Annotated[int, Field(json_schema_extra={"minimum": 1})]
_MOST_LISTED = 100
"""Rows of an artifact."""
_ENDED_BADLY = {"FAILED", "CANCELLED"}


class SweepResult(BaseModel):
    """What a sweep found and did, in numbers of videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: int
    """Runs that were made now."""
    recovered: int = 0
    """Runs of the deployment, of these videos or others, that were scheduled again, since dead
    processes had left them."""
    underway: int
    """Without a result, but with a run that may yet give one."""
    failed: int
    """Without a result, and their run has ended without one."""
    skipped: int
    """No prompts or defaults say what to track in them."""
    done: int
    """With a result."""
    left: int
    """Without a result, for the next sweep: the limit was reached."""
    waiting: int = 0
    """Runs that were made now, and wait for the next day: the day's budget is used up."""


@flow(name="sweep-bucket", flow_run_name="sweep {source}", persist_result=False)
def sweep_bucket(
    source: _Bucket,
    destination: _Bucket,
    limit: _Limit = 10,
    deployment: str = DEPLOYMENT,
    credentials: str | None = None,
) -> SweepResult:
    """Start a run for every video below a prefix that has no result yet, the oldest first.

    It catches what no event told of. A version of a video that has had its run, by this or by the
    listener, does not get another one; if that run failed, the log says so. Runs of the deployment
    that dead processes have left are scheduled again, as by recover-runs. What killed uploads left
    among the results is removed after a day.

    Args:
        source: Where the videos are: s3://bucket or s3://bucket/prefix/.
        destination: Where the results are: the one of the video a/b.mp4 is in a/b.mp4/ below this,
            which is an s3:// address.
        limit: At most this many runs are started by one sweep.
        deployment: Whose runs are started; its own parameters say what to track in videos that
            have no prompts beside them. With segment-images/segment-images pictures are looked
            for in place of videos.
        credentials: Name of the AwsCredentials block for the buckets; empty is the worker's own
            AWS settings.

    Raises:
        SegmentationError: Something that a person can put right, in one line.
    """
    videos, results = _places(source, destination)
    if limit < 1:
        raise InputError(f"a sweep must be allowed to start at least 1 run, got {limit = }")
    store = ObjectStore(credentials)
    wanted = VideoFilter(results, prefix=videos.key, suffixes=kind_of(deployment).suffixes)
    found = _look(store, wanted, videos)
    with Deployment(deployment) as opened:
        recovered = recover(opened)
        runs = VideoRuns(store, opened, results, credentials=credentials)
        result = _start(runs, found, limit).model_copy(update={"recovered": recovered})
        _list_waiting(runs.waiting())
    remove_stale_uploads(store, _folder(results))
    _log.info("%s", _in_words(result))
    return result


def _places(source: str, destination: str) -> tuple[S3Location, S3Location]:
    """Where videos and results are.

    Raises:
        InputError: One of them is no bucket, or they cannot be told apart.
    """
    videos, results = parse_location(source), parse_location(destination)
    for name, place in (("source", videos), ("destination", results)):
        if not isinstance(place, S3Location):
            raise InputError(f"{name}: wanted s3://bucket or s3://bucket/prefix, got {place}")
    if not isinstance(videos, S3Location) or not isinstance(results, S3Location):
        raise InputError("source and destination: wanted s3:// addresses")
    if VideoFilter(results).is_result(videos):
        raise InputError(
            f"the videos in {videos} would lie among the results in {results}; give destination "
            "another bucket, or a prefix beside the videos"
        )
    return videos, results


@dataclass(frozen=True, slots=True)
class _Found:
    """What there is in the bucket."""

    todo: list[S3Location]
    """Videos without a result, the oldest first."""
    done: int
    """How many have one."""


def _look(store: ObjectStore, wanted: VideoFilter, videos: S3Location) -> _Found:
    """Hold the videos against the results."""
    results = _find_results(store.list(_folder(wanted.destination)), wanted.destination)
    todo: list[tuple[datetime, S3Location]] = []
    done = 0
    for info in store.list(videos):
        if info.size == 0 or not wanted.is_video(info.location):
            continue
        result = results.get(info.location.key)
        if result is not None and result.is_of(info):
            done += 1
        else:
            todo.append((info.last_modified, info.location))
    return _Found([video for _, video in sorted(todo)], done)


def _folder(place: S3Location) -> S3Location:
    """So that results/ is listed, and results-of-others/ is not."""
    if not place.key or place.key.endswith("/"):
        return place
    return S3Location(place.bucket, place.key + "/")


class _Result:
    """What a listing tells of a result."""

    def __init__(self) -> None:
        self.finished: datetime | None = None
        self.marks: set[str] = set()

    def is_of(self, video: ObjectInfo) -> bool:
        """Whether it is whole, and of this content of the video."""
        if self.finished is None:
            return False
        if self.marks:
            return video.mark in self.marks
        # Made without a mark: one that is older than the video is of a version before.
        return self.finished >= video.last_modified


def _find_results(listed: Iterable[ObjectInfo], destination: S3Location) -> dict[str, _Result]:
    """The result of each video, by the video's key."""
    start = len(_folder(destination).key)
    results: defaultdict[str, _Result] = defaultdict(_Result)
    for info in listed:
        video, _, name = info.location.key[start:].rpartition("/")
        if name == MANIFEST:
            results[video].finished = info.last_modified
        elif (mark := MARK.fullmatch(name)) is not None:
            results[video].marks.add(mark[1])
    return results


def _start(runs: VideoRuns, found: _Found, limit: int) -> SweepResult:
    """Start runs until the limit is reached."""
    started = underway = failed = skipped = looked_at = waiting = 0
    done = found.done
    for video in found.todo:
        if started + waiting == limit:
            break
        looked_at += 1
        try:
            handled = runs.start(video)
        except (ServerAwayError, NotDeployedError, TransientStorageError):
            raise
        except SegmentationError as error:
            # One video that cannot be named or read must not keep the others from their turn.
            _log.error("%s: %s", video, error)
            failed += 1
            continue
        state = None if handled.run is None else handled.run.state
        if handled.outcome is Outcome.STARTED:
            _log.info("%s", handled)
            started += 1
        elif handled.outcome is Outcome.WAITS:
            _log.warning("%s", handled)
            waiting += 1
        elif handled.outcome is Outcome.SKIPPED:
            _log.warning("%s; put %s%s beside it", handled, video.name, PROMPTS_SUFFIX)
            skipped += 1
        elif handled.outcome is Outcome.KNOWN and state in _ENDED_BADLY:
            _log.warning("%s: run it again in Prefect's UI once it can work", handled)
            failed += 1
        elif handled.outcome is Outcome.KNOWN and state == "COMPLETED":
            # It was finished just now, or somebody has taken its result away.
            _log.info("%s", handled)
            done += 1
        elif handled.outcome is Outcome.KNOWN:
            underway += 1
    return SweepResult(
        started=started,
        underway=underway,
        failed=failed,
        skipped=skipped,
        done=done,
        left=len(found.todo) - looked_at,
        waiting=waiting,
    )


def _list_waiting(waiting: Sequence[WaitingRun]) -> None:
    """Show in Prefect's UI, and in the log, which runs wait for the next day."""
    if not waiting:
        return
    _log.warning(
        "%s for the next day's budget; `longtake budget` lists them",
        "1 run waits" if len(waiting) == 1 else f"{len(waiting)} runs wait",
    )
    rows = [{"run": run.name, "until": str(run.until)} for run in waiting[:_MOST_LISTED]]
    try:
        create_table_artifact(
            table=rows,
            key="longtake-waiting",
            description=f"{len(waiting)} that wait for the next day's budget",
        )
    except Exception as error:  # a list for people must not cost the sweep
        _log.warning("what waits is not shown: %s", " ".join(str(error).split()))


def _in_words(result: SweepResult) -> str:
    return (
        f"started {result.started} runs, scheduled {result.recovered} again; {result.underway} "
        f"are underway, {result.failed} failed, {result.skipped} have no prompts, "
        f"{result.done} are done, {result.left} wait for the next sweep"
        + (f", {result.waiting} for tomorrow's budget" if result.waiting else "")
    )
