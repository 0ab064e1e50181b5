"""One Prefect server for all tests of flows, in this process and for commands that they start."""

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The address of a server with an empty database."""
    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def prefect_database(prefect_api: str) -> str:
    """The file of that server's database."""
    return str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition("///")[2]
