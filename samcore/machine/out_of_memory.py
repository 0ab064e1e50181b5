"""Tell a failure for want of memory from any other, and give back what is not in use."""

import contextlib
import ctypes
import errno
import gc
import re
import sys

from samcore.errors import SegmentationError, VideoError

_SAID = re.compile(
    "|".join(
        (
            r"out of memory",  # CUDA, HIP, MPS and oneDNN
            r"can(?:'|no)t allocate memory",  # PyTorch's CPU allocator; the system, of ENOMEM
            r"can't start new thread",  # no room for its stack
            r"std::bad_alloc|bad allocation",
            r"CUBLAS_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)",
            # Both libraries ask for memory when they are first used, and then only say this.
            r"CUDNN_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED|INTERNAL_ERROR_(?:HOST|DEVICE)_ALLOC)",
            r"CUSOLVER_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED",
            r"insufficient memory",  # OpenCV
            r"failed to allocate|unable to allocate",  # numpy; Arrow ("malloc of size ... failed")
            r"malloc of size \d+ failed",
            # oneDNN does not say why; with little memory left it is that (tried with a limit).
            r"could not (?:create|execute) a primitive|could not create a memory",
        )
    ),
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_MAX_TEXT = 300


def memory_failure(error: BaseException) -> str | None:
    """What an error says of memory that could not be had, in one line; None if it is another one.

    Knows PyTorch's own error, what CUDA, cuDNN, cuBLAS, oneDNN, OpenCV, numpy, Arrow and the
    system say, and errors of ours that were raised from such a one. Only the text is given, so
    that nothing keeps the error, its frames and their tensors.
    """
    seen: BaseException | None = error
    while seen is not None:
        if _is_memory_failure(seen):
            return _one_line(seen)
        seen = seen.__cause__
    return None


def free_caches() -> None:
    """Give back memory that was freed but is still held: cycles, torch's caches, the C heap."""
    gc.collect()
    torch = sys.modules.get("torch")  # who has not imported it holds nothing of it
    if torch is not None:
        if torch.cuda.is_initialized():
            # A failed kernel launch shows late; it must not be blamed on what comes next.
            with contextlib.suppress(RuntimeError):
                torch.cuda.synchronize()
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _is_memory_failure(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, SegmentationError) and not isinstance(error, VideoError):
        return False
    # The decoder is another program: what it said is quoted in the text, and so is the file's
    # name, which may say anything.
    return _SAID.search(_QUOTED.sub("", str(error))) is not None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no more memory"
    if len(text) > _MAX_TEXT:
        text = text[: _MAX_TEXT - 3] + "..."
    return f"{type(error).__name__}: {text}"
