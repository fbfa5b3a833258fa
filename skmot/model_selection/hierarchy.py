"""Test of whether the similarity of layers falls with their difference in depth."""

import itertools
import math
import warnings
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skmot._scores import unwrap
from skmot._utils.array_api import to_numpy
from skmot._utils.parallel import run_in_order
from skmot._utils.progress import function_task
from skmot._utils.results import Result, numbered_rows
from skmot._utils.sklearn import HasMethods, Interval, StrOptions, validate_params
from skmot._utils.warnings import repeat_warnings, stacklevel_of_caller
from skmot.exceptions import RowNumberWarning
from skmot.layers.depth import depth_distances, relative_depths
from skmot.layers.names import pair_columns
from skmot.layers.sides import read_pair
from skmot.layers.splits import read_groups, repeated_groups
from skmot.metrics._hierarchy import score_weights
from skmot.model_selection.permutations import row_permutations, say_permuted

# Results are called significant at this level. If no p-value can reach it, a warning is
# raised.
_USUAL_LEVEL = 0.05
# All orders of up to this many layers are used. Seven layers have 5,040 orders.
_MOST_LAYERS_WITH_ALL_ORDERS = 7
_N_RANDOM_ORDERS = 999
# Sums in another order differ by rounding errors. Values that are lower by less than
# this share of the summed magnitudes are treated as equal, which makes p-values larger.
_TIE = 1e-12
# A spread of layer costs below this share of the costs is a rounding error.
_NO_SPREAD = 1e-10
# Products of qualities are fitted in alternating rounds, until no product changes by
# more than this share of the largest one.
_CONVERGED = 1e-10
_MOST_ROUNDS = 1000
# A warning is raised if more layer pairs than this are no more alike than by chance. In
# pure noise the expected share is .84.
_MOST_CLIPPED = 0.5
# The layer couplings of these strategies do not minimise the cost.
_UNINFORMATIVE_STRATEGIES = ("permuted", "uniform")


@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "depths": [tuple, list, None],
        # One permutation has no standard deviation.
        "n_permutations": [Interval(Integral, 2, None, closed="left")],
        "blocks": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"circular"}),
            None,
        ],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=False,
)
def hierarchy_test(
    estimator,
    X,
    y,
    *,
    depths=None,
    n_permutations=99,
    groups=None,
    blocks=None,
    random_state=None,
    n_jobs=None,
    callbacks=None,
):
    """Test whether the similarity of layers falls with their difference in depth.

    The layer costs of a fit are compared with those of fits to targets whose rows were
    permuted, and with the same costs after the layers were reordered. The p-value is
    the largest of four, so that neither the widths of the layers nor the quality of
    their recordings alone makes it small.

    Parameters
    ----------
    estimator : estimator
        Estimator that learns `layer_costs_`: a :class:`skmot.MultiLevelOT` with any
        inner estimator, also one without a map such as :class:`skmot.RSA`, or a
        :class:`skmot.MultiLevelOTRotation`. A Pipeline, a search or a
        :class:`skmot.preprocessing.TransformedTargetLayers` must end in one. It is
        cloned and fitted `n_permutations + 1` times.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same stimuli, each with two or more layers
        from first to last.
    depths : tuple or list of two array-like, default=None
        Relative depths of the source layers and of the target layers, from 0 to 1, with
        one depth for each layer. None means that layers are equally spaced from 0 to 1.
        Give them if layers or regions are not equally spaced, or not in order.
    n_permutations : int, default=99
        Number of fits to permuted targets, at least two.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row, if several rows repeat a stimulus. Whole groups of the
        same size are permuted. None uses the stimulus labels of X or y if some of them
        repeat, except with `blocks`.
    blocks : int, "circular" or None, default=None
        If rows are a time series: an int permutes blocks of this many consecutive rows,
        and "circular" shifts the rows circularly. Both are approximate.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the permutations of rows and of the orders of layers.
        Pass an int for reproducible output across multiple function calls.
    n_jobs : int, default=None
        Number of permutations to fit in parallel, see the `scikit-learn glossary
        <https://scikit-learn.org/stable/glossary.html#term-n_jobs>`__. Results do not
        depend on it.
    callbacks : callback or list of callbacks, default=None
        Callbacks of scikit-learn that follow the progress, one task for each fit:
        for instance :class:`sklearn.callback.ProgressBar`, which needs
        ``pip install 'skmot[progress]'``.

    Returns
    -------
    result : Result
        Dictionary-like object that prints its conclusion. ``result.to_frame()`` is a
        table with one row, ``to_frame("layers")`` has one row for each pair of layers,
        and ``to_frame("permutations")`` one for each null slope. The attributes are

        p_value : float
            Largest of the four p-values below.
        p_stimuli : float
            Share of row permutations, the observed order included, whose slope is at
            least `smoothed_slope`.
        p_layers, p_layers_centred : float
            Share of orders of the layers, the observed order included, that follow
            depth at least as closely: by the differences in depth, and by their
            double-centred form, to which the mean level of a layer does not contribute.
        p_layers_weighted : float
            The same with weights, so that pairs of layers that are no more alike than
            by chance contribute little.
        smallest_p : float
            Smallest `p_value` that these permutations and orders can give.
        slope : float
            Fall of the logarithm of the similarity above chance over the whole range of
            depth. Positive if layers of similar depth are more alike.
        `slope_` : float
            Same as `slope`, named like a learned attribute.
        smoothed_slope : float
            Slope of the given rows with the smoothed spread of Notes, with which
            `null_slopes` are compared. It differs from `slope` only if some pairs of
            layers are hardly more alike than by chance.
        null_slopes : ndarray of shape (n_permutations,)
            Slopes of the fits to permuted targets, with the smoothed spread of Notes.
        hierarchy, adjusted_hierarchy : float
            Hierarchy scores of the layer coupling with the same depths, see
            :func:`skmot.metrics.hierarchy_score`. They describe the coupling and take
            no part in the test. A `depth_prior` is left out, as it is out of the layer
            costs. NaN if the estimator learns no `coupling_`.
        clipped_share : float
            Share of the layer pairs that are no more alike than by chance, from 0 to 1:
            the cost is at most one standard deviation below its mean.
        movable_share : float
            Share of the rows that can change places, of (0, 1]. Groups of a size of
            their own stay where they are.
        layer_costs : ndarray of shape (n_source_layers, n_target_layers)
            Layer costs of the fit to the given rows.
        chance_costs, chance_sd : ndarray of shape (n_source_layers, n_target_layers)
            Mean m and standard deviation of the layer costs by chance, see Notes.
        log_dissimilarities : ndarray of shape (n_source_layers, n_target_layers)
            Values L of the given rows, see Notes. Their slope over `depth_distances` is
            tested.
        depth_distances : ndarray of shape (n_source_layers, n_target_layers)
            Difference in relative depth of each pair of layers.
        source_names, target_names : list
            Names of the layers, or their numbers, counted from 0, if they have no
            names.
        null_hypothesis : str
            Null hypothesis that a small p-value rejects.
        conclusion : str
            What the result shows, and what it does not show.

    Raises
    ------
    TypeError
        If the estimator learns no `layer_costs_`.
    ValueError
        If a side has a single layer, `depths` do not match the layers or leave no
        difference in depth to test, `groups` and `blocks` are both given, nothing can
        be permuted, or the cost of a pair of layers is the same in all fits to permuted
        targets.

    Warns
    -----
    UserWarning
        If `smallest_p` is above 0.05, so that no result can be significant: the side
        with more layers then has fewer than four, or there are fewer than 19
        permutations. Also if more than half of the layer pairs are no more alike than
        by chance, if some groups cannot move because no other group has their size, and
        if the layer coupling of the strategy does not describe the layer costs.
    Warning
        Each warning of the fits is raised once, with the number of times it occurred.

    See Also
    --------
    skmot.metrics.hierarchy_score : Describes how closely a layer coupling follows
        depth, without a test.
    permutation_control : Tests held-out scores against chance.
    compare : Fits and scores many pairs of networks.

    Notes
    -----
    C_0 are the layer costs, and C_b, b = 1..n, those of fits to targets with permuted
    rows. With the mean m over b = 0..n and the standard deviation sd over b = 1..n of
    each entry,

    ``L_b = -log max(m - C_b, sd)``.

    If the similarity above chance is a product ``a_l b_m s_lm`` of the quality of the
    recordings of both layers and of their relation, its logarithm is a sum. The
    difference in depth ``D_lm = |u_l - v_m|`` has the double-centred form ``Dc``, whose
    rows and columns sum to zero, so that the qualities do not contribute to the slope

    ``slope_b = sum_lm L_b[l, m] Dc[l, m] / sum_lm Dc[l, m]^2``.

    `p_stimuli` is (1 + #{slope_b >= slope_0}) / (1 + n). Its null hypothesis is that
    the rows of source and target are unrelated: costs depend on widths, whether or not
    rows are related. For this comparison, sd is smoothed: its logarithm is replaced by
    the sum of row means and column means, so that it has no slope. If the relation is
    strong, m is far below the costs C_b of all permuted fits, L_b is -log sd, and the
    slopes of sd would be those of an estimate from n fits.

    For `p_layers`, the rows of L_0 are the layers of the side with more layers (the
    source if both have the same number). For an order o of them,

    ``v(o) = sum_lm L_0[l, m] D[o_l, m]``,

    and likewise for `p_layers_centred` with Dc. The p-value is the share of the orders
    with v(o) at least as large as in the given order. All orders of up to seven layers
    are used, and 999 random orders otherwise, in addition to the given one.

    The logarithm of a product is a sum only where similarity is above chance: pairs of
    two noisy layers are limited by sd. If the middle layers have the best recordings,
    this can look like a hierarchy. For `p_layers_weighted`, products ``a_l b_m`` are
    therefore fitted to the similarities ``A = m - C_0`` by least squares with weights
    1 / sd^2, and L_0 and D are replaced by Dc and

    ``G_lm = (a_l b_m - A_lm) a_l b_m / sd_lm^2``,

    the derivative of the squared errors, whose rows and columns sum to zero.

    The p-value holds for exchangeable layers: under the null hypothesis, any of them
    could be at any depth. It does not hold if neighbouring layers of one network
    resemble each other for reasons of their own. For instance, two networks that
    re-weight the same signals smoothly over depth, in unrelated ways, are significant
    too often. The cure is more networks: take `slope_` of each pair of networks (of
    several seeds or subjects) as one number for each pair, and infer over networks.

    The test does not show that layers correspond one to one. Widths, and noise that
    grows or falls with depth, change the layer coupling and the hierarchy score, see
    :func:`skmot.metrics.hierarchy_score`.

    With `blocks` or "circular" shifts, `p_stimuli` is approximate: rows within a block
    of a permuted time series are as dependent as before, but their ends are not.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.model_selection import hierarchy_test
    >>> rng = np.random.default_rng(0)
    >>> signal, X, y = rng.normal(size=(100, 6)), [], []
    >>> for depth in range(5):
    ...     signal = 0.8 * signal + 0.6 * rng.normal(size=signal.shape)
    ...     X.append(signal @ rng.normal(size=(6, 10)))
    ...     y.append(signal @ rng.normal(size=(6, 12)))
    >>> result = hierarchy_test(
    ...     MultiLevelOT(), X, y, n_permutations=19, random_state=0
    ... )
    >>> result.p_stimuli, round(result.p_layers, 3), result.p_value
    (0.05, 0.017, 0.05)
    >>> print(result)  # doctest: +NORMALIZE_WHITESPACE
    Similarity falls with the difference in depth, beyond what the widths and the
    quality of the layers explain (slope 1.15, p = 0.05 for exchangeable layers). This
    does not show that layers correspond one to one.
    """
    if groups is not None and blocks is not None:
        raise ValueError(
            "`groups` and `blocks` are two ways to keep rows together: give one."
        )
    X, y, *_ = read_pair(X, y)
    if blocks is None:
        groups = repeated_groups(groups, X, y)
    codes = None if groups is None else read_groups(groups, len(X))
    permutations = row_permutations(np.arange(len(X)), codes, blocks)
    random = check_random_state(random_state)
    orders = permutations.sample(n_permutations, random)

    # Errors about the estimator and the layers are raised before the many fits.
    with function_task("hierarchy_test", callbacks, 1 + n_permutations) as task:
        ((_, (costs, coupling, strategy, names), first_log),) = run_in_order(
            _fit_layers,
            [(estimator, X, y, None)],
            n_jobs=None,
            in_threads=False,
            tasks=task.parts(["given rows"]),
        )
        distances = _read_depths(depths, costs.shape)
        centred = _centre_twice(distances)
        null_costs, log = _fit_permuted(estimator, X, y, orders, n_jobs, task)
    # repeat_warnings, hierarchy_test, scikit-learn's wrapper, the caller.
    repeat_warnings(first_log + log)

    all_costs = np.concatenate([costs[np.newaxis], null_costs])
    chance, spread = all_costs.mean(axis=0), null_costs.std(axis=0, ddof=1)
    _check_spread(spread, all_costs)
    above_chance = chance - all_costs
    logarithms = -np.log(np.maximum(above_chance[0], spread))
    slope = (logarithms * centred).sum() / (centred**2).sum()

    # Of a strong effect, all permuted fits are clipped.
    clipped = -np.log(np.maximum(above_chance, _smooth(spread)))
    slopes = (clipped * centred).sum(axis=(1, 2)) / (centred**2).sum()
    tie = _TIE * (np.abs(clipped[0] * centred).sum() / (centred**2).sum())
    n_as_steep = int(np.count_nonzero(slopes[1:] >= slopes[0] - tie))
    p_stimuli = (1 + n_as_steep) / (1 + n_permutations)
    layer_orders = _orders_of_layers(max(costs.shape), random)
    p_layers, smallest_layers = _order_p_value(logarithms, distances, layer_orders)
    p_centred, smallest_centred = _order_p_value(logarithms, centred, layer_orders)
    shortfalls = _weighted_shortfalls(above_chance[0], spread)
    p_weighted, _ = _order_p_value(shortfalls, centred, layer_orders)

    n_row_orders = min(permutations.n_distinct, n_permutations + 1)
    smallest_p = max(1 / n_row_orders, smallest_layers, smallest_centred)
    p_value = max(p_stimuli, p_layers, p_centred, p_weighted)
    clipped_share = float((above_chance[0] <= spread).mean())
    _warn_about_smallest(smallest_p, n_row_orders, n_permutations, costs.shape)
    _warn_about_result(clipped_share, permutations.movable_share, codes, strategy)
    slope = float(slope)
    return HierarchyResult(
        _conclude(p_value, smallest_p, slope),
        p_value=p_value,
        p_stimuli=p_stimuli,
        p_layers=p_layers,
        p_layers_centred=p_centred,
        p_layers_weighted=p_weighted,
        smallest_p=smallest_p,
        slope=slope,
        slope_=slope,
        smoothed_slope=float(slopes[0]),
        null_slopes=slopes[1:],
        hierarchy=_hierarchy(coupling, distances, adjusted=False),
        adjusted_hierarchy=_hierarchy(coupling, distances, adjusted=True),
        clipped_share=clipped_share,
        movable_share=float(permutations.movable_share),
        layer_costs=costs,
        chance_costs=chance,
        chance_sd=spread,
        log_dissimilarities=logarithms,
        depth_distances=distances,
        source_names=names[0],
        target_names=names[1],
        null_hypothesis=(
            f"{say_permuted(codes, blocks).capitalize()} of the source are unrelated "
            "to those of the target, or layers are related but exchangeable: any layer "
            "could be at any depth."
        ),
    )


class HierarchyResult(Result):
    """Result of a hierarchy test."""

    def _tables(self):
        return {
            **super()._tables(),
            "layers": lambda: pair_columns(
                self.source_names,
                self.target_names,
                layer_cost=self.layer_costs,
                chance_cost=self.chance_costs,
                chance_sd=self.chance_sd,
                log_dissimilarity=self.log_dissimilarities,
                depth_distance=self.depth_distances,
            ),
            "permutations": lambda: numbered_rows(
                "permutation", slope=self.null_slopes
            ),
        }


# -- fits ----------------------------------------------------------------------------


def _fit_layers(estimator, X, y, order):
    """Fit a clone to permuted rows of the target, or to the given ones.

    Returns
    -------
    layer_costs : ndarray of shape (n_source_layers, n_target_layers)
        Costs of all pairs of layers.
    coupling : ndarray of shape (n_source_layers, n_target_layers) or None
        Layer coupling without a depth prior, None if the estimator learns none.
    strategy : str or None
        Strategy of the final estimator, None if it has none.
    names : tuple of two lists
        Names of the source layers and of the target layers, or their numbers.
    """
    target = y if order is None else y[order]
    fitted, *_ = unwrap(clone(estimator).fit(X, target))
    costs = getattr(fitted, "layer_costs_", None)
    if costs is None:
        raise TypeError(
            f"{type(fitted).__name__} learned no `layer_costs_`: give a MultiLevelOT "
            "or MultiLevelOTRotation, or a Pipeline that ends in one."
        )
    costs = to_numpy(costs).astype(np.float64)
    if getattr(fitted, "depth_prior", 0):
        # The layer costs leave the prior out, and the hierarchy score should.
        fitted = clone(fitted).set_params(depth_prior=0.0)._fit_again(fitted)
    coupling = getattr(fitted, "coupling_", None)
    if coupling is not None:
        coupling = to_numpy(coupling)
    # An estimator of the user need not learn names.
    names = tuple(
        list(getattr(fitted, f"{side}_names_", None) or range(n_layers))
        for side, n_layers in zip(("source", "target"), costs.shape, strict=True)
    )
    return costs, coupling, getattr(fitted, "strategy", None), names


def _fit_permuted(estimator, X, y, orders, n_jobs, task):
    """Return the layer costs of fits to permuted targets, and their warnings."""
    # With labels, the fit would raise an error, because permuted stimuli do not match.
    target = y.with_stimuli(None)
    results = run_in_order(
        _fit_layers,
        ((estimator, X, target, order) for order in orders),
        n_jobs,
        in_threads=False,
        tasks=task.parts(f"permutation {number}" for number in range(len(orders))),
    )
    costs, log = [], []
    for _, (layer_costs, *_), fit_log in results:
        costs.append(layer_costs)
        # `read_pair` has warned if the row numbers of the given data differ.
        log += [entry for entry in fit_log if entry[0] is not RowNumberWarning]
    return np.array(costs), log


def _check_spread(spread, costs):
    """Raise an error if the cost of a pair of layers is the same in all null fits."""
    constant = spread <= _NO_SPREAD * np.abs(costs).max(axis=0)
    if constant.any():
        source, target = (int(index) for index in np.argwhere(constant)[0])
        raise ValueError(
            f"The cost of source layer {source} and target layer {target} is the same "
            f"({costs[-1, source, target]:.3g}) in all fits to permuted targets (their "
            "standard deviation is 0), so it cannot be compared with chance. The inner "
            "cost must depend on which rows belong together, and the rows that can "
            "move must differ."
        )


# -- depths and orders ---------------------------------------------------------------


def _read_depths(depths, shape):
    """Return the difference in depth of each pair of layers."""
    if min(shape) < 2:
        raise ValueError(
            f"`X` has {shape[0]} layer(s) and `y` has {shape[1]}: a fall of similarity "
            "with the difference in depth needs at least two layers on either side."
        )
    if depths is None:
        return depth_distances(*(relative_depths(n_layers) for n_layers in shape))
    if len(depths) != 2:
        raise ValueError(
            "`depths` must be two arrays, (source depths, target depths); got "
            f"{len(depths)}."
        )
    sides = []
    for given, side, n_layers in zip(depths, ("source", "target"), shape, strict=True):
        values = np.asarray(given, dtype=np.float64)
        if values.shape != (n_layers,):
            raise ValueError(
                f"`depths` of the {side} must be one depth for each of its {n_layers} "
                f"layers; got an array of shape {values.shape}."
            )
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"`depths` of the {side} must be from 0 (first) to 1 (last); got "
                f"{values}. Rescale them, for example (d - d.min()) / (d.max() - "
                "d.min())."
            )
        sides.append(values)
    distances = depth_distances(*sides)
    if np.allclose(_centre_twice(distances), 0, atol=_NO_SPREAD):
        raise ValueError(
            "`depths` leave no difference in depth to test: all layers of one side "
            "have the same depth, or all of them are deeper than all layers of the "
            f"other side. Got {sides[0]} and {sides[1]}."
        )
    return distances


def _centre_twice(distances):
    """Subtract row means and column means, so that rows and columns sum to zero."""
    by_row = distances.mean(axis=1, keepdims=True)
    return distances - by_row - distances.mean(axis=0) + distances.mean()


def _smooth(spread):
    """Return the spread as a product of one factor per row and one per column.

    If the effect is strong, all permuted fits are clipped at the spread. The slope of
    -log(spread), which is an estimate from few permutations, would then be the null
    slope. The double-centred slope of the logarithm of a product is zero.
    """
    logarithms = np.log(spread)
    return np.exp(logarithms - _centre_twice(logarithms))


def _orders_of_layers(n_layers, random):
    """Return orders of the layers, of which the first one is the given order."""
    if n_layers <= _MOST_LAYERS_WITH_ALL_ORDERS:
        return np.array(list(itertools.permutations(range(n_layers))))
    sampled = [random.permutation(n_layers) for _ in range(_N_RANDOM_ORDERS)]
    return np.array([np.arange(n_layers), *sampled])


def _order_p_value(dissimilarities, weights, orders):
    """Compute the share of orders of layers that follow depth as closely as given.

    Parameters
    ----------
    dissimilarities : ndarray of shape (n_source_layers, n_target_layers)
        Log-dissimilarities L_0, or weighted shortfalls of similarity.
    weights : ndarray of shape (n_source_layers, n_target_layers)
        Differences in depth, or their double-centred form.
    orders : ndarray of shape (n_orders, n_layers)
        Orders of the layers of the side with more layers, the given one first.

    Returns
    -------
    p_value : float
        Share of the orders.
    smallest : float
        Smallest share that any dissimilarities could give. It is larger than
        1 / n_orders if layers have the same depth, so that orders are the same.
    """
    if weights.shape[0] < weights.shape[1]:
        dissimilarities, weights = dissimilarities.T, weights.T
    # Entry [l, k] is what layer l contributes at the place of layer k.
    contributions = dissimilarities @ weights.T
    values = contributions[np.arange(len(weights)), orders].sum(axis=1)
    tie = _TIE * np.abs(dissimilarities * weights).sum()
    _, places = np.unique(weights.round(10), axis=0, return_inverse=True)
    places = places.ravel()
    return (
        float(np.mean(values >= values[0] - tie)),
        float(np.mean((places[orders] == places).all(axis=1))),
    )


def _weighted_shortfalls(similarities, spread):
    """Compute by how much pairs are less alike than the quality of both layers says.

    Parameters
    ----------
    similarities : ndarray of shape (n_source_layers, n_target_layers)
        Similarities above chance, A.
    spread : ndarray of shape (n_source_layers, n_target_layers)
        Standard deviation of the similarities by chance.

    Returns
    -------
    shortfalls : ndarray of shape (n_source_layers, n_target_layers)
        G of the Notes of `hierarchy_test`. Rows and columns sum to zero.
    """
    precision = (spread.min() / spread) ** 2
    source = np.linalg.svd(similarities / spread)[0][:, 0]
    fitted = np.zeros(similarities.shape)
    # Each round solves a least-squares problem for one side, so errors never grow.
    for _ in range(_MOST_ROUNDS):
        before = fitted
        target = (source @ (precision * similarities)) / (source**2 @ precision)
        if not target.any():
            break
        source = (precision * similarities) @ target / (precision @ target**2)
        fitted = np.outer(source, target)
        if np.abs(fitted - before).max() <= _CONVERGED * np.abs(fitted).max():
            break
    return (fitted - similarities) * fitted * precision


def _hierarchy(coupling, distances, adjusted):
    if coupling is None:
        return math.nan
    return score_weights(np.abs(coupling), distances, adjusted)


# -- what is said --------------------------------------------------------------------


def _warn_about_smallest(smallest_p, n_row_orders, n_permutations, shape):
    if smallest_p <= _USUAL_LEVEL:
        return
    if 1 / n_row_orders < smallest_p:
        reason = (
            f"{max(shape)} layers have too few orders (four layers or more on one "
            "side, at different depths, have enough)"
        )
    elif n_row_orders == n_permutations + 1:
        reason = "raise `n_permutations` to 19 or more"
    else:
        reason = f"only {n_row_orders} permutations of the rows are distinct"
    warnings.warn(
        f"The p-value of hierarchy_test cannot be below {smallest_p:.3g}: {reason}.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )


def _warn_about_result(clipped_share, movable_share, codes, strategy):
    if clipped_share > _MOST_CLIPPED:
        warnings.warn(
            f"{clipped_share:.0%} of the layer pairs are no more alike than by chance "
            "(84 % are expected in pure noise). Their dissimilarity is set to the "
            "level of chance, so the slope tends to be too small, and the test has "
            "little power.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    if codes is not None and movable_share < 1:
        warnings.warn(
            f"Only {movable_share:.0%} of the rows can move: a group changes places "
            "with groups of its size, and some sizes occur once. The costs by chance "
            "keep a part of the effect: the test has less power. Average the rows of "
            "each group first, or give every group as many rows.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    if strategy in _UNINFORMATIVE_STRATEGIES:
        warnings.warn(
            f"The layer coupling of strategy={strategy!r} does not describe the layer "
            "costs, so `hierarchy` and `adjusted_hierarchy` say nothing about depth. "
            "The test reads the layer costs, which do not depend on the strategy.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _conclude(p_value, smallest_p, slope):
    numbers = f"slope {slope:.2f}, p = {p_value:.2g} for exchangeable layers"
    no_matching = "does not show that layers correspond one to one"
    if smallest_p > _USUAL_LEVEL:
        return (
            f"Nothing is shown about depth, because p cannot be below {smallest_p:.2g} "
            f"with these layers and permutations ({numbers}). The test {no_matching}."
        )
    if p_value <= _USUAL_LEVEL:
        return (
            "Similarity falls with the difference in depth, beyond what the widths and "
            f"the quality of the layers explain ({numbers}). This {no_matching}."
        )
    return (
        "No fall of similarity with the difference in depth was found beyond what the "
        f"widths and the quality of the layers explain ({numbers}). This does not show "
        "that there is none, and a fall would not show that layers correspond one to "
        "one."
    )
