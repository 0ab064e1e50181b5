"""The scripts that measure speed, at a tiny size: what they measure is the same work."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import Scene

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a script by its name, as it imports those beside it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    return importlib.import_module


@pytest.mark.slow
def test_all_peers_track_the_same_masks(load: Load) -> None:
    """Weights, frames and prompts are the same: two objects' masks agree for six frames."""
    peers = load("peers")
    scene = Scene(1, num_frames=6, height=peers.HEIGHT, width=peers.WIDTH)
    frames = [frame.image_rgb_hwc_u8 for frame in scene]
    three = peers.Peers(64, "cpu")

    found = {
        name: [np.asarray(getattr(out, "masks_nhw", out)).reshape(2, -1) for out in run(frames, 2)]
        for name, run in three.runs.items()
    }

    ours = np.stack(found["Longtake"])
    assert ours.any()
    for name, masks in found.items():
        assert np.mean(np.stack(masks) != ours) < 0.002, name


@pytest.mark.slow
def test_peers_take_turns(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame with full memory is measured once for each of them, and nothing else."""
    peers = load("peers")
    monkeypatch.setattr(peers, "WARM_UP", 3)
    scene = Scene(1, num_frames=5, height=peers.HEIGHT, width=peers.WIDTH)
    frames = [frame.image_rgb_hwc_u8 for frame in scene]

    found = peers.measure(peers.Peers(64, "cpu"), frames, 1)

    assert [len(one.seconds) for one in found.values()] == [2, 2, 2]
    assert not torch.is_inference_mode_enabled()
    assert [line.count("|") for line in peers.rows(64, 1, found)] == [8, 8, 8]


def test_the_hour_is_told_by_a_plot_and_numbers(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short video gives as many readings as it has frames for, and a plot of them."""
    script = load("long")
    options = ["--minutes", "0.02", "--size", "64", "--device", "cpu", "--limit", "2"]
    options += ["--rate-limit", "99"]
    monkeypatch.setattr(sys, "argv", ["long.py", *options, "--out", str(tmp_path / "look")])

    assert script.main() == 0

    told = json.loads((tmp_path / "look.json").read_text())
    assert [reading["frame"] for reading in told["readings"]] == [4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert all(reading["rss_bytes"] > 2**20 for reading in told["readings"])
    assert cv2.imread(str(tmp_path / "look.png")).shape == (560, 900, 3)


def test_both_engines_do_the_same_work(load: Load) -> None:
    """Stages of the plain engine and of Longtake's own have nearly the same results, and a row."""
    script = load("engine")
    now, plain = script.engines(64, script.CONFIG)

    assert not now.model.plain
    assert plain.model.plain
    for of in ("preprocess", "encode"):
        ours, theirs = getattr(now, of)(), getattr(plain, of)()
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    line = script.row("x | 64 | 2", now.whole_frames(2, 3), plain.whole_frames(2, 3), 1)
    assert line.count("|") == script.HEADING.splitlines()[0].count("|")


def test_memory_that_grows_is_seen(load: Load) -> None:
    """The second quarter is compared with the last one; the start does not count."""
    script = load("long")
    rss = [50, 90, 100, 100, 100, 101, 110, 120]
    readings = [{"rss_bytes": value} for value in rss]

    assert script.quarters(readings, "rss_bytes") == (100, 115)


def test_what_is_fixed_is_told_from_what_grows(load: Load) -> None:
    """Flows of 4 s and 1.02 of a loop that takes 2 s and 0.01 s a frame."""
    script = load("flow_overhead")
    times = {
        frames: script.Times(flow=[4 + 1.02 * 0.01 * frames + 2], loop=[2 + 0.01 * frames])
        for frames in (600, 1800)
    }

    fixed, share = script.fixed_and_share(times)

    assert fixed == pytest.approx(4)
    assert share == pytest.approx(0.02)


def test_what_is_approximate_is_measured_beside_exact_tracking(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each way: exact tracking agrees with itself, the others nearly."""
    script = load("approximate")
    monkeypatch.setattr(script, "KINDS", ("occlusion",))
    options = ["--frames", "20", "--seeds", "1", "--sizes", "64", "--runs", "1"]
    monkeypatch.setattr(sys, "argv", ["approximate.py", *options])

    assert script.main() == 0

    table = [
        line.split(" | ") for line in capsys.readouterr().out.splitlines() if "`nano` |" in line
    ]
    assert len(table) == len(script.WAYS)
    js = [float(cells[5]) for cells in table]
    assert js[0] == 1.0
    assert all(0.3 < j <= 1.0 for j in js)


@pytest.mark.slow
def test_ways_to_use_a_detector_are_compared(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A short scene: one row for each way, and its numbers are such measures."""
    script = load("identities")
    monkeypatch.setattr(script, "CHUNK", 4)
    frames = load("policies").paint("occlusion", 1, num_frames=10, size=64, objects=2)
    spec = resolve_model("nano", cache_dir=tmp_path, image_size=64)
    model = load_model(spec, choose_compute("cpu", "float32"))
    found = script.detect(frames, 1)

    for outputs in (
        script.associated(model, frames, found, script.Way(2)),
        script.associated(model, frames, found, script.Way(9, "masks")),
        script.prompted_anew(model, frames, found),
    ):
        hota, switches, idf1, j, ids, true = script.score(frames, outputs)
        assert len(outputs) == 10
        assert 0 < hota <= 1
        assert 0 < idf1 <= 1
        assert 0 < j <= 1
        assert switches >= 0
        assert ids >= 1
        assert true == 2


def test_pictures_in_batches_are_the_same_work(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each batch size; each has the masks of one picture at a time."""
    script = load("images")
    monkeypatch.setattr(script, "keep_freed_memory", lambda: None)
    options = ["--models", "nano", "--sizes", "64", "--batches", "2", "3", "--pictures", "3"]
    monkeypatch.setattr(sys, "argv", ["images.py", *options, "--runs", "1"])

    assert script.main() == 0

    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "`nano`" in line]
    assert [cells[2] for cells in table] == ["1", "2", "3"]
    assert table[0][6] == "1.00x"
    assert all(float(cells[8].rstrip(" |")) < 1e-3 for cells in table)


def test_shared_out_work_adds_up_on_paper(load: Load) -> None:
    """With 1 worker and no overlap all ways take the same; with many, matched chunks lose overlap
    and the last round, and shards the encoding of all frames."""
    machines = load("machines")
    costs = machines.Costs(frame=0.1, object=0.01, start=5.0, seam=0.0)
    common = {"frames": 2_400, "objects": 10, "chunk_frames": 240}

    alike = machines.simulate(costs, workers=1, overlap=0, **common)
    assert {round(one.total, 6) for one in alike} == {5 + 2_400 * 0.2}

    one, match, shards = machines.simulate(costs, workers=10, overlap=24, **common)
    # 11 chunks on 10 workers: two rounds.
    assert match.total == pytest.approx(5 + 2 * 240 * 0.2)
    assert match.overlap == pytest.approx(10 * 24 * 0.2 / 10)
    assert shards.total == pytest.approx(5 + 2_400 * 0.11)
    assert one.total > shards.total > match.total
