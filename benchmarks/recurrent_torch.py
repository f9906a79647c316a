"""The training step of `recurrent_step.py` in PyTorch: nn.LSTM with the same noise, KL term, clip and Adam.

For each number that comes on standard input, it makes as many steps and prints their seconds as a JSON list.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

CLIP, EPSILON = 8.0, 1e-8
K1, K2, K3 = 0.63576, 1.87320, 1.48695


def main(units, batch, steps, symbols):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    num_examples = 1000 * batch * steps
    lstm = torch.nn.LSTM(symbols, units, batch_first=True)
    theta = [torch.nn.Parameter(torch.nn.init.orthogonal_(torch.empty(shape)))
             for shape in ((4 * units, symbols), (4 * units, units), (symbols, units))]
    log_sigma2 = [torch.nn.Parameter(torch.full_like(mean, -6.0)) for mean in theta]
    biases = [torch.nn.Parameter(torch.zeros(4 * units)), torch.nn.Parameter(torch.zeros(symbols))]
    zeros = torch.zeros(4 * units)
    params = [*theta, *log_sigma2, *biases]
    optimizer = torch.optim.Adam([{"params": [*theta, *biases]}, {"params": log_sigma2, "lr": 4e-3}], lr=2e-3,
                                 fused=True)
    tokens = torch.randint(symbols, (batch, steps + 1))

    def step():
        sampled = [mean + torch.exp(0.5 * noise) * torch.randn_like(mean)
                   for mean, noise in zip(theta[:2], log_sigma2)]
        h, _ = torch.func.functional_call(lstm, {
            "weight_ih_l0": sampled[0], "weight_hh_l0": sampled[1], "bias_ih_l0": biases[0], "bias_hh_l0": zeros},
            (F.one_hot(tokens[:, :-1], symbols).float(),))
        alphas = [torch.clamp(noise - torch.log(mean ** 2 + EPSILON), -CLIP, CLIP)
                  for mean, noise in zip(theta, log_sigma2)]
        # One number a sequence and symbol, the same at all steps.
        variance = F.linear(h ** 2, torch.exp(alphas[2]) * theta[2] ** 2)
        logits = F.linear(h, theta[2], biases[1]) + torch.sqrt(variance + EPSILON) * torch.randn(batch, 1, symbols)
        kl = sum((K1 - K1 * torch.sigmoid(K2 + K3 * alpha) + 0.5 * F.softplus(-alpha)).sum() for alpha in alphas)
        nll = F.cross_entropy(logits.reshape(-1, symbols), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        (num_examples * nll + kl).backward()
        torch.nn.utils.clip_grad_norm_(params, num_examples)
        optimizer.step()
        return float(nll.detach())

    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
