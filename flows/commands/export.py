"""What `longtake export` does."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from samcore.errors import InputError, TransientError, VideoError
from samcore.exports import FORMATS, ExportFormat, check_formats, write_export
from samcore.failures import Failures
from samcore.progress import reporter
from samcore.result.manifest import EXPORTS
from samcore.video import VideoSource
from tasks.results.open import open_result_store
from tasks.results.outputs import Outputs
from tasks.settings import Settings
from tasks.sources.opened import open_recording


def export(
    result: str,
    formats: Sequence[str],
    *,
    output: Path | None,
    video: str | None,
    credentials: str | None = None,
    replace: bool,
    settings: Settings,
) -> Iterator[str]:
    """Write a result's masks in other formats; a line about each one when it is done.

    One that fails does not stop those after it.

    Args:
        result: Folder or address of a published result.
        formats: Names of formats; at least one.
        output: Each format gets a folder of its own in it; None is within the result.
        video: Where the video is now, for formats that show it; None is where it was tracked.
        credentials: Name of the AwsCredentials block for buckets.
        replace: Whether folders in `output` may be replaced.
        settings: Of the environment.

    Raises:
        SegmentationError: Something that the person can put right.
    """
    chosen = check_formats(formats)
    if not chosen:
        raise InputError(f"no format: give --format; known are {', '.join(FORMATS.names)}")
    store = open_result_store(result, credentials)
    manifest, masklets = store.open_masklets(result, whole=output is None)
    asked = manifest.request

    def open_video() -> VideoSource:
        manifest.check_shows_frames()
        try:
            return open_recording(
                video or asked.source,
                () if video else asked.further_parts,
                settings.cache_dir,
                credentials=credentials,
                version=None if video else asked.source_version,
                stretch=asked.settings.stretch,
            )
        except VideoError as error:
            if video is not None or isinstance(error, TransientError):
                raise
            raise VideoError(f"{error}; if it was moved, say with --video where it is") from error

    def write(item: ExportFormat) -> str:
        if output is None:
            place = f"{EXPORTS}/{item.name}"
            Outputs(store, manifest.key, open_video).add(place)
            return store.address(place)
        write_export(
            masklets,
            item.name,
            output / item.name,
            video=open_video() if item.sees_frames else None,
            replace=replace,
            on_progress=reporter(f"writing {item.name}"),
        )
        return str(output / item.name)

    failures = Failures()
    for item in chosen:
        place = None
        with failures.collected():
            place = write(item)
        if place is not None:
            yield f"{item.name}: {place}"
    failures.say()
