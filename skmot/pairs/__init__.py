"""Estimators that compare two populations."""

from skmot.pairs.assignments import OneToOneMatching, SemiMatching
from skmot.pairs.function import FunctionComparison
from skmot.pairs.geometry import CKA, RSA
from skmot.pairs.procrustes import Procrustes
from skmot.pairs.regression import LinearPredictivity, RegressorMapping
from skmot.pairs.rotation import RotationMatching
from skmot.pairs.soft_matching import SoftMatching

__all__ = [
    "CKA",
    "RSA",
    "FunctionComparison",
    "LinearPredictivity",
    "OneToOneMatching",
    "Procrustes",
    "RegressorMapping",
    "RotationMatching",
    "SemiMatching",
    "SoftMatching",
]
