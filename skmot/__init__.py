"""Compare representations by optimal transport, behind scikit-learn's interface."""

from skmot.baselines import (
    CKA,
    RSA,
    LinearPredictivity,
    OneToOneMatching,
    Procrustes,
    SemiMatching,
)
from skmot.layers import LayerStack, align_stimuli
from skmot.multilevel import MultiLevelOT
from skmot.rotation import MultiLevelOTRotation, RotationMatching
from skmot.soft_matching import SoftMatching

__version__ = "0.1.0"

__all__ = [
    "CKA",
    "RSA",
    "LayerStack",
    "LinearPredictivity",
    "MultiLevelOT",
    "MultiLevelOTRotation",
    "OneToOneMatching",
    "Procrustes",
    "RotationMatching",
    "SemiMatching",
    "SoftMatching",
    "align_stimuli",
]
