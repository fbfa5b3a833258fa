"""Transformers that transform each layer separately."""

from skmot.preprocessing.layerwise import LayerwiseTransformer
from skmot.preprocessing.positions import common_positions, positions_as_stimuli
from skmot.preprocessing.repeats import average_repeats
from skmot.preprocessing.selectors import (
    ActivitySelector,
    FiniteUnitSelector,
    ReliabilitySelector,
    UnitSubsampler,
)
from skmot.preprocessing.target import TransformedTargetLayers

__all__ = [
    "ActivitySelector",
    "FiniteUnitSelector",
    "LayerwiseTransformer",
    "ReliabilitySelector",
    "TransformedTargetLayers",
    "UnitSubsampler",
    "average_repeats",
    "common_positions",
    "positions_as_stimuli",
]
