#!/usr/bin/env python3
"""Where in the schedule the noise of influence scores comes from, and what other numbers of draws there would save.

    python3 timesteps.py BANK MNIST [IMAGES] [DRAWS]

BANK and MNIST as for ekfac.py, whose curvature this takes. Of IMAGES (100) training images spread over the bank's, each with DRAWS (8) draws of
its own in every tenth of the schedule, it prints for each tenth the share of the variance of a score over draws that is due to it, with as
many draws everywhere. With numbers of draws in proportion to the standard deviations (Neyman 1934) and so many draws in all, the
variance would fall to the factor that is printed last, a mean over queries.
"""

import sys
from pathlib import Path

import torch

from ekfac import Influence, shared_draws

TENTHS = 10


def main():
    bank, mnist = map(Path, sys.argv[1:3])
    images, draws = (int(value) for value in (sys.argv[3:] + ["100", "8"][len(sys.argv) - 3 :]))
    influence = Influence(bank, mnist)
    generator = torch.Generator().manual_seed(4)
    shared = shared_draws(50)
    for name, queries in influence.queries.items():
        solved = torch.stack([influence.solved(influence.gradient(image[None], *shared)) for image in queries])
        variance = torch.zeros(TENTHS, len(queries), dtype=torch.float64)
        for number in range(images):
            image = influence.train[number * len(influence.train) // images][None]
            for tenth in range(TENTHS):
                t = torch.randint(tenth * 100, (tenth + 1) * 100, (draws,), generator=generator)
                eps = torch.randn((draws, 1, 16, 16), generator=generator)
                scores = influence.gradients(image, t, eps) @ solved.T
                variance[tenth] += scores.double().var(0) / images
        shares = (variance / variance.sum(0)).mean(1)
        factor = variance.sqrt().mean(0).square() / variance.mean(0)
        print(name, "share of each tenth in %:", " ".join(f"{100 * share:.1f}" for share in shares))
        print(name, f"factor of the variance: {factor.mean():.2f} (from {factor.min():.2f} to {factor.max():.2f})", flush=True)


if __name__ == "__main__":
    main()
