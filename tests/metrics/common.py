"""What the tests of functions of two populations share: data, and laws that all obey.

A law is a function of a score, which takes two populations. Each file tests its own
scores by it.
"""

import warnings

import numpy as np
import pytest
from scipy.stats import ortho_group

from skmot.exceptions import DeadUnitWarning

WIDTHS = [(6, 6), (6, 9), (10, 7), (3, 5), (40, 50)]


def populations(widths, n_stimuli=30, seed=0):
    """Return populations that share some of their structure."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_stimuli, 4))
    return [
        (1 + rng.random(width))
        * (latent @ rng.normal(size=(4, width)) + rng.normal(size=(n_stimuli, width)))
        + rng.normal(size=width)
        for width in widths
    ]


def by_law(*laws):
    """Run a test once a law, under its name."""
    return pytest.mark.parametrize("law", laws, ids=lambda law: law.__name__)


# -- laws of all -----------------------------------------------------------------------


def dead_units_take_no_part(score):
    X, Y = populations((5, 6), n_stimuli=40)
    dead = np.column_stack([X, np.full(40, 7.0)])
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X") as caught:
        found = score(dead, Y)
    assert caught[0].filename == __file__
    assert found == pytest.approx(score(X, Y), abs=1e-9)


def a_population_without_a_live_unit_is_an_error(score):
    X, Y = populations((5, 6))
    with pytest.raises(ValueError, match=r"Every unit is constant .* in Y"):
        score(X, np.ones_like(Y))


def magnitudes_do_not_matter(score):
    X, Y = populations((5, 6), n_stimuli=60)
    expected = score(X, Y)
    for factor in (1e30, 1e-30):
        assert score(factor * X, Y) == pytest.approx(expected, abs=1e-9)
        single = (factor * X).astype(np.float32), Y.astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Of float32 correlations; ranks have 64 of its rounding units.
            assert score(*single) == pytest.approx(expected, abs=1e-4)


LAWS_OF_PATTERNS = [
    a_population_without_a_live_unit_is_an_error,
    magnitudes_do_not_matter,
]
LAWS = [dead_units_take_no_part, *LAWS_OF_PATTERNS]


# -- laws of some ----------------------------------------------------------------------


def swapping_the_populations_changes_nothing(score):
    for widths in WIDTHS:
        X, Y = populations(widths)
        assert score(X, Y) == pytest.approx(score(Y, X), abs=1e-12)


def swapping_the_populations_changes_the_score(score):
    X, Y = populations((3, 20), n_stimuli=100)
    assert abs(score(X, Y) - score(Y, X)) > 0.01


def the_basis_does_not_matter(score):
    X, Y = populations((8, 6))
    rotation = ortho_group.rvs(8, random_state=0)
    assert score(X @ rotation, Y) == pytest.approx(score(X, Y), abs=1e-10)
