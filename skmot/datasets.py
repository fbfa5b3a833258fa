"""Real activations without a download."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from skmot.layers import LayerStack

__all__ = ["load_digit_networks"]

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
    digits = load_digits()
    images = digits.data / _DIGIT_RANGE
    train, stimuli, train_labels, labels = train_test_split(
        images,
        digits.target,
        test_size=0.5,
        stratify=digits.target,
        random_state=random_state,
    )
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


def _train(images, labels, hidden, seed):
    network = MLPClassifier(hidden, max_iter=100, random_state=seed)
    with warnings.catch_warnings():
        # The networks are stopped after a fixed number of epochs, well trained or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(images, labels)


def _record(network, stimuli):
    """Return the activity of every hidden layer, after its ReLU."""
    layers, activity = [], stimuli
    for weights, bias in zip(
        network.coefs_[:-1], network.intercepts_[:-1], strict=True
    ):
        activity = np.maximum(activity @ weights + bias, 0.0)
        layers.append(activity)
    return LayerStack(layers, names=[f"hidden {i}" for i in range(1, len(layers) + 1)])
