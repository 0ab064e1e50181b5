"""A web server with a certificate of its own, for tests: ranges, ETags, redirects, faults."""

import ipaddress
import ssl
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class WebPage:
    """What is served under one path."""

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent as they are, such as an ETag."""
    status: int | None = None
    """Answered in place of the body."""
    ranges: bool = True
    """Whether ranges are known."""
    says_length: bool = True
    """Whether the length is told beforehand."""
    cut_after: int | None = None
    """Bytes of a body after which the connection ends, once."""


class HttpsServer:
    """Started by `with`. Clients must trust `certificate`: SSL_CERT_FILE does it."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        """A file in PEM form."""
        self.pages: dict[str, WebPage] = {}
        """By path, such as `/dog.mp4`."""
        self.requests: list[tuple[str, str | None]] = []
        """Path with query and Range header of all that was asked for."""
        self.served = 0
        """Bytes of all bodies."""
        self._key = folder / "key.pem"
        _make_certificate(self.certificate, self._key)

    def __enter__(self) -> "HttpsServer":
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self._key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        """Without a slash at its end."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        page = self.pages.get(handler.path.partition("?")[0], WebPage(status=404))
        body, status = page.body, page.status or 200
        extra = dict(page.headers)
        condition = handler.headers.get("If-Range")
        if page.status is not None:
            body = b""
        elif asked and page.ranges and condition in (None, extra.get("ETag")):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1 if last else len(body), len(body))
            extra["Content-Range"] = f"bytes {first}-{stop - 1}/{len(body)}"
            body, status = body[int(first) : stop], 206
        handler.send_response(status)
        for name, value in extra.items():
            handler.send_header(name, value)
        if page.says_length or page.status is not None:
            handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        handler.close_connection = True
        handler.end_headers()
        if page.cut_after is not None and len(body) > page.cut_after:
            body, page.cut_after = body[: page.cut_after], None
        handler.wfile.write(body)
        self.served += len(body)


def _make_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
