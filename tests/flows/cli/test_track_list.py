"""What a list says of each of its videos, and what is wrong with it before the first run."""

import json
from pathlib import Path

import pytest

import flows.commands.run_local as run_local
from flows.cli import run
from flows.commands import run_many
from flows.commands.run_many import AskedVideo
from samcore.errors import InputError
from tasks.request.segment_request import SegmentRequest
from tests.servers.aws import AwsServer

BOX = ("--box", "1:0:10,10,60,60")
TINY = ("--model", "nano", "--device", "cpu")


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[AskedVideo]:
    """What a command line lists, up to the checks; it ends there as by Ctrl-C."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "sub/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"a video")
    (tmp_path / "p.json").write_text('{"objects": [{"id": 2, "prompts": [{"box": [1,1,9,9]}]}]}')
    found: list[AskedVideo] = []

    def check(videos: list[AskedVideo], *_: object) -> None:
        found.extend(videos)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_many, "check_videos", check)
    return found


def _asked(listed: list[AskedVideo], table: str, *args: str, name: str = "t.csv") -> list[object]:
    Path(name).write_text(table)
    assert run(["track", name, "-o", "out", *args]) == 130
    return [video.request for video in listed]


def test_a_row_goes_before_the_command(listed: list[AskedVideo], tmp_path: Path) -> None:
    """What a row says of its video counts, the rest is as on the command line; a way to say what
    to track takes the place of all others; files are beside the table, results below DEST."""
    table = (
        "source,prompts,automatic,text,destination,stop,report,format,detect-every\n"
        "a.mp4,,,,,9,,,\n"
        "a.mp4,p.json,,,first,,no,mot-txt;coco-video,\n"
        'a.mp4,"[{""id"": 5, ""prompts"": [{""frame"": 0, ""box"": [1, 1, 9, 9]}]}]",,,,,,,\n'
        "sub/b.mp4,,3,,/else/where,,,,7\n"
    )
    rows = _asked(listed, table, "--stop", "4", *BOX)
    first, second, third, fourth = (row for row in rows if isinstance(row, SegmentRequest))

    assert (first.stop, second.stop, first.report, second.report) == (9, 4, True, False)
    assert first.prompts.objects[0].id == 1  # type: ignore[union-attr]  # the box of the command
    assert second.prompts == str(tmp_path / "p.json")
    assert third.prompts.objects[0].id == 5  # type: ignore[union-attr]  # its own
    assert second.formats == ("mot-txt", "coco-video")
    assert fourth.prompts is None
    assert fourth.automatic is not None
    assert (fourth.automatic.max_objects, fourth.automatic.detect_every) == (3, 7)
    out = Path("out")
    assert [Path(one.destination) for one in (first, second, third, fourth)] == [
        *(out / "a.mp4", out / "first", out / "a-3.mp4", Path("/else/where"))
    ]
    assert fourth.source == str(tmp_path / "sub/b.mp4")


def test_json_lines_have_values(listed: list[AskedVideo]) -> None:
    """Numbers, lists, objects and true or false, as JSON has them."""
    spec = {"objects": [{"id": 4, "prompts": [{"frame": 1, "box": [1, 1, 9, 9]}]}]}
    line = {"source": "a.mp4", "prompts": spec, "stop": 5, "overlay": True, "format": ["mot-txt"]}
    (row,) = _asked(listed, json.dumps(line), name="t.jsonl")
    assert isinstance(row, SegmentRequest)
    assert (row.stop, row.overlay, row.formats) == (5, True, ("mot-txt",))
    assert row.prompts.objects[0].prompts[0].frame == 1  # type: ignore[union-attr]  # typed in


@pytest.mark.parametrize(
    ("table", "args", "says"),
    [
        ("source,promts\na.mp4,x\n", BOX, "line 1: unknown column 'promts'; did you mean prompts?"),
        ("source,order\na.mp4,x\n", BOX, "line 1: unknown column 'order'; "),
        ("path\na.mp4\n", BOX, "line 1: unknown column 'path'; known are source, "),
        ("source,stop\na.mp4,3\na.mp4,many\n", BOX, "line 3: stop: Input should be a valid"),
        ("source,stop\na.mp4,0\n", BOX, "line 2: stop: Input should be greater"),
        ("source,overlay\na.mp4,maybe\n", BOX, "line 2: overlay: wanted true or false, got 'may"),
        ("source,handoff\na.mp4,hope\n", BOX, "line 2: handoff: unknown hand-off: got 'hope'"),
        ("source,prompts\na.mp4,[1\n", (), "line 2: prompts: not valid JSON"),
        ("source,text,prompts\na.mp4,cat,p.json\n", (), "line 2: give --box, --point"),
        ("source\na.mp4\n", (), "line 2: no prompts: give --box"),
        ("source,destination\na.mp4,x\na.mp4,./x\n", BOX, "line 2: both results would go to"),
        ("source,destination\na.mp4,b/../../x\n", BOX, "line 2: destination: b/../../x is not be"),
        ("source\nftp://h/a.mp4\n", BOX, "line 2: wanted a path or s3:// or https:// address"),
    ],
)
def test_a_bad_row_is_one_line(
    listed: list[AskedVideo],
    capfd: pytest.CaptureFixture[str],
    table: str,
    args: tuple[str, ...],
    says: str,
) -> None:
    """It names the row and the column, before anything is opened."""
    Path("t.csv").write_text(table)
    assert run(["track", "t.csv", "-o", "out", *args]) == 2
    error = capfd.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not listed


def test_what_can_be_known_early_comes_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A prompts file of the last row that is not there; a model that nobody knows is said once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_local, "EmbeddedServer", lambda *_, **__: pytest.fail("a server"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    Path("p.json").write_text('{"objects": [{"id": 2, "prompts": [{"frame":0,"box":[1,1,9,9]}]}]}')
    for name in ("a.mp4", "b.mp4"):
        Path(name).write_bytes(b"a video")
    Path("t.csv").write_text("source,prompts\na.mp4,p.json\nb.mp4,missing.json\n")

    assert run(["track", "t.csv", "-o", "out", *TINY]) == 2
    assert "t.csv, line 3: there is no prompts file" in capfd.readouterr().err
    assert run(["track", "a.mp4", "b.mp4", "-o", "out", *BOX, "--model", "sam2.1-teeny"]) == 2
    assert "did you mean sam2.1-tiny" in capfd.readouterr().err
    assert run(["track", "a.mp4", "-o", "out", *BOX, *TINY, "--limit", "2"]) == 2
    assert "--limit is for a list" in capfd.readouterr().err


def test_two_results_never_have_one_place() -> None:
    """Names differ on their own; a destination of a row may be another video's name."""
    videos = [
        AskedVideo(name, "", SegmentRequest(source=name, prompts="p.json", destination=place))
        for name, place in (("a.mp4", "out/b.mp4"), ("b.mp4", "out/x/../b.mp4"))
    ]
    with pytest.raises(InputError, match=r"b.mp4 and a.mp4: both results would go to .*/out/b.mp4"):
        run_many.check_destinations(videos)


def test_prefixes_and_tables_of_a_bucket(listed: list[AskedVideo], aws: AwsServer) -> None:
    """A prefix is all videos below it, with results below the destination by the same names; what a
    table in a bucket names is beside it."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="videos")
    table = b"source,prompts,stop\nnew/a.mp4,a.json,7\ns3://videos/b.mp4,,\n"
    for key, data in (("t/new/a.mp4", b"a"), ("t/b.MOV", b"b"), ("t/x.txt", b""), ("t.csv", b"")):
        s3.put_object(Bucket="videos", Key=key, Body=data)
    s3.put_object(Bucket="videos", Key="t/list.csv", Body=table)
    destination = ["-o", "s3://results/x/", *BOX]

    assert run(["track", "s3://videos/t/", *destination]) == 130
    places = [(one.request.source, one.request.destination) for one in listed]
    assert places == [
        ("s3://videos/t/b.MOV", "s3://results/x/b.MOV"),
        ("s3://videos/t/new/a.mp4", "s3://results/x/new/a.mp4"),
    ]
    assert all(one.mark for one in listed)

    listed.clear()
    assert run(["track", "s3://videos/t/list.csv", *destination]) == 130
    first, second = (one.request for one in listed)
    assert (first.source, first.prompts, first.stop) == (
        *("s3://videos/t/new/a.mp4", "s3://videos/t/a.json", 7),
    )
    assert second.source == "s3://videos/b.mp4"
