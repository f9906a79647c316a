import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from theano.configparser import change_flags

from nets.kernels.adam import AdamStep, adam


def training(make, dtype, mode="FAST_RUN"):
    """A step on a matrix, a vector and a large matrix; the variables that it updates."""
    rng = np.random.RandomState(2)
    params = [theano.shared(rng.normal(size=shape).astype(dtype)) for shape in ((3, 4), (5,), (300, 200))]
    rate, scale = T.scalar(dtype=dtype), T.scalar(dtype=dtype)
    loss = scale * sum(T.sum(T.sin(param) * T.exp(param)) for param in params)
    updates = make(loss, params, rate)
    return theano.function([rate, scale], loss, updates=updates, mode=mode), list(updates), params


@pytest.mark.parametrize("mode", ["FAST_RUN", "FAST_COMPILE"])
@pytest.mark.parametrize("dtype, precision", [("float64", 1e-12), ("float32", 1e-4)])
def test_parameters_and_state_are_those_of_lasagne(dtype, precision, mode):
    with change_flags(floatX=dtype):
        step, variables, _ = training(adam, dtype, mode)
        reference, expected, _ = training(lasagne.updates.adam, dtype, "FAST_COMPILE")
    for rate, scale in [(0.1, 1), (0.1, -3), (0.01, 1e-6), (0.2, 100)]:
        assert step(rate, scale) == pytest.approx(reference(rate, scale), rel=1e-4)
    for one, other in zip(variables, expected, strict=True):
        np.testing.assert_allclose(one.get_value(), other.get_value(), rtol=precision, atol=precision)
        assert one.type == other.type


def test_it_works_in_place():
    step, variables, params = training(adam, "float32")
    before = [param.get_value(borrow=True, return_internal_type=True) for param in params]
    step(0.1, 1)
    operations = [node.op for node in step.maker.fgraph.toposort() if isinstance(node.op, AdamStep)]
    assert len(operations) == 3 and all(operation.in_place for operation in operations)
    for param, array in zip(params, before):
        assert param.get_value(borrow=True, return_internal_type=True) is array


def test_a_nan_gradient_is_seen_in_the_parameters():
    step, _, params = training(adam, "float32")
    step(0.1, np.nan)
    assert all(np.isnan(param.get_value()).all() for param in params)


def test_operands_of_other_types():
    step = AdamStep(0.9, 0.999, 1e-8)
    with pytest.raises(ValueError, match="four arrays of floats and a rate"):
        step(T.fmatrix(), T.dmatrix(), T.fmatrix(), T.fmatrix(), T.fscalar())
    with pytest.raises(ValueError, match="four arrays of floats and a rate"):
        step(T.fmatrix(), T.fmatrix(), T.fmatrix(), T.fmatrix(), T.fvector())
