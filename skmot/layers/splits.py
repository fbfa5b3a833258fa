"""Splits into training and held-out rows, which must not share a stimulus."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.model_selection import GroupKFold, check_cv

from skmot.layers.labels import (
    as_labels,
    labels_repeat,
    list_labels,
    stimulus_codes,
)

# Number of folds if none is given, as in scikit-learn.
_N_FOLDS = 5


def repeated_groups(groups, *stacks):
    """Return groups as given, else labels that repeat: those rows are repeats."""
    for stack in stacks:
        if groups is None and labels_repeat(stack.stimuli):
            groups = stack.stimuli
    return groups


def repeated_rows(*labels):
    """Return groups of rows with equal labels, or None if no labels repeat.

    Parameters
    ----------
    *labels : ndarray of shape (n_rows,) or None
        Labels of several sides, of which the first that repeat are used.

    Returns
    -------
    groups : ndarray of int of shape (n_rows,) or None
        Group of each row, numbered from 0.
    """
    found = next(filter(labels_repeat, labels), None)
    return None if found is None else read_groups(found, len(found))


def read_groups(groups, n_rows):
    """Convert group labels to integers, in the order of their first occurrence.

    Parameters
    ----------
    groups : array-like of shape (n_rows,)
        Group label of each row, of any type.
    n_rows : int
        Number of rows.

    Returns
    -------
    codes : ndarray of int of shape (n_rows,)
        Index of the group of each row, starting at 0.

    Raises
    ------
    ValueError
        If groups are missing, or do not have one label for each row.
    """
    if groups is None:
        raise ValueError(
            "The 'groups' parameter should not be None: give the stimulus of each row, "
            "as `groups=` or as labels, `LayerStack(layers, stimuli=labels)`. A search "
            "within a cross-validation gets `groups` only after "
            "`sklearn.set_config(enable_metadata_routing=True)`; labels need no "
            "setting. If every row is a different stimulus, use KFold or ShuffleSplit "
            "of scikit-learn."
        )
    if np.ndim(groups) == 0:
        raise ValueError(f"`groups` must be one label a row; got {groups!r}.")
    labels = as_labels(groups)
    if len(labels) != n_rows:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: `groups` has "
            f"{len(labels)} labels for {n_rows} rows. (A list of layers is split by "
            "layer, not by stimulus: convert it to a LayerStack first.)"
        )
    return stimulus_codes(labels)


def make_splits(cv, n_rows, groups, labels=None):
    """Compute the splits of a cross-validation and check them.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        Splits, as in scikit-learn. An int means `KFold`, or folds of groups (as of
        `StimulusKFold`) if there are groups.
    n_rows : int
        Number of rows.
    groups : ndarray of int of shape (n_rows,) or None
        Groups of the rows, from `read_groups`.
    labels : array-like of shape (n_rows,), default=None
        Labels of the groups in error messages.

    Returns
    -------
    splits : list of pairs of ndarray of int
        Indices of the training rows and of the held-out rows of each split.

    Raises
    ------
    ValueError
        If there is no split, fewer than two rows are held out, or a row or a group is
        both in training and held out.
    """
    return _make_splits(
        cv,
        np.zeros((n_rows, 1)),
        groups,
        labels,
        argument="cv",
        named="stimulus labels, or equal `groups=`,",
        otherwise="give other `groups=`",
    )


def make_cost_folds(cost_cv, source, target):
    """Compute the folds of `cost_cv` and check that they share no stimulus.

    Parameters
    ----------
    cost_cv : int, splitter or iterable of (train, test)
        Folds, as `cv` in scikit-learn. An int means `KFold`, or folds of stimuli (as of
        `StimulusKFold`) if some stimulus labels repeat.
    source, target : LayerStack
        The two networks. The stimulus labels of either are enough.

    Returns
    -------
    folds : list of pairs of ndarray of int
        Indices of the training rows and of the held-out rows of each fold.

    Raises
    ------
    ValueError
        If there is no fold, fewer than two rows are held out, or a row or a stimulus is
        both in training and held out.
    """
    labels = target.stimuli if source.stimuli is None else source.stimuli
    codes = None if labels is None else read_groups(labels, len(source))
    if isinstance(cost_cv, Integral) and not labels_repeat(labels):
        # Folds of groups of one row each are not the folds of KFold.
        codes = None
    return _make_splits(
        cost_cv,
        source,
        codes,
        labels,
        argument="cost_cv",
        named="stimulus labels",
        otherwise="give them other labels, `stack.with_stimuli(labels)`",
    )


def _make_splits(cv, data, groups, labels, *, argument, named, otherwise):
    """Compute and check splits; `argument`, `named`, `otherwise` are for the errors."""
    n_rows = len(data)
    if groups is not None and (cv is None or isinstance(cv, Integral)):
        cv = GroupKFold(_N_FOLDS if cv is None else cv)
    with warnings.catch_warnings():
        # It is checked below that splitters that ignore groups keep them together.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        splits = [
            tuple(_row_numbers(rows, n_rows) for rows in split)
            for split in check_cv(cv).split(data, None, groups)
        ]
    if not splits:
        raise ValueError(f"`{argument}` makes no split.")
    codes = np.arange(n_rows) if groups is None else groups
    for number, (train, test) in enumerate(splits):
        if len(test) < 2:
            raise ValueError(
                f"Split {number} of `{argument}` holds out {len(test)} row(s): a "
                "correlation needs two or more."
            )
        shared = np.intersect1d(codes[train], codes[test])
        if not shared.size:
            continue
        row = int(test[np.isin(codes[test], shared)][0])
        if groups is None:
            raise ValueError(
                f"Split {number} of `{argument}` has row {row} both in training and "
                "held out: a row is one or the other."
            )
        label = row if labels is None else list_labels(as_labels(labels))[row]
        raise ValueError(
            f"Split {number} of `{argument}` has rows of {len(shared)} group(s), such "
            f"as {label!r} (row {row}), both in training and held out. Rows with equal "
            f"{named} must stay together: use `{argument}=StimulusKFold()`, or make "
            "one row of the trials of each stimulus with `LayerStack.from_trials`. If "
            f"these rows are no repeats, {otherwise}."
        )
    return splits


def _row_numbers(rows, n_rows):
    """Convert a slice, a mask or negative indices of rows to indices from 0."""
    return np.arange(n_rows)[rows if isinstance(rows, slice) else np.asarray(rows)]
