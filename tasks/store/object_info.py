"""What a store says of an object, and what its content can be checked by."""

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tasks.store.locations import S3Location
from tasks.store.upload import SHA256_KEY

_AWS_HOST = re.compile(r"\.amazonaws\.com(\.cn)?(:\d+)?$")
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
"""Where AWS's pages are, by the partition that a region belongs to."""
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object."""

    location: S3Location
    """Which one."""
    size: int
    """Bytes."""
    etag: str
    """Changes with the content; without quotes."""
    version_id: str | None
    """In a bucket that keeps versions; None from a listing."""
    sha256: str | None
    """Of the whole content, if it was written by `ObjectStore`; None from a listing."""
    last_modified: datetime
    """When it was written, with a time zone."""
    checksum: str | None = None
    """The best there is to check the content by, as `algorithm:hex`; None if there is nothing."""

    @property
    def identity(self) -> str:
        """Names this very content: another one under the same key has another identity."""
        return f"{self.location.uri}@{self.version_id or ''}@{self.etag}"

    @property
    def mark(self) -> str:
        """Names this content as far as a listing shows it: 16 hexadecimal digits."""
        return hashlib.sha256(f"{self.size} {self.etag}".encode()).hexdigest()[:16]

    def is_made_of(self, size: int, sha256: str) -> bool:
        """Whether this is what was written from a file of this size and digest."""
        return (self.size, self.sha256) == (size, sha256)


def object_info(location: S3Location, answer: dict[str, Any]) -> ObjectInfo:
    """What the answer to HEAD or a whole GET says."""
    # Header names have no case, and servers give them in any.
    metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
    sha256 = metadata.get(SHA256_KEY)
    version = answer.get("VersionId")
    info = ObjectInfo(
        location=location,
        size=answer["ContentLength"],
        etag=answer["ETag"].strip('"'),
        version_id=None if version in (None, "null") else version,
        sha256=sha256,
        last_modified=answer["LastModified"],
    )
    return replace(info, checksum=_checksum(info, answer))


def _checksum(info: ObjectInfo, answer: dict[str, Any]) -> str | None:
    """What the content can be checked by, the strongest first."""
    if info.sha256 is not None:
        return f"sha256:{info.sha256}"
    if answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        for algorithm in ("SHA256", "SHA1", "CRC32"):
            given = answer.get(f"Checksum{algorithm}", "")
            if given and "-" not in given:  # with a dash it is one of the parts' checksums
                return f"{algorithm.lower()}:{base64.b64decode(given).hex()}"
    encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or answer.get(
        "SSECustomerAlgorithm"
    )
    # With such encryption, in directory buckets and after a multipart upload an ETag is no MD5.
    if _MD5.fullmatch(info.etag) and not encrypted and not info.location.bucket.endswith("--x-s3"):
        return f"md5:{info.etag}"
    return None


def console_url(location: S3Location, endpoint: str, partition: str) -> str | None:
    """An object's page in AWS's console, which holds no secret: who opens it has to log in there.

    Args:
        location: Which object.
        endpoint: Host and port of its store.
        partition: Of the store's region, in AWS's words.

    Returns:
        An address; None if the store is not AWS's.
    """
    if partition not in _CONSOLES or not _AWS_HOST.search(endpoint):
        return None
    page = f"https://{_CONSOLES[partition]}/s3/object/{quote(location.bucket)}"
    return f"{page}?prefix={quote(location.key)}"
