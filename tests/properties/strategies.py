"""Strategies for hypothesis: recipes of populations, networks and cost matrices.

A recipe is a few numbers and words, so that hypothesis can reduce a failing one field
by field and print it in a line. Its `array()` makes the array.
"""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

# Signals that all related populations share.
N_SIGNALS = 3
# Loud units are louder than their neighbours by this factor.
LOUDNESS = 1e6
# Is added to the seed of a second population.
OTHER_SEED = 2**20


def examples(factor):
    """Run a test on `factor` times the number of examples of the profile."""
    return settings(max_examples=max(2, int(settings().max_examples * factor)))


# -- layouts -----------------------------------------------------------------------

LAYOUTS = ("C", "F", "strided", "negative strides", "read-only")


def arrange(array, layout):
    """Return the same values in another memory layout."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        return np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3]
    if layout == "negative strides":
        return np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
    array = np.array(array, order="C")
    if layout == "read-only":
        array.flags.writeable = False
    return array


# -- populations -------------------------------------------------------------------


def _signals(rng, n_stimuli, n_units):
    shared = np.random.default_rng(0).normal(size=(n_stimuli, N_SIGNALS))
    mixed = shared @ rng.normal(size=(N_SIGNALS, n_units))
    return mixed + rng.normal(size=(n_stimuli, n_units)) + rng.normal(size=n_units)


def _one_active(rng, n_stimuli, n_units):
    """Each unit responds to a single stimulus."""
    units = np.zeros((n_stimuli, n_units))
    units[rng.integers(n_stimuli, size=n_units), np.arange(n_units)] = rng.random(
        n_units
    )
    return units


def _one_direction(rng, n_stimuli, n_units):
    """All units are multiples of one another: correlations are 1 and -1."""
    return np.outer(rng.normal(size=n_stimuli), rng.normal(size=n_units))


def _near_copies(rng, n_stimuli, n_units):
    """Units repeat, up to a small difference."""
    units = _signals(rng, n_stimuli, -(-n_units // 3))
    units = np.repeat(units, 3, axis=1)[:, :n_units]
    return units + 1e-7 * rng.normal(size=units.shape)


# Populations in general position: no two matchings of their units are equally good.
GENERIC = {
    "signals": _signals,
    "noise": lambda rng, *shape: rng.normal(size=shape),
    "skewed": lambda rng, *shape: np.exp(rng.normal(size=shape)),
}
HARD = {
    "ReLU": lambda rng, *shape: np.maximum(_signals(rng, *shape), 0),
    "ties": lambda rng, *shape: rng.integers(-1, 2, shape).astype(float),
    "heavy tails": lambda rng, *shape: rng.standard_t(0.7, shape),
    "copies": lambda rng, *shape: _signals(rng, shape[0], 2)[
        :, rng.integers(0, 2, shape[1])
    ],
    "near copies": _near_copies,
    "one direction": _one_direction,
    "one active": _one_active,
    "offset": lambda rng, *shape: 1e4 + _signals(rng, *shape),
}
KINDS = GENERIC | HARD
# Data types of any scale. Others have whole numbers up to 10,000.
FLOATS = ("float64", "float32")


@dataclass(frozen=True)
class Population:
    """Recipe of an array of shape (n_stimuli, n_units).

    Attributes
    ----------
    n_stimuli, n_units : int
        Shape, with dead units.
    kind : str
        A key of `KINDS`.
    seed : int
        Seed of its random numbers.
    n_dead, n_loud : int
        Number of units that are constant, and that are louder by `LOUDNESS`.
    exponent : int
        The array is multiplied by 10 to this power.
    dtype : str
        Data type of the array.
    layout : str
        One of `LAYOUTS`.
    """

    n_stimuli: int
    n_units: int
    kind: str = "signals"
    seed: int = 0
    n_dead: int = 0
    n_loud: int = 0
    exponent: int = 0
    dtype: str = "float64"
    layout: str = "C"

    def array(self):
        rng = np.random.default_rng(self.seed)
        values = KINDS[self.kind](rng, self.n_stimuli, self.n_units)
        # No scale below makes float32 infinite.
        values /= np.abs(values).max() or 1.0
        order = rng.permutation(self.n_units)
        values[:, order[: self.n_dead]] = 0.1
        values[:, order[self.n_dead :][: self.n_loud]] *= LOUDNESS
        if self.dtype in FLOATS:
            values *= 10.0**self.exponent
        else:
            values = np.clip(np.rint(50 * values), -1e4, 1e4)
        values = values.astype(self.dtype)
        if (values == values[0]).all():
            # At least one unit must be live.
            values[:, order[-1]] = np.arange(self.n_stimuli) * values.dtype.type(
                10.0 ** (self.exponent if self.dtype in FLOATS else 0)
            )
        return arrange(values, self.layout)

    def resized(self, **changes):
        return replace(self, **changes)


@st.composite
def populations(draw, n_stimuli, max_units=64, kinds=tuple(KINDS), hostile=True):
    """Draw the recipe of a population.

    `hostile` ones have dead and loud units, any scale, data type and layout.
    """
    n_units = draw(st.integers(1, max_units))
    recipe = Population(
        n_stimuli,
        n_units,
        kind=draw(st.sampled_from(kinds)),
        seed=draw(st.integers(0, 2**16)),
    )
    if not hostile:
        return recipe
    return replace(
        recipe,
        n_dead=draw(st.integers(0, min(3, n_units - 1))),
        n_loud=draw(st.sampled_from([0, 0, 0, 1, 2])),
        exponent=draw(st.sampled_from([0, 0, -30, -8, 8, 30])),
        dtype=draw(st.sampled_from(["float64", "float32", "int64", "float16"])),
        layout=draw(st.sampled_from(LAYOUTS)),
    )


@st.composite
def pairs(draw, min_stimuli=2, max_stimuli=50, **settings):
    """Draw the recipes of two populations over the same stimuli."""
    n_stimuli = draw(st.integers(min_stimuli, max_stimuli))
    population = populations(n_stimuli, **settings)
    first, second = draw(population), draw(population)
    # Equal seeds would make equal populations.
    return first, replace(second, seed=second.seed + OTHER_SEED)


@st.composite
def generic_pairs(draw, min_stimuli=6, max_stimuli=50, max_units=16):
    """Draw two populations in general position, whose best matching is unique."""
    return draw(
        pairs(
            min_stimuli,
            max_stimuli,
            max_units=max_units,
            kinds=tuple(GENERIC),
            hostile=False,
        )
    )


@st.composite
def networks(draw, min_stimuli=4, max_stimuli=40, max_layers=4, **settings):
    """Draw the recipes of the layers of two networks over the same stimuli."""
    n_stimuli = draw(st.integers(min_stimuli, max_stimuli))
    layers = st.lists(
        populations(n_stimuli, **settings), min_size=1, max_size=max_layers
    )
    first, second = draw(layers), draw(layers)
    return [
        # Equal seeds would make equal layers.
        [replace(recipe, seed=recipe.seed + i * OTHER_SEED) for i, recipe in recipes]
        for recipes in (enumerate(first), enumerate(second, start=len(first)))
    ]


@st.composite
def generic_networks(draw, min_stimuli=10, max_stimuli=40, max_units=10, **settings):
    """Draw two networks whose layers are in general position."""
    return draw(
        networks(
            min_stimuli,
            max_stimuli,
            max_units=max_units,
            kinds=tuple(GENERIC),
            hostile=False,
            **settings,
        )
    )


# -- costs -------------------------------------------------------------------------


def _blocks(rng, n, k):
    """Few distinct rows and columns."""
    few = rng.random((3, 3))
    return few[rng.integers(0, 3, n)][:, rng.integers(0, 3, k)]


def _one_large(rng, n, k):
    costs = 1e-6 * rng.random((n, k))
    costs[rng.integers(n), rng.integers(k)] = 1.0
    return costs


def _distances(rng, n, k):
    """Correlation distances of more units than stimuli."""
    curves = rng.normal(size=(4, n + k))
    return 1 - np.corrcoef(curves, rowvar=False).reshape(n + k, n + k)[:n, n:]


COSTS = {
    "uniform": lambda rng, *shape: rng.random(shape),
    "normal": lambda rng, *shape: rng.normal(size=shape),
    "two values": lambda rng, *shape: rng.integers(0, 2, shape).astype(float),
    "few values": lambda rng, *shape: rng.integers(-2, 3, shape) / 3,
    "equal": lambda rng, *shape: np.full(shape, rng.normal()),
    "heavy tails": lambda rng, *shape: np.exp(rng.normal(-9, 9, shape)),
    "line": lambda rng, n, k: np.abs(np.subtract.outer(rng.random(n), rng.random(k))),
    "products": lambda rng, n, k: np.outer(rng.random(n), rng.random(k)),
    "equal rows": lambda rng, n, k: np.tile(rng.random(k), (n, 1)),
    "sums": lambda rng, n, k: np.add.outer(rng.random(n), rng.random(k)),
    "blocks": _blocks,
    "one large": _one_large,
    "distances": _distances,
    "steps": lambda rng, *shape: 1 + rng.integers(0, 9, shape) * 2.0**-50,
}
# Costs without an offset, which is a multiple of the spread. From 1000 on costs are
# scaled before they are solved.
OFFSETS = (0, 0, 0, 1, -1, 999, 1001, -1001, 1e7)
# In float64, spreads beyond 1e-30 and 1e30 are scaled before they are solved.
EXPONENTS = (0, 0, -30, -29, 29, 30, -16, -300, 290)


@dataclass(frozen=True)
class Costs:
    """Recipe of a cost matrix of shape (n, k)."""

    n: int
    k: int
    kind: str = "uniform"
    seed: int = 0
    offset: float = 0.0
    exponent: int = 0
    dtype: str = "float64"
    layout: str = "C"

    def array(self):
        rng = np.random.default_rng(self.seed)
        costs = COSTS[self.kind](rng, self.n, self.k)
        largest = np.abs(costs).max() or 1.0
        costs = (costs / largest + self.offset) * 10.0**self.exponent
        return arrange(costs.astype(self.dtype), self.layout)


@st.composite
def costs(draw, shapes=None):
    """Draw the recipe of a cost matrix, of one of the shapes or up to 64 x 64."""
    size = st.integers(1, 64)
    n, k = draw(st.sampled_from(shapes)) if shapes else (draw(size), draw(size))
    dtype = draw(st.sampled_from(["float64", "float32"]))
    exponents = EXPONENTS if dtype == "float64" else (0, 0, -30, 30)
    return Costs(
        n,
        k,
        kind=draw(st.sampled_from(tuple(COSTS))),
        seed=draw(st.integers(0, 2**16)),
        offset=draw(st.sampled_from(OFFSETS)),
        exponent=draw(st.sampled_from(exponents)),
        dtype=dtype,
        layout=draw(st.sampled_from(LAYOUTS)),
    )


@st.composite
def weights(draw, length):
    """Draw positive weights of units, or None: whole numbers, or any numbers."""
    kind = draw(st.sampled_from(["equal", "whole", "uniform", "heavy tails"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return {
        "equal": None,
        "whole": rng.integers(1, 5, length).astype(float),
        "uniform": rng.random(length) + 1e-3,
        "heavy tails": np.exp(rng.normal(0, 4, length)),
    }[kind]
