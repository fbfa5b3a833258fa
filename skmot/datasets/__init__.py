"""Activations of trained networks and a simulated cortex, without a download."""

from skmot.datasets.cortex import make_simulated_cortex
from skmot.datasets.digits import load_digit_networks, load_digit_trajectories

__all__ = [
    "load_digit_networks",
    "load_digit_trajectories",
    "make_simulated_cortex",
]
