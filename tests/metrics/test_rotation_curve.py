import re
import warnings

import numpy as np
import pytest
from scipy.linalg import expm, logm
from scipy.stats import special_ortho_group
from sklearn.exceptions import ConvergenceWarning

from skmot import Procrustes, SoftMatching
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import rotation_curve, soft_matching_distance, soft_matching_score
from tests.tables import assert_survives_files


def tuned(n_units=12, n_stimuli=150, seed=0):
    """Units of skewed responses, so that the basis they are in shows."""
    return np.random.default_rng(seed).exponential(size=(n_stimuli, n_units))


class DrawsOf(np.random.RandomState):
    """Draws such that the rotation that is drawn is the one given.

    A random rotation is the orthogonal factor of a random matrix; that of a rotation is
    the rotation itself.
    """

    def __init__(self, rotation):
        super().__init__(0)
        self.rotation = rotation

    def normal(self, *args, size=None, **kwargs):
        assert np.prod(size) == self.rotation.size
        return self.rotation.reshape(size)


def powers(rotation, alphas):
    """Return what a population is turned by along a curve."""
    n = len(rotation)
    # Centred, and its first rows are the identity: turned, they are the power.
    X = np.vstack([np.eye(n), -np.eye(n)])
    turned = []

    def keep(X, y):
        turned.append(X[:n])
        return 0.0

    rotation_curve(
        X, X, alphas, n_rotations=1, score=keep, random_state=DrawsOf(rotation)
    )
    return turned


@pytest.mark.parametrize("n", [2, 3, 8, 15])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0, -1.0, 2.0])
def test_powers_are_those_of_the_matrix_exponential(n, alpha):
    rotation = special_ortho_group.rvs(n, random_state=n)
    expected = expm(alpha * logm(rotation)).real
    (turned,) = powers(rotation, [alpha])
    np.testing.assert_allclose(turned, expected, atol=1e-9)


@pytest.mark.parametrize("n", [2, 7, 30])
def test_powers_are_exactly_rotations_and_add_up(n):
    rotation = special_ortho_group.rvs(n, random_state=1)
    none, first, second, both = powers(rotation, [0, 0.2, 0.7, 0.9])
    for turned in (first, second):
        np.testing.assert_allclose(turned @ turned.T, np.eye(n), atol=1e-13)
        assert np.linalg.det(turned) == pytest.approx(1)
    np.testing.assert_allclose(first @ second, both, atol=1e-12)
    np.testing.assert_allclose(none, np.eye(n), atol=1e-13)


def test_half_turns_have_roots_too():
    # Eigenvalues of -1, for which the logarithm is not unique, in two planes.
    vectors = special_ortho_group.rvs(5, random_state=0)
    rotation = vectors @ np.diag([-1.0, 1.0, -1.0, -1.0, -1.0]) @ vectors.T
    root, whole = powers(rotation, [0.5, 1])
    assert np.isrealobj(root)
    np.testing.assert_allclose(root @ root, rotation, atol=1e-12)
    np.testing.assert_allclose(root @ root.T, np.eye(5), atol=1e-12)
    np.testing.assert_allclose(whole, rotation, atol=1e-12)


def test_the_curve_is_the_score_of_turned_and_centred_units():
    X, y = tuned(6), tuned(9, seed=1)
    curve = rotation_curve(X, y, [0, 0.4, 1], n_rotations=3, random_state=7)
    random = np.random.RandomState(7)
    for scores in curve.scores:
        rotation = special_ortho_group.rvs(6, random_state=random)
        for alpha, score in zip([0, 0.4, 1], scores, strict=True):
            turned = (X - X.mean(axis=0)) @ expm(alpha * logm(rotation)).real
            assert score == pytest.approx(soft_matching_score(turned, y), abs=1e-9)
    np.testing.assert_allclose(curve.mean, curve.scores.mean(axis=0))
    np.testing.assert_allclose(
        curve.standard_deviation, curve.scores.std(axis=0, ddof=1)
    )


def test_a_privileged_basis_shows_as_a_falling_curve_and_an_arbitrary_one_does_not():
    X = tuned()
    rng = np.random.default_rng(0)
    y = X[:, rng.permutation(12)] + 0.3 * rng.normal(size=X.shape)
    falling = rotation_curve(X, y, n_rotations=8, random_state=0).mean
    assert np.all(np.diff(falling) < 0)
    arbitrary = y @ special_ortho_group.rvs(12, random_state=3)
    flat = rotation_curve(X, arbitrary, n_rotations=8, random_state=0)
    fall = flat.mean[0] - flat.mean[-1]
    assert abs(fall) < 3 * flat.standard_deviation[-1]
    assert falling[0] - falling[-1] > 5 * abs(fall)


def test_held_out_scores_keep_the_training_plan():
    X, y = tuned(6), tuned(9, seed=1)
    train, test = slice(0, 100), slice(100, 150)
    curve = rotation_curve(
        X[train],
        y[train],
        [0, 1],
        n_rotations=1,
        held_out=(X[test], y[test]),
        score=SoftMatching(),
        random_state=0,
    )
    rotation = special_ortho_group.rvs(6, random_state=np.random.RandomState(0))
    mean = X[train].mean(axis=0)
    for turned, score in zip((np.eye(6), rotation), curve.scores[0], strict=True):
        matching = SoftMatching().fit((X[train] - mean) @ turned, y[train])
        expected = matching.matching_score((X[test] - mean) @ turned, y[test])
        assert score == pytest.approx(expected, abs=1e-9)
    assert np.isnan(curve.standard_deviation).all()


def test_any_function_of_two_arrays_is_followed():
    X = tuned(5)
    curve = rotation_curve(
        X, X, [0, 1], score=soft_matching_distance, n_rotations=4, random_state=0
    )
    assert curve.mean[0] == pytest.approx(0, abs=1e-7)
    assert curve.mean[1] > 0.3


def test_dead_units_do_not_turn():
    X, y = tuned(5), tuned(5, seed=1)
    with_dead = np.insert(X, 2, 3.0, axis=1)
    plain = rotation_curve(X, y, random_state=0).scores
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X are constant"):
        curve = rotation_curve(with_dead, y, random_state=0)
    np.testing.assert_allclose(curve.scores, plain, atol=1e-12)


@pytest.mark.parametrize("held_out", [False, True])
def test_dead_units_of_both_sides_are_warned_of_once(held_out):
    X, y = (np.insert(tuned(5, seed=seed), 2, 3.0, axis=1) for seed in (0, 1))
    options = {"held_out": (X, y), "score": SoftMatching()} if held_out else {}
    with pytest.warns(DeadUnitWarning, match=r"1 unit.* of X and 1 .* of y") as caught:
        rotation_curve(X, y, n_rotations=2, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_warnings_of_scores_come_once():
    def loud(X, y):
        warnings.warn(f"off by {X[0, 0]:.1e}", ConvergenceWarning, stacklevel=2)
        return 0.0

    X = tuned(5)
    with pytest.warns(ConvergenceWarning, match=r"off by.*10 time") as caught:
        rotation_curve(np.abs(X), X, n_rotations=2, score=loud)
    assert len(caught) == 1


def test_the_estimator_given_is_not_fitted():
    X = tuned(5)
    estimator = SoftMatching()
    rotation_curve(X, X, held_out=(X, X), score=estimator, n_rotations=1)
    assert not hasattr(estimator, "cost_")


def test_the_curve_names_its_score():
    X = tuned()

    def mean_product(X, y):
        return float(np.mean(X * y))

    def named(**options):
        curve = rotation_curve(X, X, [0, 1], n_rotations=1, random_state=0, **options)
        return curve.score_name

    assert named() == "soft matching score"
    assert named(score=mean_product) == "mean product"
    assert named(score=SoftMatching(), held_out=(X, X)) == (
        "held-out matching score of SoftMatching"
    )
    assert named(score=Procrustes(), held_out=(X, X)) == "held-out score of Procrustes"


def test_the_curve_prints_its_ends_whatever_the_order_of_alphas():
    X = tuned()
    curve = rotation_curve(X, X, [1, 0, 0.5], n_rotations=2, random_state=0)
    assert str(curve).startswith(
        f"The soft matching score is 1.00 at alpha = 0 and {curve.mean[0]:.2f} at "
        "alpha = 1, on average over 2 rotation(s). A fall"
    )
    one = rotation_curve(X, X, [0.5], n_rotations=1, random_state=0)
    assert f"is {one.mean[0]:.2f} at alpha = 0.5, on average" in str(one)


def test_tables_of_a_curve_have_one_row_for_each_alpha_or_rotation():
    X = tuned()
    curve = rotation_curve(X, X[:, ::-1], [0, 0.5, 1], n_rotations=4, random_state=0)
    rotations = curve.to_frame("rotations")
    np.testing.assert_array_equal(
        rotations.pivot(index="rotation", columns="alpha", values="score"), curve.scores
    )
    frame = curve.to_frame()
    by_alpha = rotations.groupby("alpha")["score"]
    np.testing.assert_array_equal(frame["alpha"], [0, 0.5, 1])
    np.testing.assert_allclose(frame["mean"], by_alpha.mean())
    np.testing.assert_allclose(frame["standard_deviation"], by_alpha.std())
    for table in (frame, rotations):
        assert_survives_files(table)


def test_one_unit_has_no_rotation():
    X = tuned(1)
    np.testing.assert_allclose(rotation_curve(X, X, [0, 1]).scores, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alphas": []}, ValueError, "`alphas`"),
        ({"alphas": [0, np.nan]}, ValueError, "`alphas`"),
        ({"n_rotations": 0}, ValueError, "'n_rotations'"),
        ({"score": SoftMatching()}, TypeError, "function of two arrays"),
        ({"held_out": (np.ones((5, 6)), np.ones((5, 6)))}, TypeError, "an estimator"),
        (
            {"held_out": (np.eye(5), np.eye(5)), "score": SoftMatching()},
            ValueError,
            "5 and 5 units",
        ),
        (
            {"held_out": (np.ones((7, 6)), np.ones((7, 4))), "score": SoftMatching()},
            ValueError,
            "has 6 and 4 units, but X and y have 6 and 6",
        ),
        (
            {"held_out": (np.ones((7, 5)), np.ones((7, 6))), "score": SoftMatching()},
            ValueError,
            "has 5 and 6 units, but X and y have 6 and 6",
        ),
        (
            {"held_out": (np.full((7, 6), np.nan), np.eye(7)), "score": SoftMatching()},
            ValueError,
            "held_out X",
        ),
        (
            {"held_out": (np.eye(7), np.full((7, 6), np.nan)), "score": SoftMatching()},
            ValueError,
            "held_out y",
        ),
        (
            {"held_out": (np.eye(7)[:, :6], np.eye(7)[:, :6])}
            | {"score": SoftMatching(mass=2)},
            ValueError,
            "'mass' parameter",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    X = tuned(6)
    with pytest.raises(error, match=message):
        rotation_curve(X, X, **arguments)


@pytest.mark.parametrize("name", ["X", "y"])
def test_a_side_without_a_live_unit_is_named(name):
    sides = {"X": tuned(6), "y": tuned(6)}
    sides[name] = np.ones_like(sides[name])
    with pytest.raises(ValueError, match=f"Every unit is constant .* in {name}"):
        rotation_curve(**sides)


def test_sides_have_the_names_of_the_arguments_in_messages():
    X = tuned(6)
    with pytest.raises(ValueError, match="NaN") as error:
        rotation_curve(X, np.full_like(X, np.nan))
    assert re.search(r"\by\b", str(error.value))
    assert not re.search(r"\bY\b", str(error.value))
