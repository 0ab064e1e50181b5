"""Imports that take seconds."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def much_imported() -> Iterator[None]:
    """Import within the block what is large.

    Modules make objects by the hundred thousand, which all stay. To look again and again for those
    that do not takes a quarter of the time of the imports, so that waits until the block has ended;
    and what is there by then is not looked at any more. Where all of it was there already, nothing
    is kept: a command of many runs would keep what each of them leaves.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    before = len(sys.modules)
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
