"""Simulated data sets for `permutation_control`: how often it rejects at level .05.

`NULLS` are simulations in which the null hypothesis is true, `POWER` those in which
it is false. Each function takes a seed and returns whether the p-value is at most .05.
"""

from functools import partial

import numpy as np
from scipy.stats import special_ortho_group
from sklearn.model_selection import (
    KFold,
    LeaveOneGroupOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)

from skmot import MultiLevelOT, SoftMatching
from skmot.model_selection import permutation_control

LEVEL = 0.05
N_STIMULI = 60
SOURCE_WIDTHS, TARGET_WIDTHS = (10, 8), (12, 8, 10)
FIVE_FOLDS = KFold(5, shuffle=True, random_state=0)
HALF_HELD_OUT = ShuffleSplit(1, test_size=0.5, random_state=0)
FORWARD = TimeSeriesSplit(4)
# Four recordings of a time series.
RUNS = np.repeat(np.arange(4), 40)
GROUPS = np.repeat(np.arange(N_STIMULI // 2), 2)


# -- data ----------------------------------------------------------------------------


def related_networks(rng, strength):
    """Return two networks of units that read twelve signals, each one of them."""
    signals = rng.normal(size=(N_STIMULI, 12))
    return [
        [
            strength * signals[:, rng.integers(12, size=width)]
            + rng.normal(size=(N_STIMULI, width))
            for width in widths
        ]
        for widths in (SOURCE_WIDTHS, TARGET_WIDTHS)
    ]


def common_factor(rng):
    """Return two unrelated networks; all units of each follow one signal of its own."""
    return [
        [
            rng.normal(size=(N_STIMULI, 1)) + rng.normal(size=(N_STIMULI, width))
            for width in widths
        ]
        for widths in (SOURCE_WIDTHS, TARGET_WIDTHS)
    ]


def heavy_tails(rng):
    """Return two unrelated networks of responses with outliers."""
    return [
        [rng.standard_t(2.5, size=(N_STIMULI, width)) for width in widths]
        for widths in (SOURCE_WIDTHS, TARGET_WIDTHS)
    ]


def repeats(rng):
    """Return two unrelated networks that saw each stimulus twice."""
    return [
        [
            np.repeat(rng.normal(size=(N_STIMULI // 2, width)), 2, axis=0)
            + 0.5 * rng.normal(size=(N_STIMULI, width))
            for width in widths
        ]
        for widths in (SOURCE_WIDTHS, TARGET_WIDTHS)
    ]


def time_series(rng, memory, n_rows=160, n_units=10):
    """Return two unrelated populations that keep the share `memory` of their past."""
    series = rng.normal(size=(2, n_rows + 50, n_units))
    for row in range(1, n_rows + 50):
        series[:, row] += memory * series[:, row - 1]
    return series[:, 50:]


def runs_in_time(rng, memory):
    """Return two unrelated populations over several recordings."""
    parts = [time_series(rng, memory, 40) for _ in range(4)]
    return np.concatenate(parts, axis=1)


def mixed_space(rng, scales, rank=None, noise=0.5):
    """Return two populations that share a space, each in an arbitrary basis.

    Parameters
    ----------
    rng : Generator
        Random number generator.
    scales : {"equal", "loud", "lognormal"}
        Standard deviations of the source units.
    rank : int, default=None
        Number of shared dimensions. None means as many as units.
    noise : float
        Standard deviation of the noise.
    """
    n_units = 8
    shared = rng.normal(size=(90, n_units if rank is None else rank))
    if rank is None:
        seed = int(rng.integers(2**31))
        mixing = np.eye(n_units), special_ortho_group.rvs(n_units, random_state=seed)
    else:
        mixing = rng.normal(size=(2, rank, n_units))
    X, y = (shared @ side + noise * rng.normal(size=(90, n_units)) for side in mixing)
    factors = {
        "equal": np.ones(n_units),
        "loud": np.repeat([1, 6], n_units // 2),
        "lognormal": np.exp(rng.normal(size=n_units)),
    }[scales]
    return X * factors, y


def shared_units(rng, noise):
    """Return two populations with the same units, louder and softer in the source."""
    shared = rng.normal(size=(90, 8))
    X, y = (shared + noise * rng.normal(size=shared.shape) for _ in range(2))
    return X * np.exp(rng.normal(size=8)), y


def layered_networks(rng, kind):
    """Return two networks of five layers with ten units each.

    Parameters
    ----------
    rng : Generator
        Random number generator.
    kind : {"alike", "ordered", "quality"}
        All layers read the same signals, layers at the same depth read the same
        signals, or all layers read the same signals with a noise that falls with depth.
    """
    signals = rng.normal(size=(5, N_STIMULI, 10))
    noise = np.linspace(3, 0.3, 5) if kind == "quality" else np.ones(5)
    chosen = np.arange(5) if kind == "ordered" else np.zeros(5, dtype=int)
    return [
        [
            signals[which] + deviation * rng.normal(size=(N_STIMULI, 10))
            for which, deviation in zip(chosen, noise, strict=True)
        ]
        for _ in range(2)
    ]


# -- tests ---------------------------------------------------------------------------


def rejects(seed, data, estimator, p_value="p_value", **options):
    """Test one simulated data set, and return whether the p-value is small."""
    X, y = data(np.random.default_rng(seed))
    result = permutation_control(
        estimator, X, y, random_state=seed, **{"n_permutations": 99, **options}
    )
    return bool(result[p_value] <= LEVEL)


def _stimuli(data, **options):
    return partial(
        rejects, data=data, estimator=MultiLevelOT(), control="stimuli", **options
    )


def _in_time(data, **options):
    return partial(
        rejects, data=data, estimator=SoftMatching(), control="stimuli", **options
    )


def _basis(data, **options):
    return partial(
        rejects,
        data=data,
        estimator=SoftMatching(),
        control="basis",
        **{"cv": KFold(2), "n_permutations": 19, **options},
    )


def _layers(kind):
    return partial(
        rejects,
        data=partial(layered_networks, kind=kind),
        estimator=MultiLevelOT(),
        control="layers",
        cv=KFold(3),
    )


_UNRELATED = partial(related_networks, strength=0)
_WEAK = partial(related_networks, strength=0.5)
_REFITS = {"refit": True, "n_permutations": 19}

NULLS = {
    "stimuli, 5 folds": _stimuli(_UNRELATED, cv=FIVE_FOLDS),
    "stimuli, 5 folds, one common factor": _stimuli(common_factor, cv=FIVE_FOLDS),
    "stimuli, 5 folds, heavy tails": _stimuli(heavy_tails, cv=FIVE_FOLDS),
    "stimuli, 5 folds, direction source": _stimuli(
        _UNRELATED, cv=FIVE_FOLDS, direction="source"
    ),
    "stimuli, 5 folds, repeated stimuli": _stimuli(repeats, cv=5, groups=GROUPS),
    "stimuli, 10 folds": _stimuli(_UNRELATED, cv=KFold(10)),
    "stimuli, 3 folds twice": _stimuli(
        _UNRELATED, cv=RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    ),
    "stimuli, 12 shuffled splits": _stimuli(
        _UNRELATED, cv=ShuffleSplit(12, test_size=0.3, random_state=0), n_pilot=10
    ),
    "stimuli, one split": _stimuli(_UNRELATED, cv=HALF_HELD_OUT),
    "stimuli, earlier rows (Stouffer)": _stimuli(_UNRELATED, cv=FORWARD),
    "stimuli, earlier rows, one common factor": _stimuli(common_factor, cv=FORWARD),
    "stimuli, 5 folds, 19 refits": _stimuli(_UNRELATED, cv=FIVE_FOLDS, **_REFITS),
    "stimuli, 5 folds, t tail of 19 refits": _stimuli(
        _UNRELATED, cv=FIVE_FOLDS, p_value="p_value_t", **_REFITS
    ),
    "cost": _stimuli(_UNRELATED, statistic="cost", n_permutations=39),
    "cost, repeated stimuli": _stimuli(
        repeats, statistic="cost", groups=GROUPS, n_permutations=39
    ),
    "cost, blocks of 20, AR(1) .5": _in_time(
        partial(time_series, memory=0.5), statistic="cost", blocks=20, n_permutations=39
    ),
    "cost, circular shifts, AR(1) .9": _in_time(
        partial(time_series, memory=0.9),
        statistic="cost",
        blocks="circular",
        n_permutations=39,
    ),
    "stimuli, earlier rows, circular shifts, AR(1) .5": _in_time(
        partial(time_series, memory=0.5),
        cv=TimeSeriesSplit(2, gap=15),
        blocks="circular",
    ),
    "stimuli, earlier rows, circular shifts, AR(1) .9": _in_time(
        partial(time_series, memory=0.9),
        cv=TimeSeriesSplit(2, gap=15),
        blocks="circular",
    ),
    "stimuli, leave one run out, blocks of 8, AR(1) .5": _in_time(
        partial(runs_in_time, memory=0.5),
        cv=list(LeaveOneGroupOut().split(RUNS, groups=RUNS)),
        blocks=8,
        runs=RUNS,
    ),
    "stimuli, leave one run out, circular shifts, AR(1) .9": _in_time(
        partial(runs_in_time, memory=0.9),
        cv=list(LeaveOneGroupOut().split(RUNS, groups=RUNS)),
        blocks="circular",
        runs=RUNS,
    ),
    "basis, equal variances": _basis(partial(mixed_space, scales="equal")),
    "basis, loud units": _basis(partial(mixed_space, scales="loud")),
    "basis, lognormal scales": _basis(partial(mixed_space, scales="lognormal")),
    "basis, three shared dimensions": _basis(
        partial(mixed_space, scales="equal", rank=3)
    ),
    "basis, three shared dimensions, lognormal scales": _basis(
        partial(mixed_space, scales="lognormal", rank=3)
    ),
    "layers, all alike": _layers("alike"),
}

POWER = {
    "stimuli, 5 folds": _stimuli(_WEAK, cv=FIVE_FOLDS),
    "stimuli, 5 folds, design alone": _stimuli(_WEAK, cv=FIVE_FOLDS, n_pilot=0),
    "stimuli, 10 folds": _stimuli(_WEAK, cv=KFold(10)),
    "stimuli, 12 shuffled splits": _stimuli(
        _WEAK, cv=ShuffleSplit(12, test_size=0.3, random_state=0), n_pilot=10
    ),
    "stimuli, half held out once": _stimuli(_WEAK, cv=HALF_HELD_OUT),
    "stimuli, earlier rows (Stouffer)": _stimuli(_WEAK, cv=FORWARD),
    "stimuli, 5 folds, 19 refits": _stimuli(_WEAK, cv=FIVE_FOLDS, **_REFITS),
    "stimuli, 5 folds, t tail of 19 refits": _stimuli(
        _WEAK, cv=FIVE_FOLDS, p_value="p_value_t", **_REFITS
    ),
    "cost": _stimuli(_WEAK, statistic="cost", n_permutations=39),
    "basis, shared units": _basis(partial(shared_units, noise=1.5)),
    "layers, the same depth reads the same signals": _layers("ordered"),
    "layers, only their quality differs": _layers("quality"),
}
