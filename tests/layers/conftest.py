import numpy as np
import pytest
from sklearn.base import clone

from skmot import MultiLevelOT, SoftMatching
from tests.layers.common import N

ESTIMATORS = {"SoftMatching": SoftMatching(), "MultiLevelOT": MultiLevelOT()}


@pytest.fixture
def v1():
    return np.random.default_rng(0).normal(size=(N, 4))


@pytest.fixture
def v2():
    return np.random.default_rng(1).normal(size=(N, 3))


@pytest.fixture(params=ESTIMATORS.values(), ids=ESTIMATORS)
def estimator(request):
    return clone(request.param)
