"""Function that averages the trials of each stimulus."""

from functools import partial

import numpy as np

from skmot.layers import LayerStack
from skmot.layers.checks import check_layer
from skmot.layers.labels import as_labels
from skmot.layers.sides import read_side


def average_repeats(stack, groups=None):
    """Average the trials of each stimulus in all layers.

    Parameters
    ----------
    stack : LayerStack, list, dict, DataFrame or array-like
        Layers, each of shape (n_trials, n_units). Trials with equal labels in `stimuli`
        are repeats of one stimulus.
    groups : array-like of shape (n_trials,), default=None
        Stimulus labels. None uses the labels of the stack.

    Returns
    -------
    averages : LayerStack of shape (n_stimuli, n_units)
        Averages, one row per stimulus, in the order of first occurrence and with the
        stimuli as labels. They are computed in float64, one layer at a time, and have
        the precision of the layer, float32 or float64.

    Raises
    ------
    ValueError
        If there are no labels, their number is not the number of trials, or responses
        are not numeric and finite.

    See Also
    --------
    ReliabilitySelector : Selects units with similar responses to repeats.
    skmot.metrics.noise_ceiling : Highest possible score of predicted averages.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import average_repeats
    >>> trials = LayerStack([[[1.0], [5.0], [3.0]]], stimuli=["cat", "dog", "cat"])
    >>> averages = average_repeats(trials)
    >>> averages.stimuli.tolist(), averages.layers[0].ravel().tolist()
    (['cat', 'dog'], [2.0, 5.0])
    """
    stack, _ = read_side(stack, "stack", allow_vector=False)
    if groups is not None and np.ndim(groups) == 0:
        raise ValueError(f"`groups` must be one label per trial; got {groups!r}.")
    labels = stack.stimuli if groups is None else as_labels(groups)
    if labels is None:
        raise ValueError(
            "The stack has no stimulus labels, so which trials are repeats of one "
            "stimulus is not known: give `groups`, one label per trial."
        )
    if len(labels) != len(stack):
        raise ValueError(
            f"`groups` has {len(labels)} labels, but the layers have {len(stack)} "
            "trials."
        )
    averages = LayerStack.from_trials(stack, labels)
    names = [leaf.where for leaf in averages.leaves("stack")]
    checked = averages.map(partial(check_layer, accept_sparse=True), names)
    return checked._with_bases(checked._bases, averages._unit_names)
