"""Videos: what they hold, exact frames from anywhere in them, and files to show results in.

file, folder or address
  | VideoFile      where the bytes lie; gives a Media to each decoder
  v
Media              what one ffmpeg process reads, and how
  | open_video     decodes all of it once, or finds the index of an earlier time
  v
VideoSource        VideoInfo (size, rate, frames) and the index (time stamp, checksum a frame)
  | read(start)    seeks to the keyframe before, and checks each frame against the index
  v
FrameReader        an iterator, which decodes ahead by a few frames; of a BackwardVideo in reverse
  v
Frame              pixels, frame_idx, pts
  | VideoWriter    encodes pictures for people and programs
  v
mp4, mkv
"""

from samcore.video.backward import BackwardVideo, mirrored
from samcore.video.digest import source_digest
from samcore.video.encode import BROWSER, NUMBERS_8, NUMBERS_16, Codec, Sound, has_sound
from samcore.video.frame import Frame
from samcore.video.glimpse import first_frames
from samcore.video.images import PICTURE_KINDS
from samcore.video.info import VideoInfo, VideoPart
from samcore.video.joined import join_videos
from samcore.video.media import VIDEO_FILES, Media, VideoFile, file_media, web_media
from samcore.video.names import NAMES_KEY, FrameNames
from samcore.video.opening import ScanOfFile, check_parts, check_source, open_video
from samcore.video.reader import FrameReader
from samcore.video.source import VideoSource
from samcore.video.writer import VideoWriter

__all__ = [
    "BROWSER",
    "NAMES_KEY",
    "NUMBERS_8",
    "NUMBERS_16",
    "PICTURE_KINDS",
    "VIDEO_FILES",
    "BackwardVideo",
    "Codec",
    "Frame",
    "FrameNames",
    "FrameReader",
    "Media",
    "ScanOfFile",
    "Sound",
    "VideoFile",
    "VideoInfo",
    "VideoPart",
    "VideoSource",
    "VideoWriter",
    "check_parts",
    "check_source",
    "file_media",
    "first_frames",
    "has_sound",
    "join_videos",
    "mirrored",
    "open_video",
    "source_digest",
    "web_media",
]
