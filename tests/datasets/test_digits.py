import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skmot import LayerStack, MultiLevelOT
from skmot.datasets import load_digit_networks, load_digit_trajectories
from skmot.exceptions import DeadUnitWarning

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
        shares = softmax(logits, axis=1)
        np.testing.assert_allclose(shares, network.predict_proba(stimuli), atol=1e-9)


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


def test_a_seed_gives_the_same_networks_and_another_seed_others():
    first, again, other = (
        load_digit_networks(**SMALL, random_state=seed) for seed in (1, 1, 2)
    )
    for a, b in zip(first.target.layers, again.target.layers, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(first.target.layers[0], other.target.layers[0])
    # Rows of networks with different seeds show the same images.
    np.testing.assert_array_equal(first.images, other.images)
    np.testing.assert_array_equal(first.labels, other.labels)


def test_two_networks_of_one_shape_still_differ():
    networks = load_digit_networks(source_hidden=(12,), target_hidden=(12,))
    assert not np.allclose(networks.source.layers[0], networks.target.layers[0])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="'random_state' parameter"):
        load_digit_networks(random_state=-1)


# -- training runs -----------------------------------------------------------------


@pytest.fixture(scope="module")
def trajectories():
    return load_digit_trajectories()


def test_runs_are_stacks_of_checkpoints_of_layers(trajectories):
    assert trajectories.steps.tolist() == [0, *2 ** np.arange(11)]
    for run in (trajectories.source, trajectories.target):
        assert run.names == tuple(f"step {step}" for step in trajectories.steps)
        assert len(run) == len(trajectories.labels) == 899
        for checkpoint in run.layers:
            assert isinstance(checkpoint, LayerStack)
            assert checkpoint.names == ("hidden 1", "hidden 2", "hidden 3")
            assert checkpoint.widths == (64, 64, 64)
            assert min(layer.min() for layer in checkpoint.layers) == 0


def test_runs_begin_at_chance_and_end_reading(trajectories):
    for shares in (trajectories.source_accuracies, trajectories.target_accuracies):
        assert shares[0] < 0.3
        assert shares[-1] > 0.95
        assert f"{shares[5]:.3f}" in trajectories.DESCR


def test_runs_differ_and_change(trajectories):
    source, target = trajectories.source, trajectories.target
    first = source.layer("step 0").layer("hidden 1")
    assert not np.allclose(first, target.layer("step 0").layer("hidden 1"))
    steps = [checkpoint.layer("hidden 1") for checkpoint in source.layers]
    assert not any(np.array_equal(before, after) for before, after in pairwise(steps))


def test_step_zero_is_the_initialisation(trajectories):
    # What a unit answers where it is active is linear in what it sees, without a bias:
    # its weights are known from that. They are uniform within Glorot's bound.
    images = trajectories.images.reshape(899, 64)
    for run in (trajectories.source, trajectories.target):
        layers = [images, *run.layer("step 0").layers]
        for below, layer in pairwise(layers):
            weights = []
            for activity in layer.T:
                seen, active = below[activity > 0], activity[activity > 0]
                inverse = np.linalg.pinv(seen)
                found = inverse @ active
                np.testing.assert_allclose(seen @ found, active, atol=1e-12)
                # The weights of what is silent there are not known.
                is_known = np.isclose(np.diag(inverse @ seen), 1, atol=1e-6)
                weights.append(found[is_known])
            weights = np.concatenate(weights)
            assert len(weights) > 2000
            bound = np.sqrt(6 / (below.shape[1] + layer.shape[1]))
            assert 0.99 * bound < np.abs(weights).max() <= bound * (1 + 1e-9)
            # The deviation of the mean is a sixtieth of it.
            assert np.mean(weights**2) == pytest.approx(bound**2 / 3, rel=0.06)


def test_how_often_a_run_is_recorded_does_not_change_it():
    often, seldom, least = (
        load_digit_trajectories(n_checkpoints=n, hidden=(8,), random_state=1)
        for n in (4, 3, 2)
    )
    assert often.source.names == ("step 0", "step 1", "step 32", "step 1024")
    for few in (seldom, least):
        for side in ("source", "target"):
            for step in few[side].names:
                np.testing.assert_array_equal(
                    few[side].layer(step).layers[0], often[side].layer(step).layers[0]
                )
    assert least.source.names == ("step 0", "step 1024")


@pytest.mark.parametrize("n_checkpoints", [2, 3, 12, 30, 100])
def test_checkpoints_are_spread_from_the_first_step_to_the_last(n_checkpoints):
    runs = load_digit_trajectories(n_checkpoints=n_checkpoints, hidden=(2,))
    assert len(runs.steps) == n_checkpoints
    assert (runs.steps[0], runs.steps[-1]) == (0, 1024)
    # Even on a logarithmic scale, but for whole numbers and the few small ones.
    even = 1024 ** np.linspace(0, 1, n_checkpoints - 1) if n_checkpoints > 2 else 1024
    first = np.arange(1, n_checkpoints)
    np.testing.assert_allclose(runs.steps[1:], np.maximum(even, first), atol=0.5)


def slow_descent(images, labels, hidden, seed, n_steps):
    """Train by differences of the loss; yield the network at each step, from 0 on.

    What is drawn, in this order: the weights of each layer, and the order of the images
    anew where fewer than a batch are left.
    """
    rng = np.random.default_rng(seed)
    network = []
    for shape in pairwise((64, *hidden, 10)):
        bound = np.sqrt(6 / sum(shape))
        network += [rng.uniform(-bound, bound, size=shape), np.zeros(shape[1])]
    velocity = [np.zeros_like(parameter) for parameter in network]
    order = rng.permutation(len(images))

    def loss(batch):
        activity = images[batch]
        for weights, bias in zip(network[:-2:2], network[1:-2:2], strict=True):
            activity = np.maximum(activity @ weights + bias, 0)
        logits = activity @ network[-2] + network[-1]
        chosen = logits[np.arange(len(batch)), labels[batch]]
        return np.mean(logsumexp(logits, axis=1) - chosen)

    yield network
    for step in range(n_steps):
        batch = order[32 * step : 32 * (step + 1)]
        slopes = []
        for parameter in network:
            slope = np.empty_like(parameter)
            for index in np.ndindex(parameter.shape):
                kept, around = parameter[index], []
                for shift in (1e-5, -1e-5):
                    parameter[index] = kept + shift
                    around.append(loss(batch))
                parameter[index] = kept
                slope[index] = (around[0] - around[1]) / 2e-5
            slopes.append(slope)
        for parameter, speed, slope in zip(network, velocity, slopes, strict=True):
            speed *= 0.9
            speed -= 0.02 * slope
            parameter += speed
        yield network


def test_runs_descend_along_the_gradient_of_the_mean_cross_entropy():
    # So many units first that none of the images silences all of them: below a layer of
    # zeros the loss has a kink, as biases begin at 0.
    hidden = (12, 4)
    runs = load_digit_trajectories(n_checkpoints=100, hidden=hidden)
    digits = load_digits()
    images, _, labels, _ = train_test_split(
        digits.data / 16,
        digits.target,
        test_size=0.5,
        stratify=digits.target,
        random_state=0,
    )
    stimuli = runs.images.reshape(899, 64)
    seeds = np.random.SeedSequence(0).spawn(2)
    for run, seed in zip((runs.source, runs.target), seeds, strict=True):
        for step, network in enumerate(slow_descent(images, labels, hidden, seed, 2)):
            activity = stimuli
            for number, found in enumerate(run.layer(f"step {step}").layers):
                weights, bias = network[2 * number : 2 * number + 2]
                activity = np.maximum(activity @ weights + bias, 0)
                np.testing.assert_allclose(found, activity, atol=1e-8)


def test_runs_follow_the_seed():
    small = {"n_checkpoints": 3, "hidden": (8,)}
    first, again, other = (
        np.asarray(load_digit_trajectories(**small, random_state=seed).target)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_all_digit_data_show_the_same_stimuli(trajectories, networks):
    np.testing.assert_array_equal(trajectories.images, networks.images)
    np.testing.assert_array_equal(trajectories.labels, networks.labels)


@pytest.mark.parametrize("setting", [{"n_checkpoints": 1}, {"n_checkpoints": 101}])
def test_impossible_numbers_of_checkpoints_are_refused(setting):
    with pytest.raises(ValueError, match="'n_checkpoints' parameter"):
        load_digit_trajectories(**setting)


def test_three_levels_are_matched():
    runs = load_digit_trajectories(n_checkpoints=3, hidden=(12, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadUnitWarning)
        mot = MultiLevelOT(MultiLevelOT()).fit(runs.source[:600], runs.target[:600])
        assert mot.coupling_.shape == (3, 3)
        assert mot.score(runs.source[600:], runs.target[600:]) > 0
