"""TemplateMOT: a common network of many networks."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skmot._units import (
    read_statistics,
    tuning_curves,
    unit_statistics,
    warn_about_dead_units,
    without_dead_units,
)
from skmot._utils.array_api import check_numpy, to_numpy
from skmot._utils.methods import LayersAsOutput
from skmot._utils.progress import fit_task
from skmot._utils.sklearn import HasMethods, Interval, StrOptions, fit_context
from skmot._utils.state import PlainState
from skmot._utils.warnings import (
    recorded_warnings,
    repeat_warnings,
    stacklevel_of_caller,
)
from skmot.base import apply_map
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer
from skmot.layers.networks import networks_of, select_networks
from skmot.layers.sides import check_later_side, read_side, seen_by_sklearn
from skmot.layers.splits import make_splits, read_groups
from skmot.layers.stack import Leaf, device_of_layers
from skmot.multilevel.estimators import LayerCoupler, MultiLevelOT
from skmot.pairs import SoftMatching

# A layer is pooled for all template layers that it shares at least this fraction of the
# shorter of their depth intervals with. Less is the rounding of unequal depths.
_LEAST_OVERLAP = 0.25
# A cost, about 1 for unrelated units, that is larger by at most this has not risen.
_ROUNDING = 1e-6
# Iterations of k-means, whose centres are only a start.
_KMEANS_ITERATIONS = 20


class TemplateMOT(
    PlainState,
    CallbackSupportMixin,
    LayersAsOutput,
    # Layers are returned, not a DataFrame.
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,
):
    """A common network (template) of many networks, by multi-level optimal transport.

    The template is a network of layers of tuning curves over the same stimuli. Two
    steps alternate: each network is matched to the template by
    :class:`~skmot.MultiLevelOT`, and each tuning curve of the template becomes the
    average of the units that are matched to it, in all networks alike. This is the
    free-support barycenter of [1]_ with layers above the units.

    The template is a summary: it says which units and layers recur. It is not the best
    predictor of a network, see Notes.

    Parameters
    ----------
    n_layers : int, default=None
        Number of layers of the template. None uses the median depth of the networks.
    n_units : int, default=None
        Number of units of each layer of the template. None uses the median width of all
        layers, without constant units.
    inner : estimator, default=None
        Inner estimator of the :class:`~skmot.MultiLevelOT` between a network and the
        template, which must be able to predict. None uses `SoftMatching()`. A
        `MultiLevelOT` or `MultiLevelOTRotation` is itself cloned and fitted to each
        network: ``MultiLevelOT(n_jobs=2, strategy="uniform")``.
    init : "kmeans" or int, default="kmeans"
        First template. "kmeans": the units of all networks are pooled by relative
        depth, and each pool is clustered into `n_units` centres. An integer is the
        index of the network that is the first template. Use it if the layers have no
        order of depth, which "kmeans" relies on, such as brain regions that are listed
        in another order in each subject.
    max_iter : int, default=10
        Largest number of rounds. In each round all networks are matched.
    tol : float, default=1e-4
        The rounds end when the mean cost falls by at most this fraction.
    random_state : int, RandomState instance or None, default=None
        Controls the k-means clustering. Pass an int for reproducible output across
        multiple function calls.

    Attributes
    ----------
    template_ : LayerStack of shape (n_stimuli, n_template_units)
        Tuning curves of the template over the training stimuli. Each has mean 0 and
        variance 1. For "sqeuclidean" the variances of a layer have mean 1, and for
        "cosine" each has mean square 1 and is not centred.
    mots_ : list of MultiLevelOT
        Fit of each network (source) to `template_` (target).
    costs_ : ndarray of shape (`n_iter_`,)
        Mean `cost_` of the networks in each round. `template_` and `mots_` are those of
        the round of least cost.
    n_iter_ : int
        Number of rounds.
    network_names_ : tuple or None
        Names of the networks, or None if they have no names.
    dead_source_units_ : list of list of ndarray of int
        Indices of the units in each layer of each network that are constant over the
        training stimuli. They take no part.
    n_features_in_ : int
        Number of units of all networks.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the units. Defined only if `X` is a single DataFrame with string
        columns.

    See Also
    --------
    MultiLevelOT : Matches two networks.
    skmot.inspection.rosetta_units : Units that recur in all networks.
    skmot.metrics.pairwise_costs : Costs of all pairs of networks, without a template.

    Notes
    -----
    With layer couplings P_k and unit plans Q_k of network k, the cost is the mean over
    networks of sum_lm P_lm sum_ij Q_ij d(x_li, t_mj). Given the plans, the tuning
    curves of least cost are

    .. code-block:: text

        t_mj  ~  sum_k sum_l P_lm sum_i Q_ij x_li

    where x_li is the unit as the metric compares it: centred and scaled to norm 1 for
    "correlation", scaled to norm 1 for "cosine", and for "sqeuclidean" centred and
    divided by one number a layer. t is then scaled in the same way. If units have equal
    weights, both steps lower the cost or leave it as it is, with every metric of
    `SoftMatching` ("sqeuclidean" with `mass=1` only), without `cost_cv`, and with the
    strategies "transport", "pairwise_best" and "uniform": `costs_` never rises by more
    than rounding errors. `reconstruct` only affects the
    predictions of `mots_`. With other inner estimators, the template is the average of
    their predictions, scaled to variance 1. The cost can then rise, which ends the
    rounds, and the best one is kept.

    The result is a local optimum that depends on `init`. The networks must share
    stimuli, but not units, widths or depth.

    On simulated cortex and on digit networks, the average of the other networks'
    predictions, and a ridge regression from all of them, predict a network better than
    the template does. :doc:`/guide/template` has the numbers.

    References
    ----------
    .. [1] M. Cuturi, A. Doucet. Fast computation of Wasserstein barycenters. ICML,
       PMLR 32, 2014, algorithm 2.

    Examples
    --------
    Three networks have the same units in another order, with noise:

    >>> import numpy as np
    >>> from skmot import TemplateMOT
    >>> rng = np.random.default_rng(0)
    >>> units = [rng.normal(size=(100, 6)) for _ in range(2)]
    >>> networks = {
    ...     name: [
    ...         layer[:, rng.permutation(6)] + 0.5 * rng.normal(size=(100, 6))
    ...         for layer in units
    ...     ]
    ...     for name in ("a", "b", "c")
    ... }
    >>> template = TemplateMOT(random_state=0).fit(networks)
    >>> template.template_
    LayerStack(100 stimuli, 2 layers: 0 (6 units), 1 (6 units))
    >>> template.mots_[0].coupling_
    array([[0.5, 0. ],
           [0. , 0.5]])
    >>> template.leave_one_out_scores(networks).round(1)
    array([0.8, 0.8, 0.8])
    """

    _parameter_constraints = {
        "n_layers": [Interval(Integral, 1, None, closed="left"), None],
        "n_units": [Interval(Integral, 1, None, closed="left"), None],
        "inner": [HasMethods(["fit"]), None],
        "init": [StrOptions({"kmeans"}), Interval(Integral, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_layers=None,
        n_units=None,
        inner=None,
        init="kmeans",
        max_iter=10,
        tol=1e-4,
        random_state=None,
    ):
        self.n_layers = n_layers
        self.n_units = n_units
        self.inner = inner
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    # -- fitting -------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the template to networks.

        Parameters
        ----------
        X : LayerStack, list, dict or array-like
            Networks over the same stimuli: a list or dict of networks, or a stack of
            stacks. Each network is a LayerStack, list or dict of layers, or an array,
            which is a network of one layer. A single array is one such network. A flat
            list of arrays is therefore a list of networks, not of the layers of one.
        y : None
            Ignored.

        Returns
        -------
        self : TemplateMOT
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If the input is not numeric, finite and two-dimensional, the stimuli of
            networks differ, there are fewer than two, all units of a layer are
            constant, a layer of a network has layers itself, `n_units` exceeds the
            number of units in a pool, `init` is no index of a network or does not agree
            with `n_layers` or `n_units`, or the inner estimator cannot predict.

        Warns
        -----
        DeadUnitWarning
            If some units are constant. Raised once per fit.
        ConvergenceWarning
            If the cost still falls by more than `tol` in round `max_iter`, or if an
            inner estimator did not converge.
        """
        stack, layout = read_side(X, "X", allow_vector=False)
        validate_data(self, seen_by_sklearn(X, stack, layout), skip_check_array=True)
        check_numpy(device_of_layers(stack), type(self).__name__)
        networks = networks_of(stack, "X")
        mot = self._unfitted_mot()
        self._layout, self.network_names_ = layout, stack.names
        log = []
        with fit_task(self, self.max_iter * len(networks), X=X, y=y) as task:
            template = self._first_template(networks, _metric_of(mot))
            is_converged = self._alternate(networks, template, mot, task, log)
        repeat_warnings(without_dead_units(log))
        warn_about_dead_units(
            self.dead_source_units_,
            [network.where for network in networks],
            layouts=[fitted._source_layout for fitted in self.mots_],
        )
        if self.costs_[:2].max() > self.costs_[0] + _ROUNDING:
            warnings.warn(
                "The average of the networks has a higher cost than the first template "
                "that `init` chose. `template_` is the better of both, and may not "
                "summarise the networks.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
        if not is_converged:
            warnings.warn(
                f"The template did not converge in {self.max_iter} round(s): the cost "
                f"still falls by more than {self.tol:g} of itself. Raise `max_iter`, "
                "or `tol` if this is close enough.",
                ConvergenceWarning,
                stacklevel=stacklevel_of_caller(),
            )
        return self

    def _unfitted_mot(self):
        """Return the estimator that is cloned and fitted to each network."""
        mot = self.inner
        if not isinstance(mot, LayerCoupler):
            mot = MultiLevelOT(self.inner)
        reason = mot._why_no_map("predict")
        if reason is not None:
            raise TypeError(
                f"{reason} A template needs an inner estimator that predicts, such as "
                "SoftMatching."
            )
        return mot

    def _first_template(self, networks, metric):
        """Return the layers of the template of the first round."""
        # All layers are checked here, where their networks have names.
        leaves = [list(network.stack.leaves(network.where)) for network in networks]
        statistics = [[read_statistics([leaf]) for leaf in part] for part in leaves]

        def curves(network):
            return [
                _scaled_units(*pair, metric)
                for pair in zip(leaves[network], statistics[network], strict=True)
            ]

        if isinstance(self.init, Integral):
            self._check_first_network(statistics)
            return curves(self.init)
        n_layers, n_units = self.n_layers, self.n_units
        if n_layers is None:
            n_layers = int(np.median([len(part) for part in statistics]))
        if n_units is None:
            n_units = int(np.median([s.n_live for part in statistics for s in part]))
        pools = pool_by_depth([curves(i) for i in range(len(networks))], n_layers)
        random = check_random_state(self.random_state)
        layers = []
        for index, pool in enumerate(pools):
            if n_units > pool.shape[1]:
                raise ValueError(
                    f"n_units={n_units} exceeds the {pool.shape[1]} unit(s) of all "
                    f"networks at the depth of template layer {index}: use at most "
                    "that many, or fewer layers."
                )
            layers.append(_cluster_units(pool, n_units, metric, random))
        return layers

    def _check_first_network(self, statistics):
        if self.init >= len(statistics):
            raise ValueError(
                f"init={self.init} is no index of a network: X has {len(statistics)} "
                "network(s)."
            )
        widths = [layer.n_live for layer in statistics[self.init]]
        if self.n_layers not in (None, len(widths)):
            raise ValueError(
                f"n_layers={self.n_layers}, but network {self.init}, which `init` "
                f"names, has {len(widths)} layer(s). Leave `n_layers` out."
            )
        if self.n_units is not None and set(widths) != {self.n_units}:
            raise ValueError(
                f"n_units={self.n_units}, but the layers of network {self.init}, which "
                f"`init` names, have {widths} live units. Leave `n_units` out."
            )

    def _alternate(self, networks, layers, mot, task, log):
        """Match and average in turn, and set the fitted attributes.

        Parameters
        ----------
        networks : list of Network
            The networks.
        layers : list of ndarray of shape (n_stimuli, n_units)
            First template.
        mot : LayerCoupler
            Unfitted estimator of a network and the template.
        task : Task
            Task of the fit, for callbacks.
        log : list
            List that warnings of the fits are added to.

        Returns
        -------
        is_converged : bool
            Whether the cost fell by at most `tol` of itself in the last round.
        """
        costs, is_converged = [], False
        for index in range(self.max_iter):
            template = LayerStack(layers, stimuli=networks[0].stack.stimuli)
            template._row_numbers = networks[0].stack._row_numbers
            mots = []
            for network in networks:
                fitted = clone(mot)
                name = f"round {index}: {network.where}"
                with (
                    task.new_part(name).passed_on_to(fitted),
                    recorded_warnings(log, name),
                ):
                    mots.append(fitted.fit(network.stack, template))
            costs.append(float(np.mean([fitted.cost_ for fitted in mots])))
            if costs[-1] == min(costs):
                self.template_, self.mots_ = template, mots
            if index > 0 and costs[-2] - costs[-1] <= self.tol * costs[-2]:
                is_converged = True
                break
            if index + 1 < self.max_iter:
                averages = _average_curves(mots, [n.stack for n in networks])
                layers = [
                    _renewed(*pair, _metric_of(mot))
                    for pair in zip(averages, layers, strict=True)
                ]
        self.costs_, self.n_iter_ = np.array(costs), len(costs)
        self.dead_source_units_ = [fitted.dead_source_units_ for fitted in self.mots_]
        return is_converged

    # -- the template at other stimuli ---------------------------------------------

    def transform(self, X):
        """Estimate the tuning curves of the template at other stimuli.

        Each network's units are averaged by its plans of the fit, and these averages
        are averaged over the networks given.

        Parameters
        ----------
        X : LayerStack, list, dict or array-like
            The networks of `fit`. If they have names, some of them are enough.

        Returns
        -------
        curves : LayerStack of shape (n_stimuli, n_template_units)
            Layers of the template at these stimuli. An array if `X` is one. Units are
            scaled by their training statistics. The variance of a curve is below that
            in `template_`, in so far as the units that are averaged differ.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the networks differ from those in `fit`, or are not finite.
        """
        check_is_fitted(self)
        stack, layout, indices = self._read_fitted(X)
        networks = [network.stack for network in networks_of(stack, "X")]
        layers = _average_curves([self.mots_[index] for index in indices], networks)
        if layout.is_single_array:
            return layers[0]
        curves = LayerStack(layers, stimuli=stack.stimuli)
        curves._row_numbers = stack._row_numbers
        return curves

    def _curves(self, index, stack):
        """Yield the layers of the template, estimated from one network of the fit."""
        yield from template_curves(self.mots_[index], stack)

    def _read_fitted(self, X):
        """Read networks of the fit, and return which of them are given.

        Returns
        -------
        stack : LayerStack
            The networks.
        layout : Layout
            Their layout.
        indices : sequence of int
            Index of each network among those of the fit.
        """
        names = self.network_names_
        if names is not None:
            stack, layout = read_side(X, "X", allow_vector=False)
            given = stack.names
            if given is not None and set(given) < set(names):
                indices = [names.index(name) for name in given]
                for index, part in zip(indices, networks_of(stack, "X"), strict=True):
                    _check_network(self.mots_[index], part)
                return stack, layout, indices
        stack, layout = check_later_side(self, X, self._layout)
        return stack, layout, range(stack.n_layers)

    # -- scoring -------------------------------------------------------------------

    def leave_one_out_scores(self, X, X_test=None, cv=None):
        """Score the reconstruction of each network from a template of the others.

        For each network, a clone of this estimator is fitted to the other networks, and
        the network is matched to that template on the training stimuli. On held-out
        stimuli, the other networks give the curves of the template, and the curves
        reconstruct the network's units. The network that is scored takes part in
        neither template nor curves. The estimator itself need not be fitted.

        Parameters
        ----------
        X : LayerStack, list, dict or array-like
            Networks as in :meth:`fit`, at least two. All stimuli are used, for training
            and, in other folds, for scores, unless `X_test` is given.
        X_test : LayerStack, list, dict or array-like, default=None
            The same networks over held-out stimuli. `X` is then used for training only.
        cv : int, cross-validation splitter or iterable, default=None
            Splits of the stimuli in `X`, as `cv` in scikit-learn, if `X_test` is None.
            None means five folds. Rows with equal labels stay together.

        Returns
        -------
        scores : ndarray of shape (n_networks,)
            Correlation of recorded and reconstructed responses, from -1 to 1: the mean
            over units, layers and folds, as in
            :meth:`MultiLevelOT.inverse_score <skmot.MultiLevelOT.inverse_score>`.

        Raises
        ------
        ValueError
            If there are fewer than two networks, both `X_test` and `cv` are given, the
            networks in `X_test` differ from those in `X`, or a fit fails.
        AttributeError
            If the inner estimator has no `inverse_predict`.

        Warns
        -----
        LeakWarning
            If labels say that some of the held-out stimuli were trained on, but not if
            just the training stimuli are scored.

        Notes
        -----
        If `init` is the index of the network that is left out, the template starts from
        the first of the others.
        """
        stack, layout = read_side(X, "X", allow_vector=False)
        n_networks = stack.n_layers
        if n_networks < 2:
            raise ValueError(
                f"leave_one_out_scores needs at least two networks; got {n_networks}."
            )
        if X_test is not None:
            if cv is not None:
                raise ValueError("Give `X_test` or `cv`, not both.")
            test, _ = read_side(X_test, "X_test", allow_vector=False)
            layout.check(test, self)
            folds = [(stack, test)]
        else:
            labels = stack.stimuli
            groups = None
            if labels is not None and len(set(labels.tolist())) < len(labels):
                groups = read_groups(labels, len(stack))
            splits = make_splits(5 if cv is None else cv, len(stack), groups, labels)
            folds = [(stack[train], stack[held_out]) for train, held_out in splits]
        log, scores = [], np.zeros(n_networks)
        for train, held_out in folds:
            for index in range(n_networks):
                with recorded_warnings(log, f"without network {index}"):
                    scores[index] += self._score_without(index, train, held_out)
        # The stack: repeat_warnings, this method, the caller.
        repeat_warnings(log)
        return scores / len(folds)

    def _score_without(self, index, train, held_out):
        """Score one network by a template of the others."""
        others = [other for other in range(train.n_layers) if other != index]
        template = clone(self)
        if isinstance(self.init, Integral) and self.init >= index:
            template.init = 0 if self.init == index else self.init - 1
        template.fit(select_networks(train, others))
        mot = clone(self._unfitted_mot())
        own_train, own_test = (networks_of(s, "X")[index] for s in (train, held_out))
        mot.fit(own_train.stack, template.template_)
        curves = template.transform(select_networks(held_out, others))
        return mot.inverse_score(own_test.stack, curves)


# -- tuning curves -----------------------------------------------------------------


def template_curves(mot, stack):
    """Yield the layers of the template, estimated from the units of one network.

    Parameters
    ----------
    mot : LayerCoupler
        Estimator that is fitted to the network and the template.
    stack : LayerStack
        Layers of the network, at any stimuli.

    Yields
    ------
    curves : ndarray of shape (n_stimuli, n_units)
        Weighted averages of the units that are matched to each unit of the template.
    """
    if not isinstance(mot.inner_[0][0], SoftMatching):
        yield from mot.predict(stack).layers
        return
    metric = _metric_of(mot)
    units = [
        _scaled_units(leaf, row[0]._source_statistics, metric)
        for leaf, row in zip(mot._source_layout.leaves(stack), mot.inner_, strict=True)
    ]
    weights = mot.coupling_.shape[1] * to_numpy(mot.coupling_)
    for column in range(weights.shape[1]):
        total = 0.0
        for row in np.flatnonzero(weights[:, column]):
            mapping = mot.inner_[row][column]._maps[0]
            # With `reconstruct="raw"`, the weights are within another map.
            mapping = getattr(mapping, "plan_map", mapping)
            total = total + float(weights[row, column]) * apply_map(mapping, units[row])
        yield total


def _average_curves(mots, stacks):
    """Return the average over networks of `template_curves`, one array per layer."""
    totals = None
    for mot, stack in zip(mots, stacks, strict=True):
        parts = template_curves(mot, stack)
        if totals is None:
            totals = list(parts)
        else:
            totals = [a + b for a, b in zip(totals, parts, strict=True)]
    return [total / len(mots) for total in totals]


def _metric_of(mot):
    """Return the metric that tuning curves are scaled for."""
    inner = mot._inner_estimator()
    return inner._curves_metric if isinstance(inner, SoftMatching) else "correlation"


def _scaled_units(leaf, statistics, metric):
    """Return the live units of a layer, scaled for a metric, with mean square 1."""
    layer = check_layer(leaf.layer, leaf.where)
    curves = tuning_curves(layer, statistics, metric)
    return curves.vectors * float(np.sqrt(layer.shape[0]))


def _renewed(average, former, metric):
    """Scale the averages of matched units to a layer of the template.

    A unit whose matched units cancel, or that no unit is matched to, stays as it was:
    every curve has the same cost then.
    """
    statistics = unit_statistics(average)
    smallest = np.sqrt(np.finfo(average.dtype).eps)
    lost = statistics.deviation <= smallest
    if lost.any():
        average = np.where(lost, former, average)
        statistics = unit_statistics(average)
    return _scaled_units(Leaf(average, "template", 0, 1.0), statistics, metric)


# -- the first template ------------------------------------------------------------


def pool_by_depth(networks, n_layers):
    """Pool the units of all networks by the relative depth of their layers.

    Layer l of L covers the depths from l / L to (l + 1) / L.

    Parameters
    ----------
    networks : list of list of ndarray of shape (n_stimuli, n_units)
        Layers of each network.
    n_layers : int
        Number of pools, which divide the depth into equal parts.

    Returns
    -------
    pools : list of ndarray of shape (n_stimuli, n_pooled_units)
        Units of all layers that cover enough of each part. A layer can be in several.
    """
    pools = [[] for _ in range(n_layers)]
    for layers in networks:
        height = n_layers / len(layers)
        for index, layer in enumerate(layers):
            start, end = index * height, (index + 1) * height
            for part, pool in enumerate(pools):
                overlap = min(end, part + 1) - max(start, part)
                if overlap > _LEAST_OVERLAP * min(1, height):
                    pool.append(layer)
    return [np.concatenate(pool, axis=1) for pool in pools]


def _cluster_units(pool, n_units, metric, random):
    """Return the centres of clusters of tuning curves as a layer of the template."""
    kmeans = KMeans(
        n_units,
        n_init=1,
        max_iter=_KMEANS_ITERATIONS,
        random_state=random.randint(np.iinfo(np.int32).max),
    )
    with warnings.catch_warnings():
        # Equal units make fewer distinct clusters, which are equal units again.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(pool.T)
    members = [np.flatnonzero(kmeans.labels_ == label) for label in range(n_units)]
    # A centre can be constant, of a unit and its negative. Any member is a start then.
    former = pool[:, [units[0] if len(units) else 0 for units in members]]
    return _renewed(kmeans.cluster_centers_.T, former, metric)


def _check_network(mot, network):
    """Raise an error unless a network has the layers of the fit."""
    try:
        mot._source_layout.check(network.stack, mot)
        mot._source_layout.check_unit_names(network.stack, mot)
    except ValueError as error:
        raise ValueError(f"{error} (found in {network.where})") from error
