"""A worker of a work pool: takes what Prefect's server has for this machine, and runs it."""

from collections.abc import Sequence

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.workers.base import BaseWorker

from flows.commands.process import run_until_told
from flows.server.deployment import check_server, server_address
from samcore.errors import InputError


def work(
    pool: str, *, queues: Sequence[str] = (), limit: int | None = None, healthcheck: bool = False
) -> None:
    """Run what the pool is asked for until SIGTERM or SIGINT; for the main thread.

    As `prefect worker start`, but it ends as `Ending` says: Prefect's own worker asks a server
    that is gone for minutes, and none of its runs ends before that.

    Args:
        pool: Name of the work pool, which must be there.
        queues: Names of its queues; none for all of them.
        limit: Runs at once; None for any number.
        healthcheck: Answer at port 8080 whether it reaches the server.

    Raises:
        InputError: No server is configured, or it has no such pool.
        ServerAwayError: It does not answer.
    """
    check_server()
    with get_client(sync_client=True) as client:
        try:
            kind = client.read_work_pool(pool).type
        except ObjectNotFound as error:
            raise InputError(
                f"the Prefect server at {server_address()} has no work pool {pool!r}; make it with "
                f"`longtake deploy --pool {pool}`"
            ) from error
    worker = BaseWorker.get_worker_class_from_type(kind)
    if worker is None:
        raise InputError(f"workers of type {kind!r} are not installed here; see Prefect's page")
    made = worker(work_pool_name=pool, work_queues=list(queues), limit=limit)
    run_until_told(made.start(with_healthcheck=healthcheck))
