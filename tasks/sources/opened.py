"""Opened videos, shared by all tasks of a process."""

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcore.disk.fetch import Progress
from samcore.disk.files import make_folder
from samcore.errors import InputError, StateError, VideoError
from samcore.run.folder import RunFolder
from samcore.video import (
    ScanOfFile,
    VideoFile,
    VideoSource,
    check_parts,
    join_videos,
    open_video,
)
from samcore.video.tracked import skipping
from tasks.settings import load_settings
from tasks.store.locations import HttpsLocation, S3Location, parse_location

if TYPE_CHECKING:
    from tasks.run.mirror import Mirror

Place = Path | S3Location | HttpsLocation

_KEPT = 4
"""A video's index is some twenty bytes a frame: a few may stay."""
_KEPT_FRAMES = 1_000_000
"""And more of short ones, such as the parts of a recording."""

_Identity = tuple[Path, object]


class _OpenVideos:
    """The videos used last. To open one reads it whole, for its digest; a run has many tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: OrderedDict[_Identity, VideoSource] = OrderedDict()
        self._most = _KEPT

    def keep_at_least(self, count: int) -> None:
        """Keep so many from now on: all parts of a recording, which every chunk opens again."""
        with self._lock:
            self._most = max(self._most, count)

    def open(
        self,
        source: Path | VideoFile,
        index_path: Path,
        *,
        state: object,
        mirror: "Mirror | None",
        on_read: Progress | None,
        on_progress: Progress | None,
        stretch: bool,
        so_far: ScanOfFile | None,
    ) -> VideoSource:
        with self._lock:
            # Each work folder gets its own index, for processes that come later.
            identity = (index_path, (state, stretch))
            video = self._sources.pop(identity, None)
            if video is None:
                make_folder(index_path.parent)
                if mirror is not None:
                    mirror.pull_index(index_path)
                video = open_video(
                    source,
                    index_path=index_path,
                    on_read=on_read,
                    on_progress=on_progress,
                    limits=load_settings().limits,
                    stretch=stretch,
                    so_far=so_far,
                )
                if mirror is not None:
                    mirror.push_index(index_path)
            self._sources[identity] = video
            while len(self._sources) > self._most and self._num_frames() > _KEPT_FRAMES:
                self._sources.popitem(last=False)
            return video

    def _num_frames(self) -> int:
        return sum(video.info.num_frames for video in self._sources.values())


_videos = _OpenVideos()
_lent: dict[Path, VideoSource] = {}
_whole_addresses: dict[str, HttpsLocation] = {}
"""Web addresses of this process's runs, with their queries: those may hold a secret, and are in no
record of a run."""


def open_source(
    source: str | Place,
    work_dir: Path,
    *,
    credentials: str | None = None,
    version: str | None = None,
    mirror: "Mirror | None" = None,
    on_read: Progress | None = None,
    on_progress: Progress | None = None,
    on_fetch: Progress | None = None,
    stretch: bool = False,
    so_far: ScanOfFile | None = None,
) -> VideoSource:
    """Open a video; at once if this process opened it before and it has not changed since.

    A video in a bucket or on the web is fetched when its first frame is wanted, or its index made;
    if the index is there, nothing of the video is read until then.

    Args:
        source: Video file, folder of images, or a video's `s3://` or `https://` address.
        work_dir: Where the index of its frames is kept for other processes.
        credentials: Name of the AwsCredentials block for a bucket.
        version: A bucket's name for the version that is wanted; None is the present one.
        mirror: Where the index is looked for, and kept for other machines.
        on_read: Called while the content of a file is read for its digest: bytes so far, and all.
        on_progress: Called during the scan with the frames so far and how many the header claims.
        on_fetch: Called while the video is fetched: bytes so far, and how many there are.
        stretch: As `TrackSettings.stretch`.
        so_far: As in `open_video`.

    Raises:
        InputError: There is nothing to stretch.
        VideoError: It cannot be read.
        StorageError: It cannot be fetched, or the index not be written.
    """
    place = parse_location(source) if isinstance(source, str) else source
    if isinstance(place, Path):
        path = place.absolute()
        return _videos.open(
            path,
            _index_path(work_dir, os.fsencode(path)),
            state=_state_of(path),
            mirror=mirror,
            on_read=on_read,
            on_progress=on_progress,
            stretch=stretch,
            so_far=so_far,
        )
    if isinstance(place, HttpsLocation):
        place = _whole_addresses.get(place.url, place)
        _whole_addresses[place.uri] = place
    # Late: boto3 and httpx take their time to import, and files of this machine do without them.
    from tasks.sources.remote import find_remote_video

    file = find_remote_video(place, credentials=credentials, version=version, on_fetch=on_fetch)
    # Named for the content, which is known already: the index is worth the same to any address.
    return _videos.open(
        file,
        _index_path(work_dir, file.digest.encode()),
        state=(file.name, file.digest, version),
        mirror=mirror,
        on_read=None,  # its content's digest is known
        on_progress=on_progress,
        stretch=stretch,
        so_far=so_far,
    )


def open_recording(
    source: str | Place,
    further_parts: Sequence[str | Place],
    work_dir: Path,
    *,
    version: str | None = None,
    so_far: ScanOfFile | None = None,
    **options: Any,
) -> VideoSource:
    """Open a video, or the recording that it and further files are, each as `open_source` does.

    Args:
        source: As in `open_source`.
        further_parts: What follows it, in order.
        work_dir: Likewise.
        version: Of `source`.
        so_far: Used for a video in one file.
        options: The others of `open_source`.

    Raises:
        InputError: The parts are not those of one recording.
        SegmentationError: As in `open_source`.
    """
    if not further_parts:
        return open_source(source, work_dir, version=version, so_far=so_far, **options)
    _videos.keep_at_least(1 + len(further_parts))
    parts = [open_source(source, work_dir, version=version, **options)]
    parts += [open_source(part, work_dir, **options) for part in further_parts]
    return join_videos(parts)


def check_recording(
    source: Place, further_parts: Sequence[Place], *, credentials: str | None, version: str | None
) -> None:
    """Look at the first frame of each part of a recording, before all of them are read.

    Raises:
        InputError: They are not those of one recording; names two that differ.
        SegmentationError: A part cannot be had.
    """
    if not further_parts:
        return
    files: list[Path | VideoFile] = []
    for place in (source, *further_parts):
        if isinstance(place, Path):
            files.append(place)
            continue
        from tasks.sources.remote import find_remote_video  # late, like all of boto3

        own = version if place is source else None
        files.append(find_remote_video(place, credentials=credentials, version=own, on_fetch=None))
    check_parts(files, limits=load_settings().limits)


def find_version(
    source: Place, version: str | None, *, credentials: str | None
) -> tuple[str | None, str | None]:
    """Which version of a video is to be read: the bucket's name for it, None where it keeps none;
    and its `ObjectInfo.mark`. Neither is known outside of buckets.

    Args:
        source: Where the video is.
        version: The one that is asked for; None is the present one.
        credentials: Name of the AwsCredentials block for a bucket.

    Raises:
        InputError: A version is asked for of what is in no bucket.
        VideoError: There is no such video.
        StorageError: The bucket does not answer, or refuses.
    """
    if not isinstance(source, S3Location):
        if version is not None:
            raise InputError(f"only what is in a bucket has versions; {source} is not")
        return None, None
    from tasks.sources.remote import look_up  # late, like all of boto3

    found = look_up(source, version=version, credentials=credentials)
    return found.version_id, found.mark


def look_up_source(
    source: S3Location | HttpsLocation, version: str | None, *, credentials: str | None
) -> None:
    """Ask a bucket or a web server for a video, of which nothing is read.

    Raises:
        InputError: It is no single file, or larger than the limit.
        VideoError: There is none, or it is empty.
        StorageError: The store does not answer, or refuses.
    """
    from tasks.sources.remote import find_remote_video  # late, like all of boto3

    file = find_remote_video(source, credentials=credentials, version=version, on_fetch=None)
    load_settings().limits.check_video_bytes(file.size_bytes, name=file.name)


def is_replaced(source: str, digest: str, *, credentials: str | None) -> bool:
    """Whether another content lies where a video was; not if nothing does.

    Args:
        source: As a run's record names the video. Only what is in a bucket is looked at.
        digest: Of the content that was tracked.
        credentials: Name of the AwsCredentials block for a bucket.

    Raises:
        StorageError: The bucket does not answer, or refuses.
    """
    place = parse_location(source)
    if not isinstance(place, S3Location):
        return False
    from tasks.sources.remote import look_up, object_digest  # late, like all of boto3

    try:
        found = look_up(place, version=None, credentials=credentials)
    except VideoError:
        return False
    return object_digest(found) != digest


@contextlib.contextmanager
def lending(folder: RunFolder, video: VideoSource) -> Iterator[None]:
    """Have a run read this video within the block: its own is still scanned."""
    _lent[folder.path] = video
    try:
        yield
    finally:
        del _lent[folder.path]


def open_run_source(folder: RunFolder) -> VideoSource:
    """Open the video of a run.

    Raises:
        StateError: It is not the video any more that the run began with.
        VideoError: It cannot be read.
        StorageError: It cannot be fetched.
    """
    record = folder.record()
    video = _lent.get(folder.path) or open_recording(
        record.source,
        record.further_parts,
        folder.work_dir,
        credentials=folder.credentials,
        version=record.source_version,
        stretch=record.settings.stretch,
    )
    if video.info.digest != record.source_digest:
        raise StateError(f"{record.source} has changed since this run began; run it again")
    return skipping(video, record.tracked)


def _index_path(work_dir: Path, identity: bytes) -> Path:
    return work_dir / "index" / f"{hashlib.sha256(identity).hexdigest()[:16]}.parquet"


def _state_of(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of change of the file, or of all files of the folder."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(str(file.absolute()), file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
