"""Responses in float32 give the numbers of the same responses in float64.

An optimal cost changes by rounding errors only, whatever the data. What follows from a
plan (scores, held-out costs, the rotations after it) does so too, unless two plans are
equally good within the precision of float32: then it can be that of the other plan.
"""

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from sklearn.base import clone

from skmot import (
    LayerStack,
    OneToOneMatching,
    RotationMatching,
    SemiMatching,
    SoftMatching,
    TemplateMOT,
    datasets,
    metrics,
)
from skmot.exceptions import DeadUnitWarning
from tests.metrics.test_invariances import ESTIMATORS, MEASURES
from tests.properties.promises import PROMISES, fitted

# -- two populations, relative to the number itself ------------------------------------


def _plain(rng):
    X, noise = rng.normal(size=(2, 120, 60))
    return X, X + noise


def _large_means(rng):
    X, y = _plain(rng)
    return (part + 800 + 200 * rng.normal(size=60) for part in (X, y))


def _massive_units(rng):
    X, noise = rng.normal(size=(2, 120, 768))
    y = X + noise
    for part in (X, y):
        part[:, :2] = 3000 + 300 * part[:, :2]
    return X, y


def _nearly_alike(rng):
    X, noise = rng.normal(size=(2, 120, 60))
    return X, X + 1e-4 * noise


def _large_offsets(rng):
    X, y = _plain(rng)
    return X + 1e4, y + 1e4


# With the relative error: nearly identical layers have costs of about 1e-8, whose last
# digits are in the rounding of the float32 maps.
INPUTS = {
    _plain: 1e-5,
    _large_means: 1e-5,
    _massive_units: 1e-5,
    _nearly_alike: 2e-4,
    _large_offsets: 1e-5,
}


def _fitted_cost(estimator):
    return lambda X, y: fitted(estimator, X, y)[0].cost_


# Every measure of two populations, and every estimator with a cost.
NUMBERS = {
    "soft_matching_distance, not centred": lambda X, y: metrics.soft_matching_distance(
        X, y, center=False
    ),
    "soft_matching_score, not centred": lambda X, y: metrics.soft_matching_score(
        X, y, center=False
    ),
    "SoftMatching mass .6, sqeuclidean": _fitted_cost(
        SoftMatching("sqeuclidean", mass=0.6)
    ),
}
NUMBERS |= {name: MEASURES[name][0] for name in MEASURES.keys() - ESTIMATORS.keys()}
# The lasso and mutual information take seconds for many factors.
NUMBERS |= {
    name: lambda X, y, measure=NUMBERS[name]: measure(X[:, :5], y[:, :5])
    for name in ("dci_scores", "mutual_information_gap")
}
NUMBERS |= {name: _fitted_cost(promise.estimator) for name, promise in PROMISES.items()}


@pytest.mark.parametrize("inputs", INPUTS, ids=lambda inputs: inputs.__name__[1:])
@pytest.mark.parametrize("number", sorted(NUMBERS))
def test_float32_has_the_number_of_float64(number, inputs):
    singles = [part.astype(np.float32) for part in inputs(np.random.default_rng(0))]
    doubles = [part.astype(np.float64) for part in singles]
    compute = NUMBERS[number]
    np.testing.assert_allclose(
        compute(*singles), compute(*doubles), rtol=INPUTS[inputs]
    )


# -- two networks, with all that is read of a fit --------------------------------------


def _simulated(n_stimuli=80, widths=((20, 16), (18, 24))):
    """Return two networks of two layers that share signals."""
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(n_stimuli, 12))

    def layer(width):
        mixed = signals @ rng.normal(size=(12, width))
        return mixed + 2 * rng.normal(size=(n_stimuli, width))

    return [[layer(width) for width in side] for side in widths]


def _changed(change):
    """Return simulated networks with a change of each layer."""
    rng = np.random.default_rng(1)
    return [[change(layer, rng) for layer in side] for side in _simulated()]


def _some_units(stack, layers, step):
    """Return every `step`-th unit of some layers, for the first 120 stimuli."""
    return [np.asarray(stack.layers[index])[:120, ::step] for index in layers]


def _sentence_encoders():
    encoders = datasets.load_sentence_encoders()
    return (
        _some_units(encoders.source, (0, 3), 16),
        _some_units(encoders.target, (0, 3, 6), 16),
    )


def _digit_networks():
    digits = datasets.load_digit_networks()
    return _some_units(digits.source, (0, 2), 3), _some_units(
        digits.target, (0, 2, 5), 3
    )


def _simulated_cortex():
    cortex = datasets.make_simulated_cortex()
    subject = next(iter(cortex.subjects.values()))
    return _some_units(cortex.network, (0, 2, 4), 3), _some_units(subject, (0, 3, 6), 2)


def _dead_units():
    def silence(layer, rng):
        layer[:, [0, 5]] = 0.1
        return layer

    return _changed(silence)


def _loud_units():
    return _changed(
        lambda layer, rng: layer * np.where(np.arange(layer.shape[1]) == 3, 1e6, 1)
    )


def _copies(difference):
    def repeat(layer, rng):
        copies = np.repeat(layer, 2, axis=1)
        return copies + difference * rng.normal(size=copies.shape)

    return _changed(repeat)


def _heavy_tails():
    return _changed(lambda layer, rng: layer + 10 * rng.standard_cauchy(layer.shape))


@dataclass(frozen=True)
class Bounds:
    """Largest differences between float32 and float64.

    Attributes
    ----------
    cost : float
        Of `cost_`.
    rotated_cost : float
        Of `cost_` after rotations, which depend on the plans before them.
    score : float or None
        Of scores and of held-out costs, None if other plans are equally good.
    unit_score : float or None
        Of the scores of single units.
    """

    cost: float = 1e-6
    rotated_cost: float = 1e-6
    score: float | None = 1e-6
    unit_score: float | None = 1e-5


# Several times the most that eight seeds showed. float32 has 7 digits: offsets of 1e4
# leave predictions three, and copies that differ by 1e-7 are the same or another unit.
NETWORKS = {
    "sentence encoders": (_sentence_encoders, Bounds()),
    "digit networks": (_digit_networks, Bounds()),
    "simulated cortex": (_simulated_cortex, Bounds()),
    "dead units": (_dead_units, Bounds()),
    "loud units": (_loud_units, Bounds(unit_score=5e-5)),
    "heavy tails": (
        _heavy_tails,
        Bounds(rotated_cost=5e-5, score=None, unit_score=None),
    ),
    "near copies": (lambda: _copies(1e-3), Bounds(score=1e-2, unit_score=None)),
    "copies in float32": (
        lambda: _copies(1e-7),
        Bounds(rotated_cost=5e-2, score=None, unit_score=None),
    ),
    "offset of 1e4": (
        lambda: _changed(lambda layer, rng: layer + 1e4),
        Bounds(score=1e-4, unit_score=1e-3),
    ),
    "scale of 1e-30": (lambda: _changed(lambda layer, rng: 1e-30 * layer), Bounds()),
    "scale of 1e30": (lambda: _changed(lambda layer, rng: 1e30 * layer), Bounds()),
    "more units than stimuli": (
        lambda: _simulated(24, ((60, 40), (50, 70))),
        Bounds(unit_score=2e-5),
    ),
}
by_network = pytest.mark.parametrize("networks", NETWORKS)


@cache
def _in_float32(networks):
    """Return the training and the held-out part of two networks, in float32."""
    sides = NETWORKS[networks][0]()
    n_training = 3 * len(sides[0][0]) // 4
    return [
        [
            LayerStack([layer[rows].astype(np.float32) for layer in side])
            for side in sides
        ]
        for rows in (slice(n_training), slice(n_training, None))
    ]


def _in_both(networks):
    """Return the same numbers in float32 and in float64."""
    singles = _in_float32(networks)
    doubles = [
        [
            LayerStack([layer.astype(np.float64) for layer in stack.layers])
            for stack in part
        ]
        for part in singles
    ]
    return singles, doubles


def _assert_within(found, expected, bound, what):
    if bound is not None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound, err_msg=what)


@by_network
@pytest.mark.parametrize("name", sorted(PROMISES))
def test_a_fit_to_networks_in_float32_is_that_in_float64(name, networks):
    estimator, bounds = PROMISES[name].estimator, NETWORKS[networks][1]
    (single, new), (double, new_double) = _in_both(networks)
    found, _ = fitted(estimator, *single)
    expected, _ = fitted(estimator, *double)
    cost_bound = bounds.rotated_cost if "Rotation" in name else bounds.cost
    _assert_within(found.cost_, expected.cost_, cost_bound, "cost_")
    with warnings.catch_warnings():
        # Functions of two arrays report constant units again.
        warnings.simplefilter("ignore", DeadUnitWarning)
        readings = ["held_out_cost"]
        if hasattr(found, "predict"):
            readings += ["score", "inverse_score"]
        for reading in readings:
            _assert_within(
                getattr(found, reading)(*new),
                getattr(expected, reading)(*new_double),
                bounds.score,
                reading,
            )
        if hasattr(found, "predict"):
            _assert_within(
                np.hstack(found.unit_scores(*new)),
                np.hstack(expected.unit_scores(*new_double)),
                bounds.unit_score,
                "unit_scores",
            )


@by_network
def test_a_template_of_networks_in_float32_has_the_costs_of_one_in_float64(networks):
    bounds = NETWORKS[networks][1]
    single, double = _in_both(networks)
    template = TemplateMOT(n_layers=2, n_units=10, max_iter=3, random_state=0)
    scores, costs = [], []
    for training, new in (single, double):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = clone(template).fit(training)
            scores.append(fit.leave_one_out_scores(training, new))
        costs.append(fit.costs_)
    _assert_within(*costs, bounds.cost, "costs_")
    _assert_within(*scores, bounds.score, "leave_one_out_scores")


# -- costs near 0 ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distance", [1e-3, 1e-5])
def test_cost_of_nearly_identical_layers_is_half_of_the_squared_difference(
    distance, dtype
):
    # The cost is 1 - correlation: |x - y|^2 / 2 of unit vectors.
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 30)).astype(dtype)
    y = (X + distance * rng.normal(size=X.shape)).astype(dtype)
    first, second = (
        (part - part.mean(axis=0)) / np.linalg.norm(part - part.mean(axis=0), axis=0)
        for part in (X.astype(np.longdouble), y.astype(np.longdouble))
    )
    expected = float(((first - second) ** 2).sum() / 2 / 30)
    for estimator in (SoftMatching(), SemiMatching(), OneToOneMatching()):
        # Rounding to float32 changes single responses by 6e-8.
        rtol = 1e-3 if dtype == "float32" and distance == 1e-5 else 1e-5
        np.testing.assert_allclose(estimator.fit(X, y).cost_, expected, rtol=rtol)


@pytest.mark.parametrize(
    "estimator",
    [
        SoftMatching(),
        SoftMatching("sqeuclidean"),
        SoftMatching(mass=0.8),
        SemiMatching(),
        OneToOneMatching(),
        RotationMatching(max_iter=3),
    ],
    ids=repr,
)
def test_units_that_share_a_strong_time_course_are_matched(estimator):
    # The signals of single units are 1e-4 of what all units have in common.
    rng = np.random.default_rng(0)
    order = rng.permutation(40)
    common = 1e4 * rng.normal(size=(200, 1))
    X = (common + rng.normal(size=(200, 40))).astype(np.float32)
    y = (X[:, order] + 0.2 * rng.normal(size=X.shape)).astype(np.float32)
    fitted = estimator.fit(X, y)
    matched = fitted.coupling_.toarray()[order, np.arange(40)] > 0
    assert matched.mean() >= getattr(estimator, "mass", 1)
    double = X.astype(np.float64), y.astype(np.float64)
    expected = fitted.held_out_cost(*(side[:100] for side in double))
    np.testing.assert_allclose(
        fitted.held_out_cost(X[:100], y[:100]), expected, rtol=1e-2
    )
