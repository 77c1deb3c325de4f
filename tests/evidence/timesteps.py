#!/usr/bin/env python3
"""Where in the schedule the noise of influence scores comes from, and what other numbers of draws there save.

    python3 timesteps.py BANK MNIST [IMAGES] [DRAWS]

BANK and MNIST as for ekfac.py, whose curvature this takes. Of IMAGES (100) training images spread over the bank's, each with DRAWS (8) draws of
its own in every tenth of the schedule, it prints for each tenth the share of the variance of a score over draws that is due to it, with as
many draws everywhere. It then prints the factor by which that variance would fall with as many draws in all, a mean over queries, for numbers of
draws in proportion to: the standard deviations (Neyman 1934), which nobody knows before; the mean loss; the length of gradients; and their length in
the metric of the damped inverse.
"""

import sys
from pathlib import Path

import torch

from ekfac import SHARE, Influence, shared_draws

TENTHS = 10


def main():
    bank, mnist = map(Path, sys.argv[1:3])
    images, draws = (int(value) for value in (sys.argv[3:] + ["100", "8"][len(sys.argv) - 3 :]))
    influence = Influence(bank, mnist)
    generator = torch.Generator().manual_seed(4)
    shared = shared_draws(50)
    inverse = torch.cat([(1 / (value + SHARE * value.mean())).flatten() for value in influence.eigenvalues]).double()
    for name, queries in influence.queries.items():
        solved = torch.stack([influence.solved(influence.gradient(image[None], *shared)) for image in queries])
        variance = torch.zeros(TENTHS, len(queries), dtype=torch.float64)
        loss, squared, in_metric = (torch.zeros(TENTHS, dtype=torch.float64) for _ in range(3))
        for number in range(images):
            image = influence.train[number * len(influence.train) // images][None]
            for tenth in range(TENTHS):
                t = torch.randint(tenth * 100, (tenth + 1) * 100, (draws,), generator=generator)
                eps = torch.randn((draws, 1, 16, 16), generator=generator)
                gradients = influence.gradients(image, t, eps)
                scores = gradients @ solved.T
                variance[tenth] += scores.double().var(0) / images
                loss[tenth] += influence.loss(image, t, eps) / images
                squared[tenth] += gradients.double().square().sum(1).mean() / images
                in_metric[tenth] += (gradients.double().square() @ inverse).mean() / images
        shares = (variance / variance.sum(0)).mean(1)
        print(name, "share of each tenth in %:", " ".join(f"{100 * share:.1f}" for share in shares))
        # In proportion to a, the variance is the sum of v / a: a matrix [tenths, 1 or queries].
        ways = {
            "the standard deviations": variance.sqrt(),
            "the loss": loss[:, None],
            "the length of gradients": squared.sqrt()[:, None],
            "the length through the inverse": in_metric.sqrt()[:, None],
        }
        for way, numbers in ways.items():
            factor = (variance / (numbers / numbers.sum(0))).sum(0) / (TENTHS * variance.sum(0))
            percents = " ".join(f"{100 * share:.1f}" for share in (numbers / numbers.sum(0)).mean(1))
            print(f"{name} in proportion to {way} ({percents} %): factor {factor.mean():.2f}, {factor.min():.2f} to {factor.max():.2f}", flush=True)


if __name__ == "__main__":
    main()
