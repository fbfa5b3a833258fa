"""How often `mass_curve` is wrong about the share of units with a counterpart.

Each function simulates one data set from an integer seed. A function of `NULLS` returns
True if the claim of `mass_curve` is wrong, one of `POWER` if it finds what was planted.
"""

from functools import partial

import numpy as np
from sklearn.model_selection import ShuffleSplit

from skmot import SoftMatching
from skmot.partial import mass_curve

N_ROWS = 120
N_UNITS = 12
# One mass a unit of the larger side, or one for each second unit if there are 20.
MASSES = {12: np.arange(1, 13) / 12, 20: np.arange(1, 11) / 10}
N_PERMUTATIONS = 99
NOISE = 1.2
# Standard deviations of the noise of the first and of the last counterpart.
UNEQUAL_NOISE = (0.3, 2.0)


def simulate(
    seed, n_counterparts, sizes=(N_UNITS, N_UNITS), noise=NOISE, n_common=0, repeats=1
):
    """Return two populations of which the first units are counterparts.

    The standard deviations of the noise rise from the first counterpart to the last if
    `noise` has two values. Each side has `n_common` signals that its units share. Each
    row occurs `repeats` times with other trial noise, and its number is returned too.
    """
    rng = np.random.default_rng(seed)
    n_distinct = N_ROWS // repeats
    X, y = (rng.normal(size=(n_distinct, size)) for size in sizes)
    if n_common:
        for side in (X, y):
            signals = rng.normal(size=(n_distinct, n_common))
            side += signals @ rng.normal(size=(n_common, side.shape[1]))
            side /= side.std(axis=0)
    noise = np.linspace(np.min(noise), np.max(noise), n_counterparts)
    y[:, :n_counterparts] = X[:, :n_counterparts] + noise * y[:, :n_counterparts]
    groups = np.repeat(np.arange(n_distinct), repeats)
    if repeats > 1:
        X, y = (
            side[groups] + 0.5 * rng.normal(size=(len(groups), side.shape[1]))
            for side in (X, y)
        )
    return X, y, groups


def judge(seed, n_counterparts, *, metric="correlation", cv=5, **options):
    """Return the curve of a simulated data set."""
    X, y, groups = simulate(seed, n_counterparts, **options)
    if metric != "correlation":
        # Loud and quiet units, with means that differ.
        rng = np.random.default_rng([seed, 1])
        X, y = (
            (side + rng.exponential(size=side.shape[1]))
            * np.exp(0.7 * rng.normal(size=side.shape[1]))
            for side in (X, y)
        )
    return mass_curve(
        X,
        y,
        MASSES[max(X.shape[1], y.shape[1])],
        estimator=SoftMatching(metric),
        cv=cv,
        groups=groups if options.get("repeats", 1) > 1 else None,
        n_permutations=N_PERMUTATIONS,
        random_state=seed,
    )


def detects(seed, n_counterparts=0, **options):
    """Whether any counterparts are detected."""
    return judge(seed, n_counterparts, **options).verdict != "none detected"


def says_nearly_all(seed, n_counterparts, **options):
    """Whether the verdict is that at least .95 have a counterpart."""
    return judge(seed, n_counterparts, **options).verdict == "at least .95"


def low_is_wrong(seed, n_counterparts, **options):
    """Whether the lower bound is above the share."""
    n_larger = max(options.get("sizes", (N_UNITS, N_UNITS)))
    return judge(seed, n_counterparts, **options).low > n_counterparts / n_larger + 1e-9


def high_is_wrong(seed, n_counterparts, noise=NOISE, **options):
    """Whether the upper bound is below the share of counterparts that it counts."""
    curve = judge(seed, n_counterparts, noise=noise, **options)
    n_larger = max(options.get("sizes", (N_UNITS, N_UNITS)))
    noise = np.linspace(np.min(noise), np.max(noise), n_counterparts)
    correlations = 1 / np.sqrt(1 + noise**2)
    # The bound is of counterparts that are similar enough.
    share = np.count_nonzero(correlations >= curve.least_similarity) / n_larger
    return curve.high < share - 1e-9


def share_is_near(seed, n_counterparts, **options):
    """Whether the estimate differs from the share by at most .1."""
    n_larger = max(options.get("sizes", (N_UNITS, N_UNITS)))
    share = judge(seed, n_counterparts, **options).share
    return abs(share - n_counterparts / n_larger) <= 0.1


SHUFFLED = ShuffleSplit(6, test_size=0.2, random_state=0)
ONE_SPLIT = ShuffleSplit(1, test_size=0.3, random_state=0)

NULLS = {
    "no counterparts, 5 folds": detects,
    "no counterparts, 10 folds": partial(detects, cv=10),
    "no counterparts, 6 random splits": partial(detects, cv=SHUFFLED),
    "no counterparts, one split": partial(detects, cv=ONE_SPLIT),
    "no counterparts, 8 against 20 units": partial(detects, sizes=(8, 20)),
    "no counterparts, three signals a side": partial(detects, n_common=3),
    "no counterparts, rows repeated three times": partial(detects, repeats=3),
    "no counterparts, squared distances": partial(detects, metric="sqeuclidean"),
    "no counterparts, cosine": partial(detects, metric="cosine"),
    "low above the share, half": partial(low_is_wrong, n_counterparts=6),
    "low above the share, 10 folds": partial(low_is_wrong, n_counterparts=6, cv=10),
    "low above the share, unequal noise": partial(
        low_is_wrong, n_counterparts=6, noise=UNEQUAL_NOISE
    ),
    "low above the share, 8 against 20 units": partial(
        low_is_wrong, n_counterparts=8, sizes=(8, 20)
    ),
    "low above the share, rows repeated three times": partial(
        low_is_wrong, n_counterparts=6, repeats=3
    ),
    "high below the share, half": partial(high_is_wrong, n_counterparts=6),
    "high below the share, unequal noise": partial(
        high_is_wrong, n_counterparts=6, noise=UNEQUAL_NOISE
    ),
    "high below the share, 8 against 20 units": partial(
        high_is_wrong, n_counterparts=8, sizes=(8, 20)
    ),
    "high below the share, rows repeated three times": partial(
        high_is_wrong, n_counterparts=6, repeats=3
    ),
    "at least .95 said, 11 of 12": partial(says_nearly_all, n_counterparts=11),
}

POWER = {
    "half detected, noise 1.2": partial(detects, n_counterparts=6),
    "half detected, noise 6": partial(detects, n_counterparts=6, noise=6.0),
    "one of 12 detected, noise 3": partial(detects, n_counterparts=1, noise=3.0),
    "half detected, rows repeated three times": partial(
        detects, n_counterparts=6, repeats=3
    ),
    "half detected, one split": partial(detects, n_counterparts=6, cv=ONE_SPLIT),
    "at least .95 said, all": partial(says_nearly_all, n_counterparts=12),
    "at least .95 said, all, unequal noise": partial(
        says_nearly_all, n_counterparts=12, noise=UNEQUAL_NOISE
    ),
    "share within .1, half": partial(share_is_near, n_counterparts=6),
    "share within .1, half, unequal noise": partial(
        share_is_near, n_counterparts=6, noise=UNEQUAL_NOISE
    ),
    "share within .1, 8 against 20 units": partial(
        share_is_near, n_counterparts=8, sizes=(8, 20)
    ),
}
