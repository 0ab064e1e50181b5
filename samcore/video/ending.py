"""How an ffmpeg ended: because its work was done, because of its input, or for another reason."""

import errno
import re
import signal

from samcore.errors import TransientVideoError, VideoError

_TOO_MANY_ERRORS = 69
"""Exit code of a decoder that read to the end, but most of the input was damaged."""
_TOLD_TO_STOP = (123, 255)
"""Exit codes of an ffmpeg that took a signal and ended in its own way."""
_SHORTAGE = re.compile(r"Cannot allocate memory|Resource temporarily unavailable")
_READ_FAILED = re.compile(
    r"Input/output error|Connection (?:refused|reset|timed out)|Network is unreachable|"
    r"Server returned (?:4|5)"
)
_NO_PROCESS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def says_read_failed(text: str) -> str:
    """Give ffmpeg's words of a file or connection that could not be read; empty without any."""
    found = _READ_FAILED.search(text)
    return "" if found is None else found[0]


def says_shortage(text: str) -> bool:
    """Whether ffmpeg complains of memory or threads that the system did not give it."""
    return _SHORTAGE.search(text) is not None


def why_died(code: int, said: str = "") -> str | None:
    """Say what ended an ffmpeg from outside, or in a crash; None if its input or output can have.

    Args:
        code: As `Popen.returncode` has it: the exit code, or a signal's number below 0.
        said: Its error messages; empty if there are none.
    """
    if code < 0:
        try:
            return f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"ended by signal {-code}"
    if code in _TOLD_TO_STOP:
        return "told to stop by a signal"
    if says_shortage(said):
        return f"short of memory or threads ({said})"
    return f"ended with exit code {code} and no reason" if code and not said else None


def why_decoder_died(code: int, said: str, *, frames: int) -> str | None:
    """Say why a decoder did not reach its input's end; None if it did, or could not begin.

    Damage does not end a decoder: it reads on to the end and then exits with 0, or with 69 after
    many errors. So any other code means that it failed on the way.

    Args:
        code: As for `why_died`.
        said: The first error message; empty if there is none.
        frames: How many frames it gave.
    """
    reason = why_died(code, said)
    if reason is None and frames and code not in (0, _TOO_MANY_ERRORS):
        return f"failed on its way (exit code {code}: {said})"
    return reason


def cannot_start(program: str, error: OSError) -> VideoError:
    """Give the error of a program that the system does not start."""
    kind = TransientVideoError if error.errno in _NO_PROCESS else VideoError
    return kind(f"cannot start {program!r}: {error.strerror}")
