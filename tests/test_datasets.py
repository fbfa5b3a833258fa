import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from skmot import LayerStack, MultiLevelOT
from skmot.datasets import (
    _descend,
    _gradients,
    _spaced_steps,
    load_digit_networks,
    load_digit_trajectories,
    make_simulated_cortex,
)
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import noise_ceiling

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
    assert not np.array_equal(first.images, other.images)


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


def test_step_zero_is_the_initialisation():
    # A random first layer: of images x, max(0, x w) with w uniform within Glorot's
    # bound. Over units the mean square of x w is |x|^2 bound^2 / 3, half of it passing.
    images = load_digits().data[:50] / 16
    step, network = next(
        _descend(images, load_digits().target[:50], (20_000,), [0, 1], seed=0)
    )
    assert step == 0
    weights, bias = network[0]
    assert not bias.any()
    bound = 6 / (64 + 20_000)
    assert np.max(weights**2) <= bound
    activity = np.maximum(images @ weights, 0)
    expected = np.sum(images**2, axis=1) * bound / 3 / 2
    np.testing.assert_allclose(np.mean(activity**2, axis=1), expected, rtol=0.1)


def test_steps_before_a_checkpoint_are_made_and_no_more():
    images, labels = load_digits(return_X_y=True)
    first = {
        step: [weights.copy() for weights, _ in network]
        for step, network in _descend(images / 16, labels, (8,), [0, 2, 5], seed=1)
    }
    second = {
        step: [weights.copy() for weights, _ in network]
        for step, network in _descend(images / 16, labels, (8,), [0, 1, 2, 5], seed=1)
    }
    assert list(first) == [0, 2, 5]
    for step, weights in first.items():
        for one, other in zip(weights, second[step], strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0][0], second[1][0])


@pytest.mark.parametrize("n_checkpoints", [2, 3, 12, 30, 100])
def test_checkpoints_are_spread_from_the_first_step_to_the_last(n_checkpoints):
    steps = _spaced_steps(n_checkpoints)
    assert len(steps) == n_checkpoints
    assert (steps[0], steps[-1]) == (0, 1024)
    assert np.all(np.diff(steps) > 0)


def test_gradients_are_those_of_the_mean_cross_entropy():
    rng = np.random.default_rng(0)
    network = [
        (rng.normal(size=shape), rng.normal(size=shape[1]))
        for shape in [(5, 4), (4, 6), (6, 3)]
    ]
    images, labels = rng.normal(size=(7, 5)), rng.integers(3, size=7)

    def loss():
        activity = images
        for depth, (weights, bias) in enumerate(network):
            activity = activity @ weights + bias
            if depth < 2:
                activity = np.maximum(activity, 0)
        return log_loss(labels, softmax(activity, axis=1), labels=range(3))

    gradients = _gradients(network, images, np.eye(3)[labels])
    for parameters, slopes in zip(network, gradients, strict=True):
        for parameter, slope in zip(parameters, slopes, strict=True):
            for index in np.ndindex(parameter.shape):
                kept, around = parameter[index], []
                for shift in (1e-5, -1e-5):
                    parameter[index] = kept + shift
                    around.append(loss())
                parameter[index] = kept
                numeric = (around[0] - around[1]) / 2e-5
                assert slope[index] == pytest.approx(numeric, abs=1e-8)


def test_runs_follow_the_seed():
    small = {"n_checkpoints": 3, "hidden": (8,)}
    first, again, other = (
        np.asarray(load_digit_trajectories(**small, random_state=seed).target)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_all_digit_data_show_the_same_stimuli_at_a_seed(trajectories, networks, cortex):
    np.testing.assert_array_equal(trajectories.images, networks.images)
    np.testing.assert_array_equal(cortex.images, networks.images)
    np.testing.assert_array_equal(cortex.labels, networks.labels)


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


# -- the simulated cortex ----------------------------------------------------------


@pytest.fixture(scope="module")
def cortex():
    return make_simulated_cortex()


def test_subjects_have_regions_of_their_own_sizes(cortex):
    assert list(cortex.subjects) == [f"subject {n}" for n in (1, 2, 3, 4)]
    for stack in cortex.subjects.values():
        assert stack.names == ("V1", "V2", "V3", "V4", "Lateral", "Dorsal", "Ventral")
        assert stack.stimuli.tolist() == list(range(899))
        assert len(set(stack.widths)) > 2
    assert len({stack.widths for stack in cortex.subjects.values()}) == 4


def test_the_description_says_it_is_simulated(cortex):
    assert "no brain was recorded" in cortex.DESCR
    assert "simulated" in cortex.DESCR
    assert f"V1 {cortex.subjects['subject 3'].widths[0]}," in cortex.DESCR


def test_responses_are_the_averages_of_the_trials(cortex):
    for name, stack in cortex.subjects.items():
        trials = cortex.trials[name]
        assert trials.stimuli.tolist() == list(range(899)) * 3
        for averaged, single in zip(stack.layers, trials.layers, strict=True):
            expected = (single[:899] + single[899:1798] + single[1798:]) / 3
            np.testing.assert_allclose(averaged, expected, atol=1e-12)


def test_voxels_mix_few_units_of_the_region_s_own_depth(cortex):
    signals = cortex.signals["subject 2"]
    drawn = {}
    for region, signal in zip(signals.names, signals.layers, strict=True):
        layer = cortex.network.layer(cortex.drivers[region])
        drawn[region] = set()
        for voxel in signal.T[:6]:
            weights, residual = nnls(layer, voxel)
            assert residual == pytest.approx(0, abs=1e-6)
            units = np.flatnonzero(weights > 1e-6)
            assert len(units) <= 3
            drawn[region].update(units.tolist())
    assert cortex.drivers["V3"] == "hidden 3"
    streams = [drawn[stream] for stream in ("Lateral", "Dorsal", "Ventral")]
    assert len(set.union(*streams)) == sum(map(len, streams))


def test_subjects_have_other_voxels_and_noise(cortex):
    first, second = (cortex.signals[f"subject {n}"].layer("V1") for n in (1, 2))
    correlation = np.corrcoef(first, second, rowvar=False)[: first.shape[1]]
    assert np.all(correlation[:, first.shape[1] :].max(axis=1) < 1 - 1e-9)
    noise = [
        cortex.trials[f"subject {n}"].layer("V1")[:899, 0] - signal[:, 0]
        for n, signal in ((1, first), (2, second))
    ]
    # Over 899 stimuli the deviation is .033.
    assert abs(np.corrcoef(noise)[0, 1]) < 0.15


def test_known_ceilings_are_those_of_signal_and_average(cortex):
    name = "subject 1"
    for region, known in cortex.ceilings[name].items():
        signal, average, trials = (
            stacks[name].layer(region)
            for stacks in (cortex.signals, cortex.subjects, cortex.trials)
        )
        found = [
            np.corrcoef(*pair)[0, 1] for pair in zip(signal.T, average.T, strict=True)
        ]
        np.testing.assert_allclose(signal.std(axis=0), 1)
        np.testing.assert_allclose(found, known, atol=0.1)
        assert np.mean(found) == pytest.approx(known.mean(), abs=0.02)
        estimated = noise_ceiling(
            trials, cortex.trials[name].stimuli, n_halves=10, random_state=0
        )
        assert estimated.mean() == pytest.approx(known.mean(), abs=0.02)


def test_cortex_without_noise_is_its_signal_and_with_one_unit_a_voxel_is_a_unit():
    cortex = make_simulated_cortex(n_subjects=1, n_repeats=1, noise=0, n_mixed=1)
    for region, voxels in zip(
        cortex.signals["subject 1"].names,
        cortex.subjects["subject 1"].layers,
        strict=True,
    ):
        signal = cortex.signals["subject 1"].layer(region)
        np.testing.assert_array_equal(voxels, signal)
        assert np.all(cortex.ceilings["subject 1"][region] == 1)
        layer = cortex.network.layer(cortex.drivers[region])
        live = layer[:, layer.std(axis=0) > 0]
        correlation = np.corrcoef(voxels, live, rowvar=False)
        best = correlation[: voxels.shape[1], voxels.shape[1] :].max(axis=1)
        np.testing.assert_allclose(best, 1)


def test_cortex_follows_the_seed_and_subjects_do_not_depend_on_how_many_there_are():
    one, two, other = (
        make_simulated_cortex(n_subjects=n, n_repeats=1, random_state=seed)
        for n, seed in ((1, 0), (2, 0), (1, 1))
    )
    first, again, another = (
        np.asarray(cortex.subjects["subject 1"]) for cortex in (one, two, other)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape != another.shape or not np.allclose(first, another)


@pytest.mark.parametrize(
    "setting", [{"n_subjects": 0}, {"n_repeats": 0}, {"noise": -1}, {"n_mixed": 0}]
)
def test_impossible_cortices_are_refused(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        make_simulated_cortex(**setting)
