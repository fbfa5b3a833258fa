"""How much the scores of several splits depend on each other.

Two splits of a cross-validation can train on each other's held-out rows, or share rows.
Under the null hypothesis of unrelated rows, their scores are then correlated, and the
mean over splits varies more than a mean of independent scores.
:func:`split_correlations` estimates the correlations, and :func:`dependent_means`
averages null scores of splits with these correlations.
"""

import numpy as np
from scipy.stats import norm


def design_correlations(splits, n_rows):
    """Compute correlations of the null scores of splits from shared pairs of rows.

    The score of a split depends on pairs of rows, one of them in training and the other
    one held out. The correlation of two splits is the number of unordered pairs of rows
    that cross from training to held out in both, divided by the geometric mean of the
    numbers of pairs that cross in each. For k-fold it is 1 / (k - 1).

    Parameters
    ----------
    splits : list of pairs of ndarray of int
        Training rows and held-out rows of each split.
    n_rows : int
        Number of rows.

    Returns
    -------
    correlations : ndarray of shape (n_splits, n_splits)
        Correlations from 0 to 1, with ones on the diagonal.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import KFold
    >>> from skmot.model_selection.dependence import design_correlations
    >>> design_correlations(list(KFold(3).split(np.zeros(9))), 9)
    array([[1. , 0.5, 0.5],
           [0.5, 1. , 0.5],
           [0.5, 0.5, 1. ]])
    """
    train, test = np.zeros((2, len(splits), n_rows))
    for number, (train_rows, test_rows) in enumerate(splits):
        train[number, train_rows] = 1
        test[number, test_rows] = 1
    crossing = (train @ train.T) * (test @ test.T) + (train @ test.T) * (test @ train.T)
    sizes = np.sqrt(np.diag(crossing))
    return crossing / np.outer(sizes, sizes)


def pilot_correlation(null_scores, pilot_scores):
    """Estimate the mean correlation of the null scores of splits from a few refits.

    For the fits of a pilot, the rows of one side were permuted before they were split.
    The score z of each split is expressed in standard deviations of the null scores of
    that split, whose fit was kept. The variance of the sum of z over splits exceeds
    the sum of their variances by the factor 1 + (n_splits - 1) times the mean
    correlation.

    Parameters
    ----------
    null_scores : array-like of shape (n_splits, n_permutations)
        Null scores of each split: its held-out rows are permuted, its fit is kept.
    pilot_scores : array-like of shape (n_pilot, n_splits)
        Score of each split after permuting all rows and fitting again.

    Returns
    -------
    correlation : float
        Mean correlation of two splits, clipped to the range from 0 to 1. It is 0 for a
        single split, and if no score varies.

    Examples
    --------
    >>> from skmot.model_selection.dependence import pilot_correlation
    >>> pilot_correlation([[-1, 1], [-1, 1]], [[2, 2], [-2, -2]])
    1.0
    """
    null_scores, pilot_scores = np.asarray(null_scores), np.asarray(pilot_scores)
    n_splits = len(null_scores)
    deviations = null_scores.std(axis=1)
    z = np.divide(
        pilot_scores - null_scores.mean(axis=1),
        deviations,
        out=np.zeros(pilot_scores.shape),
        where=deviations > 0,
    )
    if n_splits == 1 or not z.any():
        return 0.0
    ratio = (z.sum(axis=1) ** 2).mean() / (z**2).sum(axis=1).mean()
    return float(np.clip((ratio - 1) / (n_splits - 1), 0, 1))


def split_correlations(splits, n_rows, pilot=0.0):
    """Compute the correlations of the null scores of splits, from design and pilot.

    Each correlation is the larger of that of the design and that of the pilot. The
    design has the right structure, but underestimates the correlations of scores that
    are not sums over pairs of rows. A pilot of a few refits gives one noisy number.

    Parameters
    ----------
    splits : list of pairs of ndarray of int
        Training rows and held-out rows of each split.
    n_rows : int
        Number of rows.
    pilot : float, default=0
        Mean correlation of two splits, from :func:`pilot_correlation`.

    Returns
    -------
    correlations : ndarray of shape (n_splits, n_splits)
        Correlations from 0 to 1, with ones on the diagonal. The standard deviation of
        a mean over splits is sqrt(n_splits * correlations.mean()) times that of a mean
        of independent scores.

    See Also
    --------
    design_correlations : The correlations of the design.
    are_splits_independent : Whether no correlations are needed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import KFold
    >>> from skmot.model_selection.dependence import split_correlations
    >>> split_correlations(list(KFold(3).split(np.zeros(9))), 9, pilot=0.6)
    array([[1. , 0.6, 0.6],
           [0.6, 1. , 0.6],
           [0.6, 0.6, 1. ]])
    """
    correlations = np.maximum(design_correlations(splits, n_rows), pilot)
    np.fill_diagonal(correlations, 1.0)
    return correlations


def dependent_means(null_scores, correlations, random):
    """Average null scores over splits, with given correlations of the splits.

    The null scores of each split are put into the order of one of several normal
    variables that have the given correlations (Iman and Conover [1]_). The distribution
    of the null scores of each split does not change.

    Parameters
    ----------
    null_scores : array-like of shape (n_splits, n_permutations)
        Null scores of each split.
    correlations : ndarray of shape (n_splits, n_splits)
        Correlations of the splits. Negative eigenvalues are set to 0.
    random : RandomState
        Random number generator.

    Returns
    -------
    means : ndarray of shape (n_permutations,)
        Means over splits.

    References
    ----------
    .. [1] R. L. Iman, W. J. Conover. A distribution-free approach to inducing rank
       correlation among input variables. Communications in Statistics - Simulation and
       Computation, 11(3), 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.model_selection.dependence import dependent_means
    >>> random = np.random.RandomState(0)
    >>> np.sort(dependent_means([[1, 2, 3], [30, 10, 20]], np.ones((2, 2)), random))
    array([ 5.5, 11. , 16.5])
    """
    null_scores = np.sort(null_scores, axis=1)
    values, vectors = np.linalg.eigh(correlations)
    factor = vectors * np.sqrt(np.clip(values, 0, None))
    normals = factor @ random.normal(size=null_scores.shape)
    ranks = normals.argsort(axis=1).argsort(axis=1)
    return np.take_along_axis(null_scores, ranks, axis=1).mean(axis=0)


def are_splits_independent(splits, codes=None):
    """Whether p-values of the splits are independent if rows are exchangeable.

    They are if the splits have an order in which the held-out rows of each split occur
    neither in training nor held out in the splits before it. This holds for a single
    split, and for splits that train on earlier rows only (`TimeSeriesSplit`). Then the
    p-value of each split is uniform whatever the p-values of the splits before it are.

    Parameters
    ----------
    splits : list of pairs of ndarray of int
        Training rows and held-out rows of each split.
    codes : ndarray of int of shape (n_rows,), default=None
        Group of each row, if groups are exchangeable instead of rows.

    Returns
    -------
    are_independent : bool
        Whether there is such an order.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import KFold, TimeSeriesSplit
    >>> from skmot.model_selection.dependence import are_splits_independent
    >>> [
    ...     are_splits_independent(list(cv.split(np.zeros(9))))
    ...     for cv in (TimeSeriesSplit(2), KFold(3))
    ... ]
    [True, False]
    """
    used, held_out = [], []
    for train, test in splits:
        train, test = (rows if codes is None else codes[rows] for rows in (train, test))
        used.append(set(train.tolist()) | set(test.tolist()))
        held_out.append(set(test.tolist()))
    remaining = list(range(len(splits)))
    while remaining:
        # The last split of the order is one whose held-out rows no other split uses.
        last = next(
            (
                number
                for number in remaining
                if not any(
                    held_out[number] & used[other]
                    for other in remaining
                    if other != number
                )
            ),
            None,
        )
        if last is None:
            return False
        remaining.remove(last)
    return True


def combine_independent(p_values, weights):
    """Combine independent p-values of splits by Stouffer's method.

    The combined p-value is that of the weighted sum of the normal quantiles of the
    p-values, divided by the norm of the weights ([1]_, with weights [2]_).

    Parameters
    ----------
    p_values : array-like of shape (n_splits,)
        P-values, above 0 and at most 1.
    weights : array-like of shape (n_splits,)
        Positive weights.

    Returns
    -------
    p_value : float
        Combined p-value.

    References
    ----------
    .. [1] S. A. Stouffer, E. A. Suchman, L. C. DeVinney, S. A. Star, R. M. Williams.
       The American soldier, volume 1. Princeton University Press, 1949.
    .. [2] T. Liptak. On the combination of independent tests. Magyar Tudomanyos
       Akademia Matematikai Kutato Intezetenek Kozlemenyei, 3, 1958.

    Examples
    --------
    >>> from skmot.model_selection.dependence import combine_independent
    >>> round(combine_independent([0.05, 0.05], [1, 1]), 3)
    0.01
    """
    weights = np.asarray(weights, dtype=np.float64)
    z = norm.isf(p_values)
    return float(norm.sf(z @ weights / np.linalg.norm(weights)))
