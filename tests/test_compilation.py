import os
import subprocess
import sys

import numpy as np
import pytest
import theano
import theano.tensor as T

from conftest import ROOT

CODE = """if True:
    import nets, numpy as np, sys, theano, theano.tensor as T
    from utils.theano_setup import compilation
    if "broken" in sys.argv:
        def broken(linker, folder):
            raise OSError("cannot compile ahead")
        compilation._compile = broken
    x, b, labels, factor = T.matrix(), T.vector(), T.ivector(), int(sys.argv[1])
    loss = T.nnet.categorical_crossentropy(T.nnet.softmax(x + factor * b), labels)
    f = theano.function([x, b, labels], [T.mean(loss), T.grad(T.mean(loss), x), T.exp(factor * x).sum(axis=1)])
    loss, gradient, sums = f(np.zeros((2, 4), "float32"), np.log([1, 2, 3, 4]).astype("float32"), [0, 3])
    print(float(loss), gradient[0, 0], *sums)
"""

# Starts g++, and tells of modules (not of Theano's own, at its import): each in compiled, and if two are compiled at
# the same time in together. Those compiled ahead wait for another one, but only once for nothing.
COMPILER = """#!/bin/sh
case "$*" in *-shared*/m????????????????????????????????*.so*) ;; *) exec g++ "$@" ;; esac
cd "{folder}"
echo "$@" >> compiled
case "$*" in *{folder}/cache*) exec g++ "$@" ;; esac
touch running.$$
for i in $(seq 200); do
    [ -e alone ] && break
    [ "$(ls -d running.* | wc -l)" -gt 1 ] && touch together && break
    [ $i = 200 ] && touch alone
    sleep .05
done
g++ "$@"
status=$?
rm -f running.$$
exit $status
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Compiles a function in a process of its own, with a cache of the test's: run(*arguments) -> numbers, commands."""
    folder = tmp_path_factory.mktemp("compilation")
    compiler = folder / "compiler"
    compiler.write_text(COMPILER.format(folder=folder))
    compiler.chmod(0o755)

    def run(*arguments):
        (folder / "compiled").write_text("")
        flags = f"base_compiledir={folder}/cache,cxx={compiler},floatX=float32"
        done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, cwd=ROOT,
                              env={**os.environ, "THEANO_FLAGS": flags, "PYTHONHASHSEED": "random"})
        assert done.returncode == 0, done.stderr
        return list(map(float, done.stdout.split())), (folder / "compiled").read_text().splitlines()
    run.folder = folder
    return run


EXPECTED = [1.6094379, -0.45, 4, 4]     # the mean of log 10 and log 2.5; (1/10 - 1) / 2


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_modules_are_compiled_together_and_once(run):
    numbers, commands = run("1")
    assert numbers == pytest.approx(EXPECTED, rel=1e-6)
    assert len(commands) > 4 and (run.folder / "together").exists()
    names = [os.path.basename(command.split(" -o ")[1].split()[0]) for command in commands]
    assert len(set(names)) == len(names)

    numbers, commands = run("1")
    assert numbers == pytest.approx(EXPECTED, rel=1e-6)
    assert not commands


def test_what_cannot_be_compiled_ahead_is_left_to_theano(run):
    numbers, commands = run("2", "broken")
    assert numbers == pytest.approx([2.0149030, -0.48333333, 4, 4], rel=1e-6)     # of 1/30 and 16/30
    assert commands and all("cache" in command.split(" -o ")[1].split()[0] for command in commands)


def test_any_number_of_threads_gives_the_same_bits_in_operations_by_element(set_threads):
    """Of more elements than Theano leaves to one thread, which fill no whole number of vectors."""
    x = T.fvector()
    function = theano.function([x], T.exp(T.log(T.sqr(x) + 1e-8) * 0.3), mode="FAST_RUN")
    assert all(hasattr(thunk, "cthunk") for thunk in function.fn.thunks)
    values = np.random.RandomState(0).uniform(size=theano.config.openmp_elemwise_minsize + 60003).astype("float32")
    set_threads(1)
    alone = np.array(function(values))
    for threads in (2, 3, 8):
        set_threads(threads)
        np.testing.assert_array_equal(function(values), alone)
