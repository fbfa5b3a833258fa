"""How often intervals and corrected scores are wrong on simulated data.

Each function takes a seed and simulates one data set. The functions in `NULLS` return
whether a claim is wrong: an interval of nominal 95 % does not include the true value,
or a corrected score differs by more than .03 from that of noiseless responses. Those in
`POWER` return whether a statement that should be made is made: that a unit has signal,
or that a score without the correction is off by more than .03.
"""

from functools import lru_cache

import numpy as np

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.metrics import noise_ceiling, noise_corrected_score
from skmot.model_selection import coupling_stability

# -- noise ceilings ------------------------------------------------------------------


def _interval_and_truth(seed, signal, n_stimuli=80, n_repeats=4):
    """Return the interval of the ceiling of one unit with noise 1, and its ceiling."""
    rng = np.random.default_rng(seed)
    repeats = signal * rng.normal(size=(n_stimuli, 1)) + rng.normal(
        size=(n_repeats, n_stimuli, 1)
    )
    _, interval = noise_ceiling(
        repeats, n_halves=20, random_state=seed, return_interval=True, n_resamples=200
    )
    truth = np.sqrt(signal**2 / (signal**2 + 1 / n_repeats))
    return interval[:, 0], truth


def _misses(interval, truth):
    return bool(not interval[0] <= truth <= interval[1])


def interval_misses_strong_ceiling(seed):
    """Check the interval of a ceiling of .89."""
    return _misses(*_interval_and_truth(seed, signal=1.0))


def interval_misses_weak_ceiling(seed):
    """Check the interval of a ceiling of .51."""
    return _misses(*_interval_and_truth(seed, signal=0.3))


def interval_misses_ceiling_over_few_stimuli(seed):
    """Check the interval of a ceiling of .89 over 30 stimuli."""
    return _misses(*_interval_and_truth(seed, signal=1.0, n_stimuli=30))


def unit_without_signal_is_found(seed):
    """Check whether the interval of pure noise is above 0."""
    interval, _ = _interval_and_truth(seed, signal=0.0)
    return bool(interval[0] > 0)


def unit_with_signal_is_found(seed):
    """Check whether the interval of a unit with a signal is above 0."""
    interval, _ = _interval_and_truth(seed, signal=0.5)
    return bool(interval[0] > 0)


def _drift(seed, by_run):
    """Return the interval and the truth of a unit whose trials share noise in a run.

    Signal, noise of a run and noise of a trial have variance 1; each of four runs shows
    each of 80 stimuli twice.
    """
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.normal(size=(4, 80, 1)), 2, axis=0)
    trials = rng.normal(size=(80, 1)) + drift + rng.normal(size=drift.shape)
    _, interval = noise_ceiling(
        trials.reshape(-1, 1),
        np.tile(np.arange(80), 8),
        runs=np.repeat(np.arange(4), 160) if by_run else None,
        n_halves=20,
        random_state=seed,
        return_interval=True,
        n_resamples=200,
    )
    return interval[:, 0], np.sqrt(1 / (1 + 1 / 4 + 1 / 8))


def interval_by_run_misses_ceiling_under_drift(seed):
    """Check the interval with halves that are split by run."""
    return _misses(*_drift(seed, by_run=True))


def interval_by_trial_misses_ceiling_under_drift(seed):
    """Check the interval with halves that are not split by run."""
    return _misses(*_drift(seed, by_run=False))


# -- stability of the cost -----------------------------------------------------------

_N_STIMULI = 60


def _noise(rng, widths):
    return [
        [rng.normal(size=(_N_STIMULI, width)) for width in widths] for _ in range(2)
    ]


def _equal_noise(rng):
    return _noise(rng, (8, 8, 8))


def _growing_noise(rng):
    return _noise(rng, (6, 12, 24))


def _related(rng):
    """Return two networks whose layers of one depth read the same signals."""
    tuning = np.random.default_rng(0).normal(size=(2, 3, 5, 8))
    signals = rng.normal(size=(3, _N_STIMULI, 5))
    return [
        list(signals @ side + 2 * rng.normal(size=(3, _N_STIMULI, 8)))
        for side in tuning
    ]


@lru_cache
def _expected_cost(simulate):
    """Return the mean cost of 400 other data sets; its error is .002 or less."""
    random_generators = (np.random.default_rng((1, seed)) for seed in range(400))
    return np.mean(
        [MultiLevelOT().fit(*simulate(rng)).cost_ for rng in random_generators]
    )


def _cost_interval_misses(seed, simulate):
    result = coupling_stability(
        MultiLevelOT(),
        *simulate(np.random.default_rng((0, seed))),
        n_resamples=40,
        random_state=seed,
    )
    return _misses(result.interval, _expected_cost(simulate))


def cost_interval_misses_in_noise(seed):
    """Check the interval of the cost of unrelated networks."""
    return _cost_interval_misses(seed, _equal_noise)


def cost_interval_misses_in_noise_of_growing_widths(seed):
    """Check that of unrelated networks whose layers get wider."""
    return _cost_interval_misses(seed, _growing_noise)


def cost_interval_misses_for_related_networks(seed):
    """Check that of networks that share signals."""
    return _cost_interval_misses(seed, _related)


# -- corrected scores ----------------------------------------------------------------

_N_TRAIN, _N_TEST = 100, 600
_ERROR = 0.03


def _corrected_and_truth(
    seed, widths=(15, 15), counts=(4,), noise=1.0, shared=0.0, **settings
):
    """Return a corrected and a raw score, and the score on noiseless responses.

    Parameters
    ----------
    seed : int
        Seed of the data.
    widths : tuple of two int
        Number of source and of target units.
    counts : tuple of int
        Numbers of trials, which alternate over the stimuli.
    noise, shared : float
        Deviation of the noise of a trial that is a unit's own, and of that which source
        unit i and target unit i share. The signals have deviation 1.
    **settings
        Arguments of `noise_corrected_score`.
    """
    rng = np.random.default_rng(seed)
    n_stimuli = _N_TRAIN + _N_TEST
    rows = np.repeat(np.arange(n_stimuli), np.resize(counts, n_stimuli))
    latent = rng.normal(size=(n_stimuli, 8))
    shared_noise = shared * rng.normal(size=(len(rows), max(widths)))
    signals, stacks = [], []
    for width in widths:
        tuning = rng.normal(size=(8, width))
        signals.append(latent @ (tuning / np.linalg.norm(tuning, axis=0)))
        own = noise * rng.normal(size=(len(rows), width))
        trials = signals[-1][rows] + own + shared_noise[:, :width]
        stacks.append(LayerStack.from_trials([trials], rows))
    train, test = slice(_N_TRAIN), slice(_N_TRAIN, None)
    # Fitted to noiseless responses: the plans do not match units by shared noise.
    matching = SoftMatching().fit(*(signal[train] for signal in signals))
    result = noise_corrected_score(
        matching,
        *(stack[test] for stack in stacks),
        n_halves=10,
        random_state=seed,
        **settings,
    )
    truth = matching.score(*(signal[test] for signal in signals))
    return result.score, result.raw_score, truth


def _is_wrong(seed, **settings):
    corrected, _, truth = _corrected_and_truth(seed, **settings)
    return bool(abs(corrected - truth) > _ERROR)


def score_of_equal_widths_is_wrong(seed):
    """Check a one-to-one matching."""
    return _is_wrong(seed, both_sides=True)


def score_of_averaged_units_is_wrong(seed):
    """Check a matching that averages several source units."""
    return _is_wrong(seed, widths=(45, 15), both_sides=True)


def score_of_copied_units_is_wrong(seed):
    """Check a matching that uses source units several times."""
    return _is_wrong(seed, widths=(15, 45), both_sides=True)


def score_of_unequal_trials_is_wrong(seed):
    """Check stimuli with two to six trials."""
    return _is_wrong(seed, counts=(2, 3, 5, 6), both_sides=True)


def score_of_three_trials_is_wrong(seed):
    """Check an odd number of trials."""
    return _is_wrong(seed, counts=(3,), both_sides=True)


def score_under_twice_the_noise_is_wrong(seed):
    """Check noise of twice the deviation of the signal."""
    return _is_wrong(seed, noise=2.0, both_sides=True)


def score_of_disjoint_trials_is_wrong_under_shared_noise(seed):
    """Check disjoint trials where both sides share noise."""
    return _is_wrong(seed, shared=1.0, both_sides=True, disjoint_trials=True)


def score_of_all_trials_is_wrong_under_shared_noise(seed):
    """Check all trials where both sides share noise."""
    return _is_wrong(seed, shared=1.0, both_sides=True)


def score_corrected_for_one_side_is_wrong(seed):
    """Check a correction for the noise of the target alone."""
    return _is_wrong(seed)


def score_without_correction_is_wrong(seed):
    """Check the score without correction."""
    _, raw, truth = _corrected_and_truth(seed)
    return bool(abs(raw - truth) > _ERROR)


NULLS = {
    "ceiling .89, 80 stimuli: outside the interval": interval_misses_strong_ceiling,
    "ceiling .51, 80 stimuli: outside the interval": interval_misses_weak_ceiling,
    "ceiling .89, 30 stimuli: outside the interval": (
        interval_misses_ceiling_over_few_stimuli
    ),
    "no signal: interval above 0": unit_without_signal_is_found,
    "drift in runs, halves by run: ceiling outside the interval": (
        interval_by_run_misses_ceiling_under_drift
    ),
    "cost of noise: outside the interval": cost_interval_misses_in_noise,
    "cost of noise of growing widths: outside the interval": (
        cost_interval_misses_in_noise_of_growing_widths
    ),
    "cost of related networks: outside the interval": (
        cost_interval_misses_for_related_networks
    ),
    "15 x 15 units: corrected score off by .03": score_of_equal_widths_is_wrong,
    "45 x 15 units: corrected score off by .03": (score_of_averaged_units_is_wrong),
    "15 x 45 units: corrected score off by .03": score_of_copied_units_is_wrong,
    "2 to 6 trials: corrected score off by .03": score_of_unequal_trials_is_wrong,
    "3 trials: corrected score off by .03": score_of_three_trials_is_wrong,
    "noise 2: corrected score off by .03": score_under_twice_the_noise_is_wrong,
    "shared noise, disjoint trials: corrected score off by .03": (
        score_of_disjoint_trials_is_wrong_under_shared_noise
    ),
}
POWER = {
    "ceiling .71, 80 stimuli: interval above 0": unit_with_signal_is_found,
    "drift in runs, halves by trial: ceiling outside the interval": (
        interval_by_trial_misses_ceiling_under_drift
    ),
    "no correction: score off by .03": score_without_correction_is_wrong,
    "correction for one side: score off by .03": score_corrected_for_one_side_is_wrong,
    "shared noise, all trials: corrected score off by .03": (
        score_of_all_trials_is_wrong_under_shared_noise
    ),
}
