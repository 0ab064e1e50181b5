"""Videos: what they hold, exact frames from anywhere in them, and files to show results in."""

from samcore.video.digest import source_digest
from samcore.video.encode import BROWSER, NUMBERS_8, NUMBERS_16, Codec, Sound, has_sound
from samcore.video.frame import Frame
from samcore.video.info import VideoInfo
from samcore.video.media import Media, VideoFile, file_media, web_media
from samcore.video.names import NAMES_KEY, FrameNames
from samcore.video.reader import FrameReader
from samcore.video.source import VideoSource, check_source, open_video
from samcore.video.writer import VideoWriter

__all__ = [
    "BROWSER",
    "NAMES_KEY",
    "NUMBERS_8",
    "NUMBERS_16",
    "Codec",
    "Frame",
    "FrameNames",
    "FrameReader",
    "Media",
    "Sound",
    "VideoFile",
    "VideoInfo",
    "VideoSource",
    "VideoWriter",
    "check_source",
    "file_media",
    "has_sound",
    "open_video",
    "source_digest",
    "web_media",
]
