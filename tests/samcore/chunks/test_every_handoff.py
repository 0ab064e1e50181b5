"""What every hand-off promises; a new entry of `HANDOFFS` is held to it without a line here."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from samcore.chunks.handoff import HANDOFFS, find_handoff
from samcore.chunks.plan import Chunk, plan_chunks
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.prompt import Prompt
from samcore.scenes import Scene, box_of
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker

STOP, HEIGHT, WIDTH = 18, 96, 128
NAMES = [entry.name for entry in HANDOFFS.built_in]


@dataclass
class Run:
    """A run in memory: the `ChunkStart` of each of its chunks, and what the chunks left."""

    model: object
    frames: list
    given: list
    overlap: int
    folder: Path
    scene: Scene
    found: list = field(default_factory=list)
    """What a detector finds at the chunk's start, where chunks find their own objects."""
    chunk: Chunk | None = None
    masks: dict = field(default_factory=dict)
    """By chunk, frame and object."""
    state: Path | None = None
    """What the chunk before left, or the prompt pass."""

    def prompts(self):
        return [*self.given, *self.found]

    def masks_before(self, frame_idx):
        return self.masks[self.chunk.index - 1][frame_idx]

    def new_tracker(self, prompts, *, start):
        tracker = VideoTracker(
            self.model, height=HEIGHT, width=WIDTH, num_frames=STOP, start_frame=start
        )
        for prompt in prompts:
            tracker.add_prompt(prompt)
        tracker.encode_prompts([self.frames[idx] for idx in tracker.prompted_frames])
        return tracker

    def tracker_handed_on(self):
        return VideoTracker.from_state(self.model, TrackerState.load(self.state))

    def save(self, tracker, name):
        path = self.folder / f"{name}.safetensors"
        tracker.state().save(path)
        return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    spec = resolve_model("nano", cache_dir=tmp_path_factory.mktemp("none"))
    return load_model(spec, choose_compute("cpu", "float32"))


@pytest.fixture
def run(model, tmp_path):
    """A scene with one object from the beginning and one that is prompted in the second chunk."""

    def make(overlap=2):
        scene = Scene(3, num_frames=STOP, height=HEIGHT, width=WIDTH, num_objects=2)
        given = [
            Prompt(1, 0, box_xyxy_px=box_of(scene.masks_nhw(0)[0])),
            Prompt(7, 9, box_xyxy_px=box_of(scene.masks_nhw(9)[1])),
        ]
        return Run(model, list(scene), given, overlap, tmp_path, scene)

    return make


def track(run, handoff, chunk_frames, *, stop_at=None):
    """Track all chunks as tasks do; stop at a frame and go on from the state that was saved."""
    chunks = plan_chunks(0, STOP, chunk_frames=chunk_frames, overlap=run.overlap)
    if handoff.hands_on_state:
        run.state = run.save(run.new_tracker(run.given, start=0), "prompts")
    for chunk in chunks:
        run.chunk = chunk
        if handoff.is_parallel:
            run.found = found_by_a_detector(run, chunk)
        tracker = handoff.start(run)
        first = handoff.first_frame(chunk, overlap=run.overlap)
        assert tracker.next_frame == first
        left, successor = None, chunks[chunk.index + 1 : chunk.index + 2]
        masks = run.masks[chunk.index] = {}
        for frame in run.frames[first : chunk.stop]:
            if frame.frame_idx == stop_at and frame.frame_idx > chunk.start:
                again = TrackerState.load(run.save(tracker, "stopped"))
                tracker = VideoTracker.from_state(run.model, again)
            (output,) = tracker.track([frame])
            if frame.frame_idx >= chunk.start:
                pairs = zip(output.obj_ids, output.masks_nhw, strict=True)
                masks[frame.frame_idx] = {obj_id: mask.copy() for obj_id, mask in pairs}
            if handoff.hands_on_state and successor and tracker.next_frame == successor[0].start:
                left = run.save(tracker, f"after-{chunk.index}")
        run.state = left
    return run.masks


def found_by_a_detector(run, chunk):
    """Boxes of the objects that have begun before the chunk."""
    begun = [(place, p.obj_id) for place, p in enumerate(run.given) if p.frame_idx < chunk.start]
    masks = run.scene.masks_nhw(chunk.start)
    return [Prompt(one, chunk.start, box_xyxy_px=box_of(masks[place])) for place, one in begun]


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("overlap", [0, 1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_handoffs_lose_no_frame_and_no_object(name, overlap, run):
    """Each chunk has all of its frames; an object is there from its first prompt on, and not
    before."""
    masks = track(run(overlap), find_handoff(name), 7)
    for chunk in plan_chunks(0, STOP, chunk_frames=7, overlap=overlap):
        assert list(masks[chunk.index]) == list(range(chunk.start, chunk.stop))
        for frame_idx, by_object in masks[chunk.index].items():
            assert sorted(by_object) == ([1, 7] if frame_idx >= 9 else [1])


@pytest.mark.parametrize("name", NAMES)
def test_handoffs_agree_at_seams_as_they_say(name, run):
    """On an easy scene the masks of two chunks on the frames that they share agree by
    `min_agreement` at least. Where the whole state goes on, the masks are those of one chunk, bit
    for bit."""
    handoff = find_handoff(name)
    masks = track(run(), handoff, 7)
    ious = [
        np.count_nonzero(left & right) / max(np.count_nonzero(left | right), 1)
        for index in range(1, len(masks))
        for frame_idx in masks[index - 1].keys() & masks[index].keys()
        for obj_id in masks[index - 1][frame_idx]
        for left, right in [(masks[index - 1][frame_idx][obj_id], masks[index][frame_idx][obj_id])]
        if left.any() or right.any()
    ]
    assert np.mean(ious) >= handoff.min_agreement
    if handoff.hands_on_state:
        whole = track(run(), handoff, STOP)[0]
        for of_chunk in masks.values():
            assert all(same(by_object, whole[idx]) for idx, by_object in of_chunk.items())


@pytest.mark.parametrize("name", NAMES)
def test_handoffs_let_a_chunk_be_stopped(name, run):
    """A chunk that was stopped and goes on from its saved state has the same masks, bit for bit."""
    calm = track(run(), find_handoff(name), 7)
    stopped = track(run(), find_handoff(name), 7, stop_at=11)
    for index, of_chunk in calm.items():
        assert all(same(by_object, stopped[index][idx]) for idx, by_object in of_chunk.items())


@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_handoffs_prompt_where_they_begin(name, overlap):
    """A chunk begins at its first frame or just before it, the first one with nothing handed over;
    what a hand-off prompts by itself is that frame."""
    handoff = find_handoff(name)
    for chunk in plan_chunks(0, STOP, chunk_frames=7, overlap=overlap):
        first = handoff.first_frame(chunk, overlap=overlap)
        assert first in ({0} if chunk.index == 0 else {chunk.start, chunk.start - 1})
        wanted = {None} if chunk.index == 0 else {None, first}
        assert handoff.prompts_by_itself(chunk, overlap=overlap) in wanted
