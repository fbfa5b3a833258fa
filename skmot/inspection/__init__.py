"""Views of fitted estimators: displays, which store the plotted values, and tables."""

from skmot.inspection.layer_coupling import LayerCouplingDisplay
from skmot.inspection.matches import matches

__all__ = ["LayerCouplingDisplay", "matches"]
