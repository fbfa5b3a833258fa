import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT
from skmot.metrics import noise_ceiling
from skmot.preprocessing import (
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
)


def test_subsampled_units_are_units_of_the_layer(stack):
    subsampler = UnitSubsampler(fraction=0.5, random_state=0).fit(stack)
    transformed = subsampler.transform(stack)
    assert transformed.widths == (4, 6, 2)
    for given, got, units in zip(
        stack.layers, transformed.layers, subsampler.units_, strict=True
    ):
        np.testing.assert_array_equal(got, given[:, units])
        assert len(set(units.tolist())) == len(units)
        assert list(units) == sorted(units)


def test_units_of_stacks_within_stacks_are_subsampled(stack):
    nested = LayerStack([stack, stack[:, ...]], names=["run 1", "run 2"])
    subsampler = UnitSubsampler(fraction=0.5, random_state=0).fit(nested)
    kept = subsampler.transform(nested)
    assert kept.layer("run 1").widths == (4, 6, 2)
    for name, units in zip(nested.names, subsampler.units_, strict=True):
        np.testing.assert_array_equal(
            kept.layer(name).layer("V4"), stack.layer("V4")[:, units[2]]
        )


def test_the_choice_of_units_follows_the_seed(stack):
    def chosen(seed):
        subsampler = UnitSubsampler(fraction=0.5, random_state=seed).fit(stack)
        return [units.tolist() for units in subsampler.units_]

    assert chosen(0) == chosen(0)
    assert len({str(chosen(seed)) for seed in range(10)}) > 5


def test_every_unit_is_as_likely():
    stack = LayerStack([np.random.default_rng(0).normal(size=(3, 10))])
    counts = np.zeros(10)
    for seed in range(500):
        (units,) = UnitSubsampler(fraction=0.3, random_state=seed).fit(stack).units_
        counts[units] += 1
    # 150 expected; binomial standard deviation 10.2.
    assert np.all(np.abs(counts - 150) < 5 * 10.2)


def test_at_least_one_unit_and_at_most_all_are_kept(stack):
    tiny = UnitSubsampler(fraction=1e-6, random_state=0).fit_transform(stack)
    assert tiny.widths == (1, 1, 1)
    everything = UnitSubsampler(fraction=1.0).fit_transform(stack)
    for given, got in zip(stack.layers, everything.layers, strict=True):
        np.testing.assert_array_equal(given, got)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, "half"])
def test_fractions_that_are_none_are_refused(stack, fraction):
    with pytest.raises(ValueError, match="'fraction' parameter"):
        UnitSubsampler(fraction=fraction).fit(stack)


# -- reliable units ----------------------------------------------------------------


def noisy_trials(n_stimuli=200, n_repeats=4, seed=0):
    """Two layers: units of reliability near 0.97 and units of none, in turn."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, 10)) * np.tile([3, 0], 5)
    trials = np.tile(signal, (n_repeats, 1))
    trials = trials + rng.normal(size=trials.shape)
    labels = np.tile(np.arange(n_stimuli), n_repeats)
    return LayerStack({"V1": trials[:, :6], "V2": trials[:, 6:]}, stimuli=labels)


def test_units_that_repeat_are_kept():
    trials = noisy_trials()
    selector = ReliabilitySelector(threshold=0.6, random_state=0).fit(trials)
    assert [units.tolist() for units in selector.units_] == [[0, 2, 4], [0, 2]]
    kept = selector.transform(trials)
    assert kept.stimuli.tolist() == trials.stimuli.tolist()
    np.testing.assert_array_equal(kept.layer("V2"), trials.layer("V2")[:, [0, 2]])


def test_reliability_is_the_square_of_the_noise_ceiling():
    trials = noisy_trials()
    selector = ReliabilitySelector(random_state=0).fit(trials)
    ceilings = noise_ceiling(trials.layer("V1"), trials.stimuli, random_state=0)
    np.testing.assert_allclose(selector.reliabilities_[0], ceilings**2)
    # Four repeats of a signal of variance 9 under noise of variance 1.
    assert selector.reliabilities_[1][::2] == pytest.approx(1 / (1 + 1 / 36), abs=0.02)


def test_only_training_repeats_count():
    trials = noisy_trials()
    broken = trials.layer("V1").copy()
    broken[400:, 0] = np.random.default_rng(1).normal(size=400)
    stack = LayerStack({"V1": broken}, stimuli=trials.stimuli)
    early, late = (
        ReliabilitySelector(threshold=0.6, random_state=0).fit(part)
        for part in (stack[:400], stack[400:])
    )
    assert early.units_[0].tolist() == [0, 2, 4]
    assert late.units_[0].tolist() == [2, 4]


def test_given_reliabilities_need_no_labels(stack):
    bare = stack.with_stimuli(None)
    given = [np.linspace(0, 1, width) for width in bare.widths]
    given[1][3] = np.nan
    kept = ReliabilitySelector(0.5, reliabilities=given).fit_transform(bare)
    assert kept.widths == (4, 6, 3)
    np.testing.assert_array_equal(kept.layer("V4"), bare.layer("V4")[:, 2:])
    single = ReliabilitySelector(0.5, reliabilities=given[0]).fit(bare.layers[0])
    assert single.units_[0].tolist() == [3, 4, 5, 6]
    listed = ReliabilitySelector(0.5, reliabilities=given[2].tolist())
    assert listed.fit([bare.layers[2]]).units_[0].tolist() == [2, 3, 4]
    everything = ReliabilitySelector(reliabilities=1.0).fit_transform(bare)
    assert everything.widths == bare.widths


def test_units_of_stacks_within_stacks_are_selected(stack):
    given = [np.linspace(0, 1, width) for width in stack.widths]
    nested = LayerStack({"a": stack, "b": stack.layers[0]})
    kept = ReliabilitySelector(0.5, reliabilities=[given, given[0]])
    kept.fit(nested)
    assert kept.transform(nested).layer("a").widths == (4, 6, 3)
    assert kept.units_[1].tolist() == [3, 4, 5, 6]
    assert [len(part) for part in kept.reliabilities_[0]] == [7, 12, 5]
    twice = LayerStack([noisy_trials(), noisy_trials()])
    estimated = ReliabilitySelector(0.6, random_state=0).fit(twice)
    assert [units.tolist() for units in estimated.units_[1]] == [[0, 2, 4], [0, 2]]


def test_constant_units_are_never_kept():
    trials = noisy_trials()
    layer = trials.layer("V1").copy()
    layer[:, 2] = 0.1
    stack = LayerStack([layer], stimuli=trials.stimuli)
    assert 2 not in ReliabilitySelector(-1.0).fit(stack).units_[0]


def test_what_tells_no_reliability_is_an_error(stack):
    trials = noisy_trials()
    with pytest.raises(ValueError, match=r"no stimulus labels.*`reliabilities`"):
        ReliabilitySelector().fit(stack.with_stimuli(None))
    with pytest.raises(ValueError, match="0 of 60 stimuli has two trials"):
        ReliabilitySelector().fit(stack)
    with pytest.raises(ValueError, match=r"No unit of X, layer 'V1'.*at least 0\.99"):
        ReliabilitySelector(0.99).fit(trials)
    with pytest.raises(ValueError, match="2 arrays for 3 layer"):
        ReliabilitySelector(reliabilities=[np.ones(7), np.ones(12)]).fit(stack)
    with pytest.raises(ValueError, match=r"of X, layer 'V4' has the shape \(7,\)"):
        ReliabilitySelector(reliabilities=[np.ones(7), np.ones(12), np.ones(7)]).fit(
            stack
        )


def test_selection_follows_repeats_through_a_search():
    source, target = noisy_trials(seed=0), noisy_trials(seed=0)
    pipeline = make_pipeline(
        ReliabilitySelector(random_state=0),
        TransformedTargetLayers(MultiLevelOT(), ReliabilitySelector(0.6)),
    )
    search = GridSearchCV(
        pipeline,
        {"reliabilityselector__threshold": [0.0, 0.6]},
        cv=GroupKFold(4),
        error_score="raise",
    ).fit(source, target, groups=source.stimuli)
    best = search.best_estimator_
    assert [len(units) for units in best[0].units_] == [3, 2]
    assert [len(units) for units in best[1].transformer_.units_] == [3, 2]
