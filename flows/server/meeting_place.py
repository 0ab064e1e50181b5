"""Where commands and the embedded Prefect server find each other.

Four files in private folders keep that in order:

- `start.lock`, one for all folders, is held by a server until its database is set up;
- `alive.lock` is held by a server that lives: the kernel frees it, however the server ends;
- `users.lock` is shared by all commands that use it: who gets it alone knows that there are none;
- `server.json` says where it listens, and the password that it wants.
"""

import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ValidationError

from samcore.disk.locks import try_open_locked
from tasks.settings import prefect_server_settings

HOST = "127.0.0.1"


class Address(BaseModel):
    """Where a server listens, and what it wants."""

    port: int
    password: str
    """Clients send it as HTTP's user and password."""

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://{HOST}:{self.port}/api"


class MeetingPlace:
    """The folder for one person's commands with one set of Prefect's settings."""

    def __init__(self, folder: Path) -> None:
        """Name the files; nothing is made.

        Args:
            folder: On a disk of this machine, or on one that knows locks.
        """
        self.folder = folder
        self.start_lock = folder.parent / "start.lock"
        self.alive_lock = folder / "alive.lock"
        self.users_lock = folder / "users.lock"
        self.address = folder / "server.json"

    @classmethod
    def in_cache(cls, cache: Path) -> "MeetingPlace":
        """The place for this environment: who sees another database meets at another one."""
        this = (
            *(platform.node(), str(os.getuid()), sys.prefix),
            *(version("longtake"), version("prefect")),
            *(f"{name}={value}" for name, value in sorted(prefect_server_settings().items())),
        )
        digest = hashlib.sha256("\0".join(this).encode(errors="surrogateescape")).hexdigest()
        return cls(cache / "servers" / digest[:16])

    def is_alive(self) -> bool:
        """Whether a server holds its lock."""
        descriptor = try_open_locked(self.alive_lock, shared=True)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None

    def living(self) -> Address | None:
        """The server that serves here; None if there is none."""
        try:
            is_ours = self.address.stat().st_uid == os.getuid()
            address = Address.model_validate_json(self.address.read_bytes())
        except (OSError, ValidationError):
            return None
        return address if is_ours and self.is_alive() else None
