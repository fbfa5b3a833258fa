"""What callbacks are told, and that fits and functions do not depend on them."""

import json
import os
import pickle
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import CallbackSupportMixin, ScoringMonitor, with_callbacks
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skmot import (
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    SoftMatching,
)
from skmot.metrics import pairwise_costs, target_score
from skmot.model_selection import (
    compare,
    coupling_stability,
    hierarchy_test,
    joint_permutation_test,
    permutation_control,
)
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.estimators import Witness
from tests.networks import assert_same_fit, random_networks, trajectories

N_PAIRS = 3 * 4


class Recorder:
    """A callback that writes what it is told to a file, from any process."""

    def __init__(self, path):
        self.path = path

    def _write(self, event, estimator, context):
        path, node = [], context
        while node is not None:
            path.append(node.task_id)
            node = node.parent
        told = {
            "event": event,
            "estimator": type(estimator).__name__,
            "name": context.task_name,
            "total": context.max_subtasks,
            "path": path[::-1],
            "run": str(context.root_uuid),
            "process": os.getpid(),
        }
        with open(self.path, "a") as lines:
            lines.write(json.dumps(told) + "\n")

    def setup(self, estimator, context):
        self._write("setup", estimator, context)

    def on_fit_task_begin(self, estimator, context):
        self._write("begin", estimator, context)

    def on_fit_task_end(self, estimator, context):
        self._write("end", estimator, context)

    def teardown(self, estimator, context):
        self._write("teardown", estimator, context)

    def told(self, event=None, depth=None):
        """Return what was told of an event, of tasks at one depth."""
        with open(self.path) as lines:
            found = [json.loads(line) for line in lines]
        return [
            told
            for told in found
            if event in (None, told["event"]) and depth in (None, len(told["path"]) - 1)
        ]

    def names(self, event="end", depth=1):
        return [told["name"] for told in self.told(event, depth)]


class NestedRecorder(Recorder):
    """A callback that meta-estimators pass on to all estimators inside them."""

    max_propagation_depth = None


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path / "told")


@pytest.fixture
def nested_recorder(tmp_path):
    return NestedRecorder(tmp_path / "told")


def assert_each_task_ends(recorder):
    """Each task is begun once and ended once, inside of the task above it."""
    lines = [(told["event"], *told["path"]) for told in recorder.told()]
    assert lines[0] == ("setup", 0)
    assert lines[-1] == ("teardown", 0)
    assert max(Counter(lines).values()) == 1
    times = {line: place for place, line in enumerate(lines)}
    paths = {line[1:] for line in lines}
    for path in paths:
        begin, end = times["begin", *path], times["end", *path]
        assert begin < end
        if path[:-1]:
            assert times["begin", *path[:-1]] < begin
            assert end < times["end", *path[:-1]]
    return paths


# -- one fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
@pytest.mark.parametrize(
    "mot",
    [MultiLevelOT(), MultiLevelOT(RSA()), MultiLevelOTRotation(max_iter=2, tol=1.0)],
    ids=str,
)
def test_each_pair_begins_and_ends_once_wherever_it_is_solved(recorder, backend, mot):
    X, y = random_networks()
    watched = clone(mot).set_params(n_jobs=2).set_callbacks(recorder)
    with joblib.parallel_config(backend):
        watched.fit(X, y)
    paths = assert_each_task_ends(recorder)
    assert paths == {(0,)} | {(0, number) for number in range(N_PAIRS)}
    assert {told["process"] for told in recorder.told()} == {os.getpid()}
    (root,) = recorder.told("begin", depth=0)
    assert (root["estimator"], root["total"]) == (type(mot).__name__, N_PAIRS)
    assert sorted(recorder.names()) == [
        f"X, layer {row}; y, layer {column}" for row in range(3) for column in range(4)
    ]
    assert_same_fit(watched, mot.fit(X, y))


def test_a_pair_ends_before_the_next_one_begins_if_one_runs_at_a_time(recorder):
    X, y = random_networks()
    MultiLevelOT(n_jobs=1).set_callbacks(recorder).fit(X, y)
    events = [told["event"] for told in recorder.told(depth=1)]
    assert events == ["begin", "end"] * N_PAIRS


class Patient(Witness):
    """Waits for the callback to be told of the end of another pair."""

    def fit(self, X, y):
        deadline = time.monotonic() + 30
        while X.shape[1] == 5 and '"end"' not in Path(self.path).read_text():
            assert time.monotonic() < deadline, "no end was told"
            time.sleep(0.01)
        self.cost_ = 0.0
        return self


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ends_are_told_while_other_pairs_still_run(recorder, n_jobs):
    # The last source layer has 5 units.
    X, y = random_networks()
    mot = MultiLevelOT(Patient(path=recorder.path), n_jobs=n_jobs)
    mot.set_callbacks(recorder).fit(X, y)
    assert_each_task_ends(recorder)


def test_pairs_of_named_layers_have_their_names(recorder):
    X, y = random_networks((3, 4), (5,))
    mot = MultiLevelOT().set_callbacks(recorder)
    mot.fit(LayerStack(X, names=["low", "high"]), {"V1": y[0]})
    assert sorted(recorder.names()) == [
        "X, layer 'high'; y, layer 'V1'",
        "X, layer 'low'; y, layer 'V1'",
    ]


@pytest.mark.parametrize(
    "cost_cv", [2, KFold(3), list(KFold(2).split(np.zeros((60, 1))))], ids=str
)
@pytest.mark.parametrize("inner", [SoftMatching(), RSA()], ids=str)
def test_each_pair_of_each_fold_is_a_task(recorder, cost_cv, inner):
    X, y = random_networks()
    mot = MultiLevelOT(inner, cost_cv=cost_cv, n_jobs=2)
    watched = clone(mot).set_callbacks(recorder).fit(X, y)
    n_folds = 3 if isinstance(cost_cv, KFold) else 2
    assert len(assert_each_task_ends(recorder)) == 1 + N_PAIRS * (1 + n_folds)
    assert recorder.told("begin", depth=0)[0]["total"] == N_PAIRS * (1 + n_folds)
    prefixes = Counter(name.partition(" of cost_cv: ")[0] for name in recorder.names())
    assert prefixes["fold 0"] == prefixes[f"fold {n_folds - 1}"] == N_PAIRS
    assert_same_fit(watched, mot.fit(X, y))


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([np.eye(2)], [np.eye(2)]),
        (np.eye(3)[:, :1], np.eye(3)),
        ([np.eye(3, 9, dtype=np.float32)], [np.eye(3), np.eye(3)[:, ::-1]]),
    ],
)
def test_two_stimuli_and_one_unit_are_watched_too(recorder, X, y):
    mot = MultiLevelOT().set_callbacks(recorder)
    with warnings.catch_warnings():
        # Units that are zero for two of three stimuli may be dead.
        warnings.simplefilter("ignore")
        mot.fit(X, y)
    assert_each_task_ends(recorder)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_pairs_found_in_memory_count_as_pairs(recorder, tmp_path, n_jobs):
    X, y = random_networks()
    mot = MultiLevelOT(memory=str(tmp_path / "pairs"), cost_cv=2, n_jobs=n_jobs)
    mot.fit(X[:2], y)
    watched = clone(mot).set_callbacks(recorder).fit(X, y)
    assert len(assert_each_task_ends(recorder)) == 1 + N_PAIRS * 3
    again = Recorder(tmp_path / "again")
    assert_same_fit(watched, clone(mot).set_callbacks(again).fit(X, y))
    assert sorted(again.names()) == sorted(recorder.names())
    assert_each_task_ends(again)


class Supporting(CallbackSupportMixin, Witness):
    """A foreign inner estimator with callbacks."""

    @with_callbacks
    def fit(self, X, y):
        context = self._init_callback_context()
        context.call_on_fit_task_begin(estimator=self)
        super().fit(X, y)
        context.call_on_fit_task_end(estimator=self)
        return self


def test_callbacks_do_not_change_the_keys_of_memory(recorder, tmp_path):
    X, y = random_networks()
    fits = tmp_path / "fits"
    mot = MultiLevelOT(Supporting(path=str(fits)), memory=str(tmp_path / "pairs"))
    mot.fit(X, y)
    mot.set_callbacks(recorder).fit(X, y)
    mot.inner.set_callbacks(recorder)
    mot.fit(X, y)
    assert len(fits.read_text().split()) == N_PAIRS


# -- levels above levels ---------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_pairs_of_nested_levels_are_parts_of_their_pair(nested_recorder, backend):
    X, y = trajectories()
    mot = MultiLevelOT(MultiLevelOT(cost_cv=2), cost_cv=2, n_jobs=2)
    watched = clone(mot).set_callbacks(nested_recorder)
    with joblib.parallel_config(backend):
        watched.fit(X, y)
    assert_each_task_ends(nested_recorder)
    # Three of these are pairs of all stimuli and of both folds.
    assert len(nested_recorder.told("end", depth=1)) == 3 * 2 * 3
    assert len(nested_recorder.told("end", depth=2)) == 3 * 2 * 3 * N_PAIRS * 3
    assert {told["total"] for told in nested_recorder.told(depth=1)} == {N_PAIRS * 3}
    assert_same_fit(watched, mot.fit(X, y))


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_a_callback_that_is_not_passed_on_is_told_of_the_outer_pairs(recorder, backend):
    X, y = trajectories()
    mot = MultiLevelOT(MultiLevelOT(), n_jobs=2).set_callbacks(recorder)
    with joblib.parallel_config(backend):
        mot.fit(X, y)
    assert len(assert_each_task_ends(recorder)) == 1 + 3 * 2
    # It need not reach other processes.
    assert {told["process"] for told in recorder.told()} == {os.getpid()}


def test_nested_levels_found_in_memory_count_as_pairs(nested_recorder, tmp_path):
    X, y = trajectories()
    mot = MultiLevelOT(MultiLevelOT(), memory=str(tmp_path / "pairs")).fit(X, y)
    assert_same_fit(mot, clone(mot).set_callbacks(nested_recorder).fit(X, y))
    assert len(assert_each_task_ends(nested_recorder)) == 1 + 3 * 2


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_inner_pipelines_are_passed_the_callbacks(nested_recorder, n_jobs):
    X, y = random_networks((4, 3), (3, 4))
    inner = TransformedTargetLayers(
        SoftMatching(), LayerwiseTransformer(StandardScaler())
    )
    MultiLevelOT(inner, n_jobs=n_jobs).set_callbacks(nested_recorder).fit(X, y)
    assert_each_task_ends(nested_recorder)
    assert Counter(nested_recorder.names(depth=2)) == {"fit": 2 * 4}


def test_foreign_estimators_without_callbacks_are_tasks_of_the_level(nested_recorder):
    X, y = random_networks()
    MultiLevelOT(Witness()).set_callbacks(nested_recorder).fit(X, y)
    assert len(assert_each_task_ends(nested_recorder)) == 1 + N_PAIRS


@pytest.mark.parametrize("inner", [SoftMatching(), MultiLevelOT()], ids=str)
def test_callbacks_of_an_inner_estimator_are_an_error_that_says_where_to_set_them(
    recorder, inner
):
    X, y = trajectories()
    with pytest.raises(TypeError, match="Set them on the outermost estimator"):
        MultiLevelOT(clone(inner).set_callbacks(recorder)).fit(X, y)


# -- estimators without parts, and scikit-learn's tools ------------------------------


@pytest.mark.parametrize(
    "estimator", [SoftMatching(), RSA(), LinearPredictivity(random_state=0)], ids=str
)
def test_estimators_of_one_pair_are_a_single_task(recorder, estimator):
    (X, *_), (y, *_) = random_networks()
    watched = clone(estimator).set_callbacks(recorder).fit(X, y)
    assert assert_each_task_ends(recorder) == {(0,)}
    assert watched.cost_ == estimator.fit(X, y).cost_


@pytest.mark.parametrize(
    "transformer",
    [
        UnitSubsampler(fraction=0.9, random_state=0),
        LayerwiseTransformer(StandardScaler()),
    ],
    ids=str,
)
def test_transformers_are_a_single_task(recorder, transformer):
    X, _ = random_networks()
    transformer.set_callbacks(recorder).fit(X)
    assert assert_each_task_ends(recorder) == {(0,)}


def pipeline():
    return make_pipeline(
        LayerwiseTransformer(StandardScaler()),
        UnitSubsampler(fraction=0.9, random_state=0),
        TransformedTargetLayers(
            MultiLevelOT(SoftMatching()), LayerwiseTransformer(StandardScaler())
        ),
    )


def test_pipelines_pass_callbacks_on_to_every_step(nested_recorder):
    X, y = map(LayerStack, random_networks())
    # All warnings are errors: none says that a step does not support callbacks.
    watched = pipeline().set_callbacks(nested_recorder).fit(X, y)
    assert_each_task_ends(nested_recorder)
    assert Counter(nested_recorder.names(depth=1)) == {"fit": 3}
    assert [told["estimator"] for told in nested_recorder.told("end", depth=2)] == [
        "LayerwiseTransformer",
        "MultiLevelOT",
    ]
    assert len(nested_recorder.told("end", depth=3)) == N_PAIRS
    assert watched.score(X, y) == pipeline().fit(X, y).score(X, y)


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_searches_pass_callbacks_on_to_their_candidates(nested_recorder, backend):
    X, y = map(LayerStack, random_networks())
    name = "transformedtargetlayers__regressor__inner__mass"
    search = GridSearchCV(pipeline(), {name: [0.5, 1.0]}, cv=2, n_jobs=2)
    with joblib.parallel_config(backend):
        watched = clone(search).set_callbacks(nested_recorder).fit(X, y)
    pairs = [told for told in nested_recorder.told("end") if "; y," in told["name"]]
    assert len(pairs) == N_PAIRS * (2 * 2 + 1)
    assert len({told["run"] for told in nested_recorder.told()}) == 1
    np.testing.assert_array_equal(
        watched.cv_results_["mean_test_score"],
        search.fit(X, y).cv_results_["mean_test_score"],
    )


@pytest.mark.parametrize(
    ("estimator", "select"),
    [
        (MultiLevelOT(), lambda side: side),
        (SoftMatching(), lambda side: side[0]),
        (SoftMatching(), lambda side: side),
        (MultiLevelOT(), lambda side: dict(zip("abcd", side, strict=False))),
    ],
)
def test_a_callback_that_asks_for_it_gets_the_fitted_estimator(estimator, select):
    X, y = map(select, random_networks())
    monitor = ScoringMonitor(scoring={"correlation": target_score})
    fitted = clone(estimator).set_callbacks(monitor).fit(X, y)
    (row,) = monitor.get_logs().data
    assert row["correlation"] == pytest.approx(fitted.score(X, y), abs=1e-12)


def test_callbacks_go_to_clones_and_through_pickle(recorder):
    X, y = random_networks()
    watched = MultiLevelOT(n_jobs=2).set_callbacks(recorder).fit(X, y)
    assert not {name for name in vars(watched) if "callback" in name} - {
        "_skl_callbacks"
    }
    assert_same_fit(pickle.loads(pickle.dumps(watched)), watched)
    clone(watched).fit(X, y)
    assert len({told["run"] for told in recorder.told()}) == 2
    plain = pickle.dumps(MultiLevelOT(n_jobs=2).fit(X, y))
    assert pickle.dumps(watched.set_callbacks()) == plain


@pytest.mark.parametrize("estimator", [MultiLevelOT(), SoftMatching()], ids=str)
def test_estimators_with_callbacks_pass_the_checks_of_scikit_learn(recorder, estimator):
    check_estimator(estimator.set_callbacks(recorder), on_skip=None)


def test_nothing_is_printed_without_callbacks(capfd):
    X, y = random_networks()
    MultiLevelOT(n_jobs=2, cost_cv=2).fit(X, y)
    pairwise_costs(X, SoftMatching())
    assert capfd.readouterr() == ("", "")


# -- errors ----------------------------------------------------------------------------


class Failing(Recorder):
    """A callback that raises an error at one of the events of one kind."""

    def __init__(self, path, event, error, at=3):
        super().__init__(path)
        self.event, self.error, self.n_left = event, error, at

    def _write(self, event, estimator, context):
        super()._write(event, estimator, context)
        if event == self.event:
            self.n_left -= 1
            if self.n_left == 0:
                raise self.error("enough")


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
# joblib takes the first pairs at once, and later ones in a thread of its own.
@pytest.mark.parametrize(("event", "at"), [("begin", 3), ("begin", 9), ("end", 3)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_callback_that_fails_leaves_the_estimator_as_usable_as_before(
    tmp_path, backend, event, at, error
):
    X, y = random_networks()
    mot = MultiLevelOT(n_jobs=2)
    plain = clone(mot).fit(X, y)
    failing = Failing(tmp_path / "told", event, error, at)
    mot.set_callbacks(failing)
    with joblib.parallel_config(backend):
        before = set(threading.enumerate())
        with pytest.raises(error, match="enough"):
            mot.fit(X, y)
    if backend != "loky":
        # The executor of loky is reused by later fits.
        assert_no_new_threads(before)
    assert [told["event"] for told in failing.told(depth=0)] == [
        "setup",
        "begin",
        "teardown",
    ]
    assert not {"_callback_fit_ctx", "_parent_callback_ctx"} & set(vars(mot))
    assert_same_fit(mot.fit(X, y), plain)


def assert_no_new_threads(before):
    # The listeners of scikit-learn's own callbacks are daemons, and stay.
    def new():
        return [t for t in threading.enumerate() if t not in before and not t.daemon]

    deadline = time.monotonic() + 10
    while new() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert new() == []


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_nested_fit_that_fails_leaves_nothing_behind(nested_recorder, n_jobs):
    X, y = trajectories()
    mot = MultiLevelOT(MultiLevelOT(), n_jobs=n_jobs).set_callbacks(nested_recorder)
    X[1] = [*X[1][:2], np.full((60, 4), np.nan)]
    with pytest.raises(ValueError, match="NaN"):
        mot.fit(X, y)
    mot.fit(*trajectories())
    assert set(vars(mot)) == set(vars(clone(mot).fit(*trajectories())))


# -- functions -------------------------------------------------------------------------


def networks():
    sources, targets = trajectories(2, 2)
    return {f"s{i}": x for i, x in enumerate(sources)}, {"t": targets[0]}


def run_compare(n_jobs, callbacks):
    methods = {
        "plan": MultiLevelOT(),
        "best": MultiLevelOT(strategy="single_best"),
        "soft": SoftMatching(),
    }
    found = compare(
        *networks(),
        methods,
        cv=2,
        n_bootstrap=5,
        random_state=0,
        verbose=False,
        n_jobs=n_jobs,
        callbacks=callbacks,
    )
    scores = [row["score"] for row in found.rows]
    return [scores, *(row["mean"] for row in found.summary())]


def run_control(**options):
    def run(n_jobs, callbacks):
        X, y = random_networks()
        options_now = {"cv": 3, "n_permutations": 6, "n_pilot": 4, **options}
        found = permutation_control(
            MultiLevelOT(),
            X,
            y,
            random_state=0,
            n_jobs=n_jobs,
            callbacks=callbacks,
            **options_now,
        )
        return [found.scores, found.null_scores, found.p_value]

    return run


def run_hierarchy(n_jobs, callbacks):
    X, y = random_networks()
    found = hierarchy_test(
        MultiLevelOT(),
        X,
        y,
        n_permutations=6,
        random_state=0,
        n_jobs=n_jobs,
        callbacks=callbacks,
    )
    return [found.slope, found.null_slopes, found.p_value]


def run_stability(n_jobs, callbacks):
    X, y = random_networks()
    found = coupling_stability(
        MultiLevelOT(),
        X,
        y,
        n_resamples=6,
        random_state=0,
        n_jobs=n_jobs,
        callbacks=callbacks,
    )
    return [found.costs, found.mean_coupling, found.interval]


def run_joint(n_jobs, callbacks):
    found = joint_permutation_test(
        SoftMatching(),
        *networks(),
        n_permutations=6,
        random_state=0,
        n_jobs=n_jobs,
        callbacks=callbacks,
    )
    return [found.null_effects, found.pair_values, found.p_value]


def run_pairwise(estimator, **options):
    def run(n_jobs, callbacks):
        sources, targets = networks()
        return [
            pairwise_costs(
                {**sources, **targets},
                estimator,
                n_jobs=n_jobs,
                callbacks=callbacks,
                **options,
            ).costs
        ]

    return run


FUNCTIONS = {
    # Two networks and two splits; two of the three methods share a fit.
    "compare": (run_compare, 2 * 2 * 2, 0),
    # The fits to the given rows are one task, with a part for each of three splits.
    "permutation_control pilot": (run_control(), 1 + 4, 3),
    "permutation_control no pilot": (run_control(n_pilot=0), 1, 3),
    "permutation_control time": (run_control(cv=TimeSeriesSplit(2)), 1, 2),
    "permutation_control refit": (run_control(refit=True), 1 + 6, 3),
    "permutation_control cost": (run_control(statistic="cost"), 1 + 6, 0),
    "permutation_control layers": (run_control(control="layers"), 3, 0),
    "permutation_control both scales": (run_control(control="basis"), 1 + 6, 2 * 3),
    "permutation_control one scale": (
        run_control(control="basis", scale="raw"),
        1 + 6,
        3,
    ),
    "hierarchy_test": (run_hierarchy, 1 + 6, 0),
    "coupling_stability": (run_stability, 1 + 6, 0),
    "joint_permutation_test": (run_joint, 2 * (1 + 6), 0),
    # Three networks, also with themselves.
    "pairwise_costs": (run_pairwise(MultiLevelOT()), 9, 0),
    "pairwise_costs foreign": (run_pairwise(pipeline()), 9, 0),
    # Permutations are a part of the task of each pair and split.
    "pairwise_costs held out": (
        run_pairwise(MultiLevelOT(), cv=2, n_permutations=2),
        2 * 9,
        0,
    ),
}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings(
    "ignore:The p-value", "ignore:.*cannot be below", "ignore:.*no p-value"
)
def test_functions_tell_of_each_fit_and_return_the_same_numbers(
    nested_recorder, n_jobs, name
):
    run, n_tasks, n_parts = FUNCTIONS[name]
    with joblib.parallel_config("threading"):
        found = run(n_jobs, nested_recorder)
    assert len(assert_each_task_ends(nested_recorder)) == 1 + n_tasks + n_parts
    (root,) = nested_recorder.told("begin", depth=0)
    assert (root["estimator"], root["total"]) == (name.split()[0], n_tasks)
    assert len(set(nested_recorder.names("begin"))) == n_tasks
    for one, other in zip(found, run(None, None), strict=True):
        np.testing.assert_array_equal(one, other)


def test_functions_take_several_callbacks_and_refuse_what_is_none(tmp_path):
    recorders = [Recorder(tmp_path / name) for name in "ab"]
    run_stability(None, recorders)
    first, second = ([told["path"] for told in each.told()] for each in recorders)
    assert first == second
    with pytest.raises(TypeError, match="FitCallback protocol"):
        run_stability(None, [print])


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("run", [run_stability, run_pairwise(SoftMatching())])
def test_functions_end_callbacks_that_fail(tmp_path, run, n_jobs):
    failing = Failing(tmp_path / "told", "end", KeyboardInterrupt)
    with (
        joblib.parallel_config("threading"),
        pytest.raises(KeyboardInterrupt, match="enough"),
    ):
        run(n_jobs, failing)
    assert [told["event"] for told in failing.told(depth=0)] == [
        "setup",
        "begin",
        "teardown",
    ]


def test_pairwise_costs_calls_the_callbacks_of_the_estimator_in_its_fits(recorder):
    run, *_ = FUNCTIONS["pairwise_costs"]
    watched = run_pairwise(MultiLevelOT().set_callbacks(recorder))(None, None)
    np.testing.assert_array_equal(watched[0], run(None, None)[0])
    assert len({told["run"] for told in recorder.told()}) == 9


# -- scikit-learn's progress bar -------------------------------------------------------


@pytest.fixture
def progress_bar():
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    return ProgressBar()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_progress_bar_reaches_its_end(capsys, progress_bar, n_jobs):
    X, y = random_networks()
    before = set(threading.enumerate())
    mot = MultiLevelOT(cost_cv=2, n_jobs=n_jobs).set_callbacks(progress_bar).fit(X, y)
    shown = capsys.readouterr().out
    assert "MultiLevelOT - fit" in shown
    assert "100%" in shown
    assert_no_new_threads(before)
    assert_same_fit(mot, MultiLevelOT(cost_cv=2).fit(X, y))


def test_the_progress_bar_shows_functions_and_searches(capsys, progress_bar):
    X, y = map(LayerStack, random_networks())
    run_stability(2, progress_bar)
    assert "coupling_stability" in capsys.readouterr().out
    search = GridSearchCV(MultiLevelOT(), {"strategy": ["transport"]}, cv=2, n_jobs=2)
    search.set_callbacks(progress_bar).fit(X, y)
    assert "MultiLevelOT - fit" in capsys.readouterr().out
