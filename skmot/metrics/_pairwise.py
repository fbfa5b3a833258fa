"""Costs between many networks."""

from collections.abc import Mapping
from itertools import combinations, permutations

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skmot._warnings import recorded_warnings, repeat_warnings


def pairwise_costs(networks, estimator, *, symmetric=False, n_jobs=None):
    """Compute the cost between every two of many networks.

    Parameters
    ----------
    networks : dict or sequence of networks
        Each a LayerStack or anything that reads as one, all over the same stimuli.
    estimator : estimator
        With `fit(X, y)` and `cost_`; cloned and fitted once a pair.
    symmetric : bool, default=False
        Whether the cost of a pair is taken not to depend on its order, so that half the
        fits do: as for transport ("transport", without rotation), Procrustes, RSA and
        CKA. What is directed (rotations, regressions, semi-matching, pairwise-best)
        stays directed only with False.
    n_jobs : int, default=None
        Pairs fitted at the same time, as `scikit-learn has it
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__.

    Returns
    -------
    costs : ndarray of shape (n_networks, n_networks)
        `costs[i, j]` is the cost from network i as the source to network j as the
        target. The diagonal is fitted too: some costs of a network with itself, such as
        those of regressions, are not 0.

    Raises
    ------
    ValueError
        If there are fewer than two networks.
    TypeError
        If the estimator learns no `cost_`.

    Warns
    -----
    Warning
        What the fits warn of, each once with its first pair and with how often it came.

    Notes
    -----
    Of a correlation matching of single populations, sqrt(2 cost) is a metric, the soft
    matching distance of units of norm 1; multidimensional scaling and clustering may
    take it.

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
