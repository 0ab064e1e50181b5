"""What tests of runs and results on the page do in a window."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.commands.open_page import what_to_open
from flows.page.server import PageServer, listen_on
from flows.page.session import open_session
from tasks.settings import load_settings
from tests.flows.page.conftest import Served

WAIT_MS = 120_000
"""For a run."""


@contextlib.contextmanager
def opened(place: Path, destination: Path | None = None, **fields: Any) -> Iterator[Served]:
    """Serve a video or a result as the command does."""
    settings = load_settings()
    where = None if destination is None else str(destination)
    asked = what_to_open(str(place), fields, where, settings)
    with (
        listen_on(0) as listening,
        open_session(asked.request, asked.folder, settings=settings) as session,
        PageServer(session, listening).running() as address,
        served_at(address) as served,
    ):
        served.session = session
        yield served
