"""Writes statistics.json and linear_datamodelling.json: what SciPy, scikit-learn, mpmath and exact integer arithmetic give
for the statistics of this crate.

Run with NumPy 2.4.6, SciPy 1.17.1, scikit-learn 1.9.1 and mpmath 1.4.1: python make_statistics.py
"""

import json
import math
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
from scipy import stats
from sklearn.metrics import ndcg_score

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


def wilcoxon(name, left, right):
    left, right = (np.round(np.asarray(values, float) * 64) / 64 for values in (left, right))
    result = stats.wilcoxon(left, right, zero_method="wilcox", correction=False, method="auto")
    z = stats.wilcoxon(left, right, zero_method="wilcox", correction=False, method="asymptotic").zstatistic
    return {"name": name, "left": left.tolist(), "right": right.tolist(), "statistic": float(result.statistic),
            "absolute_z": abs(float(z)), "p": float(result.pvalue)}


def wilcoxons():
    def distinct(size, shift):
        """No two magnitudes are equal and none is zero."""
        return (random.permutation(size) + 1) * np.where(random.random(size) < shift, 1, -1) / 8

    def tied(size):
        return random.integers(-4, 6, size)

    zeros = np.where(np.arange(12) % 4 == 0, 0, distinct(12, 0.7))
    return [wilcoxon(name, differences + right, right) for name, differences, right in [
        ("one", np.array([2.0]), np.array([1.0])),
        ("exact 8", distinct(8, 0.6), random.integers(0, 9, 8)),
        ("exact 25", distinct(25, 0.8), random.integers(0, 9, 25)),
        ("exact 50", distinct(50, 0.6), random.integers(0, 9, 50)),
        ("exact 50, one sided", distinct(50, 1.0), random.integers(0, 9, 50)),
        ("normal 51", distinct(51, 0.6), random.integers(0, 9, 51)),
        ("normal 300", distinct(300, 0.7), random.integers(0, 9, 300)),
        ("ties 13", tied(13), random.integers(0, 9, 13)),
        ("ties 14", tied(14), random.integers(0, 9, 14)),
        ("ties 200", tied(200), random.integers(0, 9, 200)),
        ("zeros 12", zeros, random.integers(0, 9, 12)),
        ("zeros 20", np.concatenate([zeros, distinct(8, 0.5) + 2]), random.integers(0, 9, 20)),
    ]]


def wilcoxon_one_sided():
    """Differences 1..n, all positive, for sizes whose p underflows: z is known in closed form."""
    rows = []
    for size in [60, 1000, 3000, 10000]:
        z = size * (size + 1) / 4 / math.sqrt(size * (size + 1) * (2 * size + 1) / 24)
        rows.append({"size": size, "z": z, "ln_p": float(stats.norm.logsf(z) + math.log(2))})
    return rows


def ln_t_tail(degrees_of_freedom, squared_share):
    """ln of the regularised incomplete beta function I_x(nu/2, 1/2) at x = 1 - `squared_share`, to 60 digits."""
    with mpmath.workdps(60):
        a, y = mpmath.mpf(degrees_of_freedom) / 2, mpmath.mpf(squared_share)
        x = 1 - y
        # The form of the hypergeometric function whose terms are positive, so that no digit is lost.
        value = x**a * mpmath.sqrt(y) / (a * mpmath.beta(a, mpmath.mpf(1) / 2)) \
            * mpmath.hyp2f1(a + mpmath.mpf(1) / 2, 1, a + 1, x)
        return float(mpmath.log(value))


def student_ts():
    rows = []
    for degrees_of_freedom in [1, 2, 3.5, 10, 62, 63, 1000, 100000]:
        for t in [1e-3, 0.5, 1.4, 1.5, 4.0, 60.0, 1e4, 1e20]:
            with mpmath.workdps(60):
                square = mpmath.mpf(t) ** 2
                share = square / (degrees_of_freedom + square)
                ln_p = ln_t_tail(degrees_of_freedom, share)
            if ln_p > -700:
                scipys = float(2 * stats.t.sf(t, degrees_of_freedom))
                assert abs(math.exp(ln_p) / scipys - 1) < 1e-9, (degrees_of_freedom, t, scipys)
            rows.append({"t": t, "degrees_of_freedom": degrees_of_freedom, "ln_p": ln_p})
    return rows


def correlation_tests():
    rows = []
    for pairs in [3, 5, 10, 64, 1000, 20000]:
        for correlation in [1e-4, -0.02, 0.25, -0.7, 0.71, 0.9, -0.999, 1 - 2.0**-52]:
            with mpmath.workdps(60):
                ln_p = ln_t_tail(pairs - 2, mpmath.mpf(correlation) ** 2)
            rows.append({"correlation": correlation, "pairs": pairs, "ln_p": ln_p})
    assert min(row["ln_p"] for row in rows) < -2302.6, "p of 1e-1000 and below"
    return rows


def correlation_tests_of_data():
    rows = []
    for size, weight in [(5, 0.5), (20, 0.0), (64, 0.3), (64, 0.8), (400, 0.9)]:
        left = np.round(random.standard_normal(size) * 64) / 64
        right = np.round((weight * left + random.standard_normal(size)) * 8) / 8
        pearson, spearman = stats.pearsonr(left, right), stats.spearmanr(left, right)
        rows.append({"left": left.tolist(), "right": right.tolist(),
                     "pearson_p": float(pearson.pvalue), "spearman_p": float(spearman.pvalue)})
    return rows


def retrievals():
    rows = []
    for size, levels in [(1, 1), (6, 50), (30, 1000), (30, 5), (40, 2)]:
        relevances = random.integers(0, 5, size).astype(float)
        relevances[0] = 3
        scores = random.integers(0, levels, size).astype(float)
        for first in sorted({1, size // 3 + 1, size}):
            # scikit-learn refuses a single item, whose only order is the best one.
            ndcg = lambda gains: float(ndcg_score([gains], [scores], k=first)) if size > 1 else 1.0
            # The mean over orders of equal scores, by the share of the places at the border that each of them gets.
            above = np.sum(scores[:, None] < scores[None, :], axis=1)
            equal = np.sum(scores[:, None] == scores[None, :], axis=1)
            taken = np.clip((first - above) / equal, 0, 1)
            relevant = relevances >= 3
            hits = float(np.sum(taken * relevant))
            rows.append({"relevances": relevances.tolist(), "scores": scores.tolist(), "first": first,
                         "relevant": relevant.tolist(), "exponential": ndcg(2**relevances - 1),
                         "linear": ndcg(relevances), "precision": hits / first, "recall": hits / int(np.sum(relevant))})
    return rows


def spearman_or_none(left, right):
    if np.all(left == left[0]) or np.all(right == right[0]):
        return None
    result = stats.spearmanr(left, right)
    return {"correlation": float(result.statistic), "p": float(result.pvalue)}


def by_query(predictions, outcomes):
    return [spearman_or_none(predictions[:, query], outcomes[:, query]) for query in range(outcomes.shape[1])]


def mean(queries):
    return float(np.mean([query["correlation"] for query in queries if query is not None]))


def linear_datamodelling(subsets, queries, images, seeds):
    """Multiples of 1/64 throughout, and queries a power of two, so that sums and means are exact and ties are ties."""
    def rounded(values):
        return np.round(values * 64) / 64

    scores = rounded(random.standard_normal((queries, images)))
    masks = np.stack([random.permutation(images) < images // 2 for _ in range(subsets)])
    weights = np.round(random.random((subsets, images)) * 4) / 4
    truth = scores + 1.2 * random.standard_normal((queries, images))
    quality = 2 * random.standard_normal(subsets)
    outcomes = [rounded(-(masks @ truth.T) + quality[:, None] + 2 * random.standard_normal((subsets, queries)))
                for _ in range(seeds)]
    for table in outcomes:
        table[:, 1] = 0.5
        table[:, 2] = np.round(table[:, 2] / 4)
    average = np.sum(outcomes, axis=0)
    predictions, weighted = -(masks @ scores.T), -(weights @ scores.T)
    predicted = by_query(predictions, average)

    def centred(table):
        return table - table.mean(axis=1, keepdims=True)

    between = [query["correlation"] for one in range(seeds) for other in range(one + 1, seeds)
               for query in by_query(outcomes[one], outcomes[other]) if query is not None]
    rho = float(np.mean(between))
    reliability = seeds * rho / (1 + (seeds - 1) * rho)
    defined = [query for query in predicted if query is not None]
    return {
        "scores": scores.tolist(), "masks": masks.astype(int).tolist(), "weights": weights.tolist(),
        "outcomes": [table.tolist() for table in outcomes], "average": average.tolist(),
        "predictions": predictions.tolist(), "weighted": weighted.tolist(),
        "queries": predicted, "mean": mean(predicted),
        "significant_share": float(np.mean([query["p"] < 0.05 for query in defined])),
        "centred_mean": mean(by_query(centred(predictions), centred(average))),
        "weighted_mean": mean(by_query(weighted, average)),
        "between_seeds": rho, "reliability": reliability, "largest_score": math.sqrt(reliability),
    }


def linear_datamodellings():
    return [linear_datamodelling(24, 8, 40, 2), linear_datamodelling(63, 4, 100, 3)]


fixture = {
    "correlations": correlations(),
    "mann_whitney": mann_whitneys(),
    "mann_whitney_apart": apart(),
    "wilson": wilsons(),
    "binomial": binomials(),
    "wilcoxon": wilcoxons(),
    "wilcoxon_one_sided": wilcoxon_one_sided(),
    "student_t": student_ts(),
    "correlation_test": correlation_tests(),
    "correlation_test_of_data": correlation_tests_of_data(),
    "retrieval": retrievals(),
}
Path(__file__).with_name("statistics.json").write_text(json.dumps(fixture, indent=1) + "\n")
# Tables, which would be many thousand lines.
tables = [json.dumps(case, separators=(",", ":")) for case in linear_datamodellings()]
Path(__file__).with_name("linear_datamodelling.json").write_text("[\n" + ",\n".join(tables) + "\n]\n")
