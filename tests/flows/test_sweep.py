"""What no event told of is found by looking."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from prefect.states import Crashed

from flows import recover_runs as recover_module
from flows.arrivals.video_runs import VideoRuns
from flows.server.deployment import Deployment
from flows.sweep_bucket import SweepResult, sweep_bucket
from samcore.errors import InputError, StorageError
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.aws import AwsServer
from tests.servers.deployed import Deployed

TRACK = {"automatic": {"max_objects": 3}}
Upload = Callable[..., None]


@pytest.fixture
def upload(prefect_api: str, aws: AwsServer) -> Upload:
    """Puts an object; by default a video into the bucket of videos."""
    s3 = aws.client("s3")
    for bucket in ("videos", "results"):
        s3.create_bucket(Bucket=bucket)

    def put(key: str, data: bytes = b"a video", bucket: str = "videos") -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=data)

    return put


def sweep(deployed: Deployed, source: str = "s3://videos", **options: int) -> SweepResult:
    """One sweep."""
    return sweep_bucket(source, "s3://results", deployment=deployed.name, **options)


def test_sweep_form_says_what_it_wants() -> None:
    """Each field has its help, and what cannot be swept is refused before a run is made."""
    fields = sweep_bucket.parameters.model_dump()["properties"]
    assert list(fields) == ["source", "destination", "limit", "deployment", "credentials"]
    assert all(len(field["description"]) > 20 for field in fields.values())
    for name, right, wrong in (
        ("source", "s3://videos", "/videos"),
        ("destination", "s3://results/a", "s3://"),
        ("limit", 1, 0),
    ):
        jsonschema.validate(right, fields[name])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, fields[name])


def test_sweep_starts_the_oldest_videos_first(upload: Upload) -> None:
    """Each sweep starts as many runs as it may, for the oldest videos without a result or a run;
    other files, empty ones, and what lies elsewhere do not count."""
    for key in ("tapes/c.mp4", "tapes/a.mp4", "tapes/b.mp4"):
        upload(key)
        time.sleep(1.1)  # a listing tells whole seconds
    upload("tapes/done.mp4")
    upload("tapes/done.mp4/manifest.json", b"{}", bucket="results")
    upload("tapes/empty.mp4", b"")
    upload("tapes/notes.txt")
    upload("elsewhere.mp4")
    deployed = Deployed(**TRACK)

    first = sweep(deployed, "s3://videos/tapes/", limit=2)
    assert first == SweepResult(started=2, underway=0, failed=0, skipped=0, done=1, left=1)
    assert [request["source"] for request in deployed.requests()] == [
        "s3://videos/tapes/c.mp4",
        "s3://videos/tapes/a.mp4",
    ]

    second = sweep(deployed, "s3://videos/tapes/", limit=2)
    assert second == SweepResult(started=1, underway=2, failed=0, skipped=0, done=1, left=0)
    assert deployed.requests()[-1]["source"] == "s3://videos/tapes/b.mp4"


def test_listener_and_sweep_start_one_run(upload: Upload, aws: AwsServer) -> None:
    """What the listener has started is not started again; nor is what has failed: the sweep says
    so instead. A new version is a new video, also where the old one has a result."""
    upload("a.mp4")
    deployed = Deployed(**TRACK)
    etag = aws.client("s3").head_object(Bucket="videos", Key="a.mp4")["ETag"].strip('"')
    with Deployment(deployed.name) as deployment:
        runs = VideoRuns(ObjectStore(), deployment, S3Location("results", ""))
        runs.start(S3Location("videos", "a.mp4"), etag=etag)

    assert sweep(deployed).underway == 1
    (run,) = deployed.runs()
    deployed.fail(run)
    assert sweep(deployed) == SweepResult(
        started=0, underway=0, failed=1, skipped=0, done=0, left=0
    )

    upload("a.mp4/manifest.json", b"{}", bucket="results")
    assert sweep(deployed).done == 1
    time.sleep(1.1)
    upload("a.mp4", b"another video")
    assert sweep(deployed).started == 1
    assert deployed.count() == 2
    assert all(request["force"] for request in deployed.requests())


def test_what_dead_processes_left_goes_on(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that crashed is scheduled again under its own id, also one that a person asked for; not
    at once, since an automation may do so."""
    upload("a.mp4")
    deployed = Deployed(**TRACK)
    assert sweep(deployed).started == 1
    deployed.ask(source="s3://elsewhere/b.mp4", destination="s3://results/other")
    for run in deployed.runs():
        deployed.leave(run, Crashed())
    assert sweep(deployed) == SweepResult(
        started=0, underway=1, failed=0, skipped=0, done=0, left=0
    )

    monkeypatch.setattr(recover_module, "SPARE", timedelta(0))
    monkeypatch.setattr(recover_module, "rest_setting", lambda: timedelta(0))
    assert sweep(deployed) == SweepResult(
        started=0, recovered=2, underway=1, failed=0, skipped=0, done=0, left=0
    )
    assert {run.state_name for run in deployed.runs()} == {"AwaitingRetry"}
    assert sweep(deployed).recovered == 0


def test_a_result_is_known_by_its_mark(upload: Upload, aws: AwsServer) -> None:
    """A result that was finished, or added to, after the video was replaced is that of the version
    before all the same, and the new version gets its run."""
    upload("a.mp4", b"the old one")
    old = ObjectStore().head(S3Location("videos", "a.mp4"))
    upload("a.mp4", b"the new one")
    new = ObjectStore().head(S3Location("videos", "a.mp4"))
    time.sleep(1.1)
    upload("a.mp4/manifest.json", b"{}", bucket="results")
    upload(f"a.mp4/source-{old.mark}.json", b"{}", bucket="results")
    deployed = Deployed(**TRACK)
    assert (sweep(deployed).started, sweep(deployed).done) == (1, 0)

    aws.client("s3").delete_object(Bucket="results", Key=f"a.mp4/source-{old.mark}.json")
    upload(f"a.mp4/source-{new.mark}.json", b"{}", bucket="results")
    assert sweep(deployed).done == 1


def test_what_killed_uploads_left_is_removed(upload: Upload, aws: AwsServer) -> None:
    """Among the results, after a day; this server says of all uploads that they are from 2010."""
    s3 = aws.client("s3")
    for bucket in ("videos", "results"):
        s3.create_multipart_upload(Bucket=bucket, Key="a.mp4/masks.parquet")

    sweep(Deployed(**TRACK))

    assert "Uploads" not in s3.list_multipart_uploads(Bucket="results")
    assert len(s3.list_multipart_uploads(Bucket="videos")["Uploads"]) == 1


def test_one_video_does_not_stop_a_sweep(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video that this role may not look at is said, and those after it have their turn."""
    upload("a.mp4")
    time.sleep(1.1)
    upload("b.mp4")
    head = ObjectStore.head

    def refused(self: ObjectStore, location: S3Location, **options: Any) -> Any:
        if location.key == "a.mp4":
            raise StorageError(f"cannot look at {location}: the credentials do not allow it")
        return head(self, location, **options)

    monkeypatch.setattr(ObjectStore, "head", refused)
    deployed = Deployed(**TRACK)
    result = sweep(deployed)
    assert (result.started, result.failed) == (1, 1)
    assert [request["source"] for request in deployed.requests()] == ["s3://videos/b.mp4"]


def test_videos_without_prompts_do_not_hold_up_others(upload: Upload, aws: AwsServer) -> None:
    """A video of which nobody says what to track takes no one's place, and is skipped by one record
    however many sweeps there are."""
    upload("a.mp4")
    time.sleep(1.1)
    upload("b.mp4")
    upload("b.mp4.prompts.json", b"{}")
    deployed = Deployed()

    assert sweep(deployed, limit=1) == SweepResult(
        started=1, underway=0, failed=0, skipped=1, done=0, left=0
    )
    record = aws.client("s3").head_object(Bucket="results", Key="a.mp4/skipped.json")
    assert sweep(deployed, limit=1).skipped == 1
    again = aws.client("s3").head_object(Bucket="results", Key="a.mp4/skipped.json")
    assert again["ETag"] == record["ETag"]


@pytest.mark.parametrize(
    ("source", "destination", "limit", "says"),
    [
        ("videos", "s3://results", 10, "source: wanted s3://"),
        ("s3://videos", "/results", 10, "destination: wanted s3://"),
        ("s3://videos/in", "s3://videos", 10, "among the results"),
        ("s3://videos/out/in", "s3://videos/out", 10, "among the results"),
        ("s3://videos", "s3://results", 0, "at least 1 run"),
    ],
)
def test_sweep_refuses_what_cannot_be_swept(
    source: str, destination: str, limit: int, says: str
) -> None:
    """A sweep that could not work, or would sweep its own results, is refused in one line."""
    with pytest.raises(InputError, match=says) as caught:
        sweep_bucket.fn(source, destination, limit=limit)

    assert "\n" not in str(caught.value)
