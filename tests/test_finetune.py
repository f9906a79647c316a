"""Fine-tuning through the scripts' common code."""

import numpy as np
import pytest

from experiments.common import cli
from experiments.common.experiment import run
from nets.schedules import Constant, LinearDecay
from utils import files, results
from utils.errors import UserError

EXPERIMENT = cli.Experiment("made_up", ("lenet-300-100",), "digits", epochs=4, methods={
    "sparse-vd": dict(learning_rate=Constant(1e-3), log_sigma2=-7.0),
    "finetune": dict(epochs=3, learning_rate=LinearDecay(1e-4, 0, 3))})


def train(*arguments, after_epoch=None):
    return run(cli.parse(EXPERIMENT, "", [*arguments]), after_epoch)[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / "run"
    train("--method", "finetune", "--pretrain", "sparse-vd", "--output", str(folder))
    return folder


def test_after_sparse_vd_in_one_command(pair):
    source, tuned = (results.read_summary(str(folder)) for folder in (f"{pair}-sparse-vd", pair))
    assert tuned["nonzero"] == source["nonzero"] and 1.2 < tuned["compression"] == source["compression"]
    assert (tuned["start"], tuned["epochs"], source["epochs"]) == ("sparse-vd", 3, 4)
    assert "weights_pruned.npz (SparseVD), what is pruned there stays pruned; " in (pair / "log.txt").read_text()
    before, after = (files.read_arrays(f"{folder}/weights_pruned.npz") for folder in (f"{pair}-sparse-vd", pair))
    for name, array in before.items():
        if name.endswith(".W"):
            np.testing.assert_array_equal(array == 0, after[name] == 0)


@pytest.mark.parametrize("place", ["", "/weights_pruned.npz"])
def test_from_a_folder_or_a_file_and_resumed_it_is_the_same_bit_for_bit(pair, tmp_path, place):
    def interrupt(epoch, *arguments):
        if epoch == 2:
            raise KeyboardInterrupt
    folder = str(tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        train("--method", "finetune", "--init-from", f"{pair}-sparse-vd{place}", "--output", folder,
              after_epoch=interrupt)
    train("--resume", folder)
    for file in ("weights.npz", "weights_pruned.npz"):
        expected, found = files.read_arrays(pair / file), files.read_arrays(f"{folder}/{file}")
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_unpruned_weights_of_another_method_are_refused(pair, tmp_path):
    with pytest.raises(UserError, match="dense1.log_sigma2 .*weights_pruned.npz fits any method"):
        train("--method", "finetune", "--init-from", f"{pair}-sparse-vd/weights.npz", "--output", str(tmp_path / "no"))
