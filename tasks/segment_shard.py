"""Task: segment one shard of a list of pictures."""

from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.machine.stopping import run_stoppable
from samcore.picture_runs.folder import PictureRunFolder
from samcore.picture_runs.read_ahead import Fetch
from samcore.picture_runs.records import ShardRecord
from samcore.picture_runs.shard import segment_shard as segment
from samcore.result.records import Record
from tasks.retries import SOURCE_RETRIES
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef
from tasks.settings import load_settings
from tasks.sources.listing import ListedBuckets

MAX_PICTURE_BYTES = 1 << 30
"""Of one file in a bucket, which is held in memory."""


class ShardRef(Record):
    """A finished shard."""

    index: int
    pictures: int
    broken: int
    """Pictures without masks because of a fault."""


@task(
    name="segment-shard",
    task_run_name="{run.video}: shard {index}",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # the run's folder is the record of what is done
    persist_result=False,
)
def segment_shard(
    run: RunRef,
    index: int,
    on_picture: Callable[[int], None] | None = None,
    device: str | None = None,
) -> ShardRef:
    """Do one shard, unless it is done; where the result goes to a bucket, copy it there, so that
    another machine can go on after it. Only with the shard's lock and lease held.

    Raises:
        SegmentationError: Not for what is wrong with one picture: the others go on.
    """
    folder = PictureRunFolder.from_ref(run)
    record = folder.finished_shard(index) or run_stoppable(
        lambda stop: segment(
            folder,
            index,
            device=device,
            fetch=_fetch(run, folder, index),
            limits=load_settings().limits,
            stop=stop,
            on_picture=on_picture,
        )
    )
    mirror = open_mirror(run)
    if mirror is not None:
        mirror.push_shard(folder, record)
    return _ref(record)


def _fetch(run: RunRef, folder: PictureRunFolder, index: int) -> Fetch | None:
    """What reads objects; None where the shard has none."""
    shard = folder.record().shards[index]
    entries = folder.entries(shard.start, shard.stop)
    if not any(entry.place.startswith("s3://") for entry in entries):
        return None
    buckets = ListedBuckets(run.credentials)
    return lambda address: buckets.read(address, MAX_PICTURE_BYTES)


def _ref(record: ShardRecord) -> ShardRef:
    broken = sum(bool(picture.error) for picture in record.pictures)
    return ShardRef(index=record.index, pictures=len(record.pictures), broken=broken)
