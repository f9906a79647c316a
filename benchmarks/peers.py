"""The same training step, with SparseVD, in PyTorch and in JAX: what `training_step.py` compares this project with.

Formulas, networks, batch and optimizer are those of `nets/`, written the way that each framework suggests. It is run by
`training_step.py --peers PYTHON`, with a Python of its own that has torch and jax (benchmarks/requirements.txt).

On a GPU (`PyTorch, GPU`), a time is that of several steps and of waiting for the last one, since a GPU works on while
the next step is called for; on a CPU, of one step.
"""

import json
import resource
import sys
import time

import numpy as np

CLIP, EPSILON, THRESHOLD, NUM_EXAMPLES, BATCH, RATE = 8.0, 1e-8, 3.0, 60000, 100, 1e-3
K1, K2, K3 = 0.63576, 1.87320, 1.48695


def networks(k):
    """name : (shape of an image, layers from the first on); `k` is the width of VGG-like"""
    vgg = []
    for convolutions, filters in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        vgg += [("conv", int(filters * k), 3, 1), ("norm",), ("relu",)] * convolutions + [("pool",)]
    return {
        "lenet-300-100": ((784,), [("dense", 300), ("relu",), ("dense", 100), ("relu",), ("dense", 10)]),
        "lenet-5-caffe": ((1, 28, 28), [
            ("conv", 20, 5, 0), ("relu",), ("pool",), ("conv", 50, 5, 0), ("relu",), ("pool",),
            ("dense", 500), ("relu",), ("dense", 10)]),
        "vgg-like": ((3, 32, 32), [*vgg, ("dense", int(512 * k)), ("norm",), ("relu",), ("dense", 10)]),
    }


def shapes(name, k):
    """The layers of a network, each with the shape of its input and of its weights (None without)."""
    shape, layers = networks(k)[name]
    for kind, *arguments in layers:
        if kind == "conv":
            filters, size, pad = arguments
            yield kind, arguments, shape, (filters, shape[0], size, size)
            shape = (filters, *(side + 2 * pad - size + 1 for side in shape[1:]))
        elif kind == "dense":
            yield kind, arguments, shape, (int(np.prod(shape)), arguments[0])
            shape = (arguments[0],)
        else:
            yield kind, arguments, shape, None
            shape = (shape[0], shape[1] // 2, shape[2] // 2) if kind == "pool" else shape


def flops(name, k):
    """Floating point operations of a step in products of matrices: mean and variance, forward and both gradients."""
    total, first = 0, True
    for kind, arguments, shape, weights in shapes(name, k):
        if weights:
            positions = 1
            if kind == "conv":
                positions = np.prod([side + 2 * arguments[2] - arguments[1] + 1 for side in shape[1:]])
            products = 2 * (2 if first else 3)  # nobody needs the gradient to the images
            total += products * 2 * BATCH * int(np.prod(weights)) * int(positions)
            first = False
    return total


def initial(name, k, generator):
    """theta, log sigma^2 and biases of each layer that has weights; scale and shift of each that normalizes."""
    found = []
    for kind, arguments, shape, weights in shapes(name, k):
        if weights:
            fan = 2 / np.sqrt(np.prod(weights[1:])) if kind == "conv" else 0.01
            units = weights[0] if kind == "conv" else weights[1]
            found.append([(fan * generator.standard_normal(weights)).astype("float32"),
                          np.full(weights, -10, "float32"), np.zeros(units, "float32")])
        elif kind == "norm":
            found.append([np.ones(shape[0], "float32"), np.zeros(shape[0], "float32")])
        else:
            found.append([])
    return found


def pytorch(name, k, compiled, device="cpu", tf32=False):
    import torch
    import torch.nn.functional as F

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    torch.set_default_device(device)
    params = [[torch.tensor(array, requires_grad=True) for array in layer]
              for layer in initial(name, k, np.random.default_rng(1))]
    layers = list(shapes(name, k))
    running = [[torch.zeros(len(layer[0])), torch.ones(len(layer[0]))] if kind == "norm" else None
               for (kind, *_), layer in zip(layers, params)]

    def forward(x, training):
        kl = 0.0
        for (kind, arguments, _, weights), own, averages in zip(layers, params, running):
            if weights:
                theta, log_sigma2, b = own
                log_alpha = torch.clamp(log_sigma2 - torch.log(theta ** 2 + EPSILON), -CLIP, CLIP)
                kept = theta * (log_alpha < THRESHOLD)
                if kind == "conv":
                    def linear(x, w):
                        return F.conv2d(x, w, padding=arguments[2])
                else:
                    x = x.flatten(1)
                    linear = torch.matmul
                out = linear(x, kept)
                if training:
                    noisy = kept if kind == "conv" else theta
                    variance = linear(x ** 2, torch.exp(log_alpha) * noisy ** 2)
                    out = out + torch.sqrt(variance + EPSILON) * torch.randn_like(out)
                    kl = kl + (K1 - K1 * torch.sigmoid(K2 + K3 * log_alpha) + 0.5 * F.softplus(-log_alpha)).sum()
                x = out + (b[:, None, None] if kind == "conv" else b)
            elif kind == "norm":
                x = F.batch_norm(x, *averages, *own, training, 0.1, 1e-3)
            else:
                x = F.relu(x) if kind == "relu" else F.max_pool2d(x, 2)
        return x, kl

    flat = [tensor for layer in params for tensor in layer]
    optimizer = torch.optim.Adam(flat, RATE)

    def loss_of(x, labels):
        logits, kl = forward(x, True)
        return NUM_EXAMPLES * F.cross_entropy(logits, labels) + kl

    def predict(x):
        return forward(x, False)[0]

    if compiled:
        loss_of, predict = torch.compile(loss_of), torch.compile(predict)

    def train(images, labels):
        optimizer.zero_grad()
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss

    def run_prediction(images, labels):
        with torch.no_grad():
            return predict(images)

    images, labels = batch(name, k)
    images, labels = torch.tensor(images), torch.tensor(labels).long()
    return train, run_prediction, lambda result: result.detach().cpu(), images, labels


def jax(name, k, compiled):
    import jax
    import jax.numpy as jnp
    from jax import lax

    layers = list(shapes(name, k))
    params = [[jnp.asarray(array) for array in layer] for layer in initial(name, k, np.random.default_rng(1))]

    def forward(params, x, key, training):
        kl = 0.0
        for number, ((kind, arguments, _, weights), own) in enumerate(zip(layers, params)):
            if weights:
                theta, log_sigma2, b = own
                log_alpha = jnp.clip(log_sigma2 - jnp.log(theta ** 2 + EPSILON), -CLIP, CLIP)
                kept = theta * (log_alpha < THRESHOLD)
                if kind == "conv":
                    def linear(x, w):
                        return lax.conv_general_dilated(x, w, (1, 1), [(arguments[2],) * 2] * 2)
                else:
                    x = x.reshape(len(x), -1)
                    linear = jnp.matmul
                out = linear(x, kept)
                if training:
                    noisy = kept if kind == "conv" else theta
                    variance = linear(x ** 2, jnp.exp(log_alpha) * noisy ** 2)
                    noise = jax.random.normal(jax.random.fold_in(key, number), out.shape)
                    out = out + jnp.sqrt(variance + EPSILON) * noise
                    kl += (K1 - K1 * jax.nn.sigmoid(K2 + K3 * log_alpha) + 0.5 * jax.nn.softplus(-log_alpha)).sum()
                x = out + (b[:, None, None] if kind == "conv" else b)
            elif kind == "norm":
                # Running averages are left out, a few numbers a channel: a prediction takes 0 and 1.
                axes, shape = (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
                if training:
                    x = (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + 1e-3)
                x = x * own[0].reshape(shape) + own[1].reshape(shape)
            elif kind == "relu":
                x = jax.nn.relu(x)
            else:
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        return x, kl

    def loss_of(params, images, labels, key):
        logits, kl = forward(params, images, key, True)
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()
        return NUM_EXAMPLES * nll + kl

    def step(state, images, labels):
        params, means, squares, count, key = state
        key, own = jax.random.split(key)
        loss, gradients = jax.value_and_grad(loss_of)(params, images, labels, own)
        count += 1
        rate = RATE * jnp.sqrt(1 - 0.999 ** count) / (1 - 0.9 ** count)
        means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
        squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, squares, gradients)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, means, squares)
        return (params, means, squares, count, key), loss

    step = jax.jit(step, donate_argnums=0)
    predicted = jax.jit(lambda params, images: forward(params, images, None, False)[0])
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = [(params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0), jax.random.key(1))]

    def train(images, labels):
        state[0], loss = step(state[0], images, labels)
        return loss

    def predict(images, labels):
        return predicted(state[0][0], images)

    return train, predict, np.asarray, *map(jnp.asarray, batch(name, k))


def batch(name, k):
    generator = np.random.default_rng(1)
    images = generator.standard_normal((BATCH, *networks(k)[name][0]), dtype="float32")
    return images, generator.integers(0, 10, BATCH).astype("int32")


#: name : (what builds it, its arguments)
PEERS = {"PyTorch": (pytorch, (False,)), "torch.compile": (pytorch, (True,)), "JAX": (jax, (True,))}
GPU_PEERS = {"PyTorch, GPU": (pytorch, (False, "cuda")), "PyTorch, GPU, TF32": (pytorch, (False, "cuda", True))}
#: Steps a time on a GPU.
AT_ONCE = 20
#: Calls of a turn before those that are measured.
WARM_UP = 3


def main(peer, name, k, steps):
    build, arguments = {**PEERS, **GPU_PEERS}[peer]
    began = time.perf_counter()
    train, predict, wait_for, images, labels = build(name, k, *arguments)

    def repeat(function, times):
        for _ in range(times):
            result = function(images, labels)
        wait_for(result)

    repeat(train, 1)
    # This project's steps do not wait for the card either; its predictions are fetched one by one.
    at_once = AT_ONCE if peer in GPU_PEERS else 1
    take_turns(time.perf_counter() - began, steps, (at_once, lambda: repeat(train, at_once)),
               (1, lambda: repeat(predict, 1)))


def take_turns(compilation, steps, *functions, also=lambda: ()):
    """Times functions once for each line of the standard input, and prints, as JSON, one line each.

    Printed are first the seconds until the first step had ended; then, of each turn, a list of the seconds of each
    function's calls, the peak memory in MiB, and what `also` returns.

    Parameters
    ----------
    functions : (int, callable)
        how many steps a call makes, and the call
    """
    print(json.dumps(compilation), flush=True)
    for _ in sys.stdin:
        found = []
        for number, function in functions:
            seconds = []
            for _ in range(WARM_UP + steps):
                began = time.perf_counter()
                function()
                seconds.append((time.perf_counter() - began) / number)
            found.append(seconds[WARM_UP:])
        print(json.dumps([*found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, *also()]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
