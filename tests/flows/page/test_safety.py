"""Who may talk to the page's server."""

import contextlib
import json
import socket
from http.client import HTTPConnection
from urllib.parse import urlsplit

import psutil
import pytest

from flows.page.app import ROUTERS
from flows.page.guard import MOST_BODY_BYTES, TOKEN_HEADER
from samcore.errors import InputError

EVERY = (
    ("GET", "/api/news?wait=false"),
    ("GET", "/api/frames/0"),
    ("GET", "/api/keyframes/0?to=next"),
    ("GET", "/api/masks/0"),
    ("GET", "/api/detectors"),
    ("POST", "/api/encode/0"),
    ("POST", "/api/candidates/0"),
    ("POST", "/api/edit"),
    ("POST", "/api/undo"),
    ("POST", "/api/redo"),
    ("GET", "/api/run"),
    ("POST", "/api/run"),
    ("GET", "/api/redo"),
    ("GET", "/api/result/0"),
    ("GET", "/api/lanes"),
)


def raw(served, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str):
    """A request with exactly these headers; the status and the body."""
    port = urlsplit(served.url).port
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        with connection.getresponse() as answer:
            return answer.status, answer.read()


def test_only_this_machine_is_listened_to(served) -> None:
    """The socket is bound to 127.0.0.1, and to no other address of the machine."""
    port = urlsplit(served.url).port
    bound = [
        one.laddr.ip
        for one in psutil.Process().net_connections("inet")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    ]
    assert bound == ["127.0.0.1"]


def test_every_route_is_asked_for_in_these_tests(served) -> None:
    """All that is below /api/ is in the list of the tests of the token."""
    answers = {(method, path.partition("?")[0].split("/")[2]) for method, path in EVERY}
    known = {
        (method, route.path.split("/")[1])
        for router in ROUTERS
        for route in router(served.session).routes
        for method in route.methods
    }
    assert answers == known


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_nothing_is_answered_without_the_token(served, method: str, path: str) -> None:
    """No token, a part of it, and another one are refused, and nothing is done."""
    revision = served.session.project.revision
    host = urlsplit(served.url).netloc
    edit = {"edit": {"kind": "add_object"}, "revision": revision}
    body = json.dumps(edit).encode() if method == "POST" else None
    for token in (None, "", served.token[:-1], served.token + "x", "x" * len(served.token)):
        headers = {"host": host, "content_type": "application/json"}
        if token is not None:
            headers[TOKEN_HEADER] = token
        status, said = raw(served, path, method=method, body=body, **headers)
        assert status == 401
        assert served.token.encode() not in said
    assert served.session.project.revision == revision


def test_the_token_is_not_in_the_page(served) -> None:
    """What anybody on this machine can read does not tell the token, which is long and random."""
    assert len(served.token) >= 32
    for name in ("/", "/static/api.js", "/static/main.js"):
        answer = served.client.get(name, headers={TOKEN_HEADER: ""})
        assert answer.status_code == 200
        assert served.token not in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", ""],
)
def test_another_name_of_this_machine_is_refused(served, host: str) -> None:
    """DNS rebinding: a page of a site that lets its name point here is not answered, whatever it
    knows; neither is the page itself given under that name."""
    host = host.format(port=urlsplit(served.url).port)
    for path in ("/", "/static/api.js", "/api/news?wait=false"):
        status, _ = raw(served, path, host=host, **{TOKEN_HEADER: served.token})
        assert status == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
def test_another_origin_is_refused(served, origin: str) -> None:
    """A request that a browser sends for another site's page changes nothing."""
    port = urlsplit(served.url).port
    revision = served.session.project.revision
    status, _ = raw(
        served,
        "/api/edit",
        method="POST",
        body=json.dumps({"edit": {"kind": "add_object"}, "revision": revision}).encode(),
        host=f"127.0.0.1:{port}",
        origin=origin.format(port=port),
        content_type="application/json",
        **{TOKEN_HEADER: served.token},
    )
    assert status == 403
    assert served.session.project.revision == revision
    own = {"origin": f"http://127.0.0.1:{port}"}
    assert served.client.get("/api/news?wait=false", headers=own).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%2f..%2f__init__.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/etc/passwd",
        "/static/style.css%00",
        "/static/",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_of_the_browser_is_opened(served, path: str) -> None:
    """Files of the page are known by name; anything else does not exist."""
    status, _ = raw(served, path, host=urlsplit(served.url).netloc)
    assert status == 404


def test_masks_are_given_and_not_named(fresh, tmp_path) -> None:
    """A mask as the name of a file, which a prompts file may have, is refused from a browser; so
    is a detector's file."""
    secret = tmp_path / "mask.png"
    secret.write_bytes(b"x")
    answer = fresh.edit("mask", id=None, frame=0, mask=str(secret))
    assert answer.status_code == 422
    objects = [{"id": 1, "prompts": [{"frame": 0, "mask": str(secret)}]}]
    assert fresh.edit("import", objects=objects).status_code == 422
    looked = fresh.client.post("/api/candidates/0", json={"detector": f"file:{secret}"})
    assert looked.status_code == 422
    assert not fresh.session.project.objects
    names = [one["name"] for one in fresh.client.get("/api/detectors").json()["detectors"]]
    assert not any(name.startswith("file") for name in names)


def test_the_page_may_load_nothing_from_elsewhere(served) -> None:
    """Every answer, a refusal too, has a policy by which a browser loads this server's files
    alone, runs no code that stands in the page, and shows it in no frame of another site."""
    for path in ("/", "/static/main.js", "/api/frames/0", "/api/nothing", "/nothing"):
        headers = served.client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers[CSP].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


CSP = "content-security-policy"


def test_a_body_has_a_limit(served) -> None:
    """A request that is too long is refused before it is read; one that lies about it, too."""
    host = urlsplit(served.url).netloc
    head = {"host": host, "content_type": "application/json", TOKEN_HEADER: served.token}
    status, _ = raw(
        served, "/api/edit", method="POST", content_length=str(MOST_BODY_BYTES + 1), **head
    )
    assert status == 413


def test_a_port_that_is_taken_is_said() -> None:
    """One line, with the way out."""
    from flows.page.server import listen_on

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match="--port"):
            listen_on(other.getsockname()[1])
