"""Chunks that are tracked while their video is still scanned.

    WORK/early/runs/<work key>/             a run's folder, as below WORK/runs
    WORK/early/runs/<work key>/early.json   what of the video all of it rests on

What the scan has seen is certain, what follows it is not: how many frames there are, which every
state holds, and whether the file is damaged further on, so that all of it is decoded in another
way. So the work lies apart, under the key that the run has if the file's header is right. When the
scan has ended, all that the work rests on is compared with what was found. If it is the same, the
folder becomes the run's by one renaming, and the run goes on from there as after a kill; else it
goes.

    scan   0 . . . . . . . . . . . . . . . . . . . . . . |end
    chunks           000000000000 1111111111 2222        |2222 333 . . .    the same folder
                     |             |          `- stopped: a partial chunk
                     `-------------`- as soon as their frames are scanned

A process that is killed leaves its early work to the next one, for which the same holds.
"""

import contextlib
import hashlib
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from samcore.beside import Beside
from samcore.chunks.handoff import find_handoff
from samcore.disk.files import make_folder, move
from samcore.disk.locks import locked_if_free
from samcore.errors import StorageError
from samcore.machine.stopping import WorkStopped
from samcore.result.records import Record, RunRecord
from samcore.run.folder import RunFolder
from samcore.video import ScanOfFile, VideoSource
from samcore.video.info import Ratio

_log = logging.getLogger(__name__)

_MARGIN = 16
"""Frames beyond a chunk that are waited for: some trackers look ahead."""


class EarlyRecord(Record):
    """`early.json`: what of a video early work rests on."""

    frames: int
    """So many first frames, by their time stamps and checksums."""
    digest: str
    """SHA-256 (hex) of those."""
    num_frames: int
    """Of the whole video."""
    width: int
    height: int
    time_base: Ratio
    damaged: str | None
    reading: str | None
    """As in `VideoInfo`."""
    chunks: int = 0
    """Chunks that were done when the scan had ended; 0 before that."""

    @classmethod
    def of(cls, video: VideoSource, frames: int) -> "EarlyRecord":
        """What work on the first frames of a video rests on."""
        info, index = video.info, video.index
        digest = hashlib.sha256()
        for values in (index.pts_n, index.key_n, index.checksum_n, video.shown_pts_n):
            digest.update(np.ascontiguousarray(values[:frames]).data)
        return cls(
            frames=frames,
            digest=digest.hexdigest(),
            num_frames=info.num_frames,
            width=info.width,
            height=info.height,
            time_base=info.time_base,
            damaged=info.damaged,
            reading=info.reading,
        )

    def holds_for(self, video: VideoSource) -> bool:
        """Whether work that rests on this can be gone on with, or taken, in this video."""
        known = len(video.index) >= self.frames
        return known and EarlyRecord.of(video, self.frames) == self.model_copy(update={"chunks": 0})


class Moment(Protocol):
    """Where in a video something is said of an object: on a frame or at a time."""

    @property
    def frame(self) -> int | None:
        """From 0."""

    @property
    def time(self) -> float | None:
        """Seconds from the video's start."""


def opened_beside(
    scan: Callable[..., VideoSource], meanwhile: Callable[[ScanOfFile], None]
) -> VideoSource:
    """Open a video in a thread, while this one does something else.

    Args:
        scan: Opens it; takes `so_far`.
        meanwhile: Gets the same, and ends when it has ended.

    Raises:
        BaseException: What one of them raises.
    """
    so_far = ScanOfFile()
    opened: list[VideoSource] = []

    def work(check: Callable[[], None]) -> None:
        with so_far.scanning(check):
            opened.append(scan(so_far=so_far))

    with Beside(work):
        meanwhile(so_far)
    return opened[0]


def frames_to_begin(
    so_far: ScanOfFile,
    *,
    start: int,
    stop: int | None,
    chunk_frames: int,
    moments: Sequence[Moment],
    least_s: float,
    most: int,
) -> VideoSource | None:
    """Wait for the frames of the first chunk and of all prompts.

    Args:
        so_far: Of the scan.
        start: First frame to track.
        stop: One past the last frame to track; None is the video's end.
        chunk_frames: Frames of a chunk.
        moments: Where the prompts are.
        least_s: Seconds that the scan has to go on for.
        most: Frames that a video may have.

    Returns:
        The video's first frames; None if there is less than two chunks to track, or the scan ends
        before that, or soon.
    """
    wait = partial(so_far.first_frames, stop=threading.Event())
    if wait(1) is None or so_far.claimed is None:
        return None
    ends = min(so_far.claimed, so_far.claimed if stop is None else stop)
    if so_far.claimed > most or ends - start < 2 * chunk_frames:
        return None
    video = wait(start + chunk_frames)
    while video is not None:
        last = len(video.index) - 1
        if all(
            (one.frame or 0) <= last and (one.time or 0) < video.time_s(last) for one in moments
        ):
            break
        video = wait(last + chunk_frames)
    return video if so_far.seconds_left() >= least_s else None


def early_folder(folder: RunFolder) -> RunFolder:
    """Where early work of a run lies; its records have the names of the run's own."""
    return RunFolder.for_key(folder.work_dir / "early", folder.path.name)


def track_while_scanned(
    folder: RunFolder,
    so_far: ScanOfFile,
    *,
    stop: threading.Event,
    lent: Callable[[VideoSource], AbstractContextManager[None]],
    encode: Callable[[], object],
    track: Callable[[int, threading.Event], object],
) -> None:
    """Track the chunks of an early run whose frames are scanned, until the scan has ended.

    Only with the folder's lock held.

    Args:
        folder: As `early_folder` gives it, laid out.
        so_far: Of the scan.
        stop: Ends the work, also in a chunk; set when the scan has ended.
        lent: Has the run's video be this one within its block.
        encode: Does the prompt pass, unless it is done.
        track: Tracks a chunk; stopped, it saves what there is and raises `WorkStopped`.

    Raises:
        WorkStopped: `stop` was set by somebody else.
    """
    so_far.at_end(stop.set)
    chunks = folder.record().chunks
    with_states = find_handoff(folder.record().handoff).hands_on_state
    least = 0 if (found := _read(folder)) is None else found.frames
    for index in folder.plan_work(with_states=with_states):
        video = so_far.first_frames(max(least, chunks[index].stop + _MARGIN), stop=stop)
        found = _read(folder)
        if video is None or not (found is None or found.holds_for(video)):
            break
        folder.write_record(_path(folder), EarlyRecord.of(video, len(video.index)))
        try:
            with lent(video):
                if with_states and index == 0:
                    encode()
                track(index, stop)
        except WorkStopped:
            break
    if stop.is_set() and not so_far.ended.is_set():
        raise WorkStopped


def take_early_work(
    folder: RunFolder, video: VideoSource, lay_out: Callable[[RunFolder], None]
) -> None:
    """Make the early work of a run its own, if all that it rests on is so; remove it else.

    Other early work of the video goes, too, unless some process is at it: its header was wrong.

    Args:
        folder: The run's, known by what the video is.
        video: Scanned to its end.
        lay_out: Writes down in a folder what is asked.
    """
    early = early_folder(folder)
    with contextlib.suppress(OSError):
        for path in sorted(early.path.parent.iterdir()):
            with locked_if_free(path / "lock") as is_free:
                if not is_free or not _is_of(video, path):
                    continue
                if path.name != early.path.name or not _take(early, folder, video, lay_out):
                    _log.info("what was tracked while the video was scanned does not hold")
                    shutil.rmtree(path)
        for parent in (early.path.parent, early.work_dir):
            parent.rmdir()


def early_chunks(folder: RunFolder) -> int:
    """How many chunks of a run were done when its scan had ended."""
    found = _read(folder)
    return 0 if found is None else found.chunks


def _take(
    early: RunFolder,
    folder: RunFolder,
    video: VideoSource,
    lay_out: Callable[[RunFolder], None],
) -> bool:
    found = _read(early)
    if found is None or not found.holds_for(video) or folder.path.exists():
        return False
    lay_out(early)
    done = sum(early.chunk_record(chunk.index) is not None for chunk in early.record().chunks)
    early.write_record(_path(early), found.model_copy(update={"chunks": done}))
    make_folder(folder.path.parent)
    with contextlib.suppress(StorageError):  # another process may have made the run's meanwhile
        move(early.path, folder.path)
        return True
    return False


def _is_of(video: VideoSource, early: Path) -> bool:
    record = RunFolder(early).read_record(early / "request.json", RunRecord)
    return record is None or record.source_digest == video.info.digest


def _path(folder: RunFolder) -> Path:
    return folder.path / "early.json"


def _read(folder: RunFolder) -> EarlyRecord | None:
    return folder.read_record(_path(folder), EarlyRecord)
