"""scikit-learn's own checks of every public estimator, with no expected failure.

Estimators are found in the packages' `__all__`. Each is checked with default arguments,
and each that compares two populations also as the inner estimator of MultiLevelOT;
`SPECIAL` adds settings of which the checks see something else.
"""

import inspect
import re

import pytest
from sklearn.base import BaseEstimator
from sklearn.cluster import FeatureAgglomeration
from sklearn.decomposition import PCA
from sklearn.exceptions import SkipTestWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmot import (
    CKA,
    FunctionComparison,
    MultiLevelOT,
    MultiLevelOTRotation,
    RotationMatching,
    SoftMatching,
)
from skmot.base import PairComparison
from skmot.preprocessing import (
    LayerwiseTransformer,
    ReliabilitySelector,
    TransformedTargetLayers,
)
from tests.public import public_modules


def mean_difference(X, Y):
    return abs(X.mean() - Y.mean())


# Arguments of estimators that cannot be made, or fitted to one array, without.
ARGUMENTS = {
    FunctionComparison: {"func": mean_difference},
    LayerwiseTransformer: {"transformer": StandardScaler()},
    # Without them it needs stimulus labels, which the checks' arrays do not have.
    ReliabilitySelector: {"reliabilities": 1.0},
    TransformedTargetLayers: {
        "regressor": SoftMatching(),
        "transformer": LayerwiseTransformer(StandardScaler()),
    },
}

SPECIAL = [
    SoftMatching(metric="abs_correlation"),
    SoftMatching(metric="cosine"),
    SoftMatching(metric="sqeuclidean"),
    SoftMatching(reconstruct="raw"),
    SoftMatching(mass=0.5),
    SoftMatching(source_weights="variance", target_weights="variance"),
    CKA(debiased=False),
    FunctionComparison(mean_difference, greater_is_more_alike=True),
    RotationMatching(metric="sqeuclidean", n_init=2, random_state=0),
    MultiLevelOT(MultiLevelOT()),
    MultiLevelOT(strategy="single_best"),
    MultiLevelOT(strategy="pairwise_best"),
    MultiLevelOT(strategy="permuted"),
    MultiLevelOT(depth_prior=0.5),
    MultiLevelOTRotation(depth_prior=0.5),
    LayerwiseTransformer(PCA(n_components=1)),
    LayerwiseTransformer(FeatureAgglomeration(n_clusters=1)),
    TransformedTargetLayers(MultiLevelOT(), LayerwiseTransformer(StandardScaler())),
]


def public_estimators():
    """Return the classes of estimators in the `__all__` of any public module."""
    found = (
        getattr(module, name) for module in public_modules() for name in module.__all__
    )
    classes = {
        value
        for value in found
        if isinstance(value, type)
        and issubclass(value, BaseEstimator)
        and not inspect.isabstract(value)
    }
    return sorted(classes, key=lambda estimator: estimator.__name__)


def missing_arguments(estimator):
    """Return the arguments that a class needs and `ARGUMENTS` does not have."""
    return [
        name
        for name, parameter in inspect.signature(estimator).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name not in ARGUMENTS.get(estimator, {})
    ]


def instances(estimator):
    """Return what is checked of a class."""
    given = ARGUMENTS.get(estimator, {})
    made = [estimator(**given)]
    if issubclass(estimator, PairComparison):
        # scikit-learn seeds the outer estimator only.
        names = inspect.signature(estimator).parameters
        seed = {"random_state": 0} if "random_state" in names else {}
        made.append(MultiLevelOT(estimator(**{**given, **seed})))
    return made


PUBLIC = public_estimators()
CHECKED = [
    instance
    for estimator in PUBLIC
    if not missing_arguments(estimator)
    for instance in instances(estimator)
] + SPECIAL


def test_estimators_are_found():
    names = {estimator.__name__ for estimator in PUBLIC}
    assert names >= {"SoftMatching", "MultiLevelOTRotation", "UnitSubsampler"}
    assert not names & {"PairComparison", "PairMapping"}


@pytest.mark.parametrize("estimator", PUBLIC)
def test_every_public_estimator_is_checked(estimator):
    missing = missing_arguments(estimator)
    assert not missing, (
        f"{estimator.__name__} cannot be made without {missing}: give them in ARGUMENTS"
    )
    assert any(type(instance) is estimator for instance in CHECKED)
    if issubclass(estimator, PairComparison):
        assert any(
            isinstance(instance, MultiLevelOT) and type(instance.inner) is estimator
            for instance in CHECKED
        )


def test_no_estimator_is_checked_twice():
    described = [repr(instance) for instance in CHECKED]
    assert len(set(described)) == len(described)


def all_checks(estimators):
    """Parametrise with scikit-learn's checks, by names that every run has alike."""
    checks = parametrize_with_checks(estimators)

    def name(value):
        # A function is shown with its address.
        return re.sub(r"at0x[0-9a-f]+", "", checks.kwargs["ids"](value))

    return pytest.mark.parametrize(*checks.args, ids=name)


# The checks draw few data at random, some of it with constant units.
@pytest.mark.filterwarnings("ignore:.* validation stimuli, too few:UserWarning")
@pytest.mark.filterwarnings(
    "ignore:.* are constant over:skmot.exceptions.DeadUnitWarning"
)
@pytest.mark.filterwarnings(f"error::{SkipTestWarning.__module__}.SkipTestWarning")
@all_checks(CHECKED)
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)
