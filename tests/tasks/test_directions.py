"""Runs whose objects are tracked backward, too: one masklet each, wherever the video is cut."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from flows.commands.lines import result_lines
from samcore.errors import InputError
from samcore.machine.stopping import WorkStopped
from samcore.masks.table import MaskReader, MaskRow
from samcore.progress import Progress, listening
from samcore.result.manifest import SEAMS, read_manifest
from samcore.result.published import SeamList
from samcore.result.reader import Result
from samcore.run.backward import backward_pass
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import find_partial_chunk
from samcore.scenes import Scene, box_of
from samcore.video import open_video
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef, RunRef, backward_ref
from tasks.settings import load_settings
from tasks.track_chunk import finish_chunk, track_chunk

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]
TrackChunks = Callable[..., RunRef]

SMALL = {"image_size": 64, "start": 4, "stop": 44}


@pytest.fixture(scope="module")
def ways(scene: Scene) -> dict[str, object]:
    """An object both ways, one backward that is corrected after its first prompt, one forward."""
    boxes = {t: [list(box_of(mask_hw)) for mask_hw in scene.masks_nhw(t)] for t in (10, 20, 30)}
    return {
        "objects": [
            {"id": 1, "direction": "both", "prompts": [{"frame": 20, "box": boxes[20][0]}]},
            {
                "id": 2,
                "direction": "backward",
                "prompts": [
                    {"frame": 30, "box": boxes[30][1]},
                    {"frame": 41, "box": [20, 10, 60, 70]},
                ],
            },
            {"id": 3, "prompts": [{"frame": 10, "box": boxes[10][1]}]},
        ]
    }


@pytest.fixture(scope="module")
def whole(
    clip: Path, ways: dict[str, object], segment: Segment, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The result with one chunk for each pass."""
    from tasks.request.segment_request import validate_request

    destination = tmp_path_factory.mktemp("whole")
    request = validate_request(
        source=str(clip),
        prompts=ways,
        destination=str(destination),
        model="nano",
        settings={"device": "cpu"},
        chunk_frames=1000,
        overlap=0,
        report=False,
        **SMALL,
    )
    segment(request)
    return destination


def _rows(folder: Path, object_id: int | None = None) -> list[MaskRow]:
    with MaskReader(folder / "masks.parquet") as reader:
        return [row for row in reader.rows() if object_id in (None, row.object_id)]


@pytest.mark.parametrize(("chunk_frames", "overlap"), [(7, 2), (20, 5), (64, 0)])
def test_masks_do_not_depend_on_chunks(
    ask: Ask,
    ways: dict[str, object],
    segment: Segment,
    whole: Path,
    chunk_frames: int,
    overlap: int,
) -> None:
    """Whatever the chunks of both passes: the same bytes are published, and all seams agree to the
    last bit; those of the backward pass are listed with the video's frame numbers."""
    result = segment(ask(prompts=ways, chunk_frames=chunk_frames, overlap=overlap, **SMALL))

    folder = Path(result.destination)
    assert (folder / "masks.parquet").read_bytes() == (whole / "masks.parquet").read_bytes()
    assert result.seams_identical in (True, None)
    manifest = Result(folder).manifest
    backward = [(chunk.start, chunk.stop) for chunk in manifest.backward_chunks]
    assert backward[0][1] == 31
    assert backward[-1][0] == 4
    if overlap:
        shared = [(a[0], b[1]) for a, b in pairwise(backward)]
        listed = SeamList.model_validate_json((folder / SEAMS).read_bytes()).seams
        seams = listed[len(manifest.chunks) - 1 :]
        assert [(seam.start, seam.stop) for seam in seams] == shared


def test_each_object_has_one_masklet(clip: Path, whole: Path) -> None:
    """An object that goes both ways has a row on every frame; one that goes backward ends with its
    first prompt, and its later prompt is memory, no row and no finding; times are the frames'."""
    found = {i: [row.frame for row in _rows(whole, i)] for i in (1, 2, 3)}
    assert found == {1: list(range(4, 44)), 2: list(range(4, 31)), 3: list(range(10, 44))}
    prompted = [(row.object_id, row.frame) for row in _rows(whole) if row.prompted]
    assert prompted == [(3, 10), (1, 20), (2, 30)]
    video = open_video(clip)
    assert all(row.pts == video.pts(row.frame) for row in _rows(whole))
    result = Result(whole)
    assert {item.id: item.first_frame for item in result.objects} == {1: 4, 2: 4, 3: 10}
    assert 41 not in {item.frame for item in result.manifest.findings.worst if item.object_id == 2}


def test_directions_do_not_depend_on_each_other(
    ask: Ask, ways: dict[str, object], segment: Segment, whole: Path, tmp_path: Path
) -> None:
    """The forward part is what a run of the objects that go forward gives, to the last bit; the
    backward part that of a run of those that go backward."""

    def part(direction: str, *others: int) -> list[MaskRow]:
        objects = [{**ways["objects"][i], "direction": None} for i in (0, *others)]
        folder = tmp_path / direction
        asked = {"prompts": {"objects": objects}, "direction": direction, **SMALL}
        segment(ask(destination=str(folder), **asked))
        return _rows(folder, 1)

    assert [*part("backward", 1)[:-1], *part("forward", 2)] == _rows(whole, 1)


def test_killed_and_stopped_on_its_way_back(
    ask: Ask, ways: dict[str, object], track_chunks: TrackChunks, whole: Path
) -> None:
    """SIGKILL in the second chunk of the backward pass, and then a stop in the third one: nothing
    that was done is done again, and the bytes are those of a run that nobody disturbed."""
    request = ask(prompts=ways, chunk_frames=10, overlap=2, **SMALL)
    run = track_chunks(request, only=1)
    for chunk in RunFolder.from_ref(run).record().chunks:
        track_chunk.fn(run, chunk.index)
    mirror = backward_pass(RunFolder.from_ref(run))
    assert mirror is not None
    ref = backward_ref(run, mirror)
    code = (
        "import os, signal, sys\n"
        "from samcore.masks.table import MaskWriter\n"
        "from tasks.run.refs import RunRef\n"
        "from tasks.track_chunk import track_chunk\n"
        "write = MaskWriter.write\n"
        "def until_killed(self, output, pts):\n"
        "    write(self, output, pts)\n"
        "    if output.frame_idx == 65 - 19:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "MaskWriter.write = until_killed\n"
        "track_chunk.fn(RunRef.model_validate_json(sys.argv[1]), 1)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, ref.model_dump_json()], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert mirror.plan_work(with_states=True) == [1, 2, 3]
    track_chunk.fn(ref, 1)
    stop = threading.Event()

    def listen(progress: Progress) -> None:
        if progress.done == 22:
            stop.set()

    with listening(listen), pytest.raises(WorkStopped):
        finish_chunk(ref, 2, stop)
    partial = find_partial_chunk(mirror, 2)
    assert partial is not None
    assert partial.record.next_frame == mirror.record().start + 22
    for index in (2, 3):
        track_chunk.fn(ref, index)

    publish.fn(run, request)

    folder = Path(run.destination)
    assert (folder / "masks.parquet").read_bytes() == (whole / "masks.parquet").read_bytes()
    assert not list(folder.rglob("*.safetensors"))
    assert not list((folder / ".longtake" / "parts").glob("*"))


def test_nothing_is_decoded_for_a_pass_without_objects(
    ask: Ask, ways: dict[str, object], segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all objects go backward, the frames after their first prompts are not read."""
    from samcore.video.seek import VideoFrames

    frames, read = VideoFrames.frames, []

    def noted(self: VideoFrames, start: int, stop: int, **more: object) -> object:
        read.append((start, stop))
        return frames(self, start, stop, **more)

    monkeypatch.setattr(VideoFrames, "frames", noted)
    one = {"objects": [{**ways["objects"][0], "direction": "backward"}]}

    result = segment(ask(prompts=one, chunk_frames=10, overlap=2, **SMALL))

    assert max(stop for _, stop in read) == 21
    assert [row.frame for row in _rows(Path(result.destination))] == list(range(4, 21))
    # Nor do they count as tracked: the pace is that of the 17 frames on the way back.
    spent = read_manifest(Path(result.destination)).timings.tracking
    (took,) = (one for one in result_lines(result, seconds=1) if one.startswith("took"))
    assert f" {17 / spent:.1f} frames/s" in took


def _key(request: SegmentRequest) -> str:
    resolved = resolve_request(request, cache_dir=load_settings().cache_dir)
    return resolved.record.result_key


def test_keys(ask: Ask, prompts: dict[str, object], ways: dict[str, object]) -> None:
    """A direction is in the key where it changes masks: not forward, and not both of an object
    whose first prompt is on the first frame."""
    first = {"objects": [prompts["objects"][0]]}
    forward = _key(ask(prompts=first))

    assert _key(ask(prompts=first, direction="both")) == forward
    assert _key(ask(prompts=first, direction="backward")) != forward
    later = {"objects": [{**ways["objects"][0], "direction": None}]}
    keys = {_key(ask(prompts=later, direction=way)) for way in ("forward", "backward", "both")}
    assert len(keys) == 3
    own = {"objects": [ways["objects"][0]]}
    assert _key(ask(prompts=own)) == _key(ask(prompts=later, direction="both"))


def test_what_goes_forward_only_is_refused(ask: Ask, ways: dict[str, object]) -> None:
    """What does not go with backward is said at once, in one line, also where the prompts ask."""
    found = {"detect_every": 5, "detector": "motion"}
    for changes, why in (
        ({"handoff": "mask", "prompts": ways}, "a hand-off that depends on where"),
        ({"automatic": found, "direction": "both"}, "detect_every, which follows what enters"),
        ({"warm_start": "w.safetensors", "direction": "backward"}, "a warm start, whose objects"),
    ):
        with pytest.raises(InputError, match=f"^direction: backward and both do not go with {why}"):
            plan_run.fn(ask(**{"prompts": None, **changes}))
    wrong = {"objects": [{**ways["objects"][0], "direction": "up"}]}
    with pytest.raises(InputError, match="object 1, direction: wanted forward, backward or both"):
        ask(prompts=wrong)


def test_the_runs_prompts_are_a_prompts_file(ask: Ask, ways: dict[str, object]) -> None:
    """`prompts.json` of a run asks for the same again, directions included."""
    request = ask(prompts=ways, **SMALL)
    run = plan_run.fn(request)

    again = ask(prompts=os.path.join(run.folder, "prompts.json"), **SMALL)

    assert _key(again) == run.key
