"""One run at a time on a GPU: a place on the device that a dead process cannot hold."""

import contextlib
import logging
import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from samcore.disk.files import make_folder
from samcore.disk.locks import try_open_locked
from samcore.models.loader import unload_model
from tasks.settings import load_settings

_log = logging.getLogger(__name__)
_POLL_S = 0.2


@contextlib.contextmanager
def using_device(device: str) -> Iterator[None]:
    """Hold a place on a device for the length of the block; wait while all are taken.

    A GPU has one place, since two models do not fit on many a card and two runs on one are slower
    than one after the other. A CPU has as many as anybody wants. `LONGTAKE_RUNS_PER_DEVICE`
    changes both. Places are files that the kernel unlocks when their holder ends in whatever way,
    SIGKILL included; they are counted among the processes that share `LONGTAKE_CACHE`.

    At the end of the block the loaded model goes from the device, as the next run brings its own.

    Args:
        device: As in a run's settings: `cuda:0`, `mps`, `cpu`.

    Raises:
        InputError: `LONGTAKE_RUNS_PER_DEVICE` is not a number.
        StorageError: The cache folder cannot be written to.
    """
    settings = load_settings()
    places = settings.runs_per_device
    if places is None:
        places = 0 if torch.device(device).type == "cpu" else 1
    if not places:
        yield
        return
    folder = settings.cache_dir / "locks"
    make_folder(folder)
    name = _identity(torch.device(device))
    paths = [folder / f"{name}.{place}.lock" for place in range(places)]
    place = _take(paths, device)
    try:
        yield
    finally:
        unload_model()
        os.close(place)


def _take(paths: list[Path], device: str) -> int:
    """Lock one of the files; the descriptor that holds it."""
    told = False
    while True:
        for path in paths:
            descriptor = try_open_locked(path)
            if descriptor is not None:
                if told:
                    _log.info("%s is free: going on", device)
                return descriptor
        if not told:
            _log.warning("another run uses %s: waiting", device)
            told = True
        time.sleep(_POLL_S)


def _identity(device: torch.device) -> str:
    """The device's name, whatever `CUDA_VISIBLE_DEVICES` numbers it here; fit for a file."""
    if device.type == "cuda":
        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        if uuid is not None:
            return f"gpu-{re.sub(r'[^0-9A-Za-z-]', '_', str(uuid))}"
    # A home folder may be that of several machines.
    name = f"{platform.node()}-{device.type}-{device.index or 0}"
    return re.sub(r"[^0-9A-Za-z.-]", "_", name)
