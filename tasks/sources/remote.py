"""Videos in buckets and on the web: from a copy on this machine, or read where they are."""

import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import certifi

from samcore.disk.cache import CachedFile, DoesNotFit, DownloadCache
from samcore.disk.fetch import Progress
from samcore.errors import InputError, VideoError
from samcore.video import Media, VideoFile, file_media, web_media
from tasks.settings import load_settings
from tasks.store.locations import HttpsLocation, S3Location
from tasks.store.object_info import ObjectInfo
from tasks.store.object_store import ObjectStore, shared_store
from tasks.store.web import WebFile, fetch, is_strong, look_at

_log = logging.getLogger(__name__)

URL_LASTS_S = 3600
"""Seconds that an address for reading is good for. A decoder that needs longer gets another one."""


def cached_object(
    cache: DownloadCache,
    store: ObjectStore,
    info: ObjectInfo,
    *,
    on_progress: Progress | None = None,
    on_wait: Callable[[], None] | None = None,
) -> AbstractContextManager[CachedFile | DoesNotFit]:
    """The object that `store.head` told of, on this machine's disk; a context manager.

    For one that does not fit, `store.presign` gives a URL to read it by.
    """

    def download(path: Path) -> None:
        store.get_file(info.location, path, expected=info, on_progress=on_progress)

    return cache.lease(
        f"{store.endpoint} {info.identity}",
        download,
        name=info.location.name,
        size=info.size,
        label=info.location.uri,
        on_wait=on_wait,
    )


def cached_url(
    cache: DownloadCache,
    file: WebFile,
    *,
    limit: int,
    on_progress: Progress | None = None,
    on_wait: Callable[[], None] | None = None,
) -> AbstractContextManager[CachedFile | DoesNotFit]:
    """What `look_at` told of, on this machine's disk; a context manager.

    A file that does not fit can be read from its URL. One that its server does not tell the size of
    gets half of the cache at most, and one without ETag and date is downloaded each time.

    Args:
        cache: Where it is kept.
        file: Which.
        limit: Bytes that it may have.
        on_progress: Called with bytes so far and in all.
        on_wait: Called once if another process is downloading it.
    """
    size = file.size if file.size is not None else min(limit, cache.max_bytes // 2)
    return cache.lease(
        f"{file.location.url} {file.size} {file.validator or uuid.uuid4()}",
        lambda path: fetch(file, path, limit=min(limit, size), on_progress=on_progress),
        name=file.location.name,
        size=size,
        label=file.location.uri,
        on_wait=on_wait,
    )


class BucketVideo:
    """A video in a bucket, as it was when this was made: that content is read, or none."""

    def __init__(
        self,
        info: ObjectInfo,
        store: ObjectStore,
        cache: DownloadCache,
        *,
        on_fetch: Progress | None = None,
        url_lasts_s: int = URL_LASTS_S,
    ) -> None:
        """Read nothing yet.

        Args:
            info: What the store says of it now.
            store: Where it is.
            cache: Where a copy is kept, if it has room for one.
            on_fetch: Called while it is downloaded.
            url_lasts_s: Seconds that an address for reading is good for.
        """
        self.name = info.location.uri
        self.size_bytes = info.size
        self.digest = object_digest(info)
        self._info = info
        self._store = store
        self._cache = cache
        self._on_fetch = on_fetch
        self._url_lasts_s = url_lasts_s

    @contextlib.contextmanager
    def media(self) -> Iterator[Media]:
        """Either the copy, which stays for as long as the block lasts, or a new address."""
        with cached_object(
            self._cache,
            self._store,
            self._info,
            on_progress=self._on_fetch,
            on_wait=lambda: _log.info("another process is downloading %s: waiting", self.name),
        ) as found:
            yield file_media(found.path) if isinstance(found, CachedFile) else self._streamed()

    def changed(self) -> bool:
        # A version that a bucket keeps does not change, though it be replaced.
        now = self._store.head(self._info.location, version_id=self._info.version_id)
        return now is None or (now.size, now.etag) != (self._info.size, self._info.etag)

    def _streamed(self) -> Media:
        info = self._info
        url = self._store.presign(
            info.location, seconds=self._url_lasts_s, version_id=info.version_id
        )
        # Without it a connection that is made anew could go on in another content.
        return web_media(
            url,
            {"If-Match": f'"{info.etag}"'},
            ca_file=load_settings().aws_ca_file or Path(certifi.where()),
        )


class WebVideo:
    """A video on a web server, as it was when this was made."""

    def __init__(
        self,
        file: WebFile,
        cache: DownloadCache,
        *,
        limit: int,
        on_fetch: Progress | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            file: What the server says of it now.
            cache: Where a copy is kept, if it has room for one.
            limit: Bytes that it may have.
            on_fetch: Called while it is downloaded.

        Raises:
            InputError: The server says too little to tell this content from another one.
        """
        self.name = file.location.uri
        if file.size is None or file.validator is None:
            lacks = "length" if file.size is None else "ETag or date"
            raise InputError(
                f"cannot read {self.name}: its server does not say its {lacks}, so nobody can tell "
                "whether it changes; download it and give the file"
            )
        self.size_bytes = file.size
        sha256 = (file.checksum or "").removeprefix("sha256:") or None
        # An ETag means something only to the server that gave it.
        self.digest = _digest(sha256, file.size, f"{file.validator} {file.location.uri}")
        self._file = file
        self._cache = cache
        self._limit = limit
        self._on_fetch = on_fetch

    @contextlib.contextmanager
    def media(self) -> Iterator[Media]:
        """Either the copy, which stays for as long as the block lasts, or where it is now."""
        with cached_url(
            self._cache,
            self._file,
            limit=self._limit,
            on_progress=self._on_fetch,
            on_wait=lambda: _log.info("another process is downloading %s: waiting", self.name),
        ) as found:
            yield file_media(found.path) if isinstance(found, CachedFile) else self._streamed()

    def changed(self) -> bool:
        return look_at(self._file.location) != self._file

    def _streamed(self) -> Media:
        now = look_at(self._file.location)
        if now != self._file:
            raise VideoError(
                f"{self.name} changed while it was read: leave it alone while it is tracked, then "
                "run again"
            )
        validator = now.validator or ""
        return web_media(
            now.final_url,
            {"If-Match": validator} if is_strong(validator) else None,
            ca_file=load_settings().web_ca_file or Path(certifi.where()),
        )


def find_remote_video(
    place: S3Location | HttpsLocation,
    *,
    credentials: str | None,
    version: str | None = None,
    on_fetch: Progress | None,
) -> VideoFile:
    """Look a video up; nothing of it is read yet.

    Args:
        place: Where it is.
        credentials: Name of the AwsCredentials block for a bucket.
        version: The bucket's name for the version that is wanted; None is the present one.
        on_fetch: Called while it is downloaded.

    Raises:
        InputError: It is no single file, or larger than the limit.
        VideoError: There is none, or it is empty.
        StorageError: The store does not answer, or refuses.
    """
    settings = load_settings()
    cache = DownloadCache(settings.cache_dir / "sources", max_bytes=settings.source_cache_bytes)
    if isinstance(place, HttpsLocation):
        found = look_at(place)
        file: VideoFile = WebVideo(
            found, cache, limit=settings.limits.max_video_bytes, on_fetch=on_fetch
        )
    else:
        info = look_up(place, version=version, credentials=credentials)
        file = BucketVideo(info, shared_store(credentials), cache, on_fetch=on_fetch)
    if file.size_bytes == 0:
        raise VideoError(f"{place} is empty (0 bytes): was it uploaded whole?")
    return file


def look_up(place: S3Location, *, version: str | None, credentials: str | None) -> ObjectInfo:
    """What a bucket says of a video.

    Args:
        place: Where it is.
        version: The bucket's name for the version that is wanted; None is the present one.
        credentials: Name of the AwsCredentials block.

    Raises:
        InputError: It is no single file.
        VideoError: There is none.
        StorageError: The store does not answer, or refuses.
    """
    if not place.name or place.key.endswith("/"):
        raise InputError(
            f"wanted one video, such as s3://{place.bucket}/dog.mp4, got {place}; folders of "
            "images are read from this machine only"
        )
    info = shared_store(credentials).head(place, version_id=version)
    if info is None:
        which = "" if version is None else f" with the version {version}"
        raise VideoError(f"no video at {place}{which}")
    return info


def object_digest(info: ObjectInfo) -> str:
    """Identity of a stored video's content, as `VideoInfo` has it."""
    return _digest(info.sha256, info.size, info.etag)


def _digest(sha256: str | None, size: int, etag: str) -> str:
    """Identity of a stored file's content, wherever it lies.

    The file's own digest where the store knows it, so that a copy on a disk has the same identity;
    else a digest of what changes with the content.
    """
    if sha256 is not None:
        return f"sha256:{sha256}"
    return "etag:" + hashlib.sha256(f"{size}\0{etag}".encode()).hexdigest()
