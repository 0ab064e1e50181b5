"""The stages that a benchmark measures, for families of transformers."""

from samcore.speed.stages import Footage, Stages


def test_every_stage_runs(small_model, family):
    """Whatever the shape of a family's memory; two objects' masks come out."""
    stages = Stages(small_model(family), Footage.paint(height=96, width=128, num_objects=2))

    for make in (stages.attention, stages.decode, stages.encode_memory, stages.resize):
        assert sum(len(getattr(part, "logits_b1hw", part)) for part in _parts(make(2)())) == 2
    assert len(stages.images(2)()) == 2
    assert stages.whole(2)().shape == (2, 96, 128)


def _parts(result):
    return result if isinstance(result, list) else [result]
