"""Downloads from a real https server: whole, the right bytes, or one clear line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from samcore.disk.cache import CachedFile, DoesNotFit, DownloadCache
from samcore.errors import (
    InputError,
    MissingObjectError,
    StorageConflictError,
    StorageError,
    TransientStorageError,
)
from tasks.sources.remote import cached_url
from tasks.store.locations import HttpsLocation
from tasks.store.web import fetch, look_at
from tests.servers.https import HttpsServer, WebPage

LIMIT = 10**9
BODY = bytes(range(256)) * 1200
ETAG = {"ETag": '"v1"'}


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    with HttpsServer(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        yield server


def at(web: HttpsServer, path: str = "/dog.mp4?sig=secret") -> HttpsLocation:
    return HttpsLocation(web.url + path)


def test_a_cut_download_goes_on(web: HttpsServer, tmp_path: Path) -> None:
    """What came before the connection broke does not come again."""
    web.pages["/dog.mp4"] = WebPage(BODY, ETAG, cut_after=200_000)
    file = look_at(at(web))
    assert (file.size, file.validator) == (len(BODY), '"v1"')

    with pytest.raises(TransientStorageError, match=r"cannot read https://\S+/dog.mp4: "):
        fetch(file, tmp_path / "dog.mp4", limit=LIMIT)
    assert not (tmp_path / "dog.mp4").exists()
    fetch(file, tmp_path / "dog.mp4", limit=LIMIT)

    assert (tmp_path / "dog.mp4").read_bytes() == BODY
    asked = web.requests[-1][1]
    assert asked is not None
    assert int(asked.removeprefix("bytes=").rstrip("-")) > 200_000 - (1 << 16)


@pytest.mark.parametrize(
    "page",
    [
        WebPage(BODY, cut_after=200_000),
        WebPage(BODY, {"Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT"}, cut_after=200_000),
        WebPage(BODY, {"ETag": 'W/"v1"'}, cut_after=200_000),
        WebPage(BODY, ETAG, ranges=False, cut_after=200_000),
    ],
    ids=["no validator", "a date", "a weak ETag", "no ranges"],
)
def test_without_ranges_or_etag_it_begins_anew(
    web: HttpsServer, tmp_path: Path, page: WebPage
) -> None:
    """Where nobody knows whether the rest belongs to what is there, all of it is fetched."""
    web.pages["/dog.mp4"] = page
    file = look_at(at(web))
    page.cut_after = 200_000  # looking may have been cut, too
    with pytest.raises(TransientStorageError):
        fetch(file, tmp_path / "dog.mp4", limit=LIMIT)
    fetch(file, tmp_path / "dog.mp4", limit=LIMIT)
    assert (tmp_path / "dog.mp4").read_bytes() == BODY


def test_a_change_is_told(web: HttpsServer, tmp_path: Path) -> None:
    """A file that was replaced between looking, and halves of a download, is not mixed up."""
    web.pages["/dog.mp4"] = WebPage(BODY, ETAG, cut_after=200_000)
    file = look_at(at(web))
    with pytest.raises(TransientStorageError):
        fetch(file, tmp_path / "dog.mp4", limit=LIMIT)
    web.pages["/dog.mp4"] = WebPage(BODY[::-1], {"ETag": '"v2"'})
    with pytest.raises(StorageConflictError, match="it changed while it was downloaded"):
        fetch(file, tmp_path / "dog.mp4", limit=LIMIT)


@pytest.mark.parametrize("says_length", [True, False])
def test_too_large_a_file_is_refused(web: HttpsServer, tmp_path: Path, says_length: bool) -> None:
    """By what the server says, and by what comes if it says nothing."""
    web.pages["/dog.mp4"] = WebPage(BODY, ETAG, ranges=False, says_length=says_length)
    file = look_at(at(web))
    with pytest.raises(InputError, match="at most 100000 bytes are taken"):
        fetch(file, tmp_path / "dog.mp4", limit=100_000)
    fetch(file, tmp_path / "dog.mp4", limit=len(BODY))
    assert (tmp_path / "dog.mp4").read_bytes() == BODY


@pytest.mark.parametrize(
    ("page", "kind", "said"),
    [
        (WebPage(status=404), MissingObjectError, "there is no such file"),
        (WebPage(status=403), StorageError, "a signed address may have expired"),
        (WebPage(status=503), TransientStorageError, "the server is busy"),
        (WebPage(status=429), TransientStorageError, "the server is busy"),
        (WebPage(status=418), StorageError, "the server refuses it"),
        (
            WebPage(status=302, headers={"Location": "http://127.0.0.1:1/x"}),
            StorageError,
            "not https",
        ),
        (WebPage(status=302, headers={"Location": "/dog.mp4"}), StorageError, "leads on and on"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, WebPage) else None,
)
def test_refusals_are_one_clear_line(
    web: HttpsServer, page: WebPage, kind: type[StorageError], said: str
) -> None:
    """Each names the address without its query, where signatures are."""
    web.pages["/dog.mp4"] = page
    with pytest.raises(kind, match=said) as caught:
        look_at(at(web))
    assert f"{web.url}/dog.mp4" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (kind is TransientStorageError) == isinstance(caught.value, TransientStorageError)


def test_signatures_are_not_logged(web: HttpsServer, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells which address was asked, and not the query that lets anyone read it."""
    web.pages["/dog.mp4"] = WebPage(BODY, ETAG)
    with caplog.at_level("DEBUG"):
        look_at(at(web))
    assert f"{web.url}/dog.mp4" in caplog.text
    assert "secret" not in caplog.text


def test_redirects_are_followed(web: HttpsServer, tmp_path: Path) -> None:
    """To another https address, for the look and for the download."""
    web.pages["/dog.mp4"] = WebPage(status=302, headers={"Location": "/real.mp4"})
    web.pages["/real.mp4"] = WebPage(BODY, ETAG)
    fetch(look_at(at(web)), tmp_path / "dog.mp4", limit=LIMIT)
    assert (tmp_path / "dog.mp4").read_bytes() == BODY


def test_nobody_else_is_trusted(
    web: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that no authority vouches for, and a server that is not there."""
    web.pages["/dog.mp4"] = WebPage(BODY, ETAG)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(StorageError, match="certificate is not trusted"):
        look_at(at(web))
    with pytest.raises(TransientStorageError, match="the connection failed"):
        look_at(HttpsLocation("https://127.0.0.1:1/dog.mp4"))


def test_the_cache_holds_web_files(web: HttpsServer, tmp_path: Path) -> None:
    """Downloaded once for each ETag, each time without one, and not at all if too large."""
    cache = DownloadCache(tmp_path / "cache", max_bytes=700_000)

    def read() -> bytes | DoesNotFit:
        with cached_url(cache, look_at(at(web)), limit=LIMIT) as found:
            return found.path.read_bytes() if isinstance(found, CachedFile) else found

    web.pages["/dog.mp4"] = WebPage(BODY, ETAG)
    assert read() == BODY
    before = web.served
    assert read() == BODY
    assert web.served - before == 1  # the look
    web.pages["/dog.mp4"] = WebPage(BODY[::-1], {"ETag": '"v2"'})
    assert read() == BODY[::-1]
    web.pages["/dog.mp4"] = WebPage(b"1" * 1000)
    assert read() == b"1" * 1000
    web.pages["/dog.mp4"] = WebPage(b"2" * 1000)
    assert read() == b"2" * 1000
    web.pages["/dog.mp4"] = WebPage(BODY * 3, ETAG)
    before = web.served
    assert read() == DoesNotFit(len(BODY) * 3, 700_000)
    assert web.served - before == 1
    web.pages["/dog.mp4"] = WebPage(BODY, {"ETag": '"v3"'}, ranges=False, says_length=False)
    assert read() == BODY
