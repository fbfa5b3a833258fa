"""scikit-learn's own checks, with no expected failure."""

import pytest
from sklearn.cluster import FeatureAgglomeration
from sklearn.decomposition import PCA
from sklearn.exceptions import SkipTestWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmot import MultiLevelOT, SoftMatching
from skmot.preprocessing import LayerwiseTransformer, UnitSubsampler

ESTIMATORS = [
    SoftMatching(),
    SoftMatching(metric="cosine"),
    SoftMatching(metric="sqeuclidean"),
    SoftMatching(reconstruct="raw"),
    MultiLevelOT(),
    MultiLevelOT(SoftMatching()),
    MultiLevelOT(MultiLevelOT()),
    MultiLevelOT(strategy="single_best"),
    MultiLevelOT(strategy="pairwise_best"),
    MultiLevelOT(strategy="permuted"),
    UnitSubsampler(),
    LayerwiseTransformer(StandardScaler()),
    LayerwiseTransformer(PCA(n_components=1)),
    LayerwiseTransformer(FeatureAgglomeration(n_clusters=1)),
]


# The checks draw data at random, some of it with constant units.
@pytest.mark.filterwarnings(
    "ignore:.* are constant over:skmot.exceptions.DeadUnitWarning"
)
@pytest.mark.filterwarnings(f"error::{SkipTestWarning.__module__}.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)
