"""Recorded and reconstructed layers of held-out stimuli, for any estimator."""

from dataclasses import dataclass

import numpy as np

from skmot._array_api import to_numpy
from skmot._units import _unit_columns, column_correlations
from skmot._validation import check_layer
from skmot.layers import LayerStack, as_stack, layer_label
from skmot.metrics._reconstruction import mean_over_units
from skmot.metrics._scorers import _last_step
from skmot.preprocessing import TransformedTargetLayers, _transform_stack

# Of a column's second moment: below it, what is left of a variance is rounding.
_NO_VARIANCE = 1e-9
# Resampled correlations are made in blocks of about this many entries (32 MB).
_BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Reconstruction:
    """One layer of arrays, recorded and reconstructed.

    Attributes
    ----------
    recorded, reconstructed : ndarray of shape (n_stimuli, n_units)
        Responses to held-out stimuli.
    layer : int
        The layer of the network it is, or is a part of.
    weight : float
        Its share in the score of that layer.
    where : str
        What it is called in a message.
    """

    recorded: np.ndarray
    reconstructed: np.ndarray
    layer: int
    weight: float
    where: str

    def score(self):
        """Return the mean over units of their correlations."""
        return mean_over_units(
            column_correlations(self.recorded, self.reconstructed), self.where
        )

    def resampled_scores(self, counts):
        """Return the score where each stimulus counts as often as it was drawn.

        From sums over stimuli alone, so that a resample costs four products.

        Parameters
        ----------
        counts : ndarray of shape (n_resamples, n_stimuli)
            How often each stimulus was drawn.

        Returns
        -------
        scores : ndarray of shape (n_resamples,)
            NaN where no unit varies.
        """
        total, counted = np.zeros(len(counts)), np.zeros(len(counts))
        width = max(1, _BLOCK_ENTRIES // len(counts))
        for start in range(0, self.recorded.shape[1], width):
            part = slice(start, start + width)
            correlations = _weighted_correlations(
                self.recorded[:, part], self.reconstructed[:, part], counts
            )
            total += np.nansum(correlations, axis=1)
            counted += np.count_nonzero(~np.isnan(correlations), axis=1)
        return np.divide(
            total, counted, out=np.full(len(counts), np.nan), where=counted > 0
        )


def _weighted_correlations(recorded, reconstructed, counts):
    """Correlate columns under each set of counts; NaN where the truth is constant."""
    sizes = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    weights = counts / sizes
    first, second = _standard_columns(recorded), _standard_columns(reconstructed)
    means, variances, varies = [], [], []
    for columns in (first, second):
        mean, moment = weights @ columns, weights @ columns**2
        variance = moment - mean**2
        means.append(mean)
        variances.append(variance)
        varies.append(variance > _NO_VARIANCE * moment)
    covariance = weights @ (first * second) - means[0] * means[1]
    correlations = np.zeros(covariance.shape)
    both = varies[0] & varies[1]
    correlations[both] = covariance[both] / np.sqrt(
        variances[0][both] * variances[1][both]
    )
    correlations[~varies[0]] = np.nan
    return np.clip(correlations, -1.0, 1.0)


def _standard_columns(block):
    """Return columns in float64, centred and scaled so that squares stay in range."""
    return _unit_columns(block) * np.sqrt(len(block))


def unwrap(estimator, X, y):
    """Return what maps in the end, and what it maps.

    Of a Pipeline the earlier steps are applied to `X`, of a search the best estimator
    is taken, and of a TransformedTargetLayers the transformer is applied to `y`: its
    scores are of the transformed target.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X, y : LayerStack
        Source and target.

    Returns
    -------
    estimator : estimator
        None of these.
    X, y : LayerStack or what a foreign transformer made
        As it sees them.
    """
    X, estimator = _last_step(estimator, X)
    while isinstance(estimator, TransformedTargetLayers):
        y = _transform_stack(estimator.transformer_, y)
        X, estimator = _last_step(estimator.regressor_, X)
    return estimator, X, y


def reconstruct(estimator, direction, X, y):
    """Reconstruct one side of held-out stimuli with a fitted estimator.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted; `unwrap` says which spaces are compared.
    direction : {"target", "source"}
        The side.
    X, y : LayerStack
        Held-out source and target.

    Returns
    -------
    reconstructions : list of Reconstruction
        One a layer, of stacks of stacks one an array.

    Raises
    ------
    ValueError
        If the layers made are not those of the side, or not as wide.
    """
    estimator, X, y = unwrap(estimator, X, y)
    if direction == "target":
        truth, made, argument = y, estimator.predict(X), "y"
    else:
        truth, made, argument = X, estimator.inverse_predict(y), "X"
    truth, kind, _ = as_stack(truth)
    leaves = [
        (to_numpy(check_layer(array, where, min_stimuli=2)), layer, weight, where)
        for array, layer, weight, where in _leaves(truth, kind, argument)
    ]
    arrays = [to_numpy(array) for array, *_ in _leaves(*_read(made), "prediction")]
    widths = [leaf[0].shape[1] for leaf in leaves]
    if len(arrays) == 1 and arrays[0].shape[1] == sum(widths):
        # What knows no layers predicts them side by side.
        arrays = np.split(arrays[0], np.cumsum(widths)[:-1], axis=1)
    name = type(estimator).__name__
    if len(arrays) != len(leaves):
        raise ValueError(
            f"{name} reconstructs {len(arrays)} layer(s) of {argument}, which has "
            f"{len(leaves)}: there is nothing to score them against."
        )
    for (*_, where), width, made in zip(leaves, widths, arrays, strict=True):
        if made.shape[1] != width:
            raise ValueError(
                f"{name} reconstructs {made.shape[1]} unit(s) of {where}, which has "
                f"{width}. To transform the target use TransformedTargetLayers, which "
                "is scored in the transformed units."
            )
    return [
        Reconstruction(recorded, made, *rest)
        for (recorded, *rest), made in zip(leaves, arrays, strict=True)
    ]


def _read(made):
    stack, kind, _ = as_stack(made, allow_vector=True)
    return stack, kind


def _leaves(stack, kind, argument, weight=1.0, top=None):
    """Yield the arrays of a stack at any depth, in their order."""
    for index, layer in enumerate(stack.layers):
        bare = kind in ("array", "vector")
        where = argument if bare else f"{argument}, {layer_label(index, stack.names)}"
        place = index if top is None else top
        if isinstance(layer, LayerStack):
            yield from _leaves(layer, "stack", where, weight / layer.n_layers, place)
        else:
            yield layer, place, weight, where


def layer_scores(reconstructions):
    """Return the score of each layer of a network.

    Parameters
    ----------
    reconstructions : list of Reconstruction
        Of all layers.

    Returns
    -------
    scores : ndarray of shape (n_layers,)
        From -1 to 1.
    """
    scores = np.zeros(reconstructions[-1].layer + 1)
    for part in reconstructions:
        scores[part.layer] += part.weight * part.score()
    return scores
