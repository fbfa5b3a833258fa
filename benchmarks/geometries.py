"""RSA and CKA, compared with their formulas over stimuli and with other libraries."""

from functools import partial
from importlib.util import find_spec

import numpy as np
from measure import in_fresh_process, shortest
from problems import network
from report import Row
from sklearn.model_selection import KFold

from skmot import CKA, RSA, MultiLevelOT
from skmot.metrics import linear_cka, rsa_score

# Largest difference from the formulas, which round in another order. In RSA, skmot also
# gives equal ranks to correlations that differ by rounding errors.
AGREEMENT = {"CKA": 5e-14, "RSA": 1e-9}
REPEATS = 5

# Numbers of stimuli, and of units of both populations.
PAIRS = {
    "full": [
        (500, 200, 200),
        (1000, 200, 200),
        (1000, 64, 200),
        (1000, 64, 2048),
        (512, 2048, 2048),
        (6000, 200, 200),
        (6000, 64, 64),
    ],
    "small": [(500, 200, 200), (1000, 64, 200), (512, 1024, 1024)],
}
# Numbers of stimuli, layers per network, and units per layer.
NETWORKS = {
    "full": [(500, 6, 200), (1000, 6, 200), (400, 6, 2000)],
    "small": [(300, 6, 200)],
}
N_FOLDS = 5
# Layers of more units than half the stimuli are compared over stimuli by all sides, but
# skmot also checks a pair of such layers and reads the statistics of its units.
_BESIDE_CHECKS = " (the same products, and checks and statistics of the units)"
LEAST_SPEED_UP = {"few units": 1.0, "many units": 0.7}


def rows(scale):
    """Yield the rows about RSA and CKA."""
    for case in PAIRS[scale]:
        yield from in_fresh_process(_cka_against_formulas, *case)
        if find_spec("netrep"):
            yield in_fresh_process(_cka_against_netrep, *case)
        if find_spec("rsatoolbox") and case[0] <= 1000:
            yield in_fresh_process(_rsa_against_rsatoolbox, *case)
    for case in NETWORKS[scale]:
        for method in ("RSA", "CKA"):
            yield in_fresh_process(_held_out_against_pairs, method, *case)
        if find_spec("netrep"):
            yield in_fresh_process(_networks_against_netrep, *case)
        if find_spec("rsatoolbox"):
            yield in_fresh_process(_networks_against_rsatoolbox, *case)


def _populations(n_stimuli, n, k):
    return (
        network(1, units, n_stimuli, run=run)[0].astype(np.float64)
        for run, units in enumerate((n, k))
    )


def _networks(n_stimuli, n_layers, n_units):
    return (
        [
            layer.astype(np.float64)
            for layer in network(n_layers, n_units, n_stimuli, run=run)
        ]
        for run in range(2)
    )


def _row(subject, case, times, against, found, expected, limit=1.0):
    """Return a row that is met if skmot is fast enough and the results agree."""
    difference = float(np.max(np.abs(np.asarray(found) - expected)))
    return Row(
        subject,
        case,
        *times,
        against,
        wanted=f"at least {limit:g}x{_BESIDE_CHECKS if limit < 1 else ''}",
        limit=limit,
        at_least=True,
        right=difference <= AGREEMENT[subject],
        details={"difference": difference},
    )


def _limit(n_stimuli, *widths):
    is_wide = max(widths) > n_stimuli / 2
    return LEAST_SPEED_UP["many units" if is_wide else "few units"]


def _cka_over_stimuli(X, Y):
    """Compute debiased CKA from all products of stimuli."""
    kernels = [layer @ layer.T for layer in (X - X.mean(axis=0), Y - Y.mean(axis=0))]
    for kernel in kernels:
        np.fill_diagonal(kernel, 0)
    n = len(X)

    def hsic(K, L):
        sums = K.sum(axis=0), L.sum(axis=0)
        total = np.vdot(K, L) + sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2))
        return total - 2 * sums[0] @ sums[1] / (n - 2)

    return _normalized(hsic, *kernels)


def _cka_over_units(X, Y):
    """Compute debiased CKA from all products of units."""
    layers = [X - X.mean(axis=0), Y - Y.mean(axis=0)]
    n = len(X)

    def hsic(first, second):
        product = first.T @ second
        diagonals = [np.einsum("ij,ij->i", side, side) for side in (first, second)]
        sums = diagonals[0].sum() * diagonals[1].sum() / ((n - 1) * (n - 2))
        return np.vdot(product, product) - n / (n - 2) * np.dot(*diagonals) + sums

    return _normalized(hsic, *layers)


def _normalized(hsic, first, second):
    return hsic(first, second) / np.sqrt(hsic(first, first) * hsic(second, second))


def _cka_against_formulas(n_stimuli, n, k):
    X, Y = _populations(n_stimuli, n, k)
    ours, over_stimuli, over_units = shortest(
        [
            partial(way, X, Y)
            for way in (linear_cka, _cka_over_stimuli, _cka_over_units)
        ],
        REPEATS,
    )
    found, case = linear_cka(X, Y), f"{n} and {k} units, {n_stimuli} stimuli"
    first = _row(
        "CKA",
        case,
        (ours, over_stimuli),
        "stimuli x stimuli",
        found,
        _cka_over_stimuli(X, Y),
        _limit(n_stimuli, n, k),
    )
    second = _row(
        "CKA",
        case,
        (ours, over_units),
        "units x units, no checks",
        found,
        _cka_over_units(X, Y),
    )
    # For information: skmot also checks the input and computes statistics of units.
    second.wanted, second.limit = "", None
    return first, second


def _cka_against_netrep(n_stimuli, n, k):
    from netrep.metrics import LinearCKA

    X, Y = _populations(n_stimuli, n, k)
    plain, theirs = partial(linear_cka, debiased=False), LinearCKA()
    times = shortest([lambda: plain(X, Y), lambda: theirs.score(X, Y)], REPEATS)
    return _row(
        "CKA",
        f"{n} and {k} units, {n_stimuli} stimuli, not debiased",
        times,
        "netrep",
        plain(X, Y),
        np.cos(theirs.score(X, Y)),
        _limit(n_stimuli, n, k),
    )


def _rsatoolbox_scores(source, target):
    """Compute the Spearman correlations of all RDMs of two networks."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    sides = (
        calc_rdm([Dataset(layer) for layer in side], method="correlation")
        for side in (source, target)
    )
    return compare(*sides, method="spearman")


def _rsa_against_rsatoolbox(n_stimuli, n, k):
    X, Y = _populations(n_stimuli, n, k)
    times = shortest(
        [lambda: rsa_score(X, Y), lambda: _rsatoolbox_scores([X], [Y])], REPEATS
    )
    return _row(
        "RSA",
        f"{n} and {k} units, {n_stimuli} stimuli",
        times,
        "rsatoolbox",
        rsa_score(X, Y),
        _rsatoolbox_scores([X], [Y]).item(),
    )


def _networks_against_netrep(*case):
    from netrep.metrics import LinearCKA

    source, target = _networks(*case)
    theirs = LinearCKA()

    def by_netrep():
        return [[np.cos(theirs.score(x, y)) for y in target] for x in source]

    return _networks_row(CKA(debiased=False), "netrep", by_netrep, source, target, case)


def _networks_against_rsatoolbox(*case):
    source, target = _networks(*case)
    by_toolbox = partial(_rsatoolbox_scores, source, target)
    return _networks_row(RSA(), "rsatoolbox", by_toolbox, source, target, case)


def _networks_row(inner, against, scores, source, target, case):
    mot = MultiLevelOT(inner, strategy="pairwise_best")
    times = shortest([lambda: mot.fit(source, target), scores], 2)
    return _row(
        type(inner).__name__,
        _name_networks(*case),
        times,
        against,
        1 - mot.layer_costs_,
        np.array(scores()),
    )


def _name_networks(n_stimuli, n_layers, n_units):
    return f"{n_layers} x {n_layers} layers of {n_units} units, {n_stimuli} stimuli"


def _held_out_against_pairs(method, *case):
    """Compare costs on held-out folds with the scores of each pair in each fold."""
    source, target = _networks(*case)
    inner, score = {"RSA": (RSA(), rsa_score), "CKA": (CKA(), linear_cka)}[method]
    mot = MultiLevelOT(inner, strategy="pairwise_best", cost_cv=N_FOLDS)

    def pair_by_pair():
        costs = np.zeros((len(source), len(target)))
        for _, rows in KFold(N_FOLDS).split(source[0]):
            costs += [[1 - score(x[rows], y[rows]) for y in target] for x in source]
        return costs / N_FOLDS

    def whole_and_folds():
        [[score(x, y) for y in target] for x in source]
        return pair_by_pair()

    times = shortest([lambda: mot.fit(source, target), whole_and_folds], 2)
    return _row(
        method,
        f"{_name_networks(*case)}, {N_FOLDS} held-out folds",
        times,
        "pair by pair",
        mot.layer_costs_,
        pair_by_pair(),
    )
