"""Logs of the original, made from the description of their format, and the script that compares."""

import os

import numpy as np
import pytest
from PIL import Image

import scripts
from utils import files, original_format
from utils.errors import UserError

HEADER = ("epo        upd       lr  beta    tr_loss      tr_nll  tr_acc    te_loss     te_nll  te_acc        reg    "
          "rw  ard                         sec")
ROW = ("{epoch:03d}/200    600  1.0e-03  '0.90   '21426.352  -3.6e+01  '{train:.3f}   '1354.124  -1.4e+01  "
       "'{test:.3f}   0.0e+00  '0.25  {ard}      4")


def log(rows, header=HEADER):
    return "\n".join(["lr: 0.001", "batch: 100", "", "layer  size", "fc     235200", "", header, *rows, "",
                      "save model: experiments/weights/mnist-lenet-300-100-1.0-abc.npy",
                      "acc 98.08000183105469 compr_w = 0.97, compr_full = 0.94"])


def rows(count, ard="[0.2373, 0.1550, 0.1030]"):
    return [ROW.format(epoch=epoch, train=0.893 + epoch / 100, test=0.958, ard=ard) for epoch in range(count)]


def test_a_log_is_read(tmp_path):
    (tmp_path / "log.txt").write_text(log(rows(3)))
    found = original_format.read_log(str(tmp_path / "log.txt"))
    assert [row["epoch"] for row in found] == [1, 2, 3]
    assert found[0] == dict(epoch=1, learning_rate=1e-3, kl_weight=0.25, seconds=4.0,
                            train_error_percent=pytest.approx(10.7), test_error_percent=pytest.approx(4.2),
                            sparsity_percent=pytest.approx((23.73, 15.5, 10.3)))


def test_a_dense_networks_log_and_one_without_header_are_read(tmp_path):
    (tmp_path / "log.txt").write_text("\n".join(rows(2, ard="[]")))
    assert [row["sparsity_percent"] for row in original_format.read_log(str(tmp_path / "log.txt"))] == [(), ()]


@pytest.mark.parametrize("content, text", [
    ("", "is not a log"), (log([]), "is not a log"), (log(["000/200 600 1.0e-03"]), "log.txt, line 8, is no row"),
    (log(rows(1)).replace("'0.958", "'?"), "line 8, is no row"),
    (log(rows(1)).replace("'0.958", "'1.958"), "line 8, is no row.*not between 0 and 1"),
    (log(rows(1, ard="[0.2373, -0.1]")), "line 8, is no row.*not between 0 and 1"),
    (log([*rows(2), *rows(1, ard="[0.2373]")]), "damaged: line 10")])
def test_what_is_no_log_is_refused_by_name(tmp_path, content, text):
    (tmp_path / "log.txt").write_text(content)
    with pytest.raises(UserError, match=text):
        original_format.read_log(str(tmp_path / "log.txt"))
    with pytest.raises(UserError, match="missing.txt cannot be read"):
        original_format.read_log(str(tmp_path / "missing.txt"))


@pytest.fixture(scope="module")
def compare(tmp_path_factory):
    """compare(*flags) -> CompletedProcess, in a folder with a finished run."""
    folder = tmp_path_factory.mktemp("compare")

    def start(name, *flags):
        return scripts.run(name, *flags, cwd=folder)
    trained = start("lenet_300_100", "--dataset", "digits", "--epochs", 2, "--output", "run")
    assert trained.returncode == 0, trained.stderr

    def compare(*flags, run="run"):
        return start("compare_original", "--run", run, *flags)
    compare.folder = folder
    return compare


def test_a_log_stands_beside_the_run(compare):
    (compare.folder / "log.txt").write_text(log(rows(2)))
    result = compare("--log", "log.txt")
    assert result.returncode == 0, result.stderr
    theirs = next(line for line in result.stdout.splitlines() if "the original's log, epoch 2" in line)
    # Weights / non-zero weights of LeNet-300-100 at 23.73, 15.5 and 10.3 %.
    kept = 235200 * (1 - 0.2373) + 30000 * (1 - 0.155) + 1000 * (1 - 0.103)
    assert "4.20" in theirs and "23.7 - 15.5 - 10.3" in theirs and f"{266200 / kept:.1f}x" in theirs
    by_epoch = [line.split() for line in result.stdout.splitlines() if line.split()[:1] in (["1"], ["2"])]
    history = (compare.folder / "run" / "history.csv").read_text().splitlines()
    ours = float(history[2].split(",")[history[0].split(",").index("test_error_percent")])
    assert float(by_epoch[1][1]) == pytest.approx(ours, abs=0.01) and by_epoch[1][2] == "4.20"
    with Image.open(compare.folder / "comparison.png") as picture:
        assert picture.width > 1000


def test_our_weights_exported_are_evaluated_as_we_did(compare):
    assert compare("--export", "ours.npy").returncode == 0
    arrays = np.load(compare.folder / "ours.npy", allow_pickle=True)
    weights = files.read_arrays(compare.folder / "run" / "weights.npz")
    names = [f"dense{layer}.{name}" for layer in (1, 2, 3) for name in ("W", "b", "log_sigma2")]
    for name, array in zip(names, arrays, strict=True):
        np.testing.assert_array_equal(array, weights[name])

    result = compare("--weights", "ours.npy")
    ours, *_, theirs = result.stdout.splitlines()[2:]
    assert "ours, run" in ours and "the original's weights, evaluated here" in theirs
    assert ours.split()[-7:] == theirs.split()[-7:]


def test_a_run_with_masks_is_exported_as_a_dense_network(compare):
    """Not with its masks in the place of log sigma^2."""
    trained = scripts.run("lenet_300_100", "--method", "magnitude", "--dataset", "digits", "--epochs", 1, "--output",
                          "masked", cwd=compare.folder)
    assert trained.returncode == 0 and compare("--export", "masked.npy", run="masked").returncode == 0
    arrays = np.load(compare.folder / "masked.npy", allow_pickle=True)
    pruned = files.read_arrays(compare.folder / "masked" / "weights_pruned.npz")
    for name, array in zip([f"dense{layer}.{name}" for layer in (1, 2, 3) for name in ("W", "b")], arrays, strict=True):
        np.testing.assert_array_equal(array, pruned[name])

    # A dense file beside a SparseVD run: nothing of it is pruned that is not 0.
    *_, theirs = compare("--weights", "masked.npy").stdout.splitlines()
    ours = compare("--weights", "masked.npy", run="masked").stdout.splitlines()
    assert [line.split()[-7:] for line in ours if "ours, " in line] == [theirs.split()[-7:]]


def test_a_hostile_weight_file_is_refused(compare):
    class Hostile:
        def __reduce__(self):
            return os.system, ("touch executed",)
    values = np.empty(1, dtype=object)
    values[0] = Hostile()
    np.save(compare.folder / "hostile.npy", values)
    result = compare("--weights", "hostile.npy")
    assert result.returncode == 1 and "hostile.npy asks for" in result.stderr and "refused" in result.stderr
    assert not (compare.folder / "executed").exists()


@pytest.mark.parametrize("flags, text", [
    ((), "nothing to compare"), (("--log", "log.txt", "--run", "nowhere"), "nowhere is not the folder of a finished"),
    (("--log", "other.txt"), "sparsity of 2 layers, the run has 3")])
def test_what_cannot_be_compared_gets_one_line(compare, flags, text):
    (compare.folder / "log.txt").write_text(log(rows(2)))
    (compare.folder / "other.txt").write_text(log(rows(2, ard="[0.1, 0.2]")))
    result = compare(*flags)
    assert result.returncode == 1 and text in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_run_without_its_weights_cannot_be_exported(compare):
    (compare.folder / "bare").mkdir()
    for name in ("summary.json", "config.json"):
        (compare.folder / "bare" / name).write_text((compare.folder / "run" / name).read_text())
    result = compare("--export", "x.npy", run="bare")
    assert result.returncode == 1 and "bare holds no weights.npz" in result.stderr
