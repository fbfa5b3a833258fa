"""Splits that keep all rows of a stimulus in the same part."""

import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length

from skmot._utils.sklearn import num_samples, safe_indexing, validate_params
from skmot.layers import LayerStack
from skmot.layers.checks import check_same_rows, rows_of
from skmot.layers.reading import check_no_path
from skmot.layers.sides import as_stack
from skmot.layers.splits import read_groups, repeated_rows


class _StimulusSplitter:
    """Splitter whose groups are the stimulus labels of the rows."""

    def split(self, X, y=None, groups=None):
        """Generate indices of training and of held-out rows.

        Parameters
        ----------
        X : LayerStack or array-like of shape (n_rows, n_units)
            Data to split. Only the number of rows is used.
        y : object
            Ignored.
        groups : array-like of shape (n_rows,), default=None
            Stimulus of each row. None uses the stimulus labels of X or y.

        Returns
        -------
        splits : iterator of pairs of ndarray of int
            Indices of the training rows and of the held-out rows of each split.

        Raises
        ------
        ValueError
            If groups are missing, do not have one label for each row, or are too few
            for the folds or the sizes of the parts.
        """
        return super().split(
            X, None, read_groups(groups_of(groups, X, y), num_samples(X))
        )


class StimulusKFold(_StimulusSplitter, GroupKFold):
    """K-fold cross-validation that keeps all rows of a stimulus in the same fold.

    This is :class:`~sklearn.model_selection.GroupKFold` of scikit-learn, for rows that
    repeat stimuli (or are frames of a clip, or words of a sentence). If a stimulus were
    both in training and held out, remembering its response would count as
    generalisation.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least two and at most the number of groups.
    shuffle : bool, default=False
        Whether to assign groups to folds at random. If False, groups are assigned by
        size, so that all folds have about the same number of rows.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the folds if `shuffle` is True. Pass an int for
        reproducible output across multiple function calls.

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


class StimulusShuffleSplit(_StimulusSplitter, GroupShuffleSplit):
    """Random splits that keep all rows of a stimulus in the same part.

    This is :class:`~sklearn.model_selection.GroupShuffleSplit` of scikit-learn.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    test_size : float, int or None, default=None
        Fraction or number of groups (not rows) to hold out. None means the groups that
        are not in the training part, or 0.2 if `train_size` is also None.
    train_size : float, int or None, default=None
        Fraction or number of groups in the training part. None means the groups that
        are not held out.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the splits. Pass an int for reproducible output
        across multiple function calls.

    See Also
    --------
    StimulusKFold : Folds, so that each stimulus is held out once.
    train_validation_test_split : A single split into three parts.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.model_selection import StimulusShuffleSplit
    >>> splitter = StimulusShuffleSplit(1, test_size=1, random_state=0)
    >>> for train, test in splitter.split(np.zeros((6, 2)), groups=[0, 0, 1, 1, 2, 2]):
    ...     print(train, test)
    [0 1 2 3] [4 5]
    """


@validate_params({"random_state": ["random_state"]}, prefer_skip_nested_validation=True)
def train_validation_test_split(
    *arrays, groups=None, validation_size=0.1, test_size=0.2, random_state=None
):
    """Split stimuli at random into training, validation and test parts.

    The default sizes are 70, 10 and 20 per cent, as for linear predictivity in [1]_,
    section 3.3. Rows keep their order within a part.

    Parameters
    ----------
    *arrays : LayerStack, list or dict of layers, DataFrame or array-like
        Arrays or networks with the same number of rows. A list or dict of layers is
        split by stimulus, while functions of scikit-learn would split it by layer.
    groups : array-like of shape (n_rows,), default=None
        Stimulus of each row. Rows of one stimulus stay together, and sizes count
        stimuli. None uses the stimulus labels of an input if some of them repeat;
        otherwise each row is a stimulus.
    validation_size, test_size : float or int, default=0.1 and 0.2
        Fraction of the stimuli in each part, rounded up to whole stimuli, or number of
        stimuli.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the split. Pass an int for reproducible output across
        multiple function calls.

    Returns
    -------
    parts : list of length 3 * len(arrays)
        Training, validation and test rows of each input, with the type of the input. A
        list or dict of DataFrames or DataArrays becomes a LayerStack, which keeps the
        names of stimuli and units.

    Raises
    ------
    ValueError
        If there is no input, inputs differ in their number of rows or in the labels of
        their stimuli, groups differ in their number, or a part would be empty.

    See Also
    --------
    StimulusShuffleSplit : Repeated random splits into two parts.

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
    readers = [_row_reader(array, number) for number, array in enumerate(arrays)]
    lengths = [length for length, *_ in readers]
    check_consistent_length(*(np.empty(length) for length in lengths))
    for number, (_, labelled, _) in enumerate(readers[1:], start=1):
        check_same_rows(readers[0][1], labelled, "input 0", f"input {number}")
    if groups is not None:
        codes = read_groups(groups, lengths[0])
    else:
        codes = repeated_rows(*(rows_of(labelled)[0] for _, labelled, _ in readers))
        codes = np.arange(lengths[0]) if codes is None else codes
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
    return [take(rows) for *_, take in readers for rows in parts]


def _count(size, n_groups, name):
    """Convert a fraction or a number of groups to a number."""
    if isinstance(size, Integral) and not isinstance(size, bool):
        count = int(size)
    elif isinstance(size, Real) and 0 < size < 1:
        count = math.ceil(size * n_groups)
    else:
        count = 0
    if count < 1:
        raise ValueError(
            f"`{name}` must be a fraction above 0 and below 1, or a number of stimuli "
            f"of at least 1; got {size!r}."
        )
    return count


def _row_reader(given, number):
    """Return the number of rows, what names the rows, and a function to select rows."""
    check_no_path(given, f"Input {number} is")
    layered = isinstance(given, LayerStack | Mapping) or (
        isinstance(given, list | tuple) and any(np.ndim(part) >= 2 for part in given)
    )
    if not layered:
        if not hasattr(given, "__len__") and not hasattr(given, "shape"):
            raise TypeError(
                f"Input {number} must be layers, an array or a list with one entry for "
                f"each stimulus; got {given!r}."
            )
        return num_samples(given), given, lambda rows: safe_indexing(given, rows)
    stack, layout = as_stack(given)

    def take(rows):
        part = stack[rows]
        if layout.kind == "stack" or part._has_named_arrays:
            return part
        return layout.restore(list(part.layers), None)

    return len(stack), stack, take


def groups_of(groups, *sides):
    """Return groups as given, else the labels of the first side that has any."""
    for side in sides:
        if groups is None and isinstance(side, LayerStack):
            groups = side.stimuli
    return groups
