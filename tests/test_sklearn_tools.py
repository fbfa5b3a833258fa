"""scikit-learn's tools on stacks, against hand-written loops over lists of arrays."""

from itertools import product

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils import resample, shuffle
from sklearn.utils._array_api import get_namespace_and_device

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.inspection import LayerCouplingDisplay
from skmot.metrics import negative_cost, source_score, target_score
from skmot.model_selection import compare, permutation_control
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.networks import random_networks, rows

N = 60
LABELS = np.array([f"image{row}" for row in range(N)])
SOURCE, TARGET = random_networks(n_stimuli=N)
CV = KFold(3, shuffle=True, random_state=0)


@pytest.fixture
def X():
    return LayerStack(SOURCE, names=["V1", "V2", "IT"], stimuli=LABELS)


@pytest.fixture
def y():
    return LayerStack(TARGET, names=["a", "b", "c", "d"], stimuli=LABELS)


@pytest.fixture(params=[False, True], ids=["default", "array API dispatch"])
def dispatch(request):
    with sklearn.config_context(array_api_dispatch=request.param):
        yield request.param


def fit(estimator, train, source=SOURCE, target=TARGET):
    return estimator.fit(rows(source, train), rows(target, train))


def mean_correlation(truth, predicted):
    """Mean over layers of the mean over units of Pearson's correlation."""
    return np.mean(
        [
            np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(t.T, p.T, strict=True)])
            for t, p in zip(truth, predicted, strict=True)
        ]
    )


def held_out_scores(estimator, cv=CV, source=SOURCE, target=TARGET):
    """Score the folds of a cross-validation, by hand, on plain lists."""
    scores = []
    for train, test in cv.split(np.empty((N, 1))):
        predicted = fit(estimator, train, source, target).predict(rows(source, test))
        scores.append(mean_correlation(rows(target, test), predicted))
    return scores


# -- splitting ---------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
def test_train_test_split_keeps_layers_and_labels(X, y):
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, random_state=0
    )
    train, test = train_test_split(np.arange(N), test_size=0.25, random_state=0)
    for part, layers, selected in [
        (X_train, SOURCE, train),
        (X_test, SOURCE, test),
        (y_train, TARGET, train),
        (y_test, TARGET, test),
    ]:
        assert isinstance(part, LayerStack)
        assert part.stimuli.tolist() == LABELS[selected].tolist()
        for layer, expected in zip(part.layers, rows(layers, selected), strict=True):
            assert np.array_equal(layer, expected)
    assert X_test.names == X.names


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("tool", [shuffle, resample])
def test_drawing_stimuli_keeps_layers_and_pairs(tool, X, y):
    drawn_X, drawn_y, drawn = tool(X, y, np.arange(N), random_state=0)
    assert drawn.tolist() != list(range(N))
    assert drawn_X.names == X.names
    assert np.array_equal(drawn_X.layer("IT"), SOURCE[2][drawn])
    assert np.array_equal(drawn_y.layer("d"), TARGET[3][drawn])
    assert drawn_y.stimuli.tolist() == LABELS[drawn].tolist()


# -- cross-validation --------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cv", [CV, KFold(3)], ids=["shuffled", "contiguous"])
def test_cross_validate_scores_the_folds_of_a_loop(n_jobs, cv, X, y):
    found = cross_validate(
        MultiLevelOT(), X, y, cv=cv, n_jobs=n_jobs, error_score="raise"
    )
    expected = held_out_scores(MultiLevelOT(), cv)
    assert np.allclose(found["test_score"], expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("dispatch")
def test_number_of_jobs_changes_no_digit(X, y):
    one, two = (
        cross_validate(
            MultiLevelOT(), X, y, cv=CV, n_jobs=n_jobs, return_train_score=True
        )
        for n_jobs in (1, 2)
    )
    assert one["test_score"].tolist() == two["test_score"].tolist()
    assert one["train_score"].tolist() == two["train_score"].tolist()


@pytest.mark.usefixtures("dispatch")
def test_layers_in_files_are_cross_validated_alike(tmp_path, X, y):
    mapped = []
    for index, layer in enumerate(SOURCE):
        np.save(tmp_path / f"{index}.npy", layer)
        mapped.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    in_memory, in_files = (
        cross_validate(MultiLevelOT(), stack, y, cv=CV, n_jobs=2)["test_score"]
        for stack in (X, LayerStack(mapped, stimuli=LABELS))
    )
    assert np.allclose(in_files, in_memory, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("dispatch")
def test_cross_val_predict_returns_layers_in_the_stimuli_s_order(X, y):
    predicted = cross_val_predict(MultiLevelOT(), X, y, cv=CV)
    assert isinstance(predicted, LayerStack)
    assert predicted.names == y.names
    assert predicted.stimuli.tolist() == LABELS.tolist()
    for train, test in CV.split(np.empty((N, 1))):
        expected = fit(MultiLevelOT(), train).predict(rows(SOURCE, test))
        for layer, of_fold in zip(predicted.layers, expected, strict=True):
            assert np.allclose(layer[test], of_fold, rtol=0, atol=1e-10)


def test_lists_are_split_by_layer_which_is_the_trap():
    network = [layer[:, :5] for layer in SOURCE + SOURCE]
    on_lists, on_stacks = (
        cross_validate(
            MultiLevelOT(),
            given,
            given,
            cv=KFold(2),
            return_estimator=True,
        )["estimator"]
        for given in (network, LayerStack(network))
    )
    # Three layers of all stimuli; what was meant is six layers of half of them.
    assert [fitted.coupling_.shape for fitted in on_lists] == [(3, 3)] * 2
    assert [fitted.coupling_.shape for fitted in on_stacks] == [(6, 6)] * 2


@pytest.mark.usefixtures("dispatch")
def test_two_scores_are_cross_validated_at_once(X, y):
    found = cross_validate(
        MultiLevelOT(),
        X,
        y,
        cv=CV,
        scoring={"source": source_score, "target": MultiLevelOT.score},
    )
    folds = list(CV.split(np.empty((N, 1))))
    expected = [
        mean_correlation(
            rows(SOURCE, test),
            fit(MultiLevelOT(), train).inverse_predict(rows(TARGET, test)),
        )
        for train, test in folds
    ]
    assert np.allclose(found["test_source"], expected, rtol=0, atol=1e-10)
    assert np.allclose(found["test_target"], held_out_scores(MultiLevelOT()))


@pytest.mark.usefixtures("dispatch")
def test_stacks_and_arrays_mix():
    X, y = SOURCE[2], TARGET[3]
    on_arrays, on_both = (
        cross_val_predict(Ridge(), given, y, cv=CV) for given in (X, LayerStack(X))
    )
    assert np.allclose(on_both, on_arrays, rtol=0, atol=1e-10)
    scores = cross_validate(SoftMatching(), LayerStack(X), y, cv=CV)["test_score"]
    expected = held_out_scores(SoftMatching(), source=[X], target=[y])
    assert np.allclose(scores, expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("dispatch")
def test_metrics_take_stacks_and_arrays(y):
    side_by_side = np.concatenate(TARGET, axis=1)
    shifted = side_by_side + 2
    assert mean_squared_error(y, shifted) == pytest.approx(4)
    assert mean_squared_error(shifted, y) == pytest.approx(4)


def test_stack_has_the_namespace_and_the_device_of_arrays(X):
    array = np.asarray(X)
    with sklearn.config_context(array_api_dispatch=True):
        alone = get_namespace_and_device(array)
        # Raises where two inputs disagree.
        assert get_namespace_and_device(X, array) == alone
        assert get_namespace_and_device(X) == alone


# -- searches, controls, curves ----------------------------------------------------

GRID = {
    "unitsubsampler__fraction": [0.5, 1.0],
    "multilevelot__strategy": ["transport", "single_best"],
    "multilevelot__inner__reconstruct": ["standardized", "raw"],
}


def subsampled(fraction):
    return UnitSubsampler(fraction, random_state=0).fit_transform(SOURCE)


@pytest.mark.usefixtures("dispatch")
def test_grid_search_finds_what_a_loop_finds(X, y):
    pipeline = make_pipeline(
        UnitSubsampler(random_state=0), MultiLevelOT(SoftMatching())
    )
    search = GridSearchCV(pipeline, GRID, cv=CV, error_score="raise").fit(X, y)
    expected = {
        (fraction, strategy, reconstruct): np.mean(
            held_out_scores(
                MultiLevelOT(SoftMatching(reconstruct=reconstruct), strategy),
                source=subsampled(fraction),
            )
        )
        for fraction, strategy, reconstruct in product(*GRID.values())
    }
    found = {
        tuple(params[name] for name in GRID): score
        for params, score in zip(
            search.cv_results_["params"],
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    }
    assert found.keys() == expected.keys()
    for setting, score in expected.items():
        assert found[setting] == pytest.approx(score, abs=1e-10)
    assert len({round(score, 6) for score in expected.values()}) > 4

    best = tuple(search.best_params_[name] for name in GRID)
    assert expected[best] == pytest.approx(max(expected.values()), abs=1e-10)
    refitted = fit(
        MultiLevelOT(SoftMatching(reconstruct=best[2]), best[1]),
        slice(None),
        source=subsampled(best[0]),
    )
    predicted = search.predict(X)
    assert predicted.names == y.names
    for layer, by_hand in zip(
        predicted.layers, refitted.predict(subsampled(best[0])), strict=True
    ):
        assert np.allclose(layer, by_hand, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("dispatch")
def test_permutation_test_scores_shuffled_targets(X, y):
    score, permuted, p_value = permutation_test_score(
        MultiLevelOT(),
        X,
        y.with_stimuli(None),
        cv=CV,
        n_permutations=4,
        random_state=0,
    )
    random = np.random.RandomState(0)
    expected = []
    for _ in range(4):
        target = rows(TARGET, random.permutation(N))
        expected.append(np.mean(held_out_scores(MultiLevelOT(), target=target)))
    assert score == pytest.approx(np.mean(held_out_scores(MultiLevelOT())), abs=1e-10)
    assert np.allclose(permuted, expected, rtol=0, atol=1e-10)
    assert p_value == 1 / 5


def test_shuffled_labels_stop_a_permutation_test(X, y):
    with pytest.raises(ValueError, match=r"The stimuli differ: row .*with_stimuli"):
        permutation_test_score(MultiLevelOT(), X, y, cv=CV, n_permutations=1)


@pytest.mark.usefixtures("dispatch")
def test_learning_curve_trains_on_more_and_more_stimuli(X, y):
    sizes, _, test_scores = learning_curve(
        MultiLevelOT(), X, y, cv=CV, train_sizes=[10, 25, 40], error_score="raise"
    )
    assert sizes.tolist() == [10, 25, 40]
    for fold, (train, test) in enumerate(CV.split(np.empty((N, 1)))):
        for index, size in enumerate(sizes):
            fitted = fit(MultiLevelOT(), train[:size])
            expected = mean_correlation(
                rows(TARGET, test), fitted.predict(rows(SOURCE, test))
            )
            assert test_scores[index, fold] == pytest.approx(expected, abs=1e-10)


# -- what wraps an estimator, in skmot's own tools ---------------------------------

TO_SOURCE = LayerwiseTransformer(PCA(n_components=3))
TO_TARGET = UnitSubsampler(0.5, random_state=0)
# What all the wrapped estimators end in, once the searches have chosen.
CHOSEN = MultiLevelOT(strategy="single_best")


def piped(estimator):
    return make_pipeline(TO_SOURCE, estimator)


def targeted(estimator):
    return TransformedTargetLayers(estimator, TO_TARGET)


def searched(estimator, where=""):
    return GridSearchCV(estimator, {f"{where}strategy": ["single_best"]}, cv=2)


# A pipeline transforms the source, and "target" is what transforms the target.
WRAPPED = {
    "pipeline": piped(CHOSEN),
    "search": searched(MultiLevelOT()),
    "target": targeted(CHOSEN),
    "search of a pipeline": searched(piped(MultiLevelOT()), "multilevelot__"),
    "search in a pipeline": piped(searched(MultiLevelOT())),
    "search of a target": searched(targeted(MultiLevelOT()), "regressor__"),
    "search in a target": targeted(searched(MultiLevelOT())),
    "pipeline in a target": targeted(piped(CHOSEN)),
    "target in a pipeline": piped(targeted(CHOSEN)),
    "pipeline in a pipeline": make_pipeline(piped(CHOSEN)),
    "search in a target in a pipeline": piped(targeted(searched(MultiLevelOT()))),
    "search of a pipeline in a target": targeted(
        searched(piped(MultiLevelOT()), "multilevelot__")
    ),
    "search of a search in a pipeline in a target": targeted(
        searched(piped(searched(MultiLevelOT())), "gridsearchcv__estimator__")
    ),
}


def read_by_every_tool(estimator, X, y, train, test):
    """Return the numbers that skmot's tools give for an estimator, by tool."""
    fitted = clone(estimator).fit(X[train], y[train])
    display = LayerCouplingDisplay.from_estimator(fitted)
    comparison = compare(
        {"X": X},
        {"y": y},
        {"method": fitted},
        [(train, test)],
        n_bootstrap=1,
        verbose=False,
    )
    controls = {
        (control, direction): permutation_control(
            fitted,
            X,
            y,
            control=control,
            cv=[(train, test)],
            direction=direction,
            # Each rotation of a basis is a fit.
            n_permutations=1 if control == "basis" else 6,
            random_state=0,
        )
        for control, direction in product(
            ["layers", "stimuli", "basis"], ["target", "source"]
        )
    }
    return {
        "costs drawn": display.layer_costs,
        "coupling drawn": display.coupling,
        "scorers": [
            scorer(fitted, X[test], y[test])
            for scorer in (target_score, source_score, negative_cost)
        ],
        "compare": [row["score"] for row in comparison.rows],
        "controls": [result.score for result in controls.values()],
        # Rotations before a transformer and after it are not the same.
        "null scores": [
            result.null_scores
            for (control, _), result in controls.items()
            if control != "basis"
        ],
    }


# So few layers have few orders.
@pytest.mark.filterwarnings("ignore:The p-value of control")
@pytest.mark.parametrize("name", WRAPPED)
def test_tools_see_through_what_wraps_an_estimator(name, X, y):
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is optional")
    train, test = next(CV.split(np.empty((N, 1))))
    seen = X, y
    if "pipeline" in name:
        seen = clone(TO_SOURCE).fit(X[train]).transform(X), seen[1]
    if "target" in name:
        seen = seen[0], clone(TO_TARGET).fit(y[train]).transform(y)
    found = read_by_every_tool(WRAPPED[name], X, y, train, test)
    expected = read_by_every_tool(CHOSEN, *seen, train, test)
    plt.close("all")
    for tool, numbers in expected.items():
        np.testing.assert_allclose(found[tool], numbers, atol=1e-10, err_msg=tool)
