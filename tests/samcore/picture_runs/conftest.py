"""Small pictures, and runs over them by the embedded model."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from samcore.chunks.plan import plan_chunks
from samcore.disk.files import FileRecord
from samcore.models.registry import resolve_model
from samcore.picture_runs.folder import PictureRunFolder, list_content
from samcore.picture_runs.records import (
    PictureAsk,
    PictureEntry,
    PictureRunRecord,
    entries_digest,
)
from samcore.sources.listing import file_mark

MakeRun = Callable[..., PictureRunFolder]


def picture_png(place: int, side: int = 64) -> bytes:
    """A PNG of a bright disc on a dark ground."""
    image = np.full((side, side, 3), (20 + place, 30, 40), np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 4, (220, 200, 60 + 10 * place), -1)
    return bytes(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Five pictures, the third of which is broken."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = [folder / f"{place}.png" for place in range(5)]
    for place, path in enumerate(paths):
        path.write_bytes(b"no picture" if place == 2 else picture_png(place))
    return paths


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Lay out a run over pictures; keywords change what is asked."""

    def make(
        paths: Sequence[Path | PictureEntry],
        ask: PictureAsk,
        *,
        shard: int = 2,
        overlay: bool = True,
        model: str = "nano",
        image_size: int = 64,
    ) -> PictureRunFolder:
        entries = [
            one
            if isinstance(one, PictureEntry)
            else PictureEntry(place=str(one), mark=file_mark(one), name=one.name, stem=one.stem)
            for one in paths
        ]
        content = list_content(entries)
        record = PictureRunRecord(
            asked=("pictures",),
            count=len(entries),
            entries_digest=entries_digest(entries),
            entries=FileRecord(
                name="list.jsonl", size=len(content), sha256=hashlib.sha256(content).hexdigest()
            ),
            ask=ask,
            ask_digest=ask.model_dump_json(),
            model=resolve_model(model, image_size=image_size, cache_dir=tmp_path / "cache"),
            device="cpu",
            dtype="float32",
            overlay=overlay,
            shards=plan_chunks(0, len(entries), chunk_frames=shard, overlap=0),
        )
        folder = PictureRunFolder.for_key(tmp_path / "work", record.work_key)
        folder.create(record, entries)
        return folder

    return make
