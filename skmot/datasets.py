"""Real activations without a download."""

import warnings
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from skmot._sklearn import one_thread
from skmot._units import constant_units
from skmot.layers import LayerStack
from skmot.preprocessing import average_repeats

__all__ = [
    "load_digit_networks",
    "load_digit_trajectories",
    "make_simulated_cortex",
]

# The scanner's grey levels run from 0 to 16.
_DIGIT_RANGE = 16.0

_DESCRIPTION = """\
Two trained networks that saw the same handwritten digits
----------------------------------------------------------

scikit-learn's handwritten digits (`sklearn.datasets.load_digits`, 1,797 images of 8 x 8
pixels in ten classes) were split in two. Two multi-layer perceptrons
(`sklearn.neural_network.MLPClassifier`, ReLU units) of different depth, initialisation
and order of training images were trained on the first part, {n_train} images, to tell
the digits apart. The second part, {n_stimuli} images that neither network was trained
on, was shown to both; what is given is the activity of every hidden unit after its
ReLU.

    network  hidden layers                       accuracy on the second part
    source   {source_sizes:<35} {source_accuracy:.3f}
    target   {target_sizes:<35} {target_accuracy:.3f}

Units that answer to no image at all are real: ReLU units die in training.
"""

# Of `load_digit_trajectories`: by stochastic gradient descent with momentum, at the
# usual settings; 1,024 steps of 32 images are about 36 epochs, and enough.
_N_STEPS = 1024
_BATCH = 32
_LEARNING_RATE = 0.02
_MOMENTUM = 0.9

_TRAJECTORIES_DESCRIPTION = """\
Two training runs of one network on the same handwritten digits
---------------------------------------------------------------

scikit-learn's handwritten digits (`sklearn.datasets.load_digits`, 1,797 images of 8 x 8
pixels in ten classes) were split in two. A multi-layer perceptron (ReLU units, hidden
layers of {sizes} units, softmax output) was trained twice on the first part, {n_train}
images, to tell the digits apart, from two initialisations and with two orders of
images: {n_steps} steps of stochastic gradient descent on cross-entropy, batches of
{batch} images, learning rate {rate}, momentum {momentum}. The second part,
{n_stimuli} images that neither run was trained on, was shown to the network at each
checkpoint; what is given is the activity of every hidden unit after its ReLU. Step 0 is
the initialisation, before any training.

    accuracy on the second part
    checkpoint   source  target
{accuracies}
"""

_STREAMS = ("Lateral", "Dorsal", "Ventral")
_DEPTHS = {"V1": 0, "V2": 1, "V3": 2, "V4": 3} | dict.fromkeys(_STREAMS, 4)
# The last layer is shared out: a third of its units to each stream.
_CORTEX_HIDDEN = (64, 64, 64, 64, 96)
# Before a subject's own variation of up to a fifth either way.
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
# Deviation of the logarithm of the noise from voxel to voxel.
_NOISE_SPREAD = 0.5

_CORTEX_DESCRIPTION = """\
A simulated cortex: no brain was recorded
-----------------------------------------

These are simulated responses that stand where a study has brain recordings. A
multi-layer perceptron (`sklearn.neural_network.MLPClassifier`, ReLU units, five hidden
layers) was trained on half of scikit-learn's handwritten digits, and
{n_stimuli} others were shown to it. Each of {n_subjects} simulated subjects has seven
regions, named after those of visual cortex, whose voxels mix a few units of one hidden
layer:

    V1 hidden 1    V2 hidden 2    V3 hidden 3    V4 hidden 4
    Lateral, Dorsal, Ventral: hidden 5, a third of its units each

The signal of a voxel is a sum of {n_mixed} units drawn for it, each of unit variance,
with nonnegative weights of its own, scaled to unit variance: voxels keep tuning, and no
two subjects have the same voxels. Each stimulus was "shown" {n_repeats} times;
every trial has independent Gaussian noise, whose deviation is constant for a voxel and
varies between voxels around {noise} (log-normally, deviation {spread}). The noise
ceiling of an average over repeats is therefore known: 1 / sqrt(1 + deviation^2 / \
{n_repeats}).

Voxels of each region:
{sizes}
"""


@validate_params(
    {
        "source_hidden": ["array-like"],
        "target_hidden": ["array-like"],
        "random_state": [Interval(Integral, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def load_digit_networks(
    *,
    source_hidden=(64, 64, 64),
    target_hidden=(64, 64, 64, 64, 64, 64),
    random_state=0,
):
    """Train two networks on handwritten digits and record their hidden layers.

    Training takes seconds and needs no download: the digits come with scikit-learn.

    Parameters
    ----------
    source_hidden, target_hidden : sequence of int, default=(64,) * 3 and (64,) * 6
        Units of each hidden layer.
    random_state : int, default=0
        Seed of the split and of both trainings, which differ from each other. The same
        seed gives the same activations (on one machine; linear algebra libraries differ
        in their last digits).

    Returns
    -------
    networks : :class:`sklearn.utils.Bunch`
        With the attributes

        source, target : LayerStack of shape (899, n_units)
            Activations of the hidden layers, "hidden 1" and on, float64, nonnegative.
        labels : ndarray of int of shape (899,)
            The digit each stimulus shows.
        images : ndarray of shape (899, 8, 8)
            The stimuli, from 0 to 1.
        source_accuracy, target_accuracy : float
            Share of the stimuli that each network classifies rightly.
        DESCR : str
            A description.

    Examples
    --------
    >>> from skmot.datasets import load_digit_networks
    >>> networks = load_digit_networks(source_hidden=(16,), target_hidden=(16, 16))
    >>> networks.source
    LayerStack(899 stimuli, 1 layer: hidden 1 (16 units))
    """
    train, stimuli, train_labels, labels = _split_digits(random_state)
    seeds = np.random.SeedSequence(random_state).generate_state(2)
    networks = [
        _train(train, train_labels, tuple(hidden), int(seed))
        for hidden, seed in zip((source_hidden, target_hidden), seeds, strict=True)
    ]
    source, target = (_record(network, stimuli) for network in networks)
    accuracies = [float(network.score(stimuli, labels)) for network in networks]
    return Bunch(
        source=source,
        target=target,
        labels=labels,
        images=stimuli.reshape(-1, 8, 8),
        source_accuracy=accuracies[0],
        target_accuracy=accuracies[1],
        DESCR=_DESCRIPTION.format(
            n_train=len(train),
            n_stimuli=len(stimuli),
            source_sizes=", ".join(map(str, source_hidden)),
            target_sizes=", ".join(map(str, target_hidden)),
            source_accuracy=accuracies[0],
            target_accuracy=accuracies[1],
        ),
    )


@validate_params(
    {
        "n_checkpoints": [Interval(Integral, 2, 100, closed="both")],
        "hidden": ["array-like"],
        "random_state": [Interval(Integral, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def load_digit_trajectories(*, n_checkpoints=12, hidden=(64, 64, 64), random_state=0):
    """Train one network twice on handwritten digits and record it all along.

    For matching checkpoints over layers over units: two runs of one architecture that
    differ in their seeds, from initialisation on.

    Parameters
    ----------
    n_checkpoints : int, default=12
        How often each run is recorded: before training (step 0), and then at steps
        spaced evenly on a logarithmic scale up to the last, 1,024; the default gives
        every power of two. From 2 to 100.
    hidden : sequence of int, default=(64, 64, 64)
        Units of each hidden layer.
    random_state : int, default=0
        Seed of the split and of both runs, which differ from each other. The same seed
        gives the same activations (on one machine; linear algebra libraries differ in
        their last digits).

    Returns
    -------
    trajectories : :class:`sklearn.utils.Bunch`
        With the attributes

        source, target : LayerStack of LayerStack
            One stack a checkpoint, "step 0" and on, each with the activations of the
            hidden layers, "hidden 1" and on: (899, n_units), float64, nonnegative.
        steps : ndarray of int of shape (n_checkpoints,)
            Training steps made at each checkpoint.
        labels : ndarray of int of shape (899,)
            The digit each stimulus shows.
        images : ndarray of shape (899, 8, 8)
            The stimuli, from 0 to 1; those of :func:`load_digit_networks` at the same
            seed, in the same order.
        source_accuracies, target_accuracies : ndarray of shape (n_checkpoints,)
            Share of the stimuli that each network classifies rightly.
        DESCR : str
            A description.

    See Also
    --------
    load_digit_networks : Two trained networks of different depth.

    Examples
    --------
    >>> from skmot.datasets import load_digit_trajectories
    >>> runs = load_digit_trajectories(n_checkpoints=4, hidden=(16, 16))
    >>> runs.source.names
    ('step 0', 'step 1', 'step 32', 'step 1024')
    >>> runs.source.layer("step 0")
    LayerStack(899 stimuli, 2 layers: hidden 1 (16 units), hidden 2 (16 units))
    """
    train, stimuli, train_labels, labels = _split_digits(random_state)
    steps = _spaced_steps(n_checkpoints)
    runs, accuracies = [], []
    for seed in np.random.SeedSequence(random_state).spawn(2):
        checkpoints, shares = {}, []
        # As in `_train`.
        with one_thread():
            for step, network in _descend(
                train, train_labels, tuple(hidden), steps, seed
            ):
                *layers, logits = _activities(network, stimuli)
                checkpoints[f"step {step}"] = _stack_hidden(layers)
                shares.append(np.mean(logits.argmax(axis=1) == labels))
        runs.append(LayerStack(checkpoints))
        accuracies.append(np.array(shares))
    table = "\n".join(
        f"    {name:<12} {source:.3f}   {target:.3f}"
        for name, source, target in zip(runs[0].names, *accuracies, strict=True)
    )
    return Bunch(
        source=runs[0],
        target=runs[1],
        steps=steps,
        labels=labels,
        images=stimuli.reshape(-1, 8, 8),
        source_accuracies=accuracies[0],
        target_accuracies=accuracies[1],
        DESCR=_TRAJECTORIES_DESCRIPTION.format(
            sizes=", ".join(map(str, hidden)),
            n_train=len(train),
            n_stimuli=len(stimuli),
            n_steps=_N_STEPS,
            batch=_BATCH,
            rate=_LEARNING_RATE,
            momentum=_MOMENTUM,
            accuracies=table,
        ),
    )


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

    No brain was recorded: the voxels of each region mix a few units of one hidden layer
    of a network trained on digits, differently in each subject, under noise. What is
    known of it (which layer drives which region, the signal, the noise ceilings) makes
    it a place to try a method.

    Parameters
    ----------
    n_subjects : int, default=4
        Number of subjects.
    n_repeats : int, default=3
        How often each stimulus is shown to each.
    noise : float, default=1.0
        Median deviation of the noise of a trial; that of a voxel's signal is 1.
    n_mixed : int, default=3
        How many units of the network a voxel mixes, from 1 (voxels are units) to 8.
    random_state : int, default=0
        Seed of everything. The same seed gives the same responses (on one machine;
        linear algebra libraries differ in their last digits).

    Returns
    -------
    cortex : :class:`sklearn.utils.Bunch`
        With the attributes

        subjects : dict of LayerStack of shape (899, n_voxels)
            "subject 1" and on: responses averaged over repeats; the layers are the
            regions V1, V2, V3, V4, Lateral, Dorsal and Ventral, and `stimuli` numbers
            the stimuli.
        trials : dict of LayerStack of shape (899 * n_repeats, n_voxels)
            The single trials, all stimuli once and then again; `stimuli` has each
            number `n_repeats` times.
        signals : dict of LayerStack of shape (899, n_voxels)
            The responses without noise.
        ceilings : dict of dict of ndarray of shape (n_voxels,)
            Of each subject and region, the noise ceilings of the averages: the
            correlation of average and signal to be expected.
        network : LayerStack of shape (899, 352)
            The hidden layers that drive the regions.
        drivers : dict of str
            The layer that drives each region.
        labels : ndarray of int of shape (899,)
            The digit each stimulus shows.
        images : ndarray of shape (899, 8, 8)
            The stimuli, from 0 to 1; those of :func:`load_digit_networks` at the same
            seed, in the same order, so that its networks can be compared with the
            regions.
        DESCR : str
            A description.

    See Also
    --------
    skmot.metrics.noise_ceiling : Estimates the ceilings from the trials.

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
    train, stimuli, train_labels, labels = _split_digits(random_state)
    # The first two children are the runs of `load_digit_trajectories`.
    seeds = np.random.SeedSequence(random_state).spawn(4 + n_subjects)[2:]
    network_seed = int(seeds[0].generate_state(1)[0])
    network = _record(
        _train(train, train_labels, _CORTEX_HIDDEN, network_seed), stimuli
    )
    # The streams share out the last layer the same way in all subjects.
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
        network=network,
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


def _split_digits(random_state):
    """Return images to train on, stimuli, and the labels of both."""
    digits = load_digits()
    return train_test_split(
        digits.data / _DIGIT_RANGE,
        digits.target,
        test_size=0.5,
        stratify=digits.target,
        random_state=random_state,
    )


def _train(images, labels, hidden, seed):
    network = MLPClassifier(hidden, max_iter=100, random_state=seed)
    # Products this small are done before a second thread is awake: where cores are
    # shared, waiting for it takes most of the time.
    with warnings.catch_warnings(), one_thread():
        # The networks are stopped after a fixed number of epochs, well trained or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(images, labels)


def _record(network, stimuli):
    """Return the activity of every hidden layer of a trained network."""
    weights = list(zip(network.coefs_, network.intercepts_, strict=True))
    return _stack_hidden(_activities(weights, stimuli)[:-1])


def _stack_hidden(layers):
    return LayerStack(layers, names=[f"hidden {i}" for i in range(1, len(layers) + 1)])


def _activities(network, images):
    """Return the activity of every hidden layer, after its ReLU, and the logits."""
    activities = [images]
    for weights, bias in network[:-1]:
        activities.append(np.maximum(activities[-1] @ weights + bias, 0.0))
    weights, bias = network[-1]
    return [*activities[1:], activities[-1] @ weights + bias]


# -- training runs: MLPClassifier shows no network before its first step -------------


def _spaced_steps(n_checkpoints):
    """Return 0 and steps evenly spaced in their logarithm, each once."""
    # From the last to the first, so that one alone is the last.
    steps = np.rint(np.geomspace(_N_STEPS, 1, n_checkpoints - 1)[::-1]).astype(int)
    for index in range(1, len(steps)):
        # Small numbers are too few: their steps go one by one.
        steps[index] = max(steps[index], steps[index - 1] + 1)
    return np.concatenate([[0], steps])


def _descend(images, labels, hidden, steps, seed):
    """Train a network; yield it, as it is, at each of the steps, with the step."""
    rng = np.random.default_rng(seed)
    targets = np.eye(labels.max() + 1)[labels]
    network = _initialise((images.shape[1], *hidden, targets.shape[1]), rng)
    velocity = [(np.zeros_like(w), np.zeros_like(b)) for w, b in network]
    order = np.empty(0, dtype=int)
    for step in range(steps[-1] + 1):
        if step in steps:
            yield step, network
        if len(order) < _BATCH:
            order = rng.permutation(len(images))
        batch, order = order[:_BATCH], order[_BATCH:]
        gradients = _gradients(network, images[batch], targets[batch])
        for parameters, speeds, slopes in zip(
            network, velocity, gradients, strict=True
        ):
            for parameter, speed, slope in zip(parameters, speeds, slopes, strict=True):
                speed *= _MOMENTUM
                speed -= _LEARNING_RATE * slope
                parameter += speed


def _initialise(sizes, rng):
    """Draw weights uniformly (Glorot and Bengio, 2010); biases are 0."""
    network = []
    for before, after in pairwise(sizes):
        bound = np.sqrt(6 / (before + after))
        weights = rng.uniform(-bound, bound, size=(before, after))
        network.append((weights, np.zeros(after)))
    return network


def _gradients(network, images, targets):
    """Return the gradient of the mean cross-entropy, a pair for each layer."""
    *hidden, logits = _activities(network, images)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    error = (softmax - targets) / len(images)
    gradients = []
    for below, (weights, _) in zip(
        reversed([images, *hidden]), reversed(network), strict=True
    ):
        gradients.append((below.T @ error, error.sum(axis=0)))
        # Of the images there is no gradient to be taken; computed, it costs nothing.
        error = (error @ weights.T) * (below > 0)
    return gradients[::-1]


# -- the simulated cortex ------------------------------------------------------------


def _driving_units(network, rng):
    """Return the units that drive each region, each of unit variance."""
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
    """Return voxels, each a nonnegative mixture of a few units, of unit variance."""
    weights = np.zeros((units.shape[1], n_voxels))
    for voxel in range(n_voxels):
        chosen = rng.choice(units.shape[1], size=n_mixed, replace=False)
        weights[chosen, voxel] = rng.dirichlet(np.ones(n_mixed))
    voxels = units @ weights
    return voxels / voxels.std(axis=0)
