"""Task: things beside the masks, made from them, within the result."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.run.folder import RunFolder
from tasks.results.open import open_result_store
from tasks.results.outputs import Outputs, place_of
from tasks.retries import DESTINATION_RETRIES
from tasks.run.refs import RunRef
from tasks.sources.opened import open_run_source


def _run_name(parameters: dict[str, Any]) -> str:
    return f"{parameters['run'].video}: add {', '.join(parameters['names'])}"


@task(
    name="add-output",
    task_run_name=_run_name,  # type: ignore[arg-type]  # theirs asks for more than they call
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # the manifest says what is there
    persist_result=False,
)
def add_output(run: RunRef, *names: str) -> str:
    """Make overlay, report and exports of the published masks, but for those that are there.

    All that shows the video's frames is made in one pass over the video. One that fails does not
    stop the others, and whoever tries again makes what is not there.

    Args:
        run: Whose result they are of.
        names: `overlay`, `report`, or names of formats.

    Returns:
        The addresses of the files, or of formats' folders.

    Raises:
        InputError: A format cannot hold these objects.
        VideoError: The video cannot be read.
        StorageError: The result is gone, or the destination cannot be written to.
    """
    folder = RunFolder.from_ref(run)
    outputs = Outputs(
        open_result_store(run),
        run.key,
        lambda: open_run_source(folder),
        prompts=folder.prompts,
        memory_log=None if run.memory_log is None else Path(run.memory_log),
    )
    places = [place_of(name) for name in names]
    outputs.add(*places)
    return ", ".join(map(outputs.address, places))
