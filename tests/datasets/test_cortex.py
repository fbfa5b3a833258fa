import numpy as np
import pytest
from scipy.optimize import nnls

from skmot.datasets import load_digit_networks, make_simulated_cortex
from skmot.metrics import noise_ceiling


@pytest.fixture(scope="module")
def cortex():
    return make_simulated_cortex()


def test_the_stimuli_are_those_of_the_networks(cortex):
    networks = load_digit_networks(source_hidden=(4,), target_hidden=(4,))
    np.testing.assert_array_equal(cortex.images, networks.images)
    np.testing.assert_array_equal(cortex.labels, networks.labels)


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
