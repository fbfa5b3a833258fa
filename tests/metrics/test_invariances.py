"""What each measure of two populations ignores, and a witness for what it does not.

The transformations are those of ReSi (Klabunde et al., "ReSi: a comprehensive benchmark
for representational similarity measures", 2024): permutations, isotropic scaling,
translations, orthogonal and invertible linear transformations of one population; and
the sign of a unit.
"""

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.base import clone

import skmot
from skmot import metrics

# The transformations of a population, by the name of the invariance.
TRANSFORMATIONS = {
    "permutation": lambda X: X[:, [3, 0, 4, 1, 2]],
    "scaling": lambda X: 3.7 * X,
    "translation": lambda X: X + np.array([5.0, -2.0, 0.5, 40.0, 1.0]),
    "sign": lambda X: X * np.array([1, -1, 1, 1, -1]),
    "orthogonal": lambda X: X @ ortho_group.rvs(5, random_state=0),
    "linear": lambda X: X @ (np.eye(5) + np.triu(np.full((5, 5), 0.9))),
    "affine": lambda X: TRANSFORMATIONS["translation"](TRANSFORMATIONS["linear"](X)),
}
UNITS = {"permutation", "scaling", "translation"}
SIGNED_UNITS = UNITS | {"sign"}
ROTATIONS = SIGNED_UNITS | {"orthogonal"}


def cost_of(estimator):
    return lambda X, Y: clone(estimator).fit(X, Y).cost_


def seeded(function, **settings):
    return lambda X, Y: function(X, Y, random_state=0, **settings)


# What each measure is said to ignore.
MEASURES = {
    "dci_scores": (
        lambda X, Y: metrics.dci_scores(X, Y, random_state=0).completeness,
        SIGNED_UNITS,
    ),
    "disentanglement_score": (metrics.disentanglement_score, UNITS),
    "disentanglement_score without signs": (
        lambda X, Y: metrics.disentanglement_score(X, Y, signed=False),
        SIGNED_UNITS,
    ),
    "linear_cka": (metrics.linear_cka, ROTATIONS),
    "linear_predictivity_score": (
        seeded(metrics.linear_predictivity_score),
        SIGNED_UNITS,
    ),
    "mutual_information_gap": (
        lambda X, Y: metrics.mutual_information_gap(X, Y, n_bins=4).gap,
        SIGNED_UNITS,
    ),
    "one_to_one_distance": (metrics.one_to_one_distance, UNITS),
    "procrustes_distance": (metrics.procrustes_distance, ROTATIONS),
    "rectangular_matching_score": (metrics.rectangular_matching_score, UNITS),
    # A translation adds the same pattern to all patterns.
    "rsa_score": (metrics.rsa_score, {"permutation", "scaling"}),
    "semi_matching_score": (metrics.semi_matching_score, UNITS),
    "soft_matching_distance": (metrics.soft_matching_distance, UNITS),
    "soft_matching_score": (metrics.soft_matching_score, UNITS),
}
ESTIMATORS = {
    "CKA": (skmot.CKA(), ROTATIONS),
    "FunctionComparison": (
        skmot.FunctionComparison(metrics.procrustes_distance),
        ROTATIONS,
    ),
    "LinearPredictivity": (
        skmot.LinearPredictivity(validation_fraction=0.2, random_state=0),
        SIGNED_UNITS,
    ),
    "MultiLevelOT": (skmot.MultiLevelOT(), UNITS),
    # Units are standardised before they are rotated, so that a rotation counts. The
    # sign of a target unit is ignored because both sides have five units.
    "MultiLevelOTRotation": (
        skmot.MultiLevelOTRotation(max_iter=5),
        SIGNED_UNITS,
    ),
    "OneToOneMatching": (skmot.OneToOneMatching(), UNITS),
    "Procrustes": (skmot.Procrustes(), ROTATIONS),
    "RSA": (skmot.RSA(), {"permutation", "scaling"}),
    "RotationMatching": (skmot.RotationMatching(max_iter=5), SIGNED_UNITS),
    "SemiMatching": (skmot.SemiMatching(), UNITS),
    "SoftMatching": (skmot.SoftMatching(), UNITS),
    "SoftMatching abs_correlation": (
        skmot.SoftMatching(metric="abs_correlation"),
        SIGNED_UNITS,
    ),
    "SoftMatching cosine": (
        skmot.SoftMatching(metric="cosine"),
        {"permutation", "scaling"},
    ),
    "SoftMatching sqeuclidean": (skmot.SoftMatching(metric="sqeuclidean"), UNITS),
    "SoftMatching mass": (skmot.SoftMatching(mass=0.6), UNITS),
}
MEASURES |= {name: (cost_of(model), kept) for name, (model, kept) in ESTIMATORS.items()}
# Other functions of `skmot.metrics`: of a reconstruction, of trials, of a coupling, of
# an estimator, of many networks, or of rotations themselves.
NO_MEASURES = {
    "ceiling_from_ncsnr",
    "corrected_scores",
    "hierarchy_score",
    "negative_cost",
    "noise_ceiling",
    "noise_corrected_score",
    "pairwise_costs",
    "reconstruction_correlation",
    "rotation_curve",
    "scored_units",
    "source_score",
    "target_score",
}
# The lasso stops at a tolerance, and rounding is larger after an inverse.
TOLERANCES = {"dci_scores": 1e-3}
by_measure = pytest.mark.parametrize("name", sorted(MEASURES))
by_transformation = pytest.mark.parametrize("kind", list(TRANSFORMATIONS))


def related(seed=0):
    """Return two related populations of five units with means of their own."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(60, 5))
    return [
        rng.uniform(0.5, 2, 5) * (latent + 0.8 * rng.normal(size=(60, 5)))
        + rng.normal(size=5)
        for _ in range(2)
    ]


def changes(name, kind):
    """Return the changes of a measure when either population is transformed."""
    measure, transform = MEASURES[name][0], TRANSFORMATIONS[kind]
    found = []
    for seed in range(3):
        X, Y = related(seed)
        before = measure(X, Y)
        found += [measure(transform(X), Y) - before, measure(X, transform(Y)) - before]
    return np.abs(found)


@by_transformation
@by_measure
def test_a_measure_ignores_what_it_promises_and_nothing_else(name, kind):
    found = changes(name, kind)
    if kind in MEASURES[name][1]:
        assert found.max() < TOLERANCES.get(name, 1e-9)
    else:
        # A witness: one of the populations, of either side.
        assert found.max() > 0.005


def test_every_measure_of_two_populations_is_listed():
    functions = {
        name for name in metrics.__all__ if not isinstance(getattr(metrics, name), type)
    }
    assert functions == NO_MEASURES | (MEASURES.keys() & functions)


def test_every_estimator_with_a_cost_is_listed():
    regressors = {
        # Whatever its regressor ignores.
        "RegressorMapping",
        # Of many networks.
        "TemplateMOT",
    }
    found = {name for name in skmot.__all__ if hasattr(getattr(skmot, name), "fit")}
    assert found - regressors == {name.partition(" ")[0] for name in ESTIMATORS}
