"""How often `hierarchy_test` is significant at .05 with simulated networks.

Each function takes a seed, simulates two networks, and returns whether the p-value is
.05 or less. In `NULLS`, similarity does not depend on the difference in depth; in
`POWER`, it does. In `NOT_PROTECTED`, it does not, but the p-value need not hold,
because the layers of each network are not exchangeable.
"""

import warnings

import numpy as np

from skmot import MultiLevelOT
from skmot.model_selection import hierarchy_test

_N_STIMULI = 80
_N_SIGNALS = 6
# The smallest number that can be significant at .05.
_N_PERMUTATIONS = 19
_EQUAL_WIDTHS = [16] * 5
_GROWING_WIDTHS = [8, 16, 32, 64, 128]
_FOUR_LAYERS, _SEVEN_LAYERS = [8, 14, 24, 40], [8, 12, 16, 24, 32, 48, 64]
# Standard deviation of the noise of a unit, whose signal has standard deviation 1.
_EQUAL_NOISE = [1.0] * 5
_FALLING_NOISE = [2.5, 1.8, 1.2, 0.8, 0.5]
_LEAST_NOISE_IN_THE_MIDDLE = [2.5, 1.2, 0.5, 1.2, 2.5]
_MUCH_NOISE_AT_THE_ENDS = [4.0, 2.0, 0.8, 2.0, 4.0]


def _is_significant(seed, source, target):
    with warnings.catch_warnings():
        # Noise is no more alike than by chance, which the test warns about.
        warnings.simplefilter("ignore", UserWarning)
        result = hierarchy_test(
            MultiLevelOT(),
            source,
            target,
            n_permutations=_N_PERMUTATIONS,
            random_state=seed,
        )
    return bool(result.p_value <= 0.05)


def _noise(rng, widths):
    return [rng.normal(size=(_N_STIMULI, width)) for width in widths]


def _read(rng, signals, width, noise):
    """Return units that are random mixtures of the signals, and noise."""
    mixing = rng.normal(size=(signals.shape[1], width))
    mixing /= np.linalg.norm(mixing, axis=0)
    return signals @ mixing + noise * rng.normal(size=(_N_STIMULI, width))


def _chain(rng, n_layers, correlation, shape):
    """Return normal arrays, each of which resembles the one before."""
    arrays = [rng.normal(size=shape)]
    for _ in range(n_layers - 1):
        fresh = np.sqrt(1 - correlation**2) * rng.normal(size=shape)
        arrays.append(correlation * arrays[-1] + fresh)
    return arrays


# -- nulls ---------------------------------------------------------------------------


def noise_of_equal_widths(seed):
    """Test unrelated noise."""
    rng = np.random.default_rng(seed)
    return _is_significant(seed, _noise(rng, _EQUAL_WIDTHS), _noise(rng, _EQUAL_WIDTHS))


def noise_of_growing_widths(seed):
    """Test unrelated noise of layers that get wider with depth."""
    rng = np.random.default_rng(seed)
    return _is_significant(
        seed, _noise(rng, _GROWING_WIDTHS), _noise(rng, _GROWING_WIDTHS)
    )


def noise_of_four_and_seven_layers(seed):
    """Test unrelated noise of different numbers of layers."""
    rng = np.random.default_rng(seed)
    return _is_significant(seed, _noise(rng, _FOUR_LAYERS), _noise(rng, _SEVEN_LAYERS))


def _same_signals(seed, widths, noise):
    """Let all layers of both networks read the same signals, with different noise."""
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(_N_STIMULI, _N_SIGNALS))
    source, target = (
        [_read(rng, signals, *layer) for layer in zip(widths, noise, strict=True)]
        for _ in range(2)
    )
    return _is_significant(seed, source, target)


def same_signals(seed):
    """Test layers that read the same signals equally well."""
    return _same_signals(seed, _EQUAL_WIDTHS, _EQUAL_NOISE)


def same_signals_growing_widths(seed):
    """Test layers that get wider with depth."""
    return _same_signals(seed, _GROWING_WIDTHS, _EQUAL_NOISE)


def same_signals_less_noise_with_depth(seed):
    """Test layers that get less noisy with depth."""
    return _same_signals(seed, _EQUAL_WIDTHS, _FALLING_NOISE)


def same_signals_least_noise_in_the_middle(seed):
    """Test layers that are noisy at both ends."""
    return _same_signals(seed, _EQUAL_WIDTHS, _LEAST_NOISE_IN_THE_MIDDLE)


def same_signals_growing_widths_less_noise(seed):
    """Test layers that get wider and less noisy."""
    return _same_signals(seed, _GROWING_WIDTHS, _FALLING_NOISE)


def same_signals_growing_widths_least_noise_in_the_middle(seed):
    """Test layers that get wider, and are noisy at both ends."""
    return _same_signals(seed, _GROWING_WIDTHS, _LEAST_NOISE_IN_THE_MIDDLE)


def same_signals_growing_widths_much_noise_at_the_ends(seed):
    """Test layers that get wider, and whose ends are little above chance."""
    return _same_signals(seed, _GROWING_WIDTHS, _MUCH_NOISE_AT_THE_ENDS)


def unrelated_smooth_signals(seed):
    """Let each network follow signals of its own, which change smoothly with depth."""
    rng = np.random.default_rng(seed)
    shape = (_N_STIMULI, _N_SIGNALS)
    source, target = (
        [_read(rng, signals, 16, 0.7) for signals in _chain(rng, 5, 0.9, shape)]
        for _ in range(2)
    )
    return _is_significant(seed, source, target)


NULLS = {
    "noise, equal widths": noise_of_equal_widths,
    "noise, widths grow from 8 to 128": noise_of_growing_widths,
    "noise, 4 x 7 layers, widths grow": noise_of_four_and_seven_layers,
    "same signals in all layers": same_signals,
    "same signals, widths grow from 8 to 128": same_signals_growing_widths,
    "same signals, SNR rises with depth": same_signals_less_noise_with_depth,
    "same signals, SNR highest in the middle": same_signals_least_noise_in_the_middle,
    "same signals, widths grow and SNR rises": same_signals_growing_widths_less_noise,
    "same signals, widths grow, SNR highest in the middle": (
        same_signals_growing_widths_least_noise_in_the_middle
    ),
    "same signals, widths grow, both ends little above chance": (
        same_signals_growing_widths_much_noise_at_the_ends
    ),
    "unrelated signals, each smooth over depth": unrelated_smooth_signals,
}


# -- nulls that are not protected ----------------------------------------------------


def unrelated_smooth_weights(seed):
    """Let networks weight the same signals, smoothly over depth, unrelatedly."""
    rng = np.random.default_rng(seed)
    weights = [_chain(rng, 5, 0.9, _N_SIGNALS) for _ in range(2)]
    return _weighted_signals(seed, rng, weights)


def unrelated_trends_of_weights(seed):
    """Let networks move from some signals to others with depth, unrelatedly."""
    rng = np.random.default_rng(seed)
    trends = rng.normal(size=(2, _N_SIGNALS))
    places = np.linspace(-1, 1, 5)
    weights = [[place * trend for place in places] for trend in trends]
    return _weighted_signals(seed, rng, weights)


def _weighted_signals(seed, rng, log_weights):
    signals = rng.normal(size=(_N_STIMULI, _N_SIGNALS))
    source, target = (
        [_read(rng, signals * np.exp(layer), 16, 0.7) for layer in network]
        for network in log_weights
    )
    return _is_significant(seed, source, target)


NOT_PROTECTED = {
    "same signals, weights smooth over depth but unrelated": unrelated_smooth_weights,
    "same signals, unrelated trends of the weights": unrelated_trends_of_weights,
}


# -- power ---------------------------------------------------------------------------


def _same_depth(seed, source_widths, target_widths, correlation, noise):
    """Let both networks read signals that change with depth in the same way."""
    rng = np.random.default_rng(seed)
    n_levels = max(len(source_widths), len(target_widths))
    levels = _chain(rng, n_levels, correlation, (_N_STIMULI, _N_SIGNALS))
    source, target = (
        [
            _read(rng, levels[round(level)], width, noise)
            for level, width in zip(
                np.linspace(0, n_levels - 1, len(widths)), widths, strict=True
            )
        ]
        for widths in (source_widths, target_widths)
    )
    return _is_significant(seed, source, target)


def hierarchy(seed):
    """Test a common hierarchy."""
    return _same_depth(seed, _EQUAL_WIDTHS, _EQUAL_WIDTHS, 0.8, 1.0)


def hierarchy_noisy(seed):
    """Test a common hierarchy of noisy layers."""
    return _same_depth(seed, _EQUAL_WIDTHS, _EQUAL_WIDTHS, 0.8, 2.0)


def hierarchy_slow(seed):
    """Test a common hierarchy whose layers differ little."""
    return _same_depth(seed, _EQUAL_WIDTHS, _EQUAL_WIDTHS, 0.95, 1.0)


def hierarchy_growing_widths(seed):
    """Test a common hierarchy of layers that get wider."""
    return _same_depth(seed, _GROWING_WIDTHS, _GROWING_WIDTHS, 0.8, 1.0)


def hierarchy_opposite_widths(seed):
    """Test a common hierarchy of networks that get wider and narrower."""
    return _same_depth(seed, _GROWING_WIDTHS, _GROWING_WIDTHS[::-1], 0.8, 1.0)


def hierarchy_of_four_and_seven_layers(seed):
    """Test a common hierarchy of four and seven layers."""
    return _same_depth(seed, _FOUR_LAYERS, _SEVEN_LAYERS, 0.8, 1.0)


POWER = {
    "next layers correlate .8, noise 1": hierarchy,
    "next layers correlate .8, noise 2": hierarchy_noisy,
    "next layers correlate .95, noise 1": hierarchy_slow,
    "next layers correlate .8, widths grow from 8 to 128": hierarchy_growing_widths,
    "next layers correlate .8, widths grow and fall": hierarchy_opposite_widths,
    "next layers correlate .8, 4 x 7 layers": hierarchy_of_four_and_seven_layers,
}
