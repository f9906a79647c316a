# %% [markdown]
# # Sparse variational dropout, step by step
#
# The method of [Molchanov, Ashukha, Vetrov (2017)](https://arxiv.org/abs/1701.05369) in one sitting: a layer written
# down from the paper's formulas, a training loop in sight, and a look at what happens to the weights. It runs in a
# minute on a CPU, two the first time, when Theano compiles. It has two forms that are the same text:
#
#     python experiments/step_by_step.py      as a script; pictures go to results/step_by_step/
#     make notebook                           as a notebook, experiments/step_by_step.ipynb
#
# The data are scikit-learn's 1,797 digits, which need no download, or MNIST if its files are there.
# `SPARSEVD_EPOCHS=2` in the environment makes a rough version of a few seconds.
#
# Nothing here is needed by the rest of the project: its own layers (`nets/layers/sparse_vd.py`) and training loop
# (`nets/training/loop.py`) do the same, but also save, resume, and run several times as fast.

# %%
import _setup  # noqa: F401  must come first: makes the project's folders importable

import os
import sys

import nets  # noqa: F401  prepares Theano for today's machines
import lasagne
import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse
import theano
import theano.tensor as T
from lasagne.init import Constant, Normal
from lasagne.layers import InputLayer, Layer, get_all_params, get_output
from lasagne.nonlinearities import rectify, softmax
from theano.sandbox.rng_mrg import MRG_RandomStreams

import data
from experiments.common import status

PICTURES = os.path.join("results", "step_by_step")
IN_NOTEBOOK = "ipykernel" in sys.modules


def show(name):
    """Shows a picture in a notebook, saves it in a script."""
    plt.tight_layout()
    if not IN_NOTEBOOK:
        os.makedirs(PICTURES, exist_ok=True)
        plt.savefig(os.path.join(PICTURES, f"{name}.png"))
        print(f"picture: {os.path.join(PICTURES, name)}.png")
    plt.show()


if not IN_NOTEBOOK:
    status.Parser("step_by_step", f"Sparse variational dropout, step by step; pictures go to {PICTURES}.").parse_args()
    plt.switch_backend("agg")

# %% [markdown]
# ## The data
#
# Images are pixels / 256, minus the mean image of the training set. The digits are enlarged from 8x8 to 28x28, the size
# of MNIST's.

# %%
digits = data.download.find(data.mnist.MNIST, unpack=data.archives.gunzip) is None
dataset = data.load("digits" if digits else "mnist")
N = len(dataset.train)
print(f"{dataset.name}: {N:,} images to train on, {len(dataset.test):,} to test on")

plt.figure(figsize=(8, 1.3))
for place in range(10):
    plt.subplot(1, 10, place + 1, title=f"{dataset.train.targets[place]}")
    plt.imshow(dataset.train.inputs[place, 0], cmap="gray")
    plt.axis("off")
show("data")

# %% [markdown]
# ## The idea
#
# Each weight has a distribution of its own in place of a value, $q(w) = N(\theta, \sigma^2)$. The mean $\theta$ and the
# variance $\sigma^2$ are both trained, and what matters is their ratio
#
# $$\alpha = \sigma^2 / \theta^2, \qquad \log\alpha = \log\sigma^2 - \log\theta^2 .$$
#
# A weight with a large $\alpha$ is mostly noise, and a network that predicts well in spite of it does not need the
# weight.
#
# Training minimizes
#
# $$ -\frac{N}{B} \sum_{batch} \log p(y \mid x, w) + rw \sum_{weights} KL(q \,\|\, p), $$
#
# the usual loss with noisy weights (a sum over all $N$ images, estimated from a batch of $B$), and for each weight a
# distance to the prior $p(\log|w|) = const$. The factor $rw$ grows from 0 to 1 in the first part of the training.
#
# ## The KL term
#
# For this prior, the distance depends on $\alpha$ alone, falls as $\alpha$ grows, and has no closed form. The paper
# fits a formula to it (equation 14). Here it is, beside an estimate from samples: up to a constant, KL is
# $E \log|1 + \sqrt\alpha\,\varepsilon| - \frac12 \log\alpha$ with $\varepsilon \sim N(0, 1)$. We choose the constant so
# that pure noise costs nothing.

# %%
K1, K2, K3 = 0.63576, 1.87320, 1.48695


def kl(log_alpha):
    return K1 - K1 * T.nnet.sigmoid(K2 + K3 * log_alpha) + 0.5 * T.nnet.softplus(-log_alpha)


log_alphas = np.linspace(-8, 8, 65)
epsilon = np.random.default_rng(0).standard_normal(100_000)
sampled = [np.log(abs(1 + np.exp(a / 2) * epsilon)).mean() - a / 2 for a in log_alphas]
sampled += 0.5 * (np.euler_gamma + np.log(2))    # what the first part lacks when alpha is infinite
formula = kl(log_alphas).eval()
print(f"largest difference between the formula and 100,000 samples: {abs(formula - sampled).max():.3f} nats")

plt.figure(figsize=(6, 3))
plt.subplot(1, 1, 1, xlabel="log alpha", ylabel="KL of a weight, nats")
plt.plot(log_alphas, sampled, "o", markersize=3, label="100,000 samples")
plt.plot(log_alphas, formula, label="the paper's formula")
plt.legend()
show("kl")

# %% [markdown]
# ## The layer
#
# A weight drawn anew for each image would be slow, and one drawn for a whole batch would give noisy gradients. Since a
# sum of normal weights is normal, we draw the sum: the pre-activations of a layer with inputs $a$ have the mean
# $a\theta$ and the variance $a^2 \sigma^2$ (the *local reparameterization trick*).
#
# We train $\log\sigma^2$ rather than $\log\alpha$ (the paper's *additive* noise): the noise then does not change with
# $\theta$, whose gradient is far less noisy. Predictions have no noise, and leave out the weights with
# $\log\alpha \ge 3$, which are at least 95 % noise. The threshold is a variable, so that we can move it later.

# %%
FLOAT = theano.config.floatX
threshold = theano.shared(np.asarray(3, FLOAT))
lasagne.random.set_rng(np.random.RandomState(1))
random = MRG_RandomStreams(1)


class SparseVDDense(Layer):
    def __init__(self, incoming, units, nonlinearity):
        super().__init__(incoming)
        shape = (int(np.prod(self.input_shape[1:])), units)
        self.nonlinearity = nonlinearity
        self.theta = self.add_param(Normal(0.01), shape)
        self.log_sigma2 = self.add_param(Constant(-10), shape)
        self.bias = self.add_param(Constant(0), (units,))
        # The small number keeps the gradient finite at theta = 0.
        self.log_alpha = T.clip(self.log_sigma2 - T.log(self.theta ** 2 + 1e-8), -8, 8)
        self.mask = T.lt(self.log_alpha, threshold)     # 1 where a weight is kept

    def get_output_shape_for(self, input_shape):
        return input_shape[0], self.bias.get_value().size

    def get_output_for(self, a, deterministic=False, **kwargs):
        a = a.flatten(2)
        if deterministic:
            return self.nonlinearity(T.dot(a, self.theta * self.mask) + self.bias)
        mean = T.dot(a, self.theta) + self.bias
        variance = T.dot(a ** 2, T.exp(self.log_alpha) * self.theta ** 2)
        return self.nonlinearity(mean + T.sqrt(variance + 1e-8) * random.normal(mean.shape, dtype=FLOAT))


net, layers = InputLayer((None, 1, 28, 28)), []
for units, nonlinearity in ((300, rectify), (100, rectify), (10, softmax)):
    net = SparseVDDense(net, units, nonlinearity)
    layers.append(net)
weights = [layer.theta.get_value().size for layer in layers]
print("LeNet-300-100:", " + ".join(f"{number:,}" for number in weights), f"= {sum(weights):,} weights")

# %% [markdown]
# ## The objective, compiled
#
# One function takes a step of Adam; one measures predictions without noise; one looks at the weights.

# %%
x, y = T.tensor4("images"), T.ivector("labels")
learning_rate, rw = (theano.shared(np.asarray(0, FLOAT)) for _ in range(2))

loss = T.nnet.categorical_crossentropy(get_output(net, x), y).mean()
divergence = sum(kl(layer.log_alpha).sum() for layer in layers)
objective = N * loss + rw * divergence
params = get_all_params(net, trainable=True)
train = theano.function([x, y], loss, updates=lasagne.updates.adam(objective, params, learning_rate))
wrong = T.neq(T.argmax(get_output(net, x, deterministic=True), axis=1), y)
error = theano.function([x, y], 100 * wrong.mean())
kept = theano.function([], [layer.mask.sum() for layer in layers])

# %% [markdown]
# ## Training
#
# Two values change from epoch to epoch: $rw$ grows from 0 to 1 while the first part of the training goes on, for the KL
# term would prune a network that has not learned anything yet; the learning rate falls to 0 over the second half.
#
# Watch the sparsity: noise starts at $\sigma^2 = e^{-10}$ and takes over where the data do not object.

# %%
BATCH = 50 if digits else 100
EPOCHS = int(os.environ.get("SPARSEVD_EPOCHS", 60 if digits else 10))
generator = np.random.default_rng(1)
history = []
print("epoch    rw   loss  error %   sparsity per layer %  compression")     # test error without noise
for epoch in range(EPOCHS):
    done = epoch / EPOCHS
    rw.set_value(min(1.0, max(0.0, (done - 0.05) / 0.55)))
    learning_rate.set_value(1e-3 * min(1.0, 2 - 2 * done))
    losses = [train(*batch) for batch in dataset.train.batches(BATCH, generator)]
    sparsities = [100 - 100 * number / of for number, of in zip(kept(), weights)]
    history.append((error(dataset.test.inputs, dataset.test.targets), *sparsities))
    if (epoch + 1) % max(1, EPOCHS // 12) == 0:
        shown = " - ".join(f"{number:4.1f}" for number in sparsities)
        print(f"{epoch + 1:5}  {rw.get_value():.2f}  {np.mean(losses):.3f}  {history[-1][0]:7.2f}  {shown:>21}  "
              f"{sum(weights) / max(1, sum(kept())):10.0f}x")

# %%
errors, *by_layer = zip(*history)
plt.figure(figsize=(9, 3))
plt.subplot(1, 2, 1, xlabel="epoch", ylabel="test error, %", ylim=(0, 20))
plt.plot(range(1, EPOCHS + 1), errors)
plt.subplot(1, 2, 2, xlabel="epoch", ylabel="sparsity, %", ylim=(0, 101))
for number, sparsity in enumerate(by_layer, 1):
    plt.plot(range(1, EPOCHS + 1), sparsity, label=f"layer {number}")
plt.legend()
show("training")

# %% [markdown]
# ## What became of the weights
#
# The histograms of $\log\alpha$ have two modes: weights that carry something on the left, noise on the right. Their
# heights are on a logarithmic scale, for the left mode is small. Where exactly the threshold lies between the two
# hardly matters.

# %%
plt.figure(figsize=(9, 2.8))
for number, layer in enumerate(layers, 1):
    plt.subplot(1, 3, number, title=f"layer {number}", xlabel="log alpha", yscale="log")
    plt.hist(layer.log_alpha.eval().ravel(), bins=48, range=(-8, 8))
    plt.axvline(threshold.get_value(), color="black", linestyle="dashed")
show("log_alpha")

# %% [markdown]
# The masks as pictures. On the left, how many weights each pixel of the image has kept: the net looks at a few places
# where digits differ. The other two are whole layers, black where a weight is left. Whole columns of layer 2 are empty:
# most of the 300 units before it are gone, although nothing in the method asks for that.

# %%
masks = [layer.mask.eval() for layer in layers]
figure, axes = plt.subplots(1, 3, figsize=(9, 3), gridspec_kw=dict(width_ratios=(1, 2, 1)))
axes[0].imshow(masks[0].sum(axis=1).reshape(28, 28))
axes[0].set(title="layer 1: weights by pixel")
for number in (2, 3):
    axes[number - 1].imshow(masks[number - 1].T, cmap="gray_r", aspect="auto", interpolation="nearest")
    axes[number - 1].set(title=f"layer {number}", xlabel=f"inputs (units of layer {number - 1})", ylabel="units")
show("masks")
for number in (1, 2):
    alive = masks[number - 1].any(axis=0) & masks[number].any(axis=1)
    print(f"layer {number}: {alive.sum()} of {alive.size} units have weights on both sides")

# %% [markdown]
# ## The threshold, moved by hand
#
# No new training: only predictions change. 8.1 is beyond the clip: nothing is pruned.

# %%
print("threshold   error %   compression")
for value in (-6, -4, -2, 0, 1, 2, 3, 4, 5, 6, 8.1):
    threshold.set_value(value)
    print(f"{value:9}  {error(dataset.test.inputs, dataset.test.targets):8.2f}  "
          f"{sum(weights) / max(1, sum(kept())):11.1f}x")
threshold.set_value(3)

# %% [markdown]
# ## The pruned network on disk
#
# Non-zero weights are worth a sparse format. CSR holds for each one its value and its column, and for each row where it
# begins. Predictions need nothing but numpy and scipy then.

# %%
sparse = [scipy.sparse.csr_matrix(layer.theta.get_value() * layer.mask.eval()) for layer in layers]
a = dataset.test.inputs.reshape(len(dataset.test), -1)
for layer, matrix in zip(layers, sparse):
    a = a @ matrix + layer.bias.get_value()
    a = a if layer is net else np.maximum(a, 0)
print(f"error with sparse matrices: {100 * np.mean(a.argmax(axis=1) != dataset.test.targets):.2f} %")

dense_bytes = sum(layer.theta.get_value().nbytes for layer in layers)
sparse_bytes = sum(part.nbytes for matrix in sparse for part in (matrix.data, matrix.indices, matrix.indptr))
print(f"weights: {dense_bytes:,} bytes as matrices, {sparse_bytes:,} as CSR: 1 / {dense_bytes / sparse_bytes:.0f}")

# %% [markdown]
# ## From here
#
# - [The method](../docs/method.md), with the names that it has in the project's code.
# - `python experiments/lenet_300_100.py` trains this network on MNIST for the paper's table, 200 epochs in minutes.
# - Things to try here: leave out the KL term (`rw` = 0), or its warm-up (`rw` = 1 from the start); start from
#   another $\log\sigma^2$; train for longer.
