"""Task: the report, one page by which a person judges the result."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.errors import StorageError
from tasks.progress.steps import reporter
from tasks.results.manifest import MASKS, REPORT, SEAMS
from tasks.results.open import open_result_store
from tasks.results.report_facts import report_facts
from tasks.retries import DESTINATION_RETRIES
from tasks.run.folder import RunFolder
from tasks.run.records import RunRef, SeamList
from tasks.sources.opened import open_run_source


@task(
    name="write-report",
    task_run_name="{run.video}: write report",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # the manifest says whether it is there
    persist_result=False,
)
def write_report(run: RunRef) -> str:
    """Make the report of the published result, and list it in the manifest; the file's address.

    Raises:
        VideoError: The video cannot be read.
        StorageError: The result is gone, or the destination cannot be written to.
    """
    # Late: plotly takes half a second to import, and commands without a report do without it.
    from samcore.report import page

    store = open_result_store(run)
    manifest = store.read_manifest(run.key)
    if manifest is None:
        raise StorageError(f"the result in {store.location} is gone or damaged; run again")
    if any(file.name == REPORT for file in manifest.files):
        return store.address(REPORT)
    seams = SeamList.model_validate_json(store.fetch(SEAMS).read_bytes()).seams
    memory_log = None if run.memory_log is None else Path(run.memory_log)
    folder_of_run = RunFolder.from_ref(run)
    with store.workspace() as folder:
        page.write_report(
            report_facts(manifest, seams, prompts=folder_of_run.prompts(), memory_log=memory_log),
            store.fetch(MASKS),
            open_run_source(folder_of_run),
            folder / REPORT,
            on_progress=reporter("writing the report", "frames"),
        )
        store.add_files({REPORT: folder / REPORT}, run.key)
    return store.address(REPORT)
