"""Task: remove the work in progress of a run whose result is in a bucket."""

import contextlib
import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.disk.janitor import remove_stale_work
from samcore.errors import LostWorkError
from samcore.run.backward import backward_pass
from samcore.run.folder import RunFolder
from tasks.retries import DESTINATION_RETRIES
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef
from tasks.settings import load_settings

_log = logging.getLogger(__name__)


@task(
    name="clear-work",
    task_run_name="{run.video}: clear up",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # what is gone is gone
    persist_result=False,
)
def clear_work(run: RunRef, *, keep_folder: bool) -> None:
    """Remove the run's chunks from the bucket and, so that a worker's disk does not fill up with
    them, from this machine; and work of other runs that nobody came back for. Only with the run's
    lock held and its result published.

    Args:
        run: Whose result is in a bucket.
        keep_folder: Leave the folder on this machine alone: a person chose where it is.

    Raises:
        StorageError: The bucket or the folder cannot be written to.
    """
    mirror = open_mirror(run)
    if mirror is None:
        return
    folders = [RunFolder.from_ref(run)]
    # Its own records say whether a run has a backward pass: they go last. If they are gone, an
    # earlier attempt has removed that pass before them.
    with contextlib.suppress(LostWorkError):
        if (backward := backward_pass(folders[0])) is not None:
            folders.insert(0, backward)
    for folder in folders:
        mirror.remove(folder.path.name)
        if not keep_folder:
            folder.clear()
    if not keep_folder:
        remove_stale_work(load_settings().cache_dir)
    _log.info("removed the work in progress of %s", run.work_key)
