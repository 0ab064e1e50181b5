"""DAVIS's palette PNGs, read by Pillow as DAVIS's own tools do."""

import json

import numpy as np
import pytest
from PIL import Image

from samcore.errors import InputError
from samcore.exports.davis import davis_palette


def test_davis_pngs_are_read_back(case, tmp_path):
    """A PNG a frame, its indices the objects' ids; the higher score has the pixel, then the lower
    id."""
    folder = case.write("davis-png", tmp_path)

    (sequence,) = (folder / "ImageSets" / "2017" / "val.txt").read_text().split()
    images = sorted((folder / "Annotations" / "Full-Resolution" / sequence).iterdir())
    assert [image.name for image in images] == [f"{frame:05d}.png" for frame in case.masks]
    for image, masks in zip(images, case.exclusive.values(), strict=True):
        with Image.open(image) as opened:
            assert opened.mode == "P"
            assert bytes(opened.getpalette()) == davis_palette()[: len(opened.getpalette())]
            index = np.asarray(opened)
        assert set(np.unique(index)) - {0} == set(masks)
        for object_id, mask in masks.items():
            np.testing.assert_array_equal(index == object_id, mask)


def test_colours_are_those_of_davis():
    """The first colours are as in DAVIS's own annotations: black, dark red, dark green, ochre."""
    palette = np.frombuffer(davis_palette(), np.uint8).reshape(-1, 3)
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert len(np.unique(palette, axis=0)) == 256


@pytest.mark.parametrize("ids", [(0, 3), (5, 255), (8, 70_000)])
def test_ids_that_do_not_fit_are_numbered(many, tmp_path, ids):
    """0 and 255 have a meaning in DAVIS, and more does not fit: then indices count from 1, and a
    file says which is what."""
    folder = many(ids, {ids[1]: "dog"}).write("davis-png", tmp_path)

    known = json.loads((folder / "objects.json").read_text())["objects"]
    assert known == [
        {"value": 1, "object_id": ids[0], "label": None},
        {"value": 2, "object_id": ids[1], "label": "dog"},
    ]
    first = next(folder.rglob("00000.png"))
    assert np.asarray(Image.open(first)).flat[:3].tolist() == [1, 2, 0]


def test_davis_pngs_refuse_too_many_objects(many, tmp_path):
    """One line with the limit and another format; no folder is left."""
    with pytest.raises(InputError, match=r"254 objects at most, this result has 255: use mots-png"):
        many(tuple(range(1, 256))).write("davis-png", tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
