"""Means over pairs of networks, with networks and stimuli as samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.stats import t as t_distribution

from skmot._utils.results import Result
from skmot._utils.sklearn import Interval, validate_params

# The t distribution of three or more degrees of freedom is what was simulated. With
# fewer, an interval is so wide that it says nothing.
FEWEST_NETWORKS = 4
# The detectable difference is found in this share of studies of the same size.
_POWER = 0.8


@validate_params(
    {
        "resampled": [Mapping, None],
        "one_set": ["boolean"],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    },
    prefer_skip_nested_validation=True,
)
def mean_over_networks(values, resampled=None, *, one_set=False, confidence_level=0.95):
    """Test whether the mean of a quantity over pairs of networks is 0.

    Use it for any number that belongs to a pair of networks and is 0 under the null
    hypothesis, such as a slope or a difference of two scores. Networks are treated as a
    sample: what holds for them is said of networks like them.

    Parameters
    ----------
    values : dict of float
        Value of each pair, by (name of the source, name of the target). A network has
        the same name as a source and as a target.
    resampled : dict of array-like of shape (n_resamples,), default=None
        Values of each pair on bootstrap resamples of the stimuli, the same resamples
        for all pairs. Resamples in which a value is NaN are left out. With None the
        stimuli are not treated as a sample, and the result holds for these stimuli.
    one_set : bool, default=False
        Whether sources and targets are drawn from the same set of networks, so that
        the pairs need not be a complete grid. This is always so if a network is both a
        source and a target.
    confidence_level : float, default=0.95
        Confidence level of the interval, between 0 and 1.

    Returns
    -------
    result : Result
        Dictionary-like object that prints as a conclusion. ``result.to_frame()`` is a
        table with one row. The attributes are

        mean : float
            Mean over pairs.
        low, high : float
            Bounds of the confidence interval.
        confidence_level : float
            The given level.
        p_value : float
            Two-sided p-value of the hypothesis that the mean is 0.
        standard_error_over_networks, standard_error_over_stimuli : float
            Square roots of the two variances in Notes.
        standard_error : float
            Square root of their sum.
        degrees_of_freedom : float
            Degrees of freedom of the t distribution.
        detectable : float
            True mean that about 80 % of studies of this size and spread find with a
            p-value of at most 1 - `confidence_level`.
        sample : {"sources and targets", "sources", "targets", "networks", "none"}
            What is treated as a sample. "sources" is for these targets only, "targets"
            for these sources only, "networks" is one set.
        n_sources, n_targets, n_networks, n_pairs : int
            Numbers of networks on each side, of different networks, and of pairs.

        Where there are too few networks, `sample` is "none", and the interval, the
        p-value, `detectable` and the standard error over networks are NaN.

    Raises
    ------
    ValueError
        If there is no pair, a value is not finite, `resampled` does not fit the values,
        or two sets of networks are not a complete grid.

    See Also
    --------
    Comparison.differences : Differences between methods, tested in this way.

    Notes
    -----
    For S sources and T targets of a complete grid, with values ``d_st``, let ``A = T
    sum_s (d_s. - d..)^2 / (S - 1)`` and ``B = S sum_t (d_.t - d..)^2 / (T - 1)`` be the
    mean squares of sources and of targets, and E that of the residuals. The variance of
    the mean over networks is ``max(A + B - E, A, B) / (S T)``, the two-way random
    effects estimate with a lower bound, and t has min(S, T) - 1 degrees of freedom.
    With fewer than four sources, they are not a sample: the variance is ``B / (S T)``
    with T - 1 degrees of freedom, for these sources only. The same holds for targets.

    For one set of G networks, ``th_i`` is the mean over the pairs without network i.
    The variance is that of the jackknife, ``(G - 1) / G sum_i (th_i - mean th)^2``. If
    each network is in the same number of pairs, t has G - 1 degrees of freedom. With
    ``n_i`` pairs of network i it has ``(sum n_i^2)^2 / sum n_i^4 - 1`` (Satterthwaite),
    which is less if a few networks are in most of the pairs. If `one_set` is
    False, it has at most min(S, T) - 1. With fewer than 3 there are too few networks.

    In all cases the bootstrap variance over stimuli of the mean is added. The variance
    over networks contains a part of it, so p-values are somewhat too large where
    networks hardly differ. Without it, they are much too small if all pairs share the
    errors of the same stimuli.

    `detectable` is ``(t(1 - alpha / 2) + t(.8))`` standard errors, with ``alpha = 1 -
    confidence_level``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.model_selection import mean_over_networks
    >>> rng = np.random.default_rng(0)
    >>> values = {(s, t): 0.3 + 0.1 * rng.normal() for s in "abcd" for t in "vwxyz"}
    >>> result = mean_over_networks(values)
    >>> round(result.mean, 1), result.sample, result.degrees_of_freedom
    (0.3, 'sources and targets', 3)
    >>> result.p_value < 0.01
    True
    """
    values = _read_values(values)
    sample = _Sample.of(list(values), one_set)
    mean = math.fsum(values.values()) / len(values)
    variance, freedom = sample.variance(values)
    over_stimuli = 0.0
    if resampled is not None:
        over_stimuli = _variance_over_stimuli(values, resampled)
    error = math.sqrt(variance + over_stimuli)
    alpha = 1 - confidence_level
    # NaN if there are too few networks, and so is what is computed from it.
    critical = t_distribution.ppf(1 - alpha / 2, freedom)
    result = {
        "mean": mean,
        "low": float(mean - critical * error),
        "high": float(mean + critical * error),
        "confidence_level": confidence_level,
        "p_value": _p_value(mean, error, freedom),
        "standard_error": error,
        "standard_error_over_networks": math.sqrt(variance),
        "standard_error_over_stimuli": (
            float("nan") if resampled is None else math.sqrt(over_stimuli)
        ),
        "degrees_of_freedom": freedom,
        "detectable": float((critical + t_distribution.ppf(_POWER, freedom)) * error),
        "sample": sample.kind,
        "n_sources": len(sample.sources),
        "n_targets": len(sample.targets),
        "n_networks": len(sample.networks),
        "n_pairs": len(values),
    }
    return Result(_conclude(result, resampled is not None), **result)


def say_sample(result):
    """Say in words which networks a result treats as a sample, and which as given."""
    counts = {
        side: f"{result[f'n_{side}s']} {side}{'s' * (result[f'n_{side}s'] > 1)}"
        for side in ("source", "target")
    }
    if result["sample"] == "sources and targets":
        return f"over {counts['source']} and {counts['target']} as a sample of networks"
    if result["sample"] == "networks":
        return f"over one set of {result['n_networks']} networks as a sample"
    if result["sample"] == "none":
        return (
            f"for these networks only ({counts['source']}, {counts['target']}), too "
            f"few networks to generalise: {FEWEST_NETWORKS} or more are needed on a "
            "side, or in one set"
        )
    given, sampled = "source", "target"
    if result["sample"] == "sources":
        given, sampled = sampled, given
    n_given = result[f"n_{given}s"]
    these = f"this {given}" if n_given == 1 else f"these {counts[given]}"
    return f"for {these} only, over {counts[sampled]} as a sample of networks"


def _conclude(result, is_over_stimuli):
    where = say_sample(result)
    if result["sample"] == "none":
        return f"The mean is {result['mean']:.3g} {where}."
    stimuli = "and over stimuli" if is_over_stimuli else "for these stimuli"
    interval = (
        f"{100 * result['confidence_level']:g} % interval {result['low']:.3g} to "
        f"{result['high']:.3g}, p = {result['p_value']:.2g}"
    )
    return (
        f"The mean is {result['mean']:.3g} ({interval}) {where} {stimuli}. This is "
        "about the mean, not about every pair, and true means below about "
        f"{result['detectable']:.2g} would usually be missed."
    )


def _read_values(values):
    """Return the value of each pair as a float, and check them."""
    if not isinstance(values, Mapping) or not values:
        raise ValueError(
            "`values` must be a dict with a value for each (source, target); got "
            f"{values!r}."
        )
    read = {}
    for pair, value in values.items():
        if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1]:
            raise ValueError(
                "The keys of `values` must be pairs of two networks, (source, target); "
                f"got {pair!r}."
            )
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"`values` has {value} for {pair}: leave the pair out.")
        read[pair] = float(value)
    return read


def _variance_over_stimuli(values, resampled):
    """Return the variance over resamples of the mean over pairs."""
    if set(resampled) != set(values):
        raise ValueError("`resampled` must have the same pairs as `values`.")
    means = np.mean([resampled[pair] for pair in values], axis=0)
    means = means[~np.isnan(means)]
    if len(means) < 2:
        raise ValueError(
            f"The values of all pairs are defined in {len(means)} resample(s) of the "
            "stimuli: their variance needs at least two. Raise `n_bootstrap`, or give "
            "more stimuli."
        )
    return float(np.var(means, ddof=1))


def _p_value(mean, error, freedom):
    if mean == 0 and error == 0 and not math.isnan(freedom):
        # Methods that are the same in every pair.
        return 1.0
    if error == 0:
        # Values that do not vary at all are no sample.
        return float("nan")
    return float(2 * t_distribution.sf(abs(mean) / error, freedom))


@dataclass(frozen=True)
class _Sample:
    """What is treated as a sample: both sides, one of them, one set, or nothing."""

    kind: str
    sources: tuple
    targets: tuple
    # Whether a network could be a source or a target alike.
    are_roles_alike: bool = True

    @classmethod
    def of(cls, pairs, one_set):
        """Find out from the pairs of names."""
        sources, targets = (
            tuple(dict.fromkeys(side)) for side in zip(*pairs, strict=True)
        )
        is_grid = len(pairs) == len(sources) * len(targets)
        if is_grid and not set(sources) & set(targets):
            return cls(_kind_of_grid(len(sources), len(targets)), sources, targets)
        if one_set or set(sources) & set(targets):
            sample = cls("networks", sources, targets, one_set)
            enough = sample._freedom_of_set(pairs) >= FEWEST_NETWORKS - 1
            return sample if enough else cls("none", sources, targets)
        source, target = next(
            (source, target)
            for source in sources
            for target in targets
            if (source, target) not in set(pairs)
        )
        raise ValueError(
            f"{len(pairs)} pair(s) of {len(sources)} sources and {len(targets)} "
            f"targets are not a complete grid: there is none of {source} and {target}. "
            "Add the missing pairs or leave networks out. If sources and targets are "
            "networks of one kind, give them as one set."
        )

    @property
    def networks(self):
        return tuple(dict.fromkeys((*self.sources, *self.targets)))

    def variance(self, values):
        """Return the variance of the mean over networks, and its degrees of freedom."""
        if self.kind == "none":
            return float("nan"), float("nan")
        if self.kind == "networks":
            return self._jackknife(values), self._freedom_of_set(values)
        grid = np.array(
            [
                [values[source, target] for target in self.targets]
                for source in self.sources
            ]
        )
        n_sources, n_targets = grid.shape
        by_source, by_target = grid.mean(axis=1), grid.mean(axis=0)
        # A / (S T) and B / (S T) are the variances of means over one side.
        if self.kind == "sources":
            return float(by_source.var(ddof=1) / n_sources), n_sources - 1
        if self.kind == "targets":
            return float(by_target.var(ddof=1) / n_targets), n_targets - 1
        of_sources = n_targets * by_source.var(ddof=1)
        of_targets = n_sources * by_target.var(ddof=1)
        residuals = grid - by_source[:, np.newaxis] - by_target + grid.mean()
        of_residuals = (residuals**2).sum() / ((n_sources - 1) * (n_targets - 1))
        variance = max(of_sources + of_targets - of_residuals, of_sources, of_targets)
        return float(variance / grid.size), min(grid.shape) - 1

    def _jackknife(self, values):
        """Return the jackknife variance over networks of the mean over pairs."""
        means = []
        for network in self.networks:
            others = [value for pair, value in values.items() if network not in pair]
            means.append(np.mean(others))
        n_networks = len(means)
        return float((n_networks - 1) * np.var(means))

    def _freedom_of_set(self, pairs):
        """Return the degrees of freedom of the jackknife."""
        counts = [sum(network in pair for pair in pairs) for network in self.networks]
        squares = [count**2 for count in counts]
        freedom = sum(squares) ** 2 / sum(square**2 for square in squares) - 1
        if self.are_roles_alike:
            return freedom
        # Few networks in one role are a small sample, even if there are many in all.
        return min(freedom, len(self.sources) - 1, len(self.targets) - 1)


def _kind_of_grid(n_sources, n_targets):
    """Return which sides have enough networks to be a sample."""
    enough = n_sources >= FEWEST_NETWORKS, n_targets >= FEWEST_NETWORKS
    return {
        (True, True): "sources and targets",
        (True, False): "sources",
        (False, True): "targets",
        (False, False): "none",
    }[enough]
