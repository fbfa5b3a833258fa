"""Splits, permutation controls and comparisons of methods."""

from skmot._compare import Comparison, compare
from skmot._controls import permutation_control
from skmot._splits import (
    StimulusKFold,
    StimulusShuffleSplit,
    train_validation_test_split,
)

__all__ = [
    "Comparison",
    "StimulusKFold",
    "StimulusShuffleSplit",
    "compare",
    "permutation_control",
    "train_validation_test_split",
]
