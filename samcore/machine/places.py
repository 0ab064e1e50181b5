"""Places on a device: so many runs at a time, and none that a dead process holds."""

import contextlib
import logging
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from samcore.disk.files import make_folder
from samcore.disk.locks import try_open_locked

_log = logging.getLogger(__name__)
_POLL_S = 0.2


@contextlib.contextmanager
def holding_place(
    device: str, *, places: int | None, locks: Path, unless: threading.Event | None = None
) -> Iterator[bool]:
    """Hold a place on a device for the length of the block; wait while all are taken.

    A GPU has one place, since two models do not fit on many a card and two runs on one are slower
    than one after the other. A CPU has as many as anybody wants. Places are files that the kernel
    unlocks when their holder ends in whatever way, SIGKILL included.

    Args:
        device: Such as `cuda:0`, `mps`, `cpu`.
        places: How many there are instead; 0 for as many as anybody wants; None as said above.
        locks: The folder of the files, made if need be: who shares it counts together.
        unless: Ends the wait when it is set.

    Yields:
        Whether there is a place; False only if `unless` was set.

    Raises:
        StorageError: The folder cannot be written to.
    """
    if places is None:
        places = 0 if torch.device(device).type == "cpu" else 1
    if not places:
        yield True
        return
    make_folder(locks)
    name = _identity(torch.device(device))
    place = _take([locks / f"{name}.{place}.lock" for place in range(places)], device, unless)
    try:
        yield place is not None
    finally:
        if place is not None:
            os.close(place)


def _take(paths: list[Path], device: str, unless: threading.Event | None) -> int | None:
    """Lock one of the files; the descriptor that holds it."""
    told = False
    while unless is None or not unless.is_set():
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
    return None


def _identity(device: torch.device) -> str:
    """The device's name, whatever `CUDA_VISIBLE_DEVICES` numbers it here; fit for a file."""
    if device.type == "cuda":
        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        if uuid is not None:
            return f"gpu-{re.sub(r'[^0-9A-Za-z-]', '_', str(uuid))}"
    # A home folder may be that of several machines.
    name = f"{platform.node()}-{device.type}-{device.index or 0}"
    return re.sub(r"[^0-9A-Za-z.-]", "_", name)
