import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skmot import LayerStack
from skmot.datasets import load_digit_networks

SMALL = {"source_hidden": (12,), "target_hidden": (10, 8)}


@pytest.fixture(scope="module")
def networks():
    return load_digit_networks()


def test_stimuli_are_digits_that_no_network_was_trained_on(networks):
    digits = load_digits()
    images = {
        image.tobytes(): label
        for image, label in zip(digits.data / 16, digits.target, strict=True)
    }
    assert networks.images.shape == (899, 8, 8)
    for image, label in zip(networks.images, networks.labels, strict=True):
        assert images[image.ravel().tobytes()] == label
    assert networks.images.min() == 0
    assert networks.images.max() == 1


def test_layers_are_the_hidden_layers_of_networks_of_different_depth(networks):
    assert isinstance(networks.source, LayerStack)
    assert networks.source.widths == (64,) * 3
    assert networks.target.widths == (64,) * 6
    assert networks.source.names == ("hidden 1", "hidden 2", "hidden 3")
    assert len(networks.source) == len(networks.target) == len(networks.labels)
    for layer in (*networks.source.layers, *networks.target.layers):
        assert layer.min() == 0.0
        assert layer.max() > 0.0


def test_the_networks_learned_to_read(networks):
    # One in ten by chance.
    assert networks.source_accuracy > 0.9
    assert networks.target_accuracy > 0.9
    for accuracy in (networks.source_accuracy, networks.target_accuracy):
        assert f"{accuracy:.3f}" in networks.DESCR


def test_activations_are_what_the_network_computes(monkeypatch):
    trained = []
    fit = MLPClassifier.fit

    def remember(self, X, y):
        trained.append(self)
        return fit(self, X, y)

    monkeypatch.setattr(MLPClassifier, "fit", remember)
    networks = load_digit_networks(**SMALL)
    stimuli = networks.images.reshape(899, 64)
    for stack, network in zip((networks.source, networks.target), trained, strict=True):
        last = stack.layers[stack.n_layers - 1]
        logits = last @ network.coefs_[-1] + network.intercepts_[-1]
        softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax /= softmax.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(softmax, network.predict_proba(stimuli), atol=1e-9)


def test_training_and_recording_use_different_digits(monkeypatch):
    seen = []
    fit = MLPClassifier.fit

    def remember(self, X, y):
        seen.append(X)
        return fit(self, X, y)

    monkeypatch.setattr(MLPClassifier, "fit", remember)
    networks = load_digit_networks(**SMALL)
    stimuli = networks.images.reshape(899, 64)
    both = np.vstack([seen[0], stimuli])
    everything = load_digits().data / 16
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(
        both[np.lexsort(both.T)], everything[np.lexsort(everything.T)]
    )
    assert train_test_split(everything, test_size=0.5)[1].shape == stimuli.shape


def test_a_seed_gives_the_same_networks_and_another_seed_others():
    first, again, other = (
        load_digit_networks(**SMALL, random_state=seed) for seed in (1, 1, 2)
    )
    for a, b in zip(first.target.layers, again.target.layers, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.images, other.images)


def test_two_networks_of_one_shape_still_differ():
    networks = load_digit_networks(source_hidden=(12,), target_hidden=(12,))
    assert not np.allclose(networks.source.layers[0], networks.target.layers[0])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="'random_state' parameter"):
        load_digit_networks(random_state=-1)
