"""A run over pictures on several devices of one machine: a process each, one result."""

import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import flows.segment_images as flow
from flows.images.request import validate_images
from flows.images.result import ImagesResult
from samcore.chunks.plan import Chunk
from samcore.picture_runs.progress import PictureProgress
from samcore.progress import Progress, listening
from samcore.result.manifest import MASKS
from tasks.segment_shard import segment_shard
from tests.bench.image_kills import check, make_pictures

LIMIT_S = 120.0
NUM_SHARDS = 6
OnOther = Callable[[Chunk, int | None], None]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("prefect_api")
def test_processes_on_two_devices_share_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """24 pictures, 2 of them broken, in shards of 4, on `cpu,cpu`. Whether both devices end their
    work, the second process is killed in a shard, or the run is stopped and goes on: each picture
    once, the bytes of one process, and no process is left."""
    caplog.set_level(logging.INFO, logger="flows")
    broken = make_pictures(tmp_path / "pictures", 24, 2, seed=5)
    reports: list[Progress] = []
    mine: list[int] = []
    may_go_on = threading.Event()
    on_other: list[OnOther] = []

    class Watched(PictureProgress):
        def at(self, shard: Chunk, done: int) -> None:
            super().at(shard, done)
            if (
                threading.current_thread() is not threading.main_thread()
                and shard.index not in mine
            ):
                on_other[0](shard, done)

        def end(self, shard: Chunk) -> None:
            super().end(shard)
            if threading.current_thread() is not threading.main_thread():
                on_other[0](shard, None)

    def gated(run, index, on_picture, device):  # type: ignore[no-untyped-def]
        mine.append(index)
        assert may_go_on.wait(LIMIT_S)
        return segment_shard(run, index, on_picture, device)

    monkeypatch.setattr(flow, "PictureProgress", Watched)
    monkeypatch.setattr(flow, "segment_shard", gated)

    def run(name: str, device: str = "cpu,cpu", other: OnOther | None = None) -> ImagesResult:
        """A run whose first shard waits until the other process has done something."""
        mine.clear()
        caplog.clear()
        reports.clear()
        on_other[:] = [other or (lambda _shard, _done: None)]
        (may_go_on.set if other is None else may_go_on.clear)()
        request = validate_images(
            pictures=[str(tmp_path / "pictures")],
            everything={"points_per_side": 2, "min_stability": 0.5},
            destination=str(tmp_path / name),
            model="nano",
            image_size=64,
            device=device,
            shard_pictures=4,
        )
        with listening(reports.append):
            state = flow.segment_images.fn(request)
        return state.data  # type: ignore[attr-defined, no-any-return]

    def see(name: str, result: ImagesResult) -> None:
        check(tmp_path / name, 24, broken)
        assert (tmp_path / name / MASKS).read_bytes() == (tmp_path / "calm" / MASKS).read_bytes()
        assert result.key == calm.key
        assert _processes() == []

    calm = run("calm", "cpu")
    assert mine == list(range(NUM_SHARDS))

    def kill(_shard: Chunk, _done: int | None) -> None:
        if not may_go_on.is_set():
            _processes()[0].kill()
            may_go_on.set()

    see("killed", run("killed", other=kill))
    others = _done_elsewhere(caplog)
    assert not set(mine) & set(others)
    assert len(mine) >= NUM_SHARDS - 1  # all, unless this machine was too busy to kill in time
    warned = [text for text in caplog.messages if "ended" in text]
    assert warned == ["the process on cpu ended: ended by SIGKILL; the others do its work"]

    def stop(_shard: Chunk, _done: int | None) -> None:
        may_go_on.set()

    def interrupted(run, index, on_picture, device):  # type: ignore[no-untyped-def]
        assert may_go_on.wait(LIMIT_S)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(flow, "segment_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("out", other=stop)
    assert _processes() == []
    assert not [text for text in caplog.messages if "ended" in text]

    def go_on(_shard: Chunk, done: int | None) -> None:
        if done is None:
            may_go_on.set()

    before = {int(path.parent.name) for path in (tmp_path / "out").rglob("done.json")}
    see("out", run("out", other=go_on))
    others = _done_elsewhere(caplog)
    assert others
    assert mine
    assert sorted([*before, *mine, *others]) == list(range(NUM_SHARDS))
    shown = [report.done for report in reports if report.unit == "pictures"]
    assert shown == sorted(shown)
    assert shown[-1] == 24


def _processes() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.is_running() and any("device_process" in word for word in child.cmdline())
    ]


def _done_elsewhere(caplog: pytest.LogCaptureFixture) -> list[int]:
    said = (re.match(r"shard (\d+): 4 pictures on cpu$", text) for text in caplog.messages)
    return [int(found[1]) for found in said if found]
