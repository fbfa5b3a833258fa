"""Properties of the functions of two populations."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from skmot import metrics
from skmot.exceptions import DeadUnitWarning
from tests.metrics.test_invariances import MEASURES, NO_MEASURES
from tests.properties.strategies import (
    OTHER_SEED,
    examples,
    generic_pairs,
    pairs,
)

# Bounds of each score or distance, fewest stimuli, and whether it is symmetric.
FUNCTIONS = {
    "linear_cka": (-1, 1, 4, True),
    "linear_predictivity_score": (-1, 1, 20, False),
    "one_to_one_distance": (0, 16, 2, True),
    "procrustes_distance": (0, np.sqrt(2), 2, True),
    "rectangular_matching_score": (-1, 1, 2, False),
    "rsa_score": (-1, 1, 3, True),
    "semi_matching_score": (-1, 1, 2, False),
    "soft_matching_distance": (0, 2, 2, True),
    "soft_matching_score": (-1, 1, 2, True),
}
# Of labels or factors, which are no populations.
OF_FACTORS = {"dci_scores", "disentanglement_score", "mutual_information_gap"}
REGRESSIONS = {"linear_predictivity_score"}
DISTANCES = ["one_to_one_distance", "procrustes_distance", "soft_matching_distance"]
every_function = pytest.mark.parametrize("name", sorted(FUNCTIONS))


def measure(name, X, Y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadUnitWarning)
        # Loud units, whose costs round to more than those of the others.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", ".* validation stimuli", UserWarning)
        return MEASURES[name][0](X, Y)


def live_width(X):
    return int(np.count_nonzero(np.ptp(X, axis=0)))


def test_every_function_of_two_populations_is_listed():
    functions = {
        name for name in metrics.__all__ if not isinstance(getattr(metrics, name), type)
    }
    assert functions - NO_MEASURES - OF_FACTORS == FUNCTIONS.keys()


@every_function
@examples(2)
@given(data=st.data())
def test_any_populations_have_a_number_in_range(name, data):
    low, high, fewest, is_symmetric = FUNCTIONS[name]
    # The parts of a split may be constant, which is an error, for harder populations.
    strategy = generic_pairs if name in REGRESSIONS else pairs
    X, Y = (recipe.array() for recipe in data.draw(strategy(min_stimuli=fewest)))
    if name == "one_to_one_distance":
        Y = np.ascontiguousarray(X[::-1])
    if name == "rectangular_matching_score":
        X, Y = sorted((X, Y), key=live_width)
    copies = X.copy(), Y.copy()
    found = measure(name, X, Y)
    assert isinstance(found, float)
    assert low <= found <= high
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(Y, copies[1])
    if is_symmetric:
        single = X.dtype != np.float64 or Y.dtype != np.float64
        # A square root near 0 has half of the digits.
        tolerance = 1e-3 if single else 1e-7
        assert measure(name, Y, X) == pytest.approx(found, abs=tolerance)


# A ridge regression from few stimuli does not predict a population from itself.
@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - REGRESSIONS))
@examples(1)
@given(data=st.data())
def test_a_population_is_most_like_itself(name, data):
    low, high, *_ = FUNCTIONS[name]
    recipe, _ = data.draw(generic_pairs(min_stimuli=20))
    X = recipe.array()
    if name in ("rsa_score", "linear_cka") and X.shape[1] < 3:
        # All dissimilarities of one unit are equal, and those of two are 0 or 2.
        return
    best = low if name in DISTANCES else high
    assert measure(name, X, X) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("name", DISTANCES)
@examples(2)
@given(data=st.data())
def test_distances_satisfy_the_triangle_inequality(name, data):
    first, second = data.draw(pairs(max_units=20))
    third = second.resized(
        kind=first.kind, n_units=first.n_units, n_dead=0, seed=first.seed + OTHER_SEED
    )
    X, Y, Z = (recipe.array().astype(np.float64) for recipe in (first, second, third))
    if name == "one_to_one_distance":
        Y, Z = Y[:, : X.shape[1]], Z[:, : X.shape[1]]
        if not live_width(X) == live_width(Y) == live_width(Z):
            return
    direct = measure(name, X, Y)
    assert direct <= measure(name, X, Z) + measure(name, Z, Y) + 1e-7


@examples(4)
@given(recipes=pairs())
def test_freer_matchings_score_higher(recipes):
    X, Y = (recipe.array().astype(np.float64) for recipe in recipes)
    soft = measure("soft_matching_score", X, Y)
    for pair in ((X, Y), (Y, X)):
        assert soft <= measure("semi_matching_score", *pair) + 1e-9
    smaller, larger = sorted((X, Y), key=live_width)
    assert (
        measure("rectangular_matching_score", smaller, larger)
        <= measure("semi_matching_score", smaller, larger) + 1e-9
    )


@examples(2)
@given(recipe=generic_pairs(max_units=20), seed=st.integers(0, 2**16))
def test_equal_sizes_tie_the_distances_to_one_another(recipe, seed):
    X = recipe[0].array()
    Y = recipe[0].resized(kind="noise", seed=seed + OTHER_SEED).array()
    n_units = X.shape[1]
    one_to_one = measure("one_to_one_distance", X, Y)
    soft = measure("soft_matching_distance", X, Y)
    assert one_to_one == pytest.approx(np.sqrt(n_units) * soft, abs=1e-7)
    score = measure("soft_matching_score", X, Y)
    assert score == pytest.approx(measure("rectangular_matching_score", X, Y), abs=1e-9)
    # A permutation is a rotation.
    assert measure("procrustes_distance", X, Y) <= soft + 1e-7
