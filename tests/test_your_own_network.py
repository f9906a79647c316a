"""docs/your-own-network.md: its code runs as it stands there."""

import os
import re
import subprocess
import sys

import pytest

from conftest import ROOT


def test_the_pages_code_runs(tmp_path):
    for name in ("constriction", "safetensors"):
        pytest.importorskip(name, reason=f"{name} is not installed (requirements-export.txt)")
    with open(os.path.join(ROOT, "docs", "your-own-network.md"), encoding="utf-8") as file:
        code = "\n".join(re.findall(r"```python\n(.*?)```", file.read(), re.S))
    (tmp_path / "mine.py").write_text(code)
    result = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600,
                            env={**os.environ, "PYTHONPATH": ROOT})
    assert result.returncode == 0, result.stderr
    errors = [float(found) for found in re.findall(r"error of .*: ([\d.]+) %", result.stdout)]
    assert len(errors) == 2 and abs(errors[0] - errors[1]) < 3, result.stdout
    assert errors[0] < 20 and (tmp_path / "mine.c").exists(), result.stdout
    assert (tmp_path / "mine.safetensors").stat().st_size < 4000
