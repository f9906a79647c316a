import json
import os
import shlex
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from lasagne.layers import InputLayer
from lasagne.nonlinearities import softmax

import reference
import samples
from data.dataset import Split
from nets.methods.base import Group
from nets.methods.dense import Dense
from nets.schedules import Constant, LinearDecay
from nets.tasks import Evaluation
from nets.training import loop
from nets.training.loop import best_epoch, fit
from nets.training.trainer import Trainer
from utils import files, results, runs, tables
from utils.compression import LayerSparsity
from utils.errors import UserError
from utils.interruption import Interruption

SETTINGS = dict(experiment="lenet_300_100", network="lenet-300-100", network_title="LeNet-300-100", k=1.0,
                method={"name": "sparse-vd"}, dataset={"name": "digits"}, training=dict(epochs=2, seed=1))


def open_run(folder, resume=False, **training):
    settings = {**SETTINGS, "training": {**SETTINGS["training"], **training}}
    return runs.Run(str(folder), {"settings": settings, "git_commit": None}, resume)


def train(trainer, digits, run, epochs=2, kl_weight=None, **keywords):
    terms = trainer.terms
    if kl_weight is not None:
        trainer.terms = [term._replace(weight=Constant(kl_weight)) for term in terms]
    try:
        return fit(trainer, digits, run, **{**dict(
            epochs=epochs, batch_size=100, learning_rate=LinearDecay(1e-3, 1, epochs), seed=1,
            generator=np.random.default_rng(1)),
            **keywords})
    finally:
        trainer.terms = terms


def first_examples(digits):
    """One batch."""
    return [(digits.train.inputs[:100], digits.train.targets[:100])]


class Descent(Dense):
    """Whose steps show the gradients, and the factors on the rate."""

    def groups(self, net):
        return [Group([net.W]), Group([net.b], 3.0)]

    def optimizer(self, gradients, params, learning_rate, number, num_examples):
        return {param: param - learning_rate * gradient for param, gradient in zip(params, gradients)}


@pytest.mark.parametrize("l2, clip", [(0.0, None), (0.1, None), (0.1, 0.05), (0.0, 100.0)])
def test_a_step_is_by_the_gradient_of_the_whole_objective(rng, l2, clip):
    W, x = rng.normal(size=(5, 3)).astype("float32"), rng.normal(size=(8, 5)).astype("float32")
    labels = rng.randint(0, 3, 8)
    net = Descent().dense_layer(InputLayer((None, 5)), 3, nonlinearity=softmax, name="dense1")
    net.W.set_value(W)
    Trainer(net, Descent(), 50, l2=l2, clip=clip).train_epoch([(x, labels.astype("int32"))], 0.01)
    p = np.exp(x @ W)
    delta = (p / p.sum(1, keepdims=True) - np.eye(3)[labels]) / 8
    gradients = [x.T @ delta + 2 * l2 * W, delta.sum(0)]
    norm = np.sqrt(sum((gradient ** 2).sum() for gradient in gradients))
    scale = 50 * 0.01 * min(1, (clip or norm) / norm)
    np.testing.assert_allclose(W - net.W.get_value(), scale * gradients[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(-net.b.get_value(), 3 * scale * gradients[1], rtol=1e-3, atol=1e-6)


def test_the_best_epochs_weights_are_taken_back(trainer, digits, tmp_path):
    dataset, kept = SimpleNamespace(train=digits.train, valid=digits.test, test=digits.test), {}
    history, _ = train(trainer, dataset, open_run(tmp_path), kl_weight=0.0, keep_best=True,
                       learning_rate=lambda epoch: (1e-3, 0.3)[epoch],
                       after_epoch=lambda epoch: kept.update({epoch: trainer.weights()}))
    assert best_epoch(history) == 1
    found = trainer.weights()
    for name, value in kept[1].items():
        np.testing.assert_array_equal(found[name], value)
    assert any((found[name] != value).any() for name, value in kept[2].items())


def test_loss_falls_and_the_history_says_so(trainer, digits, tmp_path):
    history, completed = train(trainer, digits, open_run(tmp_path), kl_weight=0.0)
    assert completed and [row["epoch"] for row in history] == [1, 2]
    assert history[1]["train_nll"] < 0.7 * history[0]["train_nll"]
    assert history[1]["test_error_percent"] < history[0]["test_error_percent"] < 60
    assert history[0]["train_loss"] == history[0]["train_nll"]  # no KL yet


def test_the_losses_are_the_lower_bounds_terms(trainer, digits, tmp_path):
    history, _ = train(trainer, digits, open_run(tmp_path), kl_weight=0.25)
    row, num_train = history[-1], len(digits.train.inputs)
    assert row["test_loss"] == pytest.approx(row["test_nll"] + 0.25 * row["kl"] / num_train)
    # KL once more, from the weights alone.
    weights = trainer.weights()
    kl = 0.0
    for layer in ("dense1", "dense2", "dense3"):
        W, log_sigma2 = (weights[f"{layer}.{name}"].astype("float64") for name in ("W", "log_sigma2"))
        kl += reference.kl(W, log_sigma2)
    assert row["kl"] == pytest.approx(kl, rel=1e-4)


def test_every_test_image_counts(trainer, digits):
    """The evaluation in batches is that of numpy on all images, the incomplete batch included."""
    weights, A = trainer.weights(), digits.test.inputs.reshape(355, 784).astype("float64")
    for layer in ("dense1", "dense2", "dense3"):
        W, log_sigma2, b = (weights[f"{layer}.{name}"].astype("float64") for name in ("W", "log_sigma2", "b"))
        A = A @ (W * (log_sigma2 - np.log(W ** 2 + 1e-8) < 3)) + b
        A = np.maximum(A, 0) if layer != "dense3" else A - np.log(np.exp(A).sum(1, keepdims=True))
    found = trainer.evaluate(digits.test)
    assert found.nll == pytest.approx(-A[np.arange(355), digits.test.targets].mean(), rel=1e-4)
    assert found.error_percent == pytest.approx(100 * np.mean(A.argmax(1) != digits.test.targets), abs=0.3)


def test_adam_takes_the_published_first_steps(trainer, digits):
    """At the first step Adam moves each weight by the learning rate against its gradient's sign."""
    before = trainer.weights()
    trainer.train_epoch(first_examples(digits), 1e-3, [1.0])
    for name, value in trainer.weights().items():
        moved = abs(value - before[name])
        assert moved.max() == pytest.approx(1e-3, rel=2e-2), name


def test_the_same_seed_gives_the_same_weights(trainer, digits, tmp_path):
    start = trainer.state()
    weights = []
    for name in "ab":
        trainer.set_state(start, name)
        train(trainer, digits, open_run(tmp_path / name))
        weights.append(trainer.weights())
    trainer.set_state(start, "c")
    train(trainer, digits, open_run(tmp_path / "c"), generator=np.random.default_rng(2))
    for name, value in trainer.weights().items():
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    assert any((weights[0][name] != value).any() for name, value in trainer.weights().items())


def test_training_noise_is_part_of_the_state(trainer, digits):
    start = trainer.state()
    epochs = [trainer.train_epoch(first_examples(digits), 0.0, [0.0])[0].nll for repeat in range(2)]
    trainer.set_state(start, "the start")
    again = trainer.train_epoch(first_examples(digits), 0.0, [0.0])[0].nll
    assert epochs[0] != epochs[1] and epochs[0] == again
    assert [name for name in start if name.startswith("noise/")] == ["noise/dense1", "noise/dense2", "noise/dense3"]


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(trainer, digits, tmp_path):
    run = open_run(tmp_path, epochs=3)

    def learning_rate(epoch):
        return 1e-3 if epoch < 1 else float("nan")

    with pytest.raises(UserError, match="epoch 2; the checkpoint after epoch 1 is kept"):
        train(trainer, digits, run, epochs=3, learning_rate=learning_rate)
    run.close()
    arrays, epoch, history, _ = open_run(tmp_path, resume=True, epochs=3).checkpoint
    assert epoch == len(history) == 1
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_infinite_pixels_stop_the_run_in_the_first_epoch(trainer, digits, tmp_path):
    images = digits.train.inputs.copy()
    images[0] = np.inf
    with pytest.raises(UserError, match="NaN or infinite in epoch 1; no epoch was completed"):
        train(trainer, replace(digits, train=Split(images, digits.train.targets)), open_run(tmp_path))


def test_a_state_of_another_network_is_refused(trainer):
    state = trainer.state()
    for broken in ({name: value for name, value in state.items() if name != "param/dense2.W"},
                   {**state, "param/dense4.W": np.zeros(3, "float32")},
                   {**state, "param/dense1.W": np.zeros((784, 500), "float32")},
                   {**state, "param/dense1.W": state["param/dense1.W"].astype("float64")}):
        with pytest.raises(UserError, match="checkpoint.npz is of another network: it has param/dense"):
            trainer.set_state(broken, "checkpoint.npz")
    np.testing.assert_array_equal(trainer.state()["param/dense1.W"], state["param/dense1.W"])


def changed(folder, change):
    """The checkpoint in a folder with its arrays and its history changed; its bytes."""
    path = folder / "checkpoint.npz"
    arrays = files.read_arrays(path)
    meta = json.loads(str(arrays.pop("meta")))
    change(arrays, meta["history"])
    files.write_arrays(path, {**arrays, "meta": np.array(json.dumps(meta))})
    return path.read_bytes()


@pytest.mark.parametrize("change", [lambda row: row.pop("kl"), lambda row: row.update(other=1.0)])
def test_a_history_of_other_columns_is_not_gone_on_with(trainer, digits, tmp_path, change):
    with open_run(tmp_path) as run:
        train(trainer, digits, run, epochs=1)
    before = changed(tmp_path, lambda arrays, history: change(history[0]))
    with open_run(tmp_path, resume=True) as run, pytest.raises(UserError, match="other columns.* commit that began it"):
        train(trainer, digits, run)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert [row["epoch"] for row in results.history(str(tmp_path))] == [1]


@pytest.mark.parametrize("change", [lambda arrays: arrays.pop("best/dense2.W"),
                                    lambda arrays: arrays.update({"best/dense4.W": np.zeros(3, "float32")}),
                                    lambda arrays: arrays.update({"best/dense2.W": np.zeros(3, "float32")}),
                                    lambda arrays: [arrays.pop(name) for name in list(arrays) if "best/" in name]])
def test_best_weights_of_another_network_are_refused_before_the_first_epoch(trainer, digits, tmp_path, change):
    dataset = SimpleNamespace(train=digits.train, valid=digits.test, test=digits.test)
    with open_run(tmp_path) as run:
        train(trainer, dataset, run, epochs=1, keep_best=True)
    changed(tmp_path, lambda arrays, history: change(arrays))
    told = []
    with open_run(tmp_path, resume=True) as run, pytest.raises(UserError, match="another network: it has best/dense"):
        train(trainer, dataset, run, keep_best=True, after_epoch=told.append)
    assert not told


def test_a_folder_takes_one_run_at_a_time(tmp_path):
    run = open_run(tmp_path)
    with pytest.raises(UserError, match="holds a run already"):
        open_run(tmp_path)
    with pytest.raises(UserError, match="another process is training"):
        open_run(tmp_path, resume=True)
    run.close()
    with pytest.raises(UserError, match="seed is 1 there, not 2"):
        open_run(tmp_path, resume=True, seed=2)
    open_run(tmp_path, resume=True)


def test_a_finished_run_without_its_checkpoint_is_not_trained_again(tmp_path):
    run = open_run(tmp_path)
    run.close()
    files.write_json(tmp_path / "summary.json", {})
    with pytest.raises(UserError, match="finished, and its checkpoint is not there"):
        open_run(tmp_path, resume=True)
    run.save_checkpoint({}, 1, samples.HISTORY[:1], np.random.default_rng(1).bit_generator.state)
    open_run(tmp_path, resume=True).close()


def test_each_signal_is_a_wish_and_the_second_one_ends_at_once():
    told = []
    with Interruption(told.append) as wish:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert told == [1, 2] and wish.asked == 2
    with pytest.raises(KeyboardInterrupt):
        loop._told(2)


def test_runs_of_other_versions_are_refused(tmp_path):
    run = open_run(tmp_path)
    run.save_checkpoint({}, 1, [], {})
    run.close()
    config = files.read_json(tmp_path / "config.json")
    files.write_json(tmp_path / "config.json", {**config, "format": 1, "git_commit": "abc"})
    with pytest.raises(UserError, match="config.json is of another version of this project .format 1.*commit abc"):
        open_run(tmp_path, resume=True)


@pytest.mark.parametrize("plain_graph", [False, True])
def test_what_numbers_depend_on_is_said_where_it_is_another(tmp_path, capsys, plain_graph):
    """Theano's own convolutions sum by thread, the project's do not."""
    settings = {**SETTINGS, "training": {**SETTINGS["training"], "plain_graph": plain_graph}}
    for threads, blas in (("2", "A"), ("2", "A"), ("1", "A"), ("2", "B")):
        environment = {"threads": threads, "blas": blas, "python": threads}
        run = runs.Run(str(tmp_path), {"settings": settings, "environment": environment}, resume=True)
        run.close()
        said = capsys.readouterr().out
        assert ("threads was 2, now 1" in said) == (threads == "1" and plain_graph)
        assert ("blas was A, now B" in said) == (blas == "B") and "python" not in said


def test_a_resumed_run_tells_where_it_began_and_went_on(tmp_path):
    for commit in ("a", "b", "c"):
        run = runs.Run(str(tmp_path), {"settings": SETTINGS, "git_commit": commit}, resume=commit != "a")
        run.close()
    assert run.config["git_commit"] == "a"
    assert run.config["resumed"] == [{"git_commit": "b"}, {"git_commit": "c"}]
    assert run.config["format"] == runs.FORMAT
    assert files.read_json(tmp_path / "config.json") == run.config


def test_the_command_can_be_repeated(monkeypatch):
    monkeypatch.setattr("sys.argv", ["experiments/lenet_300_100.py", "--variant", "Bob's JPEG q75", "--seed", "2"])
    assert shlex.split(runs.provenance()["command"])[1:] == ["--variant", "Bob's JPEG q75", "--seed", "2"]


def test_what_comes_after_an_epoch_comes_again_when_the_run_goes_on(trainer, digits, tmp_path):
    told = []

    def stop(epoch):
        told.append(epoch)
        if epoch == 1:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        train(trainer, digits, open_run(tmp_path), epochs=2, after_epoch=stop)
    train(trainer, digits, open_run(tmp_path, resume=True), epochs=2, after_epoch=told.append)
    assert told == [0, 1, 1, 2]


def test_the_rows_are_aligned_under_their_header():
    row = dict(epoch=1, learning_rate=1e-3, kl_weight=0.5, train_loss=1.0, test_loss=2.0, train_error_percent=3.0,
               test_error_percent=4.0, kl=123456.7, sparsity_percent_dense1=99.5, sparsity_percent_out=1.0,
               compression=float("inf"), seconds=3.2)
    header, line = tables.EpochTable(200, [("kl", "KL")], prunes=True).line(row).split("\n")
    assert len(header) == len(line)
    assert line.split() == ["1/200", "1.0e-03", "0.50", "1.0000", "2.0000", "3.00", "4.00", "123457", "99.5", "1.0",
                            "inf", "3.2"]


def test_rows_of_methods_that_prune_nothing_have_no_columns_for_it():
    row = dict(epoch=1, learning_rate=1e-3, train_loss=1.0, test_loss=2.0, train_error_percent=3.0,
               test_error_percent=4.0, sparsity_percent_dense1=0.0, compression=1.0, seconds=3.2)
    header, line = tables.EpochTable(200).line(row).split("\n")
    assert "KL" not in header and "compr." not in header and "dense1" not in header and len(header) == len(line)


def test_rows_of_many_layers_have_one_column_for_their_sparsity():
    row = dict(epoch=1, learning_rate=1e-3, kl_weight=1.0, train_loss=1.0, test_loss=2.0, train_error_percent=3.0,
               test_error_percent=4.0, kl=5.0, compression=4.0, seconds=3.2,
               **{f"sparsity_percent_conv{number}": 75.0 for number in range(15)})
    header, line = tables.EpochTable(200, [("kl", "KL")], prunes=True).line(row).split("\n")
    assert "conv3" not in header and "sparsity%" in header and "75.00" in line and len(header) == len(line)


def test_the_final_table_stands_beside_the_papers():
    summary = dict(network="lenet-300-100", k=1.0, network_title="LeNet-300-100", method="sparse-vd",
                   method_title="SparseVD", dataset_title="mnist", test_error_percent=1.5,
                   final_train_error_percent=0.25, compression=100.4,
                   sparsity_percent=dict(dense1=99.0, dense2=98.0, dense3=50.0))
    lines = tables.final_table(summary).splitlines()
    assert "1.50" in lines[2] and "0.25" in lines[2] and "99.0 - 98.0 - 50.0" in lines[2] and "100x" in lines[2]
    assert "paper" in lines[3] and "1.92" in lines[3] and "98.9 - 97.2 - 62.0" in lines[3] and "68x" in lines[3]


def test_a_wholly_pruned_net_is_reported():
    last = dict(train_error_percent=90.0, seconds=1.0)
    summary = tables.summarize([last], [LayerSparsity("dense1", 10, 0)], Evaluation(2.3, 90.0), Evaluation(2.3, 90.0))
    assert summary["compression"] is None and summary["compression_by_layer"] == {"dense1": None}
    assert summary["sparsity_percent_total"] == 100 and summary["sparsity_percent"] == {"dense1": 100.0}
    titles = dict(network="lenet-300-100", k=1.0, network_title="LeNet-300-100", method="sparse-vd",
                  method_title="SparseVD", dataset_title="mnist")
    assert "all pruned" in tables.final_table({**summary, **titles})
