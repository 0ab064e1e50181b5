"""A proxy between an HTTP client and a server that does to their talk what networks do.

It forwards one request a connection, byte by byte and with the headers as they are, so signatures
stay valid and clients notice nothing but the fault that was asked for.
"""

import contextlib
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Refuse:
    """Answer in the server's place; it never sees the request."""

    status: int
    """HTTP status."""
    code: str
    """S3 error code."""


@dataclass(frozen=True)
class Break:
    """Cut the connection."""

    when: Literal["request", "answer"]
    """Whose body is cut."""
    after: int = 0
    """Bytes of that body that still pass. A shorter body passes whole: there was no fault then,
    but for `request`, whose answer is never sent."""
    politely: bool = False
    """End the stream as if all were said, in place of a reset."""


@dataclass(frozen=True)
class LoseAnswer:
    """Let the server do it, and tell the client nothing."""


@dataclass(frozen=True)
class Corrupt:
    """Flip one bit."""

    when: Literal["request", "answer"]
    """Whose body."""
    at: int = 0
    """Which byte; the last one of a shorter body's."""


@dataclass(frozen=True)
class Slow:
    """Let the answer's body trickle."""

    seconds: float
    """Pause before the answer and after each 64 KiB of it."""


Fault = Refuse | Break | LoseAnswer | Corrupt | Slow

SLOW_DOWN = Refuse(503, "SlowDown")
INTERNAL_ERROR = Refuse(500, "InternalError")
UNAVAILABLE = Refuse(503, "ServiceUnavailable")
EXPIRED_TOKEN = Refuse(400, "ExpiredToken")
PASSING: tuple[Fault, ...] = (
    INTERNAL_ERROR,
    UNAVAILABLE,
    SLOW_DOWN,
    Refuse(502, "BadGateway"),
    Refuse(400, "RequestTimeout"),
    Break("request"),
    Break("request", after=700),
    Break("answer", after=0),
    LoseAnswer(),
)
"""What botocore tries again by itself."""


@dataclass(frozen=True)
class Request:
    """What a fault can be chosen by."""

    number: int
    """Counts from 0."""
    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    """Names in lower case."""
    body_size: int


@dataclass
class Exchange:
    """What became of one request."""

    request: Request
    fault: Fault | None
    status: int | None = None
    """As the server or the fault said it."""
    served: int = 0
    """Bytes of the answer's body that went to the client."""


@dataclass
class Storm:
    """Faults by chance, the same ones for the same seed and requests."""

    seed: int
    faults: Sequence[Fault]
    rate: float
    """Share of requests that meet a fault, from 0 to 1."""
    spare: Callable[[Request], bool] = lambda request: False
    """Requests that never meet one."""
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, request: Request) -> Fault | None:
        if self.spare(request) or self._random.random() >= self.rate:
            return None
        return self._random.choice(self.faults)


class FaultProxy:
    """Started by `with`; without faults it only counts."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        self._upstream = (parts.hostname, parts.port or 80)
        self._lock = threading.Lock()
        self._queue: deque[Fault | None] = deque()
        self._choose: Callable[[Request], Fault | None] | None = None
        self._open: set[socket.socket] = set()
        self.exchanges: list[Exchange] = []
        """All that was talked, oldest first."""

    def __enter__(self) -> "FaultProxy":
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        """Give this to the client."""
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                _shut(connection)

    def inject(self, *faults: Fault | None) -> None:
        """The next requests meet these, one each; None lets one pass."""
        with self._lock:
            self._queue.extend(faults)

    def set_rule(self, choose: Callable[[Request], Fault | None] | None) -> None:
        """Requests that no injected fault waits for meet what `choose` says."""
        with self._lock:
            self._choose = choose

    def clear(self) -> None:
        """Forget what was talked, and all faults."""
        with self._lock:
            self._queue.clear()
            self._choose = None
            self.exchanges.clear()

    @property
    def served(self) -> int:
        """Bytes of all bodies that went to clients."""
        return sum(exchange.served for exchange in list(self.exchanges))

    @property
    def num_faults(self) -> int:
        """Requests that met a fault."""
        return sum(exchange.fault is not None for exchange in list(self.exchanges))

    def methods(self) -> list[str]:
        """The methods of all requests, in order."""
        return [exchange.request.method for exchange in list(self.exchanges)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as stream:
                self._exchange(client, stream)
        except (OSError, EOFError):
            pass  # one of the two went away; the other one finds out by itself
        finally:
            with self._lock:
                self._open.discard(client)

    def _exchange(self, client: socket.socket, stream: BinaryIO) -> None:
        first, headers = _read_head(stream)
        method, target, _ = first.split(" ", 2)
        size = int(headers.get("content-length", 0))
        with self._lock:
            request = Request(len(self.exchanges), method, target, headers, size)
            if self._queue:
                fault = self._queue.popleft()
            else:
                fault = self._choose(request) if self._choose is not None else None
            exchange = Exchange(request, fault)
            self.exchanges.append(exchange)
        if headers.pop("expect", None):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if isinstance(fault, Refuse):
            _skip(stream, size)
            exchange.status = fault.status
            client.sendall(_refusal(fault, with_body=method != "HEAD"))
            return
        with socket.create_connection(self._upstream) as server:
            with self._lock:
                self._open.add(server)
            try:
                self._forward(client, stream, server, exchange, first, headers)
            finally:
                with self._lock:
                    self._open.discard(server)

    def _forward(
        self,
        client: socket.socket,
        stream: BinaryIO,
        server: socket.socket,
        exchange: Exchange,
        first: str,
        headers: dict[str, str],
    ) -> None:
        fault = exchange.fault
        server.sendall(_head(first, {**headers, "connection": "close"}))
        limit = fault.after if isinstance(fault, Break) and fault.when == "request" else None
        flip = fault.at if isinstance(fault, Corrupt) and fault.when == "request" else None
        if headers.get("transfer-encoding", "").lower() == "chunked":
            _copy_chunked(stream, server)
        else:
            for block in _blocks(stream, exchange.request.body_size, limit, flip):
                server.sendall(block)
        if limit is not None:
            _reset(server)
            _reset(client)
            return
        with server.makefile("rb") as answer:
            first, said = _read_head(answer)
            exchange.status = int(first.split(" ", 2)[1])
            if isinstance(fault, LoseAnswer):
                while answer.read(_BLOCK):  # it has done its work when it has said all
                    pass
                _reset(client)
                return
            if isinstance(fault, Slow):
                time.sleep(fault.seconds)
            client.sendall(_head(first, {**said, "connection": "close"}))
            size = None if "content-length" not in said else int(said["content-length"])
            if exchange.request.method == "HEAD":
                size = 0
            limit = fault.after if isinstance(fault, Break) else None
            flip = fault.at if isinstance(fault, Corrupt) and fault.when == "answer" else None
            for block in _blocks(answer, size, limit, flip):
                client.sendall(block)
                exchange.served += len(block)
                if isinstance(fault, Slow):
                    time.sleep(fault.seconds)
            if isinstance(fault, Break) and not fault.politely:
                time.sleep(0.02)  # a reset overtakes what was sent before, and throws it away
                _reset(client)


def _read_head(stream: BinaryIO) -> tuple[str, dict[str, str]]:
    first = stream.readline().decode("latin-1").strip()
    if not first:
        raise EOFError
    headers: dict[str, str] = {}
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return first, headers


def _head(first: str, headers: dict[str, str]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _blocks(
    stream: BinaryIO, size: int | None, limit: int | None, flip: int | None
) -> Iterator[bytes]:
    """A body's bytes: `size` of them or all, no more than `limit`, one bit of byte `flip` wrong."""
    wanted = size if limit is None else limit if size is None else min(limit, size)
    if flip is not None and size:
        flip = min(flip, size - 1)
    count = 0
    while wanted is None or count < wanted:
        block = stream.read(_BLOCK if wanted is None else min(_BLOCK, wanted - count))
        if not block:
            return
        if flip is not None and count <= flip < count + len(block):
            wrong = bytearray(block)
            wrong[flip - count] ^= 1
            block = bytes(wrong)
        count += len(block)
        yield block


def _copy_chunked(stream: BinaryIO, server: socket.socket) -> None:
    while True:
        line = stream.readline()
        server.sendall(line)
        size = int(line.partition(b";")[0], 16)
        server.sendall(stream.read(size))
        if not size:
            break
    while (line := stream.readline()) not in (b"", b"\r\n"):  # trailers
        server.sendall(line)
    server.sendall(b"\r\n")


def _skip(stream: BinaryIO, size: int) -> None:
    for _ in _blocks(stream, size, None, None):
        pass


def _reset(connection: socket.socket) -> None:
    """Make the other side get a reset, and no orderly end, when this is closed."""
    # Takes effect when the last file made of the socket is closed, too: right after this.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _refusal(fault: Refuse, *, with_body: bool) -> bytes:
    body = (
        f"<Error><Code>{fault.code}</Code><Message>a fault</Message></Error>" if with_body else ""
    )
    return (
        f"HTTP/1.1 {fault.status} {fault.code}\r\ncontent-type: application/xml\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    ).encode()
