"""Training a network: compiled functions, state, and the loop over epochs with checkpoints."""

import signal
import time

import numpy as np
import nets  # noqa: F401  prepares Theano
import lasagne
import theano
import theano.tensor as T
from tqdm import tqdm

from nets import kernels, objectives, sparsity
from nets.kernels.adam import adam
from nets.params import named_params
from utils import tables
from utils.errors import UserError
from utils.runs import SPARSITY
from utils.threads import FairShare

__all__ = ["Predictor", "Trainer", "Evaluation", "fit", "seed_generators"]

EVALUATION_BATCH = 250


def seed_generators(seed):
    """Seeds initial weights and training noise (Lasagne's generator); returns the one that shuffles and augments."""
    lasagne.random.set_rng(np.random.RandomState(seed))
    return np.random.Generator(np.random.PCG64(seed))


class Evaluation:
    """How well a network does on a set: `nll`, the mean of -log p(label | image) in nats, and `error_percent`."""

    def __init__(self, nll_sum, errors, num_images):
        self.nll = float(nll_sum) / num_images
        self.error_percent = 100.0 * float(errors) / num_images


class Predictor:
    """A network with its compiled predictions.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
        the output layer, of class probabilities
    """

    def __init__(self, net):
        self.net = net
        images, labels = _inputs(net)
        pruned = lasagne.layers.get_output(net, images, deterministic=True)
        nll = objectives.negative_log_likelihood(pruned, labels) * labels.size
        self._evaluate = theano.function([images, labels], [nll, _errors(pruned, labels)])
        self.count_layers = sparsity.counting_function(net)

    def evaluate(self, images, labels):
        """The :class:`Evaluation` of the pruned network's predictions of all given images."""
        nll = errors = 0.0
        for start in range(0, len(images), EVALUATION_BATCH):
            batch = self._evaluate(images[start:start + EVALUATION_BATCH], labels[start:start + EVALUATION_BATCH])
            nll, errors = nll + float(batch[0]), errors + int(batch[1])
        return Evaluation(nll, errors, len(images))

    def weights(self):
        """The trained parameters, unpruned: {"layer.param": array}, theta as W."""
        return {name: variable.get_value() for name, variable in named_params(self.net).items()}


class Trainer(Predictor):
    """A network with its objective, optimizer (Adam) and compiled functions.

    Parameters
    ----------
    net : :class:`lasagne.layers.Layer`
        the output layer, of class probabilities
    num_examples : int
        the size of the training set, N in the objective
    l2 : float
        the weight of the sum of squared weights, which is added to the mean of -log p(y | x)

    References
    ----------
    Molchanov, Ashukha, Vetrov (2017), section 3 (the objective) and 5 (Adam).
    """

    def __init__(self, net, num_examples, l2=0.0):
        super().__init__(net)
        self.num_examples = num_examples
        self._learning_rate = theano.shared(np.float32(0), "learning_rate")
        self._kl_weight = theano.shared(np.float32(0), "kl_weight")
        # Sums over an epoch of -log p(y | x), wrong predictions and KL. They stay on the device; one fetch an epoch.
        self._totals = theano.shared(np.zeros(3), "totals")

        images, labels = _inputs(net)
        kl = objectives.kl_divergence(net)

        noisy = lasagne.layers.get_output(net, images, deterministic=False)
        nll = objectives.negative_log_likelihood(noisy, labels)
        penalty = l2 * lasagne.regularization.regularize_network_params(net, lasagne.regularization.l2) if l2 else 0
        loss = objectives.negative_sgvlb(nll + penalty, kl, num_examples, self._kl_weight)
        params = lasagne.layers.get_all_params(net, trainable=True)
        updates = (adam if kernels.enabled() else lasagne.updates.adam)(loss, params, self._learning_rate)
        self._optimizer_state = [variable for variable in updates if variable not in params]
        # Not T.stack, which would fetch the three from a GPU.
        batch_totals = T.concatenate([T.cast(total, "float64").dimshuffle("x")
                                      for total in (nll * labels.size, _errors(noisy, labels), kl)])
        updates[self._totals] = self._totals + batch_totals
        self._train = theano.function([images, labels], updates=updates)
        self._threads = FairShare()

        self._kl = theano.function([], kl)

    def train_epoch(self, batches, learning_rate, kl_weight, progress=None):
        """A step on each of the batches, an iterable of (images, labels).

        Returns
        -------
        tuple
            the :class:`Evaluation` of the noisy predictions, and the mean KL of the steps
        """
        self._learning_rate.set_value(np.float32(learning_rate))
        self._kl_weight.set_value(np.float32(kl_weight))
        self._totals.set_value(np.zeros(3))
        num_batches = num_images = 0
        for images, labels in batches:
            self._train(images, labels)
            self._threads.adapt()
            num_batches, num_images = num_batches + 1, num_images + len(labels)
            if progress:
                progress.update()
        nll, errors, kl = self._totals.get_value()
        return Evaluation(nll, errors, num_images), float(kl) / num_batches

    def kl(self):
        """The sum of KL(q || p) over all weights, in nats."""
        return float(self._kl())

    def state(self):
        """All that training depends on but the schedules, the data and their order: {name: array}."""
        return {name: variable.get_value() for name, variable in self._named_state().items()}

    def set_state(self, arrays, where):
        """Sets what `state` gave. `where` names the arrays' file in errors.

        Raises
        ------
        UserError
            if the arrays are of another network.
        """
        variables = self._named_state()
        expected = {name: _kind(variable.get_value(borrow=True)) for name, variable in variables.items()}
        found = {name: _kind(array) for name, array in arrays.items()}
        for name in {**expected, **found}:
            if expected.get(name) != found.get(name):
                raise UserError(f"{where} is of another network: it has {name} as {found.get(name, 'nothing')}, this "
                                f"network as {expected.get(name, 'nothing')}")
        for name, variable in variables.items():
            variable.set_value(arrays[name])

    def _named_state(self):
        named = {f"param/{name}": variable for name, variable in named_params(self.net).items()}
        named.update((f"adam/{number:03d}", variable) for number, variable in enumerate(self._optimizer_state))
        # What the training step advances by itself, whichever layer it belongs to; running averages are parameters.
        params = [variable.container for variable in named_params(self.net).values()]
        generators = [variable for variable in self._train.get_shared()
                      if getattr(variable, "default_update", None) is not None and variable.container not in params]
        named.update((f"noise/{number:03d}", variable) for number, variable in enumerate(generators))
        return named


def fit(trainer, dataset, run, *, epochs, batch_size, learning_rate, kl_weight, generator, augmentation=None,
        after_epoch=None):
    """Trains up to `epochs`, from the run's checkpoint if it has one; one row an epoch, one checkpoint an epoch.

    Ctrl-C (or SIGTERM) lets the epoch end and stops; a second one stops at once.

    Parameters
    ----------
    trainer : :class:`Trainer`
    dataset : :class:`data.dataset.Dataset`
    run : :class:`utils.runs.Run`
    learning_rate, kl_weight : callable(epoch) -> float
        see :mod:`nets.schedules`
    generator : numpy.random.Generator
        orders the training set, and is the source of the augmentation's randomness
    augmentation : callable(images, generator) -> images, or None
        changes each batch of training images, see :mod:`data.augmentation`
    after_epoch : callable(int), or None
        called with 0 before the first epoch, and with the number of completed ones after each

    Returns
    -------
    tuple
        the history, a list with a dict for each completed epoch, and whether all epochs are completed

    Raises
    ------
    UserError
        if the loss or a weight becomes NaN or infinite (the last good checkpoint is kept), the checkpoint is of
        another network, or a file cannot be written.
    """
    after_epoch = after_epoch or (lambda epoch: None)
    history, start = [], 0
    if run.checkpoint:
        arrays, start, history, generator.bit_generator.state = run.checkpoint
        trainer.set_state(arrays, run.path("checkpoint.npz"))
        run.write_history(history)
        run.log(f"Resumed after epoch {start} of {epochs}.")
    else:
        after_epoch(0)

    table = tables.EpochTable(epochs)
    with _Interruption(run) as interruption:
        for epoch in range(start, epochs):
            began = time.perf_counter()
            rates = learning_rate(epoch), kl_weight(epoch)
            with tqdm(total=dataset.train.num_batches(batch_size), desc=f"epoch {epoch + 1}/{epochs}", unit="step",
                      leave=False, disable=None) as progress:
                train, kl = trainer.train_epoch(dataset.train.batches(batch_size, generator, augmentation), *rates,
                                                progress)
            arrays = trainer.state()
            _require_finite(train.nll + kl, arrays, epoch, run)
            row = _row(trainer, dataset, epoch, rates, train, kl)
            row["seconds"] = round(time.perf_counter() - began, 2)
            history.append(row)
            run.save_checkpoint(arrays, epoch + 1, history, generator.bit_generator.state)
            run.log(table.line(row))
            after_epoch(epoch + 1)
            if interruption.asked and epoch + 1 < epochs:
                return history, False
    return history, True


def _row(trainer, dataset, epoch, rates, train, kl):
    test = trainer.evaluate(dataset.test.inputs, dataset.test.targets)
    layers = trainer.count_layers()
    kl_weight = rates[1]
    final_kl = trainer.kl()
    row = {
        "epoch": epoch + 1, "learning_rate": rates[0], "kl_weight": kl_weight,
        # Per training image, so that both are comparable: -log p(y | x) + rw KL / N.
        "train_loss": train.nll + kl_weight * kl / trainer.num_examples,
        "test_loss": test.nll + kl_weight * final_kl / trainer.num_examples,
        "train_nll": train.nll, "test_nll": test.nll,
        "train_error_percent": train.error_percent, "test_error_percent": test.error_percent, "kl": final_kl}
    row.update((SPARSITY + layer.name, layer.sparsity_percent) for layer in layers)
    row["compression"] = sparsity.total(layers).compression
    return row


def _inputs(net):
    """Theano variables for a batch of the network's images and their labels."""
    input_shape = lasagne.layers.get_all_layers(net)[0].shape
    return T.TensorType(theano.config.floatX, (False,) * len(input_shape))("images"), T.ivector("labels")


def _errors(probabilities, labels):
    return T.sum(T.neq(T.argmax(probabilities, axis=1), labels))


def _kind(array):
    return f"{array.dtype}{list(array.shape)}"


def _require_finite(loss, arrays, epoch, run):
    bad = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if bad or not np.isfinite(loss):
        what = f"{bad[0].split('/')[-1]} became NaN or infinite" if bad else "the loss became NaN or infinite"
        kept = f"the checkpoint after epoch {epoch} is kept in {run.folder}" if epoch else "no epoch was completed"
        raise UserError(f"{what} in epoch {epoch + 1}; {kept}. Start a new run with another --seed or --batch-size, or "
                        "a lower learning rate")


class _Interruption:
    """While active, the first Ctrl-C or SIGTERM only sets `asked`; the second one acts as usual."""

    def __init__(self, run):
        self._run = run
        self.asked = False

    def __enter__(self):
        self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        tqdm.write("Stopping after this epoch; Ctrl-C again stops at once and loses the epoch.")
