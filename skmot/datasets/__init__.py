"""Activations of trained networks and a simulated cortex, without a download."""

from skmot.datasets.cortex import make_simulated_cortex
from skmot.datasets.digits import load_digit_networks, load_digit_trajectories
from skmot.datasets.encoders import load_sentence_encoders

__all__ = [
    "load_digit_networks",
    "load_digit_trajectories",
    "load_sentence_encoders",
    "make_simulated_cortex",
]
