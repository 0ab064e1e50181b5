"""One server with recovery for all tests of a file; workers come and go."""

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.servers.prefect_server import PrefectServer
from tests.servers.recovery import Recovery


@pytest.fixture(scope="module")
def shared(
    prefect_api: str, prefect_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recovery]:
    """All of it, for all tests."""
    folder = tmp_path_factory.mktemp("prefect")
    with (
        PrefectServer(folder, migrated=prefect_database) as server,
        temporary_settings({PREFECT_API_URL: server.url}),
    ):
        yield Recovery(server, folder, prefect_api)


@pytest.fixture
def recovery(shared: Recovery) -> Iterator[Recovery]:
    """All of it, without a worker."""
    try:
        yield shared
    finally:
        shared.stop()
