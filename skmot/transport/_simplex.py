"""POT's network simplex: the one place that calls it, and its private functions."""

import warnings
from dataclasses import dataclass

import numpy as np
import ot
from scipy.sparse import coo_array

try:
    from ot.lp.emd_wrap import emd_c, emd_c_sparse
except ImportError:  # Private: another version of POT may have moved them.
    emd_c = emd_c_sparse = None

_OPTIMAL, _PIVOT_LIMIT = 1, 3


@dataclass(frozen=True)
class SimplexResult:
    """What a run of the network simplex found.

    Attributes
    ----------
    arcs : ndarray of int64 of shape (n_used,)
        Flat indices of the arcs that are used.
    amounts : ndarray of int64 of shape (n_used,)
        How much each carries.
    potentials : tuple of ndarray, of shape (n,) and (k,)
        Of rows and columns.
    is_optimal : bool
        False at the limit of pivots: the flow is then incomplete.
    """

    arcs: np.ndarray
    amounts: np.ndarray
    potentials: tuple[np.ndarray, np.ndarray]
    is_optimal: bool


def solve_on_all(costs, row_masses, column_masses, max_pivots):
    """Find the cheapest flow along all arcs.

    Parameters
    ----------
    costs : ndarray of float64 of shape (n, k)
        From 0 to 1, C-contiguous.
    row_masses, column_masses : ndarray of int64
        Of equal sum.
    max_pivots : int
        When to give up.

    Returns
    -------
    found : SimplexResult
        The flow.
    """
    masses = row_masses.astype(np.float64), column_masses.astype(np.float64)
    if emd_c is None:
        plan, log = _public_emd(*masses, costs, max_pivots)
        rows, columns, code = log["u"], log["v"], log["result_code"]
    else:
        plan, _, rows, columns, code = emd_c(*masses, costs, max_pivots, 1)
    is_optimal = _check_code(code, costs.shape)
    arcs = np.flatnonzero(plan)
    amounts = _whole(plan.ravel()[arcs])
    return SimplexResult(arcs, amounts, _centred(rows, columns), is_optimal)


def solve_on_arcs(arcs, costs, row_masses, column_masses, potentials, max_pivots):
    """Find the cheapest flow along some arcs, on which there must be one.

    Parameters
    ----------
    arcs : ndarray of int64 of shape (n_arcs,)
        Flat indices in an (n, k) matrix; they may repeat.
    costs : ndarray of float64 of shape (n_arcs,)
        From 0 to 1.
    row_masses, column_masses, max_pivots
        As `solve_on_all` has them.
    potentials : tuple of ndarray
        Where to start from: near the optimal potentials, few pivots are left.

    Returns
    -------
    found : SimplexResult
        The flow.
    """
    masses = row_masses.astype(np.float64), column_masses.astype(np.float64)
    n, k = len(row_masses), len(column_masses)
    starts, ends = np.divmod(arcs, k)
    if emd_c_sparse is None:
        # Solves the same problem from nothing.
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
    return SimplexResult(used, _whole(amounts), _centred(rows, columns), is_optimal)


def _public_emd(row_masses, column_masses, costs, max_pivots):
    with warnings.catch_warnings():
        # What the limit of pivots leaves is told by the duality gap.
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


def _whole(amounts):
    return np.rint(amounts).astype(np.int64)


def _centred(rows, columns):
    """Take out the constant that the artificial arcs leave: digits are lost to it."""
    shift = columns.mean()
    return rows + shift, columns - shift
