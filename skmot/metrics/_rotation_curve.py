"""Whether tuning matters: similarity as one population turns (paper 1, section 3.2)."""

import numpy as np
from scipy.linalg import schur
from sklearn.base import clone
from sklearn.utils import Bunch, check_random_state

from skmot._orthogonal import random_rotation
from skmot._units import check_some_live, unit_statistics
from skmot._validation import check_pair, warn_about_dead_units
from skmot._warnings import recorded_warnings, repeat_warnings
from skmot.metrics._matching import soft_matching_score

# Below this an entry under the diagonal of a real Schur form is rounding: a rotation by
# so small an angle is none.
_NO_ROTATION = 1e-12


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
    """Score how alike two populations stay while one turns away from its own basis.

    s(X Q^a, Y) for a from 0 to 1, with Q uniform on SO(N), Q^a its fractional power and
    X centred ([1]_, section 3.2 and figure 4). If units have tuning of their own the
    curve falls; if the basis is arbitrary it is flat.

    Parameters
    ----------
    X : array-like of shape (n_stimuli, n_units_x)
        Responses of the population that turns.
    y : array-like of shape (n_stimuli, n_units_y)
        Responses of the other to the same stimuli.
    alphas : sequence of float, default=(0, 0.25, 0.5, 0.75, 1)
        How far to turn: 0 is the population's own basis, 1 a random one.
    n_rotations : int, default=10
        Independent Q, each followed along all alphas.
    held_out : tuple of (X, y), default=None
        Other stimuli of both populations. Given, an estimator is fitted on `X` and `y`
        and scored on these, turned by the same Q^a.
    score : callable or estimator, default=None
        Without `held_out`, a function of two arrays, None being
        :func:`skmot.metrics.soft_matching_score`. With `held_out`, an estimator with
        `matching_score`, or else `score`, such as `SoftMatching()`; it must be given,
        and is cloned, not changed.
    random_state : int, RandomState instance or None, default=None
        Of the rotations.

    Returns
    -------
    curve : :class:`sklearn.utils.Bunch`
        With the attributes

        alphas : ndarray of shape (n_alphas,)
            As given.
        scores : ndarray of shape (n_rotations, n_alphas)
            Of each rotation.
        mean, standard_deviation : ndarray of shape (n_alphas,)
            Over rotations; the deviation divides by n_rotations - 1 and is NaN for one.

    Raises
    ------
    ValueError
        If the arrays are not finite or differ in their stimuli, an alpha is not finite,
        or there is no rotation.
    TypeError
        If `score` is not what `held_out` calls for.

    Warns
    -----
    DeadUnitWarning
        If some units of either population are constant: they are left out.
    Warning
        What the scores warn of, each once with how often it came.

    References
    ----------
    .. [1] M. Khosla, A. H. Williams. Soft matching distance: a metric on neural
       representations that captures single-neuron tuning. UniReps, PMLR, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.metrics import rotation_curve
    >>> X = np.random.default_rng(0).exponential(size=(200, 20))
    >>> rotation_curve(X, X[:, ::-1], [0, 0.5, 1], random_state=0).mean.round(1)
    array([1. , 0.6, 0.4])
    """
    X, y = check_pair(X, y, names=("X", "y"))
    alphas = np.asarray(alphas, dtype=np.float64)
    if alphas.ndim != 1 or alphas.size == 0 or not np.isfinite(alphas).all():
        raise ValueError(f"`alphas` must be finite numbers, one or more; got {alphas}.")
    if n_rotations < 1:
        raise ValueError(f"`n_rotations` must be at least 1; got {n_rotations}.")
    compare = _comparison(score, held_out)
    # Dead units stay out: turned, those of X would take tuning from the others.
    statistics, target_statistics = unit_statistics(X), unit_statistics(y)
    live, target_live = statistics.live, target_statistics.live
    check_some_live(live, "X")
    check_some_live(target_live, "y")
    warn_about_dead_units(
        [statistics.dead_units, target_statistics.dead_units],
        ["X", "y"],
        # warn_about_dead_units, rotation_curve, the caller.
        stacklevel=3,
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
        drawn = random_rotation(int(live.sum()), random, reflections=False)
        power = rotation_powers(drawn)
        for index, alpha in enumerate(alphas):
            turned = power(alpha)
            turned_pairs = [
                (units @ turned.astype(units.dtype), other) for units, other in pairs
            ]
            with recorded_warnings(log):
                scores[rotation, index] = compare(*turned_pairs)
    # repeat_warnings, rotation_curve, the caller.
    repeat_warnings(log, stacklevel=3)
    deviation = np.full(len(alphas), np.nan)
    if n_rotations > 1:
        deviation = scores.std(axis=0, ddof=1)
    return Bunch(
        alphas=alphas,
        scores=scores,
        mean=scores.mean(axis=0),
        standard_deviation=deviation,
    )


def _comparison(score, held_out):
    """Return a function of one pair of populations, or of training and held-out."""
    if held_out is None:
        score = soft_matching_score if score is None else score
        if not callable(score):
            raise TypeError(
                f"`score` must be a function of two arrays; got {score!r}. Estimators "
                "are fitted and scored where `held_out` is given."
            )
        return lambda pair: score(*pair)
    if not hasattr(score, "fit"):
        raise TypeError(
            "With `held_out`, `score` must be an estimator, such as `SoftMatching()`; "
            f"got {score!r}."
        )
    method = "matching_score" if hasattr(score, "matching_score") else "score"
    return lambda train, test: getattr(clone(score).fit(*train), method)(*test)


def rotation_powers(rotation):
    """Return the function that raises a rotation to any real power.

    Through the real Schur form Q = V T V', in which T is made of plane rotations: Q^a
    turns each plane by a times its angle. Exact for an orthogonal Q of determinant 1,
    whose eigenvalues -1 come in pairs, each a half turn.

    Parameters
    ----------
    rotation : ndarray of shape (n, n)
        Orthogonal, of determinant 1.

    Returns
    -------
    power : callable
        power(a) is Q^a, of shape (n, n); power(0) the identity, power(1) Q.
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
        turned = np.eye(n)
        for first, second, angle in planes:
            cosine, sine = np.cos(alpha * angle), np.sin(alpha * angle)
            turned[[first, second], [first, second]] = cosine
            turned[second, first], turned[first, second] = sine, -sine
        return vectors @ turned @ vectors.T

    return power
