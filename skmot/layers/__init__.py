"""The data structure of skmot: layers recorded over the same stimuli."""

from skmot.layers.stack import LayerStack, align_stimuli

__all__ = ["LayerStack", "align_stimuli"]
