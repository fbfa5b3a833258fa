"""Recording of the activations of PyTorch models."""

from skmot.extraction.record import record_activations

__all__ = ["record_activations"]
