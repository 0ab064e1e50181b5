"""What holds for every test, and what tests of tasks, flows and the command share: one request."""

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import certifi
import prefect
import prefect.context
import pytest
import torch
from filelock import FileLock
from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_URL, temporary_settings

from samcore.machine import device, precision
from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter
from tasks.request.segment_request import SegmentRequest, validate_request
from tests.servers.aws import AwsServer
from tests.servers.faults import FaultProxy
from tests.servers.forked_commands import WarmCommands
from tests.servers.prefect_server import PrefectServer, copy_database
from tests.servers.swift import SwiftServer

NUM_FRAMES = 66


CHROMIUM = Path("/usr/bin/chromium")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_sessionstart() -> None:
    """Ctrl-C is heard, which tests press, also where a shell began this in its background. No test
    sees this machine's models of the Hugging Face hub, or asks the hub. No command leaves a
    server."""
    os.environ["LONGTAKE_SERVER_LINGER_S"] = "0"
    os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "longtake-tests-have-no-models")
    os.environ["HF_HUB_OFFLINE"] = "1"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A process a core and two more: long tests wait for servers."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process has them left at the end. `needs_cuda`
    skips on a laptop, and fails where FAIL_WITHOUT_CUDA=1 says a GPU must be."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU; there is none here")
    for item in items:
        if "needs_cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    """No test sees the random numbers that another one drew."""
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Two shapes; both can be seen on frame 0."""
    return Scene(3, num_frames=NUM_FRAMES, height=96, width=128, num_objects=2)


@pytest.fixture(scope="session")
def clip(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as an mp4."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, width=scene.width, height=scene.height, rate=Fraction(24)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
    return path


@pytest.fixture(scope="session")
def prompts(scene: Scene) -> dict[str, object]:
    """A box, a later correction by points, and an object that begins later."""
    box_1 = box_of(scene.masks_nhw(0)[0])
    box_2 = box_of(scene.masks_nhw(10)[1])
    x1, y1, x2, y2 = box_of(scene.masks_nhw(30)[0])
    middle = [(x1 + x2) / 2, (y1 + y2) / 2, 1]
    return {
        "objects": [
            {
                "id": 1,
                "label": "first shape",
                "prompts": [{"frame": 0, "box": list(box_1)}, {"frame": 30, "points": [middle]}],
            },
            {"id": 7, "prompts": [{"frame": 10, "box": list(box_2)}]},
        ]
    }


@pytest.fixture(scope="session")
def prompts_file(prompts: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prompts as a JSON file."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.json"
    path.write_text(json.dumps(prompts))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no checkpoint of this machine, and leave none."""
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def chromium():
    """A headless browser, where one is on the machine. Not for the whole session: while it is there
    an event loop runs, which Prefect takes for its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=list(_QUIET))
        yield browser
        browser.close()


Ask = Callable[..., SegmentRequest]


@pytest.fixture
def ask(clip: Path, prompts: dict[str, object], tmp_path: Path) -> Ask:
    """Make a request for the clip; keywords change it."""
    return lambda **changes: validate_request(
        **{
            "source": str(clip),
            "prompts": prompts,
            "destination": str(tmp_path / "out"),
            "model": "nano",
            "settings": {"device": "cpu"},
            "chunk_frames": 20,
            "overlap": 5,
            "report": False,  # takes longer than tracking such a clip
            **changes,
        }
    )


@pytest.fixture(scope="session")
def swift() -> Iterator[SwiftServer]:
    """A real S3 server, for the whole session."""
    with SwiftServer() as server:
        yield server


@pytest.fixture
def bucket(swift: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of one's own, and the AWS settings that lead to it."""
    for name, value in swift.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    return swift.make_bucket()


@pytest.fixture
def faults(
    swift: SwiftServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """What lies between the AWS settings of this test and the S3 server."""
    with FaultProxy(swift.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture(scope="session", autouse=True)
def _one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prefect's clients trust a single authority: each of them reads all that it trusts, which
    takes a client of a hundred authorities 50 ms, and none of the tests' servers has a certificate.
    """
    (first, end, _) = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    path = tmp_path_factory.mktemp("certificate") / "one.pem"
    path.write_text(first + end)
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_SSL_CERT_FILE: str(path)}),
    ):
        patch.setenv("PREFECT_API_SSL_CERT_FILE", str(path))  # for what is started
        yield


@pytest.fixture(scope="session")
def _prefect(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[PrefectServer, Path]]:
    """A server, and a database with all tables and nothing in them.

    To make the tables takes half a minute, so they are made once for all test processes, and kept
    with pytest's cache for this version of Prefect.
    """
    cache = getattr(request.config, "cache", None)  # None with -p no:cacheprovider
    kept = tmp_path_factory.mktemp("database") if cache is None else cache.mkdir("prefect")
    migrated = kept / f"{prefect.__version__}.db"
    with FileLock(f"{migrated}.lock"):
        if not migrated.exists():
            half = migrated.with_suffix(".part")
            half.unlink(missing_ok=True)
            with PrefectServer(tmp_path_factory.mktemp("tables"), migrated=None) as making:
                copy_database(making.database, half)
            half.rename(migrated)
    with (
        PrefectServer(tmp_path_factory.mktemp("prefect"), migrated=migrated) as server,
        temporary_settings({PREFECT_API_URL: server.url}),
        # Also for threads, which begin without the settings of whoever started them.
        prefect.context._temporary_global_settings_context(prefect.context.get_settings_context()),
    ):
        yield server, migrated
        APILogHandler().flush()  # before the server is gone


@pytest.fixture(scope="session")
def prefect_api(_prefect: tuple[PrefectServer, Path]) -> str:
    """The address of a server with an empty database."""
    return _prefect[0].url


@pytest.fixture
def automations(prefect_api: str) -> Iterator[None]:
    """The automations that come with a deployment are gone afterwards, since they would reschedule
    what other tests crash."""
    yield
    with get_client(sync_client=True) as client:
        for automation in client.read_automations():
            if automation.name.startswith("longtake:"):
                client.delete_automation(automation.id)


@pytest.fixture(scope="session")
def live_database(_prefect: tuple[PrefectServer, Path]) -> str:
    """The file of that server's database."""
    return str(_prefect[0].database)


@pytest.fixture(scope="session")
def prefect_database(_prefect: tuple[PrefectServer, Path]) -> str:
    """A database of a server, with all tables and nothing in them."""
    return str(_prefect[1])


@pytest.fixture(scope="session")
def warm(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommands]:
    """Starts commands in a moment; they report to the server of the tests."""
    folder = tmp_path_factory.mktemp("commands")
    with WarmCommands(folder, {"PREFECT_API_URL": prefect_api}) as commands:
        yield commands


@pytest.fixture(scope="session")
def aws_server() -> Iterator[AwsServer]:
    """AWS's queues, topics, templates and so on, for the whole session."""
    with AwsServer() as server:
        yield server


@pytest.fixture
def aws(aws_server: AwsServer, monkeypatch: pytest.MonkeyPatch) -> AwsServer:
    """AWS with nothing in it, and the AWS settings that lead there."""
    aws_server.reset()
    for name, value in aws_server.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    return aws_server


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be a machine with a CPU with these units, to which `nano` is a large model."""
    monkeypatch.setattr(precision, "LEAST_WEIGHTS_BYTES", 1000)
    monkeypatch.setattr(precision, "LEAST_SIDE_AMX", 64)

    def be(*, amx: bool) -> None:
        units = precision.Bfloat16Units(amx=amx)
        monkeypatch.setattr(device, "_bfloat16_units", lambda: units)

    return be
