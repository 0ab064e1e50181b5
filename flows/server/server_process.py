"""The process of the embedded Prefect server, until nobody has used it for a while."""

import contextlib
import gc
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.server.meeting_place import HOST, Address, MeetingPlace
from samcore.disk.atomic import atomic
from samcore.disk.locks import is_free, locked, open_locked
from tasks.settings import own_server_password, prefect_database

if TYPE_CHECKING:
    import uvicorn

_LAST_REQUESTS_S = 2
_STOP_TIMEOUT_S = 8.0
"""It takes a third of a second; here it writes what it was told last to its database."""
_POLL_S = 0.1


def serve(folder: Path, linger_s: float) -> None:
    """Print an address as a line of JSON, and serve there until nobody has used it for a while.

    If another process serves already, print the address of that one and return.

    Args:
        folder: The meeting place. Who starts this process holds its lock of users.
        linger_s: How long the server stays without a command, in seconds.
    """
    # Until it has started, what is made stays: to look for what does not costs a quarter of it.
    gc.disable()
    # Here, not above: all that this needs takes a second to import.
    import uvicorn

    place = MeetingPlace(folder)
    starting = contextlib.ExitStack()
    # Two servers must not set up one database.
    starting.enter_context(locked(place.start_lock))
    other = place.living()
    if other is not None:
        print(other.model_dump_json(), flush=True)
        return
    open_locked(place.alive_lock)  # until this process ends
    users = os.open(place.users_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    listener = socket.socket()
    # Else nobody can answer in its place while connections of it are closing.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, 0))
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=_LAST_REQUESTS_S,
    )
    server = uvicorn.Server(config)
    address = Address(port=listener.getsockname()[1], password=own_server_password())
    _tell_parent(address)
    work = (server, place, address, users, linger_s, starting)
    threading.Thread(target=_oversee, args=work, daemon=True).start()
    server.run(sockets=[listener])
    # All is written. Python's own way out waits for ten seconds for threads of the database.
    sys.stderr.flush()
    os._exit(0 if server.started else 1)


def _tell_parent(address: Address) -> None:
    """Print the address, and let go of the pipe: the command may end before this process does."""
    print(address.model_dump_json(), flush=True)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _oversee(
    server: "uvicorn.Server",
    place: MeetingPlace,
    address: Address,
    users: int,
    linger_s: float,
    starting: contextlib.ExitStack,
) -> None:
    """Tell commands of the server once it has started; end it when it has none for a while.

    It ends as well when its database is removed or replaced, since it would lose all it is told.
    """
    while not server.started:
        time.sleep(_POLL_S)
    with atomic(place.address) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(address.model_dump_json().encode())
    starting.close()
    gc.freeze()
    gc.enable()
    last_use = time.monotonic()
    database = _identity(prefect_database())
    while _identity(prefect_database()) == database:
        time.sleep(_POLL_S)
        # Under the lock no command can come: one that does afterwards finds no address.
        with is_free(users) as unused:
            if not unused:
                last_use = time.monotonic()
            elif time.monotonic() - last_use >= linger_s:
                place.address.unlink(missing_ok=True)
                break
    place.address.unlink(missing_ok=True)
    server.should_exit = True
    time.sleep(_STOP_TIMEOUT_S)
    os._exit(0)


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Tells a file from another one of the same name."""
    with contextlib.suppress(OSError):
        if file is not None:
            stat = file.stat()
            return stat.st_dev, stat.st_ino
    return None
