"""Compare representations by optimal transport, behind scikit-learn's interface."""

from skmot.layers import LayerStack, align_stimuli
from skmot.multilevel import MultiLevelOT
from skmot.soft_matching import SoftMatching

__version__ = "0.1.0"

__all__ = ["LayerStack", "MultiLevelOT", "SoftMatching", "align_stimuli"]
