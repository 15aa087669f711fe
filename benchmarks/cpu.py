"""CPU time of this process: of all its threads, in the program and in the kernel for it."""

import resource


def cpu() -> float:
    """Return the seconds that have been used by now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
