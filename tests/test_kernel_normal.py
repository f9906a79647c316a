"""Normal numbers: C++ against numpy, numpy against published values, and both against the distribution."""

import copy
import math
import pickle

import lasagne
import numpy as np
import pytest
import scipy.stats
import theano
import theano.tensor as T
from theano.configparser import change_flags
from threadpoolctl import threadpool_limits

from conftest import QUICK
from nets.kernels import normal_stream
from nets.kernels.normal import DRAWS, NormalOp
from nets.layers.dropout import BinaryDropoutLayer
from nets.layers.sparse_vd import SparseVDDenseLayer
from reference import BLOCKS, normal_numbers, philox

#: Where C and numpy may differ: by the last bits of float32 logarithms, sines and cosines.
CLOSE = dict(rtol=1e-5, atol=2e-6)


def compiled(dtype, ndim):
    """draw(shape, seed, number=0): that draw's numbers, from one function compiled for every shape."""
    state, size = T.vector(dtype="uint64"), T.lvector()
    function = theano.function([state, size], NormalOp(dtype, [False] * ndim)(state, size), mode=QUICK)

    def draw(shape, seed, number=0):
        return function(np.array([seed, number], "uint64"), np.atleast_1d(shape).astype("int64"))
    return draw


@pytest.fixture(scope="module")
def draw():
    """The C code: float32, of one dimension."""
    return compiled("float32", 1)


@pytest.fixture(scope="module")
def numbers(draw):
    """Whole chunks of one draw."""
    return draw(2 ** 22, seed=3, number=5)


@pytest.fixture(scope="module")
def two_streams():
    """A function of two draws of one stream, the first of them twice, and one of another stream; and its streams."""
    one, other = normal_stream(1), normal_stream(2)
    first = one.normal((3, 50), "float32")
    outputs = [first, first + 0, one.normal((3, 50), "float32"), other.normal((3, 50), "float32")]
    return theano.function([], outputs, mode=QUICK)


# Random123's known answers, as (counter, key, words).
@pytest.mark.parametrize("counter, key, words", [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
])
def test_philox_gives_the_published_words(counter, key, words):
    counter, key, words = ([int(word, 16) for word in text.split()] for text in (counter, key, words))
    block = np.array([counter[0] + (counter[1] << 32)], "uint64")
    found = philox(key[0] + (key[1] << 32), counter[2] + (counter[3] << 32), block)
    assert found.dtype == np.uint32 and found[:, 0].tolist() == words


def test_the_transform_is_box_mullers():
    words = philox(11, 22, np.arange(BLOCKS, dtype="uint64")).astype("float64")
    radius = np.sqrt(-2 * np.log((words[[0, 2]] + 0.5) / 2 ** 32))
    angle = 2 * math.pi * words[[1, 3]] / 2 ** 32
    expected = [radius[0] * np.cos(angle[0]), radius[0] * np.sin(angle[0]),
                radius[1] * np.cos(angle[1]), radius[1] * np.sin(angle[1])]
    np.testing.assert_allclose(normal_numbers(11, 22, 4 * BLOCKS).reshape(4, -1), expected, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 7, 1023, 1024, 1025, 100001])
def test_c_code_gives_numpys_numbers(draw, count):
    found = draw(count, seed=2 ** 63 + 5, number=2 ** 40 + 3)
    assert found.shape == (count,) and found.dtype == "float32"
    np.testing.assert_allclose(found, normal_numbers(2 ** 63 + 5, 2 ** 40 + 3, count), **CLOSE)


# Found by search: uniform numbers next to 0, and so close to 1 that float32 rounds them to 1.
@pytest.mark.parametrize("number, place, expected", [
    (10854, 28886, math.sqrt(2 * math.log(2 ** 32 / 3))), (378, 135773, 0.0), (536, 111136, 0.0), (633, 225007, 0.0)])
def test_the_farthest_and_the_nearest_numbers(draw, number, place, expected):
    for found in (draw(2 ** 18, 1, number), normal_numbers(1, number, 2 ** 18)):
        assert math.hypot(found[place], found[place + BLOCKS]) == pytest.approx(expected, abs=1e-5)
        assert np.isfinite(found).all()


def test_any_number_of_threads_gives_the_same_numbers(draw):
    count = 300001
    with threadpool_limits(1, "openmp"):
        expected = draw(count, 7)
    for threads in (2, 3):
        with threadpool_limits(threads, "openmp"):
            np.testing.assert_array_equal(draw(count, 7), expected)


def test_without_openmp_the_numbers_are_the_same(draw):
    with change_flags(openmp=False):
        assert "-fopenmp" not in NormalOp("float32", [False]).c_compile_args()
        serial = compiled("float32", 1)
        np.testing.assert_array_equal(serial(300001, 7), draw(300001, 7))


def test_memory_is_reused_where_the_shape_stays():
    size = T.lvector()
    numbers = normal_stream(6).normal(size, "float32", ndim=2)
    # Without garbage collection, so that there is old memory to draw into.
    function = theano.function([size], theano.Out(numbers, borrow=True), mode=theano.Mode("cvm_nogc", "fast_run"))
    first = function([3, 4])
    for number, (shape, same) in enumerate([((3, 4), True), ((4, 3), False), ((50, 60), False)], start=1):
        found = function(shape)
        assert found.shape == shape and np.shares_memory(first, found) == same
        np.testing.assert_allclose(found.ravel(), normal_numbers(6, number, found.size), **CLOSE)


def test_dimensions_are_in_c_order_and_float64_is_cast(draw):
    doubles = compiled("float64", 3)
    for shape in [(5, 41, 3), (1, 1, 1), (4, 0, 2), (2, 30, 70)]:
        found = doubles(shape, 4)
        assert found.shape == shape and found.dtype == "float64"
        np.testing.assert_array_equal(found.ravel(), draw(math.prod(shape), 4))


def test_sizes_and_states_that_cannot_be_are_errors():
    function = compiled("float32", 1)
    with pytest.raises(ValueError, match="negative size -2 of dimension 0"):
        function(-2, 1)
    with pytest.raises(ValueError, match="the size has 2 elements, the numbers have 1 dimensions"):
        function((2, 3), 1)
    state, size = T.vector(dtype="uint64"), T.lvector()
    with pytest.raises(ValueError, match="has two elements"):
        theano.function([state, size], NormalOp("float32", [False])(state, size), mode=QUICK)(
            np.zeros(3, "uint64"), np.array([4]))


def test_arguments_that_cannot_be_are_errors():
    with pytest.raises(TypeError, match="float32 or float64, not float16"):
        normal_stream(1).normal((2,), "float16")
    with pytest.raises(TypeError, match="vector of integers"):
        normal_stream(1).normal(T.vector(dtype="float32"), ndim=1)
    with pytest.raises(TypeError, match="vector of uint64"):
        NormalOp("float32", [False])(T.lvector(), T.lvector())
    for seed in (-1, 2 ** 64):
        with pytest.raises(ValueError, match="a seed is from 0"):
            normal_stream(seed)


def test_the_distribution_is_normal(numbers):
    assert scipy.stats.kstest(numbers[:2 ** 20], "norm").pvalue > 0.01
    # Standard deviations of the moments' estimates for N(0, 1).
    x, n = numbers.astype("float64"), len(numbers)
    for power, (moment, deviation) in enumerate([(0, 1), (1, 2 ** 0.5), (0, 15 ** 0.5), (3, 96 ** 0.5)], start=1):
        assert abs((x ** power).mean() - moment) < 4 * deviation / n ** 0.5


@pytest.mark.parametrize("beyond", [3, 4, 4.5])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_tails_are_normal(numbers, beyond, side):
    expected = len(numbers) * scipy.stats.norm.sf(beyond)
    assert abs((side * numbers > beyond).sum() - expected) < 4 * expected ** 0.5


def test_numbers_are_independent_of_each_other(draw, numbers):
    chunks = numbers.reshape(-1, 4, BLOCKS)
    n = len(numbers)
    pairs = {
        "neighbours": (numbers[:-1], numbers[1:]), "chunks": (chunks[:-1], chunks[1:]),
        "cosine and sine": (chunks[:, 0::2], chunks[:, 1::2]), "pairs": (chunks[:, :2], chunks[:, 2:]),
        "draws": (numbers, draw(n, 3, 6)), "seeds": (numbers, draw(n, 4, 5)),
        "distant seeds": (numbers, draw(n, 3 + 2 ** 32, 5)), "calls": (numbers, draw(n, 3, 5 + DRAWS)),
    }
    for name, (a, b) in pairs.items():
        # Of squares too: uncorrelated numbers may still have related sizes.
        for power in (1, 2):
            correlation = np.corrcoef(a.ravel().astype("float64") ** power, b.ravel().astype("float64") ** power)[0, 1]
            assert abs(correlation) < 4 / a.size ** 0.5, name


def test_streams_and_their_calls_draw_different_numbers(two_streams):
    first, same, second, other = two_streams()
    np.testing.assert_array_equal(first, same)
    drawn = [first, second, other, *np.array(two_streams())[[0, 2, 3]]]
    assert len(np.unique(np.ravel(drawn))) > 0.999 * np.size(drawn)


def test_a_restored_state_repeats_the_draws(two_streams):
    states = [variable for variable in two_streams.get_shared() if hasattr(variable, "default_update")]
    assert sorted(state.get_value()[0] for state in states) == [1, 1, 2]
    saved = [state.get_value() for state in states]
    before = two_streams(), two_streams()
    assert all((state.get_value() - old).tolist() == [0, 2] for state, old in zip(states, saved))
    for state, old in zip(states, saved):
        state.set_value(old)
    np.testing.assert_array_equal((two_streams(), two_streams()), before)


def test_equal_seeds_draw_equal_numbers(evaluate):
    found = [evaluate(normal_stream(8).normal((4,), "float32")) for _ in range(2)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], normal_numbers(8, 0, 4), **CLOSE)


@pytest.mark.parametrize("size, ndim, broadcastable", [
    (lambda x: x.shape, None, (False, False)), (lambda x: (x.shape[0], 1, 3), None, (False, True, False)),
    (lambda x: [4, x.shape[1]], None, (False, False)), (lambda x: T.ivector("size"), 1, (False,)),
    (lambda x: np.array([2, 1]), None, (False, True)), (lambda x: (), None, ()),
    (lambda x: x.sum(0, keepdims=True).shape, None, (True, False)),
])
def test_sizes(size, ndim, broadcastable):
    variable = normal_stream(1).normal(size(T.matrix("x")), ndim=ndim)
    assert variable.broadcastable == broadcastable and variable.dtype == theano.config.floatX


def test_broadcasting_of_dimensions_that_happen_to_be_1(evaluate):
    size = T.lvector()
    noise = normal_stream(1).normal(size, "float32", ndim=2)
    found = evaluate(T.addbroadcast(noise, 0) + T.zeros((3, 5), "float32"), {size: np.array([1, 5])})
    np.testing.assert_allclose(found, np.tile(normal_numbers(1, 0, 5), (3, 1)), **CLOSE)
    np.testing.assert_allclose(evaluate(normal_stream(1).normal((), "float32")), normal_numbers(1, 0, 1)[0], **CLOSE)


def test_the_gradient_passes_by_the_noise(evaluate):
    x = T.fmatrix()
    noise = normal_stream(1).normal(x.shape, "float32")
    value = np.ones((2, 3), "float32")
    found = evaluate(T.grad((x ** 2 * noise).sum(), x), {x: value})
    np.testing.assert_allclose(found, 2 * normal_numbers(1, 0, 6).reshape(2, 3), rtol=1e-5)


def test_shapes_are_known_without_drawing():
    x = T.matrix()
    shape = theano.function([x], normal_stream(1).normal(x.shape).shape, mode=QUICK, no_default_updates=True)
    assert not [node for node in shape.maker.fgraph.apply_nodes if isinstance(node.op, NormalOp)]
    assert shape(np.zeros((4, 6), theano.config.floatX)).tolist() == [4, 6]


def test_ops_are_equal_by_their_properties_and_survive_pickling():
    op = NormalOp("float32", [False, True])
    assert pickle.loads(pickle.dumps(op)) == copy.deepcopy(op) == op == NormalOp("float32", (False, True))
    assert op != NormalOp("float64", [False, True]) and op != NormalOp("float32", [False, False])
    assert op.c_code_cache_version()


def test_the_state_has_a_name(graph):
    stream = normal_stream(1, "noise/dense1")
    draws = theano.function([], [stream.normal((2, 3)) for _ in range(3)], mode=QUICK)
    assert sorted(variable.name for variable in draws.get_shared()) == [
        "noise/dense1", "noise/dense1/1", "noise/dense1/2"]
    first, again = draws(), draws()
    assert len(np.unique(np.ravel([first, again]))) == 2 * 3 * 6


def test_a_layers_noise_is_named_after_it(graph):
    x = T.fmatrix()
    layer = SparseVDDenseLayer((None, 6), 4, name="dense1")
    dropout = BinaryDropoutLayer(layer)
    function = theano.function([x], dropout.get_output_for(layer.get_output_for(x)), mode=QUICK)
    assert {"noise/dense1", "noise/dense1_dropout"} < {variable.name for variable in function.get_shared()}


def test_a_sparse_vd_layer_takes_the_stream(evaluate):
    layer = SparseVDDenseLayer((None, 6), 4, W=lasagne.init.Constant(0.0), log_sigma2=lasagne.init.Constant(8.0),
                               nonlinearity=None, noise=normal_stream(12))
    x = T.fmatrix()
    found = evaluate(layer.get_output_for(x), {x: np.zeros((5, 6), "float32")})
    # Without weights and inputs, the noise is what is left.
    np.testing.assert_allclose(found, 1e-4 * normal_numbers(12, 0, 20).reshape(5, 4), rtol=1e-5)
