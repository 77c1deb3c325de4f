#!/usr/bin/env python3
"""How far scores are ahead of others on a kept bank: the difference of their linear datamodelling scores on the same resamples of subsets.

    python3 paired.py KEPT SET FIRST.npy OTHER.npy [OTHER.npy ...]

KEPT is docs/results/banks/mnist or docs/results/banks/cifar2, SET is `samples` or `held-out-24`, the others are scores `[queries, images]` as
`pentimento scores --export` writes them. A line is printed for each: its score in %, and how far it is ahead of the first, with a
95 % interval over 2,000 resamples of subsets. Needs numpy.
"""

import sys
from pathlib import Path

import numpy as np

RESAMPLES = 2000


def ranks(columns):
    """Average ranks in each column."""
    found = np.empty(columns.shape)
    for place in range(columns.shape[1]):
        _, which, counts = np.unique(columns[:, place], return_inverse=True, return_counts=True)
        found[:, place] = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return found


def score(predicted, outcomes, subsets):
    """The mean of Spearman's correlations over queries, in %."""
    first, second = (ranks(values[subsets]) for values in (predicted, outcomes))
    first, second = first - first.mean(0), second - second.mean(0)
    return 100 * ((first * second).sum(0) / np.sqrt((first**2).sum(0) * (second**2).sum(0))).mean()


def main():
    kept, queries, files = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    masks = np.load(kept / "masks.npy")
    outcomes = np.load(kept / queries / "loss.npy").mean(axis=0)
    drawn = np.flatnonzero(~masks.all(axis=1))
    predicted = [-(masks.astype(float) @ np.load(file).T) for file in files]
    generator = np.random.default_rng(0)
    resamples = [generator.choice(drawn, len(drawn)) for _ in range(RESAMPLES)]
    of_first = np.array([score(predicted[0], outcomes, subsets) for subsets in resamples])
    for file, values in zip(files, predicted):
        ahead = np.array([score(values, outcomes, subsets) for subsets in resamples]) - of_first
        whole = score(values, outcomes, drawn)
        difference = whole - score(predicted[0], outcomes, drawn)
        low, high = np.percentile(ahead, [2.5, 97.5])
        print(f"{file}: {whole:.1f}, ahead by {difference:.1f} [{low:.1f}, {high:.1f}]", flush=True)


if __name__ == "__main__":
    main()
