"""Task: a video with the masks drawn in, for people to look at."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.errors import StorageError
from samcore.overlay import write_overlay
from tasks.progress.steps import reporter
from tasks.results.manifest import MASKS, OVERLAY
from tasks.results.open import open_result_store
from tasks.retries import DESTINATION_RETRIES
from tasks.run.folder import RunFolder
from tasks.run.records import RunRef
from tasks.sources.opened import open_run_source


@task(
    name="draw-overlay",
    task_run_name="{run.video}: draw overlay",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # the manifest says whether it is there
    persist_result=False,
)
def draw_overlay(run: RunRef) -> str:
    """Draw the published masks into the video, and list it in the manifest; the file's address.

    Raises:
        StorageError: The result is gone, or the destination cannot be written to.
    """
    store = open_result_store(run)
    manifest = store.read_manifest(run.key)
    if manifest is None:
        raise StorageError(f"the result in {store.location} is gone or damaged; run again")
    if any(file.name == OVERLAY for file in manifest.files):
        return store.address(OVERLAY)
    record = manifest.request
    with store.workspace() as folder:
        write_overlay(
            open_run_source(RunFolder.from_ref(run)),
            store.fetch(MASKS),
            folder / OVERLAY,
            labels={item.id: item.label for item in record.objects if item.label},
            start=record.start,
            stop=record.stop,
            on_progress=reporter("drawing the overlay", "frames"),
        )
        store.add_files({OVERLAY: folder / OVERLAY}, run.key)
    return store.address(OVERLAY)
