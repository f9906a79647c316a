"""Three floors: experiments and benchmarks over nets and data over utils; imports go downwards."""

import ast
import os

import pytest

from conftest import ROOT

#: What a folder may import of the project; the longest name that fits counts.
ALLOWED = {"experiments": ("experiments", "nets", "data", "utils"),
           "benchmarks": ("experiments", "nets", "data", "utils"),
           "nets": ("nets", "utils"), "nets.kernels": ("nets.kernels", "nets.kl", "utils"), "data": ("data", "utils"),
           "utils": ("utils",)}


def modules():
    for folder in ("experiments", "benchmarks", "nets", "data", "utils"):
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(".py"):
                    yield os.path.relpath(os.path.join(path, name), ROOT)


def imported(path):
    """The project's modules that a file imports, in functions too: "nets.layers.conv"."""
    with open(os.path.join(ROOT, path)) as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from nets import kernels` imports a module, `from nets.kl import monte_carlo` a name of one.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(modules()))
def test_imports_go_downwards(path):
    module = path.removesuffix(".py").replace(os.sep, ".")
    folder = max((name for name in ALLOWED if (module + ".").startswith(name + ".")), key=len)
    for name in imported(path):
        if name.split(".")[0] in ALLOWED:
            assert any((name + ".").startswith(allowed + ".") for allowed in ALLOWED[folder]), f"{path} imports {name}"


@pytest.mark.parametrize("path", ["utils/runs.py", "utils/results.py", "utils/tables.py", "utils/files.py",
                                  "utils/export/__init__.py", "utils/export/c_file.py", "utils/export/onnx.py",
                                  "utils/export/picture.py", "utils/export/torch_state.py",
                                  "experiments/paper_tables.py", "experiments/results_page.py",
                                  "experiments/data_sets.py",
                                  "experiments/common/sweep.py", "experiments/common/cluster.py",
                                  "experiments/common/worker.py", "experiments/common/jobs.py"])
def test_tables_of_finished_runs_and_data_need_no_theano(path):
    """Not in their own imports, nor in those of the modules that they import."""
    waiting, seen = [path], set()
    while waiting:
        for name in imported(waiting.pop()):
            assert name.split(".")[0] not in ("theano", "lasagne", "nets"), f"{path} needs {name}"
            for end in (name, name.rpartition(".")[0]):
                file = end.replace(".", os.sep)
                for candidate in (f"{file}.py", os.path.join(file, "__init__.py")):
                    if candidate not in seen and os.path.exists(os.path.join(ROOT, candidate)):
                        seen.add(candidate)
                        waiting.append(candidate)
