"""Logistic regression with SparseVD, beside L1-regularized logistic regression and ARD of scikit-learn.

    python experiments/logistic_regression.py                              scikit-learn's digits, 64 pixels; a minute
    python experiments/logistic_regression.py --dataset digits-8x8-noise   with as many features that are only noise
    python experiments/logistic_regression.py --dataset mnist

The comparison is of the authors' 2016 workshop poster. The strength of L1 is chosen on a tenth of the training images;
ARD (automatic relevance determination) regresses each class against the others, as a relevance vector machine with
linear kernel does.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from nets.architectures import logistic_regression
from nets.schedules import LinearDecay, LinearWarmUp
from experiments.common import baselines, cli, experiment

# The poster gives none. With a warm-up, weights that separate the few training images grow too large to be pruned.
HYPER_PARAMETERS = {
    "sparse-vd": dict(
        learning_rate=LinearDecay(3e-2, 100, 200),        # Adam; from epoch 100 on it falls linearly, to 0 at 200
        kl_weight=LinearWarmUp(5, 20),                    # only with --kl-warm-up
        log_sigma2=-3.0,                                  # where log sigma^2 starts
        train_clip=True),                                 # pruned weights are left out of the mean in training too
    "dense": dict(learning_rate=LinearDecay(3e-2, 100, 200)),
}


def main():
    options = cli.parse(__doc__, "logistic_regression", dataset="digits-8x8", method="sparse-vd", epochs=200,
                        kl_warm_up=False)
    run, dataset = experiment.train(options, "Logistic regression", logistic_regression, HYPER_PARAMETERS)
    baselines.compare(run, dataset)


if __name__ == "__main__":
    cli.main(main)
