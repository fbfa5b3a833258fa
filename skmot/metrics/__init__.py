"""Scores and distances of two arrays, scores of a layer coupling, and scorers."""

from importlib import import_module

from skmot.layers.depth import DepthPriorCoupling
from skmot.metrics._assignments import rectangular_matching_score, semi_matching_score
from skmot.metrics._disentanglement import (
    dci_scores,
    disentanglement_score,
    mutual_information_gap,
)
from skmot.metrics._geometries import linear_cka, rsa_score
from skmot.metrics._hierarchy import hierarchy_score
from skmot.metrics._linear import linear_predictivity_score
from skmot.metrics._matching import (
    one_to_one_distance,
    soft_matching_distance,
    soft_matching_score,
)
from skmot.metrics._noise_ceiling import (
    ceiling_from_ncsnr,
    corrected_scores,
    noise_ceiling,
)
from skmot.metrics._noise_corrected import noise_corrected_score
from skmot.metrics._procrustes import procrustes_distance
from skmot.metrics._reconstruction import reconstruction_correlation
from skmot.metrics._rotation_curve import rotation_curve
from skmot.metrics._scorers import (
    negative_cost,
    scored_units,
    source_score,
    target_score,
)

__all__ = [
    "DepthPriorCoupling",
    "ceiling_from_ncsnr",
    "corrected_scores",
    "dci_scores",
    "disentanglement_score",
    "hierarchy_score",
    "linear_cka",
    "linear_predictivity_score",
    "mutual_information_gap",
    "negative_cost",
    "noise_ceiling",
    "noise_corrected_score",
    "one_to_one_distance",
    "pairwise_costs",
    "procrustes_distance",
    "reconstruction_correlation",
    "rectangular_matching_score",
    "rotation_curve",
    "rsa_score",
    "scored_units",
    "semi_matching_score",
    "soft_matching_distance",
    "soft_matching_score",
    "source_score",
    "target_score",
]


def __getattr__(name):
    # `pairwise_costs` imports the estimators, which import this package.
    if name == "pairwise_costs":
        return import_module("skmot.model_selection").pairwise_costs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
