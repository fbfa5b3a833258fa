"""Sparse layers: what is computed from them equals what dense layers give."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from skmot import (
    CKA,
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RotationMatching,
    SemiMatching,
    SoftMatching,
    align_stimuli,
)
from skmot.exceptions import LeakWarning
from skmot.inspection import matches
from skmot.metrics import (
    linear_cka,
    negative_cost,
    noise_ceiling,
    scored_units,
    soft_matching_distance,
    source_score,
    target_score,
)
from skmot.model_selection import permutation_control
from skmot.partial import mass_curve
from skmot.preprocessing import (
    ActivitySelector,
    FiniteUnitSelector,
    LayerwiseTransformer,
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
    average_repeats,
)
from tests.libraries import HOMES, home_at
from tests.networks import hostile_columns

pytestmark = [
    pytest.mark.filterwarnings("ignore::skmot.exceptions.DeadUnitWarning"),
    pytest.mark.filterwarnings("ignore:.*validation:UserWarning"),
]

FORMATS = ["csr", "csc", "coo", "dok", "lil"]
METRICS = ["correlation", "abs_correlation", "cosine", "sqeuclidean"]
# One unit of the hostile columns is so loud that squared distances of all others are
# below the rounding errors of its own.
PLAIN_METRICS = METRICS[:-1]
N = 60
TRAINED, HELD_OUT = slice(0, 45), slice(45, N)


def active(shape, share, seed):
    """Return activations of which a share is not 0."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) ** 2 * (rng.random(shape) < share)


def dictionaries(n_units=(24, 18), dtype=np.float64):
    """Return two sets of rarely active units that share some of their activity."""
    first = active((N, n_units[0]), 0.3, seed=1)
    second = active((N, n_units[1]), 0.2, seed=2)
    n_shared = min(n_units) // 2
    second[:, :n_shared] += first[:, :n_shared]
    # A unit that is never active, and a unit that is active for all stimuli but one.
    first[:, 0], first[:, 1] = 0, np.arange(N)
    return first.astype(dtype), second.astype(dtype)


def hostile_layers():
    """Return layers of very different scales, some units of them rarely active."""
    rng = np.random.default_rng(3)
    columns = np.column_stack(list(hostile_columns(N).values()))
    silent = rng.random(columns.shape) < 0.8
    rare = np.where(silent, 0, columns)
    never = np.zeros((N, 3))
    return np.hstack([columns, never, rare]), np.hstack([rare[:, ::-1], columns])


def densely(stack):
    """Return the same stack with dense layers."""
    return stack.map(lambda layer: layer.toarray() if issparse(layer) else layer)


def two_networks():
    """Return two networks of a sparse and a dense layer, with labels."""
    first, second = dictionaries()
    rng = np.random.default_rng(4)
    dense = rng.normal(size=(N, 7))
    names = [f"image {k}" for k in range(N)]
    return (
        LayerStack({"a": sparse.csr_array(first), "b": dense}, stimuli=names),
        LayerStack(
            {"a": sparse.coo_array(second), "b": dense @ rng.normal(size=(7, 5))},
            stimuli=names,
        ),
    )


# -- the same numbers as from dense layers ---------------------------------------------


def assert_same_fit(estimator, sides, dense_sides, rtol=1e-12):
    """Compare a fit to sparse layers with the fit to the same dense layers."""
    fits, held_out = [], []
    for X, y in (sides, dense_sides):
        X, y = LayerStack(X), LayerStack(y)
        fits.append(clone(estimator).fit(X[TRAINED], y[TRAINED]))
        held_out.append((X[HELD_OUT], y[HELD_OUT]))
    found, expected = fits
    assert found.cost_ == pytest.approx(expected.cost_, rel=rtol)
    np.testing.assert_array_equal(found.dead_source_units_, expected.dead_source_units_)
    np.testing.assert_array_equal(found.dead_target_units_, expected.dead_target_units_)
    for name in ("score", "inverse_score", "matching_score", "held_out_cost"):
        ours, theirs = (
            getattr(fit, name)(*given)
            for fit, given in zip(fits, held_out, strict=True)
        )
        assert ours == pytest.approx(theirs, rel=rtol, abs=rtol), name
    for name, side in (("predict", 0), ("inverse_predict", 1)):
        ours, theirs = (
            np.asarray(getattr(fit, name)(given[side]))
            for fit, given in zip(fits, held_out, strict=True)
        )
        largest = np.abs(theirs).max(axis=0) + np.finfo(np.float64).tiny
        np.testing.assert_allclose(ours / largest, theirs / largest, atol=100 * rtol)


@pytest.mark.parametrize("mass", [1.0, 0.7])
@pytest.mark.parametrize("reconstruct", ["standardized", "raw"])
@pytest.mark.parametrize("metric", METRICS)
def test_soft_matching_of_sparse_layers_is_that_of_dense_ones(
    metric, reconstruct, mass
):
    first, second = dictionaries()
    estimator = SoftMatching(metric, mass=mass, reconstruct=reconstruct)
    pairs = [
        (sparse.csr_array(first), sparse.csc_array(second)),
        (sparse.coo_array(first), second),
        (first, sparse.dok_array(second)),
    ]
    for pair in pairs:
        sides = [[layer] for layer in pair]
        assert_same_fit(estimator, sides, ([first], [second]))


@pytest.mark.parametrize("metric", PLAIN_METRICS)
def test_scales_and_offsets_lose_no_digits(metric):
    first, second = hostile_layers()
    sides = [sparse.csr_array(first)], [sparse.csr_array(second)]
    found = SoftMatching(metric).fit(*sides)
    expected = SoftMatching(metric).fit([first], [second])
    assert found.cost_ == pytest.approx(expected.cost_, rel=1e-12)
    np.testing.assert_array_equal(found.dead_source_units_, expected.dead_source_units_)


@pytest.mark.parametrize("scale", [1e-30, 1e-300, 1e30, 1e290])
@pytest.mark.parametrize("metric", METRICS)
def test_layers_of_any_scale_have_the_same_cost(metric, scale):
    first, second = dictionaries()
    sides = [sparse.csr_array(scale * first)], [sparse.csr_array(second)]
    found = SoftMatching(metric).fit(*sides).cost_
    expected = SoftMatching(metric).fit(first, second).cost_
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_correlations_of_sparse_units_are_those_of_numpy(metric):
    first, second = dictionaries((5, 1))
    fitted = SoftMatching(metric).fit([sparse.csr_array(first)], [second])
    # With one target unit there is one plan, and the cost is a mean over source units.
    first = first[:, 1:]
    if metric in ("correlation", "abs_correlation"):
        similar = np.corrcoef(first.T, second.T)[-1, :-1]
        expected = 1 - (np.abs(similar) if metric == "abs_correlation" else similar)
    elif metric == "cosine":
        norms = np.linalg.norm(first, axis=0) * np.linalg.norm(second)
        expected = 1 - (first.T @ second)[:, 0] / norms
    else:
        scaled = [a - a.mean(axis=0) for a in (first, second)]
        scaled = [a / np.sqrt(np.mean(np.sum(a**2, axis=0))) for a in scaled]
        expected = np.sum((scaled[0] - scaled[1]) ** 2, axis=0)
    assert fitted.cost_ == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_float32_layers_lose_no_more_than_dense_ones(metric):
    exact = SoftMatching(metric).fit(*dictionaries()).cost_
    first, second = dictionaries(dtype=np.float32)
    for sides in (
        ([sparse.csr_array(first)], [sparse.csr_array(second)]),
        ([sparse.csr_array(first)], [second]),
    ):
        fitted = SoftMatching(metric).fit(*sides)
        assert fitted.cost_ == pytest.approx(exact, rel=1e-5)
        assert fitted.predict(sides[0])[0].dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_near_duplicates_cost_as_much_as_their_differences(metric, dtype):
    first, _ = dictionaries()
    second = first + 1e-5 * active(first.shape, 0.3, seed=5)
    first, second = (a[:, 1:].astype(dtype) for a in (first, second))
    found = SoftMatching(metric).fit(
        [sparse.csr_array(first)], [sparse.csr_array(second)]
    )
    columns = [a.astype(np.float64) for a in (first, second)]
    if metric != "cosine":
        columns = [a - a.mean(axis=0) for a in columns]
    if metric == "sqeuclidean":
        columns = [a / np.sqrt(np.mean(np.sum(a**2, axis=0))) for a in columns]
        expected = np.mean(np.sum((columns[0] - columns[1]) ** 2, axis=0))
    else:
        columns = [a / np.linalg.norm(a, axis=0) for a in columns]
        expected = np.mean(np.sum((columns[0] - columns[1]) ** 2, axis=0)) / 2
    assert found.cost_ == pytest.approx(
        expected, rel=1e-6 if dtype is np.float64 else 1e-2
    )


@pytest.mark.parametrize("metric", METRICS)
def test_weights_of_sparse_units_count_as_those_of_dense_ones(metric):
    first, second = dictionaries()
    weights = np.random.default_rng(6).random(first.shape[1])
    # Units of weight 0 take no part.
    weights[[2, 5]] = 0
    matching = SoftMatching(metric, source_weights=weights)
    found = matching.fit([sparse.csr_array(first)], [sparse.csr_array(second)])
    plan, cost = found.coupling_.toarray(), found.cost_
    expected = matching.fit([first], [second])
    assert cost == pytest.approx(expected.cost_, rel=1e-10)
    np.testing.assert_allclose(plan, expected.coupling_.toarray(), atol=1e-12)


@pytest.mark.parametrize("n_stimuli", [2, 3])
def test_few_stimuli_and_more_units_than_stimuli_work(n_stimuli):
    first, second = active((n_stimuli, 9), 0.6, seed=6), active((n_stimuli, 1), 1, 7)
    found = SoftMatching().fit([sparse.csr_array(first)], [sparse.csr_array(second)])
    expected = SoftMatching().fit(first, second)
    assert found.cost_ == pytest.approx(expected.cost_, rel=1e-12)


def test_ties_end_and_have_the_right_cost():
    unit = active((N, 1), 0.3, seed=8)
    copies = sparse.csr_array(np.repeat(unit, 12, axis=1))
    fitted = SoftMatching().fit([copies], [copies[:, :7]])
    assert fitted.cost_ == pytest.approx(0, abs=1e-14)


def test_features_that_are_never_active_are_dead_units():
    first, second = dictionaries()
    first[:, [3, 7]] = 0
    first[:, 9] = 2.5
    fitted = SoftMatching().fit([sparse.csr_array(first)], [sparse.csr_array(second)])
    np.testing.assert_array_equal(fitted.dead_source_units_, [0, 3, 7, 9])
    assert fitted.coupling_[[0, 3, 7, 9]].nnz == 0
    rebuilt = fitted.inverse_predict([second])[0]
    assert (rebuilt[:, [0, 3, 7]] == 0).all()
    assert (rebuilt[:, 9] == 2.5).all()


def test_a_layer_that_is_never_active_is_an_error():
    nothing = sparse.csr_array((N, 4))
    with pytest.raises(ValueError, match=r"Every unit is constant.*layer 'a'"):
        SoftMatching().fit({"a": nothing}, {"a": np.eye(N)})


# -- every form of a sparse array ------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("is_matrix", [False, True])
def test_every_format_is_read_as_csr_and_left_as_it_was(kind, is_matrix):
    first, _ = dictionaries()
    made = getattr(sparse, f"{kind}_{'matrix' if is_matrix else 'array'}")(first)
    stack = LayerStack({"a": made})
    (layer,) = stack.layers
    assert isinstance(layer, sparse.csr_array)
    np.testing.assert_array_equal(layer.toarray(), first)
    assert made.format == kind
    np.testing.assert_array_equal(made.toarray(), first)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.float32])
def test_counts_and_masks_are_numbers(dtype):
    counts = np.round(3 * active((N, 6), 0.4, seed=9)).astype(dtype)
    _, second = dictionaries()
    found = SoftMatching().fit([sparse.csr_array(counts)], [second])
    expected = SoftMatching().fit(counts.astype(np.float64), second)
    assert found.cost_ == pytest.approx(expected.cost_, rel=1e-6)


def test_stored_zeros_and_duplicate_entries_change_nothing():
    first, second = dictionaries()
    rows, columns = np.indices(first.shape).reshape(2, -1)
    halves = np.concatenate([first.ravel() / 4, 3 * first.ravel() / 4])
    doubled = sparse.coo_array(
        (halves, (np.tile(rows, 2), np.tile(columns, 2))), shape=first.shape
    )
    # Unsorted rows of a CSR array, with zeros and duplicates.
    unsorted = sparse.csr_array(
        (
            np.concatenate([np.r_[row / 2, row / 2] for row in first[:, ::-1]]),
            np.tile(np.arange(first.shape[1])[::-1], 2 * N),
            np.arange(N + 1) * 2 * first.shape[1],
        ),
        shape=first.shape,
    )
    before = unsorted.data.copy(), unsorted.indices.copy()
    exact = SoftMatching().fit(first, second)
    for given in (doubled, unsorted):
        fitted = SoftMatching().fit([given], [second])
        assert fitted.cost_ == pytest.approx(exact.cost_, rel=1e-12)
        np.testing.assert_array_equal(
            fitted.dead_source_units_, exact.dead_source_units_
        )
    np.testing.assert_array_equal(unsorted.data, before[0])
    np.testing.assert_array_equal(unsorted.indices, before[1])


def test_an_infinite_entry_is_named_by_its_unit_and_row():
    first, second = dictionaries()
    first[5, 7] = np.inf
    with pytest.raises(ValueError, match=r"1 of 24 unit.*layer 'a'.*unit 7, row 5"):
        SoftMatching().fit({"a": sparse.csr_array(first)}, {"a": second})


# -- a stack with sparse layers --------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [slice(3, 9), slice(None, None, -7), [5, 2, 2], slice(0, 0), np.arange(N) % 2 == 0],
)
def test_rows_of_a_stack_stay_sparse(key):
    first, _ = two_networks()
    part = first[key]
    assert isinstance(part.layer("a"), sparse.csr_array)
    np.testing.assert_array_equal(
        part.layer("a").toarray(), first.layer("a").toarray()[key]
    )
    # A selection of a selection.
    np.testing.assert_array_equal(np.asarray(part[::-1]), np.asarray(first)[key][::-1])


def test_indexing_copies_no_entries():
    first, _ = dictionaries((4000, 2))
    stack = LayerStack({"a": sparse.csr_array(first)})
    tracemalloc.start()
    _ = stack[np.arange(N)[::-1]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < stack.layers[0].data.nbytes / 10


def test_a_stack_is_one_array_for_numpy():
    first, _ = two_networks()
    together = np.asarray(first)
    assert together.shape == first.shape
    np.testing.assert_array_equal(together[:, :24], first.layer("a").toarray())
    joined = np.concatenate([first[:4], first[9:11]])
    assert isinstance(joined.layer("a"), sparse.csr_array)
    rows = [0, 1, 2, 3, 9, 10]
    np.testing.assert_array_equal(np.asarray(joined), together[rows])
    np.testing.assert_array_equal(joined.stimuli, first.stimuli[rows])
    mixed = np.concatenate([first[:4], densely(first)[4:6]])
    np.testing.assert_array_equal(np.asarray(mixed), together[:6])


def test_a_pickle_has_the_entries_of_its_rows_only():
    first, _ = two_networks()
    content = pickle.dumps(first[10:12])
    assert len(content) < len(pickle.dumps(first)) / 3
    loaded = pickle.loads(content)
    assert isinstance(loaded.layer("a"), sparse.csr_array)
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(first)[10:12])


def test_units_are_selected_without_a_dense_layer():
    first, _ = two_networks()
    chosen = first.select_units({"a": [5, 3, 8]})[::2]
    assert isinstance(chosen.layer("a"), sparse.csr_array)
    np.testing.assert_array_equal(
        chosen.layer("a").toarray(), first.layer("a").toarray()[::2, [5, 3, 8]]
    )
    loaded = pickle.loads(pickle.dumps(chosen))
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(chosen))


def test_stimuli_of_sparse_layers_are_aligned():
    first, second = two_networks()
    order = np.random.default_rng(0).permutation(N)
    aligned = align_stimuli(first, second[order])
    np.testing.assert_array_equal(np.asarray(aligned[1]), np.asarray(second))


def test_averages_of_sparse_trials_are_sparse():
    trials, _ = dictionaries()
    # Equal trials whose sum, divided by their number, is not their value.
    trials[:, 5] = 0.1
    stimuli = np.random.default_rng(0).integers(0, 14, N)
    found = LayerStack.from_trials({"a": sparse.csr_array(trials)}, stimuli)
    assert isinstance(found.layer("a"), sparse.csr_array)
    expected = [trials[stimuli == one].mean(axis=0) for one in found.stimuli]
    np.testing.assert_allclose(found.layer("a").toarray(), expected, rtol=1e-12)
    assert (found.layer("a").toarray()[:, 5] == 0.1).all()
    part = pickle.loads(pickle.dumps(found[3:5]))
    assert isinstance(part.trials.layer("a"), sparse.csr_array)
    np.testing.assert_array_equal(
        part.trials.layer("a").toarray(),
        np.vstack([trials[stimuli == one] for one in found.stimuli[3:5]]),
    )
    joined = np.concatenate([found[:3], found[5:6]])
    assert joined.n_trials.tolist() == found.n_trials[[0, 1, 2, 5]].tolist()
    averages = average_repeats(LayerStack({"a": sparse.csr_array(trials)}), stimuli)
    np.testing.assert_allclose(averages.layer("a").toarray(), expected, rtol=1e-12)
    assert isinstance(averages.layer("a"), sparse.csr_array)


# -- levels above, and scikit-learn's tools --------------------------------------------


def test_a_network_may_have_sparse_and_dense_layers():
    X, y = two_networks()
    found = MultiLevelOT().fit(X[TRAINED], y[TRAINED])
    expected = MultiLevelOT().fit(densely(X)[TRAINED], densely(y)[TRAINED])
    np.testing.assert_allclose(found.layer_costs_, expected.layer_costs_, rtol=1e-12)
    held_out = X[HELD_OUT], y[HELD_OUT]
    assert found.score(*held_out) == pytest.approx(expected.score(*held_out))
    assert found.held_out_cost(*held_out) == pytest.approx(
        expected.held_out_cost(*map(densely, held_out)), rel=1e-12
    )
    # All layers as one population, sparse and dense units side by side.
    flat = SoftMatching().fit(X, y)
    assert flat.cost_ == pytest.approx(
        SoftMatching().fit(densely(X), densely(y)).cost_, rel=1e-12
    )
    np.testing.assert_allclose(
        np.asarray(flat.predict(X)), np.asarray(flat.predict(densely(X))), atol=1e-12
    )


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_networks_of_networks_and_folds_of_costs(n_jobs):
    X, y = two_networks()
    mot = MultiLevelOT(MultiLevelOT(cost_cv=3), n_jobs=n_jobs)
    found = mot.fit([X, X[:, :]], [y])
    expected = clone(mot).fit([densely(X), densely(X)], [densely(y)])
    assert found.cost_ == pytest.approx(expected.cost_, rel=1e-12)


def test_cross_validation_and_searches_take_sparse_layers():
    X, y = two_networks()
    mot = MultiLevelOT(SoftMatching())
    np.testing.assert_allclose(
        cross_val_score(mot, X, y, cv=3),
        cross_val_score(mot, densely(X), densely(y), cv=3),
    )
    predicted = cross_val_predict(mot, X, y, cv=3)
    assert predicted.structure == y.structure
    grid = {"inner__mass": [0.5, 1.0]}
    # Sparse layers are sent to workers.
    found = GridSearchCV(mot, grid, cv=2, n_jobs=2).fit(X, y)
    expected = GridSearchCV(mot, grid, cv=2).fit(densely(X), densely(y))
    np.testing.assert_allclose(
        *(search.cv_results_["mean_test_score"] for search in (found, expected))
    )


def test_pairs_of_sparse_layers_are_stored_once(tmp_path):
    X, y = two_networks()
    n_entries = []
    for given in (
        X,
        # The same values in another format, with stored zeros.
        LayerStack({"a": sparse.csc_matrix(X.layer("a")), "b": X.layer("b")}),
        X[np.arange(N)],
        X[np.arange(N)[::-1]][::-1],
        X.select_units({"a": np.arange(24)}),
    ):
        MultiLevelOT(memory=tmp_path).fit(given, y.with_stimuli(None))
        n_entries.append(sum(path.is_file() for path in Path(tmp_path).rglob("*")))
    assert len(set(n_entries)) == 1
    changed = X.layer("a").copy()
    changed.data[3] *= 2
    moved = X.layer("a").copy()
    moved.indices[:2] = moved.indices[:2] + 1
    for other in (changed, moved):
        other = LayerStack({"a": other, "b": X.layer("b")})
        MultiLevelOT(memory=tmp_path).fit(other, y.with_stimuli(None))
        n_entries.append(sum(path.is_file() for path in Path(tmp_path).rglob("*")))
    assert n_entries[-2] > n_entries[-3]
    assert n_entries[-1] > n_entries[-2]


def test_another_recording_of_the_training_stimuli_is_told():
    X, y = two_networks()
    fitted = MultiLevelOT().fit(X, y)
    fitted.score(X[:20], y[:20])
    again = LayerStack(
        {"a": sparse.csr_array(active((N, 24), 0.3, seed=11)), "b": X.layer("b") + 1},
        stimuli=X.stimuli,
    )
    with pytest.warns(LeakWarning):
        fitted.score(again[:20], y[:20])


def test_controls_and_tables_take_sparse_layers():
    X, y = two_networks()
    fitted = MultiLevelOT().fit(X[TRAINED], y[TRAINED])
    for function in (target_score, source_score, negative_cost, scored_units):
        assert function(fitted, X[HELD_OUT], y[HELD_OUT]) == pytest.approx(
            function(fitted, densely(X)[HELD_OUT], densely(y)[HELD_OUT])
        )
    assert matches(fitted, X[HELD_OUT], y[HELD_OUT]).equals(
        matches(fitted, densely(X)[HELD_OUT], densely(y)[HELD_OUT])
    )
    results = [
        permutation_control(
            MultiLevelOT(), *sides, n_permutations=19, cv=2, random_state=0
        )
        for sides in ((X, y), (densely(X), densely(y)))
    ]
    np.testing.assert_allclose(*(result.null_scores for result in results))
    curves = [
        mass_curve(*sides, masses=[0.4, 0.7, 1.0], n_permutations=19, random_state=0)
        for sides in ((X, y), (densely(X), densely(y)))
    ]
    np.testing.assert_allclose(*(curve.similarities for curve in curves), rtol=1e-12)


# -- transformers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "selector",
    [UnitSubsampler(random_state=0), ActivitySelector(12), FiniteUnitSelector()],
)
def test_selectors_keep_sparse_layers(selector):
    X, _ = two_networks()
    found, expected = (clone(selector).fit(given) for given in (X, densely(X)))
    for ours, theirs in zip(found.units_, expected.units_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    part = found.transform(X[HELD_OUT])
    assert isinstance(part.layer("a"), sparse.csr_array)
    np.testing.assert_array_equal(
        np.asarray(part), np.asarray(expected.transform(densely(X)[HELD_OUT]))
    )
    # Without a stack, layers are returned in a list.
    (alone,) = clone(selector).fit_transform([X.layer("a")])
    assert isinstance(alone, sparse.csr_array)


def test_activity_is_counted_as_in_dense_layers():
    layer = np.zeros((8, 5))
    layer[:3, 1] = [1, 2, 3]
    layer[:, 2] = [4, 4, 4, 4, 4, 0, 0, 1]
    layer[:, 3] = np.arange(8)
    layer[:4, 4] = 1
    fitted = ActivitySelector(1).fit(LayerStack([sparse.csr_array(layer)]))
    np.testing.assert_array_equal(fitted.n_active_[0], [0, 3, 3, 7, 4])


def test_units_with_missing_responses_of_sparse_layers_are_left_out():
    first, _ = dictionaries()
    first[4, 6] = np.nan
    first[5, 8] = -np.inf
    selector = FiniteUnitSelector().fit(LayerStack([sparse.csr_array(first)]))
    np.testing.assert_array_equal(selector.units_[0], np.delete(np.arange(24), [6, 8]))


def test_reliabilities_of_sparse_trials_are_those_of_dense_ones():
    trials, _ = dictionaries()
    trials[:, 3] = 1.5
    stimuli = np.tile(np.arange(20), 3)
    stacks = [
        LayerStack.from_trials([kind(trials)], stimuli)
        for kind in (sparse.csr_array, np.asarray)
    ]
    selectors = [ReliabilitySelector(0.0, random_state=0).fit(s) for s in stacks]
    ours, theirs = (selector.reliabilities_[0] for selector in selectors)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert np.isnan(ours[[0, 3]]).all()
    assert issparse(selectors[0].transform(stacks[0]).layers[0])
    found, expected = (noise_ceiling(stack, random_state=0)[0] for stack in stacks)
    np.testing.assert_allclose(found, expected, atol=1e-12)


class SeenType(TransformerMixin, BaseEstimator):
    """Passes layers on, and keeps the type of what it was fitted to."""

    def __init__(self, accepts_sparse=False):
        self.accepts_sparse = accepts_sparse

    def fit(self, X, y=None):
        self.type_ = type(X)
        return self

    def transform(self, X):
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.accepts_sparse
        return tags


def test_a_transformer_gets_sparse_layers_if_its_tags_accept_them():
    X, y = two_networks()
    for accepts, kind in ((True, sparse.csr_array), (False, np.ndarray)):
        layerwise = LayerwiseTransformer(SeenType(accepts)).fit(X)
        assert layerwise.transformers_[0].type_ is kind
        assert layerwise.transformers_[1].type_ is np.ndarray
        assert type(layerwise.transform(X).layer("a")) is kind
    scaled = LayerwiseTransformer(MaxAbsScaler()).fit_transform(X)
    assert isinstance(scaled.layer("a"), sparse.csr_array)
    for transformer in (StandardScaler(), PCA(3)):
        ours, theirs = (
            np.asarray(LayerwiseTransformer(transformer).fit_transform(given))
            for given in (X, densely(X))
        )
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-8)
    pipeline = make_pipeline(
        LayerwiseTransformer(MaxAbsScaler()), ActivitySelector(8), MultiLevelOT()
    )
    pipeline = TransformedTargetLayers(pipeline, ActivitySelector(8))
    assert pipeline.fit(X, y).score(X, y) == pytest.approx(
        clone(pipeline).fit(densely(X), densely(y)).score(densely(X), densely(y))
    )


# -- everything else reads sparse layers as dense ones ---------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        RSA(),
        CKA(),
        Procrustes(),
        LinearPredictivity(random_state=0),
        SemiMatching(),
        OneToOneMatching(),
        RotationMatching(),
        MultiLevelOTRotation(),
        MultiLevelOT(CKA()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_other_similarities_read_the_same_values(estimator):
    X, y = two_networks()
    found = clone(estimator).fit(X[TRAINED], y[TRAINED])
    expected = clone(estimator).fit(densely(X)[TRAINED], densely(y)[TRAINED])
    assert found.cost_ == pytest.approx(expected.cost_, rel=1e-9)
    assert found.held_out_cost(X[HELD_OUT], y[HELD_OUT]) == pytest.approx(
        expected.held_out_cost(densely(X)[HELD_OUT], densely(y)[HELD_OUT]), rel=1e-9
    )


class DenseOnly(BaseEstimator):
    """A similarity that is not ours, and takes dense arrays only."""

    def fit(self, X, y):
        assert type(X) is np.ndarray
        assert type(y) is np.ndarray
        self.cost_ = float(np.abs(X.mean() - y.mean()))
        return self


def test_foreign_similarities_get_dense_layers():
    X, y = two_networks()
    found = MultiLevelOT(DenseOnly()).fit(X, y)
    expected = [
        [abs(a.mean() - b.mean()) for b in densely(y).layers] for a in densely(X).layers
    ]
    np.testing.assert_allclose(found.layer_costs_, expected)


def test_functions_of_two_arrays_take_a_stack_with_a_sparse_layer():
    first, second = dictionaries()
    for function in (soft_matching_distance, linear_cka):
        assert function(LayerStack([sparse.csr_array(first)]), second) == pytest.approx(
            function(first, second), rel=1e-12
        )


# -- other array libraries -------------------------------------------------------------


@pytest.mark.parametrize("name", HOMES)
def test_sparse_layers_beside_arrays_of_other_libraries(name):
    home = home_at(name)
    first, second = dictionaries()
    exact = SoftMatching().fit(first, second)
    with config_context(array_api_dispatch=True):
        # The target is moved to the source: to a dense array of another library, or to
        # numpy.
        for X, y in (
            (home.asarray(first), sparse.csr_array(second)),
            (sparse.csr_array(first), home.asarray(second)),
        ):
            fitted = SoftMatching().fit([X], [y])
            assert fitted.cost_ == pytest.approx(exact.cost_, rel=1e-12)
            assert fitted.score([X], [y]) == pytest.approx(exact.score(first, second))
        rebuilt = fitted.predict([X])[0]
        assert type(rebuilt) is np.ndarray
        with pytest.raises(ValueError, match="must be arrays of one library"):
            LayerStack([sparse.csr_array(first), home.asarray(second)])


# -- memory ----------------------------------------------------------------------------


def peak_of(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("metric", METRICS)
def test_a_sparse_layer_is_never_dense(metric):
    rng = np.random.default_rng(0)
    n_stimuli, n_units = 1500, 3000
    first = sparse.random_array((n_stimuli, n_units), density=0.01, rng=rng)
    X = LayerStack([sparse.vstack([first, first])])
    y = LayerStack([rng.random((2 * n_stimuli, 4))])
    target = LayerStack([sparse.csr_array(y.layers[0] * (y.layers[0] > 0.99))])
    dense = 8 * n_stimuli * n_units
    train, test = slice(0, n_stimuli), slice(n_stimuli, None)
    estimator = SoftMatching(metric)
    for other in (y, target):
        fitted = clone(estimator).fit(X[train], other[train])
        calls = {
            "fit": lambda other=other: clone(estimator).fit(X[train], other[train]),
            "predict": lambda fitted=fitted: fitted.predict(X[test]),
            "score": lambda f=fitted, other=other: f.score(X[test], other[test]),
            "held_out_cost": lambda f=fitted, other=other: f.held_out_cost(
                X[test], other[test]
            ),
            "selection": lambda: ActivitySelector(5).fit(X).transform(X[test]),
        }
        for name, call in calls.items():
            assert peak_of(call) < dense / 3, name
    assert peak_of(lambda: estimator.fit(densely(X[train]), y[train])) > dense
