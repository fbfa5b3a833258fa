"""A simulated cortex, whose voxels are noisy mixtures of the units of a network."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch

from skmot._units import constant_units
from skmot._utils.sklearn import Interval, validate_params
from skmot.datasets.digits import record_activities, split_digits, train_classifier
from skmot.layers import LayerStack
from skmot.preprocessing import average_repeats

_STREAMS = ("Lateral", "Dorsal", "Ventral")
_DEPTHS = {"V1": 0, "V2": 1, "V3": 2, "V4": 3} | dict.fromkeys(_STREAMS, 4)
# The units of the last layer are divided among the three streams.
_CORTEX_HIDDEN = (64, 64, 64, 64, 96)
# Mean numbers of voxels. Those of a subject differ by up to `_VOXEL_VARIATION`.
_VOXELS = {
    "V1": 70,
    "V2": 60,
    "V3": 50,
    "V4": 40,
    "Lateral": 60,
    "Dorsal": 50,
    "Ventral": 60,
}
_VOXEL_VARIATION = 0.2
# Standard deviation, over voxels, of the logarithm of the noise level.
_NOISE_SPREAD = 0.5

_CORTEX_DESCRIPTION = """\
A simulated cortex: no brain was recorded
-----------------------------------------

These simulated responses replace the brain recordings of a study. A multi-layer
perceptron (`sklearn.neural_network.MLPClassifier`, ReLU units, five hidden layers) was
trained on half of scikit-learn's handwritten digits. The stimuli are the
{n_stimuli} other digits. Each of {n_subjects} simulated subjects has seven regions,
named after regions of visual cortex. The voxels of a region mix units of one hidden
layer:

    V1 hidden 1    V2 hidden 2    V3 hidden 3    V4 hidden 4
    Lateral, Dorsal, Ventral: hidden 5, a third of its units each

The signal of a voxel is a sum of {n_mixed} randomly chosen units of variance 1, with
random nonnegative weights, scaled to variance 1. Voxels are therefore tuned like units,
and each subject has different voxels. Each stimulus was "shown" {n_repeats} times. Each
trial has independent Gaussian noise. Its standard deviation is constant for a voxel and
varies over voxels around {noise} (log-normally, with deviation {spread}). The noise
ceiling of an average over repeats is therefore known: 1 / sqrt(1 + deviation^2 / \
{n_repeats}).

Voxels of each region:
{sizes}
"""


@validate_params(
    {
        "n_subjects": [Interval(Integral, 1, None, closed="left")],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "n_mixed": [Interval(Integral, 1, 8, closed="both")],
        "random_state": [Interval(Integral, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def make_simulated_cortex(
    *, n_subjects=4, n_repeats=3, noise=1.0, n_mixed=3, random_state=0
):
    """Simulate the visual cortex of several subjects who look at handwritten digits.

    No brain was recorded. The voxels of each region are noisy mixtures of units of one
    hidden layer of a network trained on digits, with different mixtures in each
    subject. The layer that drives each region, the signals and the noise ceilings are
    known, so that methods can be tested.

    Parameters
    ----------
    n_subjects : int, default=4
        Number of subjects.
    n_repeats : int, default=3
        Number of trials of each stimulus in each subject.
    noise : float, default=1.0
        Median standard deviation of the noise of a trial. The standard deviation of the
        signal of a voxel is 1.
    n_mixed : int, default=3
        Number of units of the network that each voxel mixes, from 1 (a voxel is a unit)
        to 8.
    random_state : int, default=0
        Seed of the simulation. The same seed gives the same responses on the same
        machine. Results of different linear algebra libraries differ by rounding
        errors.

    Returns
    -------
    cortex : :class:`sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        subjects : dict of LayerStack of shape (899, n_voxels)
            Responses of "subject 1", "subject 2", and so on, averaged over repeats. The
            layers are the regions V1, V2, V3, V4, Lateral, Dorsal and Ventral. The
            labels `stimuli` are the indices of the stimuli.
        trials : dict of LayerStack of shape (899 * n_repeats, n_voxels)
            Responses in single trials: one trial of all stimuli, followed by the next.
            The labels `stimuli` contain each index `n_repeats` times.
        signals : dict of LayerStack of shape (899, n_voxels)
            Responses without noise.
        ceilings : dict of dict of ndarray of shape (n_voxels,)
            Noise ceilings of each subject and region: the expected correlation of the
            averaged responses with the signal.
        network : LayerStack of shape (899, 352)
            Hidden layers that drive the regions, with the labels of the stimuli.
        drivers : dict of str
            Name of the layer that drives each region.
        labels : ndarray of int of shape (899,)
            Digit that each stimulus shows.
        images : ndarray of shape (899, 8, 8)
            Stimuli with values from 0 to 1. They are those of
            :func:`load_digit_networks`, in the same order, so that
            its networks can be compared with the regions.
        DESCR : str
            Description of the dataset.

    See Also
    --------
    skmot.metrics.noise_ceiling : Estimates noise ceilings from trials.

    Examples
    --------
    >>> from skmot.datasets import make_simulated_cortex
    >>> cortex = make_simulated_cortex(n_subjects=2)
    >>> list(cortex.subjects)
    ['subject 1', 'subject 2']
    >>> cortex.subjects["subject 1"].names
    ('V1', 'V2', 'V3', 'V4', 'Lateral', 'Dorsal', 'Ventral')
    >>> len(cortex.trials["subject 1"]), len(cortex.subjects["subject 1"])
    (2697, 899)
    """
    train, stimuli, train_labels, labels = split_digits()
    # The first two children are the runs of `load_digit_trajectories`.
    seeds = np.random.SeedSequence(random_state).spawn(4 + n_subjects)[2:]
    network_seed = int(seeds[0].generate_state(1)[0])
    network = record_activities(
        train_classifier(train, train_labels, _CORTEX_HIDDEN, network_seed), stimuli
    )
    # The units of the last layer are divided in the same way in all subjects.
    pools = _driving_units(network, np.random.default_rng(seeds[1]))
    subjects, trials, signals, ceilings = {}, {}, {}, {}
    for number, seed in enumerate(seeds[2:], start=1):
        rng = np.random.default_rng(seed)
        name = f"subject {number}"
        regions = {
            region: _mix(pool, _n_voxels(region, rng), n_mixed, rng)
            for region, pool in pools.items()
        }
        deviations = {
            region: noise * np.exp(_NOISE_SPREAD * rng.normal(size=signal.shape[1]))
            for region, signal in regions.items()
        }
        trials[name] = LayerStack(
            {
                region: np.tile(signal, (n_repeats, 1))
                + deviations[region]
                * rng.normal(size=(n_repeats * len(signal), signal.shape[1]))
                for region, signal in regions.items()
            },
            stimuli=np.tile(np.arange(len(stimuli)), n_repeats),
        )
        subjects[name] = average_repeats(trials[name])
        signals[name] = LayerStack(regions, stimuli=np.arange(len(stimuli)))
        ceilings[name] = {
            region: 1 / np.sqrt(1 + deviation**2 / n_repeats)
            for region, deviation in deviations.items()
        }
    sizes = "\n".join(
        f"    {name}: "
        + ", ".join(
            f"{region} {width}"
            for region, width in zip(stack.names, stack.widths, strict=True)
        )
        for name, stack in subjects.items()
    )
    return Bunch(
        subjects=subjects,
        trials=trials,
        signals=signals,
        ceilings=ceilings,
        network=network.with_stimuli(np.arange(len(stimuli))),
        drivers={region: network.names[depth] for region, depth in _DEPTHS.items()},
        labels=labels,
        images=stimuli.reshape(-1, 8, 8),
        DESCR=_CORTEX_DESCRIPTION.format(
            n_stimuli=len(stimuli),
            n_subjects=n_subjects,
            n_mixed=n_mixed,
            n_repeats=n_repeats,
            noise=noise,
            spread=_NOISE_SPREAD,
            sizes=sizes,
        ),
    )


def _driving_units(network, rng):
    """Return the units that drive each region, scaled to variance 1."""
    pools = {}
    for region, depth in _DEPTHS.items():
        if region not in _STREAMS:
            pools[region] = _live_units(network.layers[depth])
    last = _live_units(network.layers[_DEPTHS[_STREAMS[0]]])
    parts = np.array_split(rng.permutation(last.shape[1]), len(_STREAMS))
    for region, units in zip(_STREAMS, parts, strict=True):
        pools[region] = last[:, units]
    return pools


def _live_units(layer):
    units = layer[:, ~constant_units(layer)]
    return units / units.std(axis=0)


def _n_voxels(region, rng):
    return round(
        _VOXELS[region] * rng.uniform(1 - _VOXEL_VARIATION, 1 + _VOXEL_VARIATION)
    )


def _mix(units, n_voxels, n_mixed, rng):
    """Return nonnegative mixtures of a few units each, scaled to variance 1."""
    weights = np.zeros((units.shape[1], n_voxels))
    for voxel in range(n_voxels):
        chosen = rng.choice(units.shape[1], size=n_mixed, replace=False)
        weights[chosen, voxel] = rng.dirichlet(np.ones(n_mixed))
    voxels = units @ weights
    return voxels / voxels.std(axis=0)
