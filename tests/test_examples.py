"""What the documents show, run: README's lines of Python, and experiments/step_by_step.py, both shortened."""

import os
import re
import subprocess
import sys

import scripts
from conftest import ROOT


def test_the_readmes_python_runs():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        code, = re.findall(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)
    assert "range(40)" in code
    short = code.replace("range(40)", "range(2)")
    result = subprocess.run([sys.executable, "-c", short], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"[\d.]+ % wrong\n(dense\d: [\d.]+ % of [\d,]+ weights pruned\n){3}", result.stdout)


def test_step_by_step_runs(tmp_path):
    result = scripts.run("step_by_step", cwd=tmp_path, SPARSEVD_EPOCHS="2", SPARSEVD_DATA=str(tmp_path))
    assert result.returncode == 0, result.stderr
    pictures = ["data.png", "kl.png", "log_alpha.png", "masks.png", "training.png"]
    assert sorted(os.listdir(tmp_path / "results" / "step_by_step")) == pictures
    # numpy and scipy predict as the pruned network does.
    threshold = next(line for line in result.stdout.split("\n") if line.startswith("        3 "))
    assert f"error with sparse matrices: {threshold.split()[1]} %" in result.stdout
