"""A network's prediction in PyTorch, for `prediction.py --peers PYTHON`, whose questions it answers line by line.

Needs torch and numpy only, and is imported without torch. The network is a file that `prediction.py` writes: layers,
mean image, `state_dict`.
"""

import json
import statistics
import sys
import time

import numpy as np


def median_seconds(function, argument, seconds, threads):
    """Of the calls in that time, of one at least. One thread's are of its processor time, without others' load."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        began = clock()
        function(argument)
        found.append(clock() - began)
    return statistics.median(found)


def module(layer, before):
    """The module of a described layer, after one of that output shape."""
    from torch import nn
    kind = layer["kind"]
    if kind == "dense":
        return nn.Linear(int(np.prod(before)), layer["shape"][0])
    if kind == "conv":
        return nn.Conv2d(before[0], layer["shape"][0], layer["size"], layer["stride"], layer["pad"])
    if kind == "batch_norm":
        return (nn.BatchNorm2d if len(before) == 3 else nn.BatchNorm1d)(before[0], layer["epsilon"])
    return nn.MaxPool2d(layer["size"], layer["stride"])


def build(path):
    """The network, with the division of pixels by 256 and the mean image in front."""
    import torch
    from torch import nn
    nonlinearities = {"rectify": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softmax": lambda: nn.Softmax(dim=1)}
    stored = np.load(path)
    layers = json.loads(str(stored["layers"]))
    found, before = nn.Sequential(), layers[0]["shape"]
    for layer in layers[1:]:
        if layer["kind"] == "dense" and len(before) > 1:
            found.add_module(f"{layer['name']}_flat", nn.Flatten())
        found.add_module(layer["name"], module(layer, before))
        nonlinearity = layer.get("nonlinearity", "identity")
        if nonlinearity != "identity":
            found.add_module(f"{layer['name']}_{nonlinearity}", nonlinearities[nonlinearity]())
        before = layer["shape"]
    state = {name.removeprefix("state/"): torch.tensor(stored[name]) for name in stored.files if "/" in name}
    found.load_state_dict(state, strict=False)
    missing = set(name for name in found.state_dict() if "num_batches" not in name) - set(state)
    assert not missing, missing
    mean = torch.tensor(stored["mean"])
    found.eval()
    return lambda images: found(images / 256 - mean)


def main(path):
    import torch
    predict, given = build(path), None
    with torch.inference_mode():
        for line in sys.stdin:
            question = json.loads(line)
            torch.set_num_threads(question["threads"])
            if "images" in question:
                given = torch.tensor(question["images"])
                print(json.dumps(predict(given).tolist()), flush=True)
                continue
            images = given[:question["number"]].contiguous()
            print(json.dumps(median_seconds(predict, images, question["seconds"], question["threads"])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
