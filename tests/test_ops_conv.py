import os
import subprocess
import sys

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.signal import correlate2d

from conftest import ROOT
from nets import kernels
from nets.layers.conv import Convolution
from nets.kernels.conv import ConvGradients, conv, conv_pair

# images, channels, rows, columns, filters, filter size, stride, padding
GEOMETRIES = {
    "LeNet-5, first": (7, 1, 28, 28, 20, 5, 1, 0),
    "LeNet-5, second": (100, 20, 12, 12, 50, 5, 1, 0),
    "3x3, padded": (3, 16, 8, 8, 33, 3, 1, 1),
    "panels of many images": (100, 9, 2, 2, 16, 3, 1, 1),
    "one image": (1, 3, 9, 11, 5, 3, 1, 2),
    "all lengths differ": (7, 4, 10, 9, 13, (3, 2), (2, 3), (1, 2)),
    "pixels left over": (2, 2, 7, 8, 3, 2, 3, 0),
    "one weight": (4, 1, 5, 3, 1, 1, 1, 0),
}


def convolution(geometry):
    _, channels, rows, columns, filters, size, stride, pad = geometry
    return Convolution((None, channels, rows, columns), filters, size, stride, pad)


def operands(geometry, dtype="float64"):
    """x, w, v and the gradients to mean and variance, as numpy arrays."""
    rng, conv = np.random.RandomState(3), convolution(geometry)
    x, w = rng.normal(size=geometry[:4]), rng.normal(size=conv.weights_shape)
    shape = conv.output_shape(x.shape)
    values = x, w, rng.uniform(size=w.shape), rng.normal(size=shape), rng.normal(size=shape)
    return [value.astype(dtype) for value in values]


def expressions(pair, geometry, dtype="float64", wanted=("x", "w", "v")):
    """The inputs; mean, variance and the gradients to what is wanted, by `pair`."""
    x, w, v, g_mean, g_variance = inputs = [T.TensorType(dtype, (False,) * 4)() for _ in range(5)]
    mean, variance = pair(x, w, v, convolution(geometry))
    cost = T.sum(mean * g_mean) + T.sum(variance * g_variance)
    return inputs, [mean, variance, *T.grad(cost, [dict(x=x, w=w, v=v)[name] for name in wanted])]


def plain(x, w, v, convolution):
    """Theano's own convolutions."""
    kernels.use_plain_graph()
    try:
        return convolution(x, w), convolution(T.sqr(x), v)
    finally:
        kernels.use_plain_graph(False)


def singly(x, w, v, convolution):
    """The same by two convolutions, each by itself."""
    return conv(x, w, convolution), conv(T.sqr(x), v, convolution)


@pytest.fixture(scope="module")
def compiled():
    """compiled(pair, geometry, ...) -> a function of x, w, v, g_mean, g_variance; the same is compiled once."""
    functions = {}

    def compiled(pair, geometry, dtype="float64", wanted=("x", "w", "v")):
        key = pair, geometry, dtype, wanted
        if key not in functions:
            inputs, outputs = expressions(pair, geometry, dtype, wanted)
            functions[key] = theano.function(inputs, outputs, mode="FAST_RUN", on_unused_input="ignore")
        return functions[key]
    return compiled


def assert_close(found, expected, precision):
    """Within `precision` of each array's largest element."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=precision * abs(other).max())
        assert one.dtype == other.dtype


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_values_are_scipys(compiled, geometry):
    x, w, v, *gradients = operands(geometry)
    (top, left), (down, right) = convolution(geometry).pad, convolution(geometry).stride
    found = compiled(conv_pair, geometry)(x, w, v, *gradients)[:2]
    padded = np.pad(x[:2], [(0, 0), (0, 0), (top, top), (left, left)])
    for result, images, weights in zip(found, (padded, padded ** 2), (w, v)):
        expected = [[sum(map(correlate2d, image, weight, ["valid"] * len(image)))[::down, ::right]
                     for weight in weights] for image in images]
        np.testing.assert_allclose(result[:2], expected, atol=1e-12)


# Theano compiles its own convolutions for each geometry, which takes long: numpy stands for it with the others.
@pytest.mark.parametrize("geometry, dtype, precision", [
    (GEOMETRIES["all lengths differ"], "float64", 1e-13), (GEOMETRIES["3x3, padded"], "float32", 1e-5)])
def test_values_and_gradients_are_those_of_theanos_convolutions(compiled, geometry, dtype, precision):
    values = operands(geometry, dtype)
    expected = compiled(plain, geometry, dtype)(*values)
    for convolutions in (conv_pair, singly):
        assert_close(compiled(convolutions, geometry, dtype)(*values), expected, precision)


@pytest.mark.parametrize("dtype, precision", [("float64", 1e-13), ("float32", 1e-5)])
@pytest.mark.parametrize("convolutions", [conv_pair, singly])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_numpy_and_cpp_agree(compiled, evaluate, geometry, convolutions, dtype, precision):
    values = operands(geometry, dtype)
    inputs, outputs = expressions(convolutions, geometry, dtype)
    assert_close(evaluate(outputs, dict(zip(inputs, values))), compiled(convolutions, geometry, dtype)(*values),
                 precision)


@pytest.mark.parametrize("geometry", [(2, 2, 5, 4, 3, 3, 1, 1), (2, 2, 6, 5, 3, (3, 2), 2, (0, 1))])
def test_gradients_are_finite_differences(geometry):
    def both(x, w, v):
        return T.concatenate(conv_pair(x, w, v, convolution(geometry)), axis=1)

    def single(x, w):
        return conv(x, w, convolution(geometry))

    theano.gradient.verify_grad(both, operands(geometry)[:3], rng=np.random.RandomState(1), mode="FAST_RUN")
    theano.gradient.verify_grad(single, operands(geometry)[:2], rng=np.random.RandomState(1), mode="FAST_RUN")


@pytest.mark.parametrize("which", [0, 1])
def test_gradient_of_mean_or_variance_alone(which):
    geometry = GEOMETRIES["3x3, padded"]
    values = operands(geometry)[:3]
    inputs = [T.dtensor4() for _ in values]
    found, expected = (T.grad(T.sum(T.sqr(pair(*inputs, convolution(geometry))[which])), inputs,
                              disconnected_inputs="ignore") for pair in (conv_pair, plain))
    results = theano.function(inputs, [*found, *expected], mode="FAST_RUN")(*values)
    assert_close(results[:3], results[3:], 1e-13)


@pytest.mark.parametrize("convolutions, number", [(conv_pair, 1), (singly, 2)])
@pytest.mark.parametrize("geometry", [GEOMETRIES["LeNet-5, first"], GEOMETRIES["3x3, padded"]])
def test_gradient_to_the_images_is_left_out_where_nobody_uses_it(compiled, geometry, convolutions, number):
    values = operands(geometry)
    function = compiled(convolutions, geometry, wanted=("w", "v"))
    operations = [node.op for node in function.maker.fgraph.toposort() if isinstance(node.op, ConvGradients)]
    assert [operation.with_dx for operation in operations] == [False] * number
    whole = compiled(convolutions, geometry)
    mean, variance, _, dw, dv = whole(*values)
    for one, other in zip(function(*values), (mean, variance, dw, dv)):
        np.testing.assert_array_equal(one, other)
    operations = [node.op for node in whole.maker.fgraph.toposort() if isinstance(node.op, ConvGradients)]
    assert [operation.with_dx for operation in operations] == [True] * number


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("geometry", [GEOMETRIES["LeNet-5, second"], GEOMETRIES["one image"]])
def test_fewer_threads_later_give_the_same_bits(compiled, set_threads, geometry, threads):
    values = operands(geometry, "float32")
    function = compiled(conv_pair, geometry, "float32")
    whole = function(*values)
    set_threads(threads)
    for _ in range(3):
        for once, again in zip(whole, function(*values)):
            np.testing.assert_array_equal(once, again)


def test_the_number_of_threads_changes_the_rounding_only(compiled, tmp_path):
    geometry = GEOMETRIES["LeNet-5, second"]
    values = operands(geometry, "float32")
    here = compiled(conv_pair, geometry, "float32")(*values)
    code = """if True:
        import sys
        sys.path.insert(0, "tests")
        import conftest, numpy as np, test_ops_conv as t, theano
        geometry = t.GEOMETRIES["LeNet-5, second"]
        function = theano.function(*t.expressions(t.conv_pair, geometry, "float32"), mode="FAST_RUN")
        np.savez(sys.argv[1], *function(*t.operands(geometry, "float32")))"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "three.npz"], check=True, cwd=ROOT,
                   env={**os.environ, "OMP_NUM_THREADS": "3"})
    with np.load(tmp_path / "three.npz") as file:
        three = [file[name] for name in file.files]
    assert_close(here, three, 1e-5)
    # Only sums over images are taken in another order.
    for one, other in zip(here[:3], three[:3]):
        np.testing.assert_array_equal(one, other)


def test_batches_of_any_size_and_layout(compiled):
    function = compiled(conv_pair, GEOMETRIES["3x3, padded"])
    expected = compiled(plain, GEOMETRIES["3x3, padded"])
    for images in (3, 1, 8, 3):
        x, w, v, *gradients = operands((images, *GEOMETRIES["3x3, padded"][1:]))
        values = [x[:, :, ::-1], w.transpose(0, 1, 3, 2), v[..., ::-1], *(g.transpose(0, 1, 3, 2) for g in gradients)]
        assert_close(function(*values), expected(*values), 1e-13)


def test_an_empty_batch(compiled):
    x, w, v, *gradients = operands((0, *GEOMETRIES["3x3, padded"][1:]))
    mean, variance, dx, dw, dv = compiled(conv_pair, GEOMETRIES["3x3, padded"])(x, w, v, *gradients)
    assert mean.shape == variance.shape == (0, 33, 8, 8) and dx.shape == x.shape
    assert not dw.any() and not dv.any()


def test_shapes_are_inferred_without_convolving():
    geometry = GEOMETRIES["all lengths differ"]
    x, w, v, *_ = operands(geometry)
    inputs = [T.dtensor4() for _ in range(3)]
    function = theano.function(inputs, [result.shape for result in conv_pair(*inputs, convolution(geometry))],
                               mode="FAST_RUN", on_unused_input="ignore")
    assert "Conv" not in str(function.maker.fgraph)
    for shape in function(x, w, v):
        assert tuple(shape) == convolution(geometry).output_shape(x.shape)


@pytest.mark.parametrize("fast", [True, False])
def test_operands_that_do_not_fit(compiled, evaluate, fast):
    geometry = GEOMETRIES["one image"]
    inputs, outputs = expressions(conv_pair, geometry)

    def run(*values):
        return compiled(conv_pair, geometry)(*values) if fast else evaluate(outputs, dict(zip(inputs, values)))

    x, w, v, *gradients = operands(geometry)
    with pytest.raises(ValueError, match=r"images \(1, 2, 9, 11\) .*do not fit weights \(5, 3, 3, 3\)"):
        run(x[:, :2], w, v, *gradients)
    with pytest.raises(ValueError, match=r"do not fit weights \(5, 3, 3, 3\) and \(4, 3, 3, 3\)"):
        run(x, w, v[:4], *gradients)
    with pytest.raises(ValueError, match=r"\(1, 3, 9, 0\) with padding \(2, 2\) do not fit .*\(5, 3, 3, 6\)"):
        run(x[..., :0], np.tile(w, 2), np.tile(v, 2), *gradients)


def test_operands_that_are_not_images():
    x, w = T.dtensor4(), T.dtensor4()
    with pytest.raises(ValueError, match="4-d operands, not .*float64, matrix"):
        conv_pair(T.dmatrix(), w, w, convolution(GEOMETRIES["one image"]))
    with pytest.raises(ValueError, match="float32 and float64, not .*int32"):
        conv_pair(T.itensor4(), T.itensor4(), T.itensor4(), convolution(GEOMETRIES["one image"]))
    mean, _ = conv_pair(T.ftensor4(), w, w, convolution(GEOMETRIES["one image"]))
    assert mean.dtype == x.dtype
