from collections import OrderedDict

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T

from conftest import QUICK
from nets import kernels
from nets.kernels.adam import AdamStep


def training(make, mode=QUICK):
    """A step on a matrix, a vector and a large matrix; the variables that it updates."""
    rng = np.random.RandomState(2)
    params = [theano.shared(rng.normal(size=shape), name)
              for name, shape in (("W", (3, 4)), ("b", (5,)), ("large", (300, 200)))]
    rate, scale = T.dscalars("rate", "scale")
    updates = make(scale * sum(T.sum(T.sin(param) * T.exp(param)) for param in params), params, rate)
    return theano.function([rate, scale], [], updates=updates, mode=mode), list(updates), params


def test_steps_and_the_names_of_the_state(float64, graph):
    step, variables, _ = training(kernels.adam)
    reference, expected, _ = training(lasagne.updates.adam)
    for rate, scale in [(0.1, 1), (0.1, -3), (0.01, 1e-6), (0.2, 100)]:
        step(rate, scale), reference(rate, scale)
    for one, other in zip(variables, expected, strict=True):
        np.testing.assert_allclose(one.get_value(), other.get_value(), rtol=1e-12, atol=1e-12)
        assert one.type == other.type
    assert [variable.name for variable in variables] == [
        *(name for param in ("W", "b", "large") for name in (f"adam/{param}.mean", f"adam/{param}.square", param)),
        "adam/step"]


def test_groups_of_parameters_have_rates_of_their_own(float64, graph):
    def groups(loss, params, rate):
        return OrderedDict([*kernels.adam(T.grad(loss, params[:1]), params[:1], rate, name="first").items(),
                            *kernels.adam(T.grad(loss, params[1:]), params[1:], 0.5 * rate, name="others").items()])

    step, variables, params = training(groups)
    names = [variable.name for variable in variables]
    assert len(set(names)) == len(names) and {"first/step", "others/step", "others/b.mean"} < set(names)
    before = [param.get_value() for param in params]
    step(0.01, 1e6)
    # The first step is the rate, up to the gradient's sign.
    for param, value, length in zip(params, before, (0.01, 0.005, 0.005)):
        np.testing.assert_allclose(abs(param.get_value() - value), length, rtol=1e-4)


def test_it_works_in_place():
    step, _, params = training(kernels.adam)
    before = [param.get_value(borrow=True, return_internal_type=True) for param in params]
    step(0.1, 1)
    for param, array in zip(params, before):
        assert param.get_value(borrow=True, return_internal_type=True) is array


def test_operands_of_other_types():
    step = AdamStep(0.9, 0.999, 1e-8)
    with pytest.raises(ValueError, match="four arrays of floats and a rate"):
        step(T.fmatrix(), T.dmatrix(), T.fmatrix(), T.fmatrix(), T.fscalar())
    with pytest.raises(ValueError, match="four arrays of floats and a rate"):
        step(T.fmatrix(), T.fmatrix(), T.fmatrix(), T.fmatrix(), T.fvector())
