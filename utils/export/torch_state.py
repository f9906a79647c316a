"""Weights as PyTorch's `state_dict` has them, and back, as plain dicts of arrays; PyTorch itself is not needed.

| here | shape | there | shape |
|---|---|---|---|
| dense `NAME.W` | (inputs, units) | `nn.Linear`: `NAME.weight` | (units, inputs) |
| conv `NAME.W` | (filters, channels, rows, columns) | `nn.Conv2d`: `NAME.weight` | the same; neither flips filters |
| `NAME.b` | (units,) | `NAME.bias` | (units,) |
| batch_norm `NAME.gamma`, `beta` | (channels,) | `nn.BatchNorm2d`, `1d`: `NAME.weight`, `bias` | (channels,) |
| `mean`, `inv_std` | (channels,) | `running_mean`, `running_var` = 1 / inv_std^2 - eps | (channels,) |

Modules are named as the layers are; a `nn.BatchNorm2d` needs the layer's `epsilon` as `eps` (1e-3; PyTorch's default is
1e-5). The first dense layer after images takes them flattened by channels, rows, columns, as `nn.Flatten` does.

Files are safetensors: `model.load_state_dict(safetensors.torch.load_file(path))`, and
`safetensors.torch.save_file(model.state_dict(), path)`.
"""

import numpy as np

from utils import files
from utils.errors import UserError
from utils.export.network import WEIGHTED
from utils.export.optional import require

__all__ = ["state_dict", "arrays_of", "write_state", "read_state"]

_BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "inv_std"}


def state_dict(network):
    """The arrays of a network under PyTorch's names and in its layouts: {name: float32 array}.

    Parameters
    ----------
    network : :class:`utils.export.network.ExportedNetwork`
        not compacted, so that it fits a model of the same architecture
    """
    found = {}
    for layer in network.layers:
        for there, here, convert in _params(layer):
            if f"{layer['name']}.{here}" in network.arrays:
                array = convert(network.arrays[f"{layer['name']}.{here}"])
                found[f"{layer['name']}.{there}"] = np.ascontiguousarray(array, np.float32)
    return found


def arrays_of(state, layers):
    """The arrays of a network of these layers from a state_dict: what `weights.npz` holds, {"layer.W": array}.

    Parameters
    ----------
    state : dict
        {name: array}; numbers of batches tracked are left out
    layers : list of dict
        as :func:`nets.describe.describe` makes them

    Raises
    ------
    UserError
        if a name is missing, or one is there that no layer has.
    """
    found, left = {}, {name for name in state if not name.endswith(".num_batches_tracked")}
    for layer in layers:
        for there, here, convert in _params(layer, back=True):
            name = f"{layer['name']}.{there}"
            if name not in state and there == "bias" and layer["kind"] in WEIGHTED:
                continue            # a layer may do without
            if name not in state:
                raise UserError(f"the state_dict has no {name}: name the modules as the layers, "
                                f"{', '.join(layer['name'] for layer in layers if _params(layer))}")
            array = convert(np.asarray(state[name], np.float32))
            found[f"{layer['name']}.{here}"] = np.ascontiguousarray(array, np.float32)
            left.discard(name)
    if left:
        raise UserError(f"the state_dict has {', '.join(sorted(left))}, the network no such layer")
    return found


def write_state(network, path):
    """Writes :func:`state_dict` as a safetensors file."""
    content = require("safetensors.numpy").save(state_dict(network))
    with files.atomic_write(path) as file:
        file.write(content)


def read_state(path):
    """{name: array} of a safetensors file.

    Raises
    ------
    UserError
        if it is missing or damaged.
    """
    load = require("safetensors.numpy").load_file
    try:
        return load(path)
    except Exception as error:
        raise UserError(f"cannot read {path} ({error}): give a safetensors file, written by "
                        "safetensors.torch.save_file(model.state_dict(), path)") from None


def _params(layer, back=False):
    """(PyTorch's name, ours, conversion to its layout or back) of a layer's arrays."""
    def same(array):
        return array
    if layer["kind"] == "dense":
        return [("weight", "W", np.transpose), ("bias", "b", same)]
    if layer["kind"] == "conv":
        return [("weight", "W", same), ("bias", "b", same)]
    if layer["kind"] == "batch_norm":
        epsilon = layer["epsilon"]
        # In float64: the variance is a difference of what may be large.
        variance = ((lambda var: (var.astype(np.float64) + epsilon) ** -0.5) if back else
                    (lambda inv_std: inv_std.astype(np.float64) ** -2 - epsilon))
        return [(there, here, variance if here == "inv_std" else same) for there, here in _BATCH_NORM.items()]
    return []
