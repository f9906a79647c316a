"""SparseVD for a language model of words: an LSTM, by Lobacheva, Chirkova and Vetrov (2018).

    python experiments/word_lm.py --vocabulary 10000          the words of the King James Bible
    python experiments/word_lm.py --dataset made-up --units 32 --epochs 10    no download
    python experiments/word_lm.py --structure vocabulary      words are pruned as wholes, too
    python experiments/word_lm.py --method dense              the network to compare with, at its best epoch
    python experiments/word_lm.py --dataset ptb --epochs 150  as in the paper

Figures are perplexities. The text is read as 32 streams side by side, whose state goes on from batch to batch.
"""

import _setup  # noqa: F401  must come first: prepares Theano

from experiments.common.cli import Experiment
from experiments.common.experiment import run_script
from nets.schedules import Constant

EXPERIMENT = Experiment(
    name="word_lm",
    networks=("word-lstm",),
    dataset="bible",
    source="words",
    epochs=50,
    # The authors' values, but for epochs.
    defaults=dict(batch_size=32, length=35, units=256, clip_norm=10.0),
    methods={
        "sparse-vd": dict(
            learning_rate=Constant(2e-3),
            log_sigma2=-6.0,                         # where log sigma^2 starts
            noise_rate=2.0,                          # they train log sigma
            kl_warm_up=False, threshold=3.0),
        "dense": dict(learning_rate=Constant(2e-3), best_epoch=True),
    })


if __name__ == "__main__":
    run_script(EXPERIMENT, __doc__)
