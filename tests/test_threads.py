import os
import subprocess
import sys
import time

import pytest

from utils import threads
from utils.threads import FairShare, share


@pytest.mark.parametrize("now, others, cores, most, expected", [
    (2, 0.0, 2, 2, 2),      # alone
    (2, 0.3, 2, 2, 2),      # something short now and then
    (2, 1.0, 2, 2, 1), (1, 1.0, 2, 2, 1), (1, 0.1, 2, 2, 2),    # a program of one thread comes, stays, goes
    (8, 8.0, 8, 8, 4), (4, 4.0, 8, 8, 4), (4, 0.0, 8, 8, 8),    # another training comes, takes its share, goes
    (8, 100.0, 8, 8, 1),
    (4, 28.0, 64, 8, 8),    # fewer than the machine's cores are allowed, and there is room
    (3, 0.0, 64, 8, 8),
])
def test_the_share_of_a_program(now, others, cores, most, expected):
    assert share(now, others, cores, most) == expected


def test_two_trainings_that_begin_together_share_the_cores_and_stay_so():
    for cores in (2, 4, 8, 16, 64):
        one = other = cores
        for _ in range(10):
            one, other = share(one, other, cores, cores), share(other, one, cores, cores)
        assert one == other == cores // 2


class Library:
    """Stands for OpenMP's."""

    def __init__(self, number):
        self.number = number

    def omp_get_num_procs(self):
        return 4

    def omp_get_max_threads(self):
        return self.number

    def omp_set_num_threads(self, number):
        self.number = number


@pytest.fixture
def library(monkeypatch):
    """A machine of 4 cores; `others` of it is what else runs, `now` the time."""
    library = Library(2)
    library.others, library.now = 0, 0.0
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: set(range(4)))
    monkeypatch.setattr(threads.time, "monotonic", lambda: library.now)
    monkeypatch.setattr(threads, "others_running", lambda: library.others)
    return library


def pass_time(fair_share, library, seconds):
    for _ in range(round(seconds / 0.01)):
        library.now += 0.01
        fair_share.adapt()


def test_it_adapts_to_what_runs(library):
    fair_share = FairShare()
    assert library.number == 4
    library.others = 4
    pass_time(fair_share, library, 0.3)
    assert library.number == 4      # not in haste
    pass_time(fair_share, library, 0.3)
    assert library.number == 2
    library.others = 2              # the other one adapts too
    pass_time(fair_share, library, 5)
    assert library.number == 2
    library.others = 0
    pass_time(fair_share, library, 1.2)
    assert library.number == 4


def test_the_users_number_stays(library, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    fair_share = FairShare()
    library.others = 8
    pass_time(fair_share, library, 5)
    assert library.number == 2


def test_openmps_number_stays_where_the_process_has_some_of_the_cores(library, monkeypatch):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 64)
    fair_share = FairShare()
    library.others = 100
    pass_time(fair_share, library, 5)
    assert library.number == 2


@pytest.mark.skipif(not os.path.exists("/proc/loadavg"), reason="not Linux")
def test_others_running_counts_other_programs():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        end = time.monotonic() + 60
        while threads.others_running() < 3:
            assert time.monotonic() < end
    finally:
        for process in busy:
            process.kill()
            process.wait()
