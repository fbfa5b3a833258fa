"""scikit-learn's own checks, with no expected failure."""

import pytest
from sklearn.cluster import FeatureAgglomeration
from sklearn.decomposition import PCA
from sklearn.exceptions import SkipTestWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmot import (
    CKA,
    RSA,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)
from skmot.preprocessing import (
    LayerwiseTransformer,
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
)

ESTIMATORS = [
    SoftMatching(),
    SoftMatching(metric="cosine"),
    SoftMatching(metric="sqeuclidean"),
    SoftMatching(reconstruct="raw"),
    SoftMatching(mass=0.5),
    SemiMatching(),
    OneToOneMatching(),
    Procrustes(),
    LinearPredictivity(),
    RSA(),
    CKA(),
    CKA(debiased=False),
    MultiLevelOT(),
    MultiLevelOT(SoftMatching()),
    MultiLevelOT(MultiLevelOT()),
    MultiLevelOT(strategy="single_best"),
    MultiLevelOT(strategy="pairwise_best"),
    MultiLevelOT(strategy="permuted"),
    MultiLevelOT(OneToOneMatching()),
    MultiLevelOT(Procrustes()),
    # scikit-learn seeds the outer estimator only.
    MultiLevelOT(LinearPredictivity(random_state=0)),
    MultiLevelOT(RSA()),
    MultiLevelOT(CKA()),
    RotationMatching(),
    RotationMatching(metric="sqeuclidean", n_init=2, random_state=0),
    MultiLevelOTRotation(),
    MultiLevelOT(RotationMatching()),
    UnitSubsampler(),
    LayerwiseTransformer(StandardScaler()),
    LayerwiseTransformer(PCA(n_components=1)),
    LayerwiseTransformer(FeatureAgglomeration(n_clusters=1)),
    ReliabilitySelector(reliabilities=1.0),
    TransformedTargetLayers(SoftMatching(), LayerwiseTransformer(StandardScaler())),
    TransformedTargetLayers(MultiLevelOT(), LayerwiseTransformer(StandardScaler())),
]


# The checks draw data at random, some of it with constant units.
@pytest.mark.filterwarnings(
    "ignore:.* are constant over:skmot.exceptions.DeadUnitWarning"
)
@pytest.mark.filterwarnings(f"error::{SkipTestWarning.__module__}.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)
