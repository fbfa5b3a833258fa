"""Matrix of the costs between many networks."""

from collections.abc import Mapping
from itertools import combinations, permutations

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skmot._utils.warnings import recorded_warnings, repeat_warnings


def pairwise_costs(networks, estimator, *, symmetric=False, n_jobs=None):
    """Compute the cost of every pair of networks.

    Parameters
    ----------
    networks : dict or sequence of networks
        Networks over the same stimuli, each a LayerStack, list, dict, DataFrame or
        array-like.
    estimator : estimator
        Estimator with `fit(X, y)` and the attribute `cost_`. It is cloned and fitted
        once for each pair.
    symmetric : bool, default=False
        Whether to fit each pair in one order only. Use True if the cost is symmetric:
        transport (the strategy "transport" without rotation), Procrustes, RSA and CKA.
        Costs of rotations, regressions, semi-matching and the strategy "pairwise_best"
        depend on the order and need False.
    n_jobs : int, default=None
        Number of pairs to fit in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__.

    Returns
    -------
    costs : ndarray of shape (n_networks, n_networks)
        `costs[i, j]` is the cost with network i as the source and network j as the
        target. The diagonal is also computed: the cost of a network with itself is not
        always 0, for example for regressions.

    Raises
    ------
    ValueError
        If there are fewer than two networks.
    TypeError
        If the fitted estimator has no `cost_`.

    Warns
    -----
    Warning
        Each warning of the fits is raised once, with the first pair that caused it and
        the number of times it occurred.

    Notes
    -----
    If `estimator` is a `SoftMatching` with correlation distance, and each network is a
    single population, sqrt(2 cost) is a metric. It is the soft matching distance of
    units scaled to norm 1, and can be used for multidimensional scaling and clustering.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.metrics import pairwise_costs
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=(100, 5))
    >>> networks = {"a": a, "a again": a[:, ::-1], "b": rng.normal(size=(100, 8))}
    >>> np.sqrt(2 * pairwise_costs(networks, SoftMatching())).round(1)
    array([[0. , 0. , 1.3],
           [0. , 0. , 1.3],
           [1.3, 1.3, 0. ]])
    """
    if isinstance(networks, Mapping):
        names, networks = list(networks), list(networks.values())
    else:
        networks = list(networks)
        names = list(range(len(networks)))
    n_networks = len(networks)
    if n_networks < 2:
        raise ValueError(f"At least two networks are needed; got {n_networks}.")
    off_diagonal = combinations if symmetric else permutations
    pairs = [(i, i) for i in range(n_networks)]
    pairs += list(off_diagonal(range(n_networks), 2))
    found = Parallel(n_jobs=n_jobs)(
        delayed(_fit_cost)(
            clone(estimator),
            networks[i],
            networks[j],
            f"source {names[i]!r}, target {names[j]!r}",
        )
        for i, j in pairs
    )
    # repeat_warnings, pairwise_costs, the caller.
    repeat_warnings([entry for _, log in found for entry in log], stacklevel=3)
    costs = np.empty((n_networks, n_networks))
    for (i, j), (cost, _) in zip(pairs, found, strict=True):
        costs[i, j] = cost
        if symmetric:
            costs[j, i] = cost
    return costs


def _fit_cost(estimator, source, target, place):
    log = []
    with recorded_warnings(log, place):
        fitted = estimator.fit(source, target)
    if not hasattr(fitted, "cost_"):
        raise TypeError(f"{type(fitted).__name__} learned no `cost_`.")
    return float(fitted.cost_), log
