"""Procrustes: the orthogonal map that best aligns two populations."""

from dataclasses import dataclass, replace

import numpy as np

from skmot._units import (
    over_all_units,
    standardize,
    unit_statistics,
    with_precision_of,
)
from skmot._utils.array_api import move_to_device_of, namespace_of, numpy_dtype
from skmot._utils.docstrings import shared_docs
from skmot._utils.state import stored_as_dict
from skmot.base import PairMapping, Solution, check_some_scored, read_side_by_side
from skmot.metrics._procrustes import align_orthogonally, squared_distance


@shared_docs
class Procrustes(PairMapping):
    """Procrustes: the orthogonal map that best aligns two populations.

    X and Y are centred and divided by their Frobenius norm, as in [1]_. The map T is
    the polar factor of X'Y. It is orthogonal if both populations have the same size.
    Otherwise its rows or columns are orthonormal. The prediction of the target is X T,
    rescaled to the norm and means of the target on the training stimuli. The prediction
    of the source is Y T', rescaled to the norm and means of the source.

    Attributes
    ----------
    rotation_ : ndarray of shape (n_source_units, n_target_units)
        Map T, a partial isometry. It is 0 for dead units and for directions that do not
        covary with any direction of the other population. Such directions exist if
        there are fewer stimuli than units.
    cost_ : float
        ``d_O^2 = 2 - 2 |X'Y|_*`` ([1]_, eq. 5), from 0 to 2; lower is more alike. It is
        symmetric.
    <<pair attributes>>

    See Also
    --------
    RotationMatching : Soft matching after a rotation.
    skmot.metrics.procrustes_distance : The distance of two arrays.

    Notes
    -----
    Individual units are not scaled, so units of large variance dominate. To give all
    units the same weight, scale them first with `sklearn.preprocessing.StandardScaler`.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import ortho_group
    >>> from skmot import Procrustes
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> y = 5 * X @ ortho_group.rvs(4, random_state=0) + 1
    >>> procrustes = Procrustes().fit(X[:80], y[:80])
    >>> bool(np.allclose(procrustes.predict(X[80:]), y[80:]))
    True
    """

    _cost_name = "squared Procrustes distance"
    _runs_in_threads = True
    _supports_array_api = True

    def _solve(self, source, target):
        sides = (source, "X"), (target, "y")
        deviations = [
            _relative_deviations(part.statistics, side)[part.statistics.live]
            for part, side in sides
        ]
        X, Y = (
            _scale_units(part.curves.vectors, own)
            for part, own in zip((source, target), deviations, strict=True)
        )
        xp = namespace_of(X, Y)
        dtype = xp.result_type(X, Y)
        # In float32 a few units of large variance hide the directions of the others.
        X, Y = (xp.astype(part, xp.float64, copy=False) for part in (X, Y))
        rotation = align_orthogonally(X, Y)
        cost = squared_distance(X, Y, rotation)
        rotation = xp.astype(rotation, dtype, copy=False)
        norms = [float(np.linalg.norm(part.statistics.deviation)) for part, _ in sides]
        return Solution(
            cost=cost,
            maps=(
                AlignmentMap(rotation, deviations[0], norms[1]),
                AlignmentMap(rotation, deviations[1], norms[0], to_source=True),
            ),
        )

    @property
    def rotation_(self):
        rotation = self._maps[0].rotation
        for axis, statistics in enumerate(self._statistics("target")):
            rotation = over_all_units(rotation, statistics.live, axis=axis)
        return rotation

    def _from_map_units(self, units, statistics):
        # The map has already restored the scale of the population.
        units = with_precision_of(units, statistics)
        mean = statistics.mean.astype(numpy_dtype(units))
        units += move_to_device_of(units, mean)
        return units

    def _prepare_held_out(self, leaves, statistics):
        layer, where = read_side_by_side(leaves)
        return _normalize_population(layer, statistics.live, where)

    def _held_out_cost(self, source, target):
        return _cost(source, target, self._maps[0].rotation)


def _cost(X, Y, rotation):
    """Return the squared distance of two populations of unit norm, in float64."""
    xp = namespace_of(X, Y)
    X, Y = (xp.astype(part, xp.float64) for part in (X, Y))
    rotation = xp.astype(move_to_device_of(X, rotation), xp.float64)
    return squared_distance(X, Y, rotation)


@stored_as_dict
@dataclass(frozen=True)
class AlignmentMap:
    """Map that rotates one population to the other and restores its scale.

    Attributes
    ----------
    rotation : array of shape (n_source_units, n_target_units)
        Rotation between live units.
    relative_deviations : ndarray of shape (n_input_units,)
        Standard deviations of the input units, divided by their Euclidean norm.
    norm : float
        Euclidean norm of the standard deviations of the reconstructed units.
    to_source : bool, default=False
        Whether the source is reconstructed from the target.
    """

    rotation: object
    relative_deviations: np.ndarray
    norm: float
    to_source: bool = False

    def __call__(self, units):
        xp = namespace_of(units)
        rotation = move_to_device_of(units, self.rotation)
        rotation = xp.astype(rotation, units.dtype, copy=False)
        mapped = _scale_units(units, self.relative_deviations) @ (
            rotation.T if self.to_source else rotation
        )
        # Rescale from norm 1 to the norm of the reconstructed population.
        mapped *= self.norm
        return mapped


def _relative_deviations(statistics, where):
    """Return the standard deviations of units, divided by their Euclidean norm."""
    check_some_scored(statistics, where)
    return statistics.deviation / np.linalg.norm(statistics.deviation)


def _normalize_population(layer, live, where):
    """Return live units, centred over the given stimuli, with a Frobenius norm of 1."""
    statistics = unit_statistics(layer)
    scored = live & statistics.live
    statistics = replace(
        statistics, live=scored, deviation=np.where(scored, statistics.deviation, 0.0)
    )
    factors = _relative_deviations(statistics, where)[live] / np.sqrt(layer.shape[0])
    return _scale_units(standardize(layer, statistics, live), factors)


def _scale_units(units, factors):
    """Multiply each unit by its factor."""
    return units * move_to_device_of(units, factors.astype(numpy_dtype(units)))
