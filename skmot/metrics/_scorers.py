"""Scorers for the parameter `scoring` of scikit-learn, also for Pipelines."""

import numpy as np

from skmot._scores import check_is_estimator, unwrap
from skmot._units import constant_units
from skmot.layers.checks import check_layer
from skmot.layers.sides import read_pair, read_side


def target_score(estimator, X, y):
    """Score how well a fitted estimator reconstructs the target from the source.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted estimator with the method `score`.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Held-out source and target layers.

    Returns
    -------
    score : float
        Correlation averaged over the units of each target layer and then over layers,
        from -1 to 1.

    Notes
    -----
    This is what `scoring=None` uses. Names of scikit-learn's own scorers, such as
    `scoring="r2"`, work as well, but measure something else: they are computed from the
    units of all layers side by side, so that wide layers count more than narrow ones,
    and R^2 also falls if predictions have another scale or mean than the responses. For
    the sentence encoders of :func:`skmot.datasets.load_sentence_encoders`, three folds
    and :class:`skmot.MultiLevelOT`, R^2 was .18 where the mean correlation was .58.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from skmot import SoftMatching
    >>> from skmot.metrics import target_score
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> cross_val_score(SoftMatching(), X, X[:, ::-1], scoring=target_score, cv=3)
    array([1., 1., 1.])
    """
    check_is_estimator(estimator)
    return estimator.score(X, y)


def source_score(estimator, X, y):
    """Score how well a fitted estimator reconstructs the source from the target.

    The second paper reports its results in this direction.

    Parameters
    ----------
    estimator : estimator, Pipeline or search
        Fitted estimator with the method `inverse_score`. For a search, its best
        estimator is scored. For a Pipeline, the earlier steps transform `X`, and the
        last step scores the reconstruction of the transformed source.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Held-out source and target layers.

    Returns
    -------
    score : float
        Correlation averaged over the units of each source layer and then over layers,
        from -1 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from skmot import SoftMatching
    >>> from skmot.metrics import source_score
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> cross_val_score(SoftMatching(), X, X[:, ::-1], scoring=source_score, cv=3)
    array([1., 1., 1.])
    """
    estimator, X, y = unwrap(estimator, X, y)
    check_is_estimator(estimator)
    return estimator.inverse_score(X, y)


def negative_cost(estimator, X, y):
    """Return minus the cost of a fitted estimator on the rows given.

    The cost is `held_out_cost(X, y)`: the plans of the fit, read on these stimuli. It
    compares what differs in the coupling alone: strategies and couplings above the SAME
    inner estimator with the same settings. It must not choose `mass`, `metric` or the
    kind of inner estimator. Costs of different metrics have different units, and a
    smaller `mass` always costs less a unit of mass: where every unit has a counterpart
    a search by this score would still leave most of them out.

    Parameters
    ----------
    estimator : estimator, Pipeline or search
        Fitted, with `held_out_cost`; of a search its best estimator. A Pipeline's
        earlier steps are applied to `X`.
    X, y : LayerStack or anything that reads as one
        Held-out source and target.

    Returns
    -------
    score : float
        ``-held_out_cost(X, y)``.

    Raises
    ------
    TypeError
        If the estimator has no `held_out_cost`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from skmot import SoftMatching
    >>> from skmot.metrics import negative_cost
    >>> X, y = np.random.default_rng(0).normal(size=(2, 90, 20))
    >>> in_sample = -SoftMatching().fit(X, y).cost_
    >>> held_out = cross_val_score(SoftMatching(), X, y, scoring=negative_cost, cv=3)
    >>> round(in_sample, 1), round(float(held_out.mean()), 1)  # independent noise
    (-0.8, -1.0)
    """
    estimator, X, y = unwrap(estimator, X, y)
    check_is_estimator(estimator)
    if not hasattr(estimator, "held_out_cost"):
        raise TypeError(
            f"{type(estimator).__name__} has no `held_out_cost(X, y)`: its cost cannot "
            "be read on held-out stimuli."
        )
    return -estimator.held_out_cost(X, y)


def scored_units(estimator, X, y):
    """Return the number of target units that `target_score` is a mean of.

    A search over the selection of target units compares scores of different units. The
    score rises if badly predicted units are left out, so the search favours few units.
    Use this function as a second scorer, to report on how many units each score rests.

    Parameters
    ----------
    estimator : estimator, Pipeline or search
        Fitted estimator. A TransformedTargetLayers within it transforms `y`.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Held-out source and target layers.

    Returns
    -------
    n_units : int
        Number of units of all target layers, as the estimator scores them, that are not
        constant over the given stimuli.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skmot import LayerStack, LinearPredictivity
    >>> from skmot.metrics import scored_units, target_score
    >>> from skmot.preprocessing import ReliabilitySelector, TransformedTargetLayers
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.normal(size=(50, 20))
    >>> noise = rng.normal(size=(4, 50, 20)) * np.linspace(0.5, 8, 20)
    >>> trials = (signal + noise).reshape(200, 20)
    >>> y = LayerStack.from_trials({"V1": trials}, np.tile(np.arange(50), 4))
    >>> ridge = LinearPredictivity(random_state=0)
    >>> search = GridSearchCV(
    ...     TransformedTargetLayers(ridge, ReliabilitySelector(random_state=0)),
    ...     {"transformer__threshold": [0.1, 0.5, 0.8]},
    ...     scoring={"score": target_score, "units": scored_units},
    ...     refit="score",
    ...     cv=3,
    ... ).fit(LayerStack({"model": signal}), y)
    >>> search.cv_results_["mean_test_score"].round(2)
    array([0.37, 0.64, 0.83])
    >>> search.cv_results_["mean_test_units"].round()
    array([14.,  6.,  2.])
    """
    check_is_estimator(estimator)
    read_pair(X, y)
    _, _, y = unwrap(estimator, None, y)
    stack, layout = read_side(y, "y")
    layers = (
        check_layer(leaf.layer, leaf.where, accept_sparse=True)
        for leaf in layout.leaves(stack)
    )
    return sum(int(np.count_nonzero(~constant_units(layer))) for layer in layers)
