import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.exceptions import RowNumberWarning
from skmot.metrics import noise_ceiling
from skmot.preprocessing import (
    ActivitySelector,
    FiniteUnitSelector,
    LayerwiseTransformer,
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


def test_halves_of_runs_do_not_select_units_that_drift():
    # The first two units have a signal, all have noise that a run shares.
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(60, 6)) * [1, 1, 0, 0, 0, 0]
    drift = np.repeat(rng.normal(size=(4, 60, 6)), 3, axis=0)
    trials = (signal + drift + 0.3 * rng.normal(size=drift.shape)).reshape(-1, 6)
    labels = [f"image {i}" for i in np.tile(np.arange(60), 12)]
    runs = np.repeat(np.arange(4), 180)
    X = LayerStack.from_trials({"V1": trials}, labels)
    stack_of_runs = LayerStack.from_trials(runs[:, np.newaxis], labels)
    settings = {"threshold": 0.5, "random_state": 0}
    assert len(ReliabilitySelector(**settings).fit(X).units_[0]) == 6
    selector = ReliabilitySelector(**settings, runs=stack_of_runs).fit(X[::-1])
    assert selector.units_[0].tolist() == [0, 1]
    found = noise_ceiling(X[::-1], runs=stack_of_runs, random_state=0)[0] ** 2
    np.testing.assert_allclose(selector.reliabilities_[0], found)
    # Rows that are trials have one run each.
    rows = LayerStack({"V1": trials}, stimuli=labels)
    by_row = ReliabilitySelector(**settings, runs=runs).fit(rows)
    assert by_row.units_[0].tolist() == [0, 1]
    with pytest.raises(ValueError, match="`runs` is a stack, but X, layer 'V1' has no"):
        ReliabilitySelector(**settings, runs=stack_of_runs).fit(rows)
    with pytest.raises(ValueError, match=r"`runs` has 720 runs, but .* 360 trials"):
        ReliabilitySelector(**settings, runs=runs).fit(X[:30])


def test_runs_follow_the_stimuli_through_a_cross_validation():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(40, 5))
    trials = np.concatenate([signal + rng.normal(size=(40, 5)) for _ in range(6)])
    labels, runs = np.tile(np.arange(40), 6), np.repeat(np.arange(3), 80)
    X = LayerStack.from_trials([trials], labels)
    stack_of_runs = LayerStack.from_trials(runs[:, np.newaxis], labels)
    selector = ReliabilitySelector(0.1, runs=stack_of_runs, random_state=0)
    pipeline = make_pipeline(
        selector, TransformedTargetLayers(MultiLevelOT(), selector)
    )
    scores = cross_validate(pipeline, X, X, cv=KFold(4, shuffle=True, random_state=0))
    np.testing.assert_allclose(scores["test_score"], 1)


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


# -- finite units ------------------------------------------------------------------

MISSING = {"V1": [0, 3], "V2": [], "V4": [4]}
FINITE = [[1, 2, 4, 5, 6], list(range(12)), [0, 1, 2, 3]]


def with_missing(stack, row=5, dtype=float, values=(np.nan, np.inf)):
    """A copy of the stack with one missing response in each unit of MISSING."""
    layers = {}
    for name, layer in zip(stack.names, stack.layers, strict=True):
        layers[name] = layer.astype(dtype)
        for number, unit in enumerate(MISSING[name]):
            layers[name][row + number, unit] = values[number]
    return LayerStack(layers, stimuli=stack.stimuli)


def finite_part(stack):
    return stack.select_units(FINITE)


def lists(units):
    return [part.tolist() for part in units]


def test_units_with_missing_responses_are_left_out(stack):
    broken = with_missing(stack)
    selector = FiniteUnitSelector().fit(broken)
    assert lists(selector.units_) == FINITE
    kept = selector.transform(broken)
    assert kept.names == stack.names
    assert kept.stimuli.tolist() == stack.stimuli.tolist()
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(finite_part(stack)))
    assert FiniteUnitSelector().fit_transform(stack).widths == stack.widths


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finite_units_are_of_the_kind_and_dtype_of_the_input(stack, dtype):
    broken = with_missing(stack, dtype=dtype)
    named = dict(zip(broken.names, broken.layers, strict=True))
    selector = FiniteUnitSelector()
    listed = selector.fit_transform(list(broken.layers))
    assert isinstance(listed, list)
    as_dict = selector.fit_transform(named)
    assert list(as_dict) == list(named)
    array = selector.fit_transform(named["V4"])
    frame = pd.concat({key: pd.DataFrame(v) for key, v in named.items()}, axis=1)
    two_levels = selector.fit_transform(frame)
    for found in (listed, list(as_dict.values()), [*listed[:2], array]):
        assert [layer.shape[1] for layer in found] == [5, 12, 4]
        assert {layer.dtype for layer in found} == {np.dtype(dtype)}
    assert isinstance(two_levels, LayerStack)
    assert two_levels.widths == (5, 12, 4)


def test_finite_units_of_nested_stacks_and_files(stack, tmp_path):
    broken = with_missing(stack)
    np.save(tmp_path / "V4.npy", broken.layer("V4"))
    mapped = np.load(tmp_path / "V4.npy", mmap_mode="r")
    nested = LayerStack({"run": broken, "file": mapped})
    selector = FiniteUnitSelector().fit(nested)
    assert lists(selector.units_[0]) == FINITE
    assert selector.units_[1].tolist() == FINITE[2]
    kept = selector.transform(nested)
    assert kept.layer("run").widths == (5, 12, 4)
    np.testing.assert_array_equal(kept.layer("file"), mapped[:, :4])


def test_numbers_that_overflow_when_summed_are_finite():
    layer = np.full((4, 2), np.finfo(np.float64).max)
    assert FiniteUnitSelector().fit(layer).units_[0].tolist() == [0, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_response_that_is_missing_in_held_out_rows_only_is_an_error(stack, value):
    broken = with_missing(stack, row=50, values=(value, value))
    selector = FiniteUnitSelector().fit(broken[:50])
    assert lists(selector.units_) == [list(range(width)) for width in stack.widths]
    phrase = "Input contains NaN" if np.isnan(value) else "Input contains infinity"
    with pytest.raises(
        ValueError,
        match=rf"^{phrase}.* 2 of 7 selected unit\(s\) of X, layer 'V1' .* first in "
        "unit 0, row 0",
    ):
        selector.transform(broken[50:])
    assert selector.transform(broken[:50]).widths == stack.widths


def test_selected_units_keep_their_numbers_in_messages(stack):
    layer = stack.layers[0].copy()
    layer[5, [0, 1, 4, 5, 6]] = np.nan
    layer[51, 3] = np.nan
    selector = FiniteUnitSelector().fit([layer[:50]])
    assert selector.units_[0].tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"1 of 2 .* unit 3, row 1\. They had no"):
        selector.transform([layer[50:]])


def test_a_layer_without_a_finite_unit_is_an_error(stack):
    layer = np.full((60, 3), np.nan)
    broken = LayerStack({"V1": stack.layers[0], "V9": layer})
    with pytest.raises(ValueError, match=r"Each of the 3 unit\(s\) of X, layer 'V9'"):
        FiniteUnitSelector().fit(broken)
    # scikit-learn's selectors warn if they select nothing.
    with pytest.warns(UserWarning, match=r"Each of the 3 unit\(s\) of X has"):
        selector = FiniteUnitSelector().fit(layer)
    assert selector.transform(layer).shape == (60, 0)


def test_units_that_are_not_numbers_are_refused(stack):
    with pytest.raises(ValueError, match=r"arrays of <U.*found in X"):
        FiniteUnitSelector().fit(stack.layers[0].astype(str))


def test_missing_units_on_both_sides_change_no_score(stack):
    rng = np.random.default_rng(0)
    target = stack.map(lambda layer: layer + rng.normal(size=layer.shape))
    cv = KFold(3)
    both = make_pipeline(
        FiniteUnitSelector(),
        TransformedTargetLayers(MultiLevelOT(), FiniteUnitSelector()),
    )
    # Responses that are missing in a held-out row only are an error, so a unit is
    # missing in every fold.
    X, y = (side.map(_without, list(MISSING.values())) for side in (stack, target))
    found = cross_validate(both, X, y, cv=cv, error_score="raise")
    plain = cross_validate(
        MultiLevelOT(), finite_part(stack), finite_part(target), cv=cv
    )
    np.testing.assert_allclose(found["test_score"], plain["test_score"])
    search = GridSearchCV(
        both,
        {"transformedtargetlayers__regressor__strategy": ["transport", "single_best"]},
        cv=cv,
        error_score="raise",
    ).fit(X, y)
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(
        plain["test_score"].mean()
    )
    assert lists(search.best_estimator_[0].units_) == FINITE
    predicted = search.predict(X)
    assert predicted.widths == (5, 12, 4)
    with pytest.raises(ValueError, match=r"^Input contains NaN.*FiniteUnitSelector"):
        MultiLevelOT().fit(X, y)


def _without(layer, units):
    layer = layer.copy()
    layer[:, units] = np.nan
    return layer


# -- names of units ----------------------------------------------------------------


def named_units(stack):
    """The stack with unit names, integers that are not positions in V2."""
    names = [list("abcdefg"), list(range(100, 112)), None]
    return LayerStack(stack, unit_names=names)


@pytest.mark.parametrize(
    "selector",
    [
        UnitSubsampler(fraction=0.5, random_state=0),
        ReliabilitySelector(
            reliabilities=[np.arange(7) / 7, np.arange(12) / 12, np.arange(5) / 5]
        ),
        FiniteUnitSelector(),
    ],
)
def test_names_of_units_are_kept(stack, selector):
    named = named_units(stack)
    kept = selector.fit(named).transform(named)
    for old, units, new in zip(
        named.unit_names, selector.units_, kept.unit_names, strict=True
    ):
        assert (new is None) if old is None else new.tolist() == old[units].tolist()
    assert kept.unit_names[2] is None


def test_names_of_units_of_nested_stacks_are_kept(stack):
    named = named_units(with_missing(stack))
    nested = LayerStack({"a": named, "b": stack.layers[0]})
    kept = FiniteUnitSelector().fit_transform(nested)
    (first, second, third), last = kept.unit_names
    assert first.tolist() == list("bcefg")
    assert second.tolist() == list(range(100, 112))
    assert third is None
    assert last is None
    (inner, _) = FiniteUnitSelector().fit_transform([named, stack])
    assert inner.unit_names[0].tolist() == list("bcefg")
    # The input keeps all its names.
    assert nested.unit_names[0][0].tolist() == list("abcdefg")


def test_names_of_selected_units_are_compared_with_the_fit(stack):
    layer = with_missing(stack).layer("V1")
    frame = pd.DataFrame(layer, columns=list("abcdefg"))
    X = FiniteUnitSelector().fit_transform(LayerStack({"V1": frame}))
    y = LayerStack({"V1": stack.layers[1]})
    fitted = MultiLevelOT(SoftMatching()).fit(X, y)
    with pytest.raises(ValueError, match="unit 0 is 'c', but"):
        fitted.predict(X.select_units({"V1": list("cbefg")}))


@pytest.mark.parametrize(
    "transformer",
    [
        UnitSubsampler(random_state=0),
        FiniteUnitSelector(),
        LayerwiseTransformer(StandardScaler()),
    ],
)
@pytest.mark.parametrize("give", [lambda layer: layer, lambda layer: [layer]])
def test_pipelines_keep_what_frames_say_of_their_rows(transformer, give):
    values = np.random.default_rng(0).normal(size=(30, 6))
    names = [f"image {row}" for row in range(30)]
    steps = make_pipeline(transformer, SoftMatching())
    for named in (
        pd.DataFrame(values, index=names),
        xr.DataArray(values, coords={"image": names}, dims=("image", "unit")),
    ):
        with pytest.raises(ValueError, match=r"row 0 is 'image 0' .* 'image 29'"):
            steps.fit(give(named), give(named[::-1]))
        steps.fit(give(named), give(named)).score(give(named), give(named))
    numbered = pd.DataFrame(values)
    with pytest.warns(RowNumberWarning):
        steps.fit(give(numbered), give(numbered[::-1]))


def test_selected_columns_keep_their_names():
    frame = pd.DataFrame(np.eye(4), columns=list("abcd"))
    frame.iloc[0, 1] = np.nan
    selected = FiniteUnitSelector().fit_transform(frame)
    assert selected.unit_names[0].tolist() == ["a", "c", "d"]


# -- activity ----------------------------------------------------------------------


def rare_units(n_stimuli=60):
    """Return units that respond to 0, 1, 4, 5, 30 and all stimuli, and rest at 0."""
    responses = np.zeros((n_stimuli, 6))
    for unit, n_active in enumerate((0, 1, 4, 5, 30, n_stimuli)):
        responses[:n_active, unit] = 1 + np.arange(n_active)
    return np.random.default_rng(0).permutation(responses)


def test_units_are_selected_by_the_number_of_stimuli_they_respond_to():
    layers = LayerStack({"a": rare_units(), "b": rare_units()[:, 3:]})
    selector = ActivitySelector().fit(layers)
    # All responses of the last unit differ: one of them counts as rest.
    assert selector.n_active_[0].tolist() == [0, 1, 4, 5, 30, 59]
    assert [units.tolist() for units in selector.units_] == [[3, 4, 5], [0, 1, 2]]
    assert selector.transform(layers).widths == (3, 3)


@pytest.mark.parametrize(
    ("min_active", "units"),
    [
        (1, [1, 2, 3, 4, 5]),
        (6, [4, 5]),
        (0.5, [4, 5]),
        (0.51, [5]),
        (5 / 60, [3, 4, 5]),
    ],
)
def test_the_least_number_can_be_a_number_or_a_fraction(min_active, units):
    selector = ActivitySelector(min_active).fit([rare_units()])
    assert selector.units_[0].tolist() == units


def test_shifted_and_scaled_units_respond_to_the_same_stimuli():
    given = LayerStack([rare_units()])
    standardised = make_pipeline(
        LayerwiseTransformer(StandardScaler()), ActivitySelector()
    ).fit(given)
    plain = ActivitySelector().fit(given)
    np.testing.assert_array_equal(standardised[-1].n_active_, plain.n_active_)


def test_activity_is_counted_as_by_unique():
    rng = np.random.default_rng(0)
    responses = rng.poisson(rng.exponential(2, size=300), size=(200, 300))
    (found,) = ActivitySelector(1).fit([responses.astype("float32")]).n_active_
    for unit, n_active in enumerate(found):
        counts = np.unique(responses[:, unit], return_counts=True)[1]
        assert n_active == 200 - counts.max()


def test_a_layer_without_active_units_is_an_error_that_names_it():
    layers = LayerStack({"a": rare_units(), "b": rare_units()[:, :3]})
    with pytest.raises(
        ValueError, match=r"No unit of X, layer 'b' responds to at least 5 .* is 4"
    ):
        ActivitySelector().fit(layers)


def test_held_out_activity_does_not_choose_units():
    responses = rare_units()
    responses[40:] = 7.0
    stack = LayerStack([responses])
    expected = ActivitySelector(3).fit([responses[:40]]).units_[0]
    kept = ActivitySelector(3).fit(stack[:40]).transform(stack[40:])
    assert kept.widths == (len(expected),)
