"""The end of a command's process."""

import os
import sys


def end_quietly(code: int, *, verbose: bool) -> None:
    """Leave with `code`; what libraries still say while they are shut down is not for people.

    Prefect's client flushes events at exit, and complains at length when a run was stopped.

    Raises:
        SystemExit: Always.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Whoever read it has gone, as in `longtake models | head -1`.
            verbose = False
    if not verbose:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    sys.exit(code)
