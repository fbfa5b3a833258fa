"""Splits of stimuli, permutation controls, and comparisons of methods."""

from skmot.model_selection.compare import Comparison, compare
from skmot.model_selection.controls import permutation_control
from skmot.model_selection.pairwise import pairwise_costs
from skmot.model_selection.splits import (
    StimulusKFold,
    StimulusShuffleSplit,
    train_validation_test_split,
)

__all__ = [
    "Comparison",
    "StimulusKFold",
    "StimulusShuffleSplit",
    "compare",
    "pairwise_costs",
    "permutation_control",
    "train_validation_test_split",
]
