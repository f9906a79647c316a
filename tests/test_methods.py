"""Checks that every method passes, on a network with convolution, batch normalization, pooling, dropout, dense layers.

A check makes one claim. A method that fails one by design stands in EXCEPTIONS, with the reason.
"""

import json
import os
import re
import shutil
import tempfile
from types import SimpleNamespace

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer, get_all_layers, get_output
from lasagne.nonlinearities import rectify, softmax

import samples
from data.augmentation import PadCropFlip
from data.dataset import Split
from experiments.common import cli
from experiments.common.experiment import run as run_experiment
from nets import kernels, kl, methods
from nets.layers.batch_norm import BatchNormLayer
from nets.layers.masked import masked_layers
from nets.layers.pool import MaxPool2x2Layer
from nets.methods import METHODS
from nets.methods.base import Step
from nets.params import named_params
from nets.schedules import Constant, LinearWarmUp
from nets.training.loop import fit
from nets.training.trainer import Trainer, seed_generators
from nets.training.warm_start import Weights
from utils import compression, files, runs
from utils.errors import UserError

EPOCHS, BATCH = 3, 20
#: {(method, check): reason}
EXCEPTIONS = {}
#: Values under which a short training prunes something, but not all.
VALUES = {"sparse-vd": dict(log_sigma2=-7.0), "magnitude": dict(ramp=LinearWarmUp(0, 2)),
          "pruning": dict(retraining=LinearWarmUp(1, 3), rounds=2, sparsity=[60.0]),
          "dns": dict(surgery=LinearWarmUp(1, 3), c_rate=[0.5]),
          "l0": dict(spread=2.0), "sws": dict(zero_share=0.5, tau=0.001, span=[-0.4, 0.4], deviation=0.1),
          "sbp": dict(log_sigma=-1.0, threshold=2.6)}


def network(method):
    net = method.conv_layer(InputLayer((None, 1, 8, 8), name="input"), 3, 3, nonlinearity=None, name="conv1")
    net = MaxPool2x2Layer(BatchNormLayer(net, rectify, name="norm1"))
    net = method.dense_layer(method.dropout(net, 0.3), 12, nonlinearity=rectify, name="dense1")
    return method.dense_layer(net, 3, nonlinearity=softmax, name="dense2")


@pytest.fixture(scope="module")
def data():
    """Images of three classes: bright at one of three places."""
    rng = np.random.RandomState(3)

    def split(number):
        labels = rng.randint(0, 3, number).astype("int32")
        images = rng.normal(size=(number, 1, 8, 8)).astype("float32")
        images[np.arange(number), 0, 2 * labels + 1] += 4
        return Split(images, labels)
    return SimpleNamespace(train=split(400), test=split(100))


def make_trainer(name, data, seed=1):
    generator = seed_generators(seed)
    method = methods.make(name, **VALUES.get(name, {}))
    net = network(method)
    if method.needs_start:
        start(net, method, seed)
    return Trainer(net, method, len(data.train.inputs), l2=1e-4), generator


def start(net, method, seed):
    """From weights of which half are pruned."""
    rng = np.random.RandomState(seed)
    with tempfile.TemporaryDirectory() as folder:
        values = {name: param.get_value() for name, param in named_params(network(methods.make("dense"))).items()}
        for name in values:
            if name.endswith(".W"):
                values[name] *= rng.uniform(size=values[name].shape) < 0.5
        files.write_arrays(os.path.join(folder, method.starts_from), values)
        method.start(net, Weights.read(folder, method.starts_from).copy_to(net), set())


def train(trainer, generator, data, run):
    return fit(trainer, data, run, epochs=EPOCHS, batch_size=BATCH, learning_rate=Constant(1e-2), seed=1,
               generator=generator, augmentation=PadCropFlip(1, flip=False))


@pytest.fixture(scope="module", params=list(METHODS))
def trained(request, data, tmp_path_factory):
    """A training that was never interrupted, with the checkpoint after each epoch."""
    name = request.param
    trainer, generator = make_trainer(name, data)
    folder = tmp_path_factory.mktemp(name)
    run = runs.Run(str(folder / "run"), {"settings": {**samples.SETTINGS, "method": {"name": name}}})
    save, checkpoints = run.save_checkpoint, []

    def keep(*arguments):
        save(*arguments)
        checkpoints.append(shutil.copy(run.path("checkpoint.npz"), folder / f"{len(checkpoints) + 1}.npz"))
    run.save_checkpoint = keep
    before = trainer.weights()
    history, completed = train(trainer, generator, data, run)
    assert completed
    run.close()
    return SimpleNamespace(name=name, trainer=trainer, run=run, history=history, before=before, final=trainer.state(),
                           checkpoints=checkpoints, folder=folder)


@pytest.fixture(autouse=True)
def expected_failures(request):
    """Marks what fails by design."""
    if "trained" in request.fixturenames:
        name, check = request.getfixturevalue("trained").name, request.node.originalname
        if (name, check) in EXCEPTIONS:
            request.applymarker(pytest.mark.xfail(strict=True, reason=EXCEPTIONS[name, check]))


def test_it_learns(trained):
    assert trained.history[-1]["train_nll"] < 0.8 * trained.history[0]["train_nll"]
    assert trained.history[-1]["test_error_percent"] < 40


def test_its_network_has_the_dense_networks_parameters(trained):
    def shapes(net, **tags):
        return {name: param.get_value().shape for name, param in named_params(net, **tags).items()}
    assert shapes(trained.trainer.net, training_only=False) == shapes(network(methods.make("dense")))


def test_all_of_its_state_stays_finite(trained):
    for name, array in trained.final.items():
        assert np.isfinite(array).all(), name
    assert any(name.startswith(("adam/", "momentum/")) for name in trained.final)
    assert all(name.split("/")[0] in ("param", "adam", "noise", "method", "momentum") for name in trained.final)


def test_predictions_counts_and_saved_weights_are_of_the_same_weights(trained, data):
    """The dense network that holds the pruned weights predicts the same, bit for bit."""
    trainer = trained.trainer
    trainer.set_state(trained.final, "the end")
    pruned, counted = trainer.pruned_weights(), trainer.count_layers()
    for layer in counted:
        assert layer.nonzero == np.count_nonzero(pruned[f"{layer.name}.W"])
    dense = network(methods.make("dense"))
    for name, param in named_params(dense).items():
        param.set_value(pruned[name])
    x = T.tensor4()
    predict = theano.function([x], get_output(dense, x, deterministic=True))
    own = theano.function([x], get_output(trainer.net, x, deterministic=True))
    np.testing.assert_array_equal(predict(data.test.inputs), own(data.test.inputs))
    labels = predict(data.test.inputs).argmax(1)
    assert trainer.evaluate(data.test).error_percent == pytest.approx(100 * np.mean(labels != data.test.targets))
    assert compression.total(counted).nonzero < compression.total(counted).weights or not trainer.method.prunes


@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_interrupted_it_ends_with_the_same_bits(trained, data, epoch):
    """Another process would begin from other weights and noise: so does this trainer, from those of the end."""
    trainer = trained.trainer
    folder = trained.folder / f"resumed-{epoch}"
    folder.mkdir()
    shutil.copy(trained.run.path("config.json"), folder)
    shutil.copy(trained.checkpoints[epoch - 1], folder / "checkpoint.npz")
    run = runs.Run(str(folder), trained.run.config, resume=True)
    history, _ = train(trainer, np.random.Generator(np.random.PCG64(5)), data, run)
    run.close()
    found = trainer.state()
    assert list(found) == list(trained.final)
    for name, array in trained.final.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert len(history) == EPOCHS
    for one, other in zip(history, trained.history):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_it_starts_from_a_dense_networks_weights(trained, data, tmp_path):
    dense = network(methods.make("dense"))
    rng = np.random.RandomState(1)
    for name, param in named_params(dense).items():
        param.set_value(rng.uniform(0.5, 1.5, param.get_value().shape).astype("float32"))
    values = {name: param.get_value() for name, param in named_params(dense).items()}
    file = trained.trainer.method.starts_from
    files.write_arrays(tmp_path / file, values)
    net = network(trained.trainer.method)
    missing = Weights.read(str(tmp_path), file).copy_to(net)
    assert missing == list(named_params(net, training_only=True))
    assert isinstance(trained.trainer.method.start(net, missing, set()), str)
    for name, value in values.items():
        np.testing.assert_array_equal(named_params(net)[name].get_value(), value)


def test_its_rows_have_its_columns(trained):
    method = trained.trainer.method
    for column in method.columns:
        assert all(np.isfinite(row[column.key]) for row in trained.history)
        format(trained.history[-1][column.key], column.format)
    assert set(method.row(trained.trainer.net)) == {column.key for column in method.columns}
    assert all(row["compression"] == 1 for row in trained.history) or method.prunes


def test_its_values_are_stored_and_restored(trained):
    described = json.loads(json.dumps(methods.described(trained.trainer.method)))
    again = methods.make(**described)
    assert type(again) is METHODS[trained.name] and methods.described(again) == described


def test_values_reach_the_network():
    method = methods.make("sparse-vd", kl_weight=0.25, kl="first-version", train_clip=False, threshold=1.5,
                          log_sigma2_from_weights=-15.0)
    net = network(method)
    term, = method.terms(net)
    assert [term.weight(epoch) for epoch in (0, 12.5, 100)] == [0, 0.125, 0.25]
    layers = [layer for layer in get_all_layers(net) if hasattr(layer, "posterior")]
    assert len(layers) == 3 and not any(layer.train_clip for layer in layers)
    for layer in layers:
        constants = layer.posterior.constants
        assert (constants.threshold, constants.approximation) == (1.5, kl.first_version)
    # Where log sigma^2 is -15, log alpha is -8 at exp(-3.5).
    for layer, size in zip(layers, (0.0303, 0.0301, 0.0301)):
        layer.W.set_value(np.full_like(layer.W.get_value(), size))
    sizes = [layer.W.get_value().size for layer in layers]
    assert method.start(net, ["x"], set()).startswith(
        f", log sigma^2 = -15; {100 * sizes[0] / sum(sizes):.0f} % of the weights have log alpha < -8, ")
    assert method.start(net, ["x"], {"log_sigma2"}) == ", log sigma^2 = -10"
    dropped = network(methods.make("binary-dropout", dropout_rate=0.1))
    assert [layer.p for layer in get_all_layers(dropped) if hasattr(layer, "p")] == [0.1]


@pytest.mark.parametrize("name", ["dense", "sparse-vd", "binary-dropout", "sws"])
def test_the_plain_graph_trains_too(name, data, monkeypatch):
    monkeypatch.setattr(theano.config, "mode", "FAST_COMPILE")      # in Python: compiling takes a minute
    kernels.use_plain_graph(True)
    try:
        trainer, generator = make_trainer(name, data)
        weights = [term.weight(100) for term in trainer.terms]
        losses = [trainer.train_epoch(data.train.batches(BATCH, generator), 1e-2, weights)[0].nll for _ in range(2)]
        assert losses[1] < losses[0]
        assert all(name and np.isfinite(array).all() for name, array in trainer.state().items())
    finally:
        kernels.use_plain_graph(False)


def experiment(*names):
    return cli.Experiment("made_up", ("lenet-300-100",), "digits",
                          {name: dict(learning_rate=Constant(1e-3)) for name in names})


@pytest.mark.parametrize("name", METHODS)
def test_its_flags_have_defaults_and_are_refused_by_other_methods(name, capsys):
    options = cli.parse(experiment(*METHODS), "", ["--method", name])
    assert options.method.name == name and options.flags == {}
    for flag in METHODS[name].flags:
        assert getattr(options.method, flag.name) == flag.default
        if flag.help:
            value = [] if flag.type is bool else [flag.choices[-1] if flag.choices else "0.25"]
            argument = "--no-" + flag.option[2:] if flag.type is bool else flag.option
            changed = cli.parse(experiment(*METHODS), "", ["--method", name, argument, *value])
            assert flag.name in changed.flags
            other = next(other for other in METHODS if flag.name not in [own.name for own in METHODS[other].flags])
            with pytest.raises(SystemExit):
                cli.parse(experiment(*METHODS), "", ["--method", other, argument, *value])
            assert re.search(rf"is a flag of --method (\S+ or )*{name}\b", capsys.readouterr().err)


def test_a_value_that_is_the_scripts_own_counts_where_weights_on_disk_may_say_otherwise(tmp_path):
    def parse(*flags):
        return cli.parse(experiment("sparse-vd"), "", flags)
    assert parse("--log-sigma2=-10").sections() == parse().sections()
    start = "--init-from", "dense"
    assert parse(*start).flags == {} != parse(*start, "--log-sigma2=-10").flags
    typed = parse(*start, "--log-sigma2=-10", "--output", str(tmp_path / "run"))
    assert typed.flags_shown == "--log-sigma2 -10" and typed.sections() != parse(*start).sections()
    runs.Run(typed.folder, {"settings": typed.sections()}).close()
    resumed = parse("--resume", typed.folder)
    assert (resumed.sections(), resumed.flags) == (typed.sections(), typed.flags)


def test_what_is_no_method_is_refused():
    with pytest.raises(ValueError, match="no method 'pruned', only sparse-vd"):
        methods.make("pruned")
    with pytest.raises(ValueError, match="log_sigma2: no value of the method dense"):
        methods.make("dense", log_sigma2=-5)
    with pytest.raises(SystemExit):
        cli.parse(experiment("dense"), "", ["--pretrain", "sparse-vd"])


@pytest.mark.parametrize("flags", [["--variant", "caf\udce9"], ["--caf\udce9"]])
def test_what_is_not_utf_8_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as end:
        cli.parse(experiment("dense"), "", flags)
    line, = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and "caf\\udce9' is not UTF-8" in line


def test_weights_of_the_other_parameterization_are_converted(tmp_path):
    lasagne.random.set_rng(np.random.RandomState(1))
    nets = {kind: network(methods.make("sparse-vd", parameterization=kind, log_sigma2=-4.0))
            for kind in ("additive", "multiplicative")}
    for name, param in named_params(nets["additive"], training_only=True).items():
        param.set_value(np.random.RandomState(2).uniform(-9, -2, param.get_value().shape).astype("float32"))
    for kind, other in (("additive", "multiplicative"), ("multiplicative", "additive")):
        files.write_arrays(tmp_path / "weights.npz", {name: param.get_value() for name, param
                                                      in named_params(nets[kind]).items()})
        target = network(methods.make("sparse-vd", parameterization=other))
        assert Weights.read(str(tmp_path)).copy_to(target) == []
        for mine, theirs in zip(get_all_layers(nets[kind]), get_all_layers(target)):
            if hasattr(mine, "posterior"):
                np.testing.assert_allclose(theirs.posterior.log_alpha.eval(), mine.posterior.log_alpha.eval(),
                                           rtol=1e-5, atol=1e-5)
        nets[other] = target


def test_a_flag_that_a_run_lacks_counts_as_its_default(tmp_path):
    settings = {**samples.SETTINGS, "method": {"name": "sparse-vd"}, "training": {"epochs": 2, "seed": 1}}
    runs.Run(str(tmp_path), {"settings": settings}).close()
    defaults = {"method": {"kl": "paper"}, "training": {"l2": 0.0}}
    newer = {**settings, "method": {"name": "sparse-vd", "kl": "paper"},
             "training": {"epochs": 2, "seed": 1, "l2": 0.0}}
    runs.Run(str(tmp_path), {"settings": newer}, True, defaults).close()
    newer["method"]["kl"] = "first-version"
    with pytest.raises(UserError, match="kl is 'paper' there, not 'first-version'"):
        runs.Run(str(tmp_path), {"settings": newer}, True, defaults)


def test_magnitudes_sparsity_grows_as_published():
    """1 - (1 - t)^3 of the final sparsity, and the largest weights are those that stay."""
    method = methods.make("magnitude", sparsity=[90.0], ramp=LinearWarmUp(0, 100), refreshes=1)
    net = method.dense_layer(InputLayer((None, 50)), 40, nonlinearity=softmax, name="dense1")
    rng = np.random.RandomState(1)
    for epoch, share in ((10, 0.2439), (25, 0.5203125), (50, 0.7875), (75, 0.8859375), (100, 0.9)):
        W = rng.normal(size=(50, 40)).astype("float32")
        net.W.set_value(W)
        method.before_step(net, Step(epoch * 7, epoch, 7, 200, 1))
        mask = net.mask.get_value()
        assert mask.sum() == round(2000 * (1 - share))
        assert abs(W[mask == 1]).min() >= abs(W[mask == 0]).max()
    net.W.set_value(rng.normal(size=(50, 40)).astype("float32"))
    method.before_step(net, Step(150 * 7, 150, 7, 200, 1))      # the mask stays
    np.testing.assert_array_equal(net.mask.get_value(), mask)


def test_a_sparsity_for_each_layer_or_one_for_all():
    net = network(methods.make("magnitude"))
    layers = masked_layers(net)
    assert methods.make("magnitude", sparsity=[50.0]).targets(net) == [(layer, 50.0) for layer in layers]
    several = [50.0 + number for number in range(len(layers))]
    assert methods.make("magnitude", sparsity=several).targets(net) == list(zip(layers, several))


@pytest.mark.parametrize("name, flag", [("magnitude", "--sparsity"), ("pruning", "--sparsity"), ("dns", "--c-rate"),
                                        ("l0", "--l0-weight"), ("sbp", "--kl-weight"), ("sparse-vd", "--structure")])
def test_values_that_do_not_fit_the_network_are_refused_before_anything_is_written(name, flag, tmp_path):
    values = ["neurons"] if flag == "--structure" else ["1", "2"]
    options = cli.parse(experiment(*METHODS), "", ["--method", name, flag, *values, "--output", str(tmp_path / "run")])
    with pytest.raises(UserError, match=f"{flag} (has 2 numbers: give one, or|is of networks of texts)"):
        run_experiment(options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method, flag, value, why", [
    ("sws", "--zero-share", "0", "is no fraction: 0 < X < 1"),
    ("sws", "--zero-share", "1", "is no fraction: 0 < X < 1"),
    ("l0", "--drop-rate", "0", "is no fraction: 0 < X < 1"),
    ("l0", "--l0-weight", "-0.5", "is negative or infinite"),
    ("dense", "--l2", "-1e-3", "is negative or infinite")])
def test_values_without_a_meaning_are_refused(method, flag, value, why, capsys):
    with pytest.raises(SystemExit):
        cli.parse(experiment(*METHODS), "", ["--method", method, flag, value])
    assert f"argument {flag}: {float(value):g} {why}" in capsys.readouterr().err


@pytest.mark.parametrize("steps, epochs", [(7, 1), (7, 2), (7, 3), (7, 7), (3, 1), (1, 2)])
@pytest.mark.parametrize("name", ["magnitude", "pruning"])
def test_however_few_the_epochs_the_sparsity_is_reached(name, steps, epochs):
    schedule = LinearWarmUp(0.3 * epochs, 0.72 * epochs)
    method = methods.make(name, sparsity=[90.0], **{"ramp" if name == "magnitude" else "retraining": schedule})
    net = method.dense_layer(InputLayer((None, 50)), 40, nonlinearity=softmax, name="dense1")
    for number in range(epochs * steps):
        step = Step(number, number // steps, steps, epochs, 1)
        if number % steps == 0:
            method.begin_epoch(net, step)
        if method.before_step:
            method.before_step(net, step)
    assert net.mask.get_value().sum() == 200


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].needs_start])
def test_what_needs_weights_to_start_from_says_so(name, tmp_path):
    options = cli.parse(experiment(*METHODS), "", ["--method", name, "--output", str(tmp_path / "run")])
    with pytest.raises(UserError, match=f"--method {name} goes on from .*--init-from RUN, or --pretrain METHOD"):
        run_experiment(options)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finetuning(data):
    """A trainer of the pruned weights of any method, and its state at first."""
    seed_generators(7)
    method = methods.make("finetune")
    trainer = Trainer(network(method), method, len(data.train.inputs), l2=1e-4)
    return trainer, trainer.state()


def test_any_methods_pruned_weights_can_be_tuned(trained, data, finetuning):
    """Whatever the method was: sparsity stays exactly, pruned weights stay 0, and predictions begin where it ended."""
    trained.trainer.set_state(trained.final, "the end")
    files.write_arrays(trained.folder / "weights_pruned.npz", trained.trainer.pruned_weights())
    error, counted = trained.trainer.evaluate(data.test), trained.trainer.count_layers()
    tuned, at_first = finetuning
    tuned.set_state(at_first, "the start")
    method = tuned.method
    method.start(tuned.net, Weights.read(str(trained.folder), method.starts_from).copy_to(tuned.net), set())
    assert tuned.evaluate(data.test) == error
    before = tuned.pruned_weights()
    before = {name: array.copy() for name, array in before.items()}
    tuned.train_epoch(data.train.batches(BATCH, np.random.default_rng(7)), 1e-3)
    assert tuned.count_layers() == counted
    for name, array in tuned.pruned_weights().items():
        if name.endswith(".W"):
            np.testing.assert_array_equal(array[before[name] == 0], 0)
            assert (array != before[name]).any()
            np.testing.assert_array_equal(tuned.weights()[name], array)
