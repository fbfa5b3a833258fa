"""How well a unit can be predicted at all, given the noise of its recording."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from skmot._labels import as_labels
from skmot._repeats import say_largest, split_half_reliability, stimulus_codes
from skmot._validation import check_layer


@validate_params(
    {
        "repeats": "no_validation",
        "groups": "no_validation",
        "n_halves": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def noise_ceiling(repeats, groups=None, *, n_halves=100, random_state=None):
    """Estimate the highest correlation that any prediction of a unit can reach.

    The correlation between a unit's responses averaged over all repeats and its
    noiseless signal: the square root of the reliability of the average, estimated from
    random halves of the repeats. Divide scores on averaged responses by it with
    :func:`corrected_scores`.

    Parameters
    ----------
    repeats : array-like of shape (n_repeats, n_stimuli, n_units) or \
(n_trials, n_units)
        Every stimulus equally often; or one row a trial in any order, with `groups`,
        and stimuli may be repeated unequally often.
    groups : array-like of shape (n_trials,), default=None
        The stimulus each trial shows, such as the labels of a stack of trials
        (`stack.stimuli`); for rows of trials, and only for them.
    n_halves : int, default=100
        Number of random splits in halves.
    random_state : int, RandomState instance or None, default=None
        Of the splits.

    Returns
    -------
    ceilings : ndarray of shape (n_units,)
        From 0 to 1; 0 where the halves correlate negatively on average, NaN for a unit
        that is constant.

    Raises
    ------
    ValueError
        If there are fewer than two repeats, or fewer than two stimuli that have two;
        `groups` is missing, has another length, or is given with three dimensions; or
        responses are not finite numbers.

    See Also
    --------
    ceiling_from_ncsnr : From the signal-to-noise ratio a data set comes with.
    skmot.preprocessing.average_repeats : The averages that the ceiling is of.

    Notes
    -----
    In each split, h = n // 2 of a stimulus' n repeats are averaged on either side; of
    an odd number another one is left out each time, and stimuli shown once take no
    part. The correlation r between the two sides, over stimuli, becomes the reliability
    of the average over all repeats by the Spearman-Brown formula,
    k r / (1 + (k - 1) r), where k, the noise variance of a half over that of the
    average, is mean(1/h) / mean(1/n) over stimuli: 2 for an even number of repeats, 3
    for three repeats. With unequal numbers that supposes noise of the same variance for
    all stimuli.

    The correlations are averaged over splits before the correction. The formula is
    concave: corrected one by one, the scatter of the correlations would lower their
    mean (and one near -1 / (k - 1) could become any number). What bias is left,
    downwards too, is that of one correlation over this number of stimuli.

    An array of three dimensions is split by whole repeats, so that what shifts all
    responses of a repeat (a session's baseline) counts as no noise: it does not change
    the correlation of the average with anything. Trials are split stimulus by stimulus.

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
    """
    random = check_random_state(random_state)
    dimensions = np.ndim(repeats)
    if dimensions == 3:
        if groups is not None:
            raise ValueError(
                "`groups` is for rows of trials: in an array of shape (n_repeats, "
                "n_stimuli, n_units) the second axis says which stimulus it is."
            )
        n_repeats, n_stimuli, n_units = np.shape(repeats)
        if n_repeats < 2:
            raise ValueError(
                f"`repeats` has {n_repeats} repeat(s) of {n_stimuli} stimuli, while at "
                "least 2 are required: without repeats nothing tells signal from noise."
            )
        trials = check_layer(np.reshape(repeats, (-1, n_units)), "repeats")
        codes = np.tile(np.arange(n_stimuli), n_repeats)
        numbers = np.repeat(np.arange(n_repeats), n_stimuli)
    elif dimensions == 2:
        if groups is None:
            raise ValueError(
                "`repeats` has two dimensions, one row a trial: `groups` must say "
                "which stimulus each trial shows. Or give an array of shape "
                "(n_repeats, n_stimuli, n_units)."
            )
        trials = check_layer(repeats, "repeats")
        labels = as_labels(groups)
        if len(labels) != len(trials):
            raise ValueError(
                f"`groups` has {len(labels)} labels, but `repeats` has {len(trials)} "
                "trials."
            )
        codes, numbers = stimulus_codes(labels), None
    else:
        raise ValueError(
            f"`repeats` must have two or three dimensions; got {dimensions}: "
            "(n_repeats, n_stimuli, n_units), or (n_trials, n_units) with `groups`."
        )
    return np.sqrt(split_half_reliability(trials, codes, n_halves, random, numbers))


def ceiling_from_ncsnr(ncsnr, n_repeats):
    """Compute the noise ceiling from a signal-to-noise ratio, as a correlation.

    sqrt(ncsnr^2 / (ncsnr^2 + 1/n)) for responses averaged over n repeats ([1]_, where
    its square in percent is the noise ceiling, as explained variance).

    Parameters
    ----------
    ncsnr : array-like of shape (n_units,), or float
        Standard deviation of the signal over that of the noise of a single trial, as
        the Natural Scenes Dataset gives it for each voxel; 0 or larger, NaN where a
        unit has none.
    n_repeats : int, or array-like of shape (n_stimuli,)
        How many repeats were averaged; where stimuli differ in it, the number for each:
        1/n is then averaged over stimuli.

    Returns
    -------
    ceilings : ndarray of shape (n_units,), or float
        From 0 to 1; NaN where `ncsnr` is.

    Raises
    ------
    ValueError
        If a ratio is negative, or a number of repeats smaller than one.

    See Also
    --------
    noise_ceiling : From the repeats themselves.

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
    ncsnr = np.asarray(ncsnr, dtype=np.float64)
    if (ncsnr < 0).any():
        raise ValueError(
            f"`ncsnr` must not be negative; got {ncsnr[ncsnr < 0].flat[0]}."
        )
    n_repeats = np.asarray(n_repeats, dtype=np.float64)
    if n_repeats.size == 0 or not (n_repeats >= 1).all():
        raise ValueError(f"`n_repeats` must be 1 or larger; got {n_repeats}.")
    # Divided through by ncsnr^2: its square would overflow where there is no noise.
    with np.errstate(divide="ignore"):
        ceilings = 1 / np.hypot(1, np.sqrt(np.mean(1 / n_repeats)) / ncsnr)
    return float(ceilings) if ceilings.ndim == 0 else ceilings


@validate_params(
    {
        "unit_scores": "no_validation",
        "ceilings": "no_validation",
        "threshold": [Interval(Real, 0, 1, closed="right")],
    },
    prefer_skip_nested_validation=True,
)
def corrected_scores(unit_scores, ceilings, *, threshold):
    """Divide the scores of units by their noise ceilings.

    The score says how much of a unit is predicted, and the corrected score how much of
    what can be. Units of low ceiling are left out: their scores are noise, and noise
    divided by a small number.

    Parameters
    ----------
    unit_scores : array-like of shape (n_units,), or list of them
        Correlation of each unit with its prediction, one array a layer, as
        `unit_scores` of an estimator gives them.
    ceilings : array-like of shape (n_units,), or list of them
        Noise ceilings of the same units, those of the side that was predicted, as
        :func:`noise_ceiling` gives them; from 0 to 1.
    threshold : float
        Units of a smaller ceiling are left out; above 0 and at most 1. It has no
        default, because every report of corrected scores has to state it.

    Returns
    -------
    scores : :class:`sklearn.utils.Bunch`
        With the attributes

        raw, corrected : ndarray of shape (n_units,), or list of them
            Scores as given, and divided by the ceilings, NaN for units left out. A
            corrected score may exceed one: score and ceiling are estimates.
        raw_mean, corrected_mean : float
            Mean over layers of the mean over the units kept, the same units for both.
        kept : ndarray of bool of shape (n_units,), or list of them
            The units not left out.
        n_left_out : int or list of int
            How many units were: those of a ceiling under the threshold, and those
            without a score or a ceiling (NaN: constant units).
        threshold : float
            As given.

    Raises
    ------
    ValueError
        If scores and ceilings differ in their shapes, a ceiling is not between 0 and 1,
        or no unit of a layer is kept.

    Examples
    --------
    >>> from skmot.metrics import corrected_scores
    >>> scores = corrected_scores([0.4, 0.3, 0.1], [0.8, 0.5, 0.1], threshold=0.2)
    >>> scores.corrected
    array([0.5, 0.6, nan])
    >>> round(scores.raw_mean, 3), round(scores.corrected_mean, 3), scores.n_left_out
    (0.35, 0.55, 1)
    """
    layered = isinstance(unit_scores, list | tuple) and any(
        np.ndim(layer) > 0 for layer in unit_scores
    )
    if not layered:
        unit_scores, ceilings = [unit_scores], [ceilings]
    if len(unit_scores) != len(ceilings):
        raise ValueError(
            f"`unit_scores` has {len(unit_scores)} layers and `ceilings` has "
            f"{len(ceilings)}."
        )
    layers = [
        _correct(*pair, threshold, f", layer {index}" if layered else "")
        for index, pair in enumerate(zip(unit_scores, ceilings, strict=True))
    ]
    found = {
        name: [layer[name] for layer in layers] if layered else layers[0][name]
        for name in ("raw", "corrected", "kept", "n_left_out")
    }
    means = {
        f"{name}_mean": float(
            np.mean([part[name][part.kept].mean() for part in layers])
        )
        for name in ("raw", "corrected")
    }
    return Bunch(**found, **means, threshold=threshold)


def _correct(scores, ceilings, threshold, where):
    """Correct the scores of one layer."""
    scores = np.array(scores, dtype=np.float64)
    ceilings = np.asarray(ceilings, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != ceilings.shape:
        raise ValueError(
            f"`unit_scores`{where} has the shape {scores.shape} and `ceilings` "
            f"{ceilings.shape}: both must have one number a unit."
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
    return Bunch(
        raw=scores,
        corrected=corrected,
        kept=kept,
        n_left_out=int(np.count_nonzero(~kept)),
    )
