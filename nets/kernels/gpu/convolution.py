"""Theano's convolutions by cuDNN ask how much memory is free before they choose an algorithm, and not at each call.

The driver takes longer to answer than a small convolution takes.
"""

from theano.gof import COp
from theano.gpuarray.dnn import DnnBase

__all__ = ["ASKS", "ASKS_ONCE"]

#: In the C code of Theano 1.0.5, forward and backward; with an algorithm chosen, nothing reads `maxfree`.
ASKS = "size_t maxfree = c_get_largest_free_block_size(c);"
ASKS_ONCE = "size_t maxfree = reuse_algo ? 0 : c_get_largest_free_block_size(c);"


def _load_c_code(self, files):
    COp.load_c_code(self, files)
    # Of the first, Theano makes the version that tells compiled code apart; of the second, the code.
    self.func_codes = [code.replace(ASKS, ASKS_ONCE) for code in self.func_codes]
    self.code_sections = {name: code.replace(ASKS, ASKS_ONCE) for name, code in self.code_sections.items()}


DnnBase.load_c_code = _load_c_code
