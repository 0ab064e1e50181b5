"""What S3 says happened, in all the forms that it comes in."""

import json
from typing import Any

import pytest

from flows.arrivals.s3_events import EventError, ObjectEvent, parse_message
from tasks.store.locations import S3Location


def notification(key: str, name: str = "ObjectCreated:Put", **found: object) -> dict[str, Any]:
    """A bucket notification as AWS sends it, cut down to what matters."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": name,
        "s3": {"bucket": {"name": "videos"}, "object": {"key": key, "size": 7, **found}},
    }
    return {"Records": [record]}


def event_bridge(key: str, kind: str = "Object Created", **found: object) -> dict[str, Any]:
    """The same by EventBridge."""
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": kind,
        "detail": {"bucket": {"name": "videos"}, "object": {"key": key, "size": 7, **found}},
    }


def by_sns(message: dict[str, Any]) -> dict[str, Any]:
    """A message in the envelope of a topic."""
    return {
        "Type": "Notification",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:videos",
        "Message": json.dumps(message),
    }


def only(message: dict[str, Any]) -> ObjectEvent:
    (event,) = parse_message(json.dumps(message))
    return event


@pytest.mark.parametrize(
    ("key", "decoded"),
    [
        ("dog.mp4", "dog.mp4"),
        ("my+dog.mp4", "my dog.mp4"),
        ("1%2B1%3D2.mp4", "1+1=2.mp4"),
        ("caf%C3%A9/%E7%8A%AC.mp4", "café/犬.mp4"),
        ("100%25.mp4", "100%.mp4"),
    ],
)
def test_notification_keys_are_decoded(key: str, decoded: str) -> None:
    """A bucket notification writes keys as forms do; the event has the object's own name."""
    assert only(notification(key)).location == S3Location("videos", decoded)


@pytest.mark.parametrize("key", ["my+dog.mp4", "1%2B1.mp4", "café.mp4"])
def test_event_bridge_keys_are_as_they_are(key: str) -> None:
    """EventBridge writes keys plainly; to decode them would name another object."""
    assert only(event_bridge(key)).location == S3Location("videos", key)


@pytest.mark.parametrize("wrap", [lambda message: message, by_sns], ids=["plain", "by SNS"])
@pytest.mark.parametrize(
    "message",
    [
        notification("a.mp4", versionId="v1", eTag="e1"),
        notification("a.mp4", "s3:ObjectCreated:Copy", versionId="v1", eTag='"e1"'),
        event_bridge("a.mp4", **{"version-id": "v1", "etag": "e1"}),
    ],
    ids=["notification", "other server's notification", "EventBridge"],
)
def test_s3_events_of_all_forms_say_the_same(message: dict[str, Any], wrap: Any) -> None:
    """However an upload is told, it is the same event."""
    wanted = ObjectEvent(S3Location("videos", "a.mp4"), True, 7, "v1", "e1")

    assert only(wrap(message)) == wanted


@pytest.mark.parametrize(
    "message",
    [
        notification("a.mp4", "ObjectRemoved:Delete"),
        notification("a.mp4", "ObjectRemoved:DeleteMarkerCreated"),
        notification("a.mp4", "ObjectTagging:Put"),
        event_bridge("a.mp4", "Object Deleted"),
    ],
)
def test_s3_events_that_are_no_upload_are_passed_over(message: dict[str, Any]) -> None:
    """Deletions and the like are told apart from uploads."""
    assert not only(message).created


@pytest.mark.parametrize(
    "message",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "videos"},
        by_sns({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "videos"}),
        {"source": "aws.ec2", "detail-type": "EC2 Instance State-change", "detail": {}},
        {"Records": []},
    ],
)
def test_s3_messages_without_an_object_are_passed_over(message: dict[str, Any]) -> None:
    """The test message of a new notification, and other services' events, are nothing to do."""
    assert parse_message(json.dumps(message)) == ()


def test_a_bucket_without_versions_has_none() -> None:
    """`null` is not a version: two objects can have it."""
    assert only(notification("a.mp4", versionId="null", eTag="e")).version is None
    assert only(event_bridge("a.mp4", **{"version-id": ""})).version is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "[]",
        "7",
        '{"Records": 7}',
        '{"Records": [7]}',
        '{"hello": "world"}',
        "[" * 100_000,
        json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}]}),
        json.dumps(notification("")),
        json.dumps(notification("a%00b.mp4")),
        json.dumps(notification("../../etc/passwd.mp4")),
        json.dumps(notification("%FF%FE.mp4")),
        json.dumps(notification("x" * 2000 + ".mp4")),
        json.dumps({"source": "aws.s3", "detail-type": "Object Created"}),
        json.dumps(by_sns(by_sns(by_sns(by_sns(notification("a.mp4")))))),
    ],
)
def test_messages_that_are_no_event_are_refused(body: str) -> None:
    """A message of anybody's making ends in one line, never in another error."""
    with pytest.raises(EventError) as caught:
        parse_message(body)

    assert "\n" not in str(caught.value)
