"""The version stands in one place, and what else names it agrees."""

import os
import re

import pytest

from conftest import ROOT
from utils import runs
from utils.version import VERSION


@pytest.mark.parametrize("name, pattern", [("CITATION.cff", r"^version: (.+)$"), ("CHANGELOG.md", r"^## (\d\S+)")])
def test_other_files_name_the_same_version(name, pattern):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        assert re.search(pattern, file.read(), re.MULTILINE)[1] == VERSION


def test_a_run_says_which_version_it_is_of():
    assert runs.provenance()["version"] == VERSION
