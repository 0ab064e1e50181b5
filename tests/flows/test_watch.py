"""`longtake watch`, as it is used and as it dies."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import run
from flows.commands.process import child_command
from flows.streams.request import validate_watch
from flows.watch_stream import watch_stream
from samcore.errors import InputError
from tasks.settings import load_settings
from tests.samcore.streams.watching import (
    BOX,
    HEIGHT,
    ONE_PART,
    ONE_PART_S,
    WIDTH,
    frames_of,
    one_tracker,
    pictures,
    plan_of,
    published,
    published_rows,
    watch,
)
from tests.servers.forked_commands import WarmCommands
from tests.servers.live_streams import HlsStream, fed

FRAMES = pictures(900)
OPTIONS = ["--model", "nano", "--image-size", "64", "--device", "cpu", "--dtype", "float32"]
OPTIONS += ["--size", f"{WIDTH}x{HEIGHT}", "--rate", "10", "--roll", "1s", "--chunk", "1s"]


@contextlib.contextmanager
def watching(out: Path, first: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The command, which is given frames from `first` on."""
    command = child_command("from flows.cli import main; main()", "watch", "-", "-o", str(out))
    process = subprocess.Popen(
        [*command, *OPTIONS, "--box", "3:0:8,8,30,30"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    stdin, stderr = process.stdin, process.stderr
    assert stdin is not None
    assert stderr is not None

    def feed() -> None:
        with contextlib.suppress(OSError):
            for frame in FRAMES[first:]:
                stdin.write(frame.tobytes())

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        feeder.join()
        with contextlib.suppress(OSError):
            stdin.close()
        stderr.close()


def said_until(process: "subprocess.Popen[bytes]", pattern: str) -> str:
    """What it says, up to a line with the pattern."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line.decode()
        if re.search(pattern, said):
            return said
    raise AssertionError(said)


def next_frame(out: Path) -> int:
    (path,) = out.glob(".longtake/watch/*/checkpoint.json")
    return int(json.loads(path.read_text())["record"]["next_frame"])


@pytest.mark.slow
def test_killed_and_stopped_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL loses what came since the last chunk, and the next start marks it; SIGTERM publishes
    everything. Where the source gives the lost frames again, all rows are those of one tracker."""
    out = tmp_path / "out"
    with watching(out, 0) as process:
        said_until(process, "masks on")
        process.kill()
    killed = next_frame(out)
    assert killed > 0
    with watching(out, killed) as process:
        said_until(process, "masks on")
        process.send_signal(signal.SIGTERM)
        said = said_until(process, "stopped; the same command goes on")
        assert process.wait() == 128 + signal.SIGTERM
    assert "frames tracked, 0 dropped, 1 gap" in said

    stopped = next_frame(out)
    results = published(out)
    assert published_rows(results) == one_tracker(plan_of(tmp_path / "x"), FRAMES[:stopped])
    gaps = {row["frame"]: row["gap"] for row in frames_of(results) if row["gap"]}
    assert gaps == {killed: "restarted"}
    left = [path.name for path in out.glob(".longtake/**/*") if path.is_file()]
    assert sorted(name.partition("-")[0] for name in left) == ["checkpoint.json", "lock", "state"]


@pytest.mark.slow
def test_killed_at_ten_moments(tmp_path: Path) -> None:
    """SIGKILL at any moment of a live stream: what is published is whole at any time, no frame is
    there twice, and each gap is marked."""
    out, chance, marked = tmp_path / "out", random.Random(20_261_129), 0
    stream = HlsStream(tmp_path / "live")
    args = ["watch", stream.url, "-o", str(out), "--model", "nano", "--image-size", "64"]
    args += ["--box", "3:0:8,8,30,30", "--roll", "2s", "--chunk", "1s"]
    with fed(stream), WarmCommands(tmp_path / "commands", {"OMP_NUM_THREADS": "1"}) as commands:
        stream.wait()
        for _ in range(10):
            command = commands.start(args)
            command.compute(chance.uniform(0.1, 2.0))
            command.kill(signal.SIGKILL)
            assert command.wait() == -signal.SIGKILL, command.err
            marked = len([*out.glob(".longtake/watch/*/checkpoint.json")])
            for result in published(out):
                result.check()
        command = commands.start(args)
        before = len(published(out))
        while len(published(out)) < before + 2:
            command.compute(0.1)
            assert command.poll() is None, command.err
        command.kill(signal.SIGTERM)
        assert command.wait() == 128 + signal.SIGTERM, command.err

    results = published(out)
    stamps = frames_of(results)
    assert marked
    assert [row["frame"] for row in stamps] == [*range(len(stamps))]
    for name in ("received", "captured_us"):
        assert [row[name] for row in stamps] == sorted({row[name] for row in stamps})
    gaps = [row["gap"] for row in stamps]
    assert 1 <= gaps.count("restarted") <= 10
    for result in results:
        result.check()
    assert {item.id for result in results for item in result.objects} == {3}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["dog.mp4", "--detect", "motion"], "a file is for `longtake track`"),
        (["rtsp://joe:geheim@cam/a"], "nothing to track"),
        (["rtsp://cam/a", "--box", "1:7:1,1,9,9"], "prompts are on frame 0"),
        (["rtsp://cam/a", "--detect", "motion", "--roll", "0h"], "wanted a duration such as"),
        (["rtsp://cam/a", "--detect", "motion", "--drop", "never"], "does not wait"),
        (["rtsp://cam/a", "--detect", "motion", "--detect-every", "cuts"], "every N-th frame"),
        (["rtsp://joe:geheim@127.0.0.1:1/a", "--detect", "motion"], "Connection refused"),
        (["-", "--box", "1:0:1,1,9,9", "--size", "8x8"], "both --size WxH and --rate N"),
    ],
)
def test_what_is_wrong_is_one_line(
    args: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, no password in it, and nothing is written."""
    out = tmp_path / "out"
    assert run(["watch", *args, "-o", str(out), "--model", "nano", "--image-size", "64"]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "geheim" not in said
    assert not [*out.glob("*/manifest.json")]


def test_a_result_of_a_stream_is_exported_and_read_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for what shows frames, which are not kept: that is said in one line."""
    watch(replace(plan_of(tmp_path), roll_s=ONE_PART_S), FRAMES[:3])
    (result,) = published(tmp_path)
    assert [frame.obj_ids for frame in result] == [(3,)] * 3
    assert [frame.time_s for frame in result] == sorted(frame.time_s for frame in result)
    assert run(["export", str(result.path), "--format", "coco-video", "--format", "davis-png"]) == 0
    for args in (["show"], ["memory"], ["open", "--no-browser"], ["export", "--format", "overlay"]):
        assert run([args[0], str(result.path), *args[1:]]) == 2
        assert "of a stream (standard input), whose frames are not kept" in capsys.readouterr().err


def test_results_go_to_a_bucket(bucket: str) -> None:
    """Each under a prefix of its own, whole; no copy stays on this machine."""
    plan = plan_of(f"s3://{bucket}/cam")
    summary = watch(plan, FRAMES[:20])

    manifests = [plan.open_store(name).read_manifest() for name in summary.published]
    found = [one.request for one in manifests if one is not None]
    assert len(found) == len(summary.published)
    assert [one.start for one in found] == [0, *(one.stop for one in found[:-1])]
    assert found[-1].stop == 20
    copies = [*load_settings().cache_dir.glob("results/**/*.parquet")]
    assert not [*copies, *plan.folder.glob("p*/*")]


@pytest.mark.slow
def test_the_flow_watches_to_the_end(prefect_api: str, tmp_path: Path) -> None:
    """As a flow, too: a playlist that ends is tracked to its end, once."""
    stream = HlsStream(tmp_path / "live")
    with stream.finished(seconds=2):
        request = validate_watch(
            source=stream.url,
            destination=str(tmp_path / "out"),
            prompts=BOX,
            model="nano",
            image_size=64,
            waiting=100,
            roll=ONE_PART,
        )
        summary = watch_stream(request)
    assert (summary.frames, summary.dropped, summary.gaps) == (20, 0, 0)
    (result,) = published(tmp_path / "out")
    assert len(result) == 20
    assert result.source == stream.url


@pytest.mark.parametrize(
    ("source", "says"),
    [("-", "no standard input"), ("rtsp://joe:geheim@cam/a", "LONGTAKE_STREAM_LOGIN")],
)
def test_what_a_flow_cannot_watch_is_said(source: str, says: str) -> None:
    """A worker has no standard input, and a password would be kept with the run."""
    request = validate_watch(source=source, destination="out", prompts=BOX, model="nano")
    with pytest.raises(InputError, match=says) as error:
        watch_stream.fn(request)
    assert "geheim" not in str(error.value)


def test_help_shows_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Texts and defaults are those of the request."""
    assert run(["watch", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "How much goes into one result" in said
    assert "[default: 1h]" in said
