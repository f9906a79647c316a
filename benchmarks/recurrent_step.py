"""A training step of the language model of characters with SparseVD, beside PyTorch's nn.LSTM with the same noise.

    python benchmarks/recurrent_step.py --torch PYTHON             64 sequences of 100 characters, 128 units
    python benchmarks/recurrent_step.py --torch PYTHON --plain     Theano's own graph, too

PYTHON is one that has torch (benchmarks/requirements.txt). All run on one thread, in processes of their own, in turns;
the table has medians. Ratios are of medians of the same turn: whatever else the machine does meets all of them.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
from tabulate import tabulate

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

STEPS, SYMBOLS = 99, 38     # predictions of a piece, and characters, as in the Bible


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--torch", metavar="PYTHON", help="a Python that has torch")
    add("--plain", action="store_true", help="measure Theano's own graph, too")
    add("--units", type=int, default=128, help="of the LSTM (default: 128)")
    add("--batch", type=int, default=64, help="sequences (default: 64)")
    add("--structure", default="none", help="the groups that have a variable (default: none)")
    add("--turns", type=int, default=10, help="of each (default: 10)")
    add("--steps", type=int, default=5, help="in a turn (default: 5)")
    add("--serve", choices=("kernel", "plain"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch and args.structure != "none":
        parser.error("--torch measures --structure none")
    if args.serve:
        return serve(args)
    print(table(args))


def serve(args):
    """Makes as many steps as each line of standard input says, and prints their seconds."""
    import nets  # noqa: F401  prepares Theano
    from nets import kernels, methods
    from nets.architectures import char_lstm
    from nets.tasks import NextToken
    from nets.training.trainer import Trainer, seed_generators

    kernels.use_plain_graph(args.serve == "plain")
    generator = seed_generators(1)
    method = methods.make("sparse-vd", log_sigma2=-6.0, noise_rate=2.0, structure=args.structure, kl_warm_up=False)
    trainer = Trainer(char_lstm(method, (STEPS,), SYMBOLS, args.units), method, 1000 * args.batch * STEPS,
                      task=NextToken(), clip=1.0)
    tokens = generator.integers(0, SYMBOLS, (args.batch, STEPS + 1)).astype("int32")
    inputs, targets = np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])
    trainer.train_epoch([(inputs, targets)], 2e-3, [1.0])
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            began = time.perf_counter()
            trainer._train(inputs, targets)
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), flush=True)


def table(args):
    own = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--serve"]
    commands = {"this project": [*own, "kernel"]}
    if args.plain:
        commands["Theano's graph"] = [*own, "plain"]
    if args.torch:
        commands["PyTorch"] = [args.torch, os.path.join(HERE, "recurrent_torch.py"), *map(str, (
            args.units, args.batch, STEPS, SYMBOLS))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    processes = {name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment) for name, command in commands.items()}
    found = {name: [] for name in processes}
    try:
        for turn in range(args.turns + 1):
            for name, process in processes.items():
                process.stdin.write(f"{args.steps}\n")
                process.stdin.flush()
                seconds = json.loads(process.stdout.readline())
                if turn:    # the first one warms up
                    found[name].append(np.median(seconds))
    finally:
        for process in processes.values():
            process.kill()
    ours = np.array(found["this project"])
    rows = [(name, f"{1e3 * np.median(turns):.1f}", f"{1e3 * min(turns):.1f}", f"{np.median(turns / ours):.2f}")
            for name, turns in found.items()]
    return tabulate(rows, (f"{args.batch} x {STEPS + 1} characters, {args.units} units", "Median ms", "Least ms",
                           "Of ours"), disable_numparse=True)


if __name__ == "__main__":
    main()
