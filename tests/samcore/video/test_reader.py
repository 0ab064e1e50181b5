"""A reader holds little, ends with its `with` block, and never hangs."""

import contextlib
import gc
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time

import psutil
import pytest

from samcore.errors import InputError, VideoError
from samcore.video import FrameReader, open_video
from samcore.video import reader as reader_module
from samcore.video.decoder import find_ffmpeg


def _decoders() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


def _wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def source(clips):
    """A video that was scanned."""
    return open_video(clips.path("open-gop.mp4"))


@pytest.mark.parametrize("end", ["last frame", "early break", "exception", "no frame", "close"])
def test_reader_leaves_no_process_however_it_ends(source, end):
    """No process, thread or descriptor outlives the `with` block; those of tests before may end."""
    source.frame(0)  # whatever opens once has been opened
    gc.collect()
    before = psutil.Process().num_fds()
    threads = threading.active_count()
    try:
        with source.read(5, prefetch=2) as reader:
            if end == "last frame":
                assert len(list(reader)) == 55
            elif end == "early break":
                next(reader)
            elif end == "exception":
                next(reader)
                raise ZeroDivisionError
            elif end == "close":
                next(reader)
                reader.close()
    except ZeroDivisionError:
        assert end == "exception"

    assert _decoders() == []
    assert threading.active_count() <= threads
    assert psutil.Process().num_fds() <= before


def test_reader_that_has_ended_gives_no_more_frames(source):
    """A reader that gave its last frame says so again and again, and is free already."""
    reader = source.read(57)

    assert [frame.frame_idx for frame in reader] == [57, 58, 59]
    assert list(reader) == []
    assert _decoders() == []


def test_a_closed_reader_says_what_to_do(source):
    """Asking a closed reader for a frame is refused with the way out."""
    with source.read() as reader:
        next(reader)

    with pytest.raises(RuntimeError, match=r"call read\(\)"):
        next(reader)


def test_a_forgotten_reader_ends_its_decoder(source):
    """A reader that is dropped without being closed takes thread and decoder with it."""
    reader = source.read(prefetch=1)
    next(reader)
    assert len(_decoders()) == 1

    del reader
    gc.collect()

    _wait_for(lambda: not _decoders())
    _wait_for(lambda: not any(t.name == "frame-reader" for t in threading.enumerate()))


def test_no_more_than_the_queue_is_decoded_ahead():
    """While nothing is taken, the giver stops at the queue's limit, plus the one in hand."""
    given = []

    def produce(stopping):
        for number in range(1000):
            given.append(number)
            yield number

    with FrameReader(produce, prefetch=4) as reader:
        next(reader)
        _wait_for(lambda: len(given) >= 6)
        time.sleep(0.2)
        assert len(given) == 6  # one taken, four in the queue, one in hand


def test_a_queue_without_room_is_refused(source):
    """`prefetch` below one is an error, not a reader that hangs."""
    with pytest.raises(InputError, match="at least one frame"):
        source.read(prefetch=0)


def test_the_givers_exception_comes_after_its_frames():
    """What goes wrong while decoding ahead is raised where the frames run out, not before."""

    def produce(stopping):
        yield from (0, 1, 2)
        raise VideoError("no more")

    with FrameReader(produce, prefetch=8) as reader:
        time.sleep(0.1)  # the error is there before the first frame is asked for
        assert [next(reader) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(VideoError, match="no more"):
            next(reader)


def test_a_giver_that_cannot_say_that_it_ended(monkeypatch):
    """Where memory runs out so far that the thread's last word is lost, that is what is raised, in
    place of a wait for ever."""

    def produce(stopping):
        yield 0

    def fail(self, error):
        raise MemoryError

    monkeypatch.setattr(reader_module._Channel, "finish", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with FrameReader(produce, prefetch=1) as reader:
        assert next(reader) == 0
        with pytest.raises(MemoryError, match="ended without a word"):
            next(reader)


def test_two_readers_do_not_disturb_each_other(source):
    """Readers of one source run side by side."""
    with source.read(0, 20) as left, source.read(30, 50) as right:
        pairs = [(a.frame_idx, b.frame_idx) for a, b in zip(left, right, strict=True)]

    assert pairs == list(zip(range(20), range(30, 50), strict=True))


def test_a_decoder_that_stalls_is_ended(clips, tmp_path):
    """A decoder that stops giving frames is killed, and the error names the frame."""
    source = open_video(clips.path("changing-size.ts"))
    with source.read(0, prefetch=1, stall_s=3.0) as reader:
        assert next(reader).frame_idx == 0
        (decoder,) = _decoders()
        decoder.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(VideoError, match=r"nothing for 3 s at frame \d+"):
            list(reader)

    assert time.monotonic() - began < 60
    assert not decoder.is_running()


def test_a_slow_consumer_is_no_stall(source):
    """Time that the consumer takes does not count against the decoder."""
    with source.read(0, 20, prefetch=1, stall_s=2.0) as reader:
        next(reader)
        time.sleep(2.5)
        assert len(list(reader)) == 19


def _make_fake_ffmpeg(folder, body):
    """An ffmpeg that answers as the real one when asked for its version, and else does `body`."""
    program = folder / "ffmpeg"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *-version*) exec {find_ffmpeg().path} -version;; esac\n{body}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_a_scan_that_stalls_is_ended(clips, tmp_path, monkeypatch):
    """A decoder that hangs on opening is killed, and the error says so."""
    path = clips.path("open-gop.mp4")
    _make_fake_ffmpeg(tmp_path, "exec sleep 600")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(VideoError, match=r"nothing for 0\.5 s at frame 0"):
        open_video(path, stall_s=0.5)


def test_a_decoder_that_dies_is_an_error(clips, tmp_path, monkeypatch):
    """A crash of the decoder is an error with the frame, not a short video."""
    source = open_video(clips.path("doubled-pts.mkv"))
    with source.read(0, prefetch=1) as reader:
        next(reader)
        (decoder,) = _decoders()
        decoder.kill()
        with pytest.raises(VideoError, match=r"frame \d+"):
            list(reader)


def test_a_seeking_decoder_that_dies_is_replaced(clips):
    """Where there is an earlier place to start from, a crash costs time and no frame."""
    source = open_video(clips.path("vp9.webm"))
    with source.read(40, prefetch=1) as reader:
        frames = [next(reader).frame_idx]
        for decoder in _decoders():
            decoder.kill()
        frames += [frame.frame_idx for frame in reader]

    assert frames == list(range(40, 60))


def test_a_program_that_is_no_ffmpeg_is_told(clips, tmp_path, monkeypatch):
    """Something else under ffmpeg's name is refused by name."""
    path = clips.path("plain.mp4")
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(VideoError, match="is not an ffmpeg"):
        open_video(path)


def test_a_file_that_changes_is_noticed(clips, tmp_path):
    """Frames of a file that was replaced after the scan are never passed off as its own."""
    path = tmp_path / "video.mp4"
    path.write_bytes(clips.path("open-gop.mp4").read_bytes())
    source = open_video(path)
    path.write_bytes(clips.path("plain.mp4").read_bytes())

    with pytest.raises(VideoError, match="changed while it was read, seen at frame 30"):
        source.frame(30)


_KILL_WHILE_READING = """
import os, signal, sys, psutil
from samcore.video import open_video
source = open_video(sys.argv[1])
reader = source.read(prefetch=1)
next(reader)
(child,) = psutil.Process().children()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

_KILL_WHILE_SCANNING = """
import os, signal, sys, psutil
from samcore.video import open_video
def stop(done, total):
    (child,) = psutil.Process().children()
    child.suspend()
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
open_video(sys.argv[1], on_progress=stop)
"""


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """A video of a minute, which takes a second or more to decode."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    lavfi = "testsrc2=size=320x240:rate=24:duration=60"
    command = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", lavfi, "-c:v", "mpeg4"]
    subprocess.run([*command, str(path)], check=True)
    return path


def _run_to_its_death(script, path):
    """Run a script that prints its decoder's number and kills itself; give the decoder."""
    answer = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == -signal.SIGKILL, answer.stderr
    return int(answer.stdout)


def test_a_killed_reader_takes_its_decoder_along(long_video):
    """After SIGKILL of the reading process, its ffmpeg ends by itself."""
    pid = _run_to_its_death(_KILL_WHILE_READING, long_video)

    _wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_killed_scan_takes_its_decoder_along(long_video):
    """After SIGKILL in the middle of a scan, its ffmpeg does not decode on to the end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    open_video(long_video)
    whole_scan_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    decoder = psutil.Process(_run_to_its_death(_KILL_WHILE_SCANNING, long_video))
    used_s = 0.0
    decoder.resume()
    with contextlib.suppress(psutil.NoSuchProcess):
        while decoder.status() != "zombie":
            used_s = decoder.cpu_times().user
            assert used_s < whole_scan_s / 2
