"""SparseVD in float64 numpy, and normal numbers, written from the formulas, for the tests to compare with."""

import math

import numpy as np

#: Blocks in a chunk, as in the C++ code: number j of a chunk's block i is at place BLOCKS * j + i of the chunk.
BLOCKS = 256
CHUNK = 4 * BLOCKS


def log_alpha(W, log_sigma2):
    return np.clip(log_sigma2 - np.log(W ** 2 + 1e-8), -8, 8)


def noisy_output(A, W, b, log_sigma2, noise, threshold=3.0, train_clip=True, pruned_noise=True, linear=np.matmul):
    """Pre-activations in training, with the given normal noise; `b` is broadcast against the result of `linear`."""
    value = log_alpha(W, log_sigma2)
    kept = np.where(value < threshold, W, 0) if train_clip else W
    mean = linear(A, kept)
    variance = linear(A ** 2, np.exp(value) * (W if pruned_noise else kept) ** 2)
    return mean + np.sqrt(variance + 1e-8) * noise + b


def kl(W, log_sigma2):
    """The paper's approximation (equation 14), summed."""
    value = log_alpha(W, log_sigma2)
    sigmoid = 1 / (1 + np.exp(-1.87320 - 1.48695 * value))
    return -np.sum(0.63576 * sigmoid - 0.5 * np.log1p(np.exp(-value)) - 0.63576)


def normal_numbers(seed, number, count):
    """The first `count` numbers of a draw: the C++ code's up to the last bits, which differ between libraries.

    Returns
    -------
    numpy.ndarray of float32
    """
    chunks = (count + CHUNK - 1) // CHUNK
    words = philox(seed, number, np.arange(chunks * BLOCKS, dtype="uint64"))
    u = (words[0::2] >> 1).astype("int32").astype("float32") * np.float32(2 ** -31) + np.float32(2 ** -32)
    angle = words[1::2].view("int32").astype("float32") * np.float32(math.pi * 2 ** -31)
    radius = np.sqrt(-2 * np.log(u))
    numbers = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return numbers.reshape(4, chunks, BLOCKS).swapaxes(0, 1).ravel()[:count]


def philox(key, number, blocks):
    """Philox4x32-10.

    Parameters
    ----------
    key, number : int
        of 64 bits; `number` is the upper half of the counter
    blocks : numpy.ndarray of uint64
        the lower halves of the counters

    Returns
    -------
    numpy.ndarray of uint32
        of shape (4, len(blocks)), the words of each block
    """
    low, half = np.uint64(2 ** 32 - 1), np.uint64(32)
    x0, x1 = blocks & low, blocks >> half
    x2, x3 = np.full_like(blocks, number & 0xffffffff), np.full_like(blocks, number >> 32)
    key0, key1 = key & 0xffffffff, key >> 32
    for _ in range(10):
        product0, product1 = x0 * np.uint64(0xD2511F53), x2 * np.uint64(0xCD9E8D57)
        x0, x1 = (product1 >> half) ^ x1 ^ np.uint64(key0), product1 & low
        x2, x3 = (product0 >> half) ^ x3 ^ np.uint64(key1), product0 & low
        key0, key1 = (key0 + 0x9E3779B9) & 0xffffffff, (key1 + 0xBB67AE85) & 0xffffffff
    return np.stack([x0, x1, x2, x3]).astype("uint32")
