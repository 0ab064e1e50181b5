"""The result of pictures as an artifact, which Prefect's UI shows beside the run."""

import logging

from prefect.artifacts import create_markdown_artifact

from samcore.picture_runs.records import PICTURES, PictureManifest
from samcore.progress import counted
from samcore.result.manifest import MANIFEST, REPORT
from samcore.result.store import ResultStore
from tasks.progress.artifact import artifact_key
from tasks.results.artifacts import opening, plain

_log = logging.getLogger(__name__)
_MAX_BROKEN = 20
_MAX_LINE = 200


def post_result(store: ResultStore[PictureManifest], manifest: PictureManifest, name: str) -> None:
    """Show a published result in Prefect's UI: numbers, what is broken, links.

    Whatever goes wrong here is logged and no more: the result is published, and must not be lost
    for a server that is away.
    """
    try:
        create_markdown_artifact(
            markdown=result_page(store, manifest),
            key=f"{artifact_key(manifest.key)}-result",
            description=f"The result of {name}",
        )
    except Exception as error:
        _log.warning("the result is not shown in Prefect's UI: %s", " ".join(str(error).split()))


def result_page(store: ResultStore[PictureManifest], manifest: PictureManifest) -> str:
    """Markdown: what came out, where it is, and which pictures are broken."""
    masks, pictures = counted(manifest.masks, "mask"), counted(manifest.pictures, "picture")
    lines = [f"**{masks} on {pictures}**, published in `{store.location}`"]
    lines.append(opening({file: store.link(file) for file in (REPORT, PICTURES, MANIFEST)}))
    if manifest.broken:
        # Names are other people's.
        items = [
            f"- {plain(one.name, _MAX_LINE)}: {plain(one.error, _MAX_LINE)}"
            for one in manifest.first_broken[:_MAX_BROKEN]
        ]
        many = counted(manifest.broken, "picture")
        lines.append("\n".join([f"**{many} without masks because of a fault**", "", *items]))
    return "\n\n".join(lines)
