"""Where a source or a destination lies: a path, an object in a bucket, an https address."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from samcore.errors import InputError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_KEY_BYTES = 1024
_SECRET_PREFIXES = ("", "x-amz-", "x-goog-")
_SECRET_NAMES = (
    *("signature", "credential", "security-token", "sig", "token", "access_token", "auth"),
    *("authorization", "apikey", "api_key", "api-key", "key", "password", "secret"),
)
_SECRETS = frozenset(prefix + name for prefix in _SECRET_PREFIXES for name in _SECRET_NAMES)


def _any_case(text: str) -> str:
    """A pattern for it; the browser's expressions have no switch for a part of one."""
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in text)


_PREFIX, _NAME = (
    "|".join(map(_any_case, sorted(words))) for words in (_SECRET_PREFIXES, _SECRET_NAMES)
)
ALLOWED_PATTERN = f"^(?!{_any_case('http')}[sS]?://([^/?]*@|[^?]*[?](.*&)?({_PREFIX})({_NAME})=))"
"""For the form's schema: Prefect's server refuses such an address before it stores it."""


@dataclass(frozen=True, slots=True, order=True)
class S3Location:
    """An object in a bucket, or the prefix that several share."""

    bucket: str
    """The bucket's name."""
    key: str
    """The object's whole name, decoded; empty for the bucket itself."""

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise InputError(
                f"{self.bucket!r} is not a bucket's name; an object is given as s3://bucket/key"
            )
        if len(self.key.encode(errors="surrogatepass")) > _MAX_KEY_BYTES:
            raise InputError(f"the key in {self.bucket} is longer than {_MAX_KEY_BYTES} bytes")
        if _CONTROL.search(self.key) or _has_surrogates(self.key):
            raise InputError(f"the key {self.key!r} has control characters or is not Unicode")
        # Some servers and proxies resolve these, and the object lands beside the prefix.
        if not {".", ".."}.isdisjoint(self.key.split("/")):
            raise InputError(f"the key {self.key!r} has '.' or '..' as a part; name it directly")

    @property
    def uri(self) -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key, such as `dog.mp4`."""
        return self.key.rstrip("/").rpartition("/")[2]

    def join(self, name: str) -> "S3Location":
        """What is called `name` below this prefix; `name` may have several parts.

        Raises:
            InputError: It would not lie below this prefix.
        """
        parts = name.split("/")
        if "" in parts or ".." in parts or "." in parts:
            raise InputError(f"{name!r} does not name anything below {self.uri}")
        if self.key and not self.key.endswith("/"):
            return S3Location(self.bucket, f"{self.key}/{name}")
        return S3Location(self.bucket, self.key + name)

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True, repr=False)
class HttpsLocation:
    """A file on a web server. Its query may hold a signature, and is shown nowhere."""

    url: str
    """The address as given, query included: never for logs or messages."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise InputError("the https address is not a valid one") from None
        if parts.scheme.lower() != "https" or not host:
            raise InputError("an address must begin with https:// and name a host")
        if "@" in parts.netloc:
            raise InputError(f"the address at {host} holds a user or password; leave them out")
        if _CONTROL.search(self.url) or " " in self.url:
            raise InputError(f"the address at {host} has spaces or control characters; encode them")

    @property
    def uri(self) -> str:
        """The address without query and fragment: safe to show."""
        parts = urlsplit(self.url)
        return f"https://{parts.netloc}{parts.path}"

    @property
    def name(self) -> str:
        """The last part of the path, such as `dog.mp4`; the host when there is none."""
        parts = urlsplit(self.url)
        last = unquote(parts.path.rstrip("/").rpartition("/")[2])
        return last.replace("/", "_") or parts.netloc

    def __str__(self) -> str:
        return self.uri

    def __repr__(self) -> str:
        return f"HttpsLocation({self.uri!r})"


def parse_location(text: str) -> Path | S3Location | HttpsLocation:
    """Tell a path from an object from a web address.

    Raises:
        InputError: Neither of them, or a malformed one.
    """
    if not text or "\x00" in text:
        raise InputError("an empty location; give a path, s3://bucket/key or https://host/file")
    match = _SCHEME.match(text)
    if match is None:
        return Path(text)
    scheme = match[1].lower()
    if scheme == "s3" and text[match.end() :].startswith("/"):
        bucket, _, key = text[match.end() + 1 :].partition("/")
        return S3Location(bucket, key)
    if scheme == "https":
        return HttpsLocation(text)
    if scheme == "http":
        raise InputError("http:// is open to anyone in between; give an https:// address")
    if scheme == "s3":
        raise InputError("an object is given as s3://bucket/key")
    raise InputError(f"{scheme}: is not known; give a path, s3://bucket/key or https://host/file")


def refuse_secret_query(address: str) -> None:
    """Refuse a web address whose query signs or authorises it, as presigned ones do.

    Raises:
        InputError: One line that does not repeat the secret.
    """
    parts = urlsplit(address)
    if parts.scheme.lower() not in ("http", "https"):
        return
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    found = next((name for name in names if name.lower() in _SECRETS), None)
    if found is not None:
        raise InputError(
            f"wanted an address without a secret, got one at {parts.hostname} with {found!r} in "
            "it, which would be kept with the run; give s3://bucket/key and the name of a "
            "credentials block, or download it first"
        )


def _has_surrogates(text: str) -> bool:
    """Whether `text` came from bytes that are not UTF-8."""
    return any(0xD800 <= ord(character) <= 0xDFFF for character in text)
