"""What arrives in a bucket becomes a run: once, whatever happens on the way."""

import itertools
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.arrivals.kinds import kind_of
from flows.arrivals.listener import Listener
from flows.arrivals.video_runs import SkipRecord, VideoFilter, VideoRuns
from flows.cli import run as run_command
from flows.segment_images import segment_images
from flows.server.deployment import Deployment
from samcore.errors import StorageError
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tasks.store.queue import MessageQueue
from tests.servers.aws import AwsServer
from tests.servers.deployed import Deployed
from tests.servers.faults import UNAVAILABLE, FaultProxy
from tests.servers.sigterm_when import Ending

TRACK = {"automatic": {"max_objects": 3, "detect_every": 30}}


class Bench:
    """A bucket for videos, one for results, a queue with a dead-letter queue, and a listener."""

    def __init__(self, server: AwsServer, *, visibility_s: int = 30, max_receives: int = 2) -> None:
        self.s3, self.sqs = server.client("s3"), server.client("sqs")
        for bucket in ("videos", "results"):
            self.s3.create_bucket(Bucket=bucket)
        dead = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        redrive = {
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
            "maxReceiveCount": str(max_receives),
        }
        self.dead = dead
        self.queue = self.sqs.create_queue(
            QueueName="events",
            Attributes={
                "VisibilityTimeout": str(visibility_s),
                "RedrivePolicy": json.dumps(redrive),
            },
        )["QueueUrl"]

    def upload(self, key: str, data: bytes = b"a video", bucket: str = "videos") -> dict[str, Any]:
        """Put an object; the event that S3 would send."""
        answer = self.s3.put_object(Bucket=bucket, Key=key, Body=data)
        return event(
            key,
            bucket=bucket,
            size=len(data),
            eTag=answer["ETag"].strip('"'),
            **({"versionId": answer["VersionId"]} if "VersionId" in answer else {}),
        )

    def send(self, *messages: dict[str, Any] | str) -> None:
        """Put messages into the queue."""
        bodies = [text if isinstance(text, str) else json.dumps(text) for text in messages]
        for at in range(0, len(bodies), 10):
            self.sqs.send_message_batch(
                QueueUrl=self.queue,
                Entries=[
                    {"Id": str(number), "MessageBody": body}
                    for number, body in enumerate(bodies[at : at + 10])
                ],
            )

    def waiting(self, queue: str | None = None) -> int:
        """Messages in the queue, those in a listener's hands included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=queue or self.queue, AttributeNames=names)[
            "Attributes"
        ]
        return sum(int(found[name]) for name in names)

    def keys(self, bucket: str = "results") -> set[str]:
        """What lies in a bucket."""
        listed = self.s3.list_objects_v2(Bucket=bucket)
        return {entry["Key"] for entry in listed.get("Contents", [])}

    def listen(
        self,
        deployed: Deployed,
        until: Callable[[], bool] | None = None,
        *,
        destination: str = "s3://results",
        prefix: str = "",
    ) -> None:
        """Listen in this process until `until`, or until the queue is empty; then SIGTERM."""
        place = S3Location(*destination.removeprefix("s3://").partition("/")[::2])
        with Deployment(deployed.name) as deployment:
            listener = Listener(
                MessageQueue(self.queue),
                VideoRuns(ObjectStore(), deployment, place),
                VideoFilter(place, prefix=prefix, suffixes=kind_of(deployed.name).suffixes),
                wait_s=1,
            )
            with Ending(until or (lambda: self.waiting() == 0)):
                listener.run()


def event(key: str, name: str = "ObjectCreated:Put", bucket: str = "videos", **found: object):
    """A bucket notification of an object whose key needs no encoding."""
    return {
        "Records": [
            {
                "eventName": name,
                "s3": {"bucket": {"name": bucket}, "object": {"key": key, **found}},
            }
        ]
    }


@pytest.fixture
def bench(prefect_api: str, aws: AwsServer) -> Bench:
    """Everything, with nothing in it."""
    return Bench(aws)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the listener says."""
    caplog.set_level(logging.INFO, logger="flows")
    return caplog


def test_listener_starts_one_run_for_each_version(bench: Bench) -> None:
    """Duplicates and disorder make no difference: two versions of one video and one of another
    are three runs, which know their video and where its result goes."""
    bench.s3.put_bucket_versioning(Bucket="videos", VersioningConfiguration={"Status": "Enabled"})
    first, second = bench.upload("tapes/a.mp4", b"one"), bench.upload("tapes/a.mp4", b"two")
    third = bench.upload("tapes/a.mp4", b"one")  # the bytes of before, and a new version
    other = bench.upload("b.MOV")
    bench.send(second, other, first, second, third, first, other)
    deployed = Deployed(**TRACK, model="nano")

    bench.listen(deployed)

    requests = deployed.requests()
    assert sorted(request["source"] for request in requests) == [
        "s3://videos/b.MOV",
        *["s3://videos/tapes/a.mp4"] * 3,
    ]
    told = [each["Records"][0]["s3"]["object"]["versionId"] for each in (first, second, third)]
    asked = {request["source_version"] for request in requests if "a.mp4" in request["source"]}
    assert asked == set(told)
    assert all(request["automatic"] == TRACK["automatic"] for request in requests)
    assert {request["model"] for request in requests} == {"nano"}
    assert {request["destination"] for request in requests} == {
        "s3://results/b.MOV",
        "s3://results/tapes/a.mp4",
    }


def test_listener_starts_nothing_for_what_is_no_new_video(bench: Bench) -> None:
    """Deletions, empty objects, other files, other prefixes, videos that are gone and one's own
    results start no run, and are not seen again."""
    bench.upload("in/kept.mp4")
    bench.upload("out/in/kept.mp4/overlay.mp4")
    gone = bench.upload("in/gone.mp4")
    bench.s3.delete_object(Bucket="videos", Key="in/gone.mp4")
    bench.send(
        event("in/kept.mp4", "ObjectRemoved:Delete"),
        event("in/kept.mp4", size=0, eTag="e"),
        bench.upload("in/notes.txt"),
        bench.upload("elsewhere/a.mp4"),
        bench.upload("out/in/kept.mp4/exports/mask.mkv"),
        gone,
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "videos"},
    )
    deployed = Deployed(**TRACK)

    bench.listen(deployed, destination="s3://videos/out", prefix="in/")

    assert deployed.count() == 0
    assert bench.waiting() == bench.waiting(bench.dead) == 0


def test_pictures_get_runs_of_their_own_deployment(bench: Bench) -> None:
    """A deployment of segment-images: a run for each picture, with its defaults; prompts beside a
    picture are its own; videos and other files are passed over."""
    bench.upload("in/b.PNG.prompts.json", b"[]")
    bench.send(
        bench.upload("in/a.jpg"), bench.upload("in/b.PNG"), bench.upload("in/c.mp4"),
        bench.upload("in/a.jpg.txt"),
    )  # fmt: skip
    deployed = Deployed(segment_images, everything={}, model="nano")

    bench.listen(deployed)

    first, second = sorted(deployed.requests(), key=lambda request: str(request["pictures"]))
    assert first == {
        "pictures": ["s3://videos/in/a.jpg"],
        "destination": "s3://results/in/a.jpg",
        "force": True,
        "everything": {},
        "model": "nano",
    }
    assert second["pictures"] == ["s3://videos/in/b.PNG"]
    assert second["prompts"] == "s3://videos/in/b.PNG.prompts.json"


def test_prompts_beside_the_video_win(bench: Bench) -> None:
    """dog.mp4.prompts.json says what to track in dog.mp4, whatever the deployment says."""
    bench.upload("dog.mp4.prompts.json", b"{}")
    bench.send(bench.upload("dog.mp4"))
    deployed = Deployed(**TRACK)

    bench.listen(deployed)

    (request,) = deployed.requests()
    assert request["prompts"] == "s3://videos/dog.mp4.prompts.json"
    assert request.get("automatic") is None


def test_listener_takes_prompts_that_come_first(
    bench: Bench, log: pytest.LogCaptureFixture
) -> None:
    """As the page for operators recommends: the listener says that it waits for the video, and the
    video gets its run; only of one that was there, and is gone, it says so, or of one without
    bytes."""
    bench.send(bench.upload("dog.mp4.prompts.json", b"{}"))
    gone, empty = bench.upload("gone.mp4"), bench.upload("empty.mp4", b"")
    bench.s3.delete_object(Bucket="videos", Key="gone.mp4")
    empty["Records"][0]["s3"]["object"]["size"] = None
    bench.send(gone, empty)
    deployed = Deployed(**TRACK)

    bench.listen(deployed)

    assert deployed.count() == 0
    video = "s3://videos/dog.mp4"
    assert f"{video}: its prompts are here; it gets its run when it comes" in log.messages
    assert "s3://videos/gone.mp4: is not there any more" in log.messages
    assert "s3://videos/empty.mp4: is empty; nothing to track" in log.messages

    bench.send(bench.upload("dog.mp4"))
    bench.listen(deployed)
    assert [request["prompts"] for request in deployed.requests()] == [f"{video}.prompts.json"]


def test_a_deployment_that_says_both_is_used(bench: Bench) -> None:
    """Prompts and automatic as defaults, as one of them may be set in Prefect's UI beside the
    other: the prompts count, as in a run that a person asks for."""
    bench.send(bench.upload("dog.mp4"))
    deployed = Deployed(**TRACK, prompts="s3://videos/all.json")

    bench.listen(deployed)

    (request,) = deployed.requests()
    assert (request["prompts"], request.get("automatic")) == ("s3://videos/all.json", None)


def test_without_prompts_the_result_says_so(bench: Bench) -> None:
    """Nobody says what to track: no run, and a record in the place of the result. Prompts that
    come later start the run, and the record goes."""
    bench.send(bench.upload("dog.mp4"))
    deployed = Deployed()
    bench.listen(deployed)

    assert deployed.count() == 0
    assert bench.keys() == {"dog.mp4/skipped.json"}
    body = bench.s3.get_object(Bucket="results", Key="dog.mp4/skipped.json")["Body"].read()
    record = SkipRecord.model_validate_json(body)
    assert record.video == "s3://videos/dog.mp4"
    assert "dog.mp4.prompts.json" in record.reason

    later = bench.upload("dog.mp4.prompts.json", b"{}")
    bench.send(later, later)
    bench.listen(deployed)

    assert deployed.count() == 1
    assert bench.keys() == set()


def test_poison_goes_to_the_dead_letters(
    prefect_api: str, aws: AwsServer, log: pytest.LogCaptureFixture
) -> None:
    """What cannot be understood or carried out is left to the redrive policy, with its reason in
    the log; messages beside it are not held up."""
    bench = Bench(aws, visibility_s=1, max_receives=2)
    bench.send("what is this?", bench.upload("a//b.mp4"), bench.upload("good.mp4"))
    deployed = Deployed(**TRACK)

    # SQS moves a message over when somebody asks for it once too often.
    bench.listen(deployed, lambda: bench.waiting(bench.dead) == 2)

    assert [request["source"] for request in deployed.requests()] == ["s3://videos/good.mp4"]
    assert bench.waiting() == 0
    assert "try 1 of 2: not an S3 event: not JSON" in log.text
    assert "does not name anything below s3://results" in log.text
    assert "it goes to the dead-letter queue" in log.text


def test_listener_loses_nothing_in_an_outage(
    prefect_api: str, aws: AwsServer, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Prefect is away the message is held, and does not use up its tries; while the queue is
    away the listener waits. Both are said once, and then the run is there."""
    bench = Bench(aws, visibility_s=2, max_receives=1)
    bench.send(bench.upload("dog.mp4"))
    deployed = Deployed(**TRACK)
    with FaultProxy(prefect_api.removesuffix("/api")) as prefect, FaultProxy(aws.endpoint) as queue:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", queue.endpoint)
        queue.inject(*[UNAVAILABLE] * 3)
        prefect.set_rule(
            lambda request: UNAVAILABLE if "create_flow_run" in request.target else None
        )
        away_until = time.monotonic() + 5

        def is_over() -> bool:
            if prefect.num_faults and time.monotonic() > away_until:
                prefect.set_rule(None)
            return bench.waiting() == 0

        bench.queue = bench.queue.replace(aws.endpoint, queue.endpoint)
        with temporary_settings(
            {PREFECT_API_URL: f"{prefect.endpoint}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
        ):
            bench.listen(deployed, is_over)

    assert deployed.count() == 1
    assert bench.waiting(bench.dead) == 0
    warnings = [record.message for record in log.records if record.levelno == logging.WARNING]
    assert len([text for text in warnings if "the Prefect server at" in text]) == 1
    assert len([text for text in warnings if "the queue" in text]) == 1
    assert all("\n" not in text for text in warnings)


def test_listener_that_is_stopped_gives_messages_back(
    prefect_api: str, aws: AwsServer, log: pytest.LogCaptureFixture
) -> None:
    """SIGTERM in an outage ends the listener within seconds; its messages can be received at once,
    and the next listener starts their runs."""
    bench = Bench(aws, visibility_s=600, max_receives=10)
    bench.send(*[bench.upload(f"{number}.mp4") for number in range(3)])
    deployed = Deployed(**TRACK)
    with FaultProxy(prefect_api.removesuffix("/api")) as prefect:
        prefect.set_rule(
            lambda request: UNAVAILABLE if "create_flow_run" in request.target else None
        )
        with temporary_settings(
            {PREFECT_API_URL: f"{prefect.endpoint}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
        ):
            bench.listen(deployed, lambda: prefect.num_faults > 1)
    assert log.messages[-1] == "stopped; what is in the queue stays there"
    assert deployed.count() == 0

    bench.listen(deployed)

    assert deployed.count() == 3


@pytest.mark.parametrize("way", ["topic", "EventBridge"])
def test_listener_takes_events_that_come_by_other_ways(
    bench: Bench, aws: AwsServer, way: str
) -> None:
    """A bucket that tells a topic or EventBridge, which tells the queue, starts the same run."""
    queue = bench.sqs.get_queue_attributes(QueueUrl=bench.queue, AttributeNames=["QueueArn"])
    arn = queue["Attributes"]["QueueArn"]
    if way == "topic":
        sns = aws.client("sns")
        topic = sns.create_topic(Name="uploads")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        told = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    else:
        events = aws.client("events")
        events.put_rule(Name="uploads", EventPattern=json.dumps({"source": ["aws.s3"]}))
        events.put_targets(Rule="uploads", Targets=[{"Id": "queue", "Arn": arn}])
        told = {"EventBridgeConfiguration": {}}
    bench.s3.put_bucket_notification_configuration(Bucket="videos", NotificationConfiguration=told)
    bench.upload("my tapes/1+1.mp4")
    deployed = Deployed(**TRACK)

    bench.listen(deployed)

    assert [request["source"] for request in deployed.requests()] == [
        "s3://videos/my tapes/1+1.mp4"
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"--destination": "out"}, "--destination: wanted s3://"),
        ({"--destination": "https://host/out"}, "--destination: wanted s3://"),
        ({"--queue": "longtake"}, "a queue is given by its URL"),
        ({"--deployment": "segment-video"}, "FLOW/DEPLOYMENT"),
        ({"--suffix": ""}, "--suffix: wanted an ending"),
    ],
)
def test_listener_refuses_options_that_cannot_be(
    bench: Bench, options: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with an option is one line, and exit code 2."""
    given = {"--queue": bench.queue, "--destination": "s3://results", **options}

    assert run_command(["listen", *itertools.chain.from_iterable(given.items())]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_listener_says_that_its_queue_is_not_there(bench: Bench) -> None:
    """A queue that is not there, or no queue's address, is said at once, in one line."""
    bench.queue += "-not"

    with pytest.raises(StorageError, match="there is no such queue") as caught:
        bench.listen(Deployed(**TRACK), lambda: False)

    assert "\n" not in str(caught.value)
