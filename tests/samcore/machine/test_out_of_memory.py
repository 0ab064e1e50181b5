"""Want of memory is told from every other failure, whoever says it and however."""

import errno
import gc
import weakref

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from samcore.errors import InputError, OutOfMemory, SegmentationError, StorageError, VideoError
from samcore.machine.out_of_memory import free_caches, memory_failure


def _raised(call) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (whichever the library raises)
        call()
    return caught.value


def _from(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except type(error) as raised:
        return raised


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.empty(1 << 60, dtype=torch.uint8),
        lambda: np.empty(1 << 60, np.uint8),
        lambda: bytearray(1 << 62),
        lambda: pa.allocate_buffer(1 << 60),
        lambda: cv2.resize(np.zeros((2, 2), np.uint8), (1 << 30, 1 << 30)),
    ],
    ids=["torch", "numpy", "python", "arrow", "opencv"],
)
def test_out_of_memory_of_real_allocations_is_known(call) -> None:
    """What each library itself raises when asked for an exbibyte."""
    reason = memory_failure(_raised(call))

    assert reason is not None
    assert "\n" not in reason


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        VideoError("the decoder ended at frame 7 of 'a.mp4' (ffmpeg said: Cannot allocate memory)"),
        _from(VideoError("cannot start 'ffmpeg'"), OSError(errno.ENOMEM, "no")),
        _from(InputError("bfloat16 does not work here"), torch.OutOfMemoryError("CUDA")),
        OutOfMemory("out of memory at frame 3"),
    ],
    ids=lambda error: f"{type(error).__name__}: {str(error)[:30]}",
)
def test_out_of_memory_of_a_gpu_or_decoder_is_known(error: Exception) -> None:
    """Texts of CUDA's libraries, of the decoder, and errors of ours that were raised from one."""
    assert memory_failure(error) is not None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(errno.ENOSPC, "No space left on device"),
        StorageError("cannot write out of memory.parquet: the disk is full"),
        VideoError("no video at 'out of memory.mp4'"),
        InputError("box: out of memory"),
        KeyError("memory"),
    ],
    ids=lambda error: f"{type(error).__name__}: {str(error)[:30]}",
)
def test_other_errors_are_not_out_of_memory(error: Exception) -> None:
    """A bug, a full disk or a person's error is not taken for want of memory, whatever it names."""
    assert memory_failure(error) is None


def test_the_error_is_one_line_and_of_two_families() -> None:
    """Who catches our errors catches it, and who catches MemoryError does."""
    assert issubclass(OutOfMemory, SegmentationError)
    assert issubclass(OutOfMemory, MemoryError)
    assert len(memory_failure(RuntimeError("out of memory " * 1000)) or "") < 400


def test_nothing_keeps_what_an_error_held() -> None:
    """Once its text is taken and the error is gone, the arrays of its frames are gone, too."""

    class Held:
        pass

    watched: list[weakref.ref[Held]] = []

    def fail() -> None:
        held = Held()
        watched.append(weakref.ref(held))
        raise MemoryError("no more")

    def reason() -> str | None:
        try:
            fail()
        except MemoryError as error:
            return memory_failure(error)
        return None

    gc.disable()
    try:
        assert reason() == "MemoryError: no more"
        assert watched[0]() is None
    finally:
        gc.enable()
    free_caches()
