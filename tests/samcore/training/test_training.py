"""Training of nano: it learns, goes on exactly where it was stopped, and draws what it says."""

import itertools
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from samcore.errors import InputError, StateError
from samcore.models.known import NANO_DIR
from samcore.models.sam2.network import build_network
from samcore.scenes import SCENE_KINDS, Scene, box_of
from samcore.training import Start, train
from samcore.training.clips import TEST_SEEDS, VALIDATION_SEEDS, _draw_times, make_batch
from samcore.training.config import VIDEO_FRAMES, LossWeights, Phase, TrainConfig, load_config
from samcore.training.evaluation import inner_point, region_iou, three_points
from samcore.training.loop import learning_rate
from samcore.training.network import new_network
from samcore.training.prompting import add_correction, draw_prompts
from samcore.training.unroll import UnrollPlan, run_clips

SMALL_RUN = """
seed: 3
model_config_file: {model}
workers: 0
validate_every: 100
validation_scenes: 1
validation_frames: 3
log_every: 1
phases:
  - name: one
    steps: 2
    image_size: 64
    scenes: 1
    objects: 2
    frames: 1
    lr: [0.001, 0.001]
    mix: {{easy: 1}}
  - name: more
    steps: 2
    image_size: 96
    scenes: 1
    objects: 2
    frames: 3
    lr: [0.001, 0.0005]
    mix: {{easy: 1, medium: 1, hard: 1}}
    seek_absence: 0.5
    given_memory: [0.5, 0.5]
    prompts: {{box: 1, correction: 1}}
    reprompt: 1
"""


@pytest.fixture
def small_run(tmp_path):
    """A configuration of four quick steps that use every part of the recipe."""
    path = tmp_path / "run.yaml"
    path.write_text(SMALL_RUN.format(model=NANO_DIR / "config.yaml"))
    return path


@pytest.fixture
def one_thread():
    """Sums in one order, so that two runs can be compared bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["box", "point", "mask"])
def test_some_steps_on_one_clip_reduce_its_loss(kind, one_thread):
    """The loss on one clip of three frames falls well below its start, for each kind of prompt."""
    scene = Scene(5, num_frames=9, height=64, width=64, num_objects=1)
    frames = [scene.frame(i) for i in (0, 3, 6)]
    images = torch.from_numpy(np.stack([f.image_rgb_hwc_u8 for f in frames]))[None]
    masks = torch.from_numpy(np.stack([f.masks_nhw for f in frames], axis=1))
    net = new_network(NANO_DIR / "config.yaml", seed=0, image_size=64)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    plan = UnrollPlan(kind, None, given_memory=1.0, given_presence=1.0, balance=0.7)
    totals = []
    for _ in range(15):
        losses = run_clips(
            net, images, masks, plan=plan, weights=LossWeights(), loss_stride=2,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        loss = torch.stack([frame.total for frame in losses]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        totals.append(loss.item())

    assert totals[-1] < 0.8 * totals[0]


def test_a_stopped_run_goes_on_exactly(small_run, tmp_path, one_thread):
    """Stopped after each step and resumed, a run gives the very weights of one that went through,
    also over a change of the input size."""
    whole = train(small_run, tmp_path / "whole", device="cpu")
    for step in (1, 2, 3, 4):
        parts = train(small_run, tmp_path / "parts", device="cpu", stop_at=step)
        assert parts.step == step

    a, b = load_file(whole.weights), load_file(parts.weights)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_finished_run_leaves_everything_that_the_model_card_needs(small_run, tmp_path):
    """Weights that the model loads, a log with every step, a curve as JSON and as a picture."""
    told = []
    out = tmp_path / "out"
    result = train(small_run, out, device="cpu", on_progress=told.append)

    assert [progress.step for progress in told] == [1, 2, 3, 4]
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in log if r["kind"] == "train"] == [1, 2, 3, 4]
    assert json.loads((out / "curve.json").read_text())[-1]["scores"]["easy 1"]["j"] >= 0
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert result.weights.stat().st_size <= 8_000_000
    net = build_network(str(NANO_DIR / "config.yaml"), result.weights, seed=None, image_size=128)
    assert all(torch.isfinite(weight).all() for weight in net.state_dict().values())


def test_a_run_begins_with_given_weights_at_a_phase(small_run, tmp_path):
    """Weights with their log take the place of the phases before: only the phase's own steps are
    trained, from these weights, and the checkpoint is what counts from then on."""
    first = train(small_run, tmp_path / "first", device="cpu", stop_at=2)
    start = Start(first.weights, "more")
    out = tmp_path / "second"

    half = train(small_run, out, device="cpu", start=start, stop_at=3)
    result = train(small_run, out, device="cpu", start=Start(tmp_path / "gone", "more"))

    assert (half.step, result.step) == (3, 4)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in log if r["kind"] == "train"] == [1, 2, 3, 4]
    assert result.seconds > half.seconds > first.seconds
    before, after = load_file(first.weights), load_file(half.weights)
    moved = max((after[name] - before[name]).abs().max().item() for name in before)
    # Two steps of at most the learning rate each, and not the distance to another random start.
    assert 0 < moved < 0.01


@pytest.mark.parametrize("wrong", ["phase", "missing", "no weights", "other model"])
def test_a_start_that_does_not_fit_is_refused(small_run, tmp_path, wrong):
    """An unknown phase, and weights that are missing, damaged or another model's, are told."""
    weights = tmp_path / "weights.safetensors"
    if wrong == "no weights":
        weights.write_bytes(b"nothing")
    elif wrong == "other model":
        save_file({"scale": torch.zeros(1)}, weights)
    start = Start(weights, "never" if wrong == "phase" else "more")
    told = {"phase": "one, more", "other model": "another model"}.get(wrong, "cannot read weights")

    with pytest.raises(InputError, match=told):
        train(small_run, tmp_path / "out", device="cpu", start=start)


def test_single_pictures_take_their_share_of_the_steps(small_run):
    """About as many steps as asked have one frame a clip and the scenes for it; the rest of the
    phase, and every other phase, keep their shape."""
    config = load_config(small_run)
    phase = config.phases[1].model_copy(update={"singles": 0.4, "single_scenes": 3, "steps": 300})
    mixed = config.model_copy(update={"phases": (config.phases[0], phase)})

    shapes = [
        (at.frames, at.scenes) for at, _ in (mixed.at(step) for step in range(2, mixed.steps))
    ]

    assert set(shapes) == {(1, 3), (3, 1)}
    assert 0.3 < np.mean([frames == 1 for frames, _ in shapes]) < 0.5
    single = next(step for step, shape in enumerate(shapes, 2) if shape == (1, 3))
    assert make_batch(mixed, single).images_sthw3.shape == (3, 1, 96, 96, 3)


def test_a_damaged_checkpoint_is_said_to_be_one(small_run, tmp_path):
    """A cut-off checkpoint is a state error with the way out, and no silent new start."""
    out = tmp_path / "out"
    train(small_run, out, device="cpu", stop_at=1)
    checkpoint = out / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])

    with pytest.raises(StateError, match="delete the file"):
        train(small_run, out, device="cpu")


def test_batches_follow_from_the_step_alone(small_run):
    """A batch drawn again is the same; another step's is another; absent objects do occur."""
    config = load_config(small_run)

    again = make_batch(config, 2)
    for _ in range(2):
        batch = make_batch(config, 2)
        assert torch.equal(batch.images_sthw3, again.images_sthw3)
        assert torch.equal(batch.masks_rthw, again.masks_rthw)
    assert batch.images_sthw3.shape == (1, 3, 96, 96, 3)
    assert batch.masks_rthw.shape == (2, 3, 96, 96)
    assert batch.masks_rthw[:, 0].flatten(1).any(dim=1).all()
    assert not torch.equal(make_batch(config, 3).images_sthw3, batch.images_sthw3)


@pytest.mark.parametrize(("sought", "least"), [("seek_absence", 0.5), ("seek_return", 0.5)])
def test_clips_show_what_is_sought(small_run, sought, least):
    """Clips that are to show an absence, or a return after one, mostly do; others seldom do."""
    config = load_config(small_run)
    phase = config.phases[1].model_copy(
        update={
            "frames": 8, "scenes": 4, "sparse": 1.0, "seek_absence": 0.0, "image_size": 64,
            "mix": {"medium": 1.0, "hard": 1.0},
        }
    )  # fmt: skip

    def share(phase):
        held = []
        for seed in range(6):
            batch = make_batch(config.model_copy(update={"phases": (phase,), "seed": seed}), 0)
            seen = batch.masks_rthw.any(dim=(2, 3)).numpy()
            gone = np.logical_or.accumulate(~seen, axis=1)
            back = (gone & seen).any(axis=1)
            held.append((gone[:, -1] if sought == "seek_absence" else back).mean())
        return float(np.mean(held))

    assert share(phase.model_copy(update={sought: 1.0})) > max(least, 1.5 * share(phase))


@pytest.mark.parametrize("sparse", [0.0, 1.0])
@pytest.mark.parametrize(("frames", "max_stride"), [(1, 900), (25, 3), (60, 10), (200, 3)])
def test_the_longest_clips_fit_into_their_scenes(small_run, sparse, frames, max_stride):
    """A recipe that is allowed never draws a frame that the scene does not have."""
    changed = {"frames": frames, "max_stride": max_stride, "sparse": sparse}
    record = load_config(small_run).phases[1].model_dump() | changed
    phase = Phase.model_validate(record)
    for seed in range(200):
        times = _draw_times(np.random.default_rng(seed), phase)
        assert len(times) == frames
        assert times[0] >= 0
        assert times[-1] < VIDEO_FRAMES
        assert (np.diff(times) > 0).all()


def test_the_shipped_recipe_is_valid_and_keeps_off_the_scenes_that_judge_it():
    """`training.yaml` loads, and no scene is both trained on and judged by."""
    config = load_config(NANO_DIR / "training.yaml")

    assert config.model_config_file == NANO_DIR / "config.yaml"
    assert config.phases[0].frames == 1
    wide = [phase for phase in config.phases if "photos" in phase.mix]
    assert wide
    for phase in wide:
        shares = {kind for kind, share in phase.mix.items() if share > 0}
        assert shares == {name for name, kind in SCENE_KINDS.items() if kind.trained_on}
        assert phase.singles >= 0.2
    assert not set(VALIDATION_SEEDS) & set(TEST_SEEDS)
    assert max(TEST_SEEDS) < 1 << 20


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed: [", "cannot read"),
        ("seed: 1", "model_config_file"),
        (SMALL_RUN.format(model="x") + "colour: red\n", "colour"),
        (SMALL_RUN.format(model="x").replace("steps: 2", "steps: 0"), "phases.0.steps"),
        (SMALL_RUN.format(model="x").replace("{easy: 1}", "{easy: -1}"), "easy"),
        (SMALL_RUN.format(model="x").replace("{easy: 1}", "{easy: 0}"), "phases.0.mix.*share 0"),
        (SMALL_RUN.format(model="x").replace("{easy: 1}", "{esy: 1}"), "0.mix.*'esy', known are"),
        (
            SMALL_RUN.format(model="x").replace("{easy: 1}", "{creatures: 1}"),
            "phases.0.mix.*creatures is kept for measuring",
        ),
        (SMALL_RUN.format(model="x") + "validation: [easy]\n", "validation.0.*'easy 2'"),
        (SMALL_RUN.format(model="x").replace("{easy: 1}", "{easy: .inf}"), "mix.easy"),
        (SMALL_RUN.format(model="x").replace("{box: 1,", "{box: -1,"), "phases.1.prompts.box"),
        (
            SMALL_RUN.format(model="x").replace("frames: 3\n    lr", "frames: 201\n    lr"),
            "phase more: .*201 frames in steps of max_stride 3 exceed: 200 frames would do",
        ),
    ],
    ids=[
        "no YAML",
        "missing field",
        "unknown field",
        "no steps",
        "negative share",
        "no kind of scene",
        "unknown kind of scene",
        "kind kept for measuring",
        "validation without a number",
        "infinite share",
        "negative prompt",
        "long clip",
    ],
)
def test_a_wrong_recipe_is_refused_by_field(text, named, tmp_path):
    """Each kind of mistake in the file is one input error that names the field."""
    path = tmp_path / "wrong.yaml"
    path.write_text(text)

    with pytest.raises(InputError, match=named):
        load_config(path)


def test_missing_recipe_is_refused(tmp_path):
    """A path without a file is an input error."""
    with pytest.raises(InputError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_learning_rate_goes_from_its_first_value_to_its_last(small_run):
    """A phase starts at its first rate (after the warm-up), ends near its second, and falls."""
    config: TrainConfig = load_config(small_run)
    phase = config.phases[1].model_copy(update={"steps": 100, "warmup": 10})
    rates = [learning_rate(phase, step) for step in range(100)]

    assert rates[0] < rates[9]
    assert rates[10] == pytest.approx(0.001, rel=0.05)
    assert rates[-1] == pytest.approx(0.0005, rel=0.05)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_prompts_lie_on_their_objects():
    """Clicks are inside the mask; a box's corners are near the mask's own box."""
    rng = np.random.default_rng(2)
    masks = Scene(4, difficulty="medium", height=96, width=96, num_objects=3).masks_nhw(0)
    masks = masks[masks.any(axis=(1, 2))]
    for _ in range(10):
        clicks = draw_prompts(rng, masks, "clicks")
        box = draw_prompts(rng, masks, "box")
        for row, mask in enumerate(masks):
            for x, y in clicks.points_rp2[row].long().tolist():
                assert mask[y, x]
            assert np.abs(box.points_rp2[row].flatten().numpy() - box_of(mask)).max() <= 8
        assert set(clicks.labels_rp.flatten().tolist()) == {1}
        assert box.labels_rp.tolist() == [[2, 3]] * len(masks)


@pytest.mark.parametrize("extra", [False, True], ids=["missed a part", "took too much"])
def test_a_correction_clicks_where_the_prediction_is_wrong(extra):
    """The new click lies in the largest wrong region, positive where the object was missed."""
    truth, predicted = np.zeros((2, 1, 32, 32), bool)
    truth[0, 4:20, 4:20] = True
    predicted[0, 4:20, 4:30] = True
    predicted[0, 4:20, 4:8] = False
    if not extra:
        truth, predicted = predicted, truth
    rng = np.random.default_rng(0)
    first = draw_prompts(rng, truth, "point")

    corrected = add_correction(rng, first, truth, predicted)

    x, y = corrected.points_rp2[0, 1].long().tolist()
    assert truth[0, y, x] != predicted[0, y, x]
    assert corrected.labels_rp[0].tolist() == [1, int(not extra)]
    assert 20 <= x < 30


def test_region_iou_and_inner_points():
    """Two empty masks are alike; a ring's inner point is on the ring, and so are three of them,
    which lie apart."""
    ring = np.zeros((20, 20), bool)
    ring[2:18, 2:18] = True
    ring[6:14, 6:14] = False
    x, y = inner_point(ring)

    assert region_iou(np.zeros((4, 4), bool), np.zeros((4, 4), bool)) == 1.0
    assert region_iou(ring, ~ring) == 0.0
    assert ring[int(y), int(x)]
    points = three_points(ring)
    assert all(ring[int(y), int(x)] for x, y in points)
    assert len({x for x, _ in points}) == 3
    assert len(three_points(np.eye(4, dtype=bool)[:1])) == 1


def test_an_untrained_network_feels_a_click_where_it_is():
    """Before any training, moving a click changes the decoder's picture most around the click."""
    net = new_network(NANO_DIR / "config.yaml", seed=1, image_size=128)
    decoder, prompts = net.sam_mask_decoder, net.sam_prompt_encoder
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None]
    pictures = []
    with torch.no_grad():
        for x, y in ((40.0, 40.0), (104.0, 88.0)):
            points = torch.tensor([[[x, y]]]), torch.ones(1, 1, dtype=torch.int32)
            sparse, _ = prompts(points=points, boxes=None, masks=None)
            _, picture = decoder.transformer(
                torch.zeros(1, 128, 8, 8), prompts.get_dense_pe(), torch.cat([tokens, sparse], 1)
            )
            pictures.append(picture[0])
    change_hw = (pictures[0] - pictures[1]).norm(dim=1).reshape(8, 8)

    # Cells of 16 pixels: the clicks lie in row 2, column 2 and in row 5, column 6.
    near_hw = torch.zeros(8, 8, dtype=torch.bool)
    near_hw[1:4, 1:4] = True
    near_hw[4:7, 5:8] = True

    assert change_hw[near_hw].mean() > 1.15 * change_hw[~near_hw].mean()
