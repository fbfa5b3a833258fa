"""Noise ceilings of units, and scores corrected for them."""

import warnings
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from scipy.stats import t
from sklearn.utils import check_random_state

from skmot._repeats import (
    averages_of_halves,
    half_correlations,
    random_halves,
    read_runs,
    say_largest,
)
from skmot._scores import weighted_correlations
from skmot._utils.array_api import as_numbers, to_numpy
from skmot._utils.results import Result
from skmot._utils.sklearn import Interval, validate_params
from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer
from skmot.layers.labels import as_labels, stimulus_codes
from skmot.layers.layout import Layout, nest
from skmot.layers.names import name_arrays, name_arrays_of, unit_rows
from skmot.layers.reading import check_unmasked

# Random splits that are resampled for an interval. Their mean differs from that of many
# more splits by much less than the width of the interval.
_SPLITS_OF_INTERVAL = 20
# The largest correlation between halves, of which Fisher's z is finite.
_LARGEST = 1 - 1e-12
# Resampled correlations are computed in blocks of about this many entries (32 MB).
_BLOCK_ENTRIES = 4_000_000


@validate_params(
    {
        "repeats": "no_validation",
        "groups": "no_validation",
        "runs": "no_validation",
        "n_halves": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "return_interval": ["boolean"],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 2, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def noise_ceiling(
    repeats,
    groups=None,
    *,
    runs=None,
    n_halves=100,
    random_state=None,
    return_interval=False,
    confidence_level=0.95,
    n_resamples=200,
):
    """Estimate the highest correlation that any prediction of a unit can reach.

    The noise ceiling is the correlation between the responses of a unit, averaged over
    all repeats, and its noiseless signal. It is the square root of the reliability of
    the average, which is estimated from random halves of the repeats.
    :func:`corrected_scores` divides scores on averaged responses by it.

    Parameters
    ----------
    repeats : LayerStack, or array-like of shape (n_repeats, n_stimuli, n_units) or \
(n_trials, n_units)
        Responses to repeated stimuli. A stack made by
        :meth:`skmot.LayerStack.from_trials` has trials. In an array with three
        dimensions all stimuli have the same number of repeats. An array with two
        dimensions has one row for each trial, in any order. It needs `groups`, and
        stimuli can differ in their number of repeats.
    groups : array-like of shape (n_trials,), default=None
        Stimulus label of each trial, such as `stack.stimuli` for a stack of trials.
        Only for arrays of shape (n_trials, n_units), which need it.
    runs : array-like of shape (n_trials,) or (n_repeats,), LayerStack or None, \
default=None
        Run (or session) of each trial; for an array with three dimensions, of each
        repeat. The trials of a stimulus in one run are then in the same half, because
        noise that they share, such as a slow drift, would make halves of one run agree.
        For a stack, the order is that of `repeats.trials`. Or pass a stack of run
        numbers, ``LayerStack.from_trials(runs[:, np.newaxis], stimuli)`` with the
        trials in the order of the data: its rows are found by their labels, also for a
        part of the stimuli.
    n_halves : int, default=100
        Number of random splits into halves.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the splits and of the interval. Pass an int for
        reproducible output across multiple function calls.
    return_interval : bool, default=False
        Whether to return a bootstrap interval for each ceiling, too.
    confidence_level : float, default=0.95
        Confidence level of the interval.
    n_resamples : int, default=200
        Number of bootstrap resamples of the stimuli for the interval.

    Returns
    -------
    ceilings : ndarray of shape (n_units,), or list of them
        Noise ceilings from 0 to 1. They are 0 if the halves correlate negatively on
        average, and NaN for constant units. For a stack with trials, one array per
        layer, and a list of arrays for a nested stack.
    intervals : ndarray of shape (2, n_units), or list of them
        Lower and upper ends of the interval of each ceiling. Only if `return_interval`
        is True.

    Raises
    ------
    ValueError
        If there are fewer than two repeats, or fewer than two stimuli have two repeats
        (or, with `runs`, are shown in two runs); if `groups` is missing, has a wrong
        length, or is given for three dimensions; if `runs` do not fit the trials; or if
        responses are not finite numbers.

    Warns
    -----
    UserWarning
        If an array of three dimensions has more repeats than stimuli, as if its first
        two axes were exchanged.

    See Also
    --------
    ceiling_from_ncsnr : Noise ceiling from a published signal-to-noise ratio.
    skmot.preprocessing.average_repeats : Average over the repeats of each stimulus.

    Notes
    -----
    Each split averages two halves of the n repeats of a stimulus, with h = n // 2
    repeats each. If n is odd, a random repeat is left out of each split. Stimuli with a
    single repeat are left out. The correlation r between the two halves, over stimuli,
    is converted to the reliability of the average over all repeats by the
    Spearman-Brown formula k r / (1 + (k - 1) r). Here k = mean(1/h) / mean(1/n) over
    stimuli is the noise variance of a half divided by that of the average. It is 2 for
    even numbers of repeats and 3 for three repeats. For unequal numbers of repeats the
    formula assumes that the noise variance is the same for all stimuli.

    The correlations are averaged over splits before the formula is applied. The formula
    is concave: applied to each correlation, it would bias their mean downwards, and for
    a correlation near -1 / (k - 1) its result is arbitrary. The remaining downward bias
    of units with a strong signal is that of a single correlation over this number of
    stimuli.

    **Units without signal have ceilings above 0.** Negative correlations become 0, and
    the square root enlarges small positive ones. For units of pure noise, of which the
    true ceiling is 0, simulations of 2,000 units gave

    ========= ========= ============ =================
    n_stimuli n_repeats mean ceiling share at least .3
    ========= ========= ============ =================
           30         2          .23               .40
           50         4          .19               .36
          100         4          .16               .28
          300         4          .13               .17
         1000         4          .09               .03
         1000        10          .09               .02
    ========= ========= ============ =================

    Dividing by such a ceiling makes a score of noise. Choose the threshold of
    :func:`corrected_scores` with this in mind, select units on other stimuli
    (:class:`skmot.preprocessing.ReliabilitySelector`), or keep units whose interval
    does not include 0.

    The interval comes from a bootstrap over stimuli, which draws as many stimuli with
    replacement and keeps the halves of each. It is Fisher's z of the correlation
    between halves, plus and minus the standard deviation of the resampled z, times a
    quantile of the t distribution with n_stimuli - 2 degrees of freedom; both ends are
    then converted like the correlation. (The resampled z is averaged over the first 20
    of the random splits.) Each stimulus comes with the noise of its trials, so the
    interval accounts for both the choice of stimuli and that noise. It does not account
    for another number of trials, other units, or noise that trials share. In
    simulations of 1,500 units, with 30 to 150 stimuli and two or four repeats, 95 %
    intervals missed true ceilings from .51 to .89 in .053 to .065 of the units, where
    percentile intervals missed .061 to .081. The lower end was above 0 in .03 of the
    units without signal.

    An array with three dimensions is split by whole repeats. An offset that is common
    to all responses of a repeat, such as the baseline of a session, is then no noise,
    because it does not change correlations with the average. An array of trials is
    split separately for each stimulus. With `runs`, each half has half of the runs that
    show a stimulus (if their number is odd, a random run is left out), and h is the
    number of its trials in them. Stimuli that only one run shows are left out.

    References
    ----------
    .. [1] C. Spearman. Correlation calculated from faulty data. British Journal of
       Psychology, 1910.
    .. [2] W. Brown. Some experimental results in the correlation of mental abilities.
       British Journal of Psychology, 1910.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import noise_ceiling
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.normal(size=(500, 3))
    >>> repeats = signal + rng.normal(size=(4, 500, 3)) * [0, 1, 2]
    >>> noise_ceiling(repeats, random_state=0).round(1)  # 1, 1/sqrt(1.25), 1/sqrt(2)
    array([1. , 0.9, 0.7])

    For a stack that has trials:

    >>> from skmot import LayerStack
    >>> trials = repeats.reshape(-1, 3)
    >>> stack = LayerStack.from_trials({"V1": trials}, np.tile(np.arange(500), 4))
    >>> [layer.round(1) for layer in noise_ceiling(stack, random_state=0)]
    [array([1. , 0.9, 0.7])]

    Intervals tell a weak signal from none:

    >>> weak = 0.3 * signal + rng.normal(size=(4, 500, 3)) * [1, 1, 0]
    >>> weak[:, :, 1] -= 0.3 * signal[:, 1]
    >>> ceilings, (low, high) = noise_ceiling(
    ...     weak, random_state=0, return_interval=True
    ... )
    >>> low > 0
    array([ True, False,  True])
    """
    random = check_random_state(random_state)
    read, structure = _trial_reader(repeats, groups, runs)
    ceilings, estimates = [], []
    for trials, codes, runs_of_trials in read():
        halves = random_halves(codes, n_halves, random, runs_of_trials)
        correlations = half_correlations(trials, halves)
        ceilings.append(np.sqrt(halves.reliability(correlations)))
        if return_interval:
            few = halves.averaging[:_SPLITS_OF_INTERVAL]
            estimates.append((correlations, replace(halves, averaging=few)))
    if not return_interval:
        return _nested(ceilings, structure)
    # In a second pass, so that the ceilings are the same with and without intervals.
    intervals = [
        _interval(to_numpy(trials), *estimate, n_resamples, confidence_level, random)
        for (trials, _, _), estimate in zip(read(), estimates, strict=True)
    ]
    return _nested(ceilings, structure), _nested(intervals, structure)


def _nested(values, structure):
    """Arrange values like the layers of a stack, or return the only one."""
    return values[0] if structure is None else nest(values, structure)


def _trial_reader(repeats, groups, runs):
    """Check the input of `noise_ceiling`, and return a function that reads it.

    Returns
    -------
    read : callable
        Function that yields the trials of each array, of shape (n_trials, n_units), and
        the stimulus and the run of each trial; None instead of the runs if there are
        none.
    structure : tuple or None
        Structure of a stack. None for a single array.
    """
    if isinstance(repeats, LayerStack) and groups is None:
        if not repeats.has_trials:
            raise ValueError(
                "The stack has no trials: make it with `LayerStack.from_trials`, or "
                "give `groups`, which say which stimulus each row shows."
            )
        layout = Layout("stack", repeats.structure, argument="repeats")

        def read():
            for trials, where, rows in layout.trial_leaves(repeats):
                yield (
                    check_layer(trials, where),
                    rows,
                    read_runs(runs, rows, repeats.stimuli, where),
                )

        return read, repeats.structure
    dimensions = np.ndim(repeats)
    if dimensions == 3:
        if groups is not None:
            raise ValueError(
                "`groups` is for rows of trials: in an array of shape (n_repeats, "
                "n_stimuli, n_units) the second axis is the stimulus."
            )
        n_repeats, n_stimuli, n_units = np.shape(repeats)
        if n_repeats < 2:
            raise ValueError(
                f"`repeats` has {n_repeats} repeat(s) of {n_stimuli} stimuli, while at "
                "least 2 are required: without repeats, signal and noise cannot be "
                "separated."
            )
        if n_repeats > n_stimuli:
            warnings.warn(
                f"`repeats` has shape {np.shape(repeats)}, so {n_repeats} repeats of "
                f"{n_stimuli} stimuli. If the first axis is the stimulus, pass "
                "`np.swapaxes(repeats, 0, 1)`.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
        trials = check_layer(np.reshape(repeats, (-1, n_units)), "repeats")
        codes = np.tile(np.arange(n_stimuli), n_repeats)
        # Whole repeats stay together, as if each were a run.
        numbers = np.arange(n_repeats)
        if runs is not None:
            numbers = _runs_of_repeats(runs, n_repeats)
        runs = np.repeat(numbers, n_stimuli)
    elif dimensions == 2:
        if groups is None:
            raise ValueError(
                "`repeats` has two dimensions, one row for each trial: `groups` must "
                "say which stimulus each trial shows. Or give an array of shape "
                "(n_repeats, n_stimuli, n_units)."
            )
        trials = check_layer(repeats, "repeats")
        labels = as_labels(groups)
        if len(labels) != len(trials):
            raise ValueError(
                f"`groups` has {len(labels)} labels, but `repeats` has {len(trials)} "
                "trials."
            )
        codes = stimulus_codes(labels)
        runs = read_runs(runs, codes, None, "`repeats`")
    else:
        raise ValueError(
            f"`repeats` must have two or three dimensions; got {dimensions}: "
            "(n_repeats, n_stimuli, n_units), or (n_trials, n_units) with `groups`."
        )
    return lambda: iter([(trials, codes, runs)]), None


def _runs_of_repeats(runs, n_repeats):
    """Return the run of each repeat as numbers from 0."""
    check_unmasked(runs, "`runs`")
    numbers = stimulus_codes(as_labels(runs))
    if len(numbers) != n_repeats:
        raise ValueError(
            f"`runs` has {len(numbers)} runs, but `repeats` has {n_repeats} repeats: "
            "for an array of three dimensions give one run for each repeat."
        )
    return numbers


def _interval(trials, correlations, halves, n_resamples, confidence_level, random):
    """Return the ends of the bootstrap interval of each ceiling.

    Parameters
    ----------
    trials : ndarray of shape (n_trials, n_units)
        Finite responses.
    correlations : ndarray of shape (n_units,)
        Correlations between the halves, averaged over all splits.
    halves : Halves
        Halves of the trials, of the splits that are resampled.
    n_resamples : int
        Number of resamples of the stimuli.
    confidence_level : float
        Confidence level.
    random : RandomState
        Random number generator for the resamples.

    Returns
    -------
    interval : ndarray of shape (2, n_units)
        Lower and upper ends, NaN for constant units.
    """
    n_stimuli = halves.averaging[0][0].shape[0]
    counts = random.multinomial(
        n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=n_resamples
    )
    deviation = np.empty(trials.shape[1])
    width = max(1, _BLOCK_ENTRIES // max(len(trials), n_resamples))
    for start in range(0, trials.shape[1], width):
        part = slice(start, start + width)
        resampled = np.mean(
            [
                np.nan_to_num(weighted_correlations(*averages, counts))
                for averages in averages_of_halves(trials[:, part], halves)
            ],
            axis=0,
        )
        deviation[part] = _fisher(resampled).std(axis=0, ddof=1)
    quantile = t.ppf((1 + confidence_level) / 2, max(1, n_stimuli - 2))
    ends = [_fisher(correlations) + sign * quantile * deviation for sign in (-1, 1)]
    return np.sqrt(halves.reliability(np.tanh(ends)))


def _fisher(correlations):
    """Return Fisher's z of correlations, which is finite also for 1."""
    return np.arctanh(np.clip(correlations, -_LARGEST, _LARGEST))


def ceiling_from_ncsnr(ncsnr, n_repeats):
    """Compute the noise ceiling from a signal-to-noise ratio, as a correlation.

    The ceiling is sqrt(ncsnr^2 / (ncsnr^2 + 1/n)) for responses averaged over n
    repeats. In [1]_ the noise ceiling is the square of it in percent, as explained
    variance.

    Parameters
    ----------
    ncsnr : array-like of shape (n_units,), or float
        Standard deviation of the signal, divided by the standard deviation of the noise
        of a single trial. The Natural Scenes Dataset contains it for each voxel. It
        must not be negative, and is NaN for units without a ratio.
    n_repeats : int, or array-like of shape (n_stimuli,)
        Number of repeats that were averaged. If stimuli differ, pass the number for
        each stimulus: 1/n is then averaged over stimuli.

    Returns
    -------
    ceilings : ndarray of shape (n_units,), or float
        Noise ceilings from 0 to 1; NaN where `ncsnr` is NaN.

    Raises
    ------
    ValueError
        If a ratio is negative, a number of repeats is less than one, or entries of a
        masked array are masked.

    See Also
    --------
    noise_ceiling : Noise ceiling from the repeats themselves.

    References
    ----------
    .. [1] E. J. Allen, G. St-Yves, Y. Wu, et al. A massive 7T fMRI dataset to bridge
       cognitive neuroscience and artificial intelligence. Nature Neuroscience, 2022.

    Examples
    --------
    >>> from skmot.metrics import ceiling_from_ncsnr
    >>> ceiling_from_ncsnr([0.0, 0.5, 1.0], n_repeats=3).round(3)
    array([0.   , 0.655, 0.866])
    """
    check_unmasked(ncsnr, "`ncsnr`")
    check_unmasked(n_repeats, "`n_repeats`")
    ncsnr = as_numbers(ncsnr, "ncsnr")
    if (ncsnr < 0).any():
        raise ValueError(
            f"`ncsnr` must not be negative; got {ncsnr[ncsnr < 0].flat[0]}."
        )
    n_repeats = as_numbers(n_repeats, "n_repeats")
    if n_repeats.size == 0 or not (n_repeats >= 1).all():
        raise ValueError(f"`n_repeats` must be 1 or larger; got {n_repeats}.")
    if (n_repeats % 1 != 0).any():
        raise ValueError(f"`n_repeats` must be whole numbers; got {n_repeats}.")
    # Numerator and denominator are divided by ncsnr^2, because the square of a very
    # large ratio would overflow.
    with np.errstate(divide="ignore"):
        ceilings = 1 / np.hypot(1, np.sqrt(np.mean(1 / n_repeats)) / ncsnr)
    return float(ceilings) if ceilings.ndim == 0 else ceilings


@validate_params(
    {
        "unit_scores": "no_validation",
        "ceilings": "no_validation",
        "threshold": [Interval(Real, 0, 1, closed="right")],
        "runs": "no_validation",
        "n_halves": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def corrected_scores(
    unit_scores, ceilings, *, threshold, runs=None, n_halves=100, random_state=None
):
    """Divide the scores of units by their noise ceilings.

    A corrected score of 1 means that all of the signal of a unit is predicted. Units
    with a low ceiling are left out, because their scores are mostly noise, and dividing
    by a small number amplifies it.

    Parameters
    ----------
    unit_scores : array-like of shape (n_units,), or list of them
        Correlation of each unit with its prediction, one array for each layer, as
        returned by the method `unit_scores` of an estimator. For nested layers, a list
        of lists.
    ceilings : array-like of shape (n_units,), list of them, or LayerStack
        Noise ceilings of the same units, from 0 to 1, as returned by
        :func:`noise_ceiling` for the predicted side. Or the predicted side itself, the
        held-out stimuli that were scored, as a stack made by
        :meth:`skmot.LayerStack.from_trials`: the ceilings are then estimated from its
        trials.
    threshold : float
        Units with a smaller ceiling are left out; above 0 and at most 1. It has no
        default, because every report of corrected scores has to state it.
    runs, n_halves, random_state
        Arguments of :func:`noise_ceiling`, used if `ceilings` is a stack.

    Returns
    -------
    scores : Result
        Dictionary-like object that prints as a sentence. ``scores.to_frame()`` is a
        table with one row, ``to_frame("layers")`` has one row for each layer, and
        ``to_frame("units")`` one for each unit. The attributes are

        raw, corrected : ndarray of shape (n_units,), or list of them
            The given scores, and the scores divided by the ceilings. Corrected scores
            are NaN for units that are left out. They can exceed 1, because scores and
            ceilings are estimates.
        raw_mean, corrected_mean : float
            Mean over the kept units of each layer, averaged over layers.
        ratio_of_means : float
            Mean score of the kept units of each layer, divided by the mean of their
            ceilings, averaged over layers. It is less affected by units with a low
            ceiling than `corrected_mean`, the mean of ratios.
        ceilings : ndarray of shape (n_units,), or list of them
            The given ceilings, or those estimated from the trials.
        kept : ndarray of bool of shape (n_units,), or list of them
            Mask of the units that are not left out.
        n_left_out : int or list of int
            Number of units that are left out: units with a ceiling below the threshold,
            and units whose score or ceiling is NaN (constant units).
        threshold : float
            The given threshold.
        layer_names : list
            Name of the layer of each array of units, or its number, counted from 0.
            Names are known if `ceilings` is a stack.
        unit_names : list of list
            Names of the units of each array, or their numbers, counted from 0.
        conclusion : str
            What the scores show, and what they do not show.

    Raises
    ------
    ValueError
        If scores and ceilings differ in shape, a ceiling is not between 0 and 1,
        entries of a masked array are masked, or no unit of a layer is kept.

    See Also
    --------
    noise_corrected_score : Corrects for the noise of both sides.

    Notes
    -----
    Which number to report: :func:`noise_corrected_score` if there are a fitted
    estimator and the trials of the held-out responses, above all if both sides are
    noisy recordings. Otherwise, as with published ceilings, `ratio_of_means`, with the
    threshold and `n_left_out`. If the threshold leaves no unit out, it equals the score
    that :func:`noise_corrected_score` corrects for the scored side, from the same
    halves of the trials. `corrected` is for maps of units, and `corrected_mean` for
    comparison with papers that report a mean of ratios.

    The ratio of means is sum(r) / sum(c) over the kept units of a layer, for scores r
    and ceilings c: a mean of r / c, weighted by the ceilings. The mean of ratios gives
    a unit with a ceiling of .3 as much weight as one with .9, although its ratio is
    three times as noisy, and its ceiling may be the noise of a unit without signal
    (see :func:`noise_ceiling`).

    Examples
    --------
    >>> from skmot.metrics import corrected_scores
    >>> scores = corrected_scores([0.4, 0.3, 0.1], [0.8, 0.5, 0.1], threshold=0.2)
    >>> scores.corrected
    array([0.5, 0.6, nan])
    >>> round(scores.raw_mean, 3), round(scores.corrected_mean, 3), scores.n_left_out
    (0.35, 0.55, 1)
    >>> round(scores.ratio_of_means, 3)  # 0.35 / 0.65
    0.538
    >>> scores.to_frame("units").round(2)
       layer  unit  score  ceiling  corrected   kept
    0      0     0    0.4      0.8        0.5   True
    1      0     1    0.3      0.5        0.6   True
    2      0     2    0.1      0.1        NaN  False
    """
    stack = None
    if isinstance(ceilings, LayerStack):
        stack = ceilings
        ceilings = noise_ceiling(
            ceilings, runs=runs, n_halves=n_halves, random_state=random_state
        )
        if not _is_layered(unit_scores) and len(ceilings) == 1:
            (ceilings,) = ceilings
    elif runs is not None:
        raise ValueError(
            "`runs` are of the trials from which ceilings are estimated: give a stack "
            "with trials as `ceilings`, or pass `runs` to `noise_ceiling`."
        )
    corrected = _correct_layers(unit_scores, ceilings, threshold, "")
    if stack is None:
        arrays = name_arrays(_structure_of(corrected["raw"]))
    else:
        arrays = name_arrays_of(stack)
    scores = CorrectedScores(
        "",
        **corrected,
        threshold=threshold,
        layer_names=[array.label for array in arrays],
        unit_names=[array.unit_labels for array in arrays],
    )
    scores.conclusion = _conclude(scores)
    return scores


class CorrectedScores(Result):
    """Result of `corrected_scores`."""

    def _tables(self):
        return {
            **super()._tables(),
            "layers": self._layers,
            "units": self._units,
        }

    def _units(self):
        arrays = {
            "score": self.raw,
            "ceiling": self.ceilings,
            "corrected": self.corrected,
            "kept": self.kept,
        }
        return unit_rows(self.layer_names, self.unit_names) | {
            name: np.concatenate(_flatten(values)) for name, values in arrays.items()
        }

    def _row(self):
        # Of several layers, `n_left_out` is a list.
        (row,) = super()._row()
        kept = np.concatenate(_flatten(self.kept))
        counts = {"n_units": int(kept.sum()), "n_left_out": int((~kept).sum())}
        conclusion = row.pop("conclusion")
        return [row | counts | {"conclusion": conclusion}]

    def _layers(self):
        return [
            {
                "layer": layer,
                **_means(scores[kept], ceilings[kept]),
                "n_units": int(np.count_nonzero(kept)),
                "n_left_out": int(np.count_nonzero(~kept)),
            }
            for layer, scores, ceilings, kept in zip(
                self.layer_names,
                *map(_flatten, (self.raw, self.ceilings, self.kept)),
                strict=True,
            )
        ]


def _flatten(nested):
    """Return the arrays in lists that are nested like the layers."""
    if isinstance(nested, list):
        return [array for part in nested for array in _flatten(part)]
    return [nested]


def _structure_of(scores):
    """Return the structure of the layers of unit scores, which have no names."""
    layers = scores if isinstance(scores, list) else [scores]
    return None, tuple(
        _structure_of(layer) if isinstance(layer, list) else len(layer)
        for layer in layers
    )


def _conclude(scores):
    """Say what corrected scores show, and what they do not show."""
    kept = np.concatenate(_flatten(scores.kept))
    return (
        f"Over the {np.count_nonzero(kept)} of {len(kept)} units with a score and a "
        f"noise ceiling of at least {scores.threshold:g}, the mean score is "
        f"{scores.raw_mean:.3f}, which is {scores.ratio_of_means:.3f} of the mean "
        f"ceiling (mean of the ratios {scores.corrected_mean:.3f}). This says nothing "
        "about the units that are left out, and it does not correct for the noise of "
        "the side from which they are predicted."
    )


def _is_layered(unit_scores):
    return isinstance(unit_scores, list | tuple) and any(
        isinstance(layer, list | tuple) or np.ndim(layer) > 0 for layer in unit_scores
    )


def _correct_layers(scores, ceilings, threshold, where):
    """Correct the scores of layers, which may have layers themselves."""
    if not _is_layered(scores):
        return _correct(scores, ceilings, threshold, where)
    if len(scores) != len(ceilings):
        raise ValueError(
            f"`unit_scores`{where} has {len(scores)} layers and `ceilings` has "
            f"{len(ceilings)}."
        )
    layers = [
        _correct_layers(*pair, threshold, f"{where}, layer {index}")
        for index, pair in enumerate(zip(scores, ceilings, strict=True))
    ]
    merge = dict.fromkeys(("raw_mean", "corrected_mean", "ratio_of_means"), _mean)
    return {
        name: merge.get(name, list)([layer[name] for layer in layers])
        for name in layers[0]
    }


def _mean(values):
    return float(np.mean(values))


def _correct(scores, ceilings, threshold, where):
    """Correct the scores of one layer."""
    check_unmasked(scores, f"`unit_scores`{where}")
    check_unmasked(ceilings, f"`ceilings`{where}")
    # Copies, because the result keeps them.
    scores = as_numbers(scores, f"unit_scores{where}").copy()
    ceilings = as_numbers(ceilings, f"ceilings{where}").copy()
    if scores.ndim != 1 or scores.shape != ceilings.shape:
        raise ValueError(
            f"`unit_scores`{where} has the shape {scores.shape} and `ceilings` "
            f"{ceilings.shape}: both must have one number for each unit."
        )
    outside = (ceilings < 0) | (ceilings > 1)
    if outside.any():
        unit = np.flatnonzero(outside)[0]
        raise ValueError(
            f"`ceilings`{where} must be correlations from 0 to 1; unit {unit} has "
            f"{ceilings[unit]}. Explained variance in percent is the square, times 100."
        )
    kept = (ceilings >= threshold) & ~np.isnan(scores)
    if not kept.any():
        raise ValueError(
            f"No unit of `unit_scores`{where} is left: the largest ceiling of its "
            f"{len(scores)} units is {say_largest(ceilings)} and the threshold "
            f"{threshold}. Lower the threshold, or leave the layer out."
        )
    corrected = np.full(scores.shape, np.nan)
    corrected[kept] = scores[kept] / ceilings[kept]
    return {
        "raw": scores,
        "corrected": corrected,
        "ceilings": ceilings,
        "kept": kept,
        "n_left_out": int(np.count_nonzero(~kept)),
        **_means(scores[kept], ceilings[kept]),
    }


def _means(scores, ceilings):
    """Return the mean scores of the units of a layer."""
    return {
        "raw_mean": _mean(scores),
        "corrected_mean": _mean(scores / ceilings),
        "ratio_of_means": _mean(scores) / _mean(ceilings),
    }
