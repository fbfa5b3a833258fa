"""Test whether groups of networks, such as architectures or subjects, separate."""

import math
import warnings
from collections.abc import Mapping
from itertools import combinations
from numbers import Integral

import numpy as np
from sklearn.metrics import average_precision_score
from sklearn.utils import check_random_state

from skmot._utils.results import Result
from skmot._utils.sklearn import Interval, StrOptions, validate_params
from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers.labels import as_labels, list_labels, stimulus_codes
from skmot.model_selection.control_task import rank_p_value

DIRECTIONS = ("source", "target", "mean")
# Costs that differ by less than this share of the largest one are ties.
_TIE = 1e-10
# A warning is raised if the smallest possible p-value is above this level.
_USUAL_LEVEL = 0.05


class GroupSeparation(Result):
    """Result of :func:`group_separation_test`."""

    def _tables(self):
        return {**super()._tables(), "networks": self._networks}

    def _networks(self):
        return {
            "network": self.names,
            "group": self.groups,
            "nearest": [self.names[number] for number in self.nearest],
            "nearest_group": [self.groups[number] for number in self.nearest],
            "accuracy": self.network_accuracies,
        }


@validate_params(
    {
        "groups": ["array-like", Mapping],
        "direction": [StrOptions(set(DIRECTIONS))],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def group_separation_test(
    costs, groups, *, direction="source", n_permutations=9999, random_state=None
):
    """Test whether the nearest network of a network is one of its own group.

    The accuracy is that of a nearest-neighbour classifier of the groups, which leaves
    out the network that it classifies. Null accuracies are those of the same groups
    after exchanging their members. The accuracy depends on the order of the costs only,
    so costs and their roots have the same one.

    Parameters
    ----------
    costs : PairwiseCosts or array-like of shape (n_networks, n_networks)
        Costs of all pairs, of :func:`pairwise_costs` or of another library. Lower means
        more alike. The diagonal is not used.
    groups : array-like of shape (n_networks,) or dict
        Group of each network, for instance its architecture or subject: in the order of
        `costs`, or by the names that `costs` have.
    direction : {"source", "target", "mean"}, default="source"
        Which costs of a network are compared, if both directions of a pair differ.

        - "source": `costs[i, :]`, those of network i as the source.
        - "target": `costs[:, i]`, those of network i as the target.
        - "mean": means of both.
    n_permutations : int, default=9999
        Number of random exchanges of members. If there are no more different ones, each
        of them is used once, and the p-value is exact.
    random_state : int, RandomState instance or None, default=None
        Controls the exchanges. Pass an int for reproducible output across multiple
        function calls.

    Returns
    -------
    result : Result
        Dictionary-like object that prints as a conclusion. ``result.to_frame()`` is a
        table with one row, and ``result.to_frame("networks")`` has the nearest network
        of each one. The attributes are

        accuracy : float
            Share of the networks whose nearest network is of their group, from 0 to 1.
            Networks that are alone in their group are not counted, but can be the
            nearest of others. Of several networks that are equally near, each counts
            equally.
        chance : float
            Mean accuracy over all exchanges.
        p_value : float
            (b + 1) / (n + 1), where b of the n null accuracies are at least `accuracy`.
        smallest_p : float
            Smallest p-value that these groups and permutations can give. It can be
            larger for some costs.
        is_exact : bool
            Whether all exchanges were used.
        null_accuracies : ndarray of shape (n,)
            Accuracy after each exchange.
        conformity_rate : float
            Share of the comparisons of a pair within a group with a pair of the same
            group and another one, in which the pair within the group costs less;
            averaged over groups of two or more. It is 1 minus the violation rate of
            ReSi [1]_, .5 for unrelated groups, and 1 if groups separate fully. It has
            no p-value here.
        average_precision : float
            Average precision with which costs tell pairs within a group from pairs of
            the same group and another one, averaged over groups of two or more: the
            AUPRC of ReSi.
        network_accuracies : ndarray of shape (n_networks,)
            Share of the nearest networks that are of the same group, NaN for networks
            alone in their group.
        nearest : ndarray of int of shape (n_networks,)
            Index of the nearest network, the first one of several.
        n_networks, n_scored, n_groups : int
            Numbers of networks, of networks that are counted, and of groups.
        names, groups, direction : list, list, str
            Names and groups of the networks, and the given value.

    Raises
    ------
    ValueError
        If costs are not a square matrix of finite numbers, there is not one group for
        each network, there is only one group, or each network is alone in its group.

    Warns
    -----
    UserWarning
        If `smallest_p` is above 0.05, so that no result can be significant.

    See Also
    --------
    pairwise_costs : Computes the costs.
    skmot.inspection.NetworkMapDisplay : Draws a map of the networks.

    Notes
    -----
    The p-value is valid if all networks are exchangeable under the null hypothesis that
    the groups mean nothing. They are not if networks belong together for another
    reason, such as a common seed in pairs. What separates the groups can be anything
    that they differ in: if architectures differ in width, costs in sample depend on it
    (see `cv` of :func:`pairwise_costs`).

    For groups of sizes n_g among K networks there are K! / prod_g n_g! different
    exchanges, the given one included. Exchanging all members of two groups of the same
    size gives the same accuracy, so that two groups of three have a smallest p-value of
    2 / 20, and two groups of four one of 2 / 70.

    ReSi tests similarity measures by groups of models that are known to be alike, and
    reports `conformity_rate` and `average_precision`. Both use all costs, the accuracy
    only the lowest one of each network. Costs of both directions count equally in them,
    in the direction that is chosen.

    References
    ----------
    .. [1] M. Klabunde, T. Wald, T. Schumacher, K. Maier-Hein, M. Strohmaier,
       F. Lemmerich. ReSi: A comprehensive benchmark for representational similarity
       measures. ICLR, 2025. The definitions are those of
       `repsim/benchmark/measure_quality_metrics.py
       <https://github.com/mklabunde/resi>`__.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.metrics import pairwise_costs
    >>> from skmot.model_selection import group_separation_test
    >>> rng = np.random.default_rng(0)
    >>> families = {name: rng.normal(size=(60, 5)) for name in "ab"}
    >>> networks = {
    ...     f"{name}{number}": family + rng.normal(size=family.shape)
    ...     for name, family in families.items()
    ...     for number in range(4)
    ... }
    >>> costs = pairwise_costs(networks, SoftMatching(), cv=5)
    >>> result = group_separation_test(costs, [name[0] for name in networks])
    >>> result.accuracy, round(result.p_value, 3)
    (1.0, 0.029)
    >>> print(result)  # doctest: +NORMALIZE_WHITESPACE
    The nearest network is of the same group for 100 % of 8 networks (43 % by chance, p
    = 0.029, of all exchanges of members), which shows that the groups differ. It does
    not show in what.
    """
    names = _names_of(costs)
    costs = _read_costs(costs, direction)
    names = list(range(len(costs))) if names is None else list(names)
    groups = _read_groups(groups, names)
    codes = stimulus_codes(groups)
    neighbours = _share_of_nearest(costs)
    weights = _Neighbours(neighbours, np.bincount(codes))
    (accuracy,) = weights.accuracies(codes[np.newaxis])
    n_same, n_distinct = _count_labellings(codes)
    is_exact = n_distinct - 1 <= n_permutations
    if is_exact:
        labellings = _all_other_labellings(codes)
    else:
        random = check_random_state(random_state)
        labellings = np.array(
            [random.permutation(codes) for _ in range(n_permutations)]
        )
    null_accuracies = weights.accuracies(labellings)
    smallest_p = n_same / n_distinct
    if not is_exact:
        smallest_p = max(smallest_p, 1 / (n_permutations + 1))
    of_network = (neighbours * (codes[:, np.newaxis] == codes)).sum(axis=1)
    result = {
        "accuracy": float(accuracy),
        "chance": weights.chance,
        "p_value": rank_p_value(accuracy, null_accuracies),
        "smallest_p": smallest_p,
        "is_exact": is_exact,
        "null_accuracies": null_accuracies,
        **_separations(costs, codes),
        "network_accuracies": np.where(weights.is_scored[codes], of_network, np.nan),
        "nearest": costs.argmin(axis=1),
        "n_networks": len(costs),
        "n_scored": weights.n_scored,
        "n_groups": int(codes.max()) + 1,
        "names": names,
        "groups": list_labels(groups),
        "direction": direction,
    }
    if smallest_p > _USUAL_LEVEL:
        warnings.warn(
            f"The p-value cannot be below {smallest_p:.3g}: {len(costs)} networks in "
            f"groups of {', '.join(map(str, np.bincount(codes)))} can be exchanged in "
            f"{n_distinct} ways, of which {n_same} have the same groups. Give more "
            "networks" + ("." if is_exact else ", or raise `n_permutations`."),
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    return GroupSeparation(_conclude(result), **result)


# -- what is given ---------------------------------------------------------------------


def _names_of(costs):
    """Return the names of the networks, or None if they have no names."""
    if not hasattr(costs, "columns"):
        return getattr(costs, "names", None)
    rows, columns = list(costs.index), list(costs.columns)
    if rows != columns:
        raise ValueError(
            f"The rows of `costs` are {rows}, and its columns {columns}: name both "
            "alike, in the same order."
        )
    return rows


def _read_costs(costs, direction):
    """Return the costs of each network in a row, with infinity on the diagonal."""
    costs = np.array(costs, dtype=np.float64)
    if costs.ndim != 2 or costs.shape[0] != costs.shape[1]:
        raise ValueError(
            "`costs` must be a square matrix, with a row and a column for each "
            f"network; got an array of shape {costs.shape}."
        )
    np.fill_diagonal(costs, np.inf)
    n_bad = int(np.count_nonzero(~np.isfinite(costs))) - len(costs)
    if n_bad:
        raise ValueError(
            f"`costs` must be finite between different networks; {n_bad} are not."
        )
    if direction == "target":
        return costs.T
    return (costs + costs.T) / 2 if direction == "mean" else costs


def _read_groups(groups, names):
    """Return an array with the group of each network."""
    is_series = hasattr(groups, "index") and hasattr(groups, "to_dict")
    # An index that counts rows names no networks, unless these are numbers.
    if is_series and (
        set(groups.index) == set(names) or not _counts_rows(groups.index)
    ):
        groups = groups.to_dict()
    if isinstance(groups, Mapping):
        unknown = [name for name in groups if name not in names]
        missing = [name for name in names if name not in groups]
        if unknown or missing:
            raise ValueError(
                "`groups` must have the names of the networks as its keys: "
                f"{missing} are missing, and {unknown} are no networks of `costs`."
            )
        groups = [groups[name] for name in names]
    groups = as_labels(groups, what="group")
    if len(groups) != len(names):
        raise ValueError(
            f"`groups` has {len(groups)} entries, but there are {len(names)} networks."
        )
    sizes = np.bincount(stimulus_codes(groups))
    if len(sizes) < 2 or sizes.max() < 2:
        found = "one group" if len(sizes) < 2 else "a group of its own each"
        raise ValueError(
            "`groups` must have two or more groups, at least one of them with two or "
            f"more networks; {len(names)} networks have {found}."
        )
    return groups


def _counts_rows(index):
    return list(index) == list(range(len(index)))


# -- accuracies ------------------------------------------------------------------------


def _share_of_nearest(costs):
    """Return a matrix whose rows have equal weights on the nearest networks."""
    tolerance = _TIE * np.abs(costs[np.isfinite(costs)]).max()
    is_nearest = costs <= costs.min(axis=1, keepdims=True) + tolerance
    return is_nearest / is_nearest.sum(axis=1, keepdims=True)


class _Neighbours:
    """Nearest networks, which give the accuracies of many labellings.

    Parameters
    ----------
    neighbours : ndarray of shape (n_networks, n_networks)
        Weights of the nearest networks in each row.
    sizes : ndarray of int of shape (n_groups,)
        Number of networks of each group, the same for all labellings.
    """

    def __init__(self, neighbours, sizes):
        self.rows, self.columns = np.nonzero(neighbours)
        self.weights = neighbours[self.rows, self.columns]
        self.is_scored = sizes > 1
        scored_sizes = sizes[self.is_scored]
        self.n_scored = int(scored_sizes.sum())
        pairs = scored_sizes * (scored_sizes - 1)
        self.chance = float(pairs.sum() / self.n_scored / (len(neighbours) - 1))

    def accuracies(self, labellings):
        """Return the accuracy of each labelling, which is a row of group numbers."""
        own, other = labellings[:, self.rows], labellings[:, self.columns]
        # Networks alone in their group are never right.
        return (own == other) @ self.weights / self.n_scored


def _count_labellings(codes):
    """Count the labellings with the same groups, and all labellings of these sizes."""
    sizes = np.bincount(codes).tolist()
    n_distinct = math.factorial(len(codes))
    for size in sizes:
        n_distinct //= math.factorial(size)
    # Groups of equal size can exchange their names.
    n_same = math.prod(math.factorial(sizes.count(size)) for size in set(sizes))
    return n_same, n_distinct


def _all_other_labellings(codes):
    """Return all labellings with groups of the same sizes, except the given one."""
    every = np.array(list(_labellings(np.bincount(codes).tolist())))
    return every[(every != codes).any(axis=1)]


def _labellings(sizes):
    """Yield all labellings with groups of the given sizes."""
    n_networks, last = sum(sizes), len(sizes) - 1
    if last == 0:
        yield [0] * n_networks
        return
    for members in combinations(range(n_networks), sizes[last]):
        for others in _labellings(sizes[:last]):
            labels = list(others)
            # Positions in increasing order, so that each is where it belongs.
            for position in members:
                labels.insert(position, last)
            yield labels


def _separations(costs, codes):
    """Return the two measures of ReSi."""
    rates, precisions = [], []
    for code in np.flatnonzero(np.bincount(codes) > 1):
        of_group = costs[codes == code]
        within = of_group[:, codes == code]
        within = np.sort(within[np.isfinite(within)])
        across = of_group[:, codes != code].ravel()
        # Ties are violations.
        n_higher = (
            len(across) * len(within)
            - np.searchsorted(np.sort(across), within, side="right").sum()
        )
        rates.append(n_higher / (len(across) * len(within)))
        # Pairs within a group are there in both directions.
        precisions.append(
            average_precision_score(
                np.repeat([1, 0], [len(within), len(across)]),
                -np.concatenate([within, across]),
                sample_weight=np.repeat([0.5, 1.0], [len(within), len(across)]),
            )
        )
    return {
        "conformity_rate": float(np.mean(rates)),
        "average_precision": float(np.mean(precisions)),
    }


def _conclude(result):
    """Say what the p-value shows, and what it does not show."""
    how = "of all" if result["is_exact"] else "of random"
    found = (
        f"The nearest network is of the same group for {result['accuracy']:.0%} of "
        f"{result['n_scored']} networks ({result['chance']:.0%} by chance, p = "
        f"{result['p_value']:.2g}, {how} exchanges of members)"
    ).replace("%", " %")
    if result["p_value"] <= _USUAL_LEVEL:
        return f"{found}, which shows that the groups differ. It does not show in what."
    return (
        f"{found}, which does not show that the groups differ, and does not exclude it."
    )
