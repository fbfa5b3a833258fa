"""How often rotated copies of networks call a unit recurring that does not recur.

The networks of each data set share a geometry. The claim is that the first unit of
`rosetta_units` recurs: its least correlation over networks exceeds that of the first
unit in each of 19 sets of copies whose layers were rotated at random, so that no unit
is common to them. Each function simulates one data set from an integer seed, and
returns whether the claim was made.
"""

import warnings
from functools import partial

import numpy as np
from scipy.stats import ortho_group

from skmot import TemplateMOT
from skmot.exceptions import DeadUnitWarning
from skmot.inspection import rosetta_units

N_TRAIN, N_TEST = 100, 100
N_NETWORKS, N_UNITS = 4, 20
N_COPIES = 19
# Standard deviation of the noise of each unit, beside a signal of 1.
NOISE = 0.3


def simulate(seed, n_dimensions=10, n_common=0, threshold=None, is_scaled=True):
    """Return networks whose units are random directions in the same space.

    Parameters
    ----------
    seed : int
        Seed of the data set.
    n_dimensions : int, default=10
        Dimensions of the space, whose variances fall like 1 / rank.
    n_common : int, default=0
        Number of units that all networks have.
    threshold : float, default=None
        Threshold of the ReLU of each unit, in standard deviations. None means linear
        units.
    is_scaled : bool, default=True
        Whether the signals of all units have the same variance. Otherwise linear units
        rotated at random are units of exactly the same kind.
    """
    rng = np.random.default_rng(seed)
    scales = np.arange(1, n_dimensions + 1) ** -0.5
    latent = rng.normal(size=(N_TRAIN + N_TEST, n_dimensions)) * scales
    shared = rng.normal(size=(n_dimensions, n_common))
    networks = []
    for _ in range(N_NETWORKS):
        own = rng.normal(size=(n_dimensions, N_UNITS - n_common))
        units = latent @ np.hstack([shared, own])
        units /= units.std(axis=0) if is_scaled else units.std()
        units += NOISE * rng.normal(size=units.shape)
        if threshold is not None:
            units = np.maximum(units - threshold, 0)
        networks.append(units)
    return networks


def largest(networks):
    """Return the least correlation over networks of the first unit of the table."""
    train = [units[:N_TRAIN] for units in networks]
    test = [units[N_TRAIN:] for units in networks]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadUnitWarning)
        # A start from a network takes less time than k-means.
        template = TemplateMOT(init=0, tol=0.01, max_iter=30).fit(train)
        return rosetta_units(template, train, test)["least_correlation"].max()


def rotate(units, seed):
    """Return a network whose units are rotated at random, about their means."""
    centred = units - units[:N_TRAIN].mean(axis=0)
    return centred @ ortho_group.rvs(units.shape[1], random_state=seed)


def claims(seed, **options):
    """Whether the first unit exceeds those of all sets of rotated copies."""
    networks = simulate(seed, **options)
    found = largest(networks)
    rng = np.random.default_rng([seed, 1])
    for _ in range(N_COPIES):
        seeds = rng.integers(2**31, size=len(networks))
        copies = [rotate(*pair) for pair in zip(networks, seeds, strict=True)]
        if largest(copies) >= found:
            return False
    return True


NULLS = {"linear units, none in common": partial(claims, is_scaled=False)}
NOT_PROTECTED = {
    "linear units of equal variance, none in common": claims,
    "ReLU units, none in common": partial(claims, threshold=0.5),
    "ReLU units that respond rarely, none in common": partial(claims, threshold=1.5),
    "ReLU units in 2 dimensions, none in common": partial(
        claims, threshold=0.5, n_dimensions=2
    ),
}
POWER = {
    "linear units, 8 of 20 in common": partial(claims, n_common=8, is_scaled=False),
    "linear units, 1 of 20 in common": partial(claims, n_common=1, is_scaled=False),
    "ReLU units, 8 of 20 in common": partial(claims, threshold=0.5, n_common=8),
}
