"""The end of a pipe is not the end of a video: how ffmpeg ended decides."""

import os
import re
import shutil
import signal
import subprocess
from fractions import Fraction

import numpy as np
import psutil
import pytest

from samcore.errors import TransientVideoError, VideoError
from samcore.video import Sound, VideoWriter, file_media, has_sound, open_video
from samcore.video.decoder import find_ffmpeg
from samcore.video.ending import why_died

NUM_FRAMES = 700


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """So many frames that what ffmpeg says of them does not fit into a pipe: it cannot run ahead of
    who listens."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    lavfi = f"testsrc2=size=96x64:rate=25:duration={NUM_FRAMES // 25}"
    command = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", lavfi, "-c:v", "mpeg4"]
    subprocess.run([*command, "-g", "50", str(path)], check=True)
    return path


def _ffmpeg() -> psutil.Process:
    (child,) = (one for one in psutil.Process().children() if "ffmpeg" in one.name())
    return child


@pytest.fixture
def wrapped(tmp_path, monkeypatch):
    """Put a script in the place of ffmpeg; `$FFMPEG` in it is the real one."""

    def wrap(body: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        real = find_ffmpeg().path
        (folder / "ffmpeg").write_text(
            f"#!/bin/bash\nFFMPEG='{real}'\n"
            f'case "$*" in *-version*) exec "$FFMPEG" "$@";; esac\n{body}\n'
        )
        (folder / "ffmpeg").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    return wrap


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_killed_scan_makes_no_index(long_video, tmp_path, number):
    """Whatever signal ends the scanning ffmpeg: it is an error that may pass, no index is left, and
    the next scan finds every frame."""
    index_path = tmp_path / "index.parquet"

    def kill(done, total):
        if done == 20:
            _ffmpeg().send_signal(number)

    with pytest.raises(TransientVideoError, match=r"signal|SIG\w+, at frame \d+; run again"):
        open_video(long_video, index_path=index_path, on_progress=kill)

    assert list(tmp_path.glob("*.parquet")) == []
    assert open_video(long_video, index_path=index_path).info.num_frames == NUM_FRAMES


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_reading_of_a_chunk_may_be_tried_again(long_video, number):
    """A chunk's ffmpeg that is killed is told from a file that decodes otherwise each time; the
    next reading gives the same frames. ffmpeg 9 still hands over what it has decoded on SIGTERM,
    which may be all."""
    source = open_video(long_video)
    with source.read(0, NUM_FRAMES, prefetch=1) as reader:
        first = next(reader)
        _ffmpeg().send_signal(number)
        said = ""
        try:
            num_frames = 1 + sum(1 for _ in reader)
        except TransientVideoError as error:
            said = str(error)
    # All frames or an error: never a short reading.
    assert re.search(r"at frame \d+; run again", said) or (
        number == signal.SIGTERM and num_frames == NUM_FRAMES
    )

    with source.read(0, 60) as reader:
        again = list(reader)
    assert len(again) == 60
    assert (again[0].image_rgb_hwc_u8 == first.image_rgb_hwc_u8).all()


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ('"$FFMPEG" "${@:1:$#-1}" -frames:v 5 pipe:1; exit 3', "exit code 3 and no reason"),
        (
            '"$FFMPEG" "${@:1:$#-1}" -frames:v 5 pipe:1\n'
            'echo "[vf#0:0 @ 0x1] [error] Error sending frames: Invalid argument" >&2; exit 234',
            "failed on its way",
        ),
        (
            '"$FFMPEG" "${@:1:$#-1}" -frames:v 5 pipe:1\n'
            'echo "[h264 @ 0x1] [error] get_buffer() failed: Cannot allocate memory" >&2',
            "short of memory",
        ),
        ("kill -9 $$", "ended by SIGKILL, at frame 0"),
    ],
    ids=["no reason", "on its way", "memory", "before the first frame"],
)
def test_an_ffmpeg_that_fails_on_its_way_is_not_believed(clips, tmp_path, wrapped, body, how):
    """An exit code that no damage has, and a complaint of too little memory, make no index."""
    path = clips.path("plain.mp4")  # made by the real one
    wrapped(body)

    with pytest.raises(TransientVideoError, match=how) as caught:
        open_video(path, index_path=tmp_path / "index.parquet")

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "index.parquet").exists()


@pytest.mark.usefixtures("each_ffmpeg")
def test_damage_that_ends_in_an_exit_code_is_still_read(tmp_path):
    """A file of which most frames are lost, so that ffmpeg does not exit with 0, has those left."""
    path = tmp_path / "lost.mkv"
    lavfi = "testsrc2=size=96x64:rate=25:duration=2"
    command = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", lavfi, "-c:v", "libx264"]
    subprocess.run([*command, "-g", "1", str(path)], check=True)
    data = bytearray(path.read_bytes())
    # the length of a slice, in 46 of 50 clusters or blocks, becomes nonsense
    place, spoilt = 0, 0
    while (place := data.find(b"\x65\x88", place + 1)) > 0:
        spoilt += 1
        if spoilt > 4:
            data[place - 4 : place] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    answer = subprocess.run(
        [find_ffmpeg().path, "-v", "error", "-i", str(path), "-f", "null", "-"], capture_output=True
    )
    assert answer.returncode == 69

    info = open_video(path).info

    assert 1 <= info.num_frames <= 10
    assert info.damaged is not None


def test_a_version_that_is_not_told_may_be_tried_again(clips, tmp_path, monkeypatch):
    """An ffmpeg that is killed while it is asked for its version is not called a wrong program."""
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with pytest.raises(TransientVideoError, match="SIGKILL"):
        open_video(clips.path("plain.mp4"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("frames", [2, 4000], ids=["at the end", "on the way"])
def test_a_killed_encoder_may_be_tried_again(tmp_path, number, frames):
    """Whether it is killed between frames or after the last one, the error may pass and no file is
    left."""
    writer = VideoWriter(tmp_path / "out.mp4", width=160, height=120, rate=Fraction(25))
    encoder = _ffmpeg()
    picture = np.zeros((120, 160, 3), np.uint8)
    with pytest.raises(TransientVideoError, match=r"signal|SIG"), writer:  # noqa: PT012
        writer.write(picture)
        encoder.send_signal(number)
        while encoder.status() != "zombie":
            pass
        for _ in range(0 if frames == 2 else frames):
            writer.write(picture)

    assert os.listdir(tmp_path) == []


def test_a_killed_look_for_sound_is_not_silence(clips, wrapped):
    """A video is not called silent because the ffmpeg that looked for its sound was killed."""
    sound = Sound(file_media(clips.path("plain.mp4")), Fraction(0), Fraction(1))
    assert has_sound(sound) is False
    wrapped("kill -9 $$")

    with pytest.raises(TransientVideoError, match="SIGKILL"):
        has_sound(sound)


def test_sound_that_breaks_off_makes_no_video(tmp_path, wrapped):
    """An encoder that lost the file with the sound exits with 0; its video is not published."""
    wrapped('"$FFMPEG" "$@"; code=$?; echo "file:/a.mp4: Input/output error" >&2; exit $code')
    tone = tmp_path / "tone.mp4"
    command = [shutil.which("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1"]
    subprocess.run([*command, str(tone)], check=True, capture_output=True)
    sound = Sound(file_media(tone), Fraction(0), Fraction(1))
    writer = VideoWriter(tmp_path / "out.mp4", width=16, height=16, rate=Fraction(25), sound=sound)

    with pytest.raises(TransientVideoError, match="sound"), writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        (0, "", None),
        (1, "Invalid data found", None),
        (1, "", "exit code 1"),
        (-9, "Invalid data found", "SIGKILL"),
        (-99, "", "signal 99"),
        (255, "Invalid data found", "signal"),
        (0, "Cannot allocate memory", "memory"),
    ],
)
def test_exit_codes_that_count_as_a_killed_ffmpeg(code, said, reason):
    """A signal always, a shortage always, another exit code only if nothing explains it."""
    found = why_died(code, said)
    assert found is None if reason is None else reason in found


def test_passing_video_errors_are_video_errors():
    """Who catches errors of videos also catches those that may pass."""
    assert issubclass(TransientVideoError, VideoError)
