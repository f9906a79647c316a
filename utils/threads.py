"""How many threads a training takes: all, or its share where other programs want the same cores.

An OpenMP thread that waits for the others does so without sleeping. Where two trainings want each core, threads wait
for others that cannot run, and both become several times slower than they would be one after the other.
"""

import contextlib
import ctypes
import os
import time

__all__ = ["FairShare", "share"]

#: Seconds between looks at what runs, and how many looks are averaged for a decision.
INTERVAL, LOOKS = 0.05, 10


def share(threads, others, cores, most):
    """How many threads to take.

    Parameters
    ----------
    threads : int
        that are taken now
    others : float
        threads of other programs that run or wait for a core
    cores : int
        of the machine
    most : int
        threads to take where nobody else runs

    Returns
    -------
    int
        from 1 to `most`: where more threads run than there are cores, this program's part of the cores; where fewer
        do, more than now by the difference
    """
    running = threads + others
    if running > cores:
        return max(1, min(most, round(threads * cores / running)))
    return min(most, threads + int(cores - running + 0.5))


class FairShare:
    """Sets the number of OpenMP's threads by what else runs.

    It does nothing where the user sets OMP_NUM_THREADS, or gives the process only some of the machine's cores: what
    runs on these, nobody says. Results must not depend on the number.
    """

    def __init__(self):
        self._library = None
        linux = os.path.exists("/proc/loadavg")
        if "OMP_NUM_THREADS" not in os.environ and linux and len(os.sched_getaffinity(0)) == os.cpu_count():
            with contextlib.suppress(OSError, AttributeError):
                library = ctypes.CDLL("libgomp.so.1")
                library.omp_set_num_threads(library.omp_get_num_procs())
                self._library = library
        if self._library:
            self._most = self._threads = self._library.omp_get_max_threads()
            self._looks, self._next = [], time.monotonic()

    def adapt(self):
        """To be called again and again, between operations. Most calls only look at the clock."""
        if not self._library or self._most == 1 or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL
        with contextlib.suppress(OSError, ValueError, IndexError):
            self._looks.append(others_running())
        if len(self._looks) >= LOOKS:
            others = sum(self._looks) / len(self._looks)
            self._looks.clear()
            self._threads = share(self._threads, others, os.cpu_count(), self._most)
            self._library.omp_set_num_threads(self._threads)


def others_running():
    """How many threads of other programs run or wait for a core at this moment (Linux)."""
    with open("/proc/loadavg", encoding="ascii") as file:
        running = int(file.read().split()[3].partition("/")[0])
    own = 0
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/stat", encoding="utf-8") as file:
            # The state follows the name, which is in parentheses.
            own += file.read().rpartition(")")[2].split()[0] == "R"
    return max(0, running - own)
