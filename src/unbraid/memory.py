"""How freed memory is treated."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of mallopt, as glibc's malloc.h numbers them."""


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees for what it needs next; True where that can be had (glibc).

    By default large blocks go back to the system, which has to clear them, page by page, when they are asked for again.
    A training step frees and takes the same blocks over and over. The process then stays as large as its largest step.
    Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no such library, no such function, Windows
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, -1))
