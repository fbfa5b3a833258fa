"""Estimates of the run time and the memory of a fit, without fitting."""

from skmot.scaling.estimate import Estimate, estimate, placeholder_layers

__all__ = ["Estimate", "estimate", "placeholder_layers"]
