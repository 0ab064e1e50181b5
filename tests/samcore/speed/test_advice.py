"""What follows from numbers that were measured elsewhere."""

import pytest

from samcore.speed.advice import best_batch, choice_line, conclude, frame_ms
from samcore.speed.quiet import judge
from samcore.speed.record import BenchRecord, Machine, Measured, Setup


def measured(stage, ms, **changes):
    given = {"least_ms": ms, "runs": 3, "flops": 0, "peak_rss_bytes": 10, "peak_vram_bytes": None}
    return Measured(stage=stage, ms=ms, **{**given, **changes})


def setup(model, weights, whole_ms, *, size=512, dtype="float32", memories=7, images=(20, 20)):
    return Setup(
        model=model,
        image_size=size,
        dtype=dtype,
        weights_bytes=weights,
        num_maskmem=7,
        encode_batch=1,
        matrix_flops_per_s=1e12,
        measured=(
            measured("image encoder", 20.0, flops=10_000_000_000),
            measured("memory attention", 90.0, objects=2),
            measured("run lengths", 1.0, objects=2),
            measured("whole tracking", whole_ms, objects=2, memories=memories),
            *(
                measured("images", ms, batch=batch)
                for ms, batch in zip(images, (1, 4), strict=True)
            ),
        ),
    )


def record(*setups, others=0.0):
    return BenchRecord(
        machine=Machine(
            cpu="a CPU", device="CPU", cores=4, threads=4, ram_bytes=1, longtake="1", torch="2"
        ),
        frame_width=1280,
        frame_height=720,
        complete=True,
        busyness=judge(others_cores=others, cores=4, probes_s=[1.0]),
        setups=setups,
    )


SMALL, LARGE = setup("small", 10, 50.0), setup("large", 99, 200.0)


def test_how_near_to_the_limit():
    """10 GFLOP in 20 ms are half of a rate of 1 TFLOP/s; where there are none, nothing is said."""
    (found,) = conclude(record(SMALL)).setups

    assert found.find("image encoder").of_limit == pytest.approx(0.5)
    assert found.find("memory attention", objects=2).of_limit is None


def test_nothing_is_concluded_on_a_busy_machine():
    """Neither limits nor choices; the numbers stay."""
    busy = record(SMALL, LARGE, others=3.0)

    assert conclude(busy, fps=10) == busy
    assert busy.choices == ()
    assert all(one.of_limit is None for part in busy.setups for one in part.measured)


@pytest.mark.parametrize(
    ("fps", "model", "reached"), [(4, "large", True), (10, "small", True), (30, "small", False)]
)
def test_the_largest_model_that_is_fast_enough(fps, model, reached):
    """It is taken; where none is, the fastest is named, and that it does not do."""
    (choice,) = conclude(record(SMALL, LARGE), fps=fps).choices

    assert (choice.model, choice.reached, choice.objects) == (model, reached, 2)
    line = choice_line(choice)
    assert f"--model {model} --image-size 512 --dtype float32" in line
    assert ("nothing that was measured reaches it" in line) == (not reached)


def test_large_inputs_and_exact_arithmetic_are_better():
    """Of one model the larger input is taken, and of one size the more exact arithmetic."""
    ways = [
        setup("one", 5, 50.0, size=256),
        setup("one", 5, 90.0, size=512, dtype="bfloat16"),
        setup("one", 5, 95.0, size=512),
    ]

    (choice,) = conclude(record(*ways), fps=10).choices

    assert (choice.image_size, choice.dtype) == (512, "float32")


def test_a_larger_batch_is_named_where_it_gains():
    """Four pictures at once save 10 of 50 ms: 25 frames a second, by an estimate; a gain of 1 ms
    is not worth it."""
    (choice,) = conclude(record(setup("m", 1, 50.0, images=(20, 10))), fps=24).choices
    (same,) = conclude(record(setup("m", 1, 50.0, images=(20, 19))), fps=5).choices

    assert (choice.encode_batch, choice.estimated, choice.fps) == (4, True, pytest.approx(25))
    assert "encode_batch 4" in choice_line(choice)
    assert (same.encode_batch, same.estimated) == (1, False)
    assert best_batch(setup("m", 1, 50.0, images=(20, 19.5))).batch == 1


def test_a_memory_that_was_not_full_is_made_up_for():
    """A frame then takes at least the sum of its stages."""
    young = setup("m", 1, 50.0, memories=3)

    assert frame_ms(young, 2) == (pytest.approx(111.0), True)
    assert frame_ms(SMALL, 2) == (50.0, False)
    assert frame_ms(SMALL, 5) is None
