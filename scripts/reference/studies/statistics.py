"""Records Student's t, a two-level mean and a two-level bootstrap for src/studies/two-level.test.ts.

Run: python scripts/reference/studies/statistics.py > tests/golden/studies/statistics.json
"""

import json

import numpy as np
from scipy import stats

rng = np.random.default_rng(5)


def sample(seeds, examples, weighted):
    """Scores, one row a seed: examples differ, seeds differ, and each pair of them."""
    scores = 1 + rng.normal(0, 0.4, examples) + rng.normal(0, 0.1, (seeds, 1)) + rng.normal(0, 0.2, (seeds, examples))
    weights = rng.integers(1, 30, examples).astype(float) if weighted else np.ones(examples)
    return scores.round(6), weights


def two_level(scores, weights):
    """Variance by the influence function of the weighted mean, written with matrices; Welch and Satterthwaite's freedom."""
    k, n = scores.shape
    p = weights / weights.sum()
    by_seed = scores @ p
    a = by_seed.var(ddof=1) / k
    influence = n * p * (scores.mean(0) - by_seed.mean())
    b = (influence**2).sum() / (n - 1) / n
    freedom = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / (n - 1))
    return by_seed.mean(), np.sqrt(a + b), freedom


def bootstrap(scores, weights, draws=40_000):
    """95 % percentile interval: seeds drawn anew, and the same drawn examples for all of them."""
    k, n = scores.shape
    counts = rng.multinomial(n, np.full(n, 1 / n), draws) * weights
    means = (counts / counts.sum(1, keepdims=True)) @ scores.T
    picked = np.take_along_axis(means, rng.integers(0, k, (draws, k)), 1)
    return np.quantile(picked.mean(1), [0.025, 0.975])


def case(seeds, examples, weighted):
    scores, weights = sample(seeds, examples, weighted)
    mean, error, freedom = two_level(scores, weights)
    half = stats.t.ppf(0.975, freedom) * error
    return {
        "seeds": scores.tolist(),
        **({"weights": weights.tolist()} if weighted else {}),
        "mean": mean,
        "error": error,
        "freedom": freedom,
        "interval": [mean - half, mean + half],
        "p": 2 * stats.t.sf(abs(mean / error), freedom),
        "bootstrap": list(bootstrap(scores, weights)),
    }


json.dump(
    {
        "student": [
            {"t": t, "freedom": f, "p": 2 * stats.t.sf(abs(t), f), "quantile": stats.t.ppf(0.975, f)}
            for t, f in [(0, 3), (2.5, 1), (-2.5, 2), (0.3, 2.7), (5, 40.5), (74, 2), (1.96, 1e4), (30, 500)]
        ],
        "cases": [case(3, 24, False), case(2, 9, False), case(5, 30, True)],
    },
    fp=__import__("sys").stdout,
    indent=1,
)
print()
