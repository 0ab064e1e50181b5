"""An object is downloaded once, within a bound that is a setting."""

from pathlib import Path

import pytest

from samcore.disk.cache import CachedFile, DoesNotFit, DownloadCache
from tasks.settings import load_settings
from tasks.sources.remote import cached_object
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.faults import FaultProxy


def test_an_object_comes_once_and_a_new_version_again(
    faults: FaultProxy, bucket: str, tmp_path: Path
) -> None:
    """Bytes are served once for each content under a key, and none for what would not fit."""
    store, location = ObjectStore(), S3Location(bucket, "videos/dog.mp4")
    cache = DownloadCache(tmp_path, max_bytes=150_000)
    old = store.put_bytes(location, b"old" * 20_000)
    faults.clear()
    for _ in range(3):
        with cached_object(cache, store, old) as found:
            assert isinstance(found, CachedFile)
            assert found.path.read_bytes() == b"old" * 20_000
            assert found.path.name == "dog.mp4"
    assert faults.served == 60_000

    new = store.put_bytes(location, b"new" * 20_000)
    with cached_object(cache, store, new) as found:
        assert isinstance(found, CachedFile)
        assert found.path.read_bytes() == b"new" * 20_000

    large = store.put_bytes(location, bytes(200_000))
    faults.clear()
    with cached_object(cache, store, large) as found:
        assert found == DoesNotFit(size=200_000, room=150_000)
    assert faults.served == 0


@pytest.mark.parametrize(("text", "wanted"), [(None, 20 * 10**9), ("5000", 5000), ("0", 0)])
def test_the_bound_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, text: str | None, wanted: int
) -> None:
    """Twenty gigabytes unless the environment says otherwise."""
    if text is None:
        monkeypatch.delenv("LONGTAKE_SOURCE_CACHE_BYTES", raising=False)
    else:
        monkeypatch.setenv("LONGTAKE_SOURCE_CACHE_BYTES", text)
    assert load_settings().source_cache_bytes == wanted
