"""From a video in a bucket to its flow run: by which prompts, where to, and only once."""

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Any

from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict, ValidationError

from flows.arrivals.kinds import KINDS, kind_of
from flows.server.budget import ARRIVAL, Ledger, WaitingRun, waiting_state
from flows.server.deployment import Deployment, StartedRun
from tasks.results.manifest import now
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

VIDEO_SUFFIXES = KINDS[0].suffixes
"""What counts as a video if nothing else is said."""
PROMPTS_SUFFIX = ".prompts.json"
"""`dog.mp4.prompts.json` says what to track in `dog.mp4`."""
SKIPPED = "skipped.json"
"""In the place of a result: why there is none."""
DEPLOYMENT = "segment-video/segment-video"
"""The deployment whose runs are started if nothing else is said."""
_REMEMBERED = 10_000
_MAX_SKIP_BYTES = 1 << 16

_Told = tuple[S3Location, str | None, str | None]
"""What an event says: video, version, ETag."""


class SkipRecord(BaseModel):
    """`skipped.json`: this video was seen, and not tracked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    video: str
    """Its `s3://` address."""
    version: str | None
    """The bucket's name for the version that was seen; None where it keeps none."""
    etag: str | None
    """Of the content that was seen."""
    reason: str
    """One line, with the way out."""
    at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class VideoFilter:
    """Which objects are videos to be tracked."""

    destination: S3Location
    """Where results go: what lies there is never a video to be tracked."""
    prefix: str = ""
    """Keys must begin with this."""
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES
    """Keys must end with one of these, in upper or lower case."""

    def is_video(self, found: S3Location) -> bool:
        """Whether the object is a video to be tracked, by its name."""
        if self.is_result(found) or not found.key.startswith(self.prefix):
            return False
        return found.name != "" and found.key.lower().endswith(
            tuple(suffix.lower() for suffix in self.suffixes)
        )

    def video_of_prompts(self, found: S3Location) -> S3Location | None:
        """The video that a prompts file speaks of; None for all other objects."""
        if not found.key.endswith(PROMPTS_SUFFIX):
            return None
        video = S3Location(found.bucket, found.key.removesuffix(PROMPTS_SUFFIX))
        return video if self.is_video(video) else None

    def is_result(self, found: S3Location) -> bool:
        """Whether it lies where results go."""
        if found.bucket != self.destination.bucket:
            return False
        folder = self.destination.key.rstrip("/")
        return not folder or found.key == folder or found.key.startswith(folder + "/")


class Outcome(Enum):
    """What became of a video."""

    STARTED = "started"
    """A run was made for this version of it."""
    WAITS = "waits"
    """A run was made that waits for the next day, since the day's budget is used up."""
    KNOWN = "known"
    """This version of it had its run already."""
    SKIPPED = "skipped"
    """No prompts or defaults say what to track; `skipped.json` in its place says so."""
    ABSENT = "absent"
    """It is not in its bucket: not any more, or not yet."""
    EMPTY = "empty"
    """It has no bytes."""


@dataclass(frozen=True, slots=True)
class StartedVideo:
    """One video that was looked at."""

    video: S3Location
    outcome: Outcome
    run: StartedRun | None = None
    """Its run, if there is one that was asked for."""

    def __str__(self) -> str:
        if self.outcome is Outcome.STARTED:
            name = "" if self.run is None else f" {self.run.name!r}"
            return f"{self.video}: started the run{name}"
        if self.outcome is Outcome.WAITS:
            name = "" if self.run is None else f" {self.run.name!r}"
            return f"{self.video}: the day's budget is used up: the run{name} waits for tomorrow"
        if self.outcome is Outcome.KNOWN:
            state = "" if self.run is None else f", {self.run.state.lower()}"
            return f"{self.video}: this version has its run already{state}"
        if self.outcome is Outcome.SKIPPED:
            return f"{self.video}: skipped, no prompts"
        if self.outcome is Outcome.EMPTY:
            return f"{self.video}: is empty; nothing to track"
        return f"{self.video}: is not there any more"


class VideoRuns:
    """Makes one run for each version of each video."""

    def __init__(
        self,
        store: ObjectStore,
        deployment: Deployment,
        destination: S3Location,
        *,
        credentials: str | None = None,
    ) -> None:
        """Nothing is called yet.

        Args:
            store: Where videos and results are.
            deployment: Of the flow `segment-video`, or `segment-images` for pictures; its own
                parameters are used for all that a video does not say: which prompts, which model,
                what to write.
            destination: The result of the video `a/b.mp4` goes to `a/b.mp4/` below this.
            credentials: Name of the credentials block that runs use.
        """
        self._store = store
        self._deployment = deployment
        self._destination = destination
        self._credentials = credentials
        self._kind = kind_of(deployment.name)
        self._known: OrderedDict[_Told, None] = OrderedDict()

    def check(self) -> None:
        """See whether runs can be started.

        Raises:
            NotDeployedError: There is no such deployment.
            ServerAwayError: Prefect's server does not answer.
        """
        self._deployment.parameters()

    def place_of(self, video: S3Location) -> S3Location:
        """Where the video's result goes.

        Raises:
            InputError: Its key cannot be a part of another one.
        """
        return self._destination.join(video.key)

    def start(
        self, video: S3Location, *, version: str | None = None, etag: str | None = None
    ) -> StartedVideo:
        """Make the run of one version of a video, unless it has one.

        Args:
            video: Which one.
            version: The bucket's name for the version. With neither this nor `etag` it is the
                present one.
            etag: Names the content, in a bucket that keeps no versions.

        Raises:
            InputError: It cannot be tracked as things are: its key, or the deployment's parameters.
            StorageError: Its bucket cannot be read, or the skip record not be written.
            NotDeployedError: There is no such deployment.
            ServerAwayError: Prefect's server does not answer. A later call makes the run, or finds
                it.
        """
        told = (video, version, etag)
        if told in self._known:
            return StartedVideo(video, Outcome.KNOWN)
        info = self._store.head(video)
        if info is None:
            return StartedVideo(video, Outcome.ABSENT)
        if info.size == 0:
            return StartedVideo(video, Outcome.EMPTY)
        # Not all servers tell the version in their events; this one is spoken of then.
        if version is None and etag in (None, info.etag):
            version, etag = info.version_id, info.etag
        parameters = self._parameters(video, version)
        if parameters is None:
            self._write_skip(video, version, etag)
            return StartedVideo(video, Outcome.SKIPPED)
        key = self._key(video, version, etag)
        wait = self._wait()
        run = self._deployment.start(
            parameters, key=key, name=f"{video.name}: segment", tags=[ARRIVAL], state=wait
        )
        if told[1:] != (None, None):
            self._remember(told)
        self._remove_skip(video)
        new = Outcome.STARTED if wait is None else Outcome.WAITS
        return StartedVideo(video, new if run.is_new else Outcome.KNOWN, run)

    def waiting(self) -> list[WaitingRun]:
        """The runs that wait for the next day, see `flows.server.budget`.

        Raises:
            ServerAwayError: Prefect's server does not answer.
        """
        return self._deployment.asking(lambda client: Ledger(client).waiting())

    def _wait(self) -> State[Any] | None:
        """The state of a run that is made now, if it has to wait for the next day."""
        use = self._deployment.asking(lambda client: Ledger(client).use())
        return waiting_state(use.hours) if use.is_spent else None

    def _key(self, video: S3Location, version: str | None, etag: str | None) -> str:
        """Names one version of a video under this deployment: the idempotency key of its run."""
        which = f"version {version}" if version is not None else f"etag {etag}"
        # Prefect holds keys apart by flow, not by deployment.
        return f"{self._deployment.name}: {video.uri} {which}"

    def _parameters(self, video: S3Location, version: str | None) -> dict[str, Any] | None:
        """What the run is called with; None if nothing says what to track."""
        given = self._deployment.parameters().get("request")
        request: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        request |= self._kind.source(video.uri, version) | {
            "destination": self.place_of(video).uri,
            # A new version of a video replaces the result of the one before.
            "force": True,
        }
        if self._credentials is not None:
            request["credentials"] = self._credentials
        prompts = S3Location(video.bucket, video.key + PROMPTS_SUFFIX)
        if self._store.head(prompts) is not None:
            request["prompts"] = prompts.uri
        checked = self._kind.checked(request)
        return None if checked is None else {"request": checked}

    def _write_skip(self, video: S3Location, version: str | None, etag: str | None) -> None:
        place = self.place_of(video).join(SKIPPED)
        if self._store.head(place) is not None:
            with contextlib.suppress(ValidationError):
                data = self._store.get_bytes(place, limit=_MAX_SKIP_BYTES)
                found = SkipRecord.model_validate_json(data)
                if (found.version, found.etag) == (version, etag):
                    return
        record = SkipRecord(
            video=video.uri,
            version=version,
            etag=etag,
            reason=f"no prompts: put {video.name}{PROMPTS_SUFFIX} beside the {self._kind.what}, "
            f"or tell the deployment {self._deployment.name!r} what to look for",
            at=now(),
        )
        self._store.put_bytes(place, (record.model_dump_json(indent=2) + "\n").encode())

    def _remove_skip(self, video: S3Location) -> None:
        place = self.place_of(video).join(SKIPPED)
        # Looked at first: where versions are kept, each delete of nothing would leave a marker.
        if self._store.head(place) is not None:
            self._store.delete(place)

    def _remember(self, told: _Told) -> None:
        """Remember an event, so that the queue's repetitions cost no calls to the servers.

        Only the last events are remembered; an older one that comes again costs those calls.
        """
        self._known[told] = None
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
