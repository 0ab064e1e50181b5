"""From shards to a result: whole, each picture once, in every format."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask
from pycocotools.coco import COCO

from samcore.errors import InputError, LostWorkError, StorageError
from samcore.picture_runs.folder import PictureRunFolder
from samcore.picture_runs.formats import PICTURE_FORMATS
from samcore.picture_runs.joining import JoinedResult, add_formats, join_result
from samcore.picture_runs.prompts import picture_prompts
from samcore.picture_runs.records import PictureAsk, PictureEntry, PictureManifest
from samcore.picture_runs.shard import segment_shard
from samcore.picture_runs.table import SCHEMA, PictureRow, read_pictures
from samcore.result.folder import LocalResults
from tests.samcore.conftest import FullDisk
from tests.samcore.picture_runs.conftest import MakeRun

TWO = PictureAsk(
    prompts=picture_prompts([{"box": [16, 16, 48, 48]}, {"box": [14, 14, 50, 50]}], ["disc", "all"])
)


@pytest.fixture
def run(make_run: MakeRun, pictures: list[Path]) -> PictureRunFolder:
    """A run of which all shards are done; one of its pictures is broken."""
    folder = make_run(pictures, TWO)
    for shard in folder.record().shards:
        segment_shard(folder, shard.index)
    return folder


def _join(folder: PictureRunFolder, staging: Path) -> JoinedResult:
    return join_result(folder, staging, versions={"longtake": "0"}, finished_at="2026-01-01")


def _publish(folder: PictureRunFolder, tmp_path: Path) -> LocalResults[PictureManifest]:
    joined = _join(folder, tmp_path / "out" / ".longtake" / "parts")
    store = LocalResults(tmp_path / "out", PictureManifest)
    store.publish(joined.files, joined.manifest, check=lambda _: None)
    return store


@pytest.mark.parametrize("name", ["masks.parquet", "overlays/0.jpg", "report.html"])
def test_a_full_disk_is_one_clear_line(
    run: PictureRunFolder, tmp_path: Path, full_disk: FullDisk, name: str
) -> None:
    """Wherever it fills up; after that the same shards make the result."""
    whole = _join(run, tmp_path / "whole")
    size = whole.files[name].stat().st_size
    with full_disk(size - 1), pytest.raises(StorageError, match="the disk is full"):
        _join(run, tmp_path / "staging")

    assert _join(run, tmp_path / "staging").files.keys() == whole.files.keys()


def test_each_picture_is_in_the_result_once(run: PictureRunFolder, tmp_path: Path) -> None:
    """A row of pictures.csv for each, masks only of those that could be read, an overlay each."""
    joined = _join(run, tmp_path / "staging")

    assert set(joined.files) == {
        *("masks.parquet", "pictures.csv", "report.html"),
        *(f"overlays/{at}.jpg" for at in (0, 1, 3, 4)),
    }
    with joined.files["pictures.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["masks"], bool(row["error"])) for row in rows] == [
        (f"{at}.png", "0" if at == 2 else "2", at == 2) for at in range(5)
    ]
    manifest = joined.manifest
    assert (manifest.pictures, manifest.masks, manifest.broken) == (5, 8, 1)
    assert [one.name for one in manifest.first_broken] == ["2.png"]
    found = list(read_pictures(joined.files["masks.parquet"]))
    assert [at for at, _ in found] == [0, 1, 3, 4]
    assert all([row.label for row in rows] == ["disc", "all"] for _, rows in found)


def test_joining_again_gives_the_same_masks(run: PictureRunFolder, tmp_path: Path) -> None:
    """Also into a folder in which a killed process has left things."""
    first = _join(run, tmp_path / "a").files["masks.parquet"].read_bytes()
    (tmp_path / "b" / "overlays").mkdir(parents=True)
    (tmp_path / "b" / "overlays" / "99.jpg").write_bytes(b"of a killed process")

    again = _join(run, tmp_path / "b")

    assert again.files["masks.parquet"].read_bytes() == first
    assert "overlays/99.jpg" not in again.files


def test_a_shard_that_is_gone_is_missed(run: PictureRunFolder, tmp_path: Path) -> None:
    """Nothing is published without it."""
    run.drawn_path(1).unlink()

    with pytest.raises(LostWorkError, match="shard 1"):
        _join(run, tmp_path / "staging")


def test_the_published_run_lets_go_of_its_shards(run: PictureRunFolder) -> None:
    """They weigh something; what was asked stays, and says that it was published."""
    record, entries = run.record(), run.entries(0, 5)
    run.finish()

    assert run.is_published
    assert not (run.path / "chunks").exists()
    run.create(record, entries)
    assert not run.is_published


Read = Callable[[Path, list[tuple[int, list[PictureRow]]]], None]


def _read_coco(folder: Path, rows: list[tuple[int, list[PictureRow]]]) -> None:
    coco = COCO(folder / "annotations.json")
    assert sorted(coco.getImgIds()) == [0, 1, 3, 4]
    assert {one["name"] for one in coco.loadCats(coco.getCatIds())} == {"disc", "all"}
    for at, masks in rows:
        found = coco.loadAnns(coco.getAnnIds(imgIds=at))
        assert [one["object_id"] for one in found] == [row.object_id for row in masks]
        for one, row in zip(found, masks, strict=True):
            assert mask.area(coco.annToRLE(one)) == row.area


def _read_label_png(folder: Path, rows: list[tuple[int, list[PictureRow]]]) -> None:
    from PIL import Image

    assert sorted(path.name for path in folder.iterdir()) == [f"{at}.png" for at in (0, 1, 3, 4)]
    for at, masks in rows:
        index = np.array(Image.open(folder / f"{at}.png"))
        # Of those that are alike the last one lies on top.
        smallest = min(reversed(masks), key=lambda row: row.area)
        box = index[smallest.y : smallest.y + smallest.h, smallest.x : smallest.x + smallest.w]
        assert (box[smallest.crop()] == smallest.object_id).all()
        assert set(np.unique(index)) <= {0, *(row.object_id for row in masks)}


def _read_mask_png(folder: Path, rows: list[tuple[int, list[PictureRow]]]) -> None:
    for at, masks in rows:
        names = [f"{row.object_id:04d}-{row.label}.png" for row in masks]
        assert sorted(path.name for path in (folder / str(at)).iterdir()) == names
        for name, row in zip(names, masks, strict=True):
            image = cv2.imread(str(folder / str(at) / name), cv2.IMREAD_UNCHANGED)
            assert image.shape == (row.height, row.width)
            assert set(np.unique(image)) <= {0, 255}
            assert (image > 0).sum() == row.area


READERS: dict[str, Read] = {
    "coco": _read_coco,
    "label-png": _read_label_png,
    "mask-png": _read_mask_png,
}


@pytest.mark.parametrize("name", PICTURE_FORMATS.names)
def test_every_format_holds_all_masks(run: PictureRunFolder, tmp_path: Path, name: str) -> None:
    """By a reader that is not ours; added to a published result, once."""
    store = _publish(run, tmp_path)
    manifest = store.read_manifest()
    assert manifest is not None

    added = add_formats(store, manifest, run.entries(0, 5), [name])

    assert added.exports == (name,)
    rows = list(read_pictures(store.fetch("masks.parquet")))
    READERS[name](store.folder / "exports" / name, rows)
    assert add_formats(store, added, run.entries(0, 5), [name]) == added
    assert store.read_manifest() == added


def test_ids_above_a_byte_are_kept(make_run: MakeRun, pictures: list[Path], tmp_path: Path) -> None:
    """label-png goes to 16 bits; no id is cut off."""
    spec = {"objects": [{"id": 300, "prompts": [{"box": [16, 16, 48, 48]}]}]}
    folder = make_run(pictures[:1], PictureAsk(prompts=picture_prompts(spec)))
    segment_shard(folder, 0)
    store = _publish(folder, tmp_path)
    manifest = store.read_manifest()
    assert manifest is not None
    add_formats(store, manifest, folder.entries(0, 1), ["label-png"])

    path = store.folder / "exports" / "label-png" / "0.png"
    assert set(np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))) == {0, 300}


def test_a_name_cannot_be_a_script(make_run: MakeRun, pictures: list[Path], tmp_path: Path) -> None:
    """Names of files are other people's: in the report they are text."""
    entry = PictureEntry(
        place=str(pictures[0]), mark="", name="<script>alert(1)</script>.png", stem="x"
    )
    folder = make_run([entry], TWO)
    segment_shard(folder, 0)

    page = _join(folder, tmp_path / "staging").files["report.html"].read_text()

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_the_manifest_can_be_read_again(run: PictureRunFolder, tmp_path: Path) -> None:
    """As JSON for other programs, and by its own model; columns are those of the table."""
    store = _publish(run, tmp_path)
    content = json.loads((store.folder / "manifest.json").read_text())

    assert content["format"] == "pictures-1"
    assert store.read_manifest(content["key"]) is not None
    assert store.read_manifest("another") is None
    assert SCHEMA.names == list(PictureRow.__dataclass_fields__)


def test_a_videos_result_is_replaced_with_all_its_files(
    run: PictureRunFolder, tmp_path: Path
) -> None:
    """What another kind of result has left at the destination goes, its manifest first."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "overlay.mp4").write_bytes(b"video")
    (out / "notes.txt").write_bytes(b"a person's own")
    listed = [{"name": "overlay.mp4", "size": 5, "sha256": "0" * 64}]
    (out / "manifest.json").write_text(json.dumps({"format": 1, "key": "v", "files": listed}))
    asked: list[str | None] = []
    joined = _join(run, out / ".longtake" / "parts")

    LocalResults(out, PictureManifest).publish(joined.files, joined.manifest, check=asked.append)

    assert asked == ["v"]
    assert not (out / "overlay.mp4").exists()
    assert (out / "notes.txt").exists()
    with pytest.raises(InputError, match="holds masks of pictures"):
        LocalResults(out).require(str(out))
