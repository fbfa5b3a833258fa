"""Hierarchy score: how closely a layer coupling follows depth (paper 2, appendix G)."""

import warnings

import numpy as np

from skmot._utils.array_api import as_numbers
from skmot._utils.sklearn import validate_params
from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers.depth import DepthPriorCoupling, depth_distances, relative_depths
from skmot.layers.reading import check_unmasked
from skmot.transport import solve_transport


@validate_params({"adjusted": ["boolean"]}, prefer_skip_nested_validation=True)
def hierarchy_score(coupling, adjusted=False):
    """Score how closely a layer coupling follows relative depth.

    ``H = 1 - sum_lm w_lm |u_l - v_m|``, with depths ``u_l = l / (L - 1)`` and
    ``v_m = m / (M - 1)`` from 0 to 1 (0.5 for a single layer) and
    ``w = |P| / sum |P|`` ([1]_, appendix G).

    The score describes a coupling. It has no null distribution of its own, so a high
    score alone does not show that similarity falls with the difference in depth:
    :func:`skmot.model_selection.hierarchy_test` tests that.

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

    Warns
    -----
    UserWarning
        If the coupling was made with a depth prior, which makes the score circular. The
        `coupling_` of an estimator with `depth_prior` tells that it was, see
        :class:`DepthPriorCoupling`.

    See Also
    --------
    skmot.model_selection.hierarchy_test : Tests whether the similarity of layers falls
        with their difference in depth.

    Notes
    -----
    The score of a single pair of networks varies widely by chance. With 3 by 6 layers
    there are 90 couplings, which transport finds equally often if layer costs are
    random. Their adjusted scores have mean 0 and standard deviation .39, so an adjusted
    score of .44 is within chance.

    The widths of the layers and the quality of the recordings change the score, too.
    Layer costs are fitted and read on the same stimuli, so they depend on the number of
    units. If widths grow with depth in both networks, transport sorts the layers by
    their width: for unrelated noise of five layers of 8 to 128 units and 100 stimuli,
    the mean adjusted score of 60 simulated fits was .77, and 23 of them scored 1. A
    signal-to-noise ratio that rises with depth in both networks has a similar effect:
    if all layers read the same signals, the mean of 100 fits was .59, and -.01 if the
    ratio was constant.

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
    check_unmasked(coupling, "`coupling`")
    if isinstance(coupling, DepthPriorCoupling):
        warnings.warn(
            "This coupling was made with a depth prior, so its hierarchy score is "
            "circular: it follows depth because it was made to. Score a coupling of "
            "`depth_prior=0`, or use skmot.model_selection.hierarchy_test, which reads "
            "the layer costs.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    weights = np.abs(as_numbers(coupling, "coupling"))
    if weights.ndim != 2 or weights.size == 0:
        raise ValueError(
            f"`coupling` must be two-dimensional and not empty; got {weights.shape}."
        )
    if not np.isfinite(weights).all() or not weights.any():
        raise ValueError("`coupling` must be finite and have some weight.")
    # The sum of large finite weights could overflow.
    weights /= weights.max()
    if adjusted and 1 in weights.shape:
        raise ValueError(
            f"A coupling of {weights.shape[0]} by {weights.shape[1]} layers has one "
            "possible order only: the adjusted score is not defined."
        )
    depths = (relative_depths(n_layers) for n_layers in weights.shape)
    return score_weights(weights, depth_distances(*depths), adjusted)


def score_weights(weights, distances, adjusted):
    """Score nonnegative weights of layer pairs, given their differences in depth."""
    score = 1.0 - float((weights / weights.sum() * distances).sum())
    if not adjusted:
        return score
    uniform = 1.0 - float(distances.mean())
    best = 1.0 - solve_transport(distances).cost
    return (score - uniform) / (best - uniform)
