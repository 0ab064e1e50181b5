"""Many events, many times each, in no order, to a listener that is killed."""

import json
import random
import signal
import time

import pytest

from tests.servers.aws import AwsServer
from tests.servers.deployed import Deployed
from tests.servers.forked_commands import WarmCommands

VIDEOS, MESSAGES = 40, 200
LIMIT_S = 500.0


def _messages() -> list[str]:
    """200 events of 40 videos, most of them several times, in three forms."""
    rng = random.Random(5)
    told = [*range(VIDEOS), *(rng.randrange(VIDEOS) for _ in range(MESSAGES - VIDEOS))]
    rng.shuffle(told)
    return [_message(number, form=rng.randrange(3)) for number in told]


def _message(number: int, *, form: int) -> str:
    key, etag = f"tapes/{number}.mp4", f"{number:032x}"
    notification = {
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": "videos"},
            "object": {"key": key, "size": 7, "versionId": f"v{number}", "eTag": etag},
        },
    }
    if form == 0:
        return json.dumps({"Records": [notification]})
    if form == 1:
        text = json.dumps({"Records": [notification]})
        return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:::t", "Message": text})
    found = {"key": key, "size": 7, "version-id": f"v{number}", "etag": etag}
    detail = {"bucket": {"name": "videos"}, "object": found}
    return json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": detail})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_storm_makes_each_run_once(warm: WarmCommands, aws: AwsServer) -> None:
    """200 messages of 40 videos and a listener that is killed twice: exactly 40 runs, one for each
    video, and nothing left in the queue."""
    s3, sqs = aws.client("s3"), aws.client("sqs")
    s3.create_bucket(Bucket="videos")
    s3.create_bucket(Bucket="results")
    for number in range(VIDEOS):
        s3.put_object(Bucket="videos", Key=f"tapes/{number}.mp4", Body=b"a video")
    queue = sqs.create_queue(QueueName="events", Attributes={"VisibilityTimeout": "3"})["QueueUrl"]
    messages = _messages()
    for at in range(0, MESSAGES, 10):
        sqs.send_message_batch(
            QueueUrl=queue,
            Entries=[
                {"Id": str(at + place), "MessageBody": body}
                for place, body in enumerate(messages[at : at + 10])
            ],
        )
    deployed = Deployed(automatic={"max_objects": 3})

    def start():
        return warm.start(
            [
                *("listen", "--queue", queue, "--destination", "s3://results"),
                *("--deployment", deployed.name),
            ],
            **aws.environment(),
        )

    deadline = time.monotonic() + LIMIT_S
    for runs in (6, 20):
        listener = start()
        while deployed.count() < runs:
            assert listener.poll() is None, listener.err
            assert time.monotonic() < deadline, listener.err
            time.sleep(0.3)
        listener.kill(signal.SIGKILL)
        assert listener.wait() == -signal.SIGKILL

    listener = start()
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    while any(
        int(count)
        for count in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)[
            "Attributes"
        ].values()
    ):
        assert listener.poll() is None, listener.err
        assert time.monotonic() < deadline, listener.err
        time.sleep(0.5)
    listener.kill(signal.SIGTERM)
    assert listener.wait() == 0, listener.err

    sources = [request["source"] for request in deployed.requests()]
    assert sorted(sources) == sorted(f"s3://videos/tapes/{number}.mp4" for number in range(VIDEOS))
    assert listener.err.splitlines()[-1].endswith("stopped; what is in the queue stays there")
