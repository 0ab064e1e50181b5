"""Imports that take seconds."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def much_imported() -> Iterator[None]:
    """Import within the block what is large.

    Modules make objects by the hundred thousand, which all stay. To look again and again for those
    that do not takes a quarter of the time of the imports, so that waits until the block has ended;
    and what is there by then is not looked at any more.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
