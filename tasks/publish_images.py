"""Task: make the result of a run over pictures appear at the destination."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.picture_runs.folder import PictureRunFolder
from samcore.picture_runs.joining import join_result
from samcore.picture_runs.records import PictureManifest
from tasks.publish import clear_staging
from tasks.publish_part import staging_dir
from tasks.results.manifest import now, versions
from tasks.results.open import open_result_store
from tasks.retries import DESTINATION_RETRIES
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef, refuse_result


@task(
    name="publish-images",
    task_run_name="{run.video}: publish",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # joining again gives the same masks
    persist_result=False,
)
def publish_images(run: RunRef, force: bool) -> None:
    """Join all shards and publish them; the manifest comes last, then the shards go.

    Whoever sees a manifest sees a whole result. Only with the run's lock held.

    Args:
        run: Which one.
        force: Whether the result of another request is replaced.

    Raises:
        InputError: Another request's result is at the destination.
        LostWorkError: A shard is not there.
        StorageError: The destination cannot be written to.
    """
    folder = PictureRunFolder.from_ref(run)
    staging = staging_dir(run)
    joined = join_result(folder, staging, versions=versions(), finished_at=now())
    store = open_result_store(run, kind=PictureManifest)
    store.publish(
        joined.files,
        joined.manifest,
        check=lambda found: refuse_result(run.destination, found, run.key, force=force),
    )
    folder.finish()
    clear_staging(staging)
    mirror = open_mirror(run)
    if mirror is not None:
        mirror.remove(run.work_key)
