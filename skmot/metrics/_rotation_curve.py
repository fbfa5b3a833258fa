"""Rotation curve: similarity while one population is rotated (paper 1, section 3.2)."""

from numbers import Integral

import numpy as np
from scipy.linalg import schur
from sklearn.base import clone
from sklearn.utils import check_random_state

from skmot._units import check_some_live, unit_statistics, warn_about_dead_units
from skmot._utils.array_api import as_numbers
from skmot._utils.orthogonal import random_rotation
from skmot._utils.results import Result
from skmot._utils.sklearn import Interval, validate_params
from skmot._utils.warnings import recorded_warnings, repeat_warnings
from skmot.layers.checks import check_pair
from skmot.metrics._matching import soft_matching_score

# Entries below the diagonal of a real Schur form that are smaller than this are
# rounding errors, not rotations.
_NO_ROTATION = 1e-12


@validate_params(
    {
        "n_rotations": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def rotation_curve(
    X,
    y,
    alphas=(0.0, 0.25, 0.5, 0.75, 1.0),
    *,
    n_rotations=10,
    held_out=None,
    score=None,
    random_state=None,
):
    """Score the similarity of two populations while one is rotated out of its basis.

    Computes s(X Q^a, Y) for a from 0 to 1, where Q is sampled uniformly from SO(N), Q^a
    is its fractional power, and X is centred ([1]_, section 3.2 and figure 4). The
    curve decreases if the two populations share the tuning of single units. It is flat
    if the basis is arbitrary.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the population that is rotated.
    y : array-like of shape (n_stimuli, n_units_y)
        Responses of the other population to the same stimuli.
    alphas : sequence of float, default=(0, 0.25, 0.5, 0.75, 1)
        Exponents a of the rotations. 0 means the original basis, 1 a random basis.
    n_rotations : int, default=10
        Number of independent rotations Q. Each is evaluated at all `alphas`.
    held_out : tuple of (X, y), default=None
        Responses of both populations to other stimuli. If given, an estimator is fitted
        to `X` and `y` and scored on these responses, rotated by the same Q^a.
    score : callable or estimator, default=None
        Without `held_out`, a function of two arrays. None means
        :func:`skmot.metrics.soft_matching_score`. With `held_out`, an estimator such as
        `SoftMatching()`, which must be given. It is cloned, and scored by its method
        `matching_score`, or by `score` if it has no `matching_score`.
    random_state : int, RandomState instance or None, default=None
        Controls the randomness of the rotations. Pass an int for reproducible output
        across multiple function calls.

    Returns
    -------
    curve : Result
        Dictionary-like object that prints as a sentence. ``curve.to_frame()`` is a
        table with one row for each alpha, and ``to_frame("rotations")`` has one row for
        each alpha of each rotation. The attributes are

        alphas : ndarray of shape (n_alphas,)
            The given `alphas`.
        scores : ndarray of shape (n_rotations, n_alphas)
            Score of each rotation at each alpha.
        mean, standard_deviation : ndarray of shape (n_alphas,)
            Mean and standard deviation of the scores over rotations. The deviation
            divides by n_rotations - 1. It is NaN for a single rotation.
        score_name : str
            Quantity that the scores are, such as "soft matching score".
        conclusion : str
            What the curve shows, and what it does not show.

    Raises
    ------
    ValueError
        If the arrays are not finite or differ in their number of stimuli, an alpha is
        not finite, or `n_rotations` is less than 1.
    TypeError
        If `score` is not a function (without `held_out`) or not an estimator (with
        `held_out`).

    Warns
    -----
    DeadUnitWarning
        If units of either population are constant. These units are left out.
    Warning
        Each warning of the scores is repeated once, with the number of times it
        occurred.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import rotation_curve
    >>> X = np.random.default_rng(0).exponential(size=(200, 20))
    >>> curve = rotation_curve(X, X[:, ::-1], [0, 0.5, 1], random_state=0)
    >>> curve.mean.round(1)
    array([1. , 0.6, 0.4])
    >>> print(curve)  # doctest: +NORMALIZE_WHITESPACE
    The soft matching score is 1.00 at alpha = 0 and 0.41 at alpha = 1, on average over
    10 rotation(s). A fall says that the two populations share the tuning of single
    units. Whether it is more than chance is a question for
    `permutation_control(control='basis')`.
    """
    X, y = check_pair(X, y, names=("X", "y"))
    alphas = as_numbers(alphas, "alphas")
    if alphas.ndim != 1 or alphas.size == 0 or not np.isfinite(alphas).all():
        raise ValueError(f"`alphas` must be finite numbers, one or more; got {alphas}.")
    compare, score_name = _comparison(score, held_out)
    # Dead units are left out: a rotation would mix the tuning of other units into them.
    statistics, target_statistics = unit_statistics(X), unit_statistics(y)
    live, target_live = statistics.live, target_statistics.live
    check_some_live(live, "X")
    check_some_live(target_live, "y")
    warn_about_dead_units(
        [statistics.dead_units, target_statistics.dead_units],
        ["X", "y"],
    )
    mean = statistics.mean[live]
    pairs = [(X[:, live] - mean, y[:, target_live])]
    if held_out is not None:
        other_X, other_y = check_pair(*held_out, names=("held_out X", "held_out y"))
        if (other_X.shape[1], other_y.shape[1]) != (X.shape[1], y.shape[1]):
            raise ValueError(
                f"`held_out` has {other_X.shape[1]} and {other_y.shape[1]} units, but "
                f"X and y have {X.shape[1]} and {y.shape[1]}."
            )
        pairs.append((other_X[:, live] - mean, other_y[:, target_live]))
    random = check_random_state(random_state)
    scores, log = np.empty((n_rotations, len(alphas))), []
    for rotation in range(n_rotations):
        full_rotation = random_rotation(int(live.sum()), random, reflections=False)
        power = rotation_powers(full_rotation)
        for index, alpha in enumerate(alphas):
            partial_rotation = power(alpha)
            rotated_pairs = [
                (units @ partial_rotation.astype(units.dtype), other)
                for units, other in pairs
            ]
            with recorded_warnings(log):
                scores[rotation, index] = compare(*rotated_pairs)
    # repeat_warnings, rotation_curve, the caller.
    repeat_warnings(log)
    deviation = np.full(len(alphas), np.nan)
    if n_rotations > 1:
        deviation = scores.std(axis=0, ddof=1)
    means = scores.mean(axis=0)
    return RotationCurve(
        _conclude(score_name, alphas, means, n_rotations),
        alphas=alphas,
        scores=scores,
        mean=means,
        standard_deviation=deviation,
        score_name=score_name,
    )


class RotationCurve(Result):
    """Result of `rotation_curve`."""

    def _tables(self):
        return {
            "curve": lambda: {
                "alpha": self.alphas,
                "mean": self.mean,
                "standard_deviation": self.standard_deviation,
            },
            "rotations": self._rotations,
        }

    def _rotations(self):
        n_rotations, n_alphas = self.scores.shape
        return {
            "rotation": np.repeat(np.arange(n_rotations), n_alphas),
            "alpha": np.tile(self.alphas, n_rotations),
            "score": self.scores.ravel(),
        }


def _conclude(score_name, alphas, means, n_rotations):
    """Say what the curve shows, and what it does not show."""
    ends = dict.fromkeys((np.argmin(alphas), np.argmax(alphas)))
    values = " and ".join(
        f"{means[end]:z.2f} at alpha = {alphas[end]:g}" for end in ends
    )
    return (
        f"The {score_name} is {values}, on average over {n_rotations} rotation(s). A "
        "fall says that the two populations share the tuning of single units. Whether "
        "it is more than chance is a question for "
        "`permutation_control(control='basis')`."
    )


def _comparison(score, held_out):
    """Return the function that computes one score, and its name.

    The function takes a pair of arrays, or with `held_out` a training and a held-out
    pair.
    """
    if held_out is None:
        score = soft_matching_score if score is None else score
        if not callable(score):
            raise TypeError(
                f"`score` must be a function of two arrays; got {score!r}. To fit and "
                "score an estimator, give `held_out`."
            )
        name = getattr(score, "__name__", type(score).__name__)
        return lambda pair: score(*pair), name.replace("_", " ")
    if not hasattr(score, "fit"):
        raise TypeError(
            "With `held_out`, `score` must be an estimator, such as `SoftMatching()`; "
            f"got {score!r}."
        )
    method = "matching_score" if hasattr(score, "matching_score") else "score"

    def compare(train, test):
        return getattr(clone(score).fit(*train), method)(*test)

    name = f"held-out {method.replace('_', ' ')} of {type(score).__name__}"
    return compare, name


def rotation_powers(rotation):
    """Return the function that raises a rotation to any real power.

    The real Schur form is Q = V T V', where T consists of rotations of planes. Q^a
    multiplies the angle of each plane by a. This is exact for an orthogonal Q with
    determinant 1: its eigenvalues -1 occur in pairs, and each pair is a rotation by pi.

    Parameters
    ----------
    rotation : ndarray of shape (n, n)
        Orthogonal matrix Q with determinant 1.

    Returns
    -------
    power : callable
        Function that returns Q^a, of shape (n, n). power(0) is the identity, and
        power(1) is Q.
    """
    triangular, vectors = schur(rotation, output="real")
    n = len(triangular)
    planes, half_turns = [], []
    index = 0
    while index < n:
        below = triangular[index + 1, index] if index + 1 < n else 0.0
        if abs(below) > _NO_ROTATION:
            angle = np.arctan2(below, triangular[index, index])
            planes.append((index, index + 1, angle))
            index += 2
        else:
            if triangular[index, index] < 0:
                half_turns.append(index)
            index += 1
    planes += [
        (*pair, np.pi) for pair in zip(half_turns[::2], half_turns[1::2], strict=True)
    ]

    def power(alpha):
        blocks = np.eye(n)
        for first, second, angle in planes:
            cosine, sine = np.cos(alpha * angle), np.sin(alpha * angle)
            blocks[[first, second], [first, second]] = cosine
            blocks[second, first], blocks[first, second] = sine, -sine
        return vectors @ blocks @ vectors.T

    return power
