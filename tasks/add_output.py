"""Task: the published masks in another format, within the result."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.results.open import open_result_store
from tasks.results.outputs import add_export
from tasks.retries import DESTINATION_RETRIES
from tasks.run.folder import RunFolder
from tasks.run.records import RunRef
from tasks.sources.opened import open_run_source


@task(
    name="export-result",
    task_run_name="{run.video}: export {name}",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # the manifest says whether it is there
    persist_result=False,
)
def export_result(run: RunRef, name: str) -> str:
    """Write the published masks in the format `name`, and list its files in the manifest; the
    address of their folder.

    Raises:
        InputError: The format cannot hold these objects.
        StorageError: The result is gone, or the destination cannot be written to.
    """
    return add_export(
        open_result_store(run),
        name,
        key=run.key,
        open_video=lambda: open_run_source(RunFolder.from_ref(run)),
    )
