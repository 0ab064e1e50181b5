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
