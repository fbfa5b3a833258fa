import pickle
import warnings

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT, SoftMatching, align_stimuli
from skmot.exceptions import RowNumberWarning
from skmot.metrics import corrected_scores, noise_ceiling
from skmot.model_selection import permutation_control
from skmot.preprocessing import (
    LayerwiseTransformer,
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
    average_repeats,
)
from tests.layers.test_files import saved

N_STIMULI, WIDTHS = 30, (5, 8)
NAMES = ("V1", "V4")


def unequal_labels(seed=0):
    """Return labels of 2 to 5 trials of each stimulus, in random order."""
    random = np.random.default_rng(seed)
    names = np.array([f"image {k}" for k in range(N_STIMULI)])
    return random.permutation(np.repeat(names, random.integers(2, 6, N_STIMULI)))


def noisy_trials(labels, widths=WIDTHS, noise=1.0, dtype=np.float64, seed=1):
    random = np.random.default_rng(seed)
    _, codes = np.unique(labels, return_inverse=True)
    layers = []
    for width in widths:
        signal = random.normal(size=(N_STIMULI, width))[codes]
        layers.append((signal + noise * random.normal(size=signal.shape)).astype(dtype))
    return dict(zip(NAMES, layers, strict=True))


def trials_of(labels, layer, stimulus):
    return layer[np.flatnonzero(labels == stimulus)]


def expected_average(labels, layer, stimuli):
    return np.array(
        [trials_of(labels, layer, s).astype(np.float64).mean(axis=0) for s in stimuli]
    )


@pytest.fixture
def labels():
    return unequal_labels()


@pytest.fixture
def stack(labels):
    return LayerStack.from_trials(noisy_trials(labels), labels)


# -- averages, and trials ----------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, int])
def test_layers_are_averages_in_the_order_of_first_appearance(labels, dtype):
    layers = noisy_trials(labels, noise=20, dtype=dtype)
    stack = LayerStack.from_trials(layers, labels)
    assert stack.shape == (N_STIMULI, sum(WIDTHS))
    assert stack.stimuli.tolist() == list(dict.fromkeys(labels.tolist()))
    kept = np.float64 if dtype in (np.float64, int) else np.float32
    for name in NAMES:
        expected = expected_average(labels, layers[name], stack.stimuli)
        assert stack.layer(name).dtype == kept
        eps = np.finfo(kept).eps
        np.testing.assert_allclose(
            stack.layer(name), expected, rtol=8 * eps, atol=200 * eps
        )


@pytest.mark.parametrize("key", [np.s_[::-2], [3, 3, 0, 29], np.s_[4:9], np.s_[:0]])
def test_indexing_selects_stimuli_with_all_their_trials(labels, stack, key):
    layers = noisy_trials(labels)
    part = stack[key]
    trials = part.trials
    assert type(trials) is LayerStack
    assert trials.names == NAMES
    assert len(trials) == len(part.trial_rows) == part.n_trials.sum()
    assert part.trial_rows.tolist() == sorted(part.trial_rows)
    assert trials.stimuli.tolist() == part.stimuli[part.trial_rows].tolist()
    for row, stimulus in enumerate(part.stimuli):
        for name in NAMES:
            found = trials.layer(name)[part.trial_rows == row]
            assert np.array_equal(found, trials_of(labels, layers[name], stimulus))
    whole = [np.asarray(layer)[key] for layer in stack.layers]
    for layer, expected in zip(part.layers, whole, strict=True):
        assert np.array_equal(layer, expected)


def test_a_row_drawn_twice_is_no_repeat_of_itself(stack):
    twice = stack[[0, 0, 1]]
    n, m = stack.n_trials[:2]
    assert twice.trial_rows.tolist() == [0] * n + [1] * n + [2] * m


def test_nested_stacks_have_trials(labels):
    runs = {"run 1": noisy_trials(labels), "run 2": noisy_trials(labels, seed=2)}
    stack = LayerStack.from_trials(runs, labels)[5:11]
    assert stack.has_trials
    flat = LayerStack.from_trials(runs["run 2"], labels)[5:11]
    for nested in (stack.layer("run 2"), stack.trials.layer("run 2")):
        other = flat if len(nested) == 6 else flat.trials
        assert nested.stimuli.tolist() == other.stimuli.tolist()
        for first, second in zip(nested.layers, other.layers, strict=True):
            assert np.array_equal(first, second)
    inner = stack.layer("run 1").trials
    assert np.array_equal(inner.layer("V1"), stack.trials.layer("run 1").layer("V1"))


def test_layers_can_have_different_numbers_of_trials():
    labels = [unequal_labels(seed) for seed in (0, 1)]
    subjects = [
        LayerStack.from_trials(noisy_trials(own), own)[np.arange(5)] for own in labels
    ]
    stack = LayerStack([part.with_stimuli(None) for part in subjects])
    assert stack.has_trials
    assert stack.layers[1].n_trials.tolist() == subjects[1].n_trials.tolist()
    with pytest.raises(AttributeError, match="different numbers of trials"):
        _ = stack.trials
    ceilings = noise_ceiling(stack, random_state=0)
    assert [len(c) for nested in ceilings for c in nested] == [5, 8, 5, 8]


def test_names_of_units_and_other_labels_are_carried(labels):
    names = [["a", "b", "c", "d", "e"], list(range(10, 18))]
    stack = LayerStack.from_trials(
        noisy_trials(labels), labels, names=["A", "B"], unit_names=names
    )
    numbered = stack.with_stimuli(range(N_STIMULI))[2:4]
    trials = numbered.trials
    assert trials.names == ("A", "B")
    assert [own.tolist() for own in trials.unit_names] == names
    n, m = stack.n_trials[2:4]
    assert trials.stimuli.tolist() == [2] * n + [3] * m
    chosen = stack.select_units({"A": ["d", "a"], "B": [17]})
    assert [own.tolist() for own in chosen.trials.unit_names] == [["d", "a"], [17]]
    assert stack.with_stimuli(None).trials.stimuli is None


def test_selected_units_keep_their_trials(labels, stack):
    chosen = stack.select_units({"V1": [4, 1], "V4": np.arange(8) < 3})[[7, 2]]
    whole = stack[[7, 2]]
    assert np.array_equal(chosen.layer("V1"), whole.layer("V1")[:, [4, 1]])
    assert np.array_equal(chosen.trials.layer("V4"), whole.trials.layer("V4")[:, :3])
    sampled = UnitSubsampler(random_state=0).fit(whole)
    v1 = sampled.units_[0]
    transformed = sampled.transform(whole)
    assert np.array_equal(
        transformed.trials.layer("V1"), whole.trials.layer("V1")[:, v1]
    )


def test_joined_stacks_have_the_trials_of_both(stack):
    joined = np.concatenate([stack[3:7], stack[[0, 3]]])
    expected = stack[[3, 4, 5, 6, 0, 3]]
    assert joined.stimuli.tolist() == expected.stimuli.tolist()
    assert joined.n_trials.tolist() == expected.n_trials.tolist()
    for part in ("layers", "trials"):
        first, second = getattr(joined, part), getattr(expected, part)
        if part == "trials":
            first, second = first.layers, second.layers
        for one, other in zip(first, second, strict=True):
            assert np.array_equal(one, other)


def test_stacks_with_different_numbers_of_trials_are_joined():
    parts = [
        LayerStack.from_trials(noisy_trials(own), own)[np.arange(5)].with_stimuli(None)
        for own in (unequal_labels(0), unequal_labels(1))
    ]
    nested = LayerStack(parts)
    joined = np.concatenate([nested[:2], nested[2:]])
    for one, other in zip(joined.layers, nested.layers, strict=True):
        assert one.n_trials.tolist() == other.n_trials.tolist()
        for first, second in zip(one.trials.layers, other.trials.layers, strict=True):
            assert np.array_equal(first, second)


def test_averages_are_those_of_average_repeats(labels, stack):
    averages = average_repeats(LayerStack(noisy_trials(labels), stimuli=labels))
    assert not averages.has_trials
    for one, other in zip(averages.layers, stack.layers, strict=True):
        assert np.array_equal(one, other)


def test_constant_units_stay_constant():
    labels = unequal_labels()
    layer = np.full((len(labels), 3), 0.1)
    averages = LayerStack.from_trials([layer], labels).layers[0]
    assert (averages == 0.1).all()


# -- splitting the trials ----------------------------------------------------------


@pytest.mark.parametrize("n", [None, 1])
def test_trials_are_split_into_disjoint_stacks(labels, n):
    numbered = {"V1": np.arange(len(labels), dtype=float)[:, np.newaxis]}
    stack = LayerStack.from_trials(numbered, labels)[3:20]
    parts = stack.split_trials(n, random_state=0)
    found = [part.trials.layer("V1").ravel() for part in parts]
    assert not set(found[0]) & set(found[1])
    assert sorted(np.concatenate(found)) == sorted(stack.trials.layer("V1").ravel())
    first = stack.n_trials // 2 if n is None else np.ones(17)
    assert np.array_equal(parts[0].n_trials, first)
    assert np.array_equal(parts[1].n_trials, stack.n_trials - first)
    for part in parts:
        assert part.stimuli.tolist() == stack.stimuli.tolist()
        for row, stimulus in enumerate(part.stimuli):
            own = part.trials.layer("V1").ravel()[part.trial_rows == row].astype(int)
            assert set(labels[own]) == {stimulus}
            assert part.layer("V1")[row, 0] == pytest.approx(own.mean())
    again, _ = stack.split_trials(n, random_state=0)
    other, _ = stack.split_trials(n, random_state=1)
    assert np.array_equal(again.layer("V1"), parts[0].layer("V1"))
    assert not np.array_equal(other.layer("V1"), parts[0].layer("V1"))


@pytest.mark.parametrize("n", [0, 2, 7])
def test_too_few_trials_cannot_be_split(stack, n):
    message = rf"cannot be split.* trial\(s\) for n={n}\. .*n_trials >= 2"
    with pytest.raises(ValueError, match=message):
        stack.split_trials(n)


def test_stimuli_of_one_trial_cannot_be_split_into_halves():
    stack = LayerStack.from_trials([np.eye(3)], ["cat", "dog", "cat"])
    message = r"^1 stimuli cannot .* row 1, which has 1 trial\(s\)\. Select those"
    with pytest.raises(ValueError, match=message):
        stack.split_trials()


# -- files, and pickling -----------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_of_files_only_the_rows_asked_for_are_read(tmp_path, labels, dtype):
    layers = noisy_trials(labels, dtype=dtype)
    path = tmp_path / "trials.npy"
    np.save(path, layers["V1"])
    mapped = np.load(path, mmap_mode="r+")
    stack = LayerStack.from_trials([mapped], labels)
    in_memory = LayerStack.from_trials([layers["V1"]], labels)
    rows = [2, 17, 5]
    assert np.array_equal(stack[rows].layers[0], in_memory.layers[0][rows])
    # What is read later is what is in the file then: nothing was read before.
    mapped[:] = 7
    assert (stack[[0, 1]].layers[0] == 7).all()


def test_trials_in_a_file_are_pickled_as_a_reference(tmp_path):
    labels = np.repeat(np.arange(250), 2)
    values = np.random.default_rng(0).normal(size=(500, 400))
    stack = LayerStack.from_trials([saved(tmp_path, values)], labels)[10:20]
    pickled = pickle.dumps(stack)
    assert len(pickled) < 12_000  # 1.6 MB of trials
    received = pickle.loads(pickled)
    expected = values.reshape(250, 2, 400).mean(1)[10:20]
    np.testing.assert_allclose(received.layers[0], expected, atol=1e-14)
    assert received.n_trials.tolist() == [2] * 10


def test_a_slice_in_memory_is_pickled_with_its_own_trials(labels, stack):
    part = stack[4:6].select_units([[0, 3], None])
    received = pickle.loads(pickle.dumps(part))
    assert len(pickle.dumps(stack[4:6])) < len(pickle.dumps(stack)) / 4
    for one, other in ((received, part), (received.trials, part.trials)):
        assert one.stimuli.tolist() == other.stimuli.tolist()
        for first, second in zip(one.layers, other.layers, strict=True):
            assert np.array_equal(first, second)


@pytest.mark.parametrize("nested", [False, True])
def test_trials_and_parts_of_a_slice_are_pickled_without_the_others(nested):
    values = np.random.default_rng(0).normal(size=(4_000, 20))
    layers = {"run": {"V1": values}} if nested else {"V1": values}
    part = LayerStack.from_trials(layers, np.tile(np.arange(2_000), 2))[5:10]
    for stack in (part, part.trials, *part.split_trials(1, random_state=0)):
        pickled = pickle.dumps(stack)
        assert len(pickled) < 20_000  # all trials are 640 kB
        first = next(iter(pickle.loads(pickled).leaves())).layer
        assert np.array_equal(first, next(iter(stack.leaves())).layer)


# -- fits --------------------------------------------------------------------------


def test_fit_is_that_on_averages(labels):
    X, y = (noisy_trials(labels, seed=seed) for seed in (1, 2))
    sides = [LayerStack.from_trials(side, labels) for side in (X, y)]
    averages = [
        LayerStack([np.array(layer) for layer in side.layers]) for side in sides
    ]
    expected = MultiLevelOT().fit(*averages)
    for n_jobs in (1, 2):
        found = MultiLevelOT(n_jobs=n_jobs).fit(*sides)
        assert found.cost_ == expected.cost_
        assert np.array_equal(found.coupling_, expected.coupling_)
    scores = cross_val_score(MultiLevelOT(), *sides, cv=3, n_jobs=2)
    assert np.array_equal(scores, cross_val_score(MultiLevelOT(), *averages, cv=3))


def reliable_half(labels, seed):
    """Return trials of which only the first half of the units carry a signal."""
    layers = noisy_trials(labels, noise=0.5, seed=1)
    random = np.random.default_rng(seed)
    for layer in layers.values():
        layer[:] += 0.1 * random.normal(size=layer.shape)
        layer[:, ::2] = random.normal(size=layer[:, ::2].shape)
    return layers


def test_selection_by_reliability_is_a_pipeline_in_a_grid_search(labels):
    X, y = (LayerStack.from_trials(reliable_half(labels, s), labels) for s in (3, 4))
    selector = ReliabilitySelector(random_state=0)
    both = TransformedTargetLayers(make_pipeline(selector, MultiLevelOT()), selector)
    grid = {"transformer__threshold": [0.5, 0.6]}
    search = GridSearchCV(both, grid, cv=3).fit(X, y)
    signal = [np.arange(1, width, 2) for width in WIDTHS]
    for units, expected in zip(
        search.best_estimator_.transformer_.units_, signal, strict=True
    ):
        assert np.array_equal(units, expected)
    assert search.best_score_ > 0.7
    averages = average_repeats(LayerStack(reliable_half(labels, 3), stimuli=labels))
    with pytest.raises(ValueError, match="put ReliabilitySelector first"):
        selector.fit(averages)


def test_selector_uses_trials_not_labels(labels, stack):
    known = LayerStack(noisy_trials(labels), stimuli=labels)
    by_trials = ReliabilitySelector(-1, n_halves=400, random_state=0)
    by_labels = ReliabilitySelector(-1, n_halves=400, random_state=1)
    found = by_trials.fit(stack.with_stimuli(None)).reliabilities_
    for one, other in zip(found, by_labels.fit(known).reliabilities_, strict=True):
        np.testing.assert_allclose(one, other, atol=0.03)


def test_bootstrapped_rows_do_not_look_reliable():
    labels = np.repeat(np.arange(N_STIMULI), 2)
    noise = np.random.default_rng(0).normal(size=(2 * N_STIMULI, 400))
    drawn = np.random.default_rng(1).integers(N_STIMULI, size=N_STIMULI)
    stack = LayerStack.from_trials([noise], labels)[drawn]
    by_label = LayerStack(stack.trials.layers, stimuli=stack.trials.stimuli)
    found, misled = (
        np.mean(ReliabilitySelector(-1, random_state=0).fit(given).reliabilities_[0])
        for given in (stack, by_label)
    )
    assert found < 0.2
    # By labels, a stimulus drawn twice would be its own perfect repeat.
    assert misled > 0.3


def test_selector_after_a_transformer_says_to_put_it_first(stack):
    from sklearn.decomposition import PCA

    steps = make_pipeline(LayerwiseTransformer(PCA(3)), ReliabilitySelector())
    with pytest.raises(ValueError, match="put ReliabilitySelector first"):
        steps.fit(stack)
    transformed = LayerwiseTransformer(PCA(3)).fit_transform(stack)
    with pytest.raises(ValueError, match="put ReliabilitySelector first"):
        ReliabilitySelector().fit(transformed[:20])
    with pytest.raises(AttributeError, match="Transformers drop them"):
        _ = transformed.trials


# -- noise ceilings ----------------------------------------------------------------


def test_ceilings_come_from_the_trials_of_the_rows(labels, stack):
    part = stack[:20]
    layers, shown = noisy_trials(labels), set(part.stimuli)
    rows = np.flatnonzero([label in shown for label in labels])
    found = noise_ceiling(part, n_halves=400, random_state=0)
    for name, ceilings in zip(NAMES, found, strict=True):
        expected = noise_ceiling(
            layers[name][rows], labels[rows], n_halves=400, random_state=1
        )
        np.testing.assert_allclose(ceilings, expected, atol=0.03)


def test_scores_are_corrected_by_the_trials_of_the_scored_rows(stack):
    scored = stack[:20]
    scores = MultiLevelOT().fit(stack, stack).unit_scores(scored, scored)
    ceilings = noise_ceiling(scored, random_state=0)
    found = corrected_scores(scores, scored, threshold=0.1, random_state=0)
    for corrected, raw, own in zip(found.corrected, scores, ceilings, strict=True):
        np.testing.assert_allclose(corrected[own >= 0.1], (raw / own)[own >= 0.1])


def test_scores_of_nested_layers_are_means_over_each_level():
    scores = [[np.array([0.2, 0.4]), np.array([0.6])], np.array([0.1])]
    ceilings = [[np.array([0.5, 0.5]), np.array([1.0])], np.array([0.5])]
    found = corrected_scores(scores, ceilings, threshold=0.1)
    assert found.corrected_mean == pytest.approx(
        (((0.4 + 0.8) / 2 + 0.6) / 2 + 0.2) / 2
    )
    assert found.n_left_out == [[0, 0], 0]


def test_single_array_is_corrected_by_a_stack_of_one_layer(labels):
    y = LayerStack.from_trials([noisy_trials(labels)["V1"]], labels)
    x = np.array(y.layers[0])
    scores = SoftMatching().fit(x, x).unit_scores(x, x)
    found = corrected_scores(scores, y, threshold=0.1, random_state=0)
    ceilings = noise_ceiling(y, random_state=0)[0]
    np.testing.assert_allclose(found.corrected, 1 / ceilings)


# -- bad input ---------------------------------------------------------------------


def test_labels_are_required():
    with pytest.raises(ValueError, match="one label per trial"):
        LayerStack.from_trials([np.eye(4)])
    with pytest.raises(ValueError, match="`stimuli` has 3 labels"):
        LayerStack.from_trials([np.eye(4)], [1, 2, 1])


def test_averages_are_not_averaged_again(stack):
    with pytest.raises(ValueError, match=r"layer 'V1' are averaged already"):
        LayerStack.from_trials(stack, np.arange(N_STIMULI) // 2)


@pytest.mark.parametrize("values", [np.array([["1"], ["2"]]), np.eye(2) * 1j])
def test_trials_must_be_numbers(values):
    with pytest.raises(ValueError, match=r"layer 0"):
        LayerStack.from_trials([values], ["a", "a"]).layers[0]


def test_stack_without_trials_says_how_to_make_one():
    plain = LayerStack([np.eye(3)])
    assert not plain.has_trials
    for name in ("trials", "trial_rows", "n_trials"):
        with pytest.raises(AttributeError, match="from_trials"):
            getattr(plain, name)
    with pytest.raises(ValueError, match="from_trials"):
        noise_ceiling(plain)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_missing_responses_are_named(labels, missing):
    layers = noisy_trials(labels)
    layers["V4"][8, 3] = missing
    stack = LayerStack.from_trials(layers, labels)
    row = stack.stimuli.tolist().index(labels[8])
    with pytest.raises(ValueError, match=rf"1 of 8 .*unit 3, row {row}"):
        MultiLevelOT().fit(stack, stack)
    with pytest.raises(ValueError, match="1 of 8"):
        ReliabilitySelector().fit(stack)


def test_shared_averages_cannot_be_changed(stack):
    with pytest.raises(ValueError, match="read-only"):
        stack.layers[0][:] = 0


def test_numbers_of_trials_are_whole(stack):
    with pytest.raises(TypeError, match=r"whole number of trials or None; got 1\.7"):
        stack.split_trials(1.7)


# -- a side without labels ------------------------------------------------------------


def natural_order():
    """Return a model without labels, in the order image 0, image 1, ..."""
    return LayerStack([np.random.default_rng(5).normal(size=(N_STIMULI, 4))] * 2)


@pytest.mark.parametrize("swap", [False, True])
def test_trials_in_another_order_than_that_of_their_labels_are_warned_of(stack, swap):
    sides = [natural_order(), stack][:: -1 if swap else 1]
    with pytest.warns(RowNumberWarning) as caught:
        MultiLevelOT().fit(*sides)
    (warning,) = caught
    unlabelled, averaged = ("y", "X") if swap else ("X", "y")
    assert str(warning.message).startswith(f"{unlabelled} has no stimulus labels")
    assert f"`{averaged}.with_stimuli(None)`" in str(warning.message)
    assert warning.filename == __file__


def test_the_remedies_that_the_warning_names_silence_it(stack):
    model = natural_order()
    labelled = model.with_stimuli([f"image {k}" for k in range(N_STIMULI)])
    aligned = align_stimuli(labelled, stack)
    order = np.argsort([int(label.split()[1]) for label in stack.stimuli])
    in_order = stack[order]
    shuffled = np.random.default_rng(0).permutation(N_STIMULI)
    # Warnings are errors here.
    for X, y in (
        aligned,
        (model.with_stimuli(stack.stimuli), stack),
        (model, stack.with_stimuli(None)),
        (model, in_order),
        (model[shuffled], in_order[shuffled]),
        (labelled.with_stimuli(None), stack),
        (labelled.with_stimuli(None).map(np.negative)[shuffled], stack),
    ):
        SoftMatching().fit(X, y)


@pytest.mark.parametrize(
    "names",
    [
        [f"image {k}" for k in range(N_STIMULI)],
        list(range(N_STIMULI)),
        [("a", k) for k in range(N_STIMULI)],
    ],
)
def test_trials_in_the_order_of_their_labels_are_not_warned_of(names):
    labels = 3 * names
    trials = np.random.default_rng(0).normal(size=(3 * N_STIMULI, 4))
    stack = LayerStack.from_trials([trials, trials], labels)
    SoftMatching().fit(natural_order(), stack)
    shuffled = np.random.default_rng(0).permutation(N_STIMULI)
    SoftMatching().fit(natural_order()[shuffled], stack[shuffled])


def test_labels_without_an_order_count_as_another_order():
    labels = [*range(N_STIMULI - 1), "last"]
    trials = np.random.default_rng(0).normal(size=(N_STIMULI, 4))
    stack = LayerStack.from_trials([trials, trials], labels)
    with pytest.warns(RowNumberWarning):
        SoftMatching().fit(natural_order(), stack)


def test_the_warning_survives_pickles_and_selected_units_and_rows(stack):
    for part_of in (
        lambda stack: pickle.loads(pickle.dumps(stack)),
        lambda stack: stack[::2],
        lambda stack: stack.select_units([[0, 1], [2, 3]]),
    ):
        # A stack is warned of once, with all its parts.
        labels = stack.trials.stimuli
        part = part_of(LayerStack.from_trials(noisy_trials(labels), labels))
        model = natural_order()[: len(part)]
        with pytest.warns(RowNumberWarning):
            MultiLevelOT().fit(model, part)
        MultiLevelOT().fit(model, part)


def test_cross_validation_says_it_once(stack):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cross_val_score(MultiLevelOT(), natural_order(), stack, cv=5)
    found = [one for one in caught if one.category is RowNumberWarning]
    assert len(found) == 1


def test_controls_warn_of_what_they_are_given(stack):
    with pytest.warns(RowNumberWarning, match="X has no stimulus labels") as caught:
        permutation_control(
            SoftMatching(),
            natural_order(),
            stack,
            statistic="cost",
            n_permutations=19,
            random_state=0,
        )
    assert len(caught) == 1


def test_controls_that_remove_labels_do_not_warn_again(stack):
    labelled = natural_order().with_stimuli(stack.stimuli)
    permutation_control(
        SoftMatching(),
        stack,
        labelled,
        statistic="cost",
        n_permutations=19,
        random_state=0,
    )
