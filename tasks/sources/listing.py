"""Lists of sources in buckets: what `list_sources` asks of object stores."""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from samcore.errors import InputError, MissingObjectError
from tasks.store.locations import S3Location, parse_location

if TYPE_CHECKING:
    from tasks.store.object_store import ObjectStore


class ListedBuckets:
    """Buckets, by the addresses of what lies in them."""

    def __init__(self, credentials: str | None) -> None:
        """Connect to nothing yet."""
        self._credentials = credentials

    @functools.cached_property
    def _store(self) -> "ObjectStore":
        from tasks.store.object_store import shared_store  # late: boto3 takes its time to import

        return shared_store(self._credentials)

    def files(self, prefix: str) -> Iterator[tuple[str, str]]:
        """The address and mark of each object whose address begins so, ascending by key."""
        for info in self._store.list(_location(prefix)):
            yield info.location.uri, f"{info.size}-{info.etag}"

    def mark(self, address: str) -> str | None:
        """The mark of one object; None if there is none."""
        info = self._store.head(_location(address))
        return None if info is None else f"{info.size}-{info.etag}"

    def read(self, address: str, limit: int) -> bytes:
        """An object's content. Raises StorageError: there is none, or it is larger."""
        try:
            return self._store.get_bytes(_location(address), limit=limit)
        except MissingObjectError as error:
            raise MissingObjectError(f"there is no {address}") from error


def _location(address: str) -> S3Location:
    place = parse_location(address)
    if not isinstance(place, S3Location):
        raise InputError(f"wanted s3://bucket/key, got {place}")
    return place
