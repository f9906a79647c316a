"""What every kernel must do: a line an operation, a function a claim, and each claim about each operation.

What is particular to one of them is in test_kernel_<name>.py.
"""

import contextlib
import itertools
import os
from types import SimpleNamespace
from collections import namedtuple
from functools import lru_cache

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import InputLayer
from lasagne.nonlinearities import identity, rectify, softmax
from theano.configparser import change_flags

from conftest import QUICK, GivenNoise
from nets import kernels, kl, methods
from nets.kernels.base import CppOp
from nets.layers.batch_norm import BatchNormLayer
from nets.layers.conv import Convolution
from nets.layers.pool import MaxPool2x2Layer
from nets.layers.sparse_vd import SparseVDConv2DLayer, SparseVDDenseLayer
from nets.sparsity import weight_layers
from nets.training.trainer import Trainer, seed_generators

#: make : callable(operands) of one or more results. batched : how many operands have the batch as their first axis.
#: shapes : of the operands. constant : the numbers of those that have no gradients.
Operation = namedtuple("Operation", "make batched shapes constant", defaults=((),))

GEOMETRY = Convolution((None, 4, 10, 9), 13, (3, 2), (2, 2), (1, 2))
PLANES = 3 * [(4, 5, 6, 7)] + [(5,)]


def sample(nonlinearity):
    # Not of the inputs themselves, which must not be overwritten.
    return lambda mean, deviation, noise, b: kernels.sample(2 * mean, T.sqr(deviation), noise, b, 1e-8, nonlinearity)


def batch_norm(nonlinearity):
    return lambda x, gamma, beta: kernels.batch_norm(x, gamma, beta, 1e-3, nonlinearity)[0]


def posterior(*constants):
    """Of theta and of what log alpha is a multiple of: on both sides of the threshold and of the clips."""
    def make(theta, scaled):
        return kernels.posterior(theta, 5 * scaled + T.log(T.sqr(theta) + 1e-8),
                                 kernels.PosteriorConstants(3.0, 8.0, 1e-8, *constants))
    return make


def adam(param, gradient, mean, square, rate):
    """A later step, with its state as operands."""
    shared = theano.shared(np.zeros((1,) * param.ndim, param.dtype), broadcastable=param.broadcastable)
    updates = kernels.adam([gradient], [shared], rate)
    *averages, steps = (variable for variable in updates if variable is not shared)
    given = {**dict(zip(averages, (mean, T.sqr(square)))), shared: param, steps: T.constant(3, dtype=param.dtype)}
    return theano.clone([updates[shared], *(updates[average] for average in averages)], replace=given)


def mixture(weights, means, logs, constants):
    return kernels.mixture_negative_log(weights, means, T.exp(logs), constants)


def lstm(x, h0, c0, w, hard=False):
    return kernels.lstm(x, w, h0, c0, hard=hard)[0]


def scaled_lstm(x, h0, c0, z_gates, z_outputs, w):
    """With all that there is; every other sequence has a step that is masked, not among those of `test_nan_stays`."""
    masked = T.eq(T.arange(x.shape[0]) % 2, 0).dimshuffle(0, "x") * T.eq(T.arange(x.shape[1]), 2)
    mask = T.cast(1 - masked, x.dtype)
    return kernels.lstm(x, w, h0, c0, mask, z_gates, z_outputs)[0]


SEQUENCES = [(29, 4, 20), (29, 5), (29, 5)]
OPERATIONS = {
    "dense": Operation(kernels.dense, 1, [(37, 33), (33, 49)]),
    "dense pair": Operation(kernels.dense_pair, 1, [(37, 33), (33, 49), (33, 49)]),
    "conv": Operation(lambda x, w: kernels.conv(x, w, GEOMETRY), 1, [(7, 4, 10, 9), (13, 4, 3, 2)]),
    "conv pair": Operation(lambda x, w, v: kernels.conv_pair(x, w, v, GEOMETRY), 1,
                           [(7, 4, 10, 9), (13, 4, 3, 2), (13, 4, 3, 2)]),
    "sample": Operation(sample(identity), 3, 3 * [(12, 33)] + [(33,)], (2,)),
    "sample, rectified": Operation(sample(rectify), 3, PLANES, (2,)),
    "batch norm": Operation(batch_norm(identity), 1, [(20, 33), (33,), (33,)]),
    "batch norm, rectified": Operation(batch_norm(rectify), 1, [(6, 5, 7, 9), (5,), (5,)]),
    "max pool": Operation(kernels.max_pool_2x2, 1, [(7, 3, 5, 9)]),
    "posterior": Operation(posterior(), 2, 2 * [(31, 7)]),
    "posterior, train_clip": Operation(posterior(False, False, kl.first_version), 2, 2 * [(31, 7)]),
    "mixture": Operation(mixture, 1, [(53,), (5,), (5,), (5,)]),
    "lstm": Operation(lstm, 3, [*SEQUENCES, (5, 20)]),
    "lstm, hard": Operation(lambda *operands: lstm(*operands, hard=True), 3, [*SEQUENCES, (5, 20)]),
    "lstm, scaled": Operation(scaled_lstm, 5, [*SEQUENCES, (29, 20), (29, 5), (5, 20)]),
    "adam": Operation(adam, 4, [*4 * [(31, 7)], ()], range(5)),
}


@lru_cache(maxsize=None)
def compiled(name, dtype="float64", plain=False, in_place=True):
    """A function of the operands: the results, and the gradients of the sum of log(1 + result^2)."""
    operation = OPERATIONS[name]
    # Where floatX is float32, Theano rounds the plain graph's constants.
    # The mode is that of scan's loop: in Python.
    with change_flags(floatX=dtype, mode="FAST_COMPILE"), kernels.plain() if plain else contextlib.nullcontext():
        inputs = [T.TensorType(dtype, (False,) * len(shape))() for shape in operation.shapes]
        results = operation.make(*inputs)
        results = list(results) if isinstance(results, (list, tuple)) else [results]
        wanted = [variable for number, variable in enumerate(inputs) if number not in operation.constant]
        cost = sum(T.sum(T.log1p(T.sqr(result))) for result in results)
        return theano.function(inputs, [*results, *(T.grad(cost, wanted) if wanted else [])],
                               mode=QUICK if in_place else QUICK.excluding("inplace"))


def operands(name, factor=1, dtype="float64"):
    """Random numbers; the batch is `factor` times as long as in the table."""
    operation, rng = OPERATIONS[name], np.random.RandomState(3)
    return [np.asarray(rng.normal(size=(factor * shape[0], *shape[1:]) if number < operation.batched else shape), dtype)
            for number, shape in enumerate(operation.shapes)]


def assert_same_bits(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=OPERATIONS)
def name(request):
    return request.param


def test_float64_is_the_plain_graphs(name):
    values = operands(name)
    for found, expected in zip(compiled(name)(*values), compiled(name, plain=True)(*values), strict=True):
        assert found.dtype == "float64" and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_float32_errs_at_most_twice_as_much_as_the_plain_graph(name):
    values = operands(name, dtype="float32")
    exact = compiled(name, plain=True)(*(value.astype("float64") for value in values))
    plain = compiled(name, "float32", plain=True)(*values)
    for found, other, expected in zip(compiled(name, "float32")(*values), plain, exact, strict=True):
        assert found.dtype == "float32"
        rounding = 4 * np.finfo("float32").eps * np.abs(expected).max()
        assert np.abs(found - expected).max() <= 2 * np.abs(other - expected).max() + rounding


def test_gradients_are_finite_differences(name):
    operation, values, rng = OPERATIONS[name], operands(name), np.random.RandomState(4)
    number = len(operation.shapes) - len(operation.constant)
    if not number:
        pytest.skip("has no gradients")
    outputs = compiled(name)(*values)
    directions = [rng.normal(size=value.shape) * (place not in operation.constant)
                  for place, value in enumerate(values)]
    varied = [direction for place, direction in enumerate(directions) if place not in operation.constant]
    expected = sum(np.sum(gradient * direction) for gradient, direction in zip(outputs[-number:], varied, strict=True))
    step = 1e-7

    def cost(sign):
        moved = [value + sign * step * direction for value, direction in zip(values, directions)]
        return sum(np.sum(np.log1p(result ** 2)) for result in compiled(name)(*moved)[:-number])
    assert (cost(1) - cost(-1)) / (2 * step) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("turn", [lambda value: value.copy(order="F"), lambda value: np.flip(np.flip(value).copy())],
                         ids=["columns first", "backwards"])
def test_operands_may_lie_anyhow_in_memory(name, turn):
    values = operands(name)
    assert_same_bits(compiled(name)(*map(turn, values)), compiled(name)(*values))


def test_an_empty_batch(name, request):
    if name.startswith("batch norm"):
        request.applymarker(pytest.mark.xfail(strict=True, reason="the mean of no numbers is NaN"))
    for found, expected in zip(compiled(name)(*operands(name, 0)), compiled(name)(*operands(name)), strict=True):
        assert found.size == 0 and found.ndim == expected.ndim or found.shape == expected.shape and not found.any()


def test_every_kernel_is_among_the_operations():
    """But for the normal numbers, which are made of none."""
    files = {name.removesuffix(".cpp") for name in os.listdir(os.path.dirname(kernels.__file__))
             if name.endswith(".cpp")}
    assert {"_".join(name.partition(",")[0].split()).removesuffix("_pair") for name in OPERATIONS} == files - {"normal"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_stays(name, dtype):
    """In the results, wherever it is in the operands; and in the gradient to the operand that it is in."""
    operation = OPERATIONS[name]
    for number, value in enumerate(operands(name)):
        # The first ones, and the last ones, which fill no vector; pooling leaves an odd last row or column out.
        pooled = name == "max pool"
        lengths = [length - length % 2 if pooled and axis > 1 else length for axis, length in enumerate(value.shape)]
        for place in itertools.product(*(sorted({0, 1, length - 1} & set(range(length))) for length in lengths)):
            values = operands(name, dtype=dtype)
            values[number][place] = np.nan
            outputs = compiled(name, dtype)(*values)
            gradients = {}
            if len(operation.constant) < len(values):
                varied = [place for place in range(len(values)) if place not in operation.constant]
                gradients = dict(zip(varied, outputs[-len(varied):]))
            results = outputs[:len(outputs) - len(gradients)]
            assert any(np.isnan(result).any() for result in results), (number, place)
            assert number not in gradients or np.isnan(gradients[number][place]), (number, place)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_any_number_of_threads_gives_the_same_bits(name, set_threads, threads):
    values = operands(name, factor=60, dtype="float32")
    whole = compiled(name, "float32")(*values)
    set_threads(threads)
    assert_same_bits(compiled(name, "float32")(*values), whole)


def test_in_place_or_not_gives_the_same_bits(name):
    values = operands(name)
    assert_same_bits(compiled(name, in_place=False)(*values), compiled(name)(*values))


def test_shapes_are_known_without_computing(name):
    operation = OPERATIONS[name]
    inputs = [T.TensorType("float64", (False,) * len(shape))() for shape in operation.shapes]
    with change_flags(floatX="float64"):
        results = operation.make(*inputs)
    results = list(results) if isinstance(results, (list, tuple)) else [results]
    function = theano.function(inputs, [result.shape for result in results], mode=QUICK, on_unused_input="ignore")
    assert not [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, CppOp)]
    values = operands(name)
    for shape, result in zip(function(*values), compiled(name)(*values)):
        assert tuple(shape) == result.shape


def test_the_choice_is_made_when_the_graph_is_made():
    x = T.matrix()

    def in_cpp(make):
        return isinstance(make().owner.op, CppOp)

    def dense():
        return kernels.dense(x, x)

    def noise():
        return kernels.normal_stream(1).normal(x.shape)

    assert in_cpp(dense) and in_cpp(noise)
    with kernels.plain("dense"):
        assert not in_cpp(dense) and in_cpp(noise)
        with kernels.plain("normal"):
            assert not in_cpp(dense) and not in_cpp(noise)
        assert in_cpp(noise)
    with kernels.plain():
        assert not in_cpp(dense) and not in_cpp(noise)
    kernels.use_plain_graph()
    assert not in_cpp(dense)
    kernels.use_plain_graph(False)
    assert in_cpp(dense)
    with pytest.raises(ValueError, match="kernels are adam, .*, not convolutions"), kernels.plain("convolutions"):
        pass


IMAGES, SIDE = 6, 10


def network():
    """One of each layer."""
    net = InputLayer((None, 1, SIDE, SIDE))
    net = SparseVDConv2DLayer(net, 3, 3, pad=1, name="conv1")
    net = MaxPool2x2Layer(net)
    net = SparseVDConv2DLayer(net, 4, 2, nonlinearity=None, name="conv2")
    net = BatchNormLayer(net, name="norm")
    net = SparseVDDenseLayer(net, 7, name="dense1")
    return SparseVDDenseLayer(net, 3, nonlinearity=softmax, name="dense2")


def test_a_network_trains_as_its_plain_graph(float64, monkeypatch):
    monkeypatch.setattr(theano.config, "mode", "FAST_COMPILE")
    trained = {}
    for graph, plain in (("C++", contextlib.nullcontext()), ("plain", kernels.plain())):
        with plain:
            seed_generators(1)
            net, rng = network(), np.random.RandomState(2)
            for layer in weight_layers(net):
                layer.noise = GivenNoise(rng.normal(size=(IMAGES, *layer.output_shape[1:])))
                layer.set_log_sigma2(-3)
            trainer = Trainer(net, methods.make("sparse-vd"), num_examples=IMAGES)
        images, labels = rng.normal(size=(5 * IMAGES, 1, SIDE, SIDE)), rng.randint(3, size=5 * IMAGES).astype("int32")
        batches = list(zip(np.split(images, 5), np.split(labels, 5)))
        train, (mean_kl,) = trainer.train_epoch(batches, 0.05, [1.0])
        test = trainer.evaluate(SimpleNamespace(inputs=images, targets=labels))
        trained[graph] = {**trainer.weights(), "losses": [train.nll, mean_kl, test.nll]}
    # A bias before batch normalization has a gradient of rounding errors only, which Adam makes something of.
    for key, expected in trained["plain"].items():
        np.testing.assert_allclose(trained["C++"][key], expected, rtol=1e-9, atol=1e-8, err_msg=key)
