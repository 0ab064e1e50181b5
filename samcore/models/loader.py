"""Keep one model loaded for all of a process."""

import functools
import gc
import logging
import threading
import time

import torch

from samcore.errors import ModelError
from samcore.machine.device import Compute
from samcore.models.family import TrackingModel, model_family
from samcore.models.registry import ENGINE, PLAIN_ENGINE, ModelSpec

logger = logging.getLogger(__name__)

_Key = tuple[ModelSpec, Compute]


class _CacheOfOne:
    """The model that was used last. Two would not fit on many a GPU."""

    def __init__(self) -> None:
        # Held while loading, too: threads that want one model get one, and it is loaded once.
        self._lock = threading.Lock()
        self._key: _Key | None = None
        self._model: TrackingModel | None = None

    def load(self, spec: ModelSpec, compute: Compute) -> TrackingModel:
        key = (spec, compute)
        with self._lock:
            if self._model is not None and self._key == key:
                return self._model
            # Before the new one is there: a device need not have room for both.
            self._free()
            started = time.perf_counter()
            model = model_family(spec.family).build(spec, compute)
            self._key, self._model = key, model
            seconds = time.perf_counter() - started
            logger.info("loaded %s on %s in %.1f s", spec.name, compute.describe(), seconds)
            return model

    def unload(self) -> None:
        with self._lock:
            self._free()

    def _free(self) -> None:
        if self._model is None:
            return
        self._key = self._model = None
        # Modules refer to each other in circles, which only the collector frees.
        gc.collect()
        # Does nothing where CUDA is not in use.
        torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()


_cache = _CacheOfOne()


def load_model(spec: ModelSpec, compute: Compute) -> TrackingModel:
    """Give the model, loading it if it is not the one that was used last.

    Process-wide and safe to call from many threads: equal arguments give the same object. Another
    model takes its place, whose memory is freed first, as far as no caller holds it any more.

    Raises:
        ModelError: The configuration or the checkpoint cannot be used, or the specification is of
            a version whose arithmetic was another one.
    """
    if spec.engine not in (PLAIN_ENGINE, ENGINE):
        raise ModelError(
            f"this was begun by another version of Longtake (engine {spec.engine}; this one has "
            f"{ENGINE}): going on would change masks in the middle; ask for the model anew, or go "
            "on with that version"
        )
    return _cache.load(spec, compute)


def unload_model() -> None:
    """Free the loaded model, if there is one."""
    _cache.unload()


@functools.lru_cache(maxsize=1)
def check_model(spec: ModelSpec) -> None:
    """Build a model once and drop it, to see whether its files can be used: for weights that a
    person brought, whose digest nobody knows. Needs no device.

    Raises:
        ModelError: The configuration or the checkpoint cannot be used.
    """
    model_family(spec.family).check_files(spec)
