"""Functions of two arrays, of a coupling, and scorers."""

from skmot.metrics._hierarchy import hierarchy_score
from skmot.metrics._matching import (
    one_to_one_distance,
    soft_matching_distance,
    soft_matching_score,
)
from skmot.metrics._reconstruction import reconstruction_correlation
from skmot.metrics._scorers import negative_cost, source_score, target_score

__all__ = [
    "hierarchy_score",
    "negative_cost",
    "one_to_one_distance",
    "reconstruction_correlation",
    "soft_matching_distance",
    "soft_matching_score",
    "source_score",
    "target_score",
]
