"""Scores of a fitted estimator, corrected for the trial noise of held-out responses."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from skmot._repeats import (
    averages_of_halves,
    random_halves,
    read_runs,
    split_half_reliability,
)
from skmot._scores import (
    DIRECTIONS,
    Reconstruction,
    check_is_estimator,
    reconstruct,
    unwrap,
)
from skmot._units import column_blocks, column_correlations, mean_over_units
from skmot._utils.results import Result
from skmot._utils.sklearn import Interval, StrOptions, validate_params
from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers.names import label_units, name_arrays_of, name_layers, unit_rows
from skmot.layers.sides import read_pair, read_side

# Below this mean ceiling a warning is raised, because the error of a score is divided
# by it.
_LOW_CEILING = 0.2
# A prediction is linear if that of an average differs from the average of predictions
# by less than this share of its deviation. Rounding of float32 stays far below it.
_LINEAR = 0.01


@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "y": "no_validation",
        "direction": [StrOptions(set(DIRECTIONS))],
        "both_sides": ["boolean"],
        "disjoint_trials": ["boolean"],
        "runs": "no_validation",
        "n_halves": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def noise_corrected_score(
    estimator,
    X,
    y,
    *,
    direction="target",
    both_sides=False,
    disjoint_trials=False,
    runs=None,
    n_halves=100,
    random_state=None,
):
    r"""Estimate the score that a fit would have on responses without trial noise.

    The correlation of each unit with its reconstruction is lowered by the noise that is
    left in averages over trials: in the recorded side that is scored, and, if it has
    trials, too, in the side from which it is reconstructed. The score is divided by the
    square root of their reliabilities, as in Spearman's correction for attenuation
    [1]_.

    Parameters
    ----------
    estimator : estimator, Pipeline or search
        Fitted estimator with `predict`, or with `inverse_predict` for
        `direction="source"`. For a search, its best estimator is scored. A
        :class:`skmot.preprocessing.TransformedTargetLayers` is scored on the
        transformed target.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Held-out source and target layers over the same stimuli. The side that is scored
        must be a stack made by :meth:`skmot.LayerStack.from_trials`. With `both_sides`
        or `disjoint_trials`, the other side, too.
    direction : {"target", "source"}, default="target"
        Side to reconstruct and score.
    both_sides : bool, default=False
        Whether to correct for the noise of the reconstruction, too. It needs a map that
        is linear in the responses, such as all plans, rotations and linear regressions
        of this package. Leave it False if the other side has no trial noise, as a
        network that gives one response to a stimulus.
    disjoint_trials : bool, default=False
        Whether to reconstruct from one half of the trials of each stimulus and score on
        the other half. Choose this if both sides were recorded at the same time: trial
        noise that they share, such as arousal or movement, would count as agreement,
        in the score and still more after correction. Both sides must have the same
        trials of each stimulus, in the same order.
    runs : array-like of shape (n_trials,), LayerStack, dict or None, default=None
        Run of each trial, as in :func:`noise_ceiling`: halves are then split by run. If
        the trials of the two sides differ, a dict with the keys "X" and "y"; a side
        without an entry is split by trial.
    n_halves : int, default=100
        Number of random splits into halves.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the splits. Pass an int for reproducible output
        across multiple function calls.

    Returns
    -------
    result : Result
        Dictionary-like object that prints as a sentence. ``result.to_frame()`` is a
        table with one row, ``to_frame("layers")`` has one row for each layer, and
        ``to_frame("units")`` one for each unit. The attributes are

        score, raw_score : float
            Score with and without correction, averaged over layers. The corrected score
            can exceed 1, because it is a ratio of estimates. Without `disjoint_trials`,
            `raw_score` is the correlation that `score` of the estimator computes.
        layer_scores, raw_layer_scores : ndarray of shape (n_layers,)
            Both scores of each layer of the scored side.
        unit_scores : list of ndarray of shape (n_units,)
            Correlation of each unit with its reconstruction, without correction, for
            each array of the scored side. NaN for constant units.
        ceilings : list of ndarray of shape (n_units,)
            Factor by which noise lowers the correlation of each unit, from 0 to 1.
        reliabilities : list of ndarray of shape (n_units,)
            Reliability of each unit that is scored, from 0 to 1: of the average over
            all trials, or over half of them with `disjoint_trials`.
        prediction_reliabilities : list of ndarray of shape (n_units,), or None
            Reliability of each reconstructed unit, NaN if its reconstruction is
            constant. None without `both_sides`.
        layer_names : list
            Names of the layers of the scored side, or their numbers, counted from 0.
        array_names : list
            Name of the layer of each array. It differs from `layer_names` if layers
            have layers themselves: a string with the names at all levels, joined by
            "/".
        unit_names : list of list
            Names of the units of each array, or their numbers, counted from 0.
        n_trained_on : int
            Number of stimuli that the estimator was trained on, as far as their labels
            tell. The score is one of held-out stimuli only if it is 0.
        direction, both_sides, disjoint_trials
            The given values.

    Raises
    ------
    ValueError
        If a side has no trials that are needed, the sides have other stimuli or, with
        `disjoint_trials`, other numbers of trials, the map or the transformer of the
        target is not linear, or no unit of a layer is reliable.

    Warns
    -----
    LeakWarning
        If some of the stimuli were trained on, as far as their labels tell. If all of
        them are the training rows, as for a score in sample that is meant, there is no
        warning, but the printed sentence and `n_trained_on` say so.
    UserWarning
        If the mean ceiling of an array is below 0.2: a score of mostly noise is then
        multiplied by a large number.

    See Also
    --------
    noise_ceiling : Ceilings of units, with intervals.
    corrected_scores : Corrects given scores of units for the noise of one side. The
        Notes of both say which to report.
    skmot.LayerStack.split_trials : Splits the trials of a stack, for instance to fit on
        disjoint trials.

    Notes
    -----
    For each array of units, the corrected score is a ratio of means,

    .. math:: \frac{\sum_j r_j}{\sum_j \sqrt{\rho_j \hat\rho_j}},

    where r is the correlation of unit j with its reconstruction, rho its reliability,
    and rho-hat the reliability of its reconstruction (1 without `both_sides`). It is a
    mean of the noiseless correlations, weighted by the ceilings. Layers count alike, as
    in the score.

    Reliabilities are correlations between averages over random halves of the trials,
    averaged over splits and converted by the Spearman-Brown formula, see
    :func:`noise_ceiling`. Negative correlations are clipped to 0, so reliabilities are
    from 0 to 1; they have no other lower limit. The reconstruction from the trials of a
    half keeps the plans and the means and deviations of training. As the map is linear,
    trials are reconstructed one by one, and reconstructions are averaged. (Dividing by
    the reliabilities of the other side's *units* instead would be wrong wherever a
    reconstruction averages several units, because their noise averages out.) A unit
    whose reconstruction is constant counts as 0 in the score, and with the mean
    reliability of the other reconstructions in the ceilings.

    With `disjoint_trials`, r is the mean correlation of the reconstruction from one
    half with the recorded average over the other half, and both reliabilities are those
    of halves, the correlations between halves themselves. Stimuli with one trial are
    left out. Without `both_sides`, the score is then that of a reconstruction from half
    of the trials.

    This is the number to report where trials of the held-out responses are there. If
    only ceilings are known, report `ratio_of_means` of :func:`corrected_scores`, which
    is the same ratio with :math:`\hat\rho_j = 1`, over the units that are kept.

    What it does not correct: the noise of the training responses, which makes the plans
    worse (this is the score of this fit, not of the best one); a fit to trials that
    share noise between the sides, which matches units by it (fit to disjoint trials,
    ``X.split_trials(random_state=0)[0]`` and ``y.split_trials(random_state=0)[1]``);
    and noise that trials share, such as a drift (see `runs`).

    In simulations (15 or 45 units a side, 50 or 100 held-out stimuli, four trials, 60
    data sets of each kind), the score that is corrected for both sides was on average
    .000 to .014 too high for single-trial noise of the size of the signal (root mean
    square error .02 to .03), and .01 to .06 too high for twice that noise (.05 to .11).
    If 30 % of the units of each side had no signal, it was .04 to .08, and 0 to .06,
    too low, because ceilings of pure noise are estimated above 0: select reliable units
    on the training stimuli (:class:`skmot.preprocessing.ReliabilitySelector`).

    References
    ----------
    .. [1] C. Spearman. The proof and measurement of association between two things.
       American Journal of Psychology, 1904.

    Examples
    --------
    Of two noisy recordings of the same signals, the noiseless score is 1:

    >>> import numpy as np
    >>> from skmot import LayerStack, SoftMatching
    >>> from skmot.metrics import noise_corrected_score
    >>> rng = np.random.default_rng(0)
    >>> signal, labels = rng.normal(size=(200, 8)), np.tile(np.arange(200), 4)
    >>> X, y = (
    ...     LayerStack.from_trials(
    ...         np.tile(signal, (4, 1)) + rng.normal(size=(800, 8)), labels
    ...     )
    ...     for _ in range(2)
    ... )
    >>> matching = SoftMatching().fit(X[:100], y[:100])
    >>> result = noise_corrected_score(
    ...     matching, X[100:], y[100:], both_sides=True, random_state=0
    ... )
    >>> round(result.raw_score, 1), round(result.score, 1)
    (0.8, 1.0)
    """
    X, y, *_ = read_pair(X, y)
    data = _HeldOut(estimator, X, y, direction)
    data.check_trials(both_sides, disjoint_trials)
    codes = data.runs(runs, disjoint_trials)
    random = check_random_state(random_state)
    averages, trials, names = data.reconstructions(both_sides or disjoint_trials)
    arrays = [
        _disjoint(average, of_trials, data.scored_rows, codes[0], n_halves, random)
        if disjoint_trials
        else _all_trials(average, of_trials, data, codes, both_sides, n_halves, random)
        for average, of_trials in zip(averages, trials, strict=True)
    ]
    if not both_sides:
        arrays = [array.without_prediction() for array in arrays]
    return _conclude(
        averages,
        arrays,
        names | {"n_trained_on": data.n_trained_on},
        direction,
        both_sides,
        disjoint_trials,
    )


class NoiseCorrectedScore(Result):
    """Result of `noise_corrected_score`."""

    def _tables(self):
        return {
            **super()._tables(),
            "layers": lambda: {
                "layer": self.layer_names,
                "score": self.layer_scores,
                "raw_score": self.raw_layer_scores,
            },
            "units": self._units,
        }

    def _units(self):
        columns = {
            "score": self.unit_scores,
            "ceiling": self.ceilings,
            "reliability": self.reliabilities,
        }
        if self.prediction_reliabilities is not None:
            columns["prediction_reliability"] = self.prediction_reliabilities
        return unit_rows(self.array_names, self.unit_names) | {
            name: np.concatenate(arrays) for name, arrays in columns.items()
        }


@dataclass(frozen=True)
class _HeldOut:
    """Fitted estimator with held-out rows of both sides."""

    estimator: object
    X: object
    y: object
    direction: str

    @property
    def scored(self):
        return self.y if self.direction == "target" else self.X

    @property
    def given(self):
        return self.X if self.direction == "target" else self.y

    @property
    def scored_rows(self):
        return self.scored.trial_rows

    @property
    def given_rows(self):
        return self.given.trial_rows

    @property
    def names(self):
        """Names of the scored and of the given side."""
        return ("y", "X") if self.direction == "target" else ("X", "y")

    @property
    def n_trained_on(self):
        """Number of stimuli that the estimator was trained on."""
        training = getattr(unwrap(self.estimator)[0], "_training", None)
        return 0 if training is None else training.count_trained(self.X, self.y)

    def check_trials(self, both_sides, disjoint_trials):
        """Raise an error if a side has no trials that are needed."""
        scored, given = self.names
        if not self.scored.has_trials:
            raise ValueError(
                f"{scored} has no trials, so its noise is not known: make it with "
                "`LayerStack.from_trials`."
            )
        if not (both_sides or disjoint_trials):
            return
        if not self.given.has_trials:
            option = "both_sides" if both_sides else "disjoint_trials"
            raise ValueError(
                f"{given} has no trials, which `{option}=True` needs: make it with "
                "`LayerStack.from_trials`. If it has no trial noise, there is nothing "
                f"to correct there: `{option}=False`."
            )
        if not disjoint_trials:
            return
        counts = self.X.n_trials, self.y.n_trials
        if not np.array_equal(*counts):
            row = np.flatnonzero(counts[0] != counts[1])[0]
            raise ValueError(
                f"X has {counts[0][row]} trials of the stimulus in row {row} and y "
                f"{counts[1][row]}: `disjoint_trials=True` is for sides that were "
                "recorded in the same trials. Otherwise their trials share no noise, "
                "and all of them can be used."
            )

    def runs(self, runs, disjoint_trials):
        """Return the runs of the trials of the scored and of the given side."""
        if isinstance(runs, Mapping):
            unknown = set(runs) - {"X", "y"}
            if unknown:
                raise ValueError(
                    f"`runs` has the key {unknown.pop()!r}: the keys are 'X' and 'y'."
                )
            if disjoint_trials:
                raise ValueError(
                    "With `disjoint_trials=True` the two sides have the same trials, "
                    "so give `runs` once, not for each side."
                )
            runs = [runs.get(name) for name in self.names]
        else:
            runs = [runs, runs]
        return [
            read_runs(of_side, side.trial_rows, side.stimuli, name)
            if side.has_trials
            else None
            for of_side, side, name in zip(
                runs, (self.scored, self.given), self.names, strict=True
            )
        ]

    def reconstructions(self, from_trials):
        """Reconstruct from averages, and pair trials with their reconstructions.

        Parameters
        ----------
        from_trials : bool
            Whether to reconstruct from single trials, too.

        Returns
        -------
        averages : list of Reconstruction
            Reconstructions from the averages.
        trials : list of Reconstruction
            Trials of the scored side and, if asked for, the reconstructions from the
            trials of the other side, which can differ in their number.
        names : dict
            Names of layers, arrays and units, as in the result.

        Raises
        ------
        ValueError
            If averages of transformed or reconstructed trials are not those of the
            averages.
        """
        final, X, y = unwrap(self.estimator, self.X, self.y)
        check_is_estimator(final)
        training = getattr(final, "_training", None)
        if training is not None:
            training.check(X, y)
        averages = reconstruct(final, self.direction, X, y)
        names = _name(averages, y if self.direction == "target" else X)
        sides = {"X": self.X, "y": self.y}
        scored, given = self.names
        sides[scored] = self.scored.trials
        if from_trials:
            sides[given] = self.given.trials
        final, X, y = unwrap(self.estimator, **sides)
        trials = reconstruct(final, self.direction, X, y)
        for average, of_trials in zip(averages, trials, strict=True):
            _check_linear(
                average.recorded,
                of_trials.recorded,
                self.scored_rows,
                f"The transformer of {scored}",
            )
            if from_trials:
                _check_linear(
                    average.reconstructed,
                    of_trials.reconstructed,
                    self.given_rows,
                    f"The reconstruction of {average.where}",
                )
        return averages, trials, names


def _name(averages, scored):
    """Return the names of layers, arrays and units of the scored side."""
    # The name of the argument is "y", since a vector is one unit.
    stack, _ = read_side(scored, "y")
    layer_names, labels = name_layers(stack), label_units(name_arrays_of(stack))
    array_names, unit_names, start = [], [], 0
    for part in averages:
        units = slice(start, start + part.recorded.shape[1])
        start = units.stop
        of_units = set(labels["layer"][units])
        # The layers of a layer can be reconstructed as one array.
        name = of_units.pop() if len(of_units) == 1 else layer_names[part.layer]
        array_names.append(name)
        unit_names.append(labels["unit"][units])
    return {
        "layer_names": layer_names,
        "array_names": array_names,
        "unit_names": unit_names,
    }


def _check_linear(averages, trials, rows, what):
    """Raise an error unless averages are the averages of the trials."""
    # Rows of trials are sorted.
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    shift = trials[0].astype(np.float64)
    expected = np.add.reduceat(trials - shift, first, axis=0)
    expected /= np.bincount(rows)[:, np.newaxis]
    averages = averages - shift
    deviation = np.sqrt(np.mean((averages - averages.mean(axis=0)) ** 2))
    difference = np.sqrt(np.mean((averages - expected) ** 2))
    if difference > _LINEAR * deviation:
        raise ValueError(
            f"{what} is not linear: what it makes of averages over trials differs from "
            f"the average of what it makes of trials, by {difference / deviation:.2g} "
            "of its deviation. Its reliability cannot be estimated from halves of the "
            "trials. Use a linear map (or `both_sides=False`, which needs none) and "
            "linear transformers."
        )


@dataclass(frozen=True)
class _Array:
    """Scores and reliabilities of the units of one array."""

    unit_scores: np.ndarray
    reliabilities: np.ndarray
    prediction_reliabilities: np.ndarray | None

    def without_prediction(self):
        return _Array(self.unit_scores, self.reliabilities, None)

    @property
    def ceilings(self):
        """Factor by which noise lowers the correlation of each unit."""
        if self.prediction_reliabilities is None:
            return np.sqrt(self.reliabilities)
        of_prediction = np.sqrt(self.prediction_reliabilities)
        constant = np.isnan(of_prediction)
        if not constant.all():
            of_prediction[constant] = of_prediction[~constant].mean()
        return np.sqrt(self.reliabilities) * of_prediction


def _all_trials(average, trials, data, runs, both_sides, n_halves, random):
    """Score the averages over all trials, and estimate their reliabilities."""
    of_prediction = None
    reliabilities = split_half_reliability(
        trials.recorded, data.scored_rows, n_halves, random, runs[0]
    )
    if both_sides:
        of_prediction = split_half_reliability(
            trials.reconstructed, data.given_rows, n_halves, random, runs[1]
        )
    return _Array(average.unit_scores(), reliabilities, of_prediction)


def _disjoint(average, trials, rows, runs, n_halves, random):
    """Score reconstructions from one half of the trials on the other half."""
    halves = random_halves(rows, n_halves, random, runs)
    scores, recorded, reconstructed = np.zeros((3, trials.recorded.shape[1]))
    for part in column_blocks(trials.recorded):
        for (y1, y2), (x1, x2) in zip(
            averages_of_halves(trials.recorded[:, part], halves),
            averages_of_halves(trials.reconstructed[:, part], halves),
            strict=True,
        ):
            scores[part] += _correlations(y1, x2) / 2 + _correlations(y2, x1) / 2
            recorded[part] += _correlations(y1, y2)
            reconstructed[part] += _correlations(x1, x2)
    is_missing = np.isnan(average.unit_scores())
    for sums in (scores, recorded):
        sums /= n_halves
        sums[is_missing] = np.nan
    reconstructed /= n_halves
    reconstructed[np.ptp(trials.reconstructed, axis=0) == 0] = np.nan
    return _Array(scores, recorded.clip(0, 1), reconstructed.clip(0, 1))


def _correlations(first, second):
    """Correlate columns; a column without variance has correlation 0."""
    return np.nan_to_num(column_correlations(first, second))


def _conclude(averages, arrays, facts, direction, both_sides, disjoint_trials):
    """Compute the ratios of means, and put them into words.

    Parameters
    ----------
    averages : list of Reconstruction
        Reconstructions from averages over trials.
    arrays : list of _Array
        Scores and reliabilities of their units.
    facts : dict
        Further entries of the result: names, and the number of training stimuli.
    direction, both_sides, disjoint_trials
        As in `noise_corrected_score`.
    """
    n_layers = averages[-1].layer + 1
    raw, corrected = np.zeros((2, n_layers))
    for part, array in zip(averages, arrays, strict=True):
        score, ratio = _ratio_of_means(part, array)
        raw[part.layer] += part.weight * score
        corrected[part.layer] += part.weight * ratio
    of_prediction = [array.prediction_reliabilities for array in arrays]
    what = "of the side that is scored"
    if both_sides:
        what += " and of its reconstruction"
    shared = "Trial noise that both sides share, as in simultaneous recordings, "
    shared += (
        "does not count as agreement, because the sides are averaged over different "
        "trials."
        if disjoint_trials
        else "would raise it (see `disjoint_trials`)."
    )
    return NoiseCorrectedScore(
        f"The score of the {direction} is {raw.mean():.3f}, and {corrected.mean():.3f} "
        f"after correction for the trial noise {what} in these stimuli. This estimates "
        "the score of this fit on responses without that noise; it does not show how "
        f"well a fit to noiseless training responses would do. {shared}"
        f"{_say_trained_on(facts['n_trained_on'])}",
        score=float(corrected.mean()),
        raw_score=float(raw.mean()),
        layer_scores=corrected,
        raw_layer_scores=raw,
        unit_scores=[array.unit_scores for array in arrays],
        ceilings=[array.ceilings for array in arrays],
        reliabilities=[array.reliabilities for array in arrays],
        prediction_reliabilities=of_prediction if both_sides else None,
        **facts,
        direction=direction,
        both_sides=both_sides,
        disjoint_trials=disjoint_trials,
    )


def _say_trained_on(n_stimuli):
    """Return a sentence if the scores are not those of held-out stimuli."""
    if n_stimuli == 0:
        return ""
    return (
        f" {n_stimuli} of the stimuli were trained on, so this is no score of held-out "
        "stimuli: the fit follows the noise of these trials, and the correction makes "
        "more of it."
    )


def _ratio_of_means(part: Reconstruction, array):
    """Return the mean score of an array, and its ratio to the mean ceiling."""
    score = mean_over_units(array.unit_scores, part.where)
    ceiling = array.ceilings[~np.isnan(array.unit_scores)].mean()
    if not ceiling > 0:
        raise ValueError(
            f"No unit of {part.where} is reliable: the halves of the trials correlate "
            "negatively for all units or their reconstructions. There is no signal to "
            "which the score could be compared. Leave the layer out."
        )
    if ceiling < _LOW_CEILING:
        warnings.warn(
            f"The mean ceiling of {part.where} is {ceiling:.2f}: its score is mostly "
            "noise, and the correction multiplies it. Select reliable units on the "
            "training stimuli (`ReliabilitySelector`), or leave the layer out.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    return score, score / ceiling
