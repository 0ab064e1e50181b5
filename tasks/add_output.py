"""Task: something beside the masks, made from them, within the result."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.results.open import open_result_store
from tasks.results.outputs import OVERLAY_NAME, REPORT_NAME, Outputs
from tasks.retries import DESTINATION_RETRIES
from tasks.run.folder import RunFolder
from tasks.run.records import RunRef
from tasks.sources.opened import open_run_source


@task(
    name="add-output",
    task_run_name="{run.video}: add {name}",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # the manifest says whether it is there
    persist_result=False,
)
def add_output(run: RunRef, name: str) -> str:
    """Make the overlay, the report or an export of the published masks, unless it is there.

    Args:
        run: Whose result it is of.
        name: `overlay`, `report`, or the name of a format.

    Returns:
        The address of the file, or of a format's folder.

    Raises:
        InputError: The format cannot hold these objects.
        VideoError: The video cannot be read.
        StorageError: The result is gone, or the destination cannot be written to.
    """
    folder = RunFolder.from_ref(run)
    outputs = Outputs(open_result_store(run), run.key, lambda: open_run_source(folder))
    if name == REPORT_NAME:
        memory_log = None if run.memory_log is None else Path(run.memory_log)
        return outputs.add_report(folder.prompts(), memory_log=memory_log)
    if name == OVERLAY_NAME:
        return outputs.add_overlay()
    return outputs.add_export(name)
