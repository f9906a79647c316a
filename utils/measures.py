"""What language models are measured by, from the mean of -log p(token) in nats."""

import math

__all__ = ["bits", "perplexity"]


def bits(nll):
    """The mean of -log2 p(token)."""
    return nll / math.log(2)


def perplexity(nll):
    """e to the mean; finite for whatever a network that diverges gives."""
    return math.exp(min(nll, 700.0))
