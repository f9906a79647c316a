"""SparseVD for the classification of texts: embedding and LSTM, by Chirkova, Lobacheva and Vetrov (2018).

    python experiments/text_classification.py                 sentiment of film reviews, 5,000 words
    python experiments/text_classification.py --dataset made-up --epochs 10    no download
    python experiments/text_classification.py --structure vocabulary           words are pruned as wholes, too
    python experiments/text_classification.py --method dense                   the network to compare with
    python experiments/text_classification.py --dataset imdb --vocabulary 20000 --length 200 --embedding 300 --units 128
                                              --learning-rate 5e-4 --no-kl-warm-up --epochs 800    as in the paper
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from nets.schedules import Constant, LinearWarmUp

EXPERIMENT = Experiment(
    name="text_classification",
    networks=("text-lstm",),
    dataset="reviews",
    source="documents",
    epochs=150,
    # Smaller than the authors', and at four times their rate: log sigma^2 gets to where weights are pruned in fewer
    # epochs.
    defaults=dict(batch_size=128, vocabulary=5000, length=100, embedding=64, units=64),
    methods={
        "sparse-vd": dict(
            learning_rate=Constant(2e-3),
            log_sigma2=-6.0,                         # where log sigma^2 starts
            noise_rate=2.0,                          # they train log sigma
            # Theirs has its full weight from the start. At this rate all words then go before anything is learned.
            warm_up=LinearWarmUp(begin=5, end=20),
            threshold=3.0),
        "dense": dict(learning_rate=Constant(5e-4), epochs=30, best_epoch=True),
    })


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)
