"""What every experiment does with its command line and hyper-parameters: trains, prunes, reports."""

from dataclasses import replace

import data
from nets import methods
from utils import report, runs
from utils.training import Trainer, fit, seed_generators

__all__ = ["train"]


def train(options, network, build, hyper_parameters):
    """Trains a network as the command line says, after its pretraining if that is asked for, and reports.

    Parameters
    ----------
    options : argparse.Namespace
        see :func:`utils.cli.parse`
    network : str
        its name in the tables
    build : callable(method, input_shape=..., num_classes=...) -> :class:`lasagne.layers.Layer`
        see :mod:`nets.architectures`
    hyper_parameters : dict
        for each method that the script offers a dict of `learning_rate` and, where the method has them, `kl_weight`,
        `log_sigma2`, `train_clip`, `l2` (the weight of the sum of squares), `augmentation`

    Raises
    ------
    UserError
        if anything that the user can mend is in the way.
    SystemExit
        if the training was stopped before its last epoch.
    """
    hyper = {**hyper_parameters[options.method], "method": options.method}
    if "log_sigma2" in hyper and options.log_sigma2 is not None:
        hyper["log_sigma2"] = options.log_sigma2
    rate = hyper["learning_rate"]
    hyper["learning_rate"] = replace(rate, initial=options.learning_rate or rate.initial)
    stretch = options.epochs / rate.end
    hyper.update((name, hyper[name].stretched(stretch)) for name in ("learning_rate", "kl_weight") if name in hyper)
    dataset = data.load(options.dataset, options.data_dir)
    run = runs.start(options, dataset, network=network, **hyper)

    generator = seed_generators(options.seed)
    net = build(_method(options, hyper), input_shape=dataset.train_images.shape[1:], num_classes=dataset.num_classes)
    trainer = Trainer(net, num_examples=len(dataset.train_images), l2=hyper.get("l2", 0.0))
    history, completed = fit(trainer, dataset, run, epochs=options.epochs, batch_size=options.batch_size,
                             learning_rate=hyper["learning_rate"], kl_weight=hyper.get("kl_weight", _no_kl),
                             generator=generator, augmentation=hyper.get("augmentation"))
    report.finish(run, trainer, history, completed)


def _method(options, hyper):
    if options.method == "sparse-vd":
        return methods.sparse_vd(options.threshold, hyper["train_clip"], hyper["log_sigma2"])
    return {"dense": methods.dense, "binary-dropout": methods.binary_dropout}[options.method]()


def _no_kl(epoch):
    return 0.0
