"""Class Comparison: the scores of methods on pairs of networks, and their inference."""

import math
import textwrap
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np

from skmot._utils.array_api import to_numpy
from skmot._utils.frames import choose_table
from skmot._utils.warnings import stacklevel_of_caller
from skmot.layers.names import pair_columns
from skmot.model_selection.differences import LINE, Differences, holm, table_lines
from skmot.model_selection.over_networks import mean_over_networks

PAIR_COLUMNS = ("source", "target", "method", "direction")
# Units are the same if what tells them apart, a number around 1, is as close as this.
_ALIKE = 1e-5
# Scores that differ by less than this share of them differ by rounding errors.
_ROUNDING = 1e-12
_OVER = ("networks", "stimuli")
_CORRECTIONS = ("holm", None)
_HIERARCHY_SCORES = ("hierarchy_score", "adjusted_hierarchy_score")
# Entries of a row that need the variance over stimuli.
_NEED_STIMULI = ("low", "high", "p_value", "standard_error", "detectable")
_CONFIDENCE_LEVEL = 0.95
# Columns of a printed comparison.
_PRINTED = ("method", "direction", "mean", "low", "high")


class Comparison:
    """Scores of methods on pairs of networks, returned by :func:`compare`.

    ``print(comparison)`` shows the mean score of each method, with an interval over
    held-out stimuli, and which methods treat all layers of a network as one population.

    Attributes
    ----------
    rows : list of dict
        One dict for each pair, method, direction, split and layer, with the keys

        - "source", "target", "method": names of the networks and of the method;
        - "direction": "target", "source" or "cost";
        - "split": index of the split;
        - "layer": name or index of the layer; None for a cost;
        - "score": held-out correlation, or cost on the held-out stimuli;
        - "n_units": number of units that the score is a mean of; None for a cost;
        - "seconds": time of the fit, the same in all rows of a fit. Methods that share
          a fit have the time of that fit plus that of their own coupling of the layers,
          which is about what each of them takes alone. Sums over such methods count
          the fit several times.
    kept : list of dict
        What `compare` was asked to keep, one dict for each pair, method and split with
        the keys "source", "target", "method", "split" and

        - for "couplings": "coupling" and "inverse_coupling", the fitted `coupling_` and
          `inverse_coupling_`, None for methods without them, and "source_layers" and
          "target_layers", the names of the layers or their numbers, None for methods
          that do not couple layers;
        - for "hierarchy_scores": "hierarchy_score" and "adjusted_hierarchy_score" of
          `coupling_`, NaN for methods without a layer coupling; the adjusted one is NaN
          also if a network has one layer;
        - for "unit_scores": "unit_scores", a dict with a list for each direction. It
          has one array per layer with the held-out correlation of each unit, NaN for
          units that are constant in the held-out rows; and "unit_names", a dict with a
          list for each direction. It has one list of names per layer, None for layers
          whose units have no names.

    See Also
    --------
    compare : Function that runs a comparison.
    """

    def __init__(self, rows, kept, facts):
        self.rows = rows
        self.kept = kept
        self._facts = facts

    def __repr__(self):
        n_methods = len({row["method"] for row in self.rows})
        n_pairs = len({(row["source"], row["target"]) for row in self.rows})
        return (
            f"Comparison({n_methods} methods, {n_pairs} pairs, {self._facts.n_splits} "
            f"splits, {len(self.rows)} rows)"
        )

    def __str__(self):
        rows = self.summary(("method", "direction"))
        columns = _PRINTED
        if any(row["layers"] is not None for row in rows):
            columns += ("layers",)
            rows = [row | {"layers": row["layers"] or ""} for row in rows]
        return "\n".join(
            [*table_lines(rows, columns), *textwrap.wrap(self._conclusion(), LINE)]
        )

    def _conclusion(self):
        """Say what the printed scores show, and what they do not show."""
        n_pairs = len({(row["source"], row["target"]) for row in self.rows})
        text = f"Means over {n_pairs} pair(s) of networks and {self._facts.n_splits} "
        directions = {row["direction"] for row in self.rows}
        text += "split(s)."
        if directions - {"cost"}:
            text += (
                f" `low` and `high` are {_CONFIDENCE_LEVEL:.0%} intervals over "
                "held-out stimuli, for these networks and these fits only: they do not "
                "show what other networks would give, and are too narrow if splits "
                "train on each other's held-out stimuli. Whether methods differ is "
                "shown by `differences(reference)`, which pairs their scores."
            )
        if "cost" in directions:
            text += (
                " Costs have no interval over stimuli; lower costs mean more alike. "
                "Costs of different methods have different units."
            )
        return text + _say_layers(self._facts.layers)

    def join(self, *others):
        """Return the rows of several comparisons as one comparison.

        Use it to add methods or pairs to a comparison that has been made before.

        Parameters
        ----------
        *others : Comparison
            Comparisons with the same splits and the same resamples of the stimuli: made
            with the same `cv`, `groups`, `n_bootstrap` and integer `random_state`.

        Returns
        -------
        comparison : Comparison
            The rows of this comparison and of the others.

        Raises
        ------
        ValueError
            If the splits or the resamples differ, a pair has been compared by a method
            of the same name in two of them, or networks of the same name are not the
            same.
        """
        rows, kept, facts, fits = [], [], None, set()
        for part in (self, *others):
            own = {
                tuple(row[column] for column in PAIR_COLUMNS[:3]) for row in part.rows
            }
            facts = part._facts if facts is None else facts.join(part._facts)
            if own & fits:
                source, target, method = min(own & fits, key=str)
                raise ValueError(
                    f"Method {method!r} is in two of the comparisons for source "
                    f"{source!r} and target {target!r}: give it another name."
                )
            fits |= own
            rows += part.rows
            kept += part.kept
        return Comparison(rows, kept, facts)

    def to_frame(self, table="scores"):
        """Return the scores, or what was kept, as a table.

        Parameters
        ----------
        table : str, default="scores"
            - "scores": the keys of :attr:`rows` as columns;
            - "couplings": one row for each pair of layers that a method couples in a
              split, with the columns "source", "target", "method", "split",
              "source_layer", "target_layer", "coupling" and "inverse_coupling";
            - "hierarchy_scores": one row for each split, with the columns "source",
              "target", "method", "split", "hierarchy_score" and
              "adjusted_hierarchy_score";
            - "unit_scores": one row for each unit in each split, with the columns
              "source", "target", "method", "direction", "split", "layer", "unit" and
              "score".

            All but "scores" need the same word in `keep` of :func:`compare`.

        Returns
        -------
        frame : pandas.DataFrame
            Table.

        Raises
        ------
        ImportError
            If pandas is not installed: ``pip install 'skmot[data]'``.
        ValueError
            If the comparison has no such table.
        """
        tables = {"scores": lambda: self.rows}
        kept = set().union(*self.kept)
        for name, key, make in (
            ("couplings", "coupling", _couplings),
            ("hierarchy_scores", "hierarchy_score", _hierarchy_scores),
            ("unit_scores", "unit_scores", self._unit_scores),
        ):
            if key in kept:
                tables[name] = partial(make, self.kept)
        return choose_table(tables, table)

    def _unit_scores(self, kept):
        """Return one row for each unit in each split."""
        layers = {}
        for row in self.rows:
            fit = (*(row[column] for column in PAIR_COLUMNS), row["split"])
            layers.setdefault(fit, []).append(row["layer"])
        blocks = []
        for fit in kept:
            for direction, scores in fit.get("unit_scores", {}).items():
                pair = {column: fit[column] for column in PAIR_COLUMNS[:3]}
                pair |= {"direction": direction, "split": fit["split"]}
                names = fit["unit_names"][direction]
                for layer, units, of_layer in zip(
                    layers[tuple(pair.values())], names, scores, strict=True
                ):
                    units = range(len(of_layer)) if units is None else units
                    columns = {"unit": units, "score": of_layer.tolist()}
                    blocks.append(({**pair, "layer": layer}, columns))
        return _join_blocks(blocks)

    def summary(self, by=PAIR_COLUMNS, *, confidence_level=_CONFIDENCE_LEVEL):
        """Compute the mean and standard deviation of scores over splits.

        For each split, scores are first averaged over layers and then over all columns
        that are not in `by`.

        Parameters
        ----------
        by : sequence of str, default=("source", "target", "method", "direction")
            Columns to group by. ("method", "direction") averages over pairs.
        confidence_level : float, default=0.95
            Confidence level of each interval, between 0 and 1.

        Returns
        -------
        summary : list of dict
            One dict for each group, with the columns of `by` and

            - "mean": mean over splits;
            - "standard_deviation_over_splits": computed with n_splits - 1; NaN for one
              split;
            - "standard_error_over_splits": the standard deviation divided by the square
              root of "n_splits". It assumes that splits are independent, and is too
              small if splits share training rows;
            - "n_splits": number of splits;
            - "low", "high": bounds of the confidence interval of the mean over held-out
              stimuli, NaN for costs and single layers, which are not computed on
              resamples;
            - "confidence_level": the given level;
            - "standard_error_over_stimuli": standard deviation over resamples, NaN as
              the bounds are;
            - "n_bootstrap": number of resamples in which every pair has a score;
            - "layers": "side by side" if the methods of the group treat all layers of a
              network as one population, "one by one" if they couple layers. None if
              both sides have one layer, if a method is not skmot's, or if methods
              differ.

        Raises
        ------
        ValueError
            If `by` contains other columns than the default ones and "layer", or does
            not contain "direction". Without it, costs would be averaged with
            correlations. Or if the confidence level is out of range.

        Notes
        -----
        The interval holds for these networks, subjects or seeds, and for these fits:
        only the held-out stimuli (or groups, if `groups` were given) are a sample. It
        is a percentile bootstrap, whose resamples are the same for all pairs, so that
        the mean over pairs has an interval even if there are only two of them. In 300
        simulated data sets each, of two subjects, 95 % intervals missed the mean score
        of these fits for new stimuli in .083 (.055 to .121; 30 stimuli held out) and
        .077 (.049 to .113; 100 stimuli held out), so they are a little too narrow. With
        five folds of 100 stimuli, which train on each other's held-out stimuli, they
        missed it in .150 (.112 to .196).
        """
        by = tuple(by)
        _check_confidence_level(confidence_level)
        if not set(by) <= {*PAIR_COLUMNS, "layer"} or "direction" not in by:
            raise ValueError(
                f"`by` must be some of {(*PAIR_COLUMNS, 'layer')}, with 'direction'; "
                f"got {by}."
            )
        # Averaging over layers first gives networks of any depth the same weight.
        layer = ("layer",) if "layer" in by else ()
        scores = _average(self.rows, (*PAIR_COLUMNS, "split", *layer))
        found = {}
        for row in _average(scores, (*by, "split")):
            key = tuple(row[column] for column in by)
            found.setdefault(key, []).append(row["score"])
        tail = (1 - confidence_level) / 2
        summary = []
        for key, scores in found.items():
            group = dict(zip(by, key, strict=True))
            fits = self._fits_of(group)
            # Scores of single layers are not computed on resamples.
            resampled = np.empty(0) if layer else self._mean_resampled(fits)
            low, high = _interval(resampled, tail)
            layers = {self._facts.layers[fit[:3]] for fit in fits}
            summary.append(
                {
                    **group,
                    **_spread(np.array(scores)),
                    "low": low,
                    "high": high,
                    "confidence_level": confidence_level,
                    "standard_error_over_stimuli": _deviation(resampled),
                    "n_bootstrap": len(resampled),
                    "layers": layers.pop() if len(layers) == 1 else None,
                }
            )
        return summary

    def _fits_of(self, group):
        """Return source, target, method and direction of the fits of a group.

        Parameters
        ----------
        group : dict
            Values of some of these columns.
        """
        fits = dict.fromkeys(
            tuple(row[column] for column in PAIR_COLUMNS) for row in self.rows
        )
        known = [
            (PAIR_COLUMNS.index(column), value)
            for column, value in group.items()
            if column in PAIR_COLUMNS
        ]
        return [
            fit for fit in fits if all(fit[place] == value for place, value in known)
        ]

    def _mean_resampled(self, fits):
        """Return the mean over fits on each resample in which all have a score."""
        resampled = self._facts.resampled
        # Costs are not computed on resamples.
        if not all(fit in resampled for fit in fits):
            return np.empty(0)
        return _defined(np.mean([resampled[fit] for fit in fits], axis=0))

    def differences(
        self,
        reference,
        over="networks",
        *,
        correction="holm",
        confidence_level=0.95,
    ):
        """Compare each method with a reference method on the same pairs and splits.

        Parameters
        ----------
        reference : str
            Name of the method to compare the others with.
        over : {"networks", "stimuli"}, default="networks"
            What the result is to hold for.

            - "networks": the mean over pairs, with the networks and the held-out
              stimuli as samples. This is what a statement about methods needs, and the
              default for that reason: with too few networks it gives no p-value. Four
              are needed on one side at least, or in one set.
            - "stimuli": each pair by itself, for these networks and these fits. Only
              the held-out stimuli are a sample. Nothing follows for other networks.
        correction : {"holm", None}, default="holm"
            Correction of the p-values over the methods of a direction, for
            `over="networks"`.
        confidence_level : float, default=0.95
            Confidence level of each interval, between 0 and 1. Intervals are not
            corrected for the number of methods.

        Returns
        -------
        differences : Differences
            List of dicts that prints as a table, with a conclusion. Each dict has
            "method", "reference", "direction" and

            - "difference": score of the method minus score of the reference, averaged
              over splits;
            - "low", "high": bounds of the confidence interval;
            - "confidence_level": the given level;
            - "standard_error_over_stimuli": standard deviation over resamples.

            For `over="networks"` there is one dict for each direction and other method,
            the difference is averaged over pairs, and there are also

            - "p_value", "p_corrected": two-sided p-value of the mean difference, and
              the corrected one;
            - "low_over_stimuli", "high_over_stimuli": bounds of the confidence interval
              of the mean difference over held-out stimuli alone. It holds for these
              networks only, and is what can be said with too few networks for "low" and
              "high";
            - "standard_error", "standard_error_over_networks", "degrees_of_freedom",
              "detectable", "sample", "n_sources", "n_targets", "n_networks" and
              "n_pairs": see :func:`skmot.model_selection.mean_over_networks`.

            For `over="stimuli"` there is one dict for each pair, direction and other
            method, and there are also "source", "target" and "n_bootstrap", the number
            of resamples in which every layer has a score.

        Raises
        ------
        ValueError
            If there is no method with this name, an option is unknown, or, for
            `over="networks"`, two sets of networks are not a complete grid, two names
            of one side are the same network, or there are fewer than two resamples.

        Warns
        -----
        UserWarning
            If a method and the reference did not score the same units of a side, for
            instance because a pipeline transforms the source. That direction is left
            out. So are costs in different units: costs are compared only if the methods
            are the same :class:`skmot.MultiLevelOT` except for `strategy` and
            `depth_prior`.

        Notes
        -----
        For "stimuli", the confidence interval is a percentile bootstrap over held-out
        stimuli, or over groups if `groups` were given. Both methods are scored on the
        same resamples in all splits. The interval does not include the uncertainty due
        to the training stimuli, because the methods are not refitted. If splits train
        on each other's held-out stimuli, it is too narrow for weak effects (simulated
        for five folds: standard deviation of a difference .049, said to be .030).

        For "networks", the test is that of
        :func:`skmot.model_selection.mean_over_networks`, applied to the difference of
        each pair. Networks that are both sources and targets make up one set, and are
        recognised by their responses, whatever their names.

        Differences of costs have no interval over stimuli: a cost is one number of all
        held-out stimuli, and is not computed on resamples. Those entries are NaN, and
        so is the p-value, because without the variance over stimuli it would be too
        small. A negative difference of costs means that the networks are more alike
        under the method than under the reference.

        Examples
        --------
        >>> import numpy as np
        >>> from skmot import SoftMatching
        >>> from skmot.model_selection import compare
        >>> rng = np.random.default_rng(0)
        >>> shared = rng.normal(size=(60, 4))
        >>> def draw(n_units):
        ...     own = rng.normal(size=(60, n_units))
        ...     units = shared @ rng.normal(size=(4, n_units)) + own
        ...     return units * rng.exponential(size=n_units)
        >>> sources = {name: draw(12) for name in "abcd"}
        >>> targets = {name: draw(8) for name in "vwxyz"}
        >>> methods = {"plain": SoftMatching(), "raw": SoftMatching(reconstruct="raw")}
        >>> comparison = compare(
        ...     sources, targets, methods, cv=2, random_state=0, verbose=False
        ... )
        >>> row = comparison.differences("raw")[0]
        >>> row["sample"], row["n_pairs"], row["p_corrected"] < 0.05
        ('sources and targets', 20, False)
        """
        if reference not in self._methods:
            raise ValueError(
                f"`reference` must be one of the methods {self._methods}; got "
                f"{reference!r}."
            )
        if over not in _OVER:
            raise ValueError(f"`over` must be one of {_OVER}; got {over!r}.")
        if correction not in _CORRECTIONS:
            raise ValueError(
                f"`correction` must be one of {_CORRECTIONS}; got {correction!r}."
            )
        _check_confidence_level(confidence_level)
        paired = self._paired_differences(reference)
        if over == "stimuli":
            rows = [_over_stimuli(pair, reference, confidence_level) for pair in paired]
        else:
            rows = self._over_networks(paired, reference, confidence_level, correction)
        return Differences(
            rows,
            reference,
            over,
            correction,
            self._methods,
            _say_layers(self._facts.layers),
        )

    @property
    def _methods(self):
        return list(dict.fromkeys(row["method"] for row in self.rows))

    def _paired_differences(self, reference):
        """Return the difference of each pair, direction and other method."""
        facts = self._facts
        differences, other_costs, other_units = [], {}, {}
        means = {
            tuple(row[column] for column in PAIR_COLUMNS): row["score"]
            for row in _average(self.rows, PAIR_COLUMNS)
        }
        for key, score in means.items():
            source, target, method, direction = key
            reference_key = source, target, reference, direction
            if method == reference or reference_key not in means:
                continue
            resampled = None
            if direction == "cost":
                if not facts.have_same_cost(method, reference):
                    other_costs.setdefault(method, []).append(key)
                    continue
            else:
                units = zip(facts.units[key], facts.units[reference_key], strict=True)
                if not all(_same_units(*fits) for fits in units):
                    other_units.setdefault((method, direction), []).append(key)
                    continue
                resampled = facts.resampled[key] - facts.resampled[reference_key]
            difference = score - means[reference_key]
            if abs(difference) <= _ROUNDING * abs(score):
                difference = 0.0
            differences.append(_PairedDifference(*key, difference, resampled))
        for keys in other_costs.values():
            self._warn_about_costs(keys, reference)
        for keys in other_units.values():
            self._warn_about_other_units(keys, reference)
        return differences

    def _over_networks(self, paired, reference, confidence_level, correction):
        """Return the rows for networks as a sample."""
        found = {}
        for pair in paired:
            found.setdefault((pair.method, pair.direction), []).append(pair)
        labels = self._facts.labels() if found else {}
        rows = []
        for (method, direction), pairs in found.items():
            ends = [
                (labels["source", pair.source], labels["target", pair.target])
                for pair in pairs
            ]
            values = [pair.difference for pair in pairs]
            resampled, of_mean = None, np.empty(0)
            if direction != "cost":
                resampled = dict(
                    zip(ends, (pair.resampled for pair in pairs), strict=True)
                )
                of_mean = _defined(np.mean(list(resampled.values()), axis=0))
            result = mean_over_networks(
                dict(zip(ends, values, strict=True)),
                resampled,
                one_set=self._facts.is_one_set,
                confidence_level=confidence_level,
            )
            del result["conclusion"]
            low, high = _interval(of_mean, (1 - confidence_level) / 2)
            row = {
                "method": method,
                "reference": reference,
                "direction": direction,
                "difference": result.pop("mean"),
                **result,
                "low_over_stimuli": low,
                "high_over_stimuli": high,
            }
            if direction == "cost":
                # Without a variance over stimuli the test rejects too often.
                row |= dict.fromkeys(_NEED_STIMULI, float("nan"))
            rows.append(row)
        for direction in dict.fromkeys(row["direction"] for row in rows):
            family = [row for row in rows if row["direction"] == direction]
            p_values = np.array([row["p_value"] for row in family])
            if correction == "holm":
                p_values = holm(p_values)
            for row, p_value in zip(family, p_values, strict=True):
                row["p_corrected"] = float(p_value)
        return rows

    def _warn_about_costs(self, keys, reference):
        """Warn that there is no difference between the costs of some pairs."""
        method = keys[0][2]
        warnings.warn(
            f"No difference of costs for {_say_pairs(keys)}: the costs of {method!r} "
            f"and {reference!r} may have different units. Costs compare strategies of "
            "one MultiLevelOT only, with the same inner estimator and the same "
            "settings.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )

    def _warn_about_other_units(self, keys, reference):
        """Warn that a method and the reference scored other units in some pairs."""
        source, target, method, direction = keys[0]
        counts = [
            sum(
                row["n_units"]
                for row in self.rows
                if row["split"] == 0
                and [row[column] for column in PAIR_COLUMNS]
                == [source, target, name, direction]
            )
            for name in (method, reference)
        ]
        warnings.warn(
            f"No difference in the direction {direction!r} for {_say_pairs(keys)}: "
            f"{method!r} scored {counts[0]} unit(s) and {reference!r} {counts[1]}, and "
            "they are not the same units. A paired difference is between scores of the "
            "same units.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _couplings(kept):
    """Return one row for each pair of layers that are coupled in a split."""
    blocks = []
    for fit in kept:
        if fit.get("source_layers") is not None:
            columns = pair_columns(
                fit["source_layers"],
                fit["target_layers"],
                coupling=to_numpy(fit["coupling"]),
                inverse_coupling=to_numpy(fit["inverse_coupling"]),
            )
            blocks.append((_name_fit(fit), columns))
    return _join_blocks(blocks)


def _hierarchy_scores(kept):
    """Return one row for each split."""
    return [
        {**_name_fit(fit), **{name: fit[name] for name in _HIERARCHY_SCORES}}
        for fit in kept
        if _HIERARCHY_SCORES[0] in fit
    ]


def _name_fit(fit):
    return {name: fit[name] for name in ("source", "target", "method", "split")}


def _join_blocks(blocks):
    """Return the columns of blocks of rows, one below the other.

    Parameters
    ----------
    blocks : list of tuple of two dict
        Values that all rows of a block have, and columns that differ between rows.
    """
    joined = {}
    for fixed, columns in blocks:
        n_rows = len(next(iter(columns.values())))
        for name, value in fixed.items():
            joined.setdefault(name, []).extend([value] * n_rows)
        for name, values in columns.items():
            joined.setdefault(name, []).extend(values)
    return joined


def _say_pairs(keys):
    """Name the first pair, and the number of all pairs if there are more."""
    source, target, *_ = keys[0]
    more = f" ({len(keys)} pairs in all)" if len(keys) > 1 else ""
    return f"source {source!r} and target {target!r}{more}"


@dataclass(frozen=True)
class _PairedDifference:
    """Difference of two methods on one pair of networks."""

    source: object
    target: object
    method: object
    direction: str
    difference: float
    resampled: np.ndarray | None


def _over_stimuli(pair, reference, confidence_level):
    """Return the row of one pair, with a bootstrap interval over stimuli."""
    resampled = np.empty(0) if pair.resampled is None else _defined(pair.resampled)
    low, high = _interval(resampled, (1 - confidence_level) / 2)
    return {
        "source": pair.source,
        "target": pair.target,
        "method": pair.method,
        "reference": reference,
        "direction": pair.direction,
        "difference": pair.difference,
        "low": low,
        "high": high,
        "confidence_level": confidence_level,
        "standard_error_over_stimuli": _deviation(resampled),
        "n_bootstrap": len(resampled),
    }


def _same_units(first, second):
    """Whether two fits scored the same units."""
    return first.shape == second.shape and np.allclose(first, second, atol=_ALIKE)


def _average(rows, by):
    """Average the scores of rows with equal values in the columns `by`."""
    found = {}
    for row in rows:
        found.setdefault(tuple(row[column] for column in by), []).append(row["score"])
    return [
        {**dict(zip(by, key, strict=True)), "score": float(np.mean(scores))}
        for key, scores in found.items()
    ]


def _spread(scores):
    n_splits = len(scores)
    deviation = _deviation(scores)
    return {
        "mean": float(scores.mean()),
        "standard_deviation_over_splits": deviation,
        "standard_error_over_splits": deviation / math.sqrt(n_splits),
        "n_splits": n_splits,
    }


def _deviation(scores):
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan")


def _defined(resampled):
    """Return the values of the resamples that have one."""
    return resampled[~np.isnan(resampled)]


def _check_confidence_level(confidence_level):
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"`confidence_level` must be between 0 and 1; got {confidence_level}."
        )


def _say_layers(layers):
    """Say which methods treat layers as one population, if others do not.

    Parameters
    ----------
    layers : dict of str or None
        How each method treats the layers of each pair.
    """
    if not {"side by side", "one by one"} <= set(layers.values()):
        return ""
    methods = dict.fromkeys(
        method for (*_, method), how in layers.items() if how == "side by side"
    )
    return (
        " These methods treat all layers of a network as one population, and do not "
        f"couple layers: {', '.join(map(repr, methods))}. Inside of a `MultiLevelOT` "
        "they would compare layer by layer."
    )


def _interval(resampled, tail):
    if len(resampled) == 0:
        return float("nan"), float("nan")
    return tuple(float(bound) for bound in np.quantile(resampled, [tail, 1 - tail]))
