"""Scorers for the parameter `scoring` of scikit-learn, also for Pipelines."""

from skmot._scores import unwrap


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
    return estimator.inverse_score(X, y)


def negative_cost(estimator, X, y=None):
    """Return minus the cost of a fitted estimator, so that higher is more alike.

    The cost is that of the training stimuli. Fewer stimuli or more units decrease it,
    even if the populations are not more alike.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted estimator with the attribute `cost_`.
    X, y : ignored
        Not used, present for consistency with other scorers.

    Returns
    -------
    score : float
        ``-cost_``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import SoftMatching
    >>> from skmot.metrics import negative_cost
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> round(negative_cost(SoftMatching().fit(X, X), X, X), 3) == 0
    True
    """
    return -unwrap(estimator)[0].cost_
