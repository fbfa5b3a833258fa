"""What each estimator promises: the estimators that the property tests find, and how.

A new estimator in `skmot.__all__` fails `test_every_estimator_is_listed` until it is
here. What each ignores is listed in `tests/metrics/test_invariances.py`.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skmot import CKA, RegressorMapping, SoftMatching
from skmot.exceptions import DeadUnitWarning
from tests.metrics.test_invariances import (
    ESTIMATORS,
    ROTATIONS,
    SIGNED_UNITS,
    UNITS,
)


@dataclass(frozen=True)
class Promise:
    """What an estimator of one pair promises.

    Attributes
    ----------
    estimator : estimator
        Unfitted estimator.
    ignores : set of str
        Transformations of either side that leave `cost_` unchanged.
    highest : float
        Largest `cost_`; the smallest is 0.
    min_stimuli : int
        Fewest stimuli that it takes.
    is_symmetric : bool
        Whether swapping the sides leaves `cost_` unchanged.
    splits_rows : bool
        Whether `cost_` depends on the order of the stimuli, by a random split.
    is_continuous : bool
        Whether rounding the data changes `cost_` by rounding only. Which of several
        optimal plans comes first decides about the rotation that follows, and a
        prediction that is constant, up to rounding or exactly, has different scores.
    tolerance : float
        Rounding of `cost_` in float64.
    """

    estimator: object
    ignores: frozenset
    highest: float = 2.0
    min_stimuli: int = 2
    is_symmetric: bool = False
    splits_rows: bool = False
    is_continuous: bool = True
    tolerance: float = 1e-9


# Rotations start from the identity. The sign of a unit is ignored where both sides have
# equally many.
_ROTATION = {"is_continuous": False, "highest": 4.0, "tolerance": 1e-6}
_REGRESSION = {
    "is_continuous": False,
    "min_stimuli": 10,
    "splits_rows": True,
    "tolerance": 1e-6,
}
_DIFFERENT = {
    "CKA": {"min_stimuli": 4, "is_symmetric": True},
    # A square root near 0 has half of the digits.
    "FunctionComparison": {"is_symmetric": True, "tolerance": 1e-7},
    "LinearPredictivity": _REGRESSION,
    "MultiLevelOT": {"is_symmetric": True},
    "MultiLevelOTRotation": _ROTATION,
    "OneToOneMatching": {"is_symmetric": True},
    "Procrustes": {"is_symmetric": True},
    "RSA": {"min_stimuli": 3, "is_symmetric": True},
    "RotationMatching": _ROTATION,
    "SemiMatching": {},
    "SoftMatching": {"is_symmetric": True},
    "SoftMatching abs_correlation": {"is_symmetric": True, "highest": 1.0},
    "SoftMatching cosine": {"is_symmetric": True},
    "SoftMatching sqeuclidean": {"is_symmetric": True, "highest": 4.0},
    "SoftMatching mass": {"is_symmetric": True},
}
PROMISES = {
    name: Promise(
        estimator,
        frozenset(UNITS if "Rotation" in name else ignores),
        **_DIFFERENT.get(name, {}),
    )
    for name, (estimator, ignores) in ESTIMATORS.items()
} | {
    "CKA plain": Promise(
        CKA(debiased=False), frozenset(ROTATIONS), highest=1.0, is_symmetric=True
    ),
    "RegressorMapping": Promise(
        RegressorMapping(validation_fraction=0.2, random_state=0),
        # Ridge regression with a penalty of 1 between standardised units.
        frozenset(SIGNED_UNITS),
        **_REGRESSION,
    ),
    "SoftMatching abs_correlation weights": Promise(
        SoftMatching(
            "abs_correlation", source_weights="variance", target_weights="variance"
        ),
        # One factor leaves the ratios of the weights.
        frozenset(SIGNED_UNITS),
        highest=1.0,
        is_symmetric=True,
    ),
    "SoftMatching raw": Promise(
        SoftMatching(reconstruct="raw"), frozenset(UNITS), is_symmetric=True
    ),
}
# Estimators of skmot that compare no pair, and where their properties are tested.
OTHERS = {"TemplateMOT": "test_multilevel.py"}


def fitted(estimator, X, y):
    """Fit a clone, whatever it says of constant units and of few stimuli.

    Returns
    -------
    estimator : estimator
        Fitted clone.
    has_converged : bool
        False if a ConvergenceWarning was raised.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeadUnitWarning)
        warnings.filterwarnings("ignore", ".* validation stimuli", UserWarning)
        warnings.simplefilter("always", ConvergenceWarning)
        estimator = clone(estimator).fit(X, y)
    return estimator, not caught


def with_dead_units_alive(side):
    """Return a population whose constant units vary, as they may on other stimuli."""
    side, dead = side.copy(), (side == side[0]).all(axis=0)
    side[:, dead] = np.arange(len(side))[:, np.newaxis]
    return side
