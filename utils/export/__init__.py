"""Trained networks without Theano: made smaller, kept in one file, run by numpy, written as C and ONNX.

    from utils.export import load
    probabilities = load("network.safetensors").predict(images)      # or texts

Only numpy and scipy are needed here, beside what `requirements-export.txt` lists for files and other formats.
"""

from utils.export.container import load, save
from utils.export.compact import compact, structure
from utils.export.network import ExportedNetwork, described_layers, read_layers, read_run
from utils.export.texts import TextNetwork

__all__ = ["load", "save", "compact", "structure", "read_run", "read_layers", "described_layers", "ExportedNetwork",
           "TextNetwork"]
