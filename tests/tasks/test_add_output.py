"""Exports within a result, and the command that writes them beside it."""

import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flows.segment_video as flow
from flows.cli import run as longtake
from samcore import Result
from samcore.errors import InputError, StorageError
from samcore.exports import FORMATS, write_export
from samcore.findings.finding import Findings
from samcore.findings.lanes import read_lanes
from samcore.masks.ledger import ResultObject, make_ledger
from samcore.masks.table import MaskReader, MaskWriter
from samcore.progress import Progress, listening
from samcore.run.folder import RunFolder
from tasks.add_output import add_output
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.results import outputs
from tasks.results.artifacts import object_rows
from tasks.results.open import find_result, open_result_store
from tasks.run.refs import ResultRef, RunRef

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

LIMIT_S = 120.0
TINY = {
    "image_size": 64,
    "stop": 8,
    "chunk_frames": 8,
    "overlap": 0,
    "prompts": {
        "objects": [{"id": 1, "label": "dog", "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]
    },
}


@pytest.fixture(scope="module")
def tracked(clip: Path, segment: Segment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result to be copied."""
    folder = tmp_path_factory.mktemp("tracked") / "out"
    segment(
        validate_request(
            source=str(clip),
            destination=str(folder),
            model="nano",
            settings={"device": "cpu"},
            **TINY,
        )
    )
    return folder


@pytest.fixture
def run(tracked: Path, ask: Ask, tmp_path: Path) -> RunRef:
    """The run of a result of its own."""
    shutil.copytree(tracked, tmp_path / "out")
    return plan_run.fn(ask(**TINY))


def test_objects_that_no_request_named_are_everywhere(run: RunRef) -> None:
    """An object that appears in the masks later on is listed with its label, and in every format,
    the report and the artifacts, though the run's record knows nothing of it."""
    store = open_result_store(run)
    announced = (ResultObject(id=1, label="dog"), ResultObject(id=9, label="cat", source="found"))
    with store.workspace() as folder, MaskReader(store.fetch("masks.parquet")) as reader:
        table = folder / "masks.parquet"
        with MaskWriter(table, height=reader.height, width=reader.width) as writer:
            for row in reader.rows():
                writer.write_row(row)
                if row.frame >= 4:
                    writer.write_row(replace(row, object_id=9))
        ledger = folder / "objects.json"
        ledger.write_text(make_ledger(table, announced).model_dump_json())
        manifest = store.add_files({"masks.parquet": table, "objects.json": ledger}, run.key)
    assert [item.id for item in manifest.request.objects] == [1]

    for name in ("report", *FORMATS.names):
        add_output.fn(run, name)

    result = Result(run.destination)
    result.check()
    assert [(item.id, item.label, item.source) for item in result.objects] == [
        (1, "dog", None),
        (9, "cat", "found"),
    ]
    assert (result.objects[1].first_frame, result.objects[1].last_frame) == (4, 7)
    assert result.frame(5).labels == ("dog", "cat")
    folder = Path(run.destination)
    coco = json.loads((folder / "exports/coco-video/annotations.json").read_text())
    assert {item["name"] for item in coco["categories"]} == {"cat", "dog"}
    assert "cat" in (folder / "report.html").read_text()
    size_hw = (result.video.height, result.video.width)
    lanes = read_lanes(
        store.fetch("masks.parquet"), Findings(1), start=0, stop=8, rate=24.0, size_hw=size_hw
    )
    rows = object_rows(lanes, manifest, store.objects(manifest))
    assert [(row["object"], row["label"]) for row in rows] == [(1, "dog"), (9, "cat")]


def test_result_without_a_ledger_opens(run: RunRef) -> None:
    """A result of a version that published no ledger has one made from its masks."""
    manifest_path = Path(run.destination) / "manifest.json"
    content = json.loads(manifest_path.read_text())
    with_ledger = Result(run.destination).objects
    assert content.pop("objects") == 1
    assert content["request"]["objects"][0].pop("source") == "prompt"
    content["files"] = [file for file in content["files"] if file["name"] != "objects.json"]
    manifest_path.write_text(json.dumps(content))

    (item,) = Result(run.destination).objects

    assert item == with_ledger[0].model_copy(update={"source": None})
    found = find_result(run, RunFolder.from_ref(run).record())
    assert found is not None
    assert found.objects == 1
    assert add_output.fn(run, "mot-txt")


def test_formats_after_one_that_fails_are_written(
    run: RunRef, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow writes those that can be written, and then says which one cannot, and why."""
    exports = Path(run.destination) / "exports"
    exports.mkdir()
    (exports / "coco-video").touch()  # in the way of the folder
    monkeypatch.setattr(flow, "add_output", add_output.fn)
    monkeypatch.setattr(flow, "post_artifacts", lambda *_: None)
    result = find_result(run, RunFolder.from_ref(run).record())
    assert result is not None
    with pytest.raises(StorageError, match="coco-video"):
        flow._complete(run, ask(**TINY, formats=("coco-video", "mot-txt")), result)
    assert list((exports / "mot-txt").iterdir())


def test_the_command_writes_the_formats_after_one_that_fails(
    run: RunRef, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two that fail are both said, in one line, with exit code 2."""
    beside = tmp_path / "beside"
    for name in ("coco-video", "davis-png"):
        (beside / name).mkdir(parents=True)
        (beside / name / "somebody's.txt").touch()
    names = ("coco-video", "davis-png", "mot-txt")
    asked = [option for name in names for option in ("--format", name)]
    capfd.readouterr()
    code = longtake(["export", run.destination, *asked, "-o", str(beside)])
    said = capfd.readouterr()
    assert (code, said.err.count("\n")) == (2, 1), said.err
    assert all(str(beside / name) in said.err for name in names[:2])
    assert said.out.startswith("mot-txt: ")
    assert list((beside / "mot-txt").iterdir())


def test_exports_are_part_of_the_result(run: RunRef) -> None:
    """Every file is in the manifest with its digest; a second time nothing is written."""
    assert add_output.fn(run, "coco-video") == f"{run.destination}/exports/coco-video"
    add_output.fn(run, "mot-txt")

    found = find_result(run, RunFolder.from_ref(run).record())
    assert found is not None  # all files that are listed are whole
    assert found.exports == ("coco-video", "mot-txt")
    file = Path(run.destination) / "exports" / "coco-video" / "annotations.json"
    before = file.stat().st_mtime_ns
    add_output.fn(run, "coco-video")
    assert file.stat().st_mtime_ns == before

    file.write_text("{}")
    assert find_result(run, RunFolder.from_ref(run).record()) is None


def test_a_picture_for_each_frame_is_one_file(run: RunRef, tmp_path: Path) -> None:
    """The PNGs are in one tar file with the very files that the command writes."""
    add_output.fn(run, "davis-png")

    write_export(Result(run.destination).masklets, "davis-png", tmp_path / "plain")
    (listed,) = (f.name for f in _manifest(run).files if f.name.startswith("exports/"))
    assert listed == "exports/davis-png/davis-png.tar"
    with tarfile.open(Path(run.destination) / listed) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    names = {p.relative_to(tmp_path / "plain") for p in (tmp_path / "plain").rglob("*.*")}
    assert len(names) == 8 + 2
    assert {p.relative_to(tmp_path / "unpacked") for p in (tmp_path / "unpacked").rglob("*.*")} == (
        names
    )
    for name in names:
        packed_bytes = (tmp_path / "unpacked" / name).read_bytes()
        assert packed_bytes == (tmp_path / "plain" / name).read_bytes()


def _manifest(run: RunRef):  # type: ignore[no-untyped-def]
    manifest = open_result_store(run).read_manifest(run.key)
    assert manifest is not None
    return manifest


def test_an_export_goes_into_a_bucket(
    bucket: str, ask: Ask, segment: Segment, tmp_path: Path
) -> None:
    """With a result in a bucket its exports are there, too."""
    request = ask(**TINY, destination=f"s3://{bucket}/results/clip")
    segment(request)
    run = plan_run.fn(request)
    assert add_output.fn(run, "mots-txt") == f"s3://{bucket}/results/clip/exports/mots-txt"
    assert _manifest(run).exports == ("mots-txt",)
    text = open_result_store(run).fetch("exports/mots-txt/clip.txt").read_text()
    assert len(text.splitlines()) == 8
    assert (
        longtake(["export", request.destination, "--format", "mot-txt", "-o", str(tmp_path)]) == 0
    )
    assert (tmp_path / "mot-txt" / "clip.txt").is_file()


def test_unknown_formats_are_refused_before_anything_is_done(ask: Ask) -> None:
    """The line lists the formats that there are."""
    with pytest.raises(InputError, match=f"got 'coco', known are {', '.join(FORMATS.names)}"):
        ask(**TINY, formats=("coco",))
    request = ask(**TINY, formats=("overlay", "mot-txt", "mot-txt"))
    assert request.formats == ("overlay", "mot-txt")
    assert request.wants_overlay
    assert request.export_formats == ("mot-txt",)


def test_progress_is_told(run: RunRef) -> None:
    """Who listens hears what is written and how far it is."""
    heard = []
    with listening(heard.append):
        add_output.fn(run, "mot-txt")
    assert heard[0] == Progress("writing mot-txt", 1, 8, "steps")
    assert heard[-1] == Progress("writing mot-txt", 8, 8, "steps")


def test_formats_are_written_while_the_video_is_shown(
    run: RunRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What shows frames and what does not wait for each other in this test, and nowhere else."""
    meeting = threading.Barrier(2)
    write, show = outputs.write_export, outputs.show_frames

    def write_then(*args: Any, **options: Any) -> None:
        meeting.wait(LIMIT_S)
        write(*args, **options)

    def show_then(*args: Any, **options: Any) -> None:
        meeting.wait(LIMIT_S)
        show(*args, **options)

    monkeypatch.setattr(outputs, "write_export", write_then)
    monkeypatch.setattr(outputs, "show_frames", show_then)
    add_output.fn(run, "report", "mot-txt")

    result = Result(run.destination)
    result.check()
    listed = {file.name for file in result.manifest.files}
    assert "report.html" in listed
    assert any(name.startswith("exports/mot-txt/") for name in listed)


def test_a_signal_stops_what_is_written_meanwhile(
    run: RunRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Ctrl-C that comes while the video is shown waits for no export to be whole."""
    begun, told = threading.Event(), threading.Event()

    def endless(*_: Any, on_progress: Callable[[int, int], None], **__: Any) -> None:
        begun.set()
        assert told.wait(LIMIT_S)
        while True:
            on_progress(1, 2)

    def interrupted(*_: Any, **__: Any) -> None:
        assert begun.wait(LIMIT_S)
        told.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "write_export", endless)
    monkeypatch.setattr(outputs, "show_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_output.fn(run, "report", "mot-txt")
    assert {file.name for file in _manifest(run).files} == {
        "masks.parquet",
        "objects.json",
        "seams.json",
    }


def _lines(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = longtake(["export", *args])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_writes_beside_the_result(
    run: RunRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each format has its folder; again, the line says what is in the way and how to replace it."""
    args = (run.destination, "--format", "cvat-xml", "--format", "overlay", "-o", f"{tmp_path}/x")
    assert _lines(capsys, *args) == (
        0,
        f"cvat-xml: {tmp_path}/x/cvat-xml\noverlay: {tmp_path}/x/overlay\n",
        "",
    )
    assert (tmp_path / "x" / "overlay" / "overlay.mp4").is_file()
    code, _, err = _lines(capsys, *args)
    assert code == 2
    assert "cvat-xml is there already and not empty" in err
    assert _lines(capsys, *args, "--force")[0] == 0
    assert "exports" not in {path.name for path in Path(run.destination).iterdir()}


def test_the_command_writes_into_the_result(
    run: RunRef, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a place of its own, an export is in the result and its manifest."""
    code, out, _ = _lines(capsys, run.destination, "--format", "mot-txt")
    assert (code, out) == (0, f"mot-txt: {run.destination}/exports/mot-txt\n")
    assert _manifest(run).exports == ("mot-txt",)


@pytest.mark.parametrize(
    ("spoil", "args", "line"),
    [
        (lambda out: None, ["--format", "coco"], "unknown format: got 'coco', known are coco-vid"),
        (lambda out: None, [], "Missing option '--format'"),
        (lambda out: (out / "manifest.json").unlink(), ["--format", "mot-txt"], "no manifest.json"),
        (
            lambda out: (out / "masks.parquet").write_bytes(b"x"),
            ["--format", "mot-txt"],
            "masks.parquet is damaged",
        ),
        (
            lambda out: None,
            ["--format", "overlay", "--video", "nowhere.mp4"],
            "no video at",
        ),
        (
            lambda out: (out.parent / "x").write_bytes(b""),
            ["--format", "mot-txt"],
            "x/mot-txt: a file is in the way of a folder; choose another place",
        ),
    ],
)
def test_what_is_wrong_is_one_line(run, tmp_path, capsys, spoil, args, line) -> None:  # type: ignore[no-untyped-def]
    """Exit code 2, one line, nothing written."""
    spoil(Path(run.destination))
    code, out, err = _lines(capsys, run.destination, *args, "-o", str(tmp_path / "x"))
    assert (code, out) == (2, "")
    assert line in err
    assert len(err.splitlines()) == 1
    assert not any((tmp_path / "x").glob("*"))


def test_a_video_that_was_moved(
    run: RunRef, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What needs no video is written, and told of; the line says how to name the video's place."""
    path = Path(run.destination) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["request"]["source"] = str(tmp_path / "gone.mp4")
    path.write_text(json.dumps(manifest))
    args = (run.destination, "--format", "mot-txt", "--format", "overlay", "-o", str(tmp_path))

    code, out, err = _lines(capsys, *args)

    assert (code, out) == (2, f"mot-txt: {tmp_path}/mot-txt\n")
    assert "gone.mp4" in err
    assert "if it was moved, say with --video where it is" in err
    assert _lines(capsys, *args, "--force", "--video", str(clip))[0] == 0


def test_an_address_is_no_folder(
    run: RunRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Formats beside the result go to this machine: no folder called `s3:` is made."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out, err = _lines(capsys, run.destination, "--format", "mot-txt", "-o", "s3://bucket/x")
    assert (code, out) == (2, "")
    assert "is a path of this machine, got s3://bucket/x" in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_result_that_lacks_a_file_is_not_added_to(
    run: RunRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the file; beside the result the masks can be exported all the same."""
    (Path(run.destination) / "seams.json").unlink()
    code, _, err = _lines(capsys, run.destination, "--format", "mot-txt")
    assert code == 2
    assert "seams.json: there is no such file" in err
    assert _lines(capsys, run.destination, "--format", "mot-txt", "-o", str(tmp_path))[0] == 0


def test_another_video_is_not_drawn_on(
    run: RunRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks are drawn on the video that they were made of, wherever it is now, and on no other."""
    source = Path(
        json.loads((Path(run.destination) / "manifest.json").read_text())["request"]["source"]
    )
    moved = tmp_path / "moved.mp4"
    shutil.copy(source, moved)
    args = (run.destination, "--format", "overlay", "-o", f"{tmp_path}/x", "--video", str(moved))
    assert _lines(capsys, *args)[0] == 0
    with moved.open("ab") as file:
        file.write(bytes(100))
    code, _, err = _lines(capsys, *args, "--force")
    assert code == 2
    assert "moved.mp4 is not the video that was tracked" in err
