"""Responses in float32 give the numbers of the same responses in float64."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skmot import (
    CKA,
    RSA,
    LinearPredictivity,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
    metrics,
)


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
    def cost(X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return estimator.fit(X, y).cost_

    return cost


NUMBERS = {
    "soft_matching_distance": metrics.soft_matching_distance,
    "soft_matching_distance, not centred": lambda X, y: metrics.soft_matching_distance(
        X, y, center=False
    ),
    "one_to_one_distance": metrics.one_to_one_distance,
    "procrustes_distance": metrics.procrustes_distance,
    "soft_matching_score": metrics.soft_matching_score,
    "soft_matching_score, not centred": lambda X, y: metrics.soft_matching_score(
        X, y, center=False
    ),
    "semi_matching_score": metrics.semi_matching_score,
    "rectangular_matching_score": metrics.rectangular_matching_score,
    "rsa_score": metrics.rsa_score,
    "linear_cka": metrics.linear_cka,
    "linear_predictivity_score": lambda X, y: metrics.linear_predictivity_score(
        X, y, random_state=0
    ),
    "SoftMatching": _fitted_cost(SoftMatching()),
    "SoftMatching, cosine": _fitted_cost(SoftMatching("cosine")),
    "SoftMatching, sqeuclidean": _fitted_cost(SoftMatching("sqeuclidean")),
    "SoftMatching, mass .6": _fitted_cost(SoftMatching(mass=0.6)),
    "SoftMatching, mass .6, sqeuclidean": _fitted_cost(
        SoftMatching("sqeuclidean", mass=0.6)
    ),
    "SemiMatching": _fitted_cost(SemiMatching()),
    "OneToOneMatching": _fitted_cost(OneToOneMatching()),
    "Procrustes": _fitted_cost(Procrustes()),
    "LinearPredictivity": _fitted_cost(LinearPredictivity(random_state=0)),
    "RSA": _fitted_cost(RSA()),
    "CKA": _fitted_cost(CKA()),
    "RotationMatching": _fitted_cost(RotationMatching(max_iter=5)),
}


@pytest.mark.parametrize("inputs", INPUTS, ids=lambda inputs: inputs.__name__[1:])
@pytest.mark.parametrize("number", NUMBERS)
def test_float32_has_the_number_of_float64(number, inputs):
    singles = [part.astype(np.float32) for part in inputs(np.random.default_rng(0))]
    doubles = [part.astype(np.float64) for part in singles]
    compute = NUMBERS[number]
    np.testing.assert_allclose(
        compute(*singles), compute(*doubles), rtol=INPUTS[inputs]
    )


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
