"""The door to videos: open a file or a folder of images, and know every frame of it."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from samcore.errors import InputError, VideoError
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.video.decoder import STALL_S, FfmpegProgram, find_ffmpeg
from samcore.video.digest import source_digest
from samcore.video.images import (
    IMAGE_RATE,
    ImageFrames,
    check_name,
    image_codec,
    list_images,
    scan_images,
)
from samcore.video.index import FrameIndex, load_index, save_index
from samcore.video.info import VideoInfo
from samcore.video.joined import check_looks, folder_in_recording, join_videos
from samcore.video.media import LocalFile, VideoFile
from samcore.video.names import FrameNames
from samcore.video.scan import HeaderClaims, Scan, frame_ticks, read_claims, scan_info, scan_video
from samcore.video.seek import VideoFrames
from samcore.video.so_far import ScanSoFar
from samcore.video.source import VideoSource
from samcore.video.timeline import make_timeline

Progress = Callable[[int, int | None], None]
"""Called while a video is scanned, with the frames so far and how many the header claims."""

ScanOfFile = ScanSoFar[Scan]
"""Between the thread that opens a video file for the first time and another one."""

_IMAGES_DECODER = "images 2"


def open_video(
    source: str | Path | VideoFile | Sequence[str | Path | VideoFile],
    *,
    index_path: Path | None = None,
    on_read: Progress | None = None,
    on_progress: Progress | None = None,
    stall_s: float = STALL_S,
    limits: Limits = DEFAULT_LIMITS,
    stretch: bool = False,
    so_far: ScanOfFile | None = None,
) -> VideoSource:
    """Open a video file or a folder of images, and find out about every frame of it.

    The first time that is one full decode, at several times the speed of playing.

    Args:
        source: A file of one of the kinds in `VIDEO_FILES`, or a folder of images of one of
            `PICTURE_KINDS`; or a `VideoFile` that lies elsewhere. Or a list of files: the parts of
            one recording, in order, which become one video as `join_videos` says.
        index_path: Where to keep what was found. If it is there and of a file with this content
            and this version of ffmpeg, it is read and nothing is decoded. Each part of a recording
            has its own, with a number behind this name.
        on_read: Called before it, while a file's content is read, with its bytes so far and all.
        on_progress: Called during the scan with the frames so far and how many the header claims.
        stall_s: Seconds without a frame after which a decoder is ended.
        limits: How large a video may be.
        stretch: Of a folder's pictures with 16 bits, use those bits that are in use in any of
            them: data of 12 bits is nearly black otherwise.
        so_far: Gives another thread, during the scan of one file, the video's first frames.

    Raises:
        InputError: It is larger, there are no pictures with 16 bits to stretch, or parts of a
            recording differ in size, rotation or pixel format.
        VideoError: Missing, unreadable, empty, not a video, no frame that can be decoded, images
            of different sizes, a name that is not UTF-8, or the decoder hangs.
        StorageError: The index cannot be written, or the store of a `VideoFile` does not give it.
    """
    if isinstance(source, Sequence) and not isinstance(source, str):
        if stretch:
            raise _nothing_to_stretch(", ".join(map(_name_of, source)), "a list of video files")
        return _open_parts(source, index_path, on_read, on_progress, stall_s, limits)
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            return _open_images(str(source), path, index_path, on_progress, limits, stretch=stretch)
        size_bytes = _check_file(str(source), path)
        limits.check_video_bytes(size_bytes, name=str(source))  # before all of it is read
        digest = source_digest(path, on_read=on_read)
        file: VideoFile = LocalFile(str(source), path, size_bytes=size_bytes, digest=digest)
    else:
        file = source
        limits.check_video_bytes(file.size_bytes, name=file.name)
    if stretch:
        raise _nothing_to_stretch(file.name, "a video file")
    program = find_ffmpeg()
    known = None
    if index_path is not None:
        known = load_index(
            index_path, size_bytes=file.size_bytes, digest=file.digest, decoder=program.version
        )
    if known is None:
        with file.media() as media:
            claims = read_claims(media, timeout_s=stall_s)
        if so_far is not None:
            part = functools.partial(_first_frames, program, file, claims, stall_s)
            so_far.claim(claims.num_frames, part)
        scan = scan_video(
            program,
            file,
            total=claims.num_frames,
            stall_s=stall_s,
            on_progress=on_progress,
            limits=limits,
            so_far=so_far,
        )
        index = scan.index
        info = scan_info(file, scan, claims)
        if index_path is not None:
            save_index(index_path, info, index, decoder=program.version)
    else:
        info, index = known[0].model_copy(update={"source": file.name}), known[1]
        _check_info(info, limits)
    return _file_source(program, file, info, index, stall_s)


def _open_parts(
    sources: Sequence[str | Path | VideoFile],
    index_path: Path | None,
    on_read: Progress | None,
    on_progress: Progress | None,
    stall_s: float,
    limits: Limits,
) -> VideoSource:
    check_parts(sources, stall_s=stall_s, limits=limits)
    videos: list[VideoSource] = []
    for number, source in enumerate(sources):
        before = sum(video.info.num_frames for video in videos)
        videos.append(
            open_video(
                source,
                index_path=None if index_path is None else _numbered(index_path, number),
                on_read=on_read,
                on_progress=None if on_progress is None else _counting_on(on_progress, before),
                stall_s=stall_s,
                limits=limits,
            )
        )
    video = join_videos(videos, stall_s=stall_s)
    limits.check_frames(video.info.num_frames, name=video.info.source)
    return video


def check_parts(
    sources: Sequence[str | Path | VideoFile],
    *,
    stall_s: float = STALL_S,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Hold the parts of one recording against each other by their first frames, before hours go
    into all of them. One of which no frame can be decoded is passed over: its scan says why.

    Raises:
        InputError: One is a folder of images or too large, or two differ in size, rotation or pixel
            format; names both.
        VideoError: One is missing, empty or not to be read.
    """
    check_looks([_unread(source, limits) for source in sources], stall_s=stall_s)


def _unread(source: str | Path | VideoFile, limits: Limits) -> VideoFile:
    """A part to have a first look at: nothing is read for its digest."""
    if not isinstance(source, str | Path):
        return source
    if Path(source).is_dir():
        raise folder_in_recording(str(source))
    size_bytes = _check_file(str(source), Path(source))
    limits.check_video_bytes(size_bytes, name=str(source))
    return LocalFile(str(source), Path(source), size_bytes=size_bytes, digest="")


def _name_of(source: str | Path | VideoFile) -> str:
    return str(source) if isinstance(source, str | Path) else source.name


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number:04d}{path.suffix}")


def _counting_on(tell: Progress, before: int) -> Progress:
    """Tells of all parts' frames, of which nobody knows how many they are."""
    return lambda done, _: tell(before + done, None)


def _file_source(
    program: FfmpegProgram, file: VideoFile, info: VideoInfo, index: FrameIndex, stall_s: float
) -> VideoSource:
    ticks = frame_ticks(info.avg_rate, info.time_base)
    shown_pts_n = make_timeline(index, frame_ticks=ticks).pts_n
    producer = VideoFrames(program, file, info, index, shown_pts_n=shown_pts_n)
    return VideoSource(info, index, producer, shown_pts_n=shown_pts_n, stall_s=stall_s, file=file)


def _first_frames(
    program: FfmpegProgram, file: VideoFile, claims: HeaderClaims, stall_s: float, scan: Scan
) -> VideoSource | None:
    """The video as far as it is scanned; None if its clock may tell more only later."""
    if not scan.index.seekable:
        return None
    info = scan_info(file, scan, claims).model_copy(update={"num_frames": claims.num_frames})
    return _file_source(program, file, info, scan.index, stall_s)


def check_source(source: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Say what can be seen to be wrong with a file without decoding or reading it.

    Raises:
        InputError: It is larger than the limit.
        VideoError: Missing, empty, no file or folder, or not to be read.
    """
    if not source.is_dir():
        limits.check_video_bytes(_check_file(str(source), source), name=str(source))


def _check_file(source: str, path: Path) -> int:
    """Give the file's size, or say what is wrong before ffmpeg says it less well."""
    try:
        if not path.exists():
            hint = ": download it first" if "://" in source else ""
            raise VideoError(f"no video at {source!r}{hint}")
        if not path.is_file():
            raise VideoError(f"{source!r} is neither a file nor a folder of images")
        check_name(path)
        with path.open("rb"):
            size_bytes = path.stat().st_size
    except OSError as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"cannot read the video {source!r}: {error.strerror}") from error
    if size_bytes == 0:
        raise VideoError(f"{source!r} is empty (0 bytes): was it copied whole?")
    return size_bytes


def _check_info(info: VideoInfo, limits: Limits) -> None:
    """Hold what an earlier scan found against limits that may be other ones now."""
    limits.check_frames(info.num_frames, name=info.source)
    limits.check_size(info.width, info.height, name=info.source)


def _open_images(
    source: str,
    folder: Path,
    index_path: Path | None,
    on_progress: Progress | None,
    limits: Limits,
    *,
    stretch: bool,
) -> VideoSource:
    check_name(folder)
    try:
        found = list_images(folder)
        images = found.images
        size_bytes = sum(image.stat().st_size for image in images)
    except OSError as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"cannot read the folder {source!r}: {error.strerror}") from error
    limits.check_frames(len(images), name=source)
    limits.check_video_bytes(size_bytes, name=source)
    digest = source_digest(folder)
    known = None
    if index_path is not None:
        known = load_index(
            index_path, size_bytes=size_bytes, digest=digest, decoder=_IMAGES_DECODER
        )
    if known is None:
        scan = scan_images(folder, images, on_progress, limits)
        index = scan.index
        info = VideoInfo(
            source=source,
            kind="images",
            width=scan.width,
            height=scan.height,
            num_frames=len(index),
            time_base=1 / IMAGE_RATE,
            avg_rate=IMAGE_RATE,
            start_pts=0,
            duration_s=float(len(index) / IMAGE_RATE),
            codec=image_codec(images[0]),
            container="folder",
            header_num_frames=None,
            header_duration_s=None,
            rotation_deg=0,
            variable_rate=False,
            size_bytes=size_bytes,
            digest=digest,
            damaged=None,
            left_out=found.left_out,
            used_bits=scan.used_bits,
        )
        if index_path is not None:
            save_index(index_path, info, index, decoder=_IMAGES_DECODER)
    else:
        # What lies beside the frames is no part of the digest, and may be other files by now.
        now = {"source": source, "left_out": found.left_out}
        info, index = known[0].model_copy(update=now), known[1]
        _check_info(info, limits)
    if stretch and info.used_bits is None:
        raise _nothing_to_stretch(source, f"{info.codec.upper()} with 8 bits")
    frames = ImageFrames(
        images, index, stretch_bits=info.used_bits if stretch else None, limits=limits
    )
    names = FrameNames(tuple(image.name for image in images))
    return VideoSource(info, index, frames, shown_pts_n=index.pts_n, names=names, stretched=stretch)


def _nothing_to_stretch(name: str, kind: str) -> InputError:
    return InputError(
        f"{name!r} is {kind}: only a folder of PNG or TIFF files of 16 bits can be stretched; do "
        "without"
    )
