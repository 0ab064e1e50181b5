"""What a run over pictures came to."""

from samcore.picture_runs.records import BrokenPicture, PictureManifest
from samcore.result.records import Record
from tasks.run.refs import RunRef

_MAX_BROKEN = 100


class ImagesResult(Record):
    """A published result of pictures."""

    destination: str
    """An absolute path or an `s3://` address."""
    key: str
    pictures: int
    masks: int
    """On all of them."""
    broken: int
    """Pictures without masks because of a fault."""
    first_broken: tuple[BrokenPicture, ...]
    """The first ones; all are in `pictures.csv`."""
    has_overlays: bool
    exports: tuple[str, ...]
    """Formats that the masks were written in as well."""
    was_there: bool
    """It was published before; nothing was segmented."""


def images_result(run: RunRef, manifest: PictureManifest, *, was_there: bool) -> ImagesResult:
    """What there is to say of a published result."""
    return ImagesResult(
        destination=run.destination,
        key=manifest.key,
        pictures=manifest.pictures,
        masks=manifest.masks,
        broken=manifest.broken,
        first_broken=manifest.first_broken[:_MAX_BROKEN],
        has_overlays=manifest.request.overlay,
        exports=manifest.exports,
        was_there=was_there,
    )
