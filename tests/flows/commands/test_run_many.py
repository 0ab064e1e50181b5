"""One command for many videos: a run each, of which none stops the others."""

import gc
import io
import shutil
import signal
from pathlib import Path

import pytest
import torch
from rich.console import Console

from flows.cli import run
from flows.commands import run_local, run_many
from flows.commands.console import Terminal
from samcore.models import loader
from samcore.progress import Progress
from samcore.result.manifest import MANIFEST, MASKS, read_manifest
from samcore.tracking.tracker import VideoTracker
from samcore.video import VideoSource
from tasks.sources import opened
from tests.servers.forked_commands import WarmCommands

TINY = ("--model", "nano", "--image-size", "64", "--device", "cpu", "--no-report")


@pytest.fixture
def tapes(clip: Path, tmp_path: Path) -> Path:
    """A folder with three videos, and one that is none between them."""
    folder = tmp_path / "tapes"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.mp4", "c.mp4", "sub/d.mp4"):
        shutil.copy(clip, folder / name)
    (folder / "b.mp4").write_bytes(b"a diary")
    return folder


@pytest.mark.usefixtures("prefect_api")
def test_a_folder_of_videos(
    tapes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each gets its result; the one that is bad is listed at the end, and the exit code is 3. The
    model is loaded once, and what a run held is gone when the next one has ended. The same command
    does nothing again, with a limit that what is there does not count for."""
    loaded: list[str] = []
    held: list[tuple[int, ...]] = []
    build = loader.model_family

    def counted(family: str) -> object:
        loaded.append(family)
        return build(family)

    def take(*args: object) -> None:
        original(*args)  # type: ignore[arg-type]  # as it was called
        gc.unfreeze()
        gc.collect()
        kinds = [type(one) for one in gc.get_objects()]
        held.append((*map(kinds.count, (VideoSource, VideoTracker)), kinds.count(torch.Tensor)))

    original = run_many._take
    monkeypatch.setattr(loader, "model_family", counted)
    monkeypatch.setattr(run_many, "_take", take)
    monkeypatch.setattr(opened._videos, "_most", 1)  # the last one's index, for its next task
    monkeypatch.setattr(opened, "_KEPT_FRAMES", 0)
    loader.unload_model()
    out = tapes.parent / "out"
    args = ["track", str(tapes), "-o", str(out), "--box", "1:0:10,10,60,60", *TINY, "--stop", "5"]

    assert run([*args, "--limit", "2", "--order", "largest"]) == 0
    first = capfd.readouterr()
    assert "left for the next call: 2 videos" in first.out
    assert sorted(path.parent.name for path in out.rglob(MANIFEST)) == ["a.mp4", "c.mp4"]

    assert run([*args, "--limit", "2"]) == 3
    said = capfd.readouterr()
    assert "4 videos: 3 results in" in said.out
    assert "nothing to do for 2 videos" in said.out
    assert "1 video without a result:\n  b.mp4: " in said.out
    assert "cannot be opened as a video" in said.out
    assert "video 2 of 4: b.mp4" in said.err
    cost = read_manifest(out / "sub" / "d.mp4").cost
    assert cost is not None
    assert cost.object_frames == 5
    assert {"prompts", "decode", "track"} <= set(cost.stages)
    assert 0 < cost.device_seconds == pytest.approx(sum(cost.stages.values()), abs=0.01)
    assert loaded == ["sam2"]
    assert len(held) == 5
    assert {found[:2] for found in held} == {(1, 0)}
    assert held[1:] == held[:-1]


def test_a_server_that_is_gone_ends_the_list(
    tapes: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would be gone for all that follow: one line, and nothing is called a bad video."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    def away() -> None:
        from flows.server.deployment import ServerAwayError

        raise ServerAwayError("the server is away")

    monkeypatch.setattr(run_local, "check_named_server", away)
    videos = [str(tapes / "a.mp4"), str(tapes / "c.mp4")]
    box = ("--box", "1:0:10,10,60,60")
    assert run(["track", *videos, "-o", str(tapes.parent / "out"), *box, *TINY]) == 2
    said = capfd.readouterr()
    assert said.err.splitlines()[-1] == "longtake: the server is away"
    assert "without a result" not in said.out


def test_stopped_in_the_middle_the_same_command_goes_on(warm: WarmCommands, tapes: Path) -> None:
    """SIGTERM while the second video is tracked: the first one's result is there and stays, and the
    second goes on in its chunk; both have the bytes of runs that nobody disturbed."""
    (tapes / "b.mp4").unlink()
    shutil.rmtree(tapes / "sub")
    box = ("--box", "1:0:10,10,60,60", "--chunk-frames", "40", "--overlap", "4")
    calm, out = tapes.parent / "calm", tapes.parent / "out"
    assert warm.start(["track", str(tapes), "-o", str(calm), *box, *TINY]).wait() == 0

    args = ["track", str(tapes), "-o", str(out), *box, *TINY]
    command = warm.start(args, halt=f"{out}/c.mp4/.longtake/runs/*/chunks/*/.masks.parquet.*")
    command.wait_for_halt()
    command.kill(signal.SIGTERM)
    command.kill(signal.SIGCONT)
    assert command.wait() == 143, command.err
    assert command.err.splitlines()[-1].startswith("longtake: stopped; the same command goes on")
    assert not (out / "c.mp4" / MANIFEST).exists()
    when = (out / "a.mp4" / MANIFEST).stat().st_mtime_ns

    command = warm.start(args)
    assert command.wait() == 0, command.err
    assert "nothing to do for 1 video" in command.out
    assert (out / "a.mp4" / MANIFEST).stat().st_mtime_ns == when
    for name in ("a.mp4", "c.mp4"):
        assert (out / name / MASKS).read_bytes() == (calm / name / MASKS).read_bytes()


def test_lines_say_which_video_it_is() -> None:
    """Without a terminal each video is a line at once, before those about its frames."""
    stream = io.StringIO()
    Terminal(stream).show_overall(Progress("videos", 1, 3, "videos", text="video 2 of 3: b.mp4"))
    assert stream.getvalue() == "video 2 of 3: b.mp4\n"


def test_the_bar_for_all_stays_above_the_present_one() -> None:
    """On a terminal, while the steps of each video come and go."""
    terminal = Terminal(io.StringIO())
    terminal._console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with terminal.live():
        for place, name in enumerate(("a.mp4", "b.mp4")):
            terminal.show_overall(Progress("videos", place, 2, "videos", note=name))
            for what in ("scanning the video", "tracking"):
                terminal.show(Progress(what, 1, 9, "frames"))
                terminal.show(Progress(what, 9, 9, "frames"))
            assert terminal._bars is not None
            first, *others = terminal._bars.tasks
            assert (first.description, first.completed, first.fields["note"]) == (
                *("videos", place, name),
            )
            assert [one.description for one in others] == ["tracking"]
