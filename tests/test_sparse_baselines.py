import json
from types import SimpleNamespace

import numpy as np
import pytest

from data import Dataset, Split
from experiments.common import baselines


@pytest.fixture
def dataset(rng):
    """Three classes, told apart by the first 2 of 12 features."""
    def draw(count):
        labels = rng.randint(0, 3, count).astype("int32")
        images = 0.3 * rng.normal(size=(count, 12))
        images[:, :2] += np.array([[1, 0], [-1, 1], [0, -1]])[labels]
        return images.astype("float32").reshape(count, 1, 3, 4), labels
    return Dataset("clusters", "clusters", Split(*draw(500)), Split(*draw(200)), num_classes=3, fingerprint="",
                   transform=None)


def compare(folder, dataset):
    run = SimpleNamespace(folder=str(folder), path=lambda name: str(folder / name),
                          config={"settings": {"training": {"epochs": 2}}})
    baselines.fit(1, run, None, dataset)
    assert not (folder / "baselines.json").exists()
    baselines.fit(2, run, None, dataset)
    baselines.show(run, dataset)


@pytest.mark.parametrize("classifier", [baselines.l1, baselines.ard])
def test_classifiers_find_the_features_that_matter(dataset, classifier):
    found = classifier(dataset)
    assert found["test_accuracy"] > 0.95 and 20 < found["sparsity_percent"] < 95


def test_ard_is_left_out_where_it_takes_hours(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(baselines, "FEW_IMAGES", 400)
    (tmp_path / "summary.json").write_text(json.dumps(dict(method_title="SparseVD", test_error_percent=4.5,
                                                           sparsity_percent_total=66.6)))
    compare(tmp_path, dataset)
    output = capsys.readouterr().out
    assert "ARD is left out" in output and "400 images" in output
    found = json.loads((tmp_path / "baselines.json").read_text())
    assert list(found) == ["L1, scikit-learn"] and found["L1, scikit-learn"]["test_accuracy"] > 0.95


def test_results_stand_beside_the_runs(dataset, tmp_path, capsys):
    (tmp_path / "summary.json").write_text(json.dumps(dict(method_title="SparseVD", test_error_percent=4.5,
                                                           sparsity_percent_total=66.6)))
    compare(tmp_path, dataset)
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split() == ["SparseVD", "0.955", "66.6"]
    found = json.loads((tmp_path / "baselines.json").read_text())
    for line, result in zip(lines[5:7], found.values(), strict=True):
        assert f"{result['test_accuracy']:.3f}" in line and f"{result['sparsity_percent']:.1f}" in line
