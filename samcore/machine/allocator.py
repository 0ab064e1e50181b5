"""Settings of the C library's allocator for processes that compute frame after frame."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of glibc's `malloc.h`."""
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors for the next ones, in this process, in place of giving it
    back to the system at once.

    A frame needs the same tensors as the one before, of up to 25 MB at 512 px. Given back, each of
    their pages is fetched and cleared anew: 20,000 page faults a frame, 5 % of its time. The peak
    stays what it was; `free_caches` gives back what is free. Threads share one pool, since the
    pools that glibc makes for them cannot hold tensors of this size.

    Returns:
        Whether the allocator takes it; only glibc's does.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        asked = (
            # The first one sets the limit below which all tensors come from the pool.
            (_M_MMAP_THRESHOLD, 2**30),
            (_M_TRIM_THRESHOLD, _LARGEST),
            (_M_ARENA_MAX, 1),
        )
        return all(mallopt(name, value) == 1 for name, value in asked)
    return False
