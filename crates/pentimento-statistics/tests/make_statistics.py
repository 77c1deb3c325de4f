"""Writes statistics.json: what SciPy and exact integer arithmetic give for the statistics of this crate.

Run with NumPy 2.4.6 and SciPy 1.17.1: python make_statistics.py
"""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy import stats

random = np.random.default_rng(20231106)


def pair(name, left, right):
    # Multiples of 1/64: decimals short enough that a reader of JSON that does not round correctly reads them exactly.
    left, right = (np.round(np.asarray(values, float) * 64) / 64 for values in (left, right))
    return {
        "name": name,
        "left": left.tolist(),
        "right": right.tolist(),
        "pearson": float(stats.pearsonr(left, right).statistic),
        "spearman": float(stats.spearmanr(left, right).statistic),
    }


def correlations():
    normal = random.standard_normal(40)
    return [
        pair("independent", normal, random.standard_normal(40)),
        pair("strong", normal, 3 * normal + 0.2 * random.standard_normal(40)),
        pair("falling", normal, -np.exp(normal) + 0.1 * random.standard_normal(40)),
        pair("ties", random.integers(0, 5, 60), random.integers(0, 3, 60)),
        pair("far from zero", 1e6 + random.standard_normal(30), 1e6 + random.standard_normal(30)),
        pair("two", [1.0, 2.0], [5.0, 3.0]),
    ]


def mann_whitney(name, a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    result = stats.mannwhitneyu(a, b, alternative="two-sided", method="asymptotic", use_continuity=True)
    return {"name": name, "a": a.tolist(), "b": b.tolist(), "u": float(result.statistic), "p": float(result.pvalue)}


def mann_whitneys():
    return [
        mann_whitney("same distribution", random.standard_normal(25), random.standard_normal(30)),
        mann_whitney("shifted", random.standard_normal(40), 1 + random.standard_normal(35)),
        mann_whitney("many ties", random.integers(0, 4, 50), random.integers(1, 5, 45)),
        mann_whitney("apart", np.arange(60), np.arange(100, 170)),
        mann_whitney("balanced", [1, 4], [2, 3]),
        mann_whitney("one each", [1], [2]),
    ]


def apart():
    """0..n against n..2n for sizes whose p underflows; U = 0, no ties, so that z is known in closed form."""
    rows = []
    for size in [500, 1000, 3000]:
        z = (size * size / 2 - 0.5) / math.sqrt(size * size * (2 * size + 1) / 12)
        rows.append({"size": size, "z": -z, "ln_p": float(stats.norm.logsf(z) + math.log(2))})
    return rows


def wilsons():
    rows = []
    for successes, trials, confidence in [(0, 10, 0.95), (10, 10, 0.95), (61, 100, 0.95), (1, 7, 0.9), (1830, 3000, 0.99)]:
        interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
        rows.append({"successes": successes, "trials": trials, "confidence": confidence,
                     "low": float(interval.low), "high": float(interval.high)})
    return rows


def ln(fraction):
    """The logarithm of a fraction whose parts may be far outside the range of a float."""
    return math.log(fraction.numerator) - math.log(fraction.denominator)


def binomials():
    """Exact: the chance is a fraction, here the binary one that the float in the JSON stands for."""
    rows = []
    for successes, trials, chance in [(0, 5, 1 / 7), (5, 5, 1 / 7), (1, 10, 1 / 7), (51, 120, 1 / 7), (15, 120, 1 / 7),
                                      (610, 1000, 1 / 7), (1830, 3000, 1 / 7), (500, 1000, 0.5), (400, 1000, 0.5)]:
        p = Fraction(chance)
        numerator, denominator = p.numerator, p.denominator
        tail = sum(math.comb(trials, k) * numerator**k * (denominator - numerator) ** (trials - k)
                   for k in range(successes, trials + 1))
        rows.append({"successes": successes, "trials": trials, "chance": chance,
                     "ln_p": ln(Fraction(tail, denominator**trials))})
    return rows


fixture = {
    "correlations": correlations(),
    "mann_whitney": mann_whitneys(),
    "mann_whitney_apart": apart(),
    "wilson": wilsons(),
    "binomial": binomials(),
}
Path(__file__).with_name("statistics.json").write_text(json.dumps(fixture, indent=1) + "\n")
