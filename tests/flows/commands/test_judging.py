"""`longtake show` and `longtake eval`, on a result that was published."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.cli import run
from samcore.masks.table import MaskReader
from samcore.scenes import Scene
from tasks.add_output import add_output
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.publish_part import publish_part
from tasks.request.segment_request import validate_request
from tasks.results.open import open_result_store
from tasks.store.locations import parse_location
from tasks.store.object_store import shared_store
from tasks.track_chunk import track_chunk

STOP = 12


@pytest.fixture(scope="module")
def published(clip, scene, tmp_path_factory):
    """A result of one chunk, with a report."""
    out = tmp_path_factory.mktemp("published") / "out"
    request = validate_request(
        source=str(clip),
        prompts={
            "objects": [{"id": i, "prompts": [{"frame": 0, "box": _box(scene, i)}]} for i in (1, 2)]
        },
        destination=str(out),
        model="nano",
        settings={"device": "cpu"},
        stop=STOP,
    )
    ref = plan_run.fn(request)
    encode_prompts.fn(ref)
    track_chunk.fn(ref, 0)
    publish_part.fn(ref, 0)
    publish.fn(ref, request)
    add_output.fn(ref, "report")
    return out


def _box(scene: Scene, obj_id: int) -> list[float]:
    rows, columns = np.nonzero(scene.masks_nhw(0)[obj_id - 1])
    return [float(columns.min()), float(rows.min()), columns.max() + 1.0, rows.max() + 1.0]


@pytest.fixture(scope="module")
def truth(scene, tmp_path_factory):
    """The scene's own masks, in DAVIS's layout."""
    folder = tmp_path_factory.mktemp("truth") / "clip"
    folder.mkdir()
    for frame_idx in range(STOP):
        index_hw = np.zeros((scene.height, scene.width), np.uint8)
        for place, mask_hw in enumerate(scene.masks_nhw(frame_idx), 1):
            index_hw[mask_hw] = place
        Image.fromarray(index_hw).save(folder / f"{frame_idx:05d}.png")
    return folder


def test_show_without_a_display_says_where(published, monkeypatch, capsys):
    """The report's path, and nothing is opened."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(["show", str(published)]) == 0
    assert capsys.readouterr().out == f"{published / 'report.html'}\n"


def test_show_opens_the_browser_of_a_display(published, monkeypatch, capsys, tmp_path):
    """With a display the browser of the environment is started, with the report's address."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr("webbrowser._tryorder", None)
    monkeypatch.setattr("webbrowser._browsers", {})
    monkeypatch.setenv("BROWSER", str(browser))

    assert run(["show", str(published)]) == 0

    assert opened.read_text().strip() == (published / "report.html").as_uri()
    assert capsys.readouterr().out == f"opened {published / 'report.html'}\n"


@pytest.mark.parametrize("command", ["show", "eval"])
def test_a_folder_without_a_result(command, truth, tmp_path, capsys):
    """One clear line, exit code 2; also for a manifest that is none."""
    more = [] if command == "show" else [str(truth)]
    assert run([command, str(tmp_path), *more]) == 2
    (tmp_path / "manifest.json").write_text("{}")
    assert run([command, str(tmp_path), *more]) == 2
    nothing, damaged = capsys.readouterr().err.splitlines()
    assert nothing.startswith(f"longtake: there is no whole result in {tmp_path}: wanted")
    assert damaged.startswith(f"longtake: cannot read {tmp_path}/manifest.json: damaged, or")


@pytest.mark.parametrize("command", ["show", "eval"])
def test_a_damaged_result(command, published, truth, tmp_path, capsys):
    """The line names the file."""
    shutil.copytree(published, tmp_path / "out")
    (tmp_path / "out" / "masks.parquet").write_bytes(b"PAR1")
    more = [] if command == "show" else [str(truth)]
    assert run([command, str(tmp_path / "out"), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"longtake: {tmp_path}/out/masks.parquet is damaged: ")


def test_a_result_without_a_report(published, tmp_path, capsys):
    """It says how to get one."""
    shutil.copytree(published, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = [f for f in manifest["files"] if f["name"] != "report.html"]
    path.write_text(json.dumps(manifest))

    assert run(["show", str(tmp_path / "out")]) == 2

    assert "--no-report" in capsys.readouterr().err


def test_eval_prints_a_table(published, truth, capsys):
    """An object a row, all of them below, and identities; the folder above the sequences will do
    as well, as the video is called like one of them."""
    assert run(["eval", str(published), str(truth)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["SEQUENCE", "OBJECT", "AS", "FRAMES", "J&F", "J"]
    assert [line.split()[:3] for line in lines[1:3]] == [["clip", "1", "1"], ["clip", "2", "2"]]
    assert lines[3].split()[0] == "all"
    assert "0 identity switches, HOTA 0." in lines[4]

    (truth.parent / "other").mkdir(exist_ok=True)
    assert run(["eval", str(published), str(truth.parent)]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_eval_as_a_record(published, truth, capsys):
    """The numbers are those of the masks: J of one object, counted by hand."""
    assert run(["eval", str(published), str(truth), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    values = []
    with MaskReader(published / "masks.parquet") as reader:
        for frame_idx in range(1, STOP - 1):
            mask_hw = reader.masks(frame_idx)[1]
            true_hw = np.asarray(Image.open(truth / f"{frame_idx:05d}.png")) == 1
            values.append((mask_hw & true_hw).sum() / max((mask_hw | true_hw).sum(), 1))
    (sequence,) = found["sequences"]
    assert sequence["objects"][0]["j"]["mean"] == pytest.approx(np.mean(values))
    assert sequence["objects"][0]["frames"] == STOP - 2
    means = [item["j_and_f"] for item in sequence["objects"]]
    assert found["j_and_f"] == pytest.approx(np.mean(means))
    assert sequence["identity"]["switches"] == 0


def test_eval_of_many_results(published, truth, tmp_path, capsys):
    """A folder of results is held against a folder of sequences, by name, object by object."""
    for name in ("bear", "dog"):
        shutil.copytree(published, tmp_path / "results" / name)
        shutil.copytree(truth, tmp_path / "truth" / name)

    assert run(["eval", str(tmp_path / "results"), str(tmp_path / "truth"), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert [part["sequence"] for part in found["sequences"]] == ["bear", "dog"]
    assert found["j"] == pytest.approx(found["sequences"][0]["j"])


def test_a_result_in_a_bucket(published, truth, bucket, tmp_path, capsys):
    """Show, eval and export take its address, and say of it what they say of a folder."""
    local = open_result_store(published)
    manifest = local.read_manifest()
    address = f"s3://{bucket}/results/clip"
    store = open_result_store(address)
    files = {file.name: local.fetch(file.name) for file in manifest.files}
    store.publish(files, manifest, check=lambda key: None)

    assert run(["show", address]) == 0
    shown, copy = capsys.readouterr().out.strip().split(", a copy is at ")
    assert shown == f"{address}/report.html"
    assert Path(copy).read_bytes() == (published / "report.html").read_bytes()

    assert run(["eval", str(published), str(truth)]) == 0
    lines = capsys.readouterr().out
    assert run(["eval", address, str(truth)]) == 0
    assert capsys.readouterr().out == lines

    assert run(["export", address, "--format", "mot-txt", "--format", "overlay"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"mot-txt: {address}/exports/mot-txt",
        f"overlay: {address}/exports/overlay",
    ]
    assert store.read_manifest().exports == ("mot-txt", "overlay")
    assert store.fetch("exports/overlay/overlay.mp4").stat().st_size > 1000

    shared_store(None).delete(parse_location(f"{address}/masks.parquet"))
    for command in (["show"], ["eval"], ["export", "--format", "cvat-xml"]):
        more = [str(truth)] if command == ["eval"] else []
        assert run([*command, address, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"longtake: there is no whole result in {address}: wanted the ")


def test_eval_says_what_does_not_fit(published, truth, tmp_path, capsys):
    """No ground truth, another numbering, another size: one line each, with the way out."""
    assert run(["eval", str(published), str(tmp_path / "none")]) == 2
    assert "there is no ground truth at" in capsys.readouterr().err
    assert run(["eval", str(published), "s3://bucket/truth"]) == 2
    assert "the ground truth is a path of this machine" in capsys.readouterr().err

    other = tmp_path / "other"
    other.mkdir()
    for path in truth.glob("*.png"):
        pixels = np.asarray(Image.open(path))
        Image.fromarray(np.where(pixels > 0, pixels + 40, 0).astype(np.uint8)).save(
            other / path.name
        )
    assert run(["eval", str(published), str(other)]) == 0
    out = capsys.readouterr().out
    assert "missing" in out
    assert "no true object belongs to 1, 2 of the result; --match overlap pairs" in out
    assert run(["eval", str(published), str(other), "--match", "overlap"]) == 0
    assert "missing" not in capsys.readouterr().out
