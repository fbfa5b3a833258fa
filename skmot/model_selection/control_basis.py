"""The control "basis": random rotations of the source layers."""

import math
from copy import deepcopy

import numpy as np
from sklearn.utils import Bunch

from skmot._units import constant_units, standardize, unit_statistics
from skmot._utils.orthogonal import random_rotation
from skmot.layers.checks import check_layer
from skmot.model_selection.control_task import (
    ControlOutcome,
    rank_p_value,
    smallest_rank_p,
)

SCALES = ("standardized", "raw")


def rotate_sources(task, scale):
    """Rotate the live units of all source layers, and fit again.

    Parameters
    ----------
    task : ControlTask
        Estimator, data and permutations.
    scale : {"both", "standardized", "raw"}
        Whether units are standardised before the rotation. "both" does both, and takes
        the larger p-value.
    """
    scales = SCALES if scale == "both" else (scale,)
    rotations = _Rotations(task)
    # The scores of raw units are always computed.
    n_scales = len({"raw", *scales})
    with task.of_given_rows(n_scales * len(task.splits)) as given:
        scores = given.refitted_scores()
        before = {
            name: (
                scores
                if name == "raw"
                else given.refitted_scores(rotations.standardized)
            )
            for name in scales
        }
    found = task.for_each(
        _scores_of_rotation,
        (
            (rotations, scales, rotations.next_state())
            for _ in range(task.n_permutations)
        ),
        task.n_permutations,
    )
    null_scores = dict(zip(scales, zip(*found, strict=True), strict=True))
    by_scale = {
        name: Bunch(
            score=float(before[name].mean()),
            null_scores=np.array(null_scores[name]),
            p_value=rank_p_value(before[name].mean(), null_scores[name]),
        )
        for name in scales
    }
    decisive = max(scales, key=lambda name: by_scale[name].p_value)
    how = {
        "both": "with units standardised before the rotation, or as they are",
        "standardized": "with units standardised before the rotation",
        "raw": "with units as they are",
    }[scale]
    return ControlOutcome(
        scores,
        by_scale[decisive].null_scores,
        by_scale[decisive].p_value,
        smallest_rank_p(math.inf, task.n_permutations),
        "The axes of the source layers are arbitrary: after a random rotation of the "
        f"source layers, {how}, the reconstruction is as good as before.",
        "the axes of the source units are special",
        "It does not show that units are shared: two sides whose units are tuned in "
        "the same manner (sparse, for example) have special axes without a unit in "
        "common.",
        remark=(
            "The p-value is the larger one of rotations of standardised and of raw "
            "units."
            if scale == "both"
            else "Only one of the two scales was rotated, which is too liberal for "
            "some data: use scale='both'."
        ),
        values={"by_scale": by_scale, "decisive_scale": decisive},
    )


def _scores_of_rotation(task, arguments):
    """Rotate the source and fit again, and return the mean score for each scale."""
    rotations, scales, random = arguments
    matrices = rotations.sample(random)
    return [
        task.refitted_scores(rotations.rotated(name, matrices)).mean()
        for name in scales
    ]


class _Rotations:
    """Rotations of the live units of every layer of the source, also of nested ones.

    Only units that vary over the training rows of all splits are rotated. A rotation of
    all units would give constant units a tuning, and the rotated data would have more
    units to match than the original data.
    """

    def __init__(self, task):
        self.X, self.random = task.X, task.random
        leaves = list(task.X.leaves("X"))
        self.names = [leaf.where for leaf in leaves]
        trains = [train for train, _ in task.splits]
        self.live = [
            ~np.any(
                [
                    constant_units(_check(leaf.layer, leaf.where)[train])
                    for train in trains
                ],
                axis=0,
            )
            for leaf in leaves
        ]

    @property
    def _n_live(self):
        return [int(np.count_nonzero(live)) for live in self.live]

    def next_state(self):
        """Return the random numbers for one rotation of each layer, and skip them.

        A rotation is a decomposition of random numbers, which can take longer than a
        fit. Only the numbers are drawn here. The decomposition is left to `sample`.
        """
        state = deepcopy(self.random)
        for count in self._n_live:
            if count > 1:
                # As many as SciPy draws for a rotation.
                self.random.normal(size=(count, count))
        return state

    def sample(self, random):
        """Return one random rotation for each layer."""
        return [
            random_rotation(count, random, reflections=False) if count else None
            for count in self._n_live
        ]

    def rotated(self, scale, matrices):
        """Return a function of the training rows, which returns the rotated source."""
        if scale == "standardized":
            return lambda train: self._rotate(self.standardized(train), matrices)
        rotated = self._rotate(self.X, matrices)
        return lambda train: rotated

    def standardized(self, train):
        """Standardise the live units of X with their training mean and deviation."""

        def standardize_layer(layer, where, live):
            layer = _check(layer, where)
            if live.any():
                layer = layer.copy()
                statistics = unit_statistics(layer[train][:, live])
                layer[:, live] = standardize(layer[:, live], statistics)
            return layer

        return self.X.map(standardize_layer, self.names, self.live)

    def _rotate(self, stack, matrices):
        def rotate_layer(layer, where, live, matrix):
            layer = _check(layer, where)
            if matrix is not None:
                layer = layer.copy()
                layer[:, live] = layer[:, live] @ matrix.astype(layer.dtype)
            return layer

        return stack.map(rotate_layer, self.names, self.live, matrices)


def _check(layer, where):
    return check_layer(layer, where, min_stimuli=2)
