"""Hierarchy score: how closely a layer coupling follows depth (paper 2, appendix G)."""

import numpy as np

from skmot._utils.array_api import to_numpy
from skmot.transport import solve_transport


def hierarchy_score(coupling, adjusted=False):
    """Score how closely a layer coupling follows relative depth.

    ``H = 1 - sum_lm w_lm |u_l - v_m|``, with depths ``u_l = l / (L - 1)`` and
    ``v_m = m / (M - 1)`` from 0 to 1 (0.5 for a single layer) and
    ``w = |P| / sum |P|`` ([1]_, appendix G).

    Parameters
    ----------
    coupling : array-like of shape (n_source_layers, n_target_layers)
        Weights of the layer pairs, with layers ordered from first to last.
    adjusted : bool, default=False
        Whether to return (H - H_uniform) / (H_max - H_uniform), which is 0 for the
        uniform coupling and 1 for the best coupling with uniform marginals. The
        unadjusted H of a uniform coupling is .5 to .66. If the networks differ in their
        number of layers, no coupling with uniform marginals reaches 1 (4 by 8 layers:
        .93).

    Returns
    -------
    score : float
        Score from 0 to 1. The adjusted score is at most 1 for couplings with uniform
        marginals, and negative for couplings that follow depth less than the uniform
        coupling.

    Raises
    ------
    ValueError
        If the coupling is not a finite two-dimensional array with a nonzero entry, or
        if `adjusted` is True and one side has a single layer.

    Notes
    -----
    If the networks differ in their number of layers, the marginals force the mass to
    spread over several layers. The spread itself is therefore no result; the order of
    the matched layers is.

    References
    ----------
    .. [1] Representational alignment across model layers and brain regions with
       multi-level optimal transport.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import hierarchy_score
    >>> hierarchy_score(np.eye(4) / 4)
    1.0
    >>> round(hierarchy_score(np.full((4, 4), 1 / 16)), 3)
    0.583
    >>> hierarchy_score(np.full((4, 8), 1 / 32), adjusted=True)
    0.0
    """
    weights = np.abs(to_numpy(coupling).astype(np.float64))
    if weights.ndim != 2 or weights.size == 0:
        raise ValueError(
            f"`coupling` must be two-dimensional and not empty; got {weights.shape}."
        )
    if not np.isfinite(weights).all() or not weights.any():
        raise ValueError("`coupling` must be finite and have some weight.")
    # The sum of large finite weights could overflow.
    weights /= weights.max()
    distance = _depth_distance(weights.shape)
    score = 1.0 - float((weights / weights.sum() * distance).sum())
    if not adjusted:
        return score
    if 1 in weights.shape:
        raise ValueError(
            f"A coupling of {weights.shape[0]} by {weights.shape[1]} layers has one "
            "possible order only: the adjusted score is not defined."
        )
    uniform = 1.0 - float(distance.mean())
    best = 1.0 - solve_transport(distance).cost
    return (score - uniform) / (best - uniform)


def _depth_distance(shape):
    source, target = (
        np.linspace(0.0, 1.0, n) if n > 1 else np.array([0.5]) for n in shape
    )
    return np.abs(source[:, np.newaxis] - target)
