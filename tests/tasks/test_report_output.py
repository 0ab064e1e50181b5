"""The report as part of a result, and what is shown of a result in Prefect's UI."""

import json
import logging
import shutil
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from samcore.chunks.seams import SeamReport
from samcore.errors import StorageError
from samcore.findings.finding import Findings
from samcore.findings.lanes import LaneReport, ObjectSummary, read_lanes
from samcore.machine.meters import MEMORY_LOG_HEADER
from samcore.report.of_manifest import read_samples, report_facts
from samcore.report.pictures import Picture
from samcore.result.published import FindingList, FindingRecord
from samcore.result.store import Link
from tasks.add_output import add_output
from tasks.plan_run import plan_run
from tasks.request.segment_request import validate_request
from tasks.results.artifacts import (
    MAX_PICTURE_BYTES,
    MAX_ROWS,
    drawing_picture,
    object_rows,
    post_artifacts,
    result_page,
    seam_rows,
)
from tasks.results.open import open_result_store
from tasks.store.locations import S3Location
from tasks.store.object_info import console_url

HOSTILE = "[x](javascript:alert(1)) <img src=x> | `y` z"
SMALL = {
    "stop": 14,
    "chunk_frames": 8,
    "overlap": 2,
    "image_size": 64,
    "prompts": {
        "objects": [{"id": 1, "label": HOSTILE, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]
    },
}


@pytest.fixture(scope="module")
def published(clip, segment, tmp_path_factory):
    """The run of a published result."""
    out = tmp_path_factory.mktemp("published") / "out"
    request = validate_request(
        source=str(clip),
        destination=str(out),
        model="random-tiny",
        settings={"device": "cpu"},
        **SMALL,
    )
    segment(request)
    return plan_run.fn(request)


@pytest.fixture
def run(published, tmp_path):
    """The same, with a result of its own."""
    shutil.copytree(published.destination, tmp_path / "out", ignore=lambda *_: [".longtake"])
    return published.model_copy(update={"destination": str(tmp_path / "out")})


def test_the_report_belongs_to_the_result(run):
    """It is listed with its digest, names what was tracked, and is not made twice; one that is
    gone makes the result not whole."""
    address = Path(add_output.fn(run, "report"))

    store = open_result_store(run)
    manifest = store.read_manifest(run.key)
    assert "report.html" in [file.name for file in manifest.files]
    assert store.fetch("report.html") == address
    text = address.read_text()
    assert "clip.mp4" in text
    assert "javascript:alert(1)) &lt;img src=x&gt;" in text
    assert run.key in text

    before = address.stat().st_mtime_ns
    assert add_output.fn(run, "report") == str(address)
    assert address.stat().st_mtime_ns == before
    assert not list(Path(run.destination).glob(".longtake/new/*"))

    address.unlink()
    with pytest.raises(StorageError, match="gone or damaged; run again"):
        add_output.fn(run, "report")


def test_facts_are_the_manifests(run):
    """Chunks, seams and steps as the records have them."""
    manifest = open_result_store(run).read_manifest(run.key)
    facts = report_facts(manifest, ())

    assert (facts.start, facts.stop, facts.width, facts.height) == (0, 14, 128, 96)
    assert [(c.start, c.stop) for c in facts.chunks] == [(c.start, c.stop) for c in manifest.chunks]
    assert facts.labels == {1: HOSTILE}
    assert facts.title == "clip.mp4"
    assert dict(facts.about)["model"] == "random-tiny, input of 64 pixels"


def test_the_memory_log_is_read_for_its_run(tmp_path, caplog):
    """Lines of other runs, other frames and half lines are passed over, and of many frames the
    highest stay; a log that is not there is no reason to fail."""
    path = tmp_path / "memory.csv"
    lines = [MEMORY_LOG_HEADER, "t,other,0,5,999,,", "t,mine,0,3,100,7,9", "t,mine,0,3,300,8,9"]
    lines += ["t,mine,0,4,200,,", "t,mine,0,500,1,,", "t,mine,0,x,1,,", "t,mine,0", "\x00", ""]
    path.write_text("\n".join(lines))

    samples = read_samples(path, "mine", start=0, stop=100)

    assert [(s.frame, s.rss_bytes, s.vram_bytes) for s in samples] == [(3, 300, 8), (4, 200, None)]
    path.write_text("\n".join(f"t,mine,0,{i},{i},," for i in range(20_000)))
    long = read_samples(path, "mine", start=0, stop=20_000)
    assert len(long) == 2000
    assert long[-1].rss_bytes == 19_999
    with caplog.at_level(logging.WARNING):
        assert read_samples(tmp_path / "none", "mine", start=0, stop=9) == ()
    assert "no memory log" in caplog.text


def test_tables_are_bounded_and_plain(run):
    """At most a hundred rows, the worst seams among them; labels lose what would be markup."""
    store = open_result_store(run)
    manifest = store.read_manifest(run.key)
    lanes = read_lanes(
        store.fetch("masks.parquet"), Findings(1), start=0, stop=14, rate=24.0, size_hw=(96, 128)
    )
    (row,) = object_rows(lanes, manifest)
    assert row["object"] == 1
    assert not set(row["label"]) & set("[]()<>`|\n")
    assert row["label"].startswith("x javascript:alert 1")

    item = ObjectSummary(1, 0, 5, 5, 1.0, 1.0, 1.0, 0, 0, None)
    many = LaneReport(0, 14, 14, tuple([item] * 5000))
    assert len(object_rows(many, manifest)) == MAX_ROWS
    seams = [
        SeamReport(
            left_index=i,
            right_index=i + 1,
            start=i,
            stop=i + 2,
            frames=2,
            identical=i != 777,
            agreement=0.5 if i == 777 else 1.0,
            objects=(),
            left_only=(),
            right_only=(),
        )
        for i in range(3000)
    ]
    rows = seam_rows(seams)
    assert len(rows) == MAX_ROWS
    assert {
        "chunks": "777 and 778",
        "frames": "777 to 778",
        "agreement": 0.5,
        "identical": "no",
    } in rows
    assert len(json.dumps(rows)) < 20_000


def test_the_page_in_the_ui_is_small_and_its_links_open(run):
    """A picture of some thousand bytes, for Prefect keeps it three times, and a link to each file
    that a person looks at; one that everyone can open is said to end."""
    store = open_result_store(run)
    add_output.fn(run, "report")
    manifest = store.read_manifest(run.key)
    picture = Picture(7, 10, 10, b"x" * MAX_PICTURE_BYTES)
    link = store.link("report.html")

    page = result_page(manifest, picture, links={"report.html": link}, location="/tmp/a b")
    assert len(page) < 13_000
    assert f"[report.html](file://{run.destination}/report.html)" in page
    assert Path(unquote(urlsplit(link.url).path)).read_text().startswith("<!doctype html>")
    assert "![frame 7](data:image/jpeg;base64," in page
    assert "identical to the last bit" in page
    assert "`longtake show /tmp/a b` opens the report" in page
    assert "everyone" not in page

    lasting = {"report.html": Link("https://store/report.html?X-Amz-Signature=0", 7 * 86_400)}
    page = result_page(manifest, None, links=lasting, location="s3://b/k")
    assert "[report.html](https://store/report.html?X-Amz-Signature=0)" in page
    assert "work for 7 days, for everyone who has them" in page


def test_links_to_a_bucket_open(run, bucket):
    """The link to a file of a result in a bucket is read without any credentials, as the page that
    it is; and a browser is told to show it."""
    local = open_result_store(run)
    add_output.fn(run, "report")
    manifest = local.read_manifest(run.key)
    store = open_result_store(f"s3://{bucket}/a b/ö")
    files = {file.name: local.fetch(file.name) for file in manifest.files}
    store.publish(files, manifest, check=lambda key: None)

    for name in ("report.html", "manifest.json"):
        with urllib.request.urlopen(store.link(name).url, timeout=60) as answer:
            content = answer.read()
            kind = answer.headers["Content-Type"]
        assert (
            kind.split(";")[0]
            == {"html": "text/html", "json": "application/json"}[name.partition(".")[2]]
        )
        expected = json.loads(content)["key"] if name == "manifest.json" else content
        assert expected == (run.key if name == "manifest.json" else files[name].read_bytes())


@pytest.mark.parametrize(
    ("endpoint", "partition", "url"),
    [
        (
            "s3.amazonaws.com",
            "aws",
            "https://console.aws.amazon.com/s3/object/bkt?prefix=a%20%28/x",
        ),
        (
            "s3.cn-north-1.amazonaws.com.cn",
            "aws-cn",
            "https://console.amazonaws.cn/s3/object/bkt?prefix=a%20%28/x",
        ),
        ("s3.example.com", "aws", None),
        ("amazonaws.com.example.com:443", "aws", None),
        ("127.0.0.1:9000", "aws", None),
    ],
)
def test_at_aws_a_link_is_the_consoles(endpoint, partition, url):
    """There the page asks who wants to see it; elsewhere there is no such page."""
    assert console_url(S3Location("bkt", "a (/x"), endpoint, partition) == url


def _post(run):
    with drawing_picture(run) as picture:
        pass
    post_artifacts(run, picture)


def test_the_picture_is_that_of_the_first_finding(run, monkeypatch):
    """What the page shows is the frame to look at, with what was given on it; without findings it
    is the one in the middle."""
    manifest = open_result_store(run).read_manifest(run.key)
    pages = []
    monkeypatch.setattr(
        "tasks.results.artifacts.create_markdown_artifact", lambda **page: pages.append(page)
    )
    monkeypatch.setattr("tasks.results.artifacts.create_table_artifact", lambda **table: None)
    item = FindingRecord(kind="jump", frame=11, object_id=1, text="moved")
    one = FindingList(total=1, counts={"jump": 1}, worst=(item,))
    for findings in (one, FindingList(total=0, counts={}, worst=())):
        changed = manifest.model_copy(update={"findings": findings})
        path = Path(run.destination) / "manifest.json"
        path.write_text(changed.model_dump_json())
        _post(run)

    assert [page["markdown"].count("![frame 11](data:") for page in pages] == [1, 0]
    assert "![frame 7](data:" in pages[1]["markdown"]
    assert max(len(page["markdown"]) for page in pages) < 13_000


def test_artifacts_never_cost_the_result(run, caplog):
    """With the masks gone, or a server away, there is a warning and no error."""
    (Path(run.destination) / "masks.parquet").unlink()
    with caplog.at_level(logging.WARNING):
        _post(run)
    assert "not shown in Prefect's UI" in caplog.text
