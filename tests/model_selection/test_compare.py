import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import (
    CKA,
    RSA,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    SoftMatching,
)
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import hierarchy_score
from skmot.model_selection import StimulusKFold, compare, permutation_control
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.model_selection.common import stacks
from tests.model_selection.methods import (
    METHODS,
    QUICK,
    ForwardOnly,
    many_networks,
    networks_to_compare,
    wide_pair,
)
from tests.networks import random_networks


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_rows_are_those_of_loops(n_jobs):
    sources, targets = networks_to_compare()
    cv = KFold(3, shuffle=True, random_state=0)
    comparison = compare(
        sources, targets, METHODS, cv, n_jobs=n_jobs, n_bootstrap=5, verbose=False
    )
    expected = {}
    splits = list(cv.split(np.zeros(60)))
    for s, t, m in itertools.product(sources, targets, METHODS):
        X, y = LayerStack(sources[s]), LayerStack(targets[t])
        for number, (train, test) in enumerate(splits):
            fitted = clone(METHODS[m]).fit(X[train], y[train])
            if m == "cost":
                expected[s, t, m, "cost", number, None] = fitted.cost_
                continue
            X_test = X[test]
            if m == "piped":
                X_test, fitted = fitted[:-1].transform(X_test), fitted[-1]
            if m == "forward":
                fitted = fitted.inner_
            for direction in ("target", "source"):
                if (m, direction) == ("forward", "source"):
                    continue
                names = (X if direction == "source" else y).names
                scores = fitted.layer_scores(X_test, y[test], direction)
                for layer, score in enumerate(scores):
                    label = layer if names is None else names[layer]
                    expected[s, t, m, direction, number, label] = score
    columns = ["source", "target", "method", "direction", "split", "layer"]
    found = {tuple(row[c] for c in columns): row["score"] for row in comparison.rows}
    assert len(found) == len(comparison.rows)
    assert found == pytest.approx(expected)
    assert all(row["seconds"] > 0 for row in comparison.rows)


def test_folds_that_can_be_read_only_once_serve_every_method_and_pair():
    sources, targets = networks_to_compare()
    folds = list(KFold(3).split(np.zeros(60)))
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    found, expected = (
        compare(sources, targets, methods, cv, n_bootstrap=5, verbose=False)
        for cv in (iter(folds), folds)
    )
    # Splits, methods, pairs, and the layers of both sides.
    assert len(found.rows) == 3 * 2 * 4 * (3 + 4)
    assert [row["score"] for row in found.rows] == [
        row["score"] for row in expected.rows
    ]
    with pytest.raises(ValueError, match="`cv` makes no split"):
        compare(sources, targets, methods, iter([]), verbose=False)


def test_the_cost_is_told_before(capsys):
    X, y = stacks()
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    compare({"a": X, "b": X}, {"c": y}, methods, 3, n_bootstrap=5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 method(s) x 2 pair(s) x 3 split(s) = 12 fits"
    assert "s more" in lines[1]
    assert len(lines) == 2
    compare({"a": X}, {"c": y}, methods, 3, n_bootstrap=5, verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_warnings_of_fits_come_once_wherever_they_ran(n_jobs):
    X, y = random_networks()
    X[0][:, 2] = 1.0
    with pytest.warns(DeadUnitWarning, match=r"1 unit\(s\) of X.*6 time") as caught:
        compare(
            {"a": X},
            {"b": y},
            {"mot": MultiLevelOT(), "soft": SoftMatching()},
            3,
            n_jobs=n_jobs,
            n_bootstrap=5,
            verbose=False,
        )
    assert len(caught) == 1
    assert "method 'mot', source 'a', target 'b', split 0" in str(caught[0].message)
    assert caught[0].filename == __file__


def scores_by_direction(comparison):
    found = {}
    for row in comparison.rows:
        found.setdefault(row["direction"], []).append(row["score"])
    return found


@pytest.mark.parametrize("piped", [False, True])
def test_searches_are_compared_by_their_best_estimator(piped):
    X, y = stacks()
    search = GridSearchCV(MultiLevelOT(), {"strategy": ["transport"]}, cv=2)
    method, plain = search, MultiLevelOT()
    if piped:
        scaler = LayerwiseTransformer(StandardScaler())
        method, plain = make_pipeline(scaler, search), make_pipeline(scaler, plain)
    found, expected = (
        scores_by_direction(
            compare({"a": X}, {"b": y}, {"m": m}, 2, n_bootstrap=5, verbose=False)
        )
        for m in (method, plain)
    )
    assert set(found) == set(expected) == {"target", "source"}
    for direction in expected:
        assert found[direction] == pytest.approx(expected[direction])


def test_a_method_without_rows_is_refused():
    X, y = stacks()
    with pytest.raises(ValueError, match="Method 'forward' has no `inverse_predict`"):
        compare(
            {"a": X},
            {"b": y},
            {"forward": ForwardOnly()},
            2,
            directions=("source",),
            verbose=False,
        )


class Draw(BaseEstimator):
    """A method that shows its seeds."""

    def __init__(self, inner=None, random_state=None):
        self.inner = inner
        self.random_state = random_state

    def fit(self, X, y):
        self.cost_ = self.random_state
        if self.inner is not None:
            self.cost_ = self.inner.random_state
        return self


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_each_fit_has_a_seed_of_its_own(n_jobs):
    X, y = stacks()
    methods = {"plain": Draw(), "nested": Draw(Draw()), "fixed": Draw(random_state=7)}

    def seeds(random_state):
        comparison = compare(
            {"a": X, "b": X},
            {"c": y},
            methods,
            3,
            n_jobs=n_jobs,
            n_bootstrap=5,
            random_state=random_state,
            verbose=False,
        )
        return {
            name: [row["score"] for row in comparison.rows if row["method"] == name]
            for name in methods
        }

    first = seeds(0)
    assert len({*first["plain"], *first["nested"]}) == 12
    assert first["fixed"] == [7] * 6
    assert seeds(0) == first
    assert seeds(1)["plain"] != first["plain"]
    assert methods["plain"].random_state is None


def test_a_permuted_coupling_is_reproducible():
    X, y = stacks(source_widths=(5, 6, 7, 8), target_widths=(5, 6, 7, 8))
    methods = {"permuted": MultiLevelOT(strategy="permuted")}
    first, second = (
        scores_by_direction(
            compare(
                {"a": X},
                {"b": y},
                methods,
                4,
                n_bootstrap=5,
                random_state=0,
                verbose=False,
            )
        )
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    "transformer",
    [
        UnitSubsampler(0.5, random_state=0),
        LayerwiseTransformer(PCA(n_components=2, random_state=0)),
    ],
    ids=["subsampler", "pca"],
)
def test_a_transformed_target_is_scored_in_its_own_space(transformer):
    X, y = stacks()
    method = TransformedTargetLayers(MultiLevelOT(), transformer)
    found = scores_by_direction(
        compare({"a": X}, {"b": y}, {"m": method}, 2, n_bootstrap=5, verbose=False)
    )
    for direction in ("target", "source"):
        expected = np.concatenate(
            [
                method.fit(X[train], y[train]).layer_scores(X[test], y[test], direction)
                for train, test in KFold(2).split(X)
            ]
        )
        np.testing.assert_allclose(found[direction], expected, atol=1e-12)


class Narrow(ForwardOnly):
    """A method that leaves out the last unit of each layer."""

    def predict(self, X):
        return [layer[:, :-1] for layer in super().predict(X).layers]


def test_predictions_of_another_width_are_refused():
    X, y = stacks()
    width = y.widths[0]
    with pytest.raises(
        ValueError, match=rf"{width - 1} unit\(s\) of y, layer 0, which has {width}"
    ):
        compare({"a": X}, {"b": y}, {"narrow": Narrow()}, 2, verbose=False)


def test_bad_comparisons_are_refused():
    X, y = stacks()
    soft = {"soft": SoftMatching()}
    with pytest.raises(ValueError, match="`sources` is empty"):
        compare({}, {"b": y}, soft, 3)
    with pytest.raises(ValueError, match="`methods` is empty"):
        compare({"a": X}, {"b": y}, {}, 3)
    with pytest.raises(ValueError, match="'sources' parameter"):
        compare(X, {"b": y}, soft, 3)
    with pytest.raises(ValueError, match="`directions` must be"):
        compare({"a": X}, {"b": y}, soft, 3, directions=["both"])
    with pytest.raises(ValueError, match=r"sources\['a'\] has 60 .*targets\['b'\]"):
        compare({"a": X}, {"b": y[:59]}, soft, 3)
    with pytest.raises(ValueError, match=r"row 0 is .* in sources\['a'\]"):
        compare(
            {"a": LayerStack(X, stimuli=np.arange(60))},
            {"b": LayerStack(y, stimuli=np.arange(60)[::-1])},
            soft,
            3,
        )
    with pytest.raises(ValueError, match="both in training and held"):
        compare({"a": X}, {"b": y}, soft, KFold(7), np.arange(60) // 2)
    with pytest.raises(TypeError, match="learned no `cost_`"):
        compare({"a": X}, {"b": y}, {"scaler": StandardScaler()}, 3, verbose=False)
    broken = LayerStack([np.full((60, 2), np.nan)])
    with pytest.raises(ValueError, match="NaN") as raised:
        compare({"a": X, "n": broken}, {"b": y}, soft, 3, verbose=False)
    assert "method 'soft', source 'n'" in raised.value.__notes__[0]


# -- rows that repeat a stimulus, units that differ ------------------------------------


def repeated(seed):
    """A subject that was shown every image three times, and shares nothing."""
    rng = np.random.default_rng(seed)
    signal = np.repeat(rng.normal(size=(60, 20)), 3, axis=0)
    trials = signal + 0.7 * rng.normal(size=signal.shape)
    return LayerStack({"V1": trials}, stimuli=np.repeat(np.arange(60), 3))


def test_labels_that_repeat_are_groups():
    X, y = repeated(0), repeated(1)
    settings = {"n_bootstrap": 20, "random_state": 0, "verbose": False}
    method = {"ridge": LinearPredictivity(random_state=0)}
    with pytest.raises(ValueError, match="both in training and held out"):
        compare({"a": X}, {"b": y}, method, KFold(5, shuffle=True), **settings)
    with pytest.raises(ValueError, match="both in training and held out"):
        permutation_control(
            SoftMatching(), X, y, control="stimuli", cv=KFold(5, shuffle=True)
        )
    found = compare({"a": X}, {"b": y}, method, 5, **settings).summary()
    # Repeats on both sides of a split gave .4.
    assert abs(found[0]["mean"]) < 0.15
    folds = StimulusKFold(3).split(X)
    for train, test in folds:
        assert not set(X.stimuli[train]) & set(X.stimuli[test])


@pytest.mark.parametrize("labelled", ["source", "target"])
def test_labels_of_one_side_are_enough_to_find_torn_repeats(labelled):
    X, y = repeated(2), repeated(3)
    if labelled == "source":
        y = y.with_stimuli(None)
    else:
        X = X.with_stimuli(None)
    # Every third row is held out, a trial of each image.
    folds = [(np.flatnonzero(np.arange(180) % 3), np.arange(0, 180, 3))]
    with pytest.raises(ValueError, match=r"60 group\(s\), .*both in training and held"):
        compare({"a": X}, {"b": y}, {"soft": SoftMatching()}, folds, verbose=False)
    for control in ("stimuli", "basis"):
        with pytest.raises(ValueError, match="both in training and held out"):
            permutation_control(SoftMatching(), X, y, control=control, cv=folds)


@pytest.mark.parametrize("inner", [RSA(), CKA()])
def test_costs_of_comparisons_are_read_on_held_out_rows(inner):
    X, y = wide_pair()
    comparison = compare(
        {"a": X}, {"b": y}, {"cost": inner}, cv=KFold(3), random_state=0, verbose=False
    )
    for row, (train, test) in zip(
        comparison.rows, KFold(3).split(np.arange(120)), strict=True
    ):
        expected = clone(inner).fit(X[train], y[train]).held_out_cost(X[test], y[test])
        assert row["score"] == pytest.approx(expected)
        assert row["direction"] == "cost"


# -- pairs, and comparisons that are joined --------------------------------------------


def compared(comparison):
    return list(dict.fromkeys((r["source"], r["target"]) for r in comparison.rows))


def test_one_set_of_networks_is_compared_pair_by_pair():
    networks, soft = many_networks(), {"soft": SoftMatching()}
    found = compare(networks, None, soft, 2, **QUICK)
    assert compared(found) == list(itertools.combinations("abcd", 2))
    alone = compare({"b": networks["b"]}, {"d": networks["d"]}, soft, 2, **QUICK)
    assert [
        row["score"]
        for row in found.rows
        if (row["source"], row["target"]) == ("b", "d")
    ] == [row["score"] for row in alone.rows]
    # Given as both sides, each is a source and a target, but never of itself.
    both = compare(networks, networks, soft, 2, **QUICK)
    assert compared(both) == list(itertools.permutations("abcd", 2))


def test_pairs_can_be_chosen():
    networks, soft = many_networks(), {"soft": SoftMatching()}
    chosen = [("d", "a"), ("a", "b")]
    assert compared(compare(networks, None, soft, 2, pairs=chosen, **QUICK)) == chosen
    one, other = {"a": networks["a"]}, {"b": networks["b"], "c": networks["c"]}
    found = compare(one, other, soft, 2, pairs=[["a", "c"]], **QUICK)
    assert compared(found) == [("a", "c")]
    for pairs, message in (
        ([("a", "z")], r"got \('a', 'z'\)"),
        ([("a", "a")], "a network with itself"),
        ([("a", "b"), ("a", "b")], "twice"),
        ([], "`pairs` is empty"),
        ([("a", "b", "c")], r"got \('a', 'b', 'c'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(networks, None, soft, 2, pairs=pairs, **QUICK)
    with pytest.raises(ValueError, match="There is no pair"):
        compare(one, None, soft, 2, **QUICK)


# -- what is kept of the fits ----------------------------------------------------------


def test_nothing_is_kept_unless_asked_for():
    X, y = stacks()
    comparison = compare({"a": X}, {"b": y}, {"mot": MultiLevelOT()}, 2, **QUICK)
    assert comparison.kept == []


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_couplings_hierarchy_and_unit_scores_are_kept_for_each_split(n_jobs):
    X, y = stacks()
    methods = {
        "mot": MultiLevelOT(),
        "piped": make_pipeline(LayerwiseTransformer(StandardScaler()), MultiLevelOT()),
        "best": MultiLevelOT(strategy="pairwise_best"),
    }
    keep = ["couplings", "hierarchy_scores", "unit_scores"]
    comparison = compare(
        {"a": X}, {"b": y}, methods, 3, keep=keep, n_jobs=n_jobs, **QUICK
    )
    splits = list(KFold(3).split(X))
    assert [(kept["split"], kept["method"]) for kept in comparison.kept] == list(
        itertools.product(range(3), methods)
    )
    for kept in comparison.kept:
        assert (kept["source"], kept["target"]) == ("a", "b")
        train, test = splits[kept["split"]]
        mot = clone(methods["best" if kept["method"] == "best" else "mot"])
        mot.fit(X[train], y[train])
        np.testing.assert_allclose(kept["coupling"], mot.coupling_)
        np.testing.assert_allclose(kept["inverse_coupling"], mot.inverse_coupling_)
        assert kept["hierarchy_score"] == pytest.approx(hierarchy_score(mot.coupling_))
        assert kept["adjusted_hierarchy_score"] == pytest.approx(
            hierarchy_score(mot.coupling_, adjusted=True)
        )
        for direction, truth, predicted in (
            ("target", y[test], mot.predict(X[test])),
            ("source", X[test], mot.inverse_predict(y[test])),
        ):
            scores = kept["unit_scores"][direction]
            assert [len(layer) for layer in scores] == list(truth.widths)
            for layer, *columns in zip(
                scores, truth.layers, predicted.layers, strict=True
            ):
                for unit, score in enumerate(layer):
                    r = np.corrcoef(columns[0][:, unit], columns[1][:, unit])[0, 1]
                    assert score == pytest.approx(r)


def test_what_a_method_does_not_have_is_not_kept():
    X, y = stacks()
    keep = ["couplings", "hierarchy_scores", "unit_scores"]
    comparison = compare({"a": X}, {"b": y}, METHODS, 2, keep=keep, **QUICK)
    kept = {row["method"]: row for row in comparison.kept}
    for method in ("forward", "cost"):
        assert kept[method]["coupling"] is None
        assert np.isnan(kept[method]["hierarchy_score"])
    # A coupling of units is no coupling of layers.
    assert kept["piped"]["coupling"].shape == (X.shape[1], y.shape[1])
    assert np.isnan(kept["piped"]["adjusted_hierarchy_score"])
    assert kept["cost"]["unit_scores"] == {}
    assert list(kept["forward"]["unit_scores"]) == ["target"]


def test_one_layer_has_no_adjusted_hierarchy_score():
    X, y = stacks()
    comparison = compare(
        {"a": LayerStack(X.layers[:1])},
        {"b": y},
        {"mot": MultiLevelOT()},
        2,
        keep=["hierarchy_scores"],
        **QUICK,
    )
    for kept in comparison.kept:
        assert np.isfinite(kept["hierarchy_score"])
        assert np.isnan(kept["adjusted_hierarchy_score"])
        assert "coupling" not in kept


def test_units_without_a_score_are_kept_as_missing():
    X, y = random_networks()
    y[0][:20, 1] = 1.0
    comparison = compare(
        {"a": X}, {"b": y}, {"mot": MultiLevelOT()}, 3, keep=["unit_scores"], **QUICK
    )
    first = comparison.kept[0]["unit_scores"]["target"]
    assert np.flatnonzero(np.isnan(first[0])).tolist() == [1]
    row = comparison.rows[0]
    assert row["score"] == pytest.approx(np.nanmean(first[0]))
    assert row["n_units"] == y[0].shape[1] - 1


@pytest.mark.parametrize("keep", ["couplings", ["plans"]])
def test_unknown_things_are_not_kept(keep):
    X, y = stacks()
    with pytest.raises(ValueError, match=r"`keep` must be|'keep' parameter"):
        compare({"a": X}, {"b": y}, {"mot": MultiLevelOT()}, 2, keep=keep)


# -- methods that share a fit ----------------------------------------------------------


class CountedMatching(SoftMatching):
    """Adds one to `n_solves` a pair of layers."""

    n_solves = 0

    def _solve(self, source, target):
        CountedMatching.n_solves += 1
        return super()._solve(source, target)


class CountedRegression(LinearPredictivity):
    n_solves = 0

    def _solve(self, source, target):
        CountedRegression.n_solves += 1
        return super()._solve(source, target)


class AloneMOT(MultiLevelOT):
    """A subclass, which shares no fit."""


class AloneMOTRotation(MultiLevelOTRotation):
    """A subclass, which shares no fit."""


STRATEGIES = ("transport", "single_best", "pairwise_best", "permuted", "uniform")
SCALED = LayerwiseTransformer(StandardScaler())
WRAPPED = {
    "plain": lambda mot: mot,
    "pipeline": lambda mot: make_pipeline(UnitSubsampler(0.8, random_state=0), mot),
    "target": lambda mot: TransformedTargetLayers(mot, SCALED),
    "both": lambda mot: make_pipeline(SCALED, TransformedTargetLayers(mot, SCALED)),
}


def without_seconds(comparison):
    return [
        {key: value for key, value in row.items() if key != "seconds"}
        for row in comparison.rows
    ]


@pytest.mark.parametrize(
    ("kinds", "settings", "wrapped", "n_jobs"),
    [
        *(((MultiLevelOT, AloneMOT), {}, wrapped, None) for wrapped in WRAPPED),
        ((MultiLevelOT, AloneMOT), {}, "both", 2),
        ((MultiLevelOT, AloneMOT), {"inner": CKA(), "cost_cv": 2}, "target", None),
        ((MultiLevelOT, AloneMOT), {"inner": MultiLevelOT()}, "plain", None),
        (
            (MultiLevelOTRotation, AloneMOTRotation),
            {"max_iter": 2, "tol": 1.0},
            "pipeline",
            None,
        ),
    ],
)
def test_strategies_that_share_a_fit_score_as_separate_fits(
    kinds, settings, wrapped, n_jobs
):
    X, y = random_networks((4, 6), (5, 3, 4), n_stimuli=30)
    # A dead unit in the training rows of one split, and a layer in float32.
    X[0][:15, 1] = 2.0
    y[1] = y[1].astype(np.float32)
    sides = [LayerStack(side) for side in (X, y)]
    if isinstance(settings.get("inner"), MultiLevelOT):
        sides = [LayerStack({"p": side, "q": side}) for side in sides]

    def run(kind):
        methods = {
            strategy: WRAPPED[wrapped](kind(strategy=strategy, **settings))
            for strategy in STRATEGIES
        }
        return compare(
            {"a": sides[0]},
            {"b": sides[1]},
            methods,
            2,
            keep=["couplings", "unit_scores"],
            n_jobs=n_jobs,
            **QUICK,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadUnitWarning)
        found, expected = (run(kind) for kind in kinds)
    assert without_seconds(found) == without_seconds(expected)
    for kept, other in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_equal(kept, other)
    if found.rows[0]["direction"] != "cost":
        intervals = [
            [
                (row["direction"], row["low"], row["high"])
                for row in comparison.differences("transport", "stimuli")
            ]
            for comparison in (found, expected)
        ]
        assert intervals[0] == intervals[1]
        assert len(intervals[0]) == 2 * len(STRATEGIES[1:])
    assert all(row["seconds"] > 0 for row in found.rows)


def solves_of(kind, methods):
    """Return how often each pair of layers is fitted, in each split."""
    X, y = stacks(source_widths=(4, 5), target_widths=(5, 4))
    kind.n_solves = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*validation stimuli")
        compare({"a": X}, {"b": y}, methods, 2, **QUICK)
    return kind.n_solves / (2 * X.n_layers * y.n_layers)


def test_pairs_of_layers_are_fitted_once_for_all_strategies():
    def methods(wrap, **settings):
        return {
            strategy: wrap(MultiLevelOT(CountedMatching(), strategy, **settings))
            for strategy in STRATEGIES
        }

    for wrap in WRAPPED.values():
        assert solves_of(CountedMatching, methods(wrap)) == 1
    assert solves_of(CountedMatching, methods(WRAPPED["plain"], cost_cv=3)) == 4
    two = {
        **methods(WRAPPED["plain"]),
        "raw": MultiLevelOT(CountedMatching(reconstruct="raw")),
    }
    assert solves_of(CountedMatching, two) == 2


def test_depth_priors_share_a_fit_and_score_as_separate_fits():
    X, y = stacks(source_widths=(4, 5, 6), target_widths=(5, 4, 3))
    X = LayerStack(X.layers[::-1])
    weights = {"none": 0.0, "some": 0.4, "much": 5.0}

    def methods(kind):
        return {
            name: kind(CountedMatching(), depth_prior=weight)
            for name, weight in weights.items()
        }

    assert solves_of(CountedMatching, methods(MultiLevelOT)) == 1
    found, expected = (
        compare({"a": X}, {"b": y}, methods(kind), 2, keep=["couplings"], **QUICK)
        for kind in (MultiLevelOT, AloneMOT)
    )
    assert without_seconds(found) == without_seconds(expected)
    for kept, other in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_equal(kept, other)
    of_first = {kept["method"]: kept["coupling"] for kept in found.kept}
    assert not np.allclose(of_first["none"], of_first["much"])


def test_hierarchy_scores_of_a_depth_prior_are_warned_of():
    X, y = stacks(source_widths=(4, 5, 6), target_widths=(5, 4, 3))
    methods = {"none": MultiLevelOT(), "prior": MultiLevelOT(depth_prior=0.4)}
    with pytest.warns(UserWarning, match=r"circular.*\(method 'prior'") as caught:
        compare({"a": X}, {"b": y}, methods, 2, keep=["hierarchy_scores"], **QUICK)
    assert len(caught) == 1


def local_matching(factor):
    class Matching(CountedMatching):
        def _solve(self, source, target):
            solution = super()._solve(source, target)
            return replace(solution, cost=factor * solution.cost)

    return Matching()


def test_methods_that_may_differ_share_no_fit():
    def methods(*mots):
        return dict(enumerate(mots))

    def random_step(strategy):
        mot = MultiLevelOT(CountedMatching(), strategy)
        return make_pipeline(UnitSubsampler(0.8), mot)

    # What draws at random gets a different seed for each method.
    strategies = STRATEGIES[:2]
    drawn = methods(*(MultiLevelOT(CountedRegression(), s) for s in strategies))
    assert solves_of(CountedRegression, drawn) == 2
    seeded = methods(
        *(MultiLevelOT(CountedRegression(random_state=0), s) for s in strategies)
    )
    assert solves_of(CountedRegression, seeded) == 1
    steps = methods(*map(random_step, strategies))
    assert solves_of(CountedMatching, steps) == 2
    # Classes of the same name.
    local = methods(*(MultiLevelOT(local_matching(factor)) for factor in (1, 2)))
    assert solves_of(CountedMatching, local) == 2
    folds = KFold(2, shuffle=True)
    shuffled = methods(
        *(MultiLevelOT(CountedMatching(), s, cost_cv=folds) for s in strategies)
    )
    assert solves_of(CountedMatching, shuffled) == 6


def test_a_shared_fit_is_told_and_each_method_warns(capsys):
    X, y = random_networks()
    X[0][:, 2] = 1.0
    methods = {strategy: MultiLevelOT(strategy=strategy) for strategy in STRATEGIES}
    with pytest.warns(DeadUnitWarning, match=r"X \(layer 0\).*15 time") as caught:
        compare({"a": X}, {"b": y}, methods, 3, n_bootstrap=5)
    assert len(caught) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith("= 15 fits, 12 of which only couple layers again")


def test_errors_of_a_shared_fit_name_the_method():
    X, y = stacks()
    methods = {"good": MultiLevelOT(), "bad": MultiLevelOT(strategy="best")}
    with pytest.raises(ValueError, match="'strategy' parameter") as raised:
        compare({"a": X}, {"b": y}, methods, 2, **QUICK)
    # scikit-learn's validation of `compare` has raised the error again.
    assert "method 'bad', source 'a'" in raised.value.__cause__.__notes__[0]


# -- resamples -------------------------------------------------------------------------


@pytest.mark.parametrize("working_memory", [1024, 1e-3])
def test_resampled_scores_do_not_depend_on_the_other_methods(working_memory):
    X, y = stacks()
    # Other units in some methods, of which one side has as many.
    others = {
        f"{side} {seed}": wrap(UnitSubsampler(0.5, random_state=seed))
        for seed in range(2)
        for side, wrap in (
            (
                "target",
                lambda sampler: TransformedTargetLayers(SoftMatching(), sampler),
            ),
            ("source", lambda sampler: make_pipeline(sampler, SoftMatching())),
        )
    }
    first, second = {"mot": MultiLevelOT()}, {"soft": SoftMatching()}

    def intervals(methods):
        with config_context(working_memory=working_memory):
            comparison = compare({"a": X}, {"c": y}, methods, 3, **QUICK)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No difference")
            rows = comparison.differences("soft", "stimuli")
        return [row for row in rows if row["method"] == "mot"]

    assert intervals({**first, **others, **second}) == intervals({**first, **second})


def test_two_held_out_stimuli_and_constant_units_can_be_resampled():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 4)).astype(np.float32)
    y[:, 1] = np.arange(8) % 4 == 0
    methods = {"raw": SoftMatching(reconstruct="raw"), "soft": SoftMatching()}
    splits = [(np.arange(6), np.array([6, 7]))]
    comparison = compare(
        {"a": X}, {"b": y}, methods, splits, directions=["target"], **QUICK
    )
    row = comparison.differences("soft", "stimuli")[0]
    drawn = np.random.RandomState(0).multinomial(8, np.full(8, 1 / 8), 20)[:, 6:]
    # A score needs both stimuli.
    assert row["n_bootstrap"] == np.count_nonzero(drawn.all(axis=1)) > 0
