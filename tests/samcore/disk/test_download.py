"""Downloads against a real HTTP server on this machine that misbehaves in chosen ways."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from samcore.disk.download import download_file
from samcore.errors import ModelError, StorageError

ROOT = Path(__file__).parents[3]
CONTENT = bytes(hashlib.sha256(str(i).encode()).digest()[0] for i in range(200_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """How the server treats one request."""

    content: bytes = CONTENT
    status: int = 200
    cut_after: int | None = None
    """Bytes of the body after which the connection is dropped."""
    length_lie: int = 0
    """Added to the announced length."""
    ranges: bool = True
    etag: str | None = '"v1"'


@dataclass
class FileServer:
    url: str = ""
    script: list[Behaviour] = field(default_factory=list)
    """For the first requests; the last one stays."""
    ranges_asked: list[str | None] = field(default_factory=list)
    bytes_sent: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges_asked.append(asked)
        how = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        body, begin = how.content, 0
        if_range = handler.headers.get("If-Range")
        partial = asked is not None and how.ranges and if_range in (None, how.etag)
        if partial:
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
        if partial and begin >= len(body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = body[begin:]
        handler.send_response(206 if partial and how.status == 200 else how.status)
        if partial:
            last = len(how.content) - 1
            handler.send_header("Content-Range", f"bytes {begin}-{last}/{len(how.content)}")
        if how.etag is not None:
            handler.send_header("ETag", how.etag)
        handler.send_header("Content-Length", str(len(body) + how.length_lie))
        sent = body if how.cut_after is None else body[: how.cut_after]
        # Counted before the first byte leaves: the client may be done before this thread runs on.
        self.bytes_sent += len(sent)
        handler.end_headers()
        handler.wfile.write(sent)
        handler.close_connection = True


@pytest.fixture
def server() -> Iterator[FileServer]:
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.answer(self)

        def log_message(self, *args: object) -> None:
            """Nothing: the test says what happened."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    files.url = f"http://127.0.0.1:{http.server_port}/model.pt"
    files.script = [Behaviour()]
    yield files
    http.shutdown()
    http.server_close()
    thread.join()


def fetch(server: FileServer, path: Path, **options: object) -> None:
    wanted = {"size": len(CONTENT), "sha256": SHA256, "backoff_s": 0.01, "attempts": 3}
    download_file(server.url, path, **{**wanted, **options})


def nothing_but(folder: Path, *names: str) -> bool:
    """Whether the folder holds these files and, at most, locks."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock")) == [*names]


def test_a_download_is_whole_and_reports_its_way(server, tmp_path):
    """The file arrives in a folder that did not exist; progress rises to the full size."""
    seen = []

    fetch(server, tmp_path / "cache" / "m.pt", on_progress=lambda *p: seen.append(p))

    assert (tmp_path / "cache" / "m.pt").read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert nothing_but(tmp_path / "cache", "m.pt")


def test_a_file_that_is_there_is_not_fetched(server, tmp_path):
    """The second call sends nothing over the network."""
    fetch(server, tmp_path / "m.pt")
    fetch(server, tmp_path / "m.pt")

    assert len(server.ranges_asked) == 1


@pytest.mark.parametrize("sha256", [SHA256, None])
@pytest.mark.parametrize("etag", ['"v1"', None])
def test_cut_connections_end_in_the_whole_file(server, tmp_path, sha256, etag):
    """The connection breaks in every body but the last, and the file is still right."""
    server.script = [Behaviour(cut_after=60_000, etag=etag)] * 3 + [Behaviour(etag=etag)]

    fetch(server, tmp_path / "m.pt", sha256=sha256, attempts=4)

    assert (tmp_path / "m.pt").read_bytes() == CONTENT
    if etag or sha256:
        assert server.bytes_sent == len(CONTENT), "bytes were sent twice"
    else:
        # Nothing would tell whether old and new bytes belong to one file.
        assert server.ranges_asked == [None] * 4


def test_progress_may_break_more_often_than_attempts(server, tmp_path):
    """A line that breaks ever again, but brings something each time, gets there."""
    server.script = [Behaviour(cut_after=20_000)]

    fetch(server, tmp_path / "m.pt", attempts=2)

    assert (tmp_path / "m.pt").read_bytes() == CONTENT
    assert len(server.ranges_asked) >= 10


def test_a_later_process_carries_on(server, tmp_path):
    """What one call leaves, the next one does not fetch again."""
    server.script = [Behaviour(cut_after=150_000), Behaviour(status=503)]
    with pytest.raises(ModelError):
        fetch(server, tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()
    server.script = [Behaviour()]

    fetch(server, tmp_path / "m.pt")

    assert (tmp_path / "m.pt").read_bytes() == CONTENT
    assert server.ranges_asked[-1] == "bytes=150000-"


@pytest.mark.parametrize(
    "now", [Behaviour(ranges=False), Behaviour(etag='"v2"')], ids=["ignores Range", "has changed"]
)
def test_a_server_that_does_not_carry_on_is_begun_anew(server, tmp_path, now):
    """A whole body in answer to a request for the rest replaces what was there."""
    server.script = [Behaviour(cut_after=150_000), now]

    fetch(server, tmp_path / "m.pt")

    assert (tmp_path / "m.pt").read_bytes() == CONTENT


def test_versions_are_not_mixed(server, tmp_path):
    """Bytes of an old version under the same tag are found out by the digest, and fetched anew."""
    old = bytes(len(CONTENT))
    server.script = [Behaviour(content=old, cut_after=100_000), Behaviour()]

    fetch(server, tmp_path / "m.pt")

    assert (tmp_path / "m.pt").read_bytes() == CONTENT


def test_a_part_that_was_complete_is_not_fetched_again(server, tmp_path):
    """Killed after the last byte and before the rename: the bytes are used."""
    server.script = [Behaviour(cut_after=len(CONTENT) - 1), Behaviour(status=503)]
    with pytest.raises(ModelError):
        fetch(server, tmp_path / "m.pt", attempts=1)
    (tmp_path / ".m.pt.part").write_bytes(CONTENT)
    server.script, server.bytes_sent = [Behaviour()], 0

    fetch(server, tmp_path / "m.pt")

    assert (tmp_path / "m.pt").read_bytes() == CONTENT
    assert server.bytes_sent == 0


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (Behaviour(content=bytes(len(CONTENT))), "SHA-256"),
        (Behaviour(content=CONTENT[:-1]), "199999 bytes, wanted 200000"),
        (Behaviour(status=404), "404"),
        (Behaviour(status=500), "500"),
        (Behaviour(length_lie=1000), "201000 bytes"),
        (Behaviour(cut_after=0), "attempts"),
    ],
    ids=["other bytes", "other size", "404", "500", "lies about length", "hangs up"],
)
def test_what_cannot_be_had_says_where_to_get_it(server, tmp_path, behaviour, told):
    """The error names the cause, the URL and the path; no file appears under the final name."""
    server.script = [behaviour]

    with pytest.raises(ModelError, match=told) as caught:
        fetch(server, tmp_path / "m.pt")

    assert server.url in str(caught.value)
    assert str(tmp_path / "m.pt") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("lie", [1000, -1000])
def test_a_lie_about_length_is_found_out_without_knowing_the_size(server, tmp_path, lie):
    """A body that is longer or shorter than announced never becomes the file."""
    server.script = [Behaviour(length_lie=lie, ranges=False)]

    with pytest.raises(ModelError):
        fetch(server, tmp_path / "m.pt", size=None)

    assert not (tmp_path / "m.pt").exists()


def test_bad_bytes_do_not_stay_behind(server, tmp_path):
    """After a digest that does not fit, the next call starts from nothing."""
    server.script = [Behaviour(content=bytes(len(CONTENT)))]
    with pytest.raises(ModelError):
        fetch(server, tmp_path / "m.pt")
    assert nothing_but(tmp_path)
    server.script = [Behaviour()]

    fetch(server, tmp_path / "m.pt")

    assert (tmp_path / "m.pt").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/m.pt", "ftp://127.0.0.1/m.pt"])
def test_no_server_is_a_model_error(tmp_path, url):
    """Nobody listening, or no HTTP at all: the same one line."""
    with pytest.raises(ModelError, match="put it at"):
        download_file(url, tmp_path / "m.pt", attempts=2, backoff_s=0.01)


def test_two_at_once_fetch_once(server, tmp_path):
    """Whoever comes second waits for the first one's file."""
    errors = []

    def run() -> None:
        try:
            fetch(server, tmp_path / "m.pt")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(server.ranges_asked) == 1
    assert (tmp_path / "m.pt").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_a_storage_error(server, tmp_path):
    """A file where the cache folder should be: an error about writing, that names the path."""
    (tmp_path / "cache").write_text("in the way")

    with pytest.raises(StorageError, match="cache"):
        fetch(server, tmp_path / "cache" / "m.pt")


_LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
from samcore.errors import StorageError
from samcore.disk.download import download_file

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    download_file(sys.argv[1], Path(sys.argv[2]))
except StorageError as error:
    print(error)
"""


def test_a_write_that_fails_is_a_storage_error(server, tmp_path):
    """The system refuses to let the file grow, as a full disk does: one line, no file, no retry."""
    path = tmp_path / "m.pt"

    # In a process of its own: the limit holds for all files of a process.
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE_ROOM, server.url, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith(f"cannot write {path}: ")
    assert not path.exists()
    assert len(server.ranges_asked) == 1
