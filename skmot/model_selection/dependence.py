"""How much the scores of several splits depend on each other."""

import numpy as np


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
