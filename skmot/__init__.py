"""Compare representations by optimal transport, behind scikit-learn's interface."""

from importlib import import_module

from skmot._version import __version__
from skmot.layers import LayerStack, align_stimuli
from skmot.multilevel import MultiLevelOT, MultiLevelOTRotation, TemplateMOT
from skmot.pairs import (
    CKA,
    RSA,
    FunctionComparison,
    LinearPredictivity,
    OneToOneMatching,
    Procrustes,
    RegressorMapping,
    RotationMatching,
    SemiMatching,
    SoftMatching,
)

# Submodules that are imported when they are first accessed as attributes.
_SUBMODULES = (
    "base",
    "datasets",
    "exceptions",
    "extraction",
    "inspection",
    "metrics",
    "model_selection",
    "partial",
    "preprocessing",
    "scaling",
    "transport",
)

__all__ = [
    "CKA",
    "RSA",
    "FunctionComparison",
    "LayerStack",
    "LinearPredictivity",
    "MultiLevelOT",
    "MultiLevelOTRotation",
    "OneToOneMatching",
    "Procrustes",
    "RegressorMapping",
    "RotationMatching",
    "SemiMatching",
    "SoftMatching",
    "TemplateMOT",
    "__version__",
    "align_stimuli",
]


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"skmot.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_SUBMODULES})
