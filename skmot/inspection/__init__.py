"""Plots of fitted estimators, as Display objects that store the plotted values."""

from skmot.inspection.layer_coupling import LayerCouplingDisplay

__all__ = ["LayerCouplingDisplay"]
