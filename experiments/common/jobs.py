"""Runs that are to be trained: what each is, which of them are missing, and how long they may take."""

import itertools
import os
from collections import namedtuple

from tabulate import tabulate

from utils import runs

__all__ = ["Job", "missing", "plan", "duration", "SHOWN"]

#: Rows of the plan, and runs whose progress a sweep shows.
SHOWN = 20
#: Seconds, at most, until a training's first epoch begins.
COMPILATION = 60


class Job(namedtuple("Job", "name command dataset variant epochs epoch_seconds pretrain pretrain_epochs starts_from",
                     defaults=((), (), ()))):
    """A run.

    `name` : of its folder; `command` : script, relative to the project, and flags without --output and --resume;
    `dataset`, `variant` : as `data.load` takes them; `epoch_seconds` : on one core, roughly, or None;
    `pretrain` : the methods that come first; `pretrain_epochs` : theirs; `starts_from` : paths of other runs that it
    needs
    """

    __slots__ = ()

    @property
    def folders(self):
        """Its folder and those of its pretraining."""
        return list(itertools.accumulate([self.name, *self.pretrain], "{}-{}".format))

    @property
    def all_epochs(self):
        """Those of its pretraining too."""
        return self.epochs + sum(self.pretrain_epochs)

    def seconds(self):
        """How long it takes on one core, roughly; None if nothing is known."""
        if self.epoch_seconds is None:
            return None
        return self.all_epochs * self.epoch_seconds + COMPILATION * len(self.folders)


def missing(jobs, folder):
    """Those that are not finished, the longest first."""
    return sorted((job for job in jobs if not runs.is_finished(os.path.join(folder, job.name))),
                  key=lambda job: -(job.seconds() or 0))


def plan(jobs, where):
    """The text that says what is going to be run, and how long it may take."""
    rows = [(job.name, " + ".join(map(str, (*job.pretrain_epochs, job.epochs))),
             "?" if job.seconds() is None else duration(job.seconds())) for job in jobs[:SHOWN]]
    text = tabulate(rows, ("To be run", "Epochs", "Time, one core"))
    if len(jobs) > SHOWN:
        text += f"\n... and {len(jobs) - SHOWN} more"
    known = [job.seconds() for job in jobs if job.seconds() is not None]
    if len(known) < len(jobs):
        time_ = "no finished run says yet how long"
    elif where.scheduler is None:
        time_ = f"about {duration(max(max(known), sum(known) / where.at_once))}"
    else:
        time_ = f"about {duration(sum(known))} of one core, divided by the runs that the cluster trains side by side"
    at_once = f"{min(where.at_once, len(jobs))} at a time" if where.scheduler is None else f"by {where.scheduler}"
    return (f"{text}\n{len(jobs)} runs, {at_once}: {time_}.")


def duration(seconds):
    """Seconds as text: seconds, minutes, hours or days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 6000 else f"{minutes / 1440:.0f} d"
