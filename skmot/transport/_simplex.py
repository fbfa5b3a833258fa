"""Interface to the network simplex of POT, including its private functions.

POT is imported at the first solve, not with skmot. The import takes as long as that of
skmot, and longer if PyTorch, JAX or CuPy are installed, which POT then loads too.
"""

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.sparse import coo_array

_OPTIMAL, _PIVOT_LIMIT = 1, 3


@dataclass(frozen=True)
class SimplexResult:
    """Result of a run of the network simplex.

    Attributes
    ----------
    arcs : ndarray of int64 of shape (n_used,)
        Flat indices of the arcs with a positive flow.
    amounts : ndarray of int64 of shape (n_used,)
        Flow along each arc.
    potentials : tuple of ndarray, of shape (n,) and (k,)
        Dual potentials of rows and columns.
    is_optimal : bool
        Whether the flow is optimal. If the maximum number of pivots was reached, it is
        False and the flow is incomplete.
    """

    arcs: np.ndarray
    amounts: np.ndarray
    potentials: tuple[np.ndarray, np.ndarray]
    is_optimal: bool


@cache
def private_functions():
    """Import the private functions of POT.

    Returns
    -------
    emd_c, emd_c_sparse : callable or None
        Network simplex on all arcs and on given arcs. None if this version of POT does
        not have these functions.
    """
    try:
        from ot.lp.emd_wrap import emd_c, emd_c_sparse
    except ImportError:
        return None, None
    return emd_c, emd_c_sparse


def solve_on_all(costs, row_masses, column_masses, max_pivots):
    """Compute the optimal flow, using all arcs.

    Parameters
    ----------
    costs : ndarray of float64 of shape (n, k)
        Costs from 0 to 1, C-contiguous.
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Masses with equal sums.
    max_pivots : int
        Maximum number of pivots.

    Returns
    -------
    found : SimplexResult
        Flow and potentials.
    """
    masses = row_masses.astype(np.float64), column_masses.astype(np.float64)
    emd_c, _ = private_functions()
    if emd_c is None:
        plan, log = _public_emd(*masses, costs, max_pivots)
        rows, columns, code = log["u"], log["v"], log["result_code"]
    else:
        plan, _, rows, columns, code = emd_c(*masses, costs, max_pivots, 1)
    is_optimal = _check_code(code, costs.shape)
    arcs = np.flatnonzero(plan)
    amounts = _round(plan.ravel()[arcs])
    return SimplexResult(arcs, amounts, _centre(rows, columns), is_optimal)


def solve_on_arcs(arcs, costs, row_masses, column_masses, potentials, max_pivots):
    """Compute the optimal flow along given arcs, on which a flow must exist.

    Parameters
    ----------
    arcs : ndarray of int64 of shape (n_arcs,)
        Flat indices of the arcs in an (n, k) matrix. They can repeat.
    costs : ndarray of float64 of shape (n_arcs,)
        Costs from 0 to 1.
    row_masses, column_masses : ndarray of int64 of shape (n,) and (k,)
        Masses with equal sums.
    potentials : tuple of ndarray, of shape (n,) and (k,)
        Initial potentials. The nearer they are to the optimum, the fewer pivots are
        needed.
    max_pivots : int
        Maximum number of pivots.

    Returns
    -------
    found : SimplexResult
        Flow and potentials.
    """
    masses = row_masses.astype(np.float64), column_masses.astype(np.float64)
    n, k = len(row_masses), len(column_masses)
    starts, ends = np.divmod(arcs, k)
    _, emd_c_sparse = private_functions()
    if emd_c_sparse is None:
        # The public function solves the same problem without initial potentials.
        plan, log = _public_emd(
            *masses, coo_array((costs, (starts, ends)), shape=(n, k)), max_pivots
        )
        starts, ends, amounts = plan.row, plan.col, plan.data
        rows, columns, code = log["u"], log["v"], log["result_code"]
    else:
        starts, ends, amounts, _, rows, columns, code = emd_c_sparse(
            *masses,
            starts.astype(np.uint64),
            ends.astype(np.uint64),
            costs,
            max_pivots,
            *potentials,
        )
    is_optimal = _check_code(code, (n, k))
    used = starts.astype(np.int64) * k + ends.astype(np.int64)
    return SimplexResult(used, _round(amounts), _centre(rows, columns), is_optimal)


def _public_emd(row_masses, column_masses, costs, max_pivots):
    import ot

    with warnings.catch_warnings():
        # The duality gap reports that the maximum number of pivots was reached.
        warnings.filterwarnings("ignore", "numItermax reached", UserWarning)
        return ot.emd(
            row_masses,
            column_masses,
            costs,
            numItermax=max_pivots,
            log=True,
            center_dual=False,
        )


def _check_code(code, shape):
    if code not in (_OPTIMAL, _PIVOT_LIMIT):
        raise RuntimeError(
            f"POT's network simplex failed on {shape[0]} x {shape[1]} costs: it "
            f"returned the code {code} (0: infeasible, 2: unbounded)."
        )
    return code == _OPTIMAL


def _round(amounts):
    return np.rint(amounts).astype(np.int64)


def _centre(rows, columns):
    """Remove the constant that the artificial arcs add, to reduce rounding errors."""
    shift = columns.mean()
    return rows + shift, columns - shift
