"""Whether a layer coupling follows the order of depth (appendix G of paper 2)."""

import numpy as np

from skmot._array_api import to_numpy
from skmot.transport import solve_transport


def hierarchy_score(coupling, adjusted=False):
    """Score how closely a layer coupling follows relative depth.

    ``H = 1 - sum_lm w_lm |u_l - v_m|``, with depths ``u_l = l / (L - 1)`` and
    ``v_m = m / (M - 1)`` from 0 to 1 (0.5 for a single layer) and
    ``w = |P| / sum |P|`` ([1]_, appendix G).

    Parameters
    ----------
    coupling : array-like of shape (n_source_layers, n_target_layers)
        Weights of the layer pairs, layers from first to last.
    adjusted : bool, default=False
        H of a uniform coupling is .5 to .66, and where the depths differ no coupling
        reaches 1 (4 by 8 layers: .93). True gives
        (H - H_uniform) / (H_max - H_uniform): 0 for the uniform coupling, 1 for the
        best that uniform marginals allow.

    Returns
    -------
    score : float
        From 0 to 1; adjusted, at most 1 for couplings of uniform marginals, and
        negative for those worse ordered than the uniform one.

    Raises
    ------
    ValueError
        If the coupling is not a finite two-dimensional array with some weight, or
        `adjusted` is asked of a single layer, where no order can be told.

    Notes
    -----
    For unequal depths the marginals force the mass to spread over several layers: that
    it does is no finding. In which order it does, is.

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
    # So that the sum is finite wherever the weights are.
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
