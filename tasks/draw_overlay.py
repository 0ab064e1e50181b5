"""Task: a video with the masks drawn in, for people to look at."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.errors import StorageError
from samcore.overlay import write_overlay
from tasks.files import exclusive, seal, write_json
from tasks.manifest import MANIFEST, MASKS, OVERLAY, read_manifest, with_file
from tasks.records import RunRef
from tasks.retries import retry_transient
from tasks.run_folder import RunFolder
from tasks.sources import open_source


@task(
    name="draw-overlay",
    task_run_name="{run.video}: draw overlay",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=retry_transient,
    cache_policy=NO_CACHE,  # the manifest says whether it is there
    persist_result=False,
)
def draw_overlay(run: RunRef) -> str:
    """Draw the published masks into the video, and list it in the manifest; the file's path.

    Raises:
        StorageError: The result is gone, or the destination cannot be written to.
    """
    destination = Path(run.destination)
    path = destination / OVERLAY
    manifest = read_manifest(destination, run.key)
    if manifest is None:
        raise StorageError(f"the result in {destination} is gone or damaged; run again")
    if any(file.name == OVERLAY for file in manifest.files):
        return str(path)
    record = manifest.request
    write_overlay(
        open_source(Path(record.source), RunFolder.at(run).work_dir),
        destination / MASKS,
        path,
        labels={item.id: item.label for item in record.objects if item.label},
        start=record.start,
        stop=record.stop,
    )
    with exclusive(destination / ".longtake" / "lock"):
        write_json(destination / MANIFEST, with_file(manifest, seal(path)))
    return str(path)
