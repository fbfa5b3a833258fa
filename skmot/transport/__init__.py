"""Exact transport between two populations: arrays in, a plan with its proof out."""

from skmot.transport._partial import solve_partial_transport
from skmot.transport._solver import TransportResult, solve_transport
from skmot.transport._tuning import TuningCurves, match_tuning_curves

__all__ = [
    "TransportResult",
    "TuningCurves",
    "match_tuning_curves",
    "solve_partial_transport",
    "solve_transport",
]
