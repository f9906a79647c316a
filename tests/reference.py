"""SparseVD in float64 numpy, written from the formulas, for the tests to compare with."""

import numpy as np


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
