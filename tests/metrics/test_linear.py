"""Linear predictivity: the protocol of paper 1 with scikit-learn's Ridge, and laws."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skmot.metrics import linear_predictivity_score
from tests import reference
from tests.metrics.common import (
    LAWS,
    by_law,
    populations,
    swapping_the_populations_changes_the_score,
)


def slow_scores(X, Y, parts, alphas, alpha_per_target=False):
    """Return the score of each unit."""
    test, validation, training = parts
    kept = np.concatenate([training, validation])
    x, y = StandardScaler().fit(X[kept]), StandardScaler().fit(Y[kept])

    def unit_scores(alpha, fitted, scored):
        regression = Ridge(alpha).fit(x.transform(X[fitted]), y.transform(Y[fitted]))
        predicted = regression.predict(x.transform(X[scored])).reshape(len(scored), -1)
        pairs = zip(Y[scored].T, predicted.T, strict=True)
        return np.array([reference.pearson(a, b) for a, b in pairs])

    validated = np.array([unit_scores(alpha, training, validation) for alpha in alphas])
    if not alpha_per_target:
        return unit_scores(alphas[validated.mean(axis=1).argmax()], kept, test)
    return [
        unit_scores(alphas[best], kept, test)[unit]
        for unit, best in enumerate(validated.argmax(axis=0))
    ]


def slow_predictivity(X, Y, parts, alphas):
    return np.mean(slow_scores(X, Y, parts, alphas))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alphas", [None, [0.1, 3.0, 300.0]])
def test_linear_predictivity_is_ridge_by_the_papers_protocol(seed, alphas):
    X, Y = populations((30, 8), n_stimuli=100, seed=seed)
    order = np.random.RandomState(seed).permutation(100)
    expected = slow_predictivity(
        X,
        Y,
        (order[:20], order[20:30], order[30:]),
        np.logspace(-4, 4, 8) if alphas is None else alphas,
    )
    assert linear_predictivity_score(
        X, Y, alphas=alphas, random_state=seed
    ) == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore:.*validation stimuli:UserWarning")
@pytest.mark.parametrize("widths", [(30, 8), (150, 8), (1, 8), (8, 1), (90, 120)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha_per_target", [False, True])
def test_penalties_of_all_units_or_of_each_are_chosen_by_correlation(
    widths, dtype, alpha_per_target
):
    # Float32 arrays have the score of the same values in float64.
    X, Y = (side.astype(dtype) for side in populations(widths, n_stimuli=100, seed=1))
    alphas = np.logspace(-3, 4, 7)
    order = np.random.RandomState(5).permutation(100)
    parts = order[:20], order[20:30], order[30:]
    expected = slow_scores(
        X.astype(float), Y.astype(float), parts, alphas, alpha_per_target
    )
    found = linear_predictivity_score(
        X, Y, alphas=alphas, alpha_per_target=alpha_per_target, random_state=5
    )
    assert found == pytest.approx(np.mean(expected), abs=1e-10)


@pytest.mark.filterwarnings("ignore:.*validation stimuli, too few")
@pytest.mark.parametrize("n_stimuli", [40, 41, 44, 47, 101])
@pytest.mark.parametrize("share", [0.1, 0.125, 0.2])
def test_parts_of_stimuli_have_the_sizes_of_scikit_learn(n_stimuli, share):
    X, Y = populations((5, 6), n_stimuli)
    _, part = train_test_split(np.arange(n_stimuli), test_size=share)
    order = np.random.RandomState(0).permutation(n_stimuli)
    parts = np.split(order, [len(part), 2 * len(part)])
    found = linear_predictivity_score(
        X,
        Y,
        alphas=[1.0, 100.0],
        validation_size=share,
        test_size=share,
        random_state=0,
    )
    expected = slow_predictivity(X, Y, parts, [1.0, 100.0])
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore:.*validation stimuli, too few")
def test_linear_predictivity_needs_stimuli_for_every_part():
    X, Y = populations((5, 6), n_stimuli=6)
    assert -1 <= linear_predictivity_score(X, Y, random_state=0) <= 1
    with pytest.raises(ValueError, match="n_samples=5 stimuli cannot be split"):
        linear_predictivity_score(X[:5], Y[:5])
    with pytest.raises(ValueError, match=r"'test_size' .* Got 1\.5"):
        linear_predictivity_score(X, Y, test_size=1.5)


def test_a_population_that_is_constant_over_a_part_has_no_score():
    X, Y = populations((5, 1), n_stimuli=40)
    test, fitted = np.split(np.random.RandomState(0).permutation(40), [8])
    for constant, message in ((fitted, "its validation part"), (test, "unit of Y")):
        silent = Y.copy()
        silent[constant] = 0.1
        with pytest.raises(ValueError, match=message):
            linear_predictivity_score(X, silent, validation_size=0.2, random_state=0)
    # One stimulus more is in the validation part if the population varies there.
    silent = Y.copy()
    silent[fitted[:8]] = 0.1
    score = linear_predictivity_score(X, silent, validation_size=0.2, random_state=0)
    assert -1 <= score <= 1


@pytest.mark.parametrize("alphas", [[], [0.0, 1.0], [-1.0], [np.inf], 3.0])
def test_penalties_are_positive(alphas):
    X, Y = populations((5, 6))
    with pytest.raises(ValueError, match="`alphas` must be"):
        linear_predictivity_score(X, Y, alphas=alphas)


@pytest.mark.filterwarnings("ignore:.*validation stimuli, too few")
@by_law(*LAWS, swapping_the_populations_changes_the_score)
def test_laws(law):
    law(partial(linear_predictivity_score, random_state=0))


def test_stimuli_shown_twice_count_twice_in_the_regression_and_once_in_the_split():
    X, Y = populations((5, 6), n_stimuli=40)
    alphas = np.array([0.1, 3.0, 100.0])
    rows = np.repeat(np.arange(40), 2)
    options = {"validation_size": 0.3, "random_state": 3}
    expected = linear_predictivity_score(X, Y, alphas=alphas, **options)
    labelled = [
        pd.DataFrame(side[rows], index=[f"{k}" for k in rows]) for side in (X, Y)
    ]
    # The squared errors are twice as large, so the penalty must be, too.
    for source, target in (labelled, (labelled[0], Y[rows]), (X[rows], labelled[1])):
        found = linear_predictivity_score(source, target, alphas=2 * alphas, **options)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("alpha_per_target", [True, False])
def test_the_scale_of_single_units_changes_nothing(alpha_per_target):
    X, Y = populations((5, 6), n_stimuli=120)
    # Squares of the smallest units underflow, those of the largest overflow.
    scales = 10.0 ** np.array([-200, 0, -170, 160, 0, -30])
    options = {
        "alpha_per_target": alpha_per_target,
        "alphas": [0.01, 10.0, 1e3, 1e5],
        "validation_size": 0.4,
        "random_state": 0,
    }
    expected = linear_predictivity_score(X, Y, **options)
    found = linear_predictivity_score(X * scales[:5], Y * scales, **options)
    assert found == pytest.approx(expected, abs=1e-9)


def test_masked_penalties_are_refused():
    X, Y = populations((5, 6), n_stimuli=60)
    alphas = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    with pytest.raises(ValueError, match="`alphas` has masked entries"):
        linear_predictivity_score(X, Y, alphas=alphas)


def test_few_validation_stimuli_are_warned_of_if_they_choose_a_penalty():
    X, Y = populations((5, 6), n_stimuli=40)
    with pytest.warns(UserWarning, match="over 4 validation stimuli") as caught:
        linear_predictivity_score(X, Y, alphas=[1.0, 10.0], random_state=0)
    assert caught[0].filename == __file__
    # A single penalty needs no choice.
    linear_predictivity_score(X, Y, alphas=[1.0], random_state=0)


@pytest.mark.parametrize("name", ["test_size", "validation_size"])
@pytest.mark.parametrize("share", [-0.5, 0.0, 1.0, 1.5])
def test_shares_of_the_stimuli_are_between_0_and_1(name, share):
    X, Y = populations((5, 6), n_stimuli=40)
    with pytest.raises(ValueError, match=rf"'{name}' parameter.*{share}"):
        linear_predictivity_score(X, Y, **{name: share})
