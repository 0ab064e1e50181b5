"""One run at a time on a GPU: a place on the device that a dead process cannot hold."""

import contextlib
import threading
from collections.abc import Iterator

from samcore.machine.places import holding_place
from samcore.models.loader import unload_model
from tasks.settings import load_settings


@contextlib.contextmanager
def using_device(device: str, *, unless: threading.Event | None = None) -> Iterator[bool]:
    """Hold a place on a device, as `holding_place` does. `LONGTAKE_RUNS_PER_DEVICE` changes how
    many there are, among the processes that share `LONGTAKE_CACHE`.

    At the end of the block the loaded model goes from a device with a number of places, as the next
    run brings its own.

    Raises:
        InputError: `LONGTAKE_RUNS_PER_DEVICE` is not a number.
        StorageError: The cache folder cannot be written to.
    """
    settings = load_settings()
    places, locks = settings.runs_per_device, settings.cache_dir / "locks"
    with holding_place(device, places=places, locks=locks, unless=unless) as has_place:
        try:
            yield has_place
        finally:
            if has_place and (places or (places is None and device != "cpu")):
                unload_model()
