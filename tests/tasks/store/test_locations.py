"""Paths, objects and addresses are told apart, and none of them leads astray."""

from pathlib import Path

import pytest

from samcore.errors import InputError
from tasks.store.locations import HttpsLocation, S3Location, parse_location


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("dog.mp4", Path("dog.mp4")),
        ("/a/b c:d/dog.mp4", Path("/a/b c:d/dog.mp4")),
        ("s3://bucket/a/dog.mp4", S3Location("bucket", "a/dog.mp4")),
        ("S3://bucket/a b%20+ü", S3Location("bucket", "a b%20+ü")),
        ("s3://bucket", S3Location("bucket", "")),
        ("s3://bucket/", S3Location("bucket", "")),
        ("https://host/a/dog.mp4?sig=x", HttpsLocation("https://host/a/dog.mp4?sig=x")),
    ],
)
def test_locations_are_read_from_text(text: str, location: object) -> None:
    """Keys are taken as they are written, and case matters only where it does."""
    assert parse_location(text) == location


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty location"),
        ("a\0b", "empty location"),
        ("http://host/a", "give an https:// address"),
        ("ftp://host/a", "ftp: is not known"),
        ("file:///etc/passwd", "file: is not known"),
        ("s3:/bucket/a", "s3://bucket/key"),
        ("s3:///a", "not a bucket's name"),
        ("s3://UPPER CASE/a", "not a bucket's name"),
        ("s3://bucket/a/../b", "has '.' or '..'"),
        ("s3://bucket/a\nb", "control characters"),
        ("s3://bucket/" + "a" * 1025, "longer than 1024 bytes"),
        ("https://", "name a host"),
        ("https://host:port/a", "not a valid one"),
        ("https://me:secret@host/a", "holds a user or password"),
        ("https://host/a b", "has spaces"),
    ],
)
def test_text_that_is_no_location_is_refused(text: str, said: str) -> None:
    """One line says what is wrong, and shows no password."""
    with pytest.raises(InputError, match=said) as caught:
        parse_location(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "joined"),
    [
        ("s3://bucket", "s3://bucket/c/d.json"),
        ("s3://bucket/a/b", "s3://bucket/a/b/c/d.json"),
        ("s3://bucket/a/b/", "s3://bucket/a/b/c/d.json"),
    ],
)
def test_location_knows_what_lies_below_it(prefix: str, joined: str) -> None:
    """Names are put below a prefix whether or not it ends with a slash."""
    location = parse_location(prefix)
    assert isinstance(location, S3Location)
    assert location.join("c/d.json").uri == joined
    assert location.join("c/d.json").name == "d.json"


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/./b", "", "a/..", "a/"])
def test_nothing_escapes_a_prefix(name: str) -> None:
    """A name that would lie beside the prefix, or nowhere, is refused."""
    with pytest.raises(InputError, match="does not name anything below"):
        S3Location("bucket", "prefix").join(name)


def test_signatures_are_not_shown() -> None:
    """Text and representation of an address lack its query, where signatures are."""
    location = HttpsLocation("https://host/a%20b/dog.mp4?X-Amz-Signature=secret#part")
    for text in (str(location), repr(location), location.uri, location.name):
        assert "secret" not in text
    assert location.uri == "https://host/a%20b/dog.mp4"
    assert location.name == "dog.mp4"
    assert HttpsLocation("https://host/a%2F..%2Fb").name == "a_.._b"
