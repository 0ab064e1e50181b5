"""Masks and tables made by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samcore.masks.frame_masks import FrameMasks
from samcore.masks.rle import encode_masks
from samcore.masks.table import MaskWriter

HEIGHT, WIDTH = 40, 60


def block(left, top=10, size=12):
    """A square."""
    mask_hw = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask_hw[top : top + size, left : left + size] = True
    return mask_hw


EMPTY = np.zeros((HEIGHT, WIDTH), dtype=bool)


@pytest.fixture
def table(tmp_path):
    """Write a table: frames of {object: mask}, from frame `start` on."""

    def write(frames, *, start=0, name="masks.parquet"):
        path = tmp_path / name
        with MaskWriter(path, height=HEIGHT, width=WIDTH) as writer:
            for frame_idx, masks in enumerate(frames, start):
                if not masks:
                    continue
                scores = np.array([5.0 if m.any() else -5.0 for m in masks.values()], np.float32)
                writer.write(
                    FrameMasks(
                        frame_idx,
                        tuple(masks),
                        np.stack(list(masks.values())),
                        scores,
                        np.ones(len(masks), np.float32),
                        np.zeros(len(masks), bool),
                    ),
                    frame_idx,
                )
        return path

    return write


@pytest.fixture
def davis(tmp_path):
    """Write DAVIS masks: a palette PNG a frame."""

    def write(frames, *, folder="davis/bear", mode="P", values=None):
        target = tmp_path / folder
        target.mkdir(parents=True)
        for number, masks in enumerate(frames):
            index_hw = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
            for obj_id, mask_hw in masks.items():
                index_hw[mask_hw] = (values or {}).get(obj_id, obj_id)
            image = Image.fromarray(index_hw)
            if mode == "P":
                image.putpalette([level for i in range(256) for level in (i, 255 - i, i // 2)])
            image.save(target / f"{number:05d}.png")
        return target

    return write


@pytest.fixture
def mots_png(tmp_path):
    """Write MOTS's PNGs of 16 bits; numbers are 1000 times the class and the object's."""

    def write(frames, *, first=0):
        target = tmp_path / "mots"
        target.mkdir()
        for number, masks in enumerate(frames, first):
            index_hw = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
            for obj_id, mask_hw in masks.items():
                index_hw[mask_hw] = obj_id
            Image.fromarray(index_hw).save(target / f"{number:06d}.png")
        return target

    return write


@pytest.fixture
def mots_txt(tmp_path):
    """Write MOTS's text, last frame first."""

    def write(frames, *, first=1):
        lines = []
        for number, masks in enumerate(frames, first):
            for obj_id, mask_hw in masks.items():
                (rle,) = encode_masks(mask_hw[None])
                kind = obj_id // 1000
                lines.append(f"{number} {obj_id} {kind} {HEIGHT} {WIDTH} {rle.counts.decode()}")
        path = tmp_path / "gt.txt"
        path.write_text("\n".join(reversed(lines)) + "\n")
        return path

    return write


def coco_video(frames, *, numbers, video_id=1, name="clip"):
    """YouTube-VIS's JSON of one video."""
    annotations = []
    for obj_id in numbers:
        segmentations = []
        for masks in frames:
            mask_hw = masks.get(obj_id)
            if mask_hw is None or not mask_hw.any():
                segmentations.append(None)
                continue
            (rle,) = encode_masks(mask_hw[None])
            segmentations.append({"size": [HEIGHT, WIDTH], "counts": rle.counts.decode()})
        annotations.append(
            {
                "id": obj_id,
                "video_id": video_id,
                "category_id": 1,
                "segmentations": segmentations,
            }
        )
    files = [f"{name}/{i:05d}.jpg" for i in range(len(frames))]
    video = {"id": video_id, "height": HEIGHT, "width": WIDTH, "file_names": files}
    return {"videos": [video], "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}


def write_file(path: Path, data: bytes) -> Path:
    """Write a file; its path."""
    path.write_bytes(data)
    return path
