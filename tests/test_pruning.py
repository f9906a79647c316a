"""Pruning in rounds."""

import numpy as np
import pytest
from lasagne.layers import InputLayer
from lasagne.nonlinearities import softmax

from nets import methods
from nets.methods.base import Step
from nets.methods.pruning import prune
from nets.schedules import DroppingDecay, LinearWarmUp
from nets.training.trainer import Trainer, seed_generators


def one_layer(method, inputs=100, units=80):
    return method.dense_layer(InputLayer((None, inputs), name="input"), units, nonlinearity=softmax, name="dense1")


def epoch(number, epochs=140):
    return Step(7 * number, number, 7, epochs, 1)


def test_rounds_begin_evenly_and_end_at_the_published_sparsity(rng):
    """Round r of R: 1 - (1 - p)^(r/R)."""
    method = methods.make("pruning", sparsity=[92.0], retraining=LinearWarmUp(40, 140), rounds=5)
    assert [next(number for number in range(140) if method.rounds_until(number) == due) for due in range(6)] == [
        0, 40, 60, 80, 100, 120]
    net = one_layer(method)
    kept = {}
    for number in range(140):
        net.W.set_value(net.W.get_value() + rng.normal(size=(100, 80)).astype("float32") * net.mask.get_value())
        method.begin_epoch(net, epoch(number))
        kept[number] = net.mask.get_value().sum()
        assert np.count_nonzero(net.W.get_value()) == kept[number]
    assert [kept[number] for number in (39, 40, 60, 80, 100, 120, 139)] == [8000] + [
        round(8000 * 0.08 ** (r / 5)) for r in (1, 2, 3, 4, 5, 5)]
    assert method.row(net)["pruning_round"] == 5


def test_the_threshold_is_a_quantile(rng):
    """For normal weights q = 1.7507 leaves out 92 %."""
    method = methods.make("pruning")
    net = one_layer(method, 1000, 400)
    W = rng.normal(scale=0.3, size=(1000, 400)).astype("float32")
    net.W.set_value(W)
    assert prune(net, 0.08) == pytest.approx(1.7507, abs=0.01)
    kept = net.mask.get_value() == 1
    assert kept.sum() == 32000 and abs(W[kept]).min() >= abs(W[~kept]).max()
    np.testing.assert_array_equal(net.W.get_value(), np.where(kept, W, 0))


def test_nothing_is_pruned_by_a_sparsity_of_0(rng):
    net = one_layer(methods.make("pruning"))
    W = net.W.get_value()
    prune(net, 1.0)
    np.testing.assert_array_equal(net.W.get_value(), W)
    assert (net.mask.get_value() == 1).all()


def test_a_layer_may_lose_all_of_its_weights():
    net = one_layer(methods.make("pruning"), 2, 2)
    assert prune(net, 0.0) == 0 and prune(net, 0.0) == 0
    assert not net.mask.get_value().any()


def test_pruned_weights_stay_exactly_0_and_never_return(rng):
    """L2 and the averages of Adam from before would move them."""
    seed_generators(1)
    method = methods.make("pruning", sparsity=[75.0], retraining=LinearWarmUp(1, 3), rounds=2)
    net = one_layer(method, 10, 4)
    trainer = Trainer(net, method, 60, l2=0.1)
    images, labels = rng.normal(size=(60, 10)).astype("float32"), rng.randint(0, 4, 60).astype("int32")
    before = np.ones((10, 4))
    for number in range(3):
        method.begin_epoch(net, epoch(number, 3))
        for _ in range(4):
            trainer.train_epoch([(images, labels)], 0.05)
            W, mask = net.W.get_value(), net.mask.get_value()
            assert not W[mask == 0].any() and (mask <= before).all() and W[mask == 1].all()
            before = mask
    assert mask.sum() == 10


def test_unpruned_it_is_the_dense_network(rng):
    images, labels = rng.normal(size=(60, 10)).astype("float32"), rng.randint(0, 4, 60).astype("int32")
    found = []
    for name in ("dense", "pruning"):
        seed_generators(1)
        method = methods.make(name)
        trainer = Trainer(one_layer(method, 10, 4), method, 60, l2=0.1)
        for _ in range(5):
            trainer.train_epoch([(images, labels)], 0.05)
        found.append(trainer.pruned_weights())
    for name, array in found[0].items():
        np.testing.assert_array_equal(found[1][name], array, err_msg=name)


def test_retraining_is_at_a_tenth_of_the_rate():
    rate = DroppingDecay(1e-3, drop=40, begin=120, end=140)
    assert [rate(epoch) for epoch in (0, 39, 40, 120)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    assert rate(130) == pytest.approx(5e-5) and rate.stretched(2)(260) == rate(130) and rate(140) == 0
