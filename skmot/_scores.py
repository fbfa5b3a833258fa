"""Reconstructions of held-out stimuli by fitted estimators, and their scores.

The score of a layer is the Pearson correlation between recorded and reconstructed
responses, averaged over units. The score of a nested stack is the mean over its layers.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.pipeline import Pipeline

from skmot._units import column_correlations, mean_over_units, unit_columns
from skmot._utils.array_api import as_array, namespace_of, to_numpy
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer
from skmot.layers.sides import read_side
from skmot.layers.stack import leaves_of

DIRECTIONS = ("target", "source")
# A variance below this fraction of the second moment is a rounding error.
_NO_VARIANCE = 1e-9


@dataclass(frozen=True)
class Reconstruction:
    """Recorded and reconstructed responses of one array of units.

    Attributes
    ----------
    recorded, reconstructed : array of shape (n_stimuli, n_units)
        Responses to held-out stimuli. The recorded ones may be a sparse array.
    layer : int
        Index of the network's layer that the array is or belongs to.
    weight : float
        Weight of the array in the score of that layer.
    where : str
        Name of the array in error messages.
    """

    recorded: np.ndarray
    reconstructed: np.ndarray
    layer: int
    weight: float
    where: str

    def unit_scores(self):
        """Return the correlation of each unit, NaN if the recorded unit is constant."""
        return column_correlations(self.recorded, self.reconstructed)

    def score(self):
        """Return the mean correlation over units."""
        return mean_over_units(self.unit_scores(), self.where)


@dataclass(frozen=True)
class ResampledUnits:
    """Moments of recorded units in resamples of the stimuli.

    Correlations in all resamples are computed from sums over stimuli, with matrix
    products instead of loops. These moments are shared by all reconstructions of the
    units.

    Attributes
    ----------
    columns : ndarray of shape (n_units, n_stimuli)
        Units with mean 0 and variance 1.
    means : ndarray of shape (n_units, n_resamples)
        Mean of each unit in each resample.
    scales : ndarray of shape (n_units, n_resamples)
        Inverse of the standard deviation, 0 if the unit is constant in the resample.
    """

    columns: np.ndarray
    means: np.ndarray
    scales: np.ndarray

    @classmethod
    def of(cls, recorded, weights):
        """Compute the moments of recorded units.

        Parameters
        ----------
        recorded : array of shape (n_stimuli, n_units)
            Recorded responses.
        weights : ndarray of shape (n_stimuli, n_resamples)
            Share of each stimulus in each resample, from `resample_weights`.
        """
        columns = _standard_rows(recorded)
        means, scales = _split_rows(np.concatenate([columns, columns**2]) @ weights, 2)
        _to_deviations(means, scales)
        return cls(columns, means, np.reciprocal(scales, out=scales))

    def correlations(self, reconstructed, weights):
        """Correlate the units with their reconstructions.

        Parameters
        ----------
        reconstructed : array of shape (n_stimuli, n_units)
            Reconstructed responses.
        weights : ndarray of shape (n_stimuli, n_resamples)
            The weights of the moments.

        Returns
        -------
        correlations : ndarray of shape (n_units, n_resamples)
            Correlations, 0 if the recorded or the reconstructed unit is constant in the
            resample.
        """
        columns = _standard_rows(reconstructed)
        factors = np.concatenate([columns, columns**2, columns * self.columns])
        means, deviations, covariances = _split_rows(factors @ weights, 3)
        covariances -= self.means * means
        _to_deviations(means, deviations)
        covariances *= self.scales
        covariances /= deviations
        return np.clip(covariances, -1.0, 1.0, out=covariances)


def resample_weights(counts):
    """Return the share of each stimulus in each resample.

    Parameters
    ----------
    counts : ndarray of shape (n_resamples, n_stimuli)
        Number of times that each stimulus occurs in each resample.

    Returns
    -------
    weights : ndarray of shape (n_stimuli, n_resamples)
        Shares. Those of a resample without a stimulus are 0.
    """
    sizes = np.maximum(counts.sum(axis=1), 1.0)
    return np.ascontiguousarray(counts.T / sizes)


def weighted_correlations(recorded, reconstructed, counts):
    """Correlate columns in each resample; NaN if the recorded unit is constant."""
    weights = resample_weights(counts)
    units = ResampledUnits.of(recorded, weights)
    correlations = units.correlations(reconstructed, weights)
    correlations[units.scales == 0] = np.nan
    return correlations.T


def _standard_rows(block):
    """Return units as rows in float64, with mean 0 and variance 1."""
    return np.ascontiguousarray((unit_columns(block) * np.sqrt(len(block))).T)


def _split_rows(moments, n_parts):
    """Return views of the moments of all units, one for each kind of moment."""
    return moments.reshape(n_parts, -1, moments.shape[1])


def _to_deviations(means, squares):
    """Replace mean squares by standard deviations, infinity for constant units."""
    smallest = _NO_VARIANCE * squares
    squares -= means**2
    np.copyto(squares, np.inf, where=squares <= smallest)
    np.sqrt(squares, out=squares)


def as_columns(prediction):
    """Convert a prediction to a two-dimensional array. A vector becomes one unit."""
    prediction = as_array(prediction)
    if prediction.ndim == 1:
        return namespace_of(prediction).reshape(prediction, (-1, 1))
    return prediction


def pair_arrays(recorded, reconstructed, where, layer=0, accept_sparse=False):
    """Pair the arrays of a recorded layer with those of its reconstruction.

    Parameters
    ----------
    recorded, reconstructed : array of shape (n_stimuli, n_units) or LayerStack
        The layer and its reconstruction. A stack whose reconstruction is one array is
        treated as one population.
    where : str
        Name of the layer in error messages.
    layer : int, default=0
        Index of the layer in the network.
    accept_sparse : bool, default=False
        Whether recorded layers that are sparse stay sparse.

    Yields
    ------
    reconstruction : Reconstruction
        One pair of arrays.
    """
    if not isinstance(reconstructed, LayerStack):
        recorded = check_layer(
            recorded, where, min_stimuli=2, accept_sparse=accept_sparse
        )
        yield Reconstruction(recorded, as_columns(reconstructed), layer, 1.0, where)
        return
    parts = zip(
        leaves_of(recorded, where), leaves_of(reconstructed, where), strict=True
    )
    for leaf, part in parts:
        recorded = check_layer(
            leaf.layer, leaf.where, min_stimuli=2, accept_sparse=accept_sparse
        )
        yield Reconstruction(recorded, part.layer, layer, leaf.weight, leaf.where)


def layer_scores(reconstructions):
    """Return the score of each layer of a network.

    Parameters
    ----------
    reconstructions : iterable of Reconstruction
        Reconstructions of all arrays, in the order of the layers.

    Returns
    -------
    scores : ndarray of shape (n_layers,)
        Score of each layer, from -1 to 1.
    """
    scores = []
    for part in reconstructions:
        if part.layer == len(scores):
            scores.append(0.0)
        scores[part.layer] += part.weight * part.score()
    return np.array(scores)


def unwrap(estimator, X=None, y=None):
    """Return the final estimator within pipelines, searches and target transformers.

    The earlier steps of a Pipeline are applied to `X`. A search is replaced by its best
    estimator. The transformer of a TransformedTargetLayers is applied to `y`, because
    the transformed target is scored.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator.
    X, y : LayerStack, default=None
        Source and target. None if only the estimator is needed.

    Returns
    -------
    estimator : estimator
        Final estimator.
    X, y : LayerStack or array
        Source and target as the final estimator receives them.
    """
    while True:
        if isinstance(estimator, Pipeline):
            if X is not None and len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "_transform_target"):
            if y is not None:
                y = estimator._transform_target(y)
            estimator = estimator.regressor_
        else:
            return estimator, X, y


def check_is_estimator(estimator):
    """Raise an error if the argument `estimator` is none, or a class of estimators."""
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise TypeError(f"`estimator` must be an estimator; got {estimator!r}.")


def reconstruct(estimator, direction, X, y):
    """Reconstruct one side for held-out stimuli with any fitted estimator.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator, as `unwrap` returns it.
    direction : {"target", "source"}
        Side that is reconstructed.
    X, y : LayerStack
        Held-out source and target, as the estimator receives them.

    Returns
    -------
    reconstructions : list of Reconstruction
        Reconstructions of all arrays, as numpy arrays.

    Raises
    ------
    ValueError
        If the reconstruction has a different number of layers or units.
    """
    if direction == "target":
        truth, prediction, argument = y, estimator.predict(X), "y"
    else:
        truth, prediction, argument = X, estimator.inverse_predict(y), "X"
    truth, layout = read_side(truth, argument, allow_vector=False)
    prediction, _ = read_side(
        prediction, f"the reconstruction of {argument}", allow_vector=True
    )
    truth_leaves = list(layout.leaves(truth))
    predicted_arrays = [leaf.layer for leaf in prediction.leaves()]
    widths = [leaf.layer.shape[1] for leaf in truth_leaves]
    if len(predicted_arrays) == 1 and prediction.shape[1] == sum(widths):
        # Estimators without layers predict all layers side by side.
        ends = np.cumsum(widths)[:-1]
        predicted_arrays = np.split(to_numpy(predicted_arrays[0]), ends, axis=1)
    name = type(estimator).__name__
    if len(predicted_arrays) == len(truth_leaves):
        parts = [
            Reconstruction(
                check_layer(leaf.layer, leaf.where, min_stimuli=2),
                array,
                leaf.top,
                leaf.weight,
                leaf.where,
            )
            for leaf, array in zip(truth_leaves, predicted_arrays, strict=True)
        ]
    elif prediction.n_layers == truth.n_layers:
        pairs = zip(truth.layers, prediction.layers, strict=True)
        parts = [
            part
            for index, layers in enumerate(pairs)
            for part in pair_arrays(*layers, layout.where(index), index)
        ]
    else:
        raise ValueError(
            f"{name} reconstructs {len(predicted_arrays)} layer(s) of {argument}, "
            f"which has {len(truth_leaves)}: they cannot be scored."
        )
    for part in parts:
        n_reconstructed, n_recorded = (
            array.shape[1] for array in (part.reconstructed, part.recorded)
        )
        if n_reconstructed != n_recorded:
            raise ValueError(
                f"{name} reconstructs {n_reconstructed} unit(s) of {part.where}, which "
                f"has {n_recorded}. To transform the target use "
                "TransformedTargetLayers, which is scored in the transformed units."
            )
    return [
        replace(
            part,
            recorded=to_numpy(part.recorded),
            reconstructed=to_numpy(part.reconstructed),
        )
        for part in parts
    ]


def reconstruct_held_out(estimator, direction, X, y):
    """Call `reconstruct` with the results of `unwrap`."""
    estimator, X, y = unwrap(estimator, X, y)
    return reconstruct(estimator, direction, X, y)
