"""A run that failed tells somebody, if an operator has said whom."""

import http.server
import json
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Failed

from flows.server.notify import BLOCK, find_target, install_notification
from samcore.errors import InputError
from tests.servers.deployed import Deployed

LIMIT_S = 100.0
SECRET = "/services/T0000/secret"
PLACE = {"source": "a.mp4", "automatic": {"max_objects": 3}, "destination": "out"}


class Chat:
    """A chat's webhook: keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None, dict[str, str]]] = []
        chat = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat.told.append((self.path, self.headers["Content-Type"], json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}{SECRET}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "Chat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def chat() -> Iterator[Chat]:
    """A chat that can be written to."""
    with Chat() as started:
        yield started


def test_a_failed_run_is_told_of(automations: None, chat: Chat) -> None:
    """By the address of a webhook: one message for each run that failed, with its name and the line
    on what was wrong, whatever is in it; none for one that crashed, which is scheduled again. Said
    once more, it is still one message."""
    with get_client(sync_client=True) as client:
        for _ in range(2):
            install_notification(client, find_target(client, chat.address), ["segment-video"])
        assert len(client.read_automations_by_name("longtake: a failed run is told of")) == 1
    deployed = Deployed()
    crashed, first, second = (deployed.ask(**PLACE) for _ in range(3))
    deployed.leave(crashed, Crashed(message="killed"))
    lines = ['there is no video "a".mp4 \\ or\nfolder', "zwei Größen"]
    for run, line in zip((first, second), lines, strict=True):
        deployed.leave(run, Failed(message=line))

    deadline = time.monotonic() + LIMIT_S
    while len(chat.told) < 2:
        assert time.monotonic() < deadline, chat.told
        time.sleep(0.1)
    assert {(path, kind) for path, kind, _ in chat.told} == {(SECRET, "application/json")}
    texts = sorted(body["text"] for _, _, body in chat.told)
    for run, line in zip((first, second), lines, strict=True):
        # This server has no pages; where there are some, the address of the run's follows.
        assert f"segment-video failed: {run.name}: {line}" in texts


def test_a_block_that_is_there_is_used(automations: None, chat: Chat) -> None:
    """By the name of a block that an operator has made: a webhook, or one that notifies."""
    name = f"ops-{uuid.uuid4().hex[:8]}"
    made = Webhook(url=chat.address).save(name)
    with get_client(sync_client=True) as client:
        action = find_target(client, f"webhook/{name}")
        assert (action.type, action.block_document_id) == ("call-webhook", made)


def test_an_address_is_kept_as_a_secret(prefect_api: str, chat: Chat) -> None:
    """The server shows the block without its address, since that is a password often."""
    with get_client(sync_client=True) as client:
        find_target(client, chat.address)
        shown = client.request("GET", f"/block_types/slug/webhook/block_documents/name/{BLOCK}")
    assert SECRET not in shown.text


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("ops", "wanted a block as TYPE/NAME"),
        ("slack-webhook/", "wanted a block as TYPE/NAME"),
        ("slack-webhook/nobody", "there is no block 'slack-webhook/nobody'"),
        ("no-such-type/ops", "there is no block 'no-such-type/ops'"),
        ("ftp://host/secret", "wanted the http"),
        ("https:///secret", "wanted the http"),
    ],
)
def test_notification_that_cannot_be_sent_is_one_line(
    target: str, says: str, prefect_api: str
) -> None:
    """A target that cannot be is refused in one line, without the address that may be a secret."""
    with get_client(sync_client=True) as client, pytest.raises(InputError, match=says) as caught:
        find_target(client, target)
    assert "\n" not in str(caught.value)
    assert "://host" not in str(caught.value)


def test_a_block_that_cannot_notify(prefect_api: str) -> None:
    """One of another type is refused, too."""
    name = f"ops-{uuid.uuid4().hex[:8]}"
    Secret(value="x").save(name)
    with (
        get_client(sync_client=True) as client,
        pytest.raises(InputError, match="type 'secret' cannot notify"),
    ):
        find_target(client, f"secret/{name}")
