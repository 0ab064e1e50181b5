"""The embedded Prefect server: for one person's commands, and for nobody else."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from flows.server.deployment import ServerAwayError, check_server
from flows.server.embedded_server import EmbeddedServer
from samcore.errors import InputError
from samcore.result.manifest import MANIFEST
from tasks.settings import set_defaults

LIMIT_S = 240.0
FOREIGN = {"Origin": "https://page.example"}
UNGUARDED = {"/health", "/ready"}
"""They say that there is a server, and no more."""


@pytest.fixture(scope="module")
def home(prefect_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of Prefect's whose database has its tables, which commands of this file use."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "prefect.db").write_bytes(Path(prefect_database).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(folder))
        for name in ("PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[EmbeddedServer]:
    """A server that has started; the last test kills it."""
    with EmbeddedServer(home, linger_s=0) as started:
        started.url()
        yield started


def _routes(client: httpx.Client, url: str) -> Iterator[tuple[str, str]]:
    """Method and address of all that the server offers, with something for each parameter."""
    paths = (
        client.get(f"{url.removesuffix('/api')}/openapi.json").raise_for_status().json()["paths"]
    )
    for path, methods in paths.items():
        own = path.removeprefix("/api")
        for method in methods:
            if not (method == "get" and own in UNGUARDED):
                yield method.upper(), url + own.replace("{", "").replace("}", "")


def test_embedded_server_gives_strangers_nothing(server: EmbeddedServer) -> None:
    """Whatever is asked for without the password, or with a wrong one, is refused; a page of
    another origin may not even read that, nor what comes with the password."""
    url = server.url()
    with httpx.Client(headers=FOREIGN, timeout=LIMIT_S) as client:
        routes = list(_routes(client, url))
        assert len(routes) > 100
        for method, address in routes:
            answer = client.request(method, address)
            assert answer.status_code == 401, (method, address)
            assert "Access-Control-Allow-Origin" not in answer.headers
        wrong = client.post(f"{url}/flows/filter", json={}, auth=("longtake", "guess"))
        assert wrong.status_code == 401

        asks = {**FOREIGN, "Access-Control-Request-Method": "POST"}
        preflight = client.options(f"{url}/flows/filter", headers=asks)
        assert "Access-Control-Allow-Origin" not in preflight.headers

        user, _, password = server.password.partition(":")
        known = client.post(f"{url}/flows/filter", json={}, auth=(user, password))
        assert known.status_code == 200
        assert "Access-Control-Allow-Origin" not in known.headers


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_embedded_server_wants_the_password_for_sockets(server: EmbeddedServer, path: str) -> None:
    """A socket is a way in of its own, which no origin is held off from: it takes the password."""
    url = f"{server.url().replace('http', 'ws')}/{path}"

    async def is_let_in(token: str | None) -> bool:
        with contextlib.suppress(WebSocketException):
            protocols = [] if token is None else ["prefect"]
            async with connect(url, subprotocols=protocols, proxy=None) as socket:  # type: ignore[arg-type]
                await socket.send(json.dumps({"type": "auth", "token": token}))
                return bool(json.loads(await socket.recv())["type"] == "auth_success")
        return False

    assert not asyncio.run(is_let_in(None))
    assert not asyncio.run(is_let_in("guess"))
    assert asyncio.run(is_let_in(server.password))


def test_embedded_servers_password_does_not_show(server: EmbeddedServer, home: Path) -> None:
    """It is in no command line, and in no file that others can read; another server has another
    one."""
    secret = server.password.partition(":")[2]
    assert len(secret) >= 32
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            assert secret not in " ".join(process.cmdline())
    holding = [
        path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
    ]
    assert len(holding) == 1
    assert holding[0].stat().st_mode & 0o077 == 0

    with EmbeddedServer(home / "other", linger_s=0) as other:
        assert other.password != server.password


def test_loopback_goes_through_no_proxy(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a proxy for everything, which cannot know this machine's own address, Prefect's client
    reaches the server; what the person spares from the proxy stays spared."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "intern.example")
    monkeypatch.setenv("no_proxy", "")

    set_defaults()

    for name in ("NO_PROXY", "no_proxy"):
        assert os.environ[name].split(",") == ["intern.example", "localhost", "127.0.0.1", "::1"]
    with (
        temporary_settings(
            {PREFECT_API_URL: server.url(), PREFECT_API_AUTH_STRING: server.password}
        ),
        get_client(sync_client=True) as client,
    ):
        assert client.read_flows(limit=1) is not None
    set_defaults()
    assert os.environ["NO_PROXY"].count("localhost") == 1


def test_a_server_that_cannot_be_used_says_why(server: EmbeddedServer) -> None:
    """One that is away, one that does not let us in and one that is no Prefect server are told
    apart, in one line and without trying again."""
    url = server.url()
    for address, password, kind, says in (
        ("http://127.0.0.1:9/api", server.password, ServerAwayError, "does not answer"),
        (url, "guess", ServerAwayError, "PREFECT_API_AUTH_STRING"),
        (url.removesuffix("/api"), server.password, InputError, "no Prefect server answers"),
    ):
        with (
            temporary_settings({PREFECT_API_URL: address, PREFECT_API_AUTH_STRING: password}),
            pytest.raises(kind, match=says),
        ):
            check_server()
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: server.password}):
        check_server()


def test_embedded_server_ends_by_itself(home: Path) -> None:
    """When its last command lets it go, it ends in good order and is not killed."""
    with EmbeddedServer(home / "ends", linger_s=0) as server:
        server.url()
        process = server._process
    assert process is not None
    assert process.returncode == 0


def test_the_next_command_finds_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that lingers serves the commands after the one that started it, and those that
    come at the same time; a command with other settings, or another database, has its own. It
    ends when its database is gone."""
    database = tmp_path / "prefect.db"
    database.write_bytes((home / "prefect.db").read_bytes())
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with (
        EmbeddedServer(tmp_path, linger_s=1000) as first,
        EmbeddedServer(tmp_path, linger_s=1000) as second,  # before there is an address
    ):
        assert (first.url(), first.password) == (second.url(), second.password)
    with EmbeddedServer(tmp_path, linger_s=1000) as third:
        assert third._process is None
        assert third.url() == first.url()
        monkeypatch.setenv("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "31")
        with EmbeddedServer(tmp_path, linger_s=0) as other:
            assert other.url() != third.url()
        database.unlink()
        for process in (first._process, second._process):
            assert process is not None
            assert process.wait(LIMIT_S) == 0
        assert third.has_failed


def test_a_server_outlives_a_command_that_uses_it(home: Path) -> None:
    """The last command that uses a server ends it, not the one that started it."""
    first = EmbeddedServer(home / "two", linger_s=0)
    url = first.url()
    with EmbeddedServer(home / "two", linger_s=0) as second:
        first.stop()
        assert second.url() == url
        check_with = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: second.password}
        with temporary_settings(check_with):
            check_server()
    assert first._process is not None
    assert first._process.wait(LIMIT_S) == 0


def test_who_asks_a_killed_server_is_told(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """After the server was killed its clients do not try for minutes whether it comes back."""
    url = server.url()
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_S
    while True:
        assert time.monotonic() < deadline
        with contextlib.suppress(httpx.TransportError):
            if httpx.post(f"{url}/flows/filter", json=[{}] * 1000).status_code == 410:
                break
    assert server.has_failed
    assert "has ended" in caplog.text
    # Logs are taken, also of a client that asks for a token first.
    assert httpx.get(f"{url}/csrf-token?client=1").status_code == 404
    assert httpx.post(f"{url}/logs/", json=[]).status_code == 201
    with (
        temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: server.password}),
        get_client(sync_client=True) as client,
        pytest.raises(PrefectHTTPStatusError, match="410"),
    ):
        client.read_flows(limit=1)


@pytest.mark.slow
def test_a_run_outlives_its_server(
    home: Path, clip: Path, prompts_file: Path, tmp_path: Path
) -> None:
    """The server is killed while a chunk is tracked: the run goes on to its end, the masks are
    published, and the command says so. In a company's network, where all has a proxy."""
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "flows.cli", "track", str(clip), "-o", str(tmp_path / "out")),
            *("--prompts", str(prompts_file), "--model", "nano", "--image-size", "64"),
            *("--device", "cpu", "--no-report", "--chunk-frames", "10", "--overlap", "2"),
        ],
        env={**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + LIMIT_S
    while not list(tmp_path.glob("out/.longtake/runs/*/chunks/00001/.masks*")):
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (server,) = [
        child
        for child in psutil.Process(command.pid).children()
        if "flows.server.server_process" in " ".join(child.cmdline())
    ]
    server.kill()
    out, err = command.communicate(timeout=LIMIT_S)

    assert command.returncode == 0, err
    assert (tmp_path / "out" / MANIFEST).exists()
    assert "embedded server has ended" in err
    assert "failed" not in err
    assert "Error" not in err
    assert "nothing to do" not in out
    assert "66 frames" in out
