"""Splits of stimuli, tests against chance, and comparisons of methods."""

from skmot.model_selection.compare import compare
from skmot.model_selection.comparison import Comparison
from skmot.model_selection.controls import permutation_control
from skmot.model_selection.differences import Differences
from skmot.model_selection.grouping import group_separation_test
from skmot.model_selection.hierarchy import hierarchy_test
from skmot.model_selection.joint import joint_permutation_test
from skmot.model_selection.over_networks import mean_over_networks
from skmot.model_selection.pairwise import PairwiseCosts, pairwise_costs
from skmot.model_selection.splits import (
    StimulusKFold,
    StimulusShuffleSplit,
    train_validation_test_split,
)
from skmot.model_selection.stability import coupling_stability

__all__ = [
    "Comparison",
    "Differences",
    "PairwiseCosts",
    "StimulusKFold",
    "StimulusShuffleSplit",
    "compare",
    "coupling_stability",
    "group_separation_test",
    "hierarchy_test",
    "joint_permutation_test",
    "mean_over_networks",
    "pairwise_costs",
    "permutation_control",
    "train_validation_test_split",
]
