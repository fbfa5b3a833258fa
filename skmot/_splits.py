"""Splits of stimuli: rows of one stimulus stay together."""

import math
import warnings
from collections.abc import Mapping
from numbers import Integral

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    check_cv,
    train_test_split,
)
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _num_samples, check_consistent_length

from skmot._labels import as_labels, list_labels
from skmot.layers import LayerStack, as_stack, restore_layers


class StimulusKFold(GroupKFold):
    """K folds of stimuli; rows of one stimulus are never in two of them.

    scikit-learn's :class:`~sklearn.model_selection.GroupKFold`, for rows that are
    repeats of stimuli (or frames of a clip, words of a sentence): with a stimulus on
    both sides of a split, noise-free memory of it counts as generalisation.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least two and at most the number of groups.
    shuffle : bool, default=False
        Whether groups are dealt to the folds at random. Otherwise they are dealt by
        size, so that folds have about as many rows.
    random_state : int, RandomState instance or None, default=None
        Of the shuffling.

    See Also
    --------
    StimulusShuffleSplit : Random splits instead of folds.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.model_selection import StimulusKFold
    >>> X = np.zeros((6, 2))
    >>> groups = ["cat", "cat", "dog", "dog", "owl", "owl"]
    >>> for train, test in StimulusKFold(3).split(X, groups=groups):
    ...     print(train, test)
    [0 1 2 3] [4 5]
    [0 1 4 5] [2 3]
    [2 3 4 5] [0 1]
    """

    def split(self, X, y=None, groups=None):
        """Generate indices of training and of held-out rows.

        Parameters
        ----------
        X : LayerStack or array-like of shape (n_rows, n_units)
            Only its number of rows matters.
        y : object
            Ignored.
        groups : array-like of shape (n_rows,)
            The stimulus of each row.

        Returns
        -------
        splits : iterator of pairs of ndarray of int
            Training rows, held-out rows.

        Raises
        ------
        ValueError
            If groups are missing, not one a row, or fewer than the folds.
        """
        return super().split(X, None, read_groups(groups, _num_samples(X)))


class StimulusShuffleSplit(GroupShuffleSplit):
    """Random splits of stimuli; rows of one stimulus are never on both sides.

    scikit-learn's :class:`~sklearn.model_selection.GroupShuffleSplit`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    test_size : float, int or None, default=None
        Share, or number, of groups (not rows) that are held out. None is the rest, or
        0.2 if `train_size` is None too.
    train_size : float, int or None, default=None
        Share, or number, of groups to train on. None is the rest.
    random_state : int, RandomState instance or None, default=None
        Of the choice.

    See Also
    --------
    StimulusKFold : Each stimulus held out once.
    train_validation_test_split : Three parts, once.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.model_selection import StimulusShuffleSplit
    >>> splitter = StimulusShuffleSplit(1, test_size=1, random_state=0)
    >>> for train, test in splitter.split(np.zeros((6, 2)), groups=[0, 0, 1, 1, 2, 2]):
    ...     print(train, test)
    [0 1 2 3] [4 5]
    """

    def split(self, X, y=None, groups=None):
        """Generate indices of training and of held-out rows.

        Parameters
        ----------
        X : LayerStack or array-like of shape (n_rows, n_units)
            Only its number of rows matters.
        y : object
            Ignored.
        groups : array-like of shape (n_rows,)
            The stimulus of each row.

        Returns
        -------
        splits : iterator of pairs of ndarray of int
            Training rows, held-out rows.

        Raises
        ------
        ValueError
            If groups are missing, not one a row, or too few to be split so.
        """
        return super().split(X, None, read_groups(groups, _num_samples(X)))


def train_validation_test_split(
    *arrays, groups=None, validation_size=0.1, test_size=0.2, random_state=None
):
    """Split stimuli at random into training, validation and test parts.

    By default 70/10/20 per cent, as paper 1 has it for linear predictivity ([1]_,
    section 3.3). Rows keep their order within a part.

    Parameters
    ----------
    *arrays : LayerStack, list or dict of layers, DataFrame or array-like
        With the same rows. Unlike scikit-learn's tools, a list or dict of layers is
        split by stimulus, not by layer.
    groups : array-like of shape (n_rows,), default=None
        The stimulus of each row: rows of one stimulus stay together, and sizes count
        stimuli. None takes each row as one.
    validation_size, test_size : float or int, default=0.1 and 0.2
        Shares of all stimuli, rounded up, or their number.
    random_state : int, RandomState instance or None, default=None
        Of the choice.

    Returns
    -------
    parts : list, three a given array
        Its training, validation and test rows, as the kind given.

    Raises
    ------
    ValueError
        If nothing is given, the arrays or groups differ in their rows, or a part would
        be empty.

    See Also
    --------
    StimulusShuffleSplit : Two parts, many times.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.model_selection import train_validation_test_split
    >>> stack = LayerStack([np.ones((50, 3)), np.ones((50, 4))])
    >>> parts = train_validation_test_split(stack, random_state=0)
    >>> [len(part) for part in parts], parts[0]
    ([35, 5, 10], LayerStack(35 stimuli, 2 layers: 0 (3 units), 1 (4 units)))
    """
    if not arrays:
        raise ValueError("train_validation_test_split needs at least one array.")
    readers = [_row_reader(array) for array in arrays]
    lengths = [length for length, _ in readers]
    check_consistent_length(*(np.empty(length) for length in lengths))
    codes = np.arange(lengths[0]) if groups is None else read_groups(groups, lengths[0])
    n_groups = codes.max(initial=-1) + 1
    counts = {
        "validation_size": _count(validation_size, n_groups, "validation_size"),
        "test_size": _count(test_size, n_groups, "test_size"),
    }
    if sum(counts.values()) >= n_groups:
        raise ValueError(
            f"validation_size={validation_size} and test_size={test_size} take "
            f"{sum(counts.values())} of {n_groups} stimuli: none is left to train on."
        )
    random = check_random_state(random_state)
    rest, test = train_test_split(
        np.arange(n_groups), test_size=counts["test_size"], random_state=random
    )
    train, validation = train_test_split(
        rest, test_size=counts["validation_size"], random_state=random
    )
    parts = [np.flatnonzero(np.isin(codes, part)) for part in (train, validation, test)]
    return [take(rows) for _, take in readers for rows in parts]


def _count(size, n_groups, name):
    """Turn a share or a number of groups into a number."""
    if isinstance(size, Integral) and not isinstance(size, bool):
        count = int(size)
    elif 0 < size < 1:
        count = math.ceil(size * n_groups)
    else:
        count = 0
    if count < 1:
        raise ValueError(
            f"`{name}` must be a share above 0 and below 1, or a number of stimuli of "
            f"at least 1; got {size!r}."
        )
    return count


def _row_reader(given):
    """Return how many rows there are, and a function that takes some of them."""
    layered = isinstance(given, LayerStack | Mapping) or (
        isinstance(given, list | tuple) and any(np.ndim(part) >= 2 for part in given)
    )
    if not layered:
        return _num_samples(given), lambda rows: _safe_indexing(given, rows)
    stack, kind, columns = as_stack(given)
    if kind == "stack":
        return len(stack), stack.__getitem__

    def take(rows):
        part = stack[rows]
        return restore_layers(
            list(part.layers), kind, part.names, part.stimuli, columns
        )

    return len(stack), take


def read_groups(groups, n_rows):
    """Return the group of each row as an integer from 0 on, in order of appearance.

    Parameters
    ----------
    groups : array-like of shape (n_rows,)
        Labels of any kind.
    n_rows : int
        How many there must be.

    Returns
    -------
    codes : ndarray of int of shape (n_rows,)
        Equal for rows of one group.

    Raises
    ------
    ValueError
        If groups are missing or not one a row.
    """
    if groups is None:
        raise ValueError(
            "The 'groups' parameter should not be None: give the stimulus of each row, "
            "`groups=stack.stimuli` for instance. Where every row is a stimulus of its "
            "own, use KFold or ShuffleSplit of scikit-learn."
        )
    if np.ndim(groups) == 0:
        raise ValueError(f"`groups` must be one label a row; got {groups!r}.")
    labels = list_labels(as_labels(groups))
    if len(labels) != n_rows:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: `groups` has "
            f"{len(labels)} labels for {n_rows} rows. (A list of layers is split by "
            "layer, not by stimulus: make it a LayerStack first.)"
        )
    codes = {}
    return np.array([codes.setdefault(label, len(codes)) for label in labels])


def make_splits(cv, n_rows, groups):
    """Make the splits of a cross-validation, and check them.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        As scikit-learn takes it. A number means `KFold`, and `StimulusKFold` where
        there are groups.
    n_rows : int
        Number of rows.
    groups : ndarray of int of shape (n_rows,) or None
        As `read_groups` gives them.

    Returns
    -------
    splits : list of pairs of ndarray of int
        Training rows, held-out rows.

    Raises
    ------
    ValueError
        If there is no split, a row is on both sides of one, rows of one group are, or
        fewer than two rows are held out.
    """
    if groups is not None and (cv is None or isinstance(cv, Integral)):
        cv = StimulusKFold(5 if cv is None else cv)
    placeholder = np.zeros((n_rows, 1))
    with warnings.catch_warnings():
        # Whether a splitter that ignores groups keeps them together is checked below.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        splits = [
            tuple(_row_numbers(rows, n_rows) for rows in split)
            for split in check_cv(cv).split(placeholder, None, groups)
        ]
    if not splits:
        raise ValueError("`cv` makes no split.")
    for number, (train, test) in enumerate(splits):
        if len(test) < 2:
            raise ValueError(
                f"Split {number} of `cv` holds out {len(test)} row(s): a correlation "
                "needs two or more."
            )
        codes = np.arange(n_rows) if groups is None else groups
        shared = np.intersect1d(codes[train], codes[test])
        if shared.size:
            row = test[np.isin(codes[test], shared)][0]
            raise ValueError(
                f"Split {number} of `cv` has row {row}, or another of its group, both "
                "in training and held out. Use StimulusKFold or StimulusShuffleSplit."
            )
    return splits


def _row_numbers(rows, n_rows):
    """Return rows as numbers, where a split gave them as a mask or from the end."""
    return np.arange(n_rows)[np.asarray(rows)]
