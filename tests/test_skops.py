import inspect
import pickle
import shutil
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
import skops.io
import xarray as xr
import zarr
from scipy.sparse import csr_array, issparse
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io.exceptions import UntrustedTypesFoundException

import skmot
from skmot import (
    CKA,
    RSA,
    FunctionComparison,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    OneToOneMatching,
    Procrustes,
    RegressorMapping,
    RotationMatching,
    SemiMatching,
    SoftMatching,
    TemplateMOT,
)
from skmot.base import PairComparison, PairMapping, Solution
from skmot.model_selection import StimulusKFold
from skmot.preprocessing import (
    ActivitySelector,
    FiniteUnitSelector,
    LayerwiseTransformer,
    ReliabilitySelector,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.networks import random_networks, rows, trajectories
from tests.public import public_modules

pytestmark = [
    # Layers with constant units, and small validation parts.
    pytest.mark.filterwarnings("ignore::skmot.exceptions.DeadUnitWarning"),
    pytest.mark.filterwarnings("ignore:.*validation:UserWarning"),
]

PUBLIC = {
    f"{found.__module__}.{found.__name__}": found
    for module in public_modules()
    for found in (getattr(module, name) for name in module.__all__)
    if inspect.isclass(found)
}
N_TRAINED = 40
TRAINED, HELD_OUT = slice(0, N_TRAINED), slice(N_TRAINED, None)


def stored(given, brought=()):
    """Store and load an object; only public classes and `brought` may need trust."""
    content = skops.io.dumps(given)
    untrusted = skops.io.get_untrusted_types(data=content)
    assert set(untrusted) - PUBLIC.keys() == set(brought)
    return skops.io.loads(content, trusted=untrusted)


def assert_same(first, second):
    """Check that two objects are equal to the last bit, with all their attributes."""
    assert type(first) is type(second)
    if issparse(first):
        for part in ("data", "indices", "indptr"):
            assert_same(getattr(first, part), getattr(second, part))
        assert first.shape == second.shape
    elif isinstance(first, np.ndarray | np.generic):
        assert first.dtype == second.dtype
        assert first.shape == second.shape
        if first.dtype == object:
            assert_same(first.tolist(), second.tolist())
        else:
            assert first.tobytes() == second.tobytes()
    elif isinstance(first, dict):
        assert_same(list(first), list(second))
        assert_same(list(first.values()), list(second.values()))
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif hasattr(first, "equals"):
        assert first.equals(second)
        assert first.dtypes.equals(second.dtypes)
    elif isinstance(first, np.random.RandomState):
        assert_same(first.get_state(legacy=False), second.get_state(legacy=False))
    elif hasattr(first, "__dict__") and not inspect.isroutine(first):
        assert_same(vars(first), vars(second))
    else:
        assert first == second or first != first


METHODS = ("predict", "inverse_predict", "transform", "inverse_transform")
SCORES = ("score", "inverse_score", "unit_scores", "layer_scores", "held_out_cost")


def assert_works_alike(first, second, X, y):
    """Check the attributes and every method of two fitted estimators."""
    assert_same(first, second)
    for name in METHODS:
        if hasattr(first, name):
            given = y if name == "inverse_predict" else X
            if name == "inverse_transform":
                given = first.transform(X)
            assert_same(*(plain(getattr(fit, name)(given)) for fit in (first, second)))
    for name in SCORES:
        if hasattr(first, name):
            assert_same(*(getattr(fit, name)(X, y) for fit in (first, second)))


def plain(side):
    """Return what a side has, with the layers of a stack read."""
    if isinstance(side, LayerStack):
        layers = [plain(layer) for layer in side.layers]
        return [layers, side.names, side.stimuli, side.unit_names]
    if isinstance(side, dict):
        return {name: plain(layer) for name, layer in side.items()}
    return [plain(layer) for layer in side] if isinstance(side, list) else side


# -- estimators --------------------------------------------------------------------


def mean_difference(X, Y):
    return abs(float(X.mean()) - float(Y.mean()))


class FirstUnits(PairMapping):
    """A mapping of the user: each unit is predicted by the first one."""

    def __init__(self, weight=1.0):
        self.weight = weight

    def _solve(self, source, target):
        sizes = source.units.shape[1], target.units.shape[1]
        maps = [np.zeros(shape) for shape in (sizes, sizes[::-1])]
        for mapping in maps:
            mapping[0] = self.weight
        details = {"sizes": sizes, "dtype": source.statistics.dtype}
        return Solution(cost=1.0, maps=tuple(maps), attributes={"details_": details})


class Level(RegressorMixin, BaseEstimator):
    """An inner estimator of the user that knows nothing of skmot."""

    def fit(self, X, y):
        self.cost_ = float(np.abs(X.mean() - y.mean()))
        self.mean_ = y.mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


PAIRS = [
    CKA(),
    CKA(debiased=False),
    FunctionComparison(mean_difference, greater_is_more_alike=True),
    LinearPredictivity(random_state=0),
    LinearPredictivity(alphas=[1.0, 10.0], alpha_per_target=True, random_state=0),
    OneToOneMatching(),
    Procrustes(),
    RegressorMapping(random_state=0),
    RegressorMapping(PLSRegression(2), random_state=np.random.RandomState(0)),
    RegressorMapping(KernelRidge(), random_state=0),
    RotationMatching(),
    RotationMatching(metric="sqeuclidean", n_init=2, random_state=0),
    RSA(),
    SemiMatching(),
    SoftMatching(),
    SoftMatching(metric="abs_correlation"),
    SoftMatching(metric="cosine"),
    SoftMatching(metric="sqeuclidean"),
    SoftMatching(mass=0.6),
    SoftMatching(mass=0.6, reconstruct="raw"),
    SoftMatching(source_weights="variance"),
    FirstUnits(),
]
BROUGHT = {
    FunctionComparison: ["tests.test_skops.mean_difference"],
    FirstUnits: ["tests.test_skops.FirstUnits"],
}
LEVELS = [
    *(
        MultiLevelOT(strategy=strategy, random_state=0)
        for strategy in (
            "transport",
            "single_best",
            "pairwise_best",
            "permuted",
            "uniform",
        )
    ),
    MultiLevelOT(cost_cv=3, n_jobs=2),
    MultiLevelOT(depth_prior=0.5),
    MultiLevelOT(cost_cv=[(np.arange(20), np.arange(20, 40))]),
    MultiLevelOTRotation(n_init=2, random_state=0),
]
TRANSFORMERS = [
    ActivitySelector(),
    FiniteUnitSelector(),
    LayerwiseTransformer(PCA(2)),
    LayerwiseTransformer(StandardScaler()),
    TemplateMOT(tol=0.1, random_state=0),
    ReliabilitySelector(threshold=2, reliabilities=[np.arange(w) for w in (7, 12, 5)]),
    UnitSubsampler(0.5, random_state=0),
]
TARGETS = [
    TransformedTargetLayers(MultiLevelOT(), LayerwiseTransformer(PCA(2))),
    TransformedTargetLayers(MultiLevelOT(CKA()), UnitSubsampler(0.5, random_state=0)),
]
EVERY = [*PAIRS, *LEVELS, *TRANSFORMERS, *TARGETS]


def name_of(estimator):
    return "".join(str(estimator).split())


def networks():
    """Return two networks with constant units, and layers in both precisions."""
    source, target = random_networks()
    source[0][:, 3] = 2.0
    target[2][:, :4] = -1.0
    return [[layer.astype(np.float32) for layer in source[:1]] + source[1:], target]


def test_every_public_estimator_is_stored_here():
    public = {
        found
        for found in PUBLIC.values()
        if issubclass(found, BaseEstimator) and not inspect.isabstract(found)
    }
    assert public == {type(estimator) for estimator in EVERY} - {FirstUnits}


@pytest.mark.parametrize("estimator", EVERY, ids=name_of)
def test_loaded_estimators_have_the_attributes_and_results_of_the_stored(estimator):
    source, target = networks()
    fitted = clone(estimator).fit(rows(source, TRAINED), rows(target, TRAINED))
    loaded = stored(fitted, BROUGHT.get(type(estimator), ()))
    assert_works_alike(fitted, loaded, rows(source, HELD_OUT), rows(target, HELD_OUT))


@pytest.mark.parametrize("inner", PAIRS, ids=name_of)
def test_every_pair_is_stored_within_a_level(inner):
    source, target = networks()
    fitted = MultiLevelOT(inner).fit(rows(source, TRAINED), rows(target, TRAINED))
    loaded = stored(fitted, BROUGHT.get(type(inner), ()))
    assert_works_alike(fitted, loaded, rows(source, HELD_OUT), rows(target, HELD_OUT))


@pytest.mark.parametrize(
    "inner",
    [
        SoftMatching(metric="sqeuclidean"),
        RotationMatching(),
        LinearPredictivity(random_state=0),
        Procrustes(),
        CKA(),
    ],
    ids=name_of,
)
def test_wide_float32_layers_with_few_stimuli_are_stored_to_the_last_bit(inner):
    source, target = random_networks((90, 150), (130, 70), n_stimuli=60)
    source, target = (
        [layer.astype(np.float32, order="F") for layer in side]
        for side in (source, target)
    )
    fitted = MultiLevelOT(inner).fit(rows(source, TRAINED), rows(target, TRAINED))
    loaded = stored(fitted)
    assert_works_alike(fitted, loaded, rows(source, HELD_OUT), rows(target, HELD_OUT))


@pytest.mark.parametrize("n_stimuli", [2, 3])
def test_fits_to_two_and_three_stimuli_are_stored(n_stimuli):
    source, target = random_networks((4, 1), (3, 5), n_stimuli=n_stimuli)
    fitted = MultiLevelOT().fit(source, target)
    assert_works_alike(fitted, stored(fitted), source, target)


def test_estimators_at_three_levels_are_stored():
    runs, others = ([network[:2] for network in side] for side in trajectories(2, 1))
    fitted = MultiLevelOT(MultiLevelOT(strategy="single_best")).fit(runs, others)
    assert_works_alike(fitted, stored(fitted), runs, others)
    X, y = {"mouse": {"day 1": runs[0], "day 2": runs[1]}}, {"model": {0: others[0]}}
    fitted = MultiLevelOT(MultiLevelOT(MultiLevelOTRotation())).fit(X, y)
    loaded = stored(fitted)
    X, y = LayerStack(X), LayerStack(y)
    assert_same(fitted, loaded)
    assert_same(plain(fitted.predict(X)), plain(loaded.predict(X)))
    assert fitted.held_out_cost(X, y) == loaded.held_out_cost(X, y)


def test_an_estimator_that_is_not_fitted_is_stored():
    estimator = MultiLevelOT(SoftMatching(mass=0.5), cost_cv=3)
    loaded = stored(estimator)
    assert_same(estimator, loaded)
    source, target = networks()
    assert loaded.fit(source, target).cost_ == estimator.fit(source, target).cost_


def test_a_loaded_estimator_can_be_cloned_and_fitted_again():
    source, target = networks()
    fitted = MultiLevelOT(SoftMatching(mass=0.5)).fit(source, target)
    for again in (clone(stored(fitted)), stored(fitted)):
        assert_same(again.fit(source, target), fitted)


# -- types of input ----------------------------------------------------------------

NAMES = ("V1", "V2", "V4")


def labels():
    return [f"image {row}.png" for row in range(60)]


def as_dict(layers):
    return dict(zip(NAMES, layers, strict=True))


def as_frame(layers):
    frames = {
        name: pd.DataFrame(
            layer,
            columns=[f"{name}/{unit}" for unit in range(layer.shape[1])],
            index=pd.Index(labels(), name="stimulus"),
        )
        for name, layer in as_dict(layers).items()
    }
    return pd.concat(frames, axis=1, names=["layer", "unit"])


def as_frames(layers):
    return [pd.DataFrame(layer).add_prefix("unit ") for layer in layers]


def as_dated_frame(layers):
    return pd.concat(
        {
            depth: pd.DataFrame(layer).set_axis(
                pd.date_range("2020-01-01", periods=layer.shape[1]), axis=1
            )
            for depth, layer in enumerate(layers)
        },
        axis=1,
    )


def as_xarray(layers):
    return {
        name: xr.DataArray(
            layer,
            dims=("stimulus", "neuroid"),
            coords={
                "stimulus": labels(),
                "neuroid": np.arange(100, 100 + layer.shape[1]),
            },
        )
        for name, layer in as_dict(layers).items()
    }


def as_stack(layers):
    return LayerStack(as_dict(layers), stimuli=labels())


def as_numbered_stack(layers):
    unit_names = [np.arange(layer.shape[1])[::-1] for layer in layers]
    return LayerStack(layers, names=range(3), stimuli=range(60), unit_names=unit_names)


INPUTS = [
    list,
    as_dict,
    as_stack,
    as_numbered_stack,
    as_frame,
    as_frames,
    as_dated_frame,
    as_xarray,
]


def part(side, selected):
    """Return some stimuli of a side of any type."""
    if isinstance(side, dict):
        return {name: layer[selected] for name, layer in side.items()}
    if isinstance(side, list):
        return rows(side, selected)
    return side[selected]


@pytest.mark.parametrize("estimator", [MultiLevelOT(), SoftMatching()], ids=name_of)
@pytest.mark.parametrize("given", INPUTS)
def test_loaded_estimators_predict_in_the_type_of_the_input(given, estimator):
    X, y = (given(side) for side in random_networks((7, 12, 5), (6, 9, 11)))
    fitted = clone(estimator).fit(part(X, TRAINED), part(y, TRAINED))
    loaded = stored(fitted)
    assert_works_alike(fitted, loaded, part(X, HELD_OUT), part(y, HELD_OUT))


def test_columns_of_a_loaded_estimator_have_their_names_and_types():
    X, y = (as_frame(side) for side in random_networks((7, 12, 5), (6, 9, 11)))
    predicted = stored(MultiLevelOT().fit(X, y)).predict(X)
    pd.testing.assert_index_equal(predicted.columns, y.columns, exact=True)
    pd.testing.assert_index_equal(predicted.index, y.index, check_names=False)


def test_single_arrays_and_vectors_are_stored():
    (X, *_), (y, *_) = networks()
    for target in (y, y[:, 0]):
        for estimator in (SoftMatching(), MultiLevelOT(), RegressorMapping()):
            fitted = clone(estimator).fit(X, target)
            assert_works_alike(fitted, stored(fitted), X, target)


def test_a_frame_of_one_layer_keeps_its_feature_names():
    (X, *_), (y, *_) = (as_frames(side) for side in networks())
    fitted = SoftMatching().fit(X, y)
    loaded = stored(fitted)
    assert_works_alike(fitted, loaded, X, y)
    with pytest.raises(ValueError, match=r"[Ff]eature names"):
        loaded.predict(X.rename(columns={"unit 0": "other"}))


def test_a_loaded_estimator_knows_its_training_stimuli_and_units():
    X, y = (as_stack(side) for side in random_networks((7, 12, 5), (6, 9, 11)))
    loaded = stored(MultiLevelOT().fit(X[TRAINED], y[TRAINED]))
    with pytest.warns(skmot.exceptions.LeakWarning):
        loaded.score(X[30:], y[30:])
    X, y = (as_numbered_stack(side) for side in random_networks((7, 12, 5), (6, 9, 11)))
    loaded = stored(MultiLevelOT().fit(X, y))
    shuffled = X.select_units([None, np.roll(np.arange(12), 1), None])
    with pytest.raises(ValueError, match="units of X, layer 1 differ"):
        loaded.predict(shuffled)


# -- what else is stored -----------------------------------------------------------


def test_pipelines_and_searches_are_stored():
    X, y = (as_stack(side) for side in random_networks((7, 12, 5), (6, 9, 11)))
    pipeline = make_pipeline(
        LayerwiseTransformer(StandardScaler()),
        UnitSubsampler(0.8, random_state=0),
        MultiLevelOT(SoftMatching(), cost_cv=StimulusKFold(2)),
    )
    grid = {"multilevelot__inner__mass": [0.5, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=StimulusKFold(3)).fit(X, y)
    best = search.best_estimator_
    for fitted, brought in (
        (best, []),
        (search, ["sklearn.metrics._scorer._PassthroughScorer"]),
    ):
        loaded = stored(fitted, brought)
        assert_same(plain(fitted.predict(X)), plain(loaded.predict(X)))
        assert fitted.score(X, y) == loaded.score(X, y)
    assert_same(best[-1], loaded.best_estimator_[-1])
    assert loaded.best_params_ == search.best_params_


def test_what_the_user_brought_is_reported_under_its_own_name():
    source, target = networks()
    fitted = MultiLevelOT(Level(), cost_cv=None).fit(source, target)
    loaded = stored(fitted, ["tests.test_skops.Level"])
    assert_same(fitted, loaded)
    assert_same(fitted.predict(source), loaded.predict(source))
    fitted = MultiLevelOT(cost_cv=KFold(3)).fit(source, target)
    stored(fitted, ["sklearn.model_selection._split.KFold"])


def test_parameters_are_stored_as_they_are():
    names = {"skmot kind": "dtype", "skmot content": "<f8"}
    comparison = FunctionComparison(mean_difference, kw_args=names)
    assert stored(comparison, BROUGHT[FunctionComparison]).kw_args == names


def test_nothing_is_loaded_without_trust(tmp_path):
    source, target = networks()
    path = tmp_path / "fitted.skops"
    fitted = MultiLevelOT().fit(source, target)
    skops.io.dump(fitted, path, compression=zipfile.ZIP_DEFLATED)
    for trusted in (None, [MultiLevelOT]):
        with pytest.raises(UntrustedTypesFoundException, match="SoftMatching"):
            skops.io.load(path, trusted=trusted)
    assert_same(fitted, skops.io.load(path, trusted=[MultiLevelOT, SoftMatching]))


def test_objects_of_another_version_are_refused_by_name():
    source, target = networks()
    state = SoftMatching().fit(source, target).__getstate__()
    state["_training"] = {"skmot kind": "Unheard", "skmot content": {}}
    with pytest.raises(ValueError, match=r"'Unheard'.* version"):
        SoftMatching().__setstate__(state)


def test_a_plan_with_units_that_do_not_exist_is_refused():
    source, target = networks()
    state = SoftMatching().fit(source, target).__getstate__()
    state["coupling_"]["skmot content"][1][0] = 10_000
    with pytest.raises(ValueError, match="indices"):
        SoftMatching().__setstate__(state)


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_arrays_of_other_libraries_are_refused_with_advice(library):
    xp = pytest.importorskip(library)
    source, target = networks()
    source, target = ([xp.asarray(layer) for layer in s] for s in (source, target))
    with config_context(array_api_dispatch=True):
        for given in (Procrustes().fit(source, target), LayerStack(target)):
            with pytest.raises(TypeError, match=f"arrays of {library}.* pickle"):
                skops.io.dumps(given)


def test_arrays_of_zarr_that_are_in_no_folder_are_refused_with_advice():
    stack = LayerStack([zarr.array(np.ones((6, 4)))])
    with pytest.raises(TypeError, match=r"arrays of zarr.* NumPy arrays"):
        skops.io.dumps(stack)
    stored(stack.map(np.array))


class Dimension(PairComparison):
    """A comparison of the user whose state is its own."""

    def _solve(self, source, target):
        return Solution(cost=0.0, attributes={"cache_": lambda: None})

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("cache_", None)
        return state


def test_the_state_of_a_users_class_is_respected_by_pickle_and_skops():
    source, target = networks()
    fitted = Dimension().fit(source, target)
    for loaded in (
        pickle.loads(pickle.dumps(fitted)),
        stored(fitted, ["tests.test_skops.Dimension"]),
    ):
        assert not hasattr(loaded, "cache_")
        assert_same(loaded, pickle.loads(pickle.dumps(loaded)))
        assert loaded.held_out_cost(source, target) == 0.0


# -- stacks ------------------------------------------------------------------------


def stacks():
    """Return stacks of each kind, in memory."""
    layers = as_dict(random_networks()[0])
    stack = LayerStack(layers, stimuli=labels())
    trials = LayerStack.from_trials(layers, stimuli=np.arange(60) % 17)
    nested = LayerStack({"run 1": stack, "run 2": [stack.layers[0]]})
    return {
        "plain": LayerStack(list(layers.values())),
        "labelled": stack,
        "slice": stack[10:20],
        "every other": stack[::-2],
        "rows": stack[[5, 5, 2, 40]],
        "empty": stack[:0],
        "selected units": stack.select_units({"V2": [4, 1]})[[3, 2]],
        "nested": nested,
        "nested rows": nested[[7, 1]],
        "unit names": as_numbered_stack(list(layers.values())),
        "float32": LayerStack(np.asfortranarray(stack.layers[0], dtype=np.float32)),
        "trials": trials,
        "rows of trials": trials[[4, 1]],
        "single trials": trials[3:5].trials,
        "units of trials": trials.select_units({"V4": [2]})[[4, 1]],
        "half of the trials": trials.split_trials(random_state=0)[0],
        "nested trials": LayerStack([trials, trials])[[6, 2]],
        "sparse": stack.map(csr_array),
        "rows of sparse": stack.map(csr_array)[[4, 1]],
        "sparse trials": LayerStack.from_trials(
            [csr_array(layer) for layer in layers.values()], np.arange(60) % 17
        )[[6, 2]],
    }


@pytest.mark.parametrize("name", stacks())
def test_loaded_stacks_have_the_layers_names_and_labels_of_the_stored(name):
    stack = stacks()[name]
    loaded = stored(stack)
    assert_same(plain(stack), plain(loaded))
    assert (loaded.shape, loaded.dtype) == (stack.shape, stack.dtype)
    assert loaded.has_trials == stack.has_trials
    assert_same(plain(stack[::-1]), plain(loaded[::-1]))
    if stack.has_trials:
        assert_same(plain(stack.trials), plain(loaded.trials))
        assert_same(loaded.n_trials, stack.n_trials)


@pytest.mark.parametrize(
    "stimuli",
    [
        [f"é {row}" for row in range(60)],
        [b"%d" % row for row in range(60)],
        [("cat", row, 0.5) for row in range(60)],
        [2**70 + row for row in range(60)],
        [row if row % 2 else str(row) for row in range(60)],
        np.arange(60, dtype=np.uint8),
        np.arange(60) / 7,
        np.datetime64("2020-01-01", "ns") + np.arange(60),
        np.timedelta64(1, "s") * np.arange(60),
    ],
    ids=["str", "bytes", "tuple", "large", "mixed", "uint8", "float", "date", "time"],
)
def test_labels_of_a_loaded_stack_are_equal_and_of_the_same_type(stimuli):
    stack = LayerStack(random_networks()[0], stimuli=stimuli)
    assert_same(stored(stack).stimuli, stack.stimuli)
    assert_same(stored(stack[[4, 2]]).stimuli, stack[[4, 2]].stimuli)


def test_a_stored_selection_holds_its_own_rows_only():
    stack = LayerStack(np.random.default_rng(0).normal(size=(5_000, 20)))
    assert len(skops.io.dumps(stack[[4, 900, 17]])) < 8_000  # all rows are 800 kB


# -- layers in files ---------------------------------------------------------------

SHAPE = (5_000, 20)


def file_of(folder, kind, values):
    """Write a layer, and return the path and the layer as it is opened."""
    if kind == "h5py":
        path = folder / "layer.h5"
        with h5py.File(path, "w") as file:
            file["layers/V1"] = values
        return path, h5py.File(path, "r")["layers/V1"]
    if kind == "zarr":
        path = folder / "layer.zarr"
        group = zarr.open_group(path, mode="w")
        group.create_array("layers/V1", data=values)
        return path, zarr.open_group(path, mode="r")["layers/V1"]
    path = folder / "layer.npy"
    np.save(path, np.asfortranarray(values) if kind == "npy, Fortran" else values)
    return path, np.load(path, mmap_mode="r")


def load_stack(content):
    return skops.io.loads(content, trusted=[LayerStack])


FILES = ["npy", "npy, Fortran", "h5py", "zarr"]


@pytest.mark.parametrize("kind", FILES)
def test_layers_in_files_are_stored_as_references(tmp_path, kind):
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    _, layer = file_of(tmp_path, kind, values)
    stack = LayerStack({"V1": layer}, stimuli=np.arange(len(values)))
    units = stack.select_units([[3, 1]])
    trials = LayerStack.from_trials([layer], np.arange(len(values)) // 4)
    nested = LayerStack([stack, stack])
    for part_of_stack in (
        stack[100:300:7],
        stack[[3, 900, 4]],
        units[5:9],
        nested[20:30],
    ):
        content = skops.io.dumps(part_of_stack)
        assert len(content) < 50_000  # the layer has 400 kB
        assert_same(plain(stored(part_of_stack)), plain(part_of_stack))
    assert len(skops.io.dumps(trials)) < 150_000  # labels and numbers of trials
    for part_of_trials in (trials[[5, 2]], trials[[5, 2]].trials):
        assert_same(plain(stored(part_of_trials)), plain(part_of_trials))
    fitted = MultiLevelOT().fit(stack[:50], [values[:50, :3]])
    assert_works_alike(fitted, stored(fitted), stack[50:70], [values[50:70, :3]])


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    ("dumps", "loads"),
    [(skops.io.dumps, load_stack), (pickle.dumps, pickle.loads)],
    ids=["skops", "pickle"],
)
def test_a_missing_file_is_named_when_a_stack_is_loaded(tmp_path, kind, dumps, loads):
    path, layer = file_of(tmp_path, kind, np.ones((6, 4)))
    content = dumps(LayerStack([layer]))
    if kind == "h5py":
        layer.file.close()
    path.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match=rf"{path.name}.*, which is missing"):
        loads(content)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_has_changed_is_named(tmp_path, kind):
    path, layer = file_of(tmp_path, kind, np.ones((600, 4)))
    content = skops.io.dumps(LayerStack([layer]))
    if kind == "zarr":
        shutil.rmtree(path / "layers")
    elif kind == "h5py":
        layer.file.close()
        with h5py.File(path, "r+") as file:
            del file["layers"]
    else:
        np.save(path, np.ones((3, 4)))
    with pytest.raises(ValueError, match=rf"{path.name}' has changed since"):
        load_stack(content)


def test_layers_that_are_read_first_do_not_need_their_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(30, 4))
    path, layer = file_of(tmp_path, "npy", values)
    content = skops.io.dumps(LayerStack([layer]).map(np.array))
    path.unlink()
    loaded = load_stack(content)
    assert_same(loaded.layers[0], values)


def test_a_dataset_without_a_file_on_disk_is_stored_by_value():
    values = np.random.default_rng(0).normal(size=(30, 4))
    file = h5py.File("nowhere.h5", "w", driver="core", backing_store=False)
    stack = LayerStack([file.create_dataset("V1", data=values)])
    for given in (stack, stack[4:8], stack.select_units([[2]])):
        assert_same(plain(stored(given)), plain(given))
