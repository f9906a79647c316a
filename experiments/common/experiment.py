"""What every experiment does with its command line and hyper-parameters: loads, trains, prunes, reports."""

import argparse
from dataclasses import replace

import nets  # noqa: F401  prepares Theano
from lasagne.layers import get_all_layers

import data
from nets import kernels, methods, sparsity
from nets.schedules import Constant
from utils import runs, tables
from nets.training import warm_start
from utils.errors import UserError
from utils.pictures import Snapshots
from nets.training.trainer import Trainer, fit, seed_generators

__all__ = ["train"]


def train(options, network, build, hyper_parameters, after_epoch=None):
    """Trains a network as the command line says, after its pretraining if that is asked for, and reports.

    Parameters
    ----------
    options : argparse.Namespace
        see :func:`experiments.common.cli.parse`
    network : str
        its name in the tables
    build : callable(method, input_shape=..., num_classes=...) -> :class:`lasagne.layers.Layer`
        see :mod:`nets.architectures`
    hyper_parameters : dict
        for each method that the script offers, a dict of `learning_rate` and, where the method has them, `kl_weight`,
        `log_sigma2` (and `log_sigma2_from_weights`, where it starts from weights of a dense net), `train_clip`, `l2`
        (the weight of the sum of squares), `augment` (whether to change images; how is the data set's matter)
    after_epoch : callable(epoch, run, net, dataset), or None
        called with epoch 0 before the first epoch, and with the number of completed ones after each; not in pretraining

    Returns
    -------
    tuple
        the finished :class:`utils.runs.Run`, and the :class:`data.dataset.Dataset`

    Raises
    ------
    UserError
        if anything that the user can mend is in the way.
    SystemExit
        if the training was stopped before its last epoch.
    """
    if options.method not in hyper_parameters:
        raise UserError(f"there is no --method {options.method} here, only {', '.join(hyper_parameters)}")
    dataset = data.load(options.dataset, options.data_dir, options.preprocessing,
                        options.seed if options.random_labels else None, options.variant, options.validation)
    arguments = dataset, network, build, hyper_parameters
    if options.pretrain and not options.stored:
        dense = _pretraining(options)
        if not runs.is_finished(dense.folder):
            _train(dense, *arguments)
        options.init_from = options.settings["init_from"] = dense.folder
    return _train(options, *arguments, after_epoch), dataset


def _pretraining(options):
    """The options of the training whose weights `options` starts from."""
    own = dict(method=options.pretrain, pretrain=None, init_from=None, learning_rate=None, log_sigma2=None,
               flags=[flag for flag in options.flags
                      if not flag.startswith(("--learning-rate", "--log-sigma2", "--no-kl-warm-up"))])
    folder = f"{options.folder}-{options.pretrain}"
    return argparse.Namespace(**{
        **vars(options), **own, "settings": {**options.settings, **own}, "folder": folder,
        "resume": runs.holds_run(folder), "stored": runs.stored_settings(folder),
        "resume_hint": f"the same command with --output {options.folder} --resume"})


def _train(options, dataset, network, build, hyper_parameters, after_epoch=None):
    hyper = _hyper_parameters(options, hyper_parameters[options.method], dataset.augmentation)
    from_weights = hyper.pop("log_sigma2_from_weights", None)
    if options.init_from and options.log_sigma2 is None and from_weights is not None:
        hyper["log_sigma2"] = from_weights
    kernels.use_plain_graph(options.plain_graph)
    generator = seed_generators(options.seed)
    shape = dataset.train.inputs.shape[1:]
    try:
        net = build(_method(options, hyper), input_shape=shape, num_classes=dataset.num_classes)
    except ValueError as error:
        raise UserError(f"{network} does not take the images of {dataset.name}, {'x'.join(map(str, shape))}: {error}; "
                        "choose another --dataset") from None
    # Before the run's folder is made, which weights that do not fit should not leave behind. A run that goes on has
    # its weights in its checkpoint.
    start, remark = options.stored.get("start", "random"), None
    if options.init_from and not (options.resume and runs.has_checkpoint(options.folder)):
        source = warm_start.Source(options.init_from)
        start, remark = source.description, _warm_start(source, net, options, hyper)

    run = runs.start(options, dataset, network=network, start=start, **hyper)
    trainer = Trainer(net, num_examples=len(dataset.train), l2=hyper["l2"])
    if remark:
        already = sparsity.total(trainer.count_layers()).sparsity_percent
        run.log(f"{remark}; {already:.1f} % of the weights are pruned before the first step")
    pictures = Snapshots(run, net) if options.snapshots else None

    def after(epoch):
        if pictures:
            pictures.take(epoch)
        if after_epoch:
            after_epoch(epoch, run, net, dataset)

    history, completed = fit(trainer, dataset, run, epochs=options.epochs, batch_size=options.batch_size,
                             learning_rate=hyper["learning_rate"], kl_weight=hyper["kl_weight"],
                             generator=generator, augmentation=hyper["augmentation"],
                             after_epoch=after)
    if pictures:
        run.log("Drawn: " + ", ".join(pictures.draw()))
    tables.finish(run, trainer, dataset, history, completed)
    return run


def _hyper_parameters(options, defaults, augmentation):
    """The script's hyper-parameters for the method, with what the command line says in their place."""
    hyper = {"l2": 0.0, "kl_weight": Constant(0.0), **defaults}
    rate = hyper["learning_rate"]
    if not options.kl_warm_up:
        hyper["kl_weight"] = Constant(hyper["kl_weight"](rate.end))
    if "log_sigma2" in hyper and options.log_sigma2 is not None:
        hyper["log_sigma2"] = options.log_sigma2
    hyper["learning_rate"] = replace(rate, initial=options.learning_rate or rate.initial)
    for name in ("learning_rate", "kl_weight"):
        hyper[name] = hyper[name].stretched(options.epochs / rate.end)
    by_default = hyper.pop("augment", False)
    wanted = by_default if options.augment is None else options.augment
    hyper["augmentation"] = augmentation if wanted else None
    return hyper


def _method(options, hyper):
    if options.method == "sparse-vd":
        return methods.sparse_vd(options.threshold, hyper["train_clip"], hyper["log_sigma2"],
                                 options.parameterization, options.kl)
    return methods.dense() if options.method == "dense" else methods.binary_dropout(options.dropout_rate)


def _warm_start(source, net, options, hyper):
    """Copies the weights; returns the line that tells of it."""
    found = source.copy_to(net)
    variances = ""
    if options.method == "sparse-vd":
        if found and options.log_sigma2 is None:
            hyper["log_sigma2"] = None  # in the configuration: no one value
            variances = ", noise from there too"
        else:
            for layer in get_all_layers(net):
                if hasattr(layer, "set_log_sigma2"):
                    layer.set_log_sigma2(hyper["log_sigma2"])
            variances = f", log sigma^2 = {hyper['log_sigma2']:g}"
    return f"Starts from {source.path} ({source.description}){variances}"
