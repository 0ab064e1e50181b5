"""Ground truth in each format gives the same masks; what is no ground truth is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from samcore.errors import InputError
from samcore.evaluation.open_truth import open_ground_truth
from samcore.masks.rle import decode_mask, encode_masks
from tests.samcore.evaluation.conftest import EMPTY, HEIGHT, WIDTH, block, coco_video, write_file

FRAMES = [
    {1: block(0), 2: block(30)},
    {1: block(2)},
    {},
    {2: block(33, top=5)},
]


def read(truth):
    return {
        frame.frame: {number: decode_mask(rle) for number, rle in frame.masks.items()}
        for frame in truth.frames()
    }


def assert_same(found, frames, *, numbers=lambda n: n, with_empty=True):
    expected = {
        place: {numbers(n): mask for n, mask in masks.items()}
        for place, masks in enumerate(frames)
        if masks or with_empty
    }
    assert found.keys() == expected.keys()
    for place, masks in expected.items():
        assert found[place].keys() == masks.keys()
        assert all(np.array_equal(found[place][n], mask) for n, mask in masks.items())


def test_truth_is_read_from_davis_pngs(davis):
    """Palette PNGs: an index is an object's number, frames are numbered by their names; and again
    on a second reading."""
    truth = open_ground_truth(davis(FRAMES))

    assert truth.kind == "davis"
    assert (truth.height, truth.width) == (HEIGHT, WIDTH)
    assert_same(read(truth), FRAMES)
    assert_same(read(truth), FRAMES)


def test_truth_is_read_from_davis_2016_pngs(davis):
    """Grey PNGs of 0 and 255 are masks of object 1; in a palette 255 is background."""
    frames = [{1: block(0)}, {1: block(3)}, {}]

    assert_same(read(open_ground_truth(davis(frames, mode="L", values={1: 255}))), frames)
    void = davis(FRAMES, folder="other", values={2: 255})
    assert_same(read(open_ground_truth(void)), [{1: m[1]} if 1 in m else {} for m in FRAMES])


@pytest.mark.parametrize("first", [0, 1])
def test_truth_is_read_from_mots_pngs(mots_png, first):
    """16 bits: class and object make the number; 10000 is not judged; frames begin at 0 or 1."""
    frames = [{n + 2000: mask for n, mask in masks.items()} for masks in FRAMES]
    frames[1][10_000] = block(40, top=20)

    truth = open_ground_truth(mots_png(frames, first=first))

    assert truth.kind == "mots-png"
    assert_same(read(truth), FRAMES, numbers=lambda n: n + 2000)
    (void,) = list(truth.frames())[1].void
    assert np.array_equal(decode_mask(void), frames[1][10_000])


@pytest.mark.parametrize("first", [0, 1])
def test_truth_is_read_from_mots_text(mots_txt, first):
    """Lines in any order; regions of class 10 are not judged."""
    frames = [{n + 1000: mask for n, mask in masks.items()} for masks in FRAMES]
    frames[3][10_000] = block(40, top=20)

    truth = open_ground_truth(mots_txt(frames, first=first))

    assert truth.kind == "mots-txt"
    assert_same(read(truth), FRAMES, numbers=lambda n: n + 1000, with_empty=False)
    assert [len(frame.void) for frame in truth.frames()] == [0, 0, 1]


def test_truth_is_read_from_coco_video(tmp_path):
    """A segmentation or null for each frame; compressed runs, plain runs and polygons."""
    content = coco_video(FRAMES, numbers=(1, 2))
    first = content["annotations"][0]["segmentations"]
    first[0] = [[0, 10, 12, 10, 12, 22, 0, 22]]
    runs = FRAMES[1][1].T.ravel()
    edges = np.flatnonzero(np.diff(runs.astype(int))) + 1
    counts = np.diff([0, *edges, runs.size]).tolist()
    first[1] = {"size": [HEIGHT, WIDTH], "counts": counts}
    path = write_file(tmp_path / "truth.json", json.dumps(content).encode())

    truth = open_ground_truth(path)

    assert truth.kind == "coco-video"
    assert_same(read(truth), FRAMES)


def test_truth_of_one_of_several_sequences_is_chosen(davis, tmp_path):
    """A folder of folders and a file of videos are asked for one of theirs by name."""
    davis(FRAMES, folder="all/bear")
    davis([{5: block(0)}], folder="all/dog")
    assert_same(read(open_ground_truth(tmp_path / "all", sequence="dog")), [{5: block(0)}])
    with pytest.raises(InputError, match=r"2 sequences \(bear, dog\): choose one with --sequence"):
        open_ground_truth(tmp_path / "all")
    with pytest.raises(InputError, match="none is 'cow'"):
        open_ground_truth(tmp_path / "all", sequence="cow")

    content = coco_video(FRAMES, numbers=(1, 2), name="bear")
    other = coco_video([{5: block(0)}], numbers=(5,), video_id=2, name="dog")
    for part in ("videos", "annotations"):
        content[part] += other[part]
    path = write_file(tmp_path / "truth.json", json.dumps(content).encode())
    assert_same(read(open_ground_truth(path, sequence="dog")), [{5: block(0)}])
    with pytest.raises(InputError, match="choose one with --sequence"):
        open_ground_truth(path)


def test_truth_is_found_below_the_folder_of_all_sequences(davis, tmp_path):
    """The folder above all sequences will do, as the benchmarks are unpacked and as exports are."""
    davis(FRAMES, folder="DAVIS/Annotations/480p/bear")
    (tmp_path / "DAVIS" / "ImageSets" / "2017").mkdir(parents=True)
    davis([{5: block(0)}], folder="MOTS/instances/0002")
    assert_same(read(open_ground_truth(tmp_path / "DAVIS")), FRAMES)
    assert_same(read(open_ground_truth(tmp_path / "MOTS")), [{5: block(0)}])

    davis([{5: block(0)}], folder="DAVIS/Annotations/480p/dog")
    assert_same(read(open_ground_truth(tmp_path / "DAVIS", sequence="bear")), FRAMES)
    with pytest.raises(InputError, match=r"480p has 2 sequences \(bear, dog\)"):
        open_ground_truth(tmp_path / "DAVIS")


def test_lists_that_begin_with_a_later_frame(tmp_path):
    """A first frame below 0 says that the lists' first entry is a frame after it."""
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco_video(FRAMES, numbers=(1, 2))))

    found = list(open_ground_truth(path, first_frame=-20).frames())

    assert [frame.frame for frame in found] == list(range(20, 20 + len(FRAMES)))
    assert [set(frame.masks) for frame in found] == [set(masks) for masks in FRAMES]


def _png(mask, mode):
    def write(folder):
        folder.mkdir()
        Image.fromarray(mask).convert(mode).save(folder / "00000.png")
        return folder

    return write


BAD = {
    "missing": (lambda p: p, "there is no ground truth at"),
    "no pictures": (lambda p: p.mkdir() or p, "no PNG in"),
    "colour": (_png(np.zeros((4, 4), np.uint8), "RGB"), "neither DAVIS's"),
    "video": (lambda p: write_file(p.with_suffix(".mp4"), b"x"), "is no ground truth"),
    "json of another kind": (
        lambda p: write_file(p.with_suffix(".json"), b'{"images": []}'),
        "is not YouTube-VIS's JSON",
    ),
    "broken json": (lambda p: write_file(p.with_suffix(".json"), b"{"), "is not YouTube-VIS's"),
    "text of another kind": (
        lambda p: write_file(p.with_suffix(".txt"), b"1,2,3\n"),
        "is not MOTS's text",
    ),
    "empty text": (lambda p: write_file(p.with_suffix(".txt"), b""), "has no masks"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_ground_truth_is_refused(case, tmp_path):
    """One line says which file it is and what was wanted."""
    make, message = BAD[case]
    with pytest.raises(InputError, match=message) as raised:
        open_ground_truth(make(tmp_path / "truth"))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_damage_on_a_later_frame_names_it(davis, tmp_path):
    """A picture of another size, one that is cut off, and damaged runs are errors that name the
    file, when they are reached."""
    folder = davis(FRAMES)
    picture = (folder / "00002.png").read_bytes()
    (folder / "00002.png").write_bytes(picture[: len(picture) // 2])
    with pytest.raises(InputError, match=r"00002\.png"):
        read(open_ground_truth(folder))

    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "00002.png")
    with pytest.raises(InputError, match=r"00002\.png is 9 x 9 pixels"):
        read(open_ground_truth(folder))

    content = coco_video(FRAMES, numbers=(1, 2))
    content["annotations"][0]["segmentations"][1]["counts"] = "zzz"
    path = write_file(tmp_path / "truth.json", json.dumps(content).encode())
    with pytest.raises(InputError, match="annotation 1, frame 1: damaged mask"):
        read(open_ground_truth(path))


def test_names_without_a_number_or_with_the_same(davis):
    """Which frame a picture is must be said once."""
    folder = davis(FRAMES)
    (folder / "first.png").write_bytes((folder / "00000.png").read_bytes())
    with pytest.raises(InputError, match="no number in its name"):
        open_ground_truth(folder)
    (folder / "first.png").rename(folder / "again_0.png")
    with pytest.raises(InputError, match="are both frame"):
        open_ground_truth(folder)


def test_empty_masks_are_no_objects(tmp_path):
    """A mask without a pixel says the same as none."""
    content = coco_video([{1: block(0)}, {1: EMPTY}], numbers=(1,))
    (rle,) = encode_masks(EMPTY[None])
    empty = {"size": [HEIGHT, WIDTH], "counts": rle.counts.decode()}
    content["annotations"][0]["segmentations"][1] = empty
    path = write_file(tmp_path / "truth.json", json.dumps(content).encode())

    assert_same(read(open_ground_truth(path)), [{1: block(0)}, {}])
