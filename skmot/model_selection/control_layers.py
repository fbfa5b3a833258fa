"""The control "layers": permutations of a layer coupling."""

import math

import numpy as np

from skmot._scores import pair_arrays, unwrap
from skmot._units import column_correlations, unit_columns
from skmot._utils.array_api import to_numpy
from skmot.model_selection.control_task import (
    ControlOutcome,
    rank_p_value,
    smallest_rank_p,
)
from skmot.model_selection.permutations import PiecePermutations
from skmot.multilevel.estimators import LayerCoupler

# Products of held-out rows are computed in blocks of about this many entries (32 MB).
_BLOCK_ENTRIES = 4_000_000


def permute_layers(task):
    """Permute the layers of the deeper side in the layer coupling of each fit."""
    n_source, n_target = task.X.n_layers, task.y.n_layers
    # The side with more layers has more orders. If both have as many, the permutations
    # of one side are those of the other.
    axis, side = (0, "source") if n_source >= n_target else (1, "target")
    n_layers = max(n_source, n_target)
    permutations = PiecePermutations(list(np.arange(n_layers)[:, np.newaxis]))
    orders = permutations.sample(task.n_permutations, task.random)
    all_orders = np.concatenate([np.arange(n_layers)[np.newaxis], orders])
    scores, null_scores, couplings = [], [], []
    for fitted, source, target in task.fits():
        fitted, source, target = unwrap(fitted, source, target)
        if not isinstance(fitted, LayerCoupler):
            raise TypeError(
                "control='layers' permutes a layer coupling, which "
                f"{type(fitted).__name__} does not have: give a MultiLevelOT or "
                "MultiLevelOTRotation, or a Pipeline that ends in one."
            )
        coupling = to_numpy(
            fitted.coupling_ if task.direction == "target" else fitted.inverse_coupling_
        )
        couplings.append(coupling)
        permuted = coupling[all_orders] if axis == 0 else coupling.T[all_orders]
        permuted = _coupling_scores(
            fitted,
            task.direction,
            source,
            target,
            permuted if axis == 0 else permuted.transpose(0, 2, 1),
        )
        scores.append(permuted[0])
        null_scores.append(permuted[1:])
    scores, null_scores = np.array(scores), np.mean(null_scores, axis=0)
    n_distinct = _count_distinct_orders(couplings, axis)
    return ControlOutcome(
        scores,
        null_scores,
        rank_p_value(scores.mean(), null_scores),
        smallest_rank_p(n_distinct, task.n_permutations),
        "The correspondence of source and target layers does not matter, and layers do "
        f"not differ in quality: after permuting the {side} layers in the layer "
        "coupling, with the same unit plans, the reconstruction of the "
        f"{task.direction} is as good as before.",
        "it matters which layers are coupled, or layers differ in quality",
        "It does not show which of the two, nor that layers correspond in the order of "
        "depth.",
        values={"permuted_side": side},
    )


def _count_distinct_orders(couplings, axis):
    """Count the distinct orders of the layers, some of which can be equal."""
    couplings = np.concatenate(couplings, axis=1 - axis)
    _, repeats = np.unique(couplings, axis=axis, return_counts=True)
    n_equal = math.prod(math.factorial(int(count)) for count in repeats)
    return math.factorial(couplings.shape[axis]) // n_equal


def _coupling_scores(fitted, direction, source, target, couplings):
    """Score the reconstructions with each of many layer couplings.

    Parameters
    ----------
    fitted : LayerCoupler
        Fitted estimator, whose inner estimators compute the reconstructions.
    direction : {"target", "source"}
        Side to reconstruct.
    source, target : LayerStack
        Held-out rows.
    couplings : ndarray of shape (n_couplings, n_source_layers, n_target_layers)
        Layer couplings.

    Returns
    -------
    scores : ndarray of shape (n_couplings,)
        Score of each coupling, averaged over layers.
    """
    given, recorded = (source, target) if direction == "target" else (target, source)
    if direction == "source":
        couplings = couplings.transpose(0, 2, 1)
    total = np.zeros(len(couplings))
    layout = fitted._layouts(direction)[1]
    with fitted._opened(direction, given) as handles:
        for column in range(recorded.n_layers):
            used = np.flatnonzero(couplings[:, :, column].any(axis=0))
            weights = couplings[:, used, column] * recorded.n_layers
            reconstructions = fitted._predict_layer(direction, handles, used, column)
            pairs = [
                list(pair_arrays(recorded.layers[column], layer, layout.where(column)))
                for layer in reconstructions
            ]
            for parts in zip(*pairs, strict=True):
                total += parts[0].weight * _mixture_scores(parts, weights)
    return total / recorded.n_layers


def _mixture_scores(parts, weights):
    """Score weighted sums of several reconstructions of one layer.

    The correlation of a weighted sum depends only on the covariances of the
    reconstructions with the recorded layer and with each other. Therefore one pass over
    the stimuli gives the scores of all sums.

    Parameters
    ----------
    parts : sequence of Reconstruction
        Reconstructions of the same layer, each from a different layer.
    weights : ndarray of shape (n_mixtures, n_parts)
        Weight of each reconstruction in each sum.

    Returns
    -------
    scores : ndarray of shape (n_mixtures,)
        Score of each sum, averaged over units.
    """
    weights, which = np.unique(weights, axis=0, return_inverse=True)
    recorded = parts[0].recorded
    # Raises the same error as the score if every recorded unit is constant.
    parts[0].score()
    counted = ~np.isnan(column_correlations(recorded, recorded))
    n_stimuli, n_parts = len(recorded), len(parts)
    width = max(1, _BLOCK_ENTRIES // max(n_stimuli * n_parts, len(weights)))
    scores = np.zeros(len(weights))
    units = np.flatnonzero(counted)
    for start in range(0, len(units), width):
        block = units[start : start + width]
        truth = unit_columns(recorded[:, block])
        predicted = _rescale_columns([part.reconstructed[:, block] for part in parts])
        covariances = weights @ np.einsum("su,psu->pu", truth, predicted)
        products = predicted.transpose(2, 0, 1) @ predicted.transpose(2, 1, 0)
        mixed = np.einsum("wp,wq->wpq", weights, weights).reshape(len(weights), -1)
        variances = mixed @ products.reshape(-1, n_parts**2).T
        # A sum of opposite reconstructions can be constant up to rounding errors.
        largest = np.einsum("upp->up", products).max(axis=1)
        varies = variances > np.finfo(np.float64).eps * n_stimuli * largest
        scores += np.divide(
            covariances,
            np.sqrt(np.where(varies, variances, 1.0)),
            out=np.zeros(covariances.shape),
            where=varies,
        ).sum(axis=1)
    return (scores / len(units))[which.ravel()]


def _rescale_columns(blocks):
    """Centre reconstructions of the same units, with one scale for each unit."""
    columns = np.stack([block.astype(np.float64) for block in blocks])
    scale = np.abs(columns).max(axis=(0, 1))
    columns /= np.where(scale > 0, scale, 1.0)
    # The rounding error that this leaves of a constant column is constant, too, and so
    # has no covariance with a centred one.
    return columns - columns.mean(axis=1, keepdims=True)
