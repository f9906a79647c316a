"""All that a training depends on, by name, as checkpoints hold it.

`param/<layer>.<parameter>`; `adam/...` and whatever else an optimizer keeps; `noise/<layer>`, what random numbers come
from; `method/<name>`, a method's own.
"""

from nets.params import named_params
from utils.errors import UserError

__all__ = ["named_state", "get_values", "set_values", "require_same"]


def named_state(net, method, function, updates, leave_out=()):
    """{name: shared variable}.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
    method : :class:`nets.methods.base.Method`
    function : Theano function
        of a training step: what it advances by itself, such as a noise generator, is state
    updates : dict
        that it was compiled with: what else it changes is state
    leave_out : collection of shared variables
        among them, which are no state

    Raises
    ------
    ValueError
        if a variable that is state has no name, or one that another has.
    """
    named = {f"param/{name}": variable for name, variable in named_params(net).items()}
    named.update((f"method/{name}", variable) for name, variable in method.state(net).items())
    known = {id(variable.container) for variable in [*named.values(), *leave_out]}
    advanced = [variable for variable in function.get_shared() if getattr(variable, "default_update", None) is not None]
    for variable in [*updates, *advanced]:
        # A clone of a variable shares its container: batch normalization's averages.
        if id(variable.container) in known:
            continue
        known.add(id(variable.container))
        if not variable.name or variable.name in named:
            raise ValueError(f"training changes {variable!r}, whose name {variable.name!r} is missing or taken")
        named[variable.name] = variable
    return named


def get_values(named):
    """{name: array}, copies."""
    return {name: variable.get_value() for name, variable in named.items()}


def set_values(named, arrays, where):
    """Sets the variables. `where` names the arrays' file in errors.

    Raises
    ------
    UserError
        if names, shapes or types differ. Nothing is set then.
    """
    require_same({name: variable.get_value(borrow=True) for name, variable in named.items()}, arrays, where)
    for name, variable in named.items():
        variable.set_value(arrays[name])


def require_same(expected, arrays, where):
    """`UserError` if arrays' names, shapes or types are not the expected ones'; `where` as above."""
    expected, found = ({name: _kind(array) for name, array in own.items()} for own in (expected, arrays))
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise UserError(f"{where} is of another network: it has {name} as {found.get(name, 'nothing')}, this "
                            f"network as {expected.get(name, 'nothing')}")


def _kind(array):
    return f"{array.dtype}{list(array.shape)}"
