"""Pictures of several sizes, models with weights that mean something and with random ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray
from sam2.sam2_image_predictor import SAM2ImagePredictor

from samcore.machine.device import choose_compute
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resized_model, resolve_model
from samcore.scenes import Scene

SIZES_HW = ((96, 128), (120, 90), (64, 64), (50, 200))


@pytest.fixture(scope="session")
def pictures() -> list[NDArray[np.uint8]]:
    """Four scenes, each of another size."""
    return [
        next(
            iter(Scene(seed, num_frames=4, height=height, width=width, num_objects=3))
        ).image_rgb_hwc_u8
        for seed, (height, width) in enumerate(SIZES_HW, start=3)
    ]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrackingModel]:
    """`nano`, or `random-tiny` with a small input; each is built once."""
    built: dict[tuple[str, str, str], TrackingModel] = {}

    def get(name: str, dtype: str = "float32", device: str = "cpu") -> TrackingModel:
        if (name, dtype, device) not in built:
            spec = resolve_model(name, cache_dir=tmp_path_factory.getbasetemp(), plain_engine=True)
            if name != "nano":
                spec = resized_model(spec, 128)
            built[name, dtype, device] = load_model(spec, choose_compute(device, dtype))
        return built[name, dtype, device]

    return get


@contextmanager
def package_predictor(model: TrackingModel) -> Iterator[SAM2ImagePredictor]:
    """The package's own predictor over the same network."""
    predictor = SAM2ImagePredictor(model._net)
    use_sizes_of(predictor, model)
    with model.running():
        yield predictor


def use_sizes_of(predictor: SAM2ImagePredictor, model: TrackingModel) -> None:
    """The package has the sizes of a 1024 px input written in."""
    side = model.facts.image_size
    predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]
