"""Task: bring one chunk's own masks to the destination while the next chunk is tracked."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.errors import LostWorkError
from samcore.run.folder import RunFolder
from samcore.run.joining import write_part
from tasks.retries import DESTINATION_RETRIES
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef
from tasks.store.locations import parse_location


def staging_dir(run: RunRef) -> Path:
    """Where the result is put together: at the destination, or before it goes to a bucket."""
    place = parse_location(run.destination)
    if isinstance(place, Path):
        return place / ".longtake" / "parts" / run.work_key
    return Path(run.folder) / "published" / "parts"


@task(
    name="publish-part",
    task_run_name="{run.video}: publish chunk {index}",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # the part is named for its content, and is not written twice
    persist_result=False,
)
def publish_part(run: RunRef, index: int) -> str:
    """Put the frames that chunk `index` owns beside the destination; the part's path.

    A chunk owns the frames up to the next one's start. The last step then only joins files that
    are at the destination already. Where that is a bucket, the whole chunk is copied there, so that
    another machine can go on after it.

    Raises:
        LostWorkError: The chunk is not there.
        StorageError: The destination cannot be written to.
    """
    folder = RunFolder.from_ref(run)
    mirror = open_mirror(run)
    if mirror is not None:
        mirror.push_chunk(folder, index)
    done = folder.finished_chunk(index)
    if done is None:
        raise LostWorkError(f"chunk {index} in {folder.path} is gone or damaged; run again")
    return str(write_part(folder, done, staging_dir(run)))
