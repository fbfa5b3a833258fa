"""Solvers for exact optimal transport, with a bound on the error of each plan."""

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
