"""Task: bring here what another machine finished of this run."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.run.folder import RunFolder
from tasks.retries import DESTINATION_RETRIES
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef

_log = logging.getLogger(__name__)


@task(
    name="fetch-chunks",
    task_run_name="{run.video}: fetch finished chunks",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # what is here is not fetched again
    persist_result=False,
)
def fetch_chunks(run: RunRef) -> int:
    """Fetch finished chunks that are in the destination's bucket and not here; how many.

    Raises:
        StorageError: The bucket cannot be read, or the disk is full.
    """
    mirror = open_mirror(run)
    if mirror is None:
        return 0
    fetched = mirror.pull(RunFolder.from_ref(run))
    if fetched:
        _log.info("fetched %d chunks that are done already", len(fetched))
    return len(fetched)
