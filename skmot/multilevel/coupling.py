"""The outer problem: couple the layers, given the costs of all pairs."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_random_state

from skmot.layers.depth import depth_distances, relative_depths
from skmot.transport import solve_transport
from skmot.transport._refine import refine

STRATEGIES = ("transport", "single_best", "pairwise_best", "permuted", "uniform")
# Strategies whose weights come from the outer transport problem.
TRANSPORT_STRATEGIES = ("transport", "single_best", "permuted")
# Costs are compared relative to their spread, rounded to this many decimals. Sums of
# float64 costs are accurate to about 1e-13, so a plan may exceed the optimum by that.
_COMPARED_DECIMALS = 12
# A largest cost above this multiple of the median would set the precision of all.
_LOUD = 1e3


@dataclass(frozen=True)
class LayerCoupling:
    """Weights of all pairs of layers, in both directions of reconstruction.

    Attributes
    ----------
    target : ndarray of shape (n_source_layers, n_target_layers)
        Weights in the reconstruction of the target layers. Each column sums to
        1 / n_target_layers.
    source : ndarray of shape (n_source_layers, n_target_layers)
        Weights in the reconstruction of the source layers. Each row sums to
        1 / n_source_layers.
    duality_gap : float
        Upper bound on how much the transport plan exceeds the optimum of the outer
        problem, with the depth prior.
    converged : bool
        Whether the duality gap is within the tolerance.
    """

    target: np.ndarray
    source: np.ndarray
    duality_gap: float = 0.0
    converged: bool = True


def couple_layers(layer_costs, strategy, random_state, depth_prior):
    """Couple the layers of two networks by the costs of their pairs.

    Parameters
    ----------
    layer_costs : ndarray of shape (n_source_layers, n_target_layers)
        Finite cost of each pair of layers.
    strategy : {"transport", "single_best", "pairwise_best", "permuted", \
"uniform"}
        See :class:`skmot.MultiLevelOT`.
    random_state : int, RandomState instance or None
        Controls the permutation of the strategy "permuted".
    depth_prior : float
        Weight of the difference in relative depth in the outer problem. 0 for the
        strategies that have none.

    Returns
    -------
    coupling : LayerCoupling
        Weights of all pairs of layers in both directions.
    """
    if strategy == "uniform":
        coupling = np.full(layer_costs.shape, 1.0 / layer_costs.size)
        return LayerCoupling(coupling, coupling.copy())
    if depth_prior:
        layer_costs = _with_depth_prior(layer_costs, depth_prior)
    costs, scale = _rescale_and_round(layer_costs)
    if strategy == "pairwise_best":
        return LayerCoupling(
            _select_one_per_column(costs.argmin(axis=0), costs.shape),
            _select_one_per_column(costs.argmin(axis=1), costs.T.shape).T,
        )
    plan, flow = _plan_layers(costs)
    certificate = plan.duality_gap * scale, plan.converged
    if strategy == "single_best":
        return LayerCoupling(
            _select_one_per_column(_largest(flow, costs), costs.shape),
            _select_one_per_column(_largest(flow.T, costs.T), costs.T.shape).T,
            *certificate,
        )
    coupling = flow / flow.sum()
    if strategy == "permuted":
        order = check_random_state(random_state).permutation(len(coupling))
        coupling = coupling[order]
    return LayerCoupling(coupling, coupling.copy(), *certificate)


def _select_one_per_column(rows, shape):
    """Return the coupling with all weight of column j in row `rows[j]`."""
    coupling = np.zeros(shape)
    coupling[rows, np.arange(shape[1])] = 1.0 / shape[1]
    return coupling


def _with_depth_prior(costs, weight):
    """Return C + w (max C - min C) |u_l - v_m|, the costs of the outer problem."""
    depths = (relative_depths(n_layers) for n_layers in costs.shape)
    return costs + weight * np.ptp(costs) * depth_distances(*depths)


def _rescale_and_round(costs):
    """Rescale costs and round away differences from rounding errors.

    The costs of two layers that are copies of each other may differ in their last
    digits, and differ otherwise when the sides are swapped. Rounding makes them ties.

    Parameters
    ----------
    costs : ndarray of shape (n_source_layers, n_target_layers)
        Finite cost of each pair of layers.

    Returns
    -------
    costs : ndarray of shape (n_source_layers, n_target_layers)
        Costs from 0, which decide plans and ties.
    scale : float
        Difference of the largest and the smallest cost given, which turns differences
        of the rescaled costs into differences of the costs given. If a few costs are
        far larger than the others, this is the scale of the others, and the rescaled
        costs exceed 1.
    """
    differences = costs - costs.min()
    scale = float(differences.max())
    if scale == 0:
        return differences, 0.0
    typical = float(np.median(differences))
    if scale > _LOUD * typical > 0:
        scale = typical
    return np.round(differences / scale, _COMPARED_DECIMALS), scale


def _plan_layers(costs):
    """Solve the outer problem in an orientation that does not depend on the sides.

    If several plans are optimal, swapping source and target then gives the same plan.

    Returns
    -------
    plan : TransportResult
        Solution of the problem or of its transpose.
    flow : ndarray of int of shape (n_source_layers, n_target_layers)
        The plan, in whole numbers that are proportional to the masses.
    """
    is_transposed = costs.shape[0] > costs.shape[1] or (
        costs.shape[0] == costs.shape[1] and costs.T.tolist() < costs.tolist()
    )
    costs = costs.T if is_transposed else costs
    plan = solve_transport(costs)
    if costs.max() > 1:
        plan = refine(costs, plan, 1.0)
    flow = plan.flow.toarray()
    return plan, flow.T if is_transposed else flow


def _largest(flow, costs):
    """Return the row of the largest flow in each column.

    Ties go to the smaller cost, then to the lower index. Flows are whole numbers, so
    ties are exact. They are common if the depth of one network divides that of the
    other.
    """
    return np.where(flow == flow.max(axis=0), costs, np.inf).argmin(axis=0)
