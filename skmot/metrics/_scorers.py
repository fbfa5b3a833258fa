"""Scorers: what `scoring=` takes, each the same for a Pipeline as for its last step."""

from sklearn.pipeline import Pipeline


def target_score(estimator, X, y):
    """Score how well a fitted estimator reconstructs the target from the source.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted, with `score`.
    X, y : LayerStack or anything that reads as one
        Held-out source and target.

    Returns
    -------
    score : float
        Mean over target layers of the mean correlation over units, from -1 to 1.

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

    The direction in which the second paper reports its numbers.

    Parameters
    ----------
    estimator : estimator, Pipeline or search
        Fitted, with `inverse_score`; of a search its best estimator. A Pipeline's
        earlier steps are applied to `X`, and its last one scores: what is reconstructed
        is the transformed source.
    X, y : LayerStack or anything that reads as one
        Held-out source and target.

    Returns
    -------
    score : float
        Mean over source layers of the mean correlation over units, from -1 to 1.

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
    X, estimator = _last_step(estimator, X)
    return estimator.inverse_score(X, y)


def negative_cost(estimator, X, y=None):
    """Return minus the cost of a fitted estimator, so that higher is more alike.

    The cost is that of the fit, on its training stimuli: `X` and `y` are not looked at,
    and in sample more units or fewer stimuli lower it by themselves.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted, with `cost_`.
    X, y : ignored
        There because scorers take them.

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
    return -_last_step(estimator)[1].cost_


def _last_step(estimator, X=None):
    """Return the estimator that a Pipeline or a search ends in, and X as it sees it."""
    while isinstance(estimator, Pipeline) or hasattr(estimator, "best_estimator_"):
        if isinstance(estimator, Pipeline):
            if X is not None and len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        else:
            estimator = estimator.best_estimator_
    return X, estimator
