"""What S3 says happened to objects, in each form that a queue may bring it in."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from samcore.errors import InputError
from tasks.store.locations import S3Location

_DEEPEST = 3
"""An EventBridge event in an SNS envelope, and one more for whoever wraps that again."""


class EventError(InputError):
    """A message that is no S3 event, or names an object that cannot be one."""


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One thing that happened to one version of an object."""

    location: S3Location
    """Which object; the key is decoded."""
    created: bool
    """The object was written; False: anything else, such as a deletion."""
    size: int | None
    """Bytes; None where the form does not tell."""
    version: str | None
    """The bucket's name for this version; None where the bucket keeps none."""
    etag: str | None
    """Changes with the content; without quotes."""


def parse_message(body: str) -> tuple[ObjectEvent, ...]:
    """The events in a queue's message: bucket notifications, EventBridge, either of them by SNS.

    Empty for the message that S3 sends when a notification is set up, and for what EventBridge
    tells of other things.

    Raises:
        EventError: The message is something else; it says what is missing.
    """
    return _parse(_json_object(body), _DEEPEST)


def _parse(message: dict[str, Any], depth: int) -> tuple[ObjectEvent, ...]:
    if "Records" in message:
        records = message["Records"]
        if not isinstance(records, list):
            raise EventError("not an S3 event: Records is not a list")
        return tuple(_notification(record) for record in records)
    if message.get("Event") == "s3:TestEvent":
        return ()
    if "detail-type" in message:
        return _event_bridge(message)
    if isinstance(message.get("Message"), str) and "TopicArn" in message and depth > 1:
        return _parse(_json_object(message["Message"]), depth - 1)
    raise EventError("not an S3 event: it has neither Records nor a detail-type")


def _notification(record: Any) -> ObjectEvent:
    """One record of a bucket notification, whose key is encoded as in an HTML form."""
    name = _text(record, "eventName").removeprefix("s3:")  # some servers write it in full
    found = _part(_part(record, "s3"), "object")
    return ObjectEvent(
        location=_location(
            _text(_part(_part(record, "s3"), "bucket"), "name"),
            unquote_plus(_text(found, "key"), errors="surrogateescape"),
        ),
        created=name.startswith("ObjectCreated:"),
        size=_size(found.get("size")),
        version=_version(found.get("versionId")),
        etag=_etag(found.get("eTag")),
    )


def _event_bridge(message: dict[str, Any]) -> tuple[ObjectEvent, ...]:
    """An event from EventBridge, whose key is as it is."""
    if message.get("source") != "aws.s3":
        return ()
    detail = _part(message, "detail")
    found = _part(detail, "object")
    event = ObjectEvent(
        location=_location(_text(_part(detail, "bucket"), "name"), _text(found, "key")),
        created=message["detail-type"] == "Object Created",
        size=_size(found.get("size")),
        version=_version(found.get("version-id")),
        etag=_etag(found.get("etag")),
    )
    return (event,)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventError("not an S3 event: not JSON") from error
    if not isinstance(value, dict):
        raise EventError("not an S3 event: not a JSON object")
    return value


def _part(value: Any, name: str) -> dict[str, Any]:
    part = value.get(name) if isinstance(value, dict) else None
    if not isinstance(part, dict):
        raise EventError(f"not an S3 event: {name} is missing")
    return part


def _text(value: Any, name: str) -> str:
    text = value.get(name) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text:
        raise EventError(f"not an S3 event: {name} is missing")
    return text


def _location(bucket: str, key: str) -> S3Location:
    try:
        return S3Location(bucket, key)
    except InputError as error:
        raise EventError(str(error)) from error


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _version(value: Any) -> str | None:
    # "null" is what a version is called that was written while the bucket kept none.
    return value if isinstance(value, str) and value not in ("", "null") else None


def _etag(value: Any) -> str | None:
    return value.strip('"') or None if isinstance(value, str) else None
