"""Videos: what they hold, exact frames from anywhere in them, and files to show results in."""

from samcore.video.digest import source_digest
from samcore.video.frame import Frame
from samcore.video.info import VideoInfo
from samcore.video.reader import FrameReader
from samcore.video.source import VideoSource, open_video
from samcore.video.writer import VideoWriter

__all__ = [
    "Frame",
    "FrameReader",
    "VideoInfo",
    "VideoSource",
    "VideoWriter",
    "open_video",
    "source_digest",
]
