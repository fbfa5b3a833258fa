"""Activations of networks trained on handwritten digits."""

import warnings
from itertools import pairwise
from numbers import Integral

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils import Bunch

from skmot._utils.sklearn import Interval, one_thread, validate_params
from skmot.layers import LayerStack

# Largest pixel value of the images.
_DIGIT_RANGE = 16.0

_DESCRIPTION = """\
Two trained networks that saw the same handwritten digits
----------------------------------------------------------

scikit-learn's handwritten digits (`sklearn.datasets.load_digits`, 1,797 images of 8 x 8
pixels in ten classes) were split into two parts. Two multi-layer perceptrons
(`sklearn.neural_network.MLPClassifier`, ReLU units) were trained to classify the
{n_train} images of the first part. They differ in depth, initialisation and order of
the training images. Both networks were then shown the {n_stimuli} images of the second
part, which were not used in training. The layers contain the activity of every hidden
unit after its ReLU.

    network  hidden layers                       accuracy on the second part
    source   {source_sizes:<35} {source_accuracy:.3f}
    target   {target_sizes:<35} {target_accuracy:.3f}

Some units respond to no image at all. They are not an error: ReLU units can become
inactive during training.
"""

# Settings of `load_digit_trajectories`: stochastic gradient descent with momentum. The
# 1,024 steps of 32 images are about 36 epochs, which is sufficient.
_N_STEPS = 1024
_BATCH = 32
_LEARNING_RATE = 0.02
_MOMENTUM = 0.9

_TRAJECTORIES_DESCRIPTION = """\
Two training runs of one network on the same handwritten digits
---------------------------------------------------------------

scikit-learn's handwritten digits (`sklearn.datasets.load_digits`, 1,797 images of 8 x 8
pixels in ten classes) were split into two parts. A multi-layer perceptron (ReLU units,
hidden layers of {sizes} units, softmax output) was trained twice to classify the
{n_train} images of the first part, with two initialisations and two orders of the
images. Each run took {n_steps} steps of stochastic gradient descent on the
cross-entropy, with batches of {batch} images, learning rate {rate} and momentum
{momentum}. At each checkpoint, the network was shown the {n_stimuli} images of the
second part, which were not used in training. The layers contain the activity of every
hidden unit after its ReLU. Step 0 is the initialisation, before any training.

    accuracy on the second part
    checkpoint   source  target
{accuracies}
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
        Number of units of each hidden layer.
    random_state : int, default=0
        Seed of both training runs, which get different seeds. The stimuli are the same
        images in the same order for every seed, so that networks of several seeds can
        be compared. The same seed gives the same activations on the same
        machine. Results of different linear algebra libraries differ by rounding
        errors.

    Returns
    -------
    networks : :class:`sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        source, target : LayerStack of shape (899, n_units)
            Nonnegative float64 activations of the hidden layers, which are named
            "hidden 1", "hidden 2", and so on.
        labels : ndarray of int of shape (899,)
            Digit that each stimulus shows.
        images : ndarray of shape (899, 8, 8)
            Stimuli with values from 0 to 1.
        source_accuracy, target_accuracy : float
            Fraction of the stimuli that each network classifies correctly.
        DESCR : str
            Description of the dataset.

    Examples
    --------
    >>> from skmot.datasets import load_digit_networks
    >>> networks = load_digit_networks(source_hidden=(16,), target_hidden=(16, 16))
    >>> networks.source
    LayerStack(899 stimuli, 1 layer: hidden 1 (16 units))
    """
    _check_widths(source_hidden, "source_hidden")
    _check_widths(target_hidden, "target_hidden")
    train, stimuli, train_labels, labels = split_digits()
    seeds = np.random.SeedSequence(random_state).generate_state(2)
    networks = [
        train_classifier(train, train_labels, tuple(hidden), int(seed))
        for hidden, seed in zip((source_hidden, target_hidden), seeds, strict=True)
    ]
    source, target = (record_activities(network, stimuli) for network in networks)
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
    """Train a network twice on handwritten digits and record several checkpoints.

    The two runs have the same architecture and different seeds. They are an example for
    the matching of units, layers and checkpoints.

    Parameters
    ----------
    n_checkpoints : int, default=12
        Number of checkpoints of each run, from 2 to 100. The first one is before
        training (step 0). The others are evenly spaced on a logarithmic scale, up to
        the last step, 1,024. The default gives all powers of two.
    hidden : sequence of int, default=(64, 64, 64)
        Number of units of each hidden layer.
    random_state : int, default=0
        Seed of both training runs, which get different seeds. The stimuli are the same
        images in the same order for every seed. The same seed gives the same
        activations on the same machine. Results of different linear algebra libraries
        differ by rounding errors.

    Returns
    -------
    trajectories : :class:`sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        source, target : LayerStack of LayerStack
            One stack for each checkpoint, named "step 0" and so on. Each contains the
            hidden layers "hidden 1", "hidden 2", and so on: nonnegative float64
            activations of shape (899, n_units).
        steps : ndarray of int of shape (n_checkpoints,)
            Number of training steps at each checkpoint.
        labels : ndarray of int of shape (899,)
            Digit that each stimulus shows.
        images : ndarray of shape (899, 8, 8)
            Stimuli with values from 0 to 1. They are those of
            :func:`load_digit_networks`, in the same order.
        source_accuracies, target_accuracies : ndarray of shape (n_checkpoints,)
            Fraction of the stimuli that each network classifies correctly.
        DESCR : str
            Description of the dataset.

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
    _check_widths(hidden, "hidden")
    train, stimuli, train_labels, labels = split_digits()
    steps = _spaced_steps(n_checkpoints)
    runs, accuracies = [], []
    for seed in np.random.SeedSequence(random_state).spawn(2):
        checkpoints, run_accuracies = {}, []
        # One thread is faster, as in `train_classifier`.
        with one_thread():
            for step, network in _descend(
                train, train_labels, tuple(hidden), steps, seed
            ):
                *layers, logits = _activities(network, stimuli)
                checkpoints[f"step {step}"] = _stack_hidden(layers)
                run_accuracies.append(np.mean(logits.argmax(axis=1) == labels))
        runs.append(LayerStack(checkpoints))
        accuracies.append(np.array(run_accuracies))
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


def split_digits():
    """Return the training images, the stimuli, and the labels of both.

    They do not depend on a seed: rows of networks with different seeds would show
    different images, and could be compared without an error.
    """
    digits = load_digits()
    return train_test_split(
        digits.data / _DIGIT_RANGE,
        digits.target,
        test_size=0.5,
        stratify=digits.target,
        random_state=0,
    )


def train_classifier(images, labels, hidden, seed):
    """Train a multi-layer perceptron to classify the digits."""
    network = MLPClassifier(hidden, max_iter=100, random_state=seed)
    # Matrix products of this size are faster in one thread: on shared cores, waiting
    # for a second thread would take most of the time.
    with warnings.catch_warnings(), one_thread():
        # Training stops after a fixed number of epochs, even without convergence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(images, labels)


def record_activities(network, stimuli):
    """Return the activities of the hidden layers of a trained network."""
    weights = list(zip(network.coefs_, network.intercepts_, strict=True))
    return _stack_hidden(_activities(weights, stimuli)[:-1])


def _check_widths(widths, name):
    """Raise an error unless hidden layers have one or more units."""
    whole = [isinstance(width, Integral) and width > 0 for width in widths]
    if not whole or not all(whole):
        raise ValueError(
            f"`{name}` must be one or more numbers of units, each at least 1; got "
            f"{widths!r}."
        )


def _stack_hidden(layers):
    return LayerStack(layers, names=[f"hidden {i}" for i in range(1, len(layers) + 1)])


def _activities(network, images):
    """Return the activities of the hidden layers, after the ReLU, and the logits."""
    activities = [images]
    for weights, bias in network[:-1]:
        activities.append(np.maximum(activities[-1] @ weights + bias, 0.0))
    weights, bias = network[-1]
    return [*activities[1:], activities[-1] @ weights + bias]


# -- training runs; MLPClassifier gives no access to the initial network -------------


def _spaced_steps(n_checkpoints):
    """Return 0 and distinct steps that are evenly spaced on a logarithmic scale."""
    # The order is reversed, so that a single step is the last one.
    steps = np.rint(np.geomspace(_N_STEPS, 1, n_checkpoints - 1)[::-1]).astype(int)
    for index in range(1, len(steps)):
        # Several small steps can round to the same integer. They become consecutive.
        steps[index] = max(steps[index], steps[index - 1] + 1)
    return np.concatenate([[0], steps])


def _descend(images, labels, hidden, steps, seed):
    """Train a network, and yield each of the steps with the network at this step."""
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
    """Sample uniform weights (Glorot and Bengio, 2010) and set biases to 0."""
    network = []
    for before, after in pairwise(sizes):
        bound = np.sqrt(6 / (before + after))
        weights = rng.uniform(-bound, bound, size=(before, after))
        network.append((weights, np.zeros(after)))
    return network


def _gradients(network, images, targets):
    """Compute the gradients of the mean cross-entropy for each layer's parameters."""
    *hidden, logits = _activities(network, images)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    error = (softmax - targets) / len(images)
    gradients = []
    for below, (weights, _) in zip(
        reversed([images, *hidden]), reversed(network), strict=True
    ):
        gradients.append((below.T @ error, error.sum(axis=0)))
        # The last iteration also computes a gradient for the images, which is not used.
        error = (error @ weights.T) * (below > 0)
    return gradients[::-1]
