"""A server on this machine that answers as the Hugging Face hub does."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit


@dataclass
class HubServer:
    """Models by repository: folders, or the error that asking for them gives."""

    folders: dict[str, Path] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    """The present commit of each model's main branch, 40 hex digits."""
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and `X-Error-Code`, for files of a repository."""
    hidden: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The same, for whatever is asked of a repository."""
    asked: list[str] = field(default_factory=list)
    """Paths of files that were sent."""

    def __enter__(self) -> "HubServer":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                """Nothing: the test says what happened."""

            def do_HEAD(self) -> None:
                hub._answer(self, head=True)

            def do_GET(self) -> None:
                hub._answer(self, head=False)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def _answer(self, request: BaseHTTPRequestHandler, *, head: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        is_api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models").strip("/").split("/")
        repo, rest = "/".join(parts[:2]), parts[2:]
        failed = self.hidden.get(repo) or (None if is_api else self.errors.get(repo))
        if failed is None and repo not in self.folders and repo not in self.errors:
            failed = (401, "RepoNotFound")
        if failed is not None:
            self._send(request, failed[0], b"", {"X-Error-Code": failed[1]}, head=head)
            return
        commit = self.commits.get(repo, "c" * 40)
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", "v1", commit):
            self._send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"}, head=head)
        elif is_api and rest[:1] == ["tree"]:
            self._send_json(request, self._tree(repo), head=head)
        elif is_api:
            self._send_json(request, {"id": repo, "sha": commit}, head=head)
        else:
            file = self.folders[repo] / "/".join(rest[2:])
            self._send_file(request, file, commit, head=head)

    def _tree(self, repo: str) -> list[dict[str, object]]:
        folder = self.folders.get(repo)
        files = sorted(folder.iterdir()) if folder is not None else []
        return [
            {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _oid(f)}
            for f in files
        ] or [{"type": "file", "path": "config.json", "size": 2, "oid": "0" * 40}]

    def _send_file(
        self, request: BaseHTTPRequestHandler, file: Path, commit: str, *, head: bool
    ) -> None:
        if not file.is_file():
            self._send(request, 404, b"", {"X-Error-Code": "EntryNotFound"}, head=head)
            return
        if not head:
            self.asked.append(file.name)
        headers = {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": commit}
        self._send(request, 200, file.read_bytes(), headers, head=head)

    def _send_json(self, request: BaseHTTPRequestHandler, said: object, *, head: bool) -> None:
        headers = {"Content-Type": "application/json"}
        self._send(request, 200, json.dumps(said).encode(), headers, head=head)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        headers: dict[str, str],
        *,
        head: bool,
    ) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if not head:
            request.wfile.write(content)


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
