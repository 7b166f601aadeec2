"""Memory of the processor: what a training step frees is kept for the next one."""

import ctypes


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets this process keep the memory that it frees, and use it again. Only glibc, Linux's usual C library, can.

    glibc gives large blocks back at once. Then the system clears new pages for the activations of each training step:
    a sixth of the time of CNN14's forward and backward. The process then holds what its largest step needed, and some
    gaps between blocks.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)  # no blocks outside the heap
    mallopt(_M_TRIM_THRESHOLD, -1)  # never shrink the heap
