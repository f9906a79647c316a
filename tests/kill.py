"""kill -9 at random moments: what was trained ends with the same bits as a run that was never stopped.

    python tests/kill.py --n 200                  200 kills, in turns over all cases; a table
    python tests/kill.py --n 20 --case vgg-like   of some of them
    python tests/kill.py --hours 0.5              as many as there is time for

A case is trained once undisturbed. Then it is trained again: the process is killed at a moment drawn uniformly from the
time that it took, the same command goes on, and is killed again, until one comes to the end; and so on. Each process
has 1 to 3 threads. The moments are drawn from a fixed seed, but where training is by then depends on the machine. Exit
status 1 if a weight differs or a process fails.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(ROOT)

import numpy as np  # noqa: E402

from data import cifar  # noqa: E402
from utils import files, runs  # noqa: E402

#: name : (script, flags). Few and small images, so that a process is over in seconds once Theano has compiled.
CASES = {
    "LeNet-300-100": ("lenet_300_100", "--dataset", "digits", "--epochs", "20"),
    "LeNet-5-Caffe, augmented": ("lenet5_caffe", "--dataset", "digits", "--epochs", "4", "--augment"),
    "VGG-like": ("vgg_like", "--k", "0.0625", "--epochs", "6", "--batch-size", "20", "--preprocessing", "mean-image",
                 "--data-dir", "data", "--variant", "noise"),
    "masks (DNS)": ("lenet_300_100", "--method", "dns", "--dataset", "digits", "--epochs", "20"),
    "LSTM of words": ("word_lm", "--dataset", "made-up", "--structure", "vocabulary", "--units", "32", "--batch-size",
                      "20", "--length", "20", "--epochs", "20"),
    "warm start": ("lenet_300_100", "--pretrain", "dense", "--dataset", "digits", "--epochs", "10"),
}


def start(case, output, folder, **environment):
    """Starts or goes on with a case's training in `folder`, a run of the name `output`: a `subprocess.Popen`."""
    script, *flags = CASES[case]
    command = [sys.executable, os.path.join(ROOT, "experiments", f"{script}.py"), *flags, "--output", output,
               "--resume"]
    # Threads that wait sleep: there may be more of them than cores. In a session of its own, with the compilers that it
    # starts.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", **environment}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill(process):
    """kill -9 of a process and what it started; returns when it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def different_weights(folder, other):
    """The names of the weights that differ between two finished runs, in a bit or because one has none."""
    expected, found = (files.read_arrays(os.path.join(run, "weights.npz")) for run in (folder, other))
    return [name for name in {**expected, **found} if name not in expected or name not in found
            or expected[name].dtype != found[name].dtype or expected[name].tobytes() != found[name].tobytes()]


def write_noise(folder, images=20):
    """Files of CIFAR-10's form whose content is noise, in `data` below the folder."""
    rng = np.random.default_rng(1)
    place = os.path.join(folder, "data", cifar.CIFAR10.records.name)
    os.makedirs(place)
    for name in cifar.CIFAR10.records.sha256:
        records = rng.integers(0, 256, (images, 3073), np.uint8)
        records[:, 0] %= 10
        with open(os.path.join(place, name), "wb") as file:
            file.write(records.tobytes())


class Case:
    """A case with its undisturbed run, and those that were killed."""

    def __init__(self, name, folder, rng):
        self.name, self._folder, self._rng = name, folder, rng
        self.kills = self.runs = 0
        self.bad, self._output = [], None
        self._ended(start(name, "undisturbed", folder))      # compiles
        began = time.perf_counter()
        self._ended(start(name, "again", folder))
        self.seconds = time.perf_counter() - began
        self._compare("again")

    def kill_once(self):
        """Kills a process once, after as many as come to their end before their moment."""
        before = self.kills
        while self.kills == before and not self.bad:
            if self._output is None:
                self.runs += 1
                self._output = f"killed-{self.runs}"
            moment = self._rng.uniform(0, self.seconds)
            process = start(self.name, self._output, self._folder, OMP_NUM_THREADS=str(self._rng.randint(1, 3)))
            try:
                _, errors = process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                kill(process)
                self.kills += 1
            else:
                self._ended(process, errors)
                self._compare(self._output)
                self._output = None

    def finish(self):
        """Lets the run that was killed last come to its end."""
        if self._output and not self.bad:
            self._ended(start(self.name, self._output, self._folder))
            self._compare(self._output)
            self._output = None

    def _ended(self, process, errors=None):
        errors = process.communicate()[1] if errors is None else errors
        if process.returncode:
            self.bad.append(f"{self.name} ended with status {process.returncode}: {errors.strip()[-500:]}")

    def _compare(self, output):
        if self.bad:
            return
        paths = [os.path.join(self._folder, run) for run in ("undisturbed", output)]
        if not runs.is_finished(paths[1]):
            self.bad.append(f"{self.name}: {output} has no summary")
        different = different_weights(*paths)
        if different:
            self.bad.append(f"{self.name}: {', '.join(different)} of {output} differ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200, metavar="N", help="kills in all (default: 200)")
    parser.add_argument("--hours", type=float, default=1e6, metavar="X", help="no further kill after so long")
    parser.add_argument("--case", nargs="+", choices=tuple(CASES), default=tuple(CASES), metavar="NAME",
                        help=f"of {', '.join(CASES)}")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    from tabulate import tabulate

    began, cases = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="sparsevd-") as folder:
        write_noise(folder)
        for name in args.case:
            own = os.path.join(folder, str(len(cases)))
            os.makedirs(own)
            os.symlink(os.path.join(folder, "data"), os.path.join(own, "data"))
            cases.append(Case(name, own, random.Random(f"{args.seed} {name}")))
            print(f"{name}: {cases[-1].seconds:.1f} s undisturbed", flush=True)
        for number in range(args.n):
            if time.perf_counter() - began > 3600 * args.hours:
                break
            case = cases[number % len(cases)]
            case.kill_once()
            print(f"kill {number + 1}: {case.name}, run {case.runs}", flush=True)
        for case in cases:
            case.finish()
        print(tabulate([(case.name, case.seconds, case.kills, case.runs, "no" if case.bad else "yes")
                        for case in cases], ("Case", "Seconds undisturbed", "Kills", "Runs", "All weights the same"),
                       floatfmt=".1f"))
        print(f"{sum(case.kills for case in cases)} kills")
    bad = [text for case in cases for text in case.bad]
    print("\n".join(bad))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
