"""How often tests over networks are significant at .05 with simulated networks.

Each function takes a seed, simulates differences of methods or networks, and returns
whether the p-value is .05 or less. In `NULLS` the mean difference is 0, or networks are
unrelated; in `POWER` they are not. The intervals of means over fixed networks are
claims about new stimuli, which are wrong if the interval does not contain the score of
these fits for many new stimuli.
"""

import itertools
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.model_selection import (
    compare,
    group_separation_test,
    joint_permutation_test,
    mean_over_networks,
)

LEVEL = 0.05
N_STIMULI = 40
N_BOOTSTRAP = 100


# -- numbers: effects of networks, pairs and stimuli -----------------------------------


def draw_effects(random, shape, kind):
    """Draw effects of mean 0 and variance 1."""
    if kind == "heavy tails":
        return random.standard_t(3, size=shape) / np.sqrt(3)
    if kind == "skew":
        return random.exponential(size=shape) - 1
    return random.normal(size=shape)


def draw_differences(
    seed, n_sources, n_targets, *, source, target, pair, stimulus, mean=0.0, kind=None
):
    """Draw differences of pairs, and the same on resampled stimuli.

    Parameters
    ----------
    seed : int
        Seed.
    n_sources, n_targets : int
        Numbers of networks.
    source, target, pair, stimulus : float
        Standard deviations of the effects of each source, target and pair, and of each
        stimulus on all pairs alike. Each pair and stimulus has a further error of 1.
    mean : float
        True mean.
    kind : {"heavy tails", "skew", None}
        Distribution of the effects of networks and pairs. None is normal.

    Returns
    -------
    values, resampled : ndarray of shape (n_sources, n_targets, ...)
        Differences, and on each resample of the stimuli.
    """
    random = np.random.default_rng(seed)
    differences = (
        mean
        + source * draw_effects(random, (n_sources, 1), kind)
        + target * draw_effects(random, (1, n_targets), kind)
        + pair * draw_effects(random, (n_sources, n_targets), kind)
    )
    by_stimulus = (
        differences[..., np.newaxis]
        + stimulus * random.normal(size=N_STIMULI)
        + random.normal(size=(n_sources, n_targets, N_STIMULI))
    )
    resamples = random.integers(N_STIMULI, size=(N_BOOTSTRAP, N_STIMULI))
    return by_stimulus.mean(axis=-1), by_stimulus[..., resamples].mean(axis=-1)


def reject_grid(seed, n_sources, n_targets, **effects):
    """Test the mean of a complete grid of sources and targets."""
    drawn = draw_differences(seed, n_sources, n_targets, **effects)
    values, resampled = (
        {
            (f"source {s}", f"target {t}"): array[s, t]
            for s, t in np.ndindex(n_sources, n_targets)
        }
        for array in drawn
    )
    return bool(mean_over_networks(values, resampled).p_value <= LEVEL)


def reject_one_set(seed, n_networks, pairs="each once", **effects):
    """Test the mean of the pairs of one set."""
    drawn = draw_differences(seed, n_networks, n_networks, **effects)
    choose = itertools.combinations if pairs == "each once" else itertools.permutations
    values, resampled = (
        {(s, t): array[s, t] for s, t in choose(range(n_networks), 2)}
        for array in drawn
    )
    return bool(mean_over_networks(values, resampled).p_value <= LEVEL)


ALL_EFFECTS = {"source": 0.3, "target": 0.3, "pair": 0.3, "stimulus": 0.5}
STIMULI_ONLY = {"source": 0.0, "target": 0.0, "pair": 0.0, "stimulus": 1.5}
SOURCES_ONLY = {"source": 0.5, "target": 0.0, "pair": 0.0, "stimulus": 0.5}


# -- matchings: each source has two layers, of which each method has one ---------------


class OneLayer(TransformerMixin, BaseEstimator):
    """Transformer that leaves one layer of a network."""

    def __init__(self, index=0):
        self.index = index

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return LayerStack([X.layers[self.index]])


METHODS = {
    "first": make_pipeline(OneLayer(0), SoftMatching()),
    "second": make_pipeline(OneLayer(1), SoftMatching()),
}


def draw_network(random, signals, second=1.0):
    """Draw a network of two layers. `second` is the share of signal in layer 2."""
    layers = []
    for share in (1.0, second):
        tuning = random.normal(size=(signals.shape[1], 5)) * random.exponential()
        noise = random.normal(size=(len(signals), 5))
        layers.append(share * signals @ tuning + 2 * noise)
    return LayerStack(layers)


def reject_difference(seed, n_sources, n_targets, n_rows=30, second=1.0):
    """Test whether the two layers of the sources differ in what they predict."""
    random = np.random.default_rng(seed)
    signals = random.normal(size=(n_rows, 5))
    sources = {
        f"source {number}": draw_network(random, signals, second)
        for number in range(n_sources)
    }
    targets = {
        f"target {number}": draw_network(random, signals) for number in range(n_targets)
    }
    comparison = compare(
        sources,
        targets or None,
        METHODS,
        KFold(2),
        directions=["target"],
        n_bootstrap=N_BOOTSTRAP,
        random_state=0,
        verbose=False,
    )
    (row,) = comparison.differences("first")
    return bool(row["p_value"] <= LEVEL)


# -- the interval over stimuli of a mean over two subjects -----------------------------

# Stimuli that stand for all possible ones.
N_NEW = 6000


def interval_of_two_subjects_misses(seed, n_stimuli, cv, signal=0.4):
    """Whether the interval of the mean misses the score for new stimuli."""
    random = np.random.default_rng(seed)
    tuning = {
        name: [signal * random.normal(size=(6, 10)) for _ in range(2)]
        for name in ("model", "subject 1", "subject 2")
    }

    def respond(n_rows):
        signals = random.normal(size=(n_rows, 6))
        return {
            name: LayerStack(
                [signals @ units + random.normal(size=(n_rows, 10)) for units in layers]
            )
            for name, layers in tuning.items()
        }

    recorded, new = respond(n_stimuli), respond(N_NEW)
    model, new_model = recorded.pop("model"), new.pop("model")
    comparison = compare(
        {"model": model},
        recorded,
        {"MOT": MultiLevelOT()},
        cv,
        directions=["target"],
        n_bootstrap=300,
        random_state=0,
        verbose=False,
    )
    (row,) = comparison.summary(("method", "direction"))
    truth = np.mean(
        [
            MultiLevelOT().fit(model[train], subject[train]).score(new_model, new[name])
            for train, _ in cv.split(model)
            for name, subject in recorded.items()
        ]
    )
    return not row["low"] <= truth <= row["high"]


# -- the permutation test of all pairs -------------------------------------------------


def reject_unrelated(seed, n_sources, n_targets, shared=0.0, statistic="cost"):
    """Test whether networks of unequal widths are related at all."""
    random = np.random.default_rng(seed)
    signals = random.normal(size=(20, 4))

    def draw(number):
        width = 4 + 3 * number
        own = random.normal(size=(20, width))
        return shared * signals @ random.normal(size=(4, width)) + own

    sources = {f"source {number}": draw(number) for number in range(n_sources)}
    targets = {f"target {number}": draw(number) for number in range(n_targets)}
    result = joint_permutation_test(
        SoftMatching(),
        sources,
        targets or None,
        statistic=statistic,
        cv=KFold(2) if statistic == "score" else None,
        n_permutations=19,
        random_state=seed,
    )
    return bool(result.p_value <= LEVEL)


# -- groups of networks ----------------------------------------------------------------


def reject_groups(seed, sizes, effect=0.0, **options):
    """Test groups of networks, which are points in ten dimensions with distances."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    centres = effect * random.normal(size=(len(sizes), 10))
    # Some networks are further from all others, as noisy ones are.
    spread = random.exponential(size=(len(groups), 1))
    points = centres[groups] + (1 + spread) * random.normal(size=(len(groups), 10))
    costs = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    result = group_separation_test(costs, groups, random_state=seed, **options)
    return bool(result.p_value <= LEVEL)


_grid_of_six = partial(reject_grid, n_sources=6, n_targets=6)
_set_of_six = partial(reject_one_set, n_networks=6)
# What an effect of the source adds is a part of what holds for this source only.
_one_source = partial(
    reject_grid, n_sources=1, n_targets=8, **(ALL_EFFECTS | {"source": 0.0})
)

NULLS = {
    "difference, 6 x 6, effects of networks, pairs and stimuli": partial(
        _grid_of_six, **ALL_EFFECTS
    ),
    "difference, 4 x 4, the same": partial(
        reject_grid, n_sources=4, n_targets=4, **ALL_EFFECTS
    ),
    "difference, 4 x 10, the same": partial(
        reject_grid, n_sources=4, n_targets=10, **ALL_EFFECTS
    ),
    "difference, 6 x 6, effects with heavy tails": partial(
        _grid_of_six, **ALL_EFFECTS, kind="heavy tails"
    ),
    "difference, 6 x 6, skew effects": partial(
        _grid_of_six, **ALL_EFFECTS, kind="skew"
    ),
    "difference, 6 x 6, effects of stimuli only": partial(_grid_of_six, **STIMULI_ONLY),
    "difference, 6 x 6, effects of sources and stimuli": partial(
        _grid_of_six, **SOURCES_ONLY
    ),
    "difference, one source, 8 targets": _one_source,
    "difference, one set of 6, each pair once": partial(_set_of_six, **ALL_EFFECTS),
    "difference, one set of 4, each pair once": partial(
        reject_one_set, n_networks=4, **ALL_EFFECTS
    ),
    "difference, one set of 6, both directions": partial(
        _set_of_six, pairs="both directions", **ALL_EFFECTS
    ),
    "difference, one set of 6, effects of stimuli only": partial(
        _set_of_six, **STIMULI_ONLY
    ),
    "difference, one set of 6, effects of sources and stimuli": partial(
        _set_of_six, **SOURCES_ONLY
    ),
    "difference of matchings, 4 x 4": partial(
        reject_difference, n_sources=4, n_targets=4
    ),
    "difference of matchings, 8 sources, one target": partial(
        reject_difference, n_sources=8, n_targets=1
    ),
    "difference of matchings, one set of 5": partial(
        reject_difference, n_sources=5, n_targets=0
    ),
    "joint permutations, 2 x 2, cost": partial(
        reject_unrelated, n_sources=2, n_targets=2
    ),
    "joint permutations, one set of 3, cost": partial(
        reject_unrelated, n_sources=3, n_targets=0
    ),
    "joint permutations, 2 x 1, score": partial(
        reject_unrelated, n_sources=2, n_targets=1, statistic="score"
    ),
    "groups of 4 and 4 networks": partial(reject_groups, sizes=(4, 4)),
    "groups of 3, 3 and 3 networks": partial(reject_groups, sizes=(3, 3, 3)),
    "groups of 5, 3 and 1 networks": partial(reject_groups, sizes=(5, 3, 1)),
    "groups of 10 and 10 networks, random exchanges": partial(
        reject_groups, sizes=(10, 10), n_permutations=199
    ),
    "interval of the mean over two subjects, 100 stimuli held out": partial(
        interval_of_two_subjects_misses,
        n_stimuli=200,
        cv=ShuffleSplit(1, test_size=100, random_state=0),
    ),
    "interval of the mean over two subjects, 30 stimuli held out": partial(
        interval_of_two_subjects_misses,
        n_stimuli=90,
        cv=ShuffleSplit(1, test_size=30, random_state=0),
    ),
}
NOT_PROTECTED = {
    "interval of the mean over two subjects, 5 folds of 100 stimuli": partial(
        interval_of_two_subjects_misses, n_stimuli=100, cv=KFold(5)
    ),
    "interval of the mean over two subjects, 5 folds, weak signals": partial(
        interval_of_two_subjects_misses, n_stimuli=100, cv=KFold(5), signal=0.12
    ),
}
# Effects of networks and pairs have a standard deviation of .3 each, those of stimuli
# of .5, and each pair and stimulus has a further error of 1.
POWER = {
    "difference of .5, 6 x 6": partial(_grid_of_six, **ALL_EFFECTS, mean=0.5),
    "difference of .5, 10 x 10": partial(
        reject_grid, n_sources=10, n_targets=10, **ALL_EFFECTS, mean=0.5
    ),
    "difference of .5, one set of 6": partial(_set_of_six, **ALL_EFFECTS, mean=0.5),
    "difference of .5, one source, 8 targets": partial(_one_source, mean=0.5),
    "groups of 4 and 4 networks that differ": partial(
        reject_groups, sizes=(4, 4), effect=1.5
    ),
    "groups of 3, 3 and 3 networks that differ": partial(
        reject_groups, sizes=(3, 3, 3), effect=1.5
    ),
    "groups of 10 and 10 networks that differ": partial(
        reject_groups, sizes=(10, 10), effect=1.5, n_permutations=199
    ),
    "difference of matchings with and without signal, 4 x 4": partial(
        reject_difference, n_sources=4, n_targets=4, second=0.0
    ),
    "difference of matchings with and without signal, 8 sources, one target": partial(
        reject_difference, n_sources=8, n_targets=1, n_rows=60, second=0.0
    ),
    "joint permutations, 2 x 2, weak signals": partial(
        reject_unrelated, n_sources=2, n_targets=2, shared=0.5
    ),
    "joint permutations, one set of 3, weak signals": partial(
        reject_unrelated, n_sources=3, n_targets=0, shared=0.5
    ),
}
