"""What a benchmark measures. No test is about how long something takes."""

import jsonschema
import pytest
import torch

from samcore.errors import InputError
from samcore.machine.device import choose_compute
from samcore.masks.rle import decode_masks
from samcore.models.loader import load_model
from samcore.progress import listening
from samcore.speed.bench import IMAGE_BATCHES, Bench, _Task
from samcore.speed.record import (
    DECODING,
    IMAGES,
    MEMORY,
    PER_OBJECT,
    PREPROCESSING,
    RESIZING,
    RUN_LENGTHS,
    STAGES,
    WHOLE,
    BenchRecord,
    check_objects,
)
from samcore.speed.stages import Footage, Stages
from samcore.speed.timing import MatrixProducts, count_flops
from tests.samcore.speed.conftest import NEVER_TOO_LONG, OBJECTS, little_work

WITHOUT_PRODUCTS = {DECODING, PREPROCESSING, RESIZING, RUN_LENGTHS}
"""Stages that neither multiply matrices nor fold."""


def test_every_stage_is_measured_for_every_number_of_objects(measured):
    """Each has times, and memory; those with matrix products have operations. Whole tracking had
    all of its memory at the end."""
    (setup,) = measured.setups

    assert measured.complete
    assert setup.left_out == ()
    assert {one.stage for one in setup.measured} == set(STAGES)
    for stage in (*PER_OBJECT, WHOLE):
        found = [one.objects for one in setup.measured if one.stage == stage]
        assert found == list(OBJECTS), stage
    assert [one.batch for one in setup.measured if one.stage == IMAGES] == list(IMAGE_BATCHES)
    for one in setup.measured:
        assert 0 < one.least_ms <= one.ms
        assert one.peak_rss_bytes > 2**20
        assert (one.flops > 0) == (one.stage not in WITHOUT_PRODUCTS), one.stage
    assert setup.matrix_flops_per_s > 1e6


def test_operations_go_with_objects_and_not_with_pictures_at_once(measured):
    """Three objects are three times the work of one, and a picture of sixteen is one picture."""
    (setup,) = measured.setups
    one, three = (setup.find(MEMORY, objects=count) for count in OBJECTS)

    assert three.flops == 3 * one.flops
    assert len({found.flops for found in setup.measured if found.stage == IMAGES}) == 1
    whole = setup.find(WHOLE, objects=3)
    parts = [setup.find(stage, objects=3).flops for stage in PER_OBJECT]
    assert whole.flops == pytest.approx(sum(parts) + setup.find("image encoder").flops, rel=0.1)


def test_operations_are_those_of_a_hand_count(measured):
    """Of the memory encoder at 64 px: a multiplication and an addition a weight and place."""
    places = 4 * 4  # of a picture of 64 px at stride 16
    mask = [(32, 1, 4), (16, 4, 16), (8, 16, 64), (4, 64, 256)]  # side, channels in and out
    convolutions = sum(side**2 * 9 * before * after for side, before, after in mask)
    to_width, of_frame = places * 256 * 128, places * 128 * 128
    fuser = places * (49 * 128 + 128 * 512 + 512 * 128)
    out = places * 128 * 64

    (setup,) = measured.setups
    found = setup.find(MEMORY, objects=1).flops

    assert found == 2 * (convolutions + to_width + of_frame + fuser + out)


def test_a_product_of_matrices_has_two_operations_for_each_pair():
    """n x n times n x n: n ** 3 multiplications, and as many additions."""
    products = MatrixProducts(choose_compute("cpu", "float32"))

    assert count_flops(products._product(32)) == 2 * 32**3
    assert products.probe()() > 0


def test_what_would_take_too_long_is_left_out(wanted):
    """With next to no time one number of objects is measured of each stage, and the reason is
    given for the others; a memory that had no time to fill is told."""
    bench = Bench([wanted], objects=OBJECTS, seconds=1e-5)
    with little_work():
        bench.run()
    (setup,) = bench.record().setups

    assert {one.objects for one in setup.measured if one.stage in PER_OBJECT} == {OBJECTS[0]}
    left = {one.stage for one in setup.left_out if one.objects == OBJECTS[1]}
    assert left == {*PER_OBJECT, WHOLE}
    assert all("takes about" in one.reason for one in setup.left_out)
    assert setup.find(WHOLE, objects=1).memories < setup.num_maskmem


def test_what_does_not_fit_into_memory_is_left_out(wanted):
    """The reason says so, and the next measurement is made; any other error is one."""
    bench = Bench([wanted])
    model = load_model(wanted.spec, wanted.compute)
    huge = _Task(IMAGES, lambda: lambda: torch.empty(2**60, dtype=torch.uint8), batch=16)
    wrong = _Task(IMAGES, lambda: lambda: torch.empty(-1))

    left = bench._one(huge, {}, model)

    assert (left.stage, left.batch) == (IMAGES, 16)
    assert left.reason.startswith("it does not fit into memory: ")
    with pytest.raises(RuntimeError):
        bench._one(wrong, {}, model)


def test_what_was_measured_is_there_when_somebody_stops_it(wanted):
    """After an interruption the record has the stages before, and says that it is not all."""

    def interrupt(progress):
        if progress.note.startswith("mask decoder"):
            raise KeyboardInterrupt

    bench = Bench([wanted], objects=[1], seconds=NEVER_TOO_LONG)
    with little_work(), listening(interrupt), pytest.raises(KeyboardInterrupt):
        bench.run()
    record = bench.record()

    assert not record.complete
    stages = [one.stage for one in record.setups[0].measured]
    assert stages == ["video decoding", "preprocessing", "image encoder", "memory attention"]


def test_nothing_at_all_is_a_record_too(wanted):
    """Somebody may stop it before the model is loaded."""
    assert Bench([wanted]).record().setups == ()


def test_the_record_is_json_of_its_schema(measured):
    """What is written can be read again, here and by what knows only the schema."""
    text = measured.model_dump_json()

    assert BenchRecord.model_validate_json(text) == measured
    jsonschema.validate(measured.model_dump(mode="json"), BenchRecord.model_json_schema())


@pytest.mark.parametrize("objects", [[], [0], [1, 201], [-1]])
def test_numbers_of_objects_have_bounds(objects):
    """From 1 to as many as the scene can have."""
    with pytest.raises(InputError, match="from 1 to 200"):
        check_objects(objects)


def test_stages_do_the_work_of_tracking(wanted):
    """Resizing and run lengths give the scene's own masks back, nearly; whole tracking gives masks
    of all objects."""
    footage = Footage.paint(height=96, width=128, num_objects=3)
    stages = Stages(load_model(wanted.spec, wanted.compute), footage)

    truth = footage.masks_nhw
    assert (decode_masks(stages.run_lengths(3)()) == truth).all()
    assert (stages.resize(3)() != truth).mean() < 0.05
    assert stages.whole(3)().shape == (3, 96, 128)
    assert [len(stages.encode(batch)()) for batch in (1, 4)] == [1, 4]
    assert sum(len(part) for part in stages.attention(3)()) == 3
