import itertools

import numpy as np
import pytest
from scipy.stats import binom
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
    SoftMatching,
)
from skmot.exceptions import DeadUnitWarning
from skmot.model_selection import StimulusKFold, compare, permutation_control
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.model_selection.common import FALSE_ALARM, ONE_SPLIT, stacks
from tests.networks import random_networks


class CostOnly(BaseEstimator):
    """A method without a map."""

    def fit(self, X, y):
        self.cost_ = abs(float(np.asarray(X).mean() - np.asarray(y).mean()))
        return self


class ForwardOnly(BaseEstimator):
    """A method without an inverse."""

    def fit(self, X, y):
        self.inner_ = SoftMatching().fit(X, y)
        return self

    def predict(self, X):
        return self.inner_.predict(X)


METHODS = {
    "mot": MultiLevelOT(),
    "piped": make_pipeline(LayerwiseTransformer(StandardScaler()), SoftMatching()),
    "forward": ForwardOnly(),
    "cost": CostOnly(),
}


def networks_to_compare():
    first, second = random_networks(), random_networks(seed=1)
    return (
        {"a": LayerStack(first[0], names=["x", "y", "z"]), "b": second[0]},
        {"c": first[1], "d": second[1]},
    )


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


def test_rows_make_a_frame():
    sources, targets = networks_to_compare()
    comparison = compare(sources, targets, METHODS, 2, n_bootstrap=5, verbose=False)
    frame = comparison.to_frame()
    assert list(frame.columns) == [
        *("source", "target", "method", "direction", "split", "layer"),
        *("score", "n_units", "seconds"),
    ]
    assert len(frame) == len(comparison.rows)
    # By pandas: over layers, then pairs, then splits.
    scores = frame.groupby(["method", "direction", "source", "target", "split"])
    scores = scores["score"].mean().groupby(["method", "direction", "split"]).mean()
    for row in comparison.summary(by=("method", "direction")):
        own = scores[row["method"], row["direction"]]
        assert row["mean"] == pytest.approx(own.mean())
        assert row["standard_deviation_over_splits"] == pytest.approx(own.std())


def test_summaries_label_deviation_and_error():
    sources, targets = networks_to_compare()
    comparison = compare(
        sources, targets, {"mot": MultiLevelOT()}, 4, n_bootstrap=5, verbose=False
    )
    row = comparison.summary()[0]
    assert (row["source"], row["target"], row["direction"]) == ("a", "c", "target")
    X, y = LayerStack(sources["a"]), LayerStack(targets["c"])
    by_hand = [
        MultiLevelOT().fit(X[train], y[train]).score(X[test], y[test])
        for train, test in KFold(4).split(X)
    ]
    deviation = np.sqrt(np.sum((by_hand - np.mean(by_hand)) ** 2) / 3)
    assert row["mean"] == pytest.approx(np.mean(by_hand))
    assert row["standard_deviation_over_splits"] == pytest.approx(deviation)
    assert row["standard_error_over_splits"] == pytest.approx(deviation / 2)
    assert row["n_splits"] == 4
    by_layer = comparison.summary(by=("source", "direction", "layer"))
    assert {r["layer"] for r in by_layer if r["source"] == "a"} >= {"x", "y", "z"}
    with pytest.raises(ValueError, match="with 'direction'"):
        comparison.summary(by=("method",))


def test_one_split_has_no_deviation():
    X, y = stacks()
    comparison = compare(
        {"a": X}, {"b": y}, {"mot": MultiLevelOT()}, ONE_SPLIT, verbose=False
    )
    assert np.isnan(comparison.summary()[0]["standard_error_over_splits"])


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


@pytest.mark.parametrize("grouped", [False, True])
def test_bootstrap_scores_resampled_stimuli(grouped):
    X, y = stacks()
    y = [np.array(layer) for layer in y.layers]
    # In some resamples these vary not at all.
    y[0][:, 1] = (np.arange(60) % 7 == 0) * 2.0
    y = LayerStack(y)
    groups = np.repeat(np.arange(20), 3) if grouped else None
    cv = StimulusKFold(3) if grouped else KFold(3)
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    comparison = compare(
        {"a": X},
        {"b": y},
        methods,
        cv,
        groups,
        n_bootstrap=50,
        random_state=0,
        verbose=False,
    )
    codes = np.arange(60) if groups is None else groups
    n_groups = codes.max() + 1
    drawn = np.random.RandomState(0).multinomial(
        n_groups, np.full(n_groups, 1 / n_groups), 50
    )
    slow = np.zeros((2, 50))
    for train, test in cv.split(X, groups=groups):
        for number, method in enumerate(methods.values()):
            fitted = clone(method).fit(X[train], y[train])
            for k, counts in enumerate(drawn):
                resample = np.repeat(test, counts[codes[test]])
                slow[number, k] += fitted.score(X[resample], y[resample]) / 3
    low, high = np.quantile(slow[0] - slow[1], [0.05, 0.95])
    row = comparison.differences("soft", confidence_level=0.9)[0]
    means = {row["method"]: row["mean"] for row in reversed(comparison.summary())}
    assert row["method"] == "mot"
    assert row["direction"] == "target"
    assert row["difference"] == pytest.approx(means["mot"] - means["soft"])
    assert row["low"] == pytest.approx(low)
    assert row["high"] == pytest.approx(high)
    assert row["standard_error_over_stimuli"] == pytest.approx(
        np.std(slow[0] - slow[1], ddof=1)
    )
    assert row["n_bootstrap"] == 50


def test_differences_are_of_what_both_methods_have():
    sources, targets = networks_to_compare()
    comparison = compare(sources, targets, METHODS, 2, n_bootstrap=5, verbose=False)
    found = {(row["method"], row["direction"]) for row in comparison.differences("mot")}
    assert found == {("piped", "target"), ("piped", "source"), ("forward", "target")}
    assert comparison.differences("cost") == []
    with pytest.raises(ValueError, match="one of the methods"):
        comparison.differences("other")
    with pytest.raises(ValueError, match="between 0 and 1"):
        comparison.differences("mot", confidence_level=95)


def test_intervals_cover_the_difference():
    rng = np.random.default_rng(0)
    tuning = rng.normal(size=(6, 8))

    def draw(n_rows):
        X = rng.normal(size=(n_rows, 6)) * [4, 1, 1, 1, 1, 1]
        return X, X @ tuning + 2 * rng.normal(size=(n_rows, 8))

    methods = {"plain": SoftMatching(), "raw": SoftMatching(reconstruct="raw")}
    train_X, train_y = draw(40)
    many_X, many_y = draw(50_000)
    truth = np.subtract(
        *(
            method.fit(train_X, train_y).score(many_X, many_y)
            for method in methods.values()
        )
    )
    covered = 0
    for _ in range(100):
        X, y = draw(60)
        comparison = compare(
            {"a": np.vstack([train_X, X])},
            {"b": np.vstack([train_y, y])},
            methods,
            [(np.arange(40), np.arange(40, 100))],
            directions=["target"],
            n_bootstrap=300,
            random_state=0,
            verbose=False,
        )
        row = comparison.differences("raw", confidence_level=0.9)[0]
        covered += row["low"] <= truth <= row["high"]
    # Two-sided: too wide is as wrong as too narrow.
    assert binom.ppf(FALSE_ALARM / 2, 100, 0.9) <= covered
    assert covered <= binom.ppf(1 - FALSE_ALARM / 2, 100, 0.9)


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


def wide_pair():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(120, 7)) * [3, 1, 1, 1, 1, 1, 1]

    def network(width):
        mixed = shared @ rng.normal(size=(7, width))
        return mixed + 3 * rng.normal(size=mixed.shape)

    return (LayerStack([network(n), network(n)]) for n in (30, 25))


def test_differences_are_between_scores_of_the_same_units():
    X, y = wide_pair()
    ridge = MultiLevelOT(LinearPredictivity(random_state=0))
    methods = {
        "ridge": ridge,
        "PCA": make_pipeline(LayerwiseTransformer(PCA(2)), ridge),
        "scaled": make_pipeline(LayerwiseTransformer(StandardScaler()), ridge),
    }
    comparison = compare(
        {"net": X},
        {"brain": y},
        methods,
        cv=3,
        n_bootstrap=50,
        random_state=0,
        verbose=False,
    )
    with pytest.warns(UserWarning, match="the same units") as caught:
        found = comparison.differences("ridge")
    assert {(row["method"], row["direction"]) for row in found} == {
        ("PCA", "target"),
        ("scaled", "target"),
        # Scaling units changes no correlation.
        ("scaled", "source"),
    }
    (told,) = caught
    assert "'PCA' scored 4 unit(s) and 'ridge' 60" in str(told.message)
    assert told.filename == __file__
    n_units = {
        (row["method"], row["direction"]): row["n_units"] for row in comparison.rows
    }
    assert n_units["PCA", "source"] == 2
    assert n_units["ridge", "source"] == 30
    assert n_units["PCA", "target"] == n_units["ridge", "target"] == 25


def test_other_units_of_the_same_number_have_no_difference():
    X, y = wide_pair()
    methods = {
        name: make_pipeline(UnitSubsampler(random_state=seed), MultiLevelOT())
        for name, seed in (("first", 0), ("second", 1))
    }
    comparison = compare(
        {"a": X}, {"b": y}, methods, cv=3, n_bootstrap=20, random_state=0, verbose=False
    )
    with pytest.warns(UserWarning, match="not the same units"):
        found = comparison.differences("first")
    assert [row["direction"] for row in found] == ["target"]


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


@pytest.mark.parametrize("wrap", [lambda inner: inner, MultiLevelOT])
def test_costs_of_different_measures_have_no_difference(wrap):
    X, y = wide_pair()
    methods = {"RSA": wrap(RSA()), "CKA": wrap(CKA()), "mot": MultiLevelOT()}
    comparison = compare(
        {"a": X}, {"b": y}, methods, cv=3, n_bootstrap=20, random_state=0, verbose=False
    )
    with pytest.warns(UserWarning, match="'CKA' and 'RSA' may have different") as told:
        assert comparison.differences("RSA") == []
    assert [record.filename for record in told] == [__file__]
    assert comparison.differences("mot") == []


# -- pairs, and comparisons that are joined --------------------------------------------

QUICK = {"n_bootstrap": 20, "random_state": 0, "verbose": False}


def many_networks():
    first, second = random_networks(), random_networks(seed=1)
    return {"a": first[0], "b": LayerStack(second[0]), "c": first[1], "d": second[1]}


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


def test_joined_comparisons_are_those_made_at_once():
    networks = many_networks()
    methods = {"soft": SoftMatching(), "ridge": LinearPredictivity(random_state=0)}
    soft, ridge = ({name: method} for name, method in methods.items())
    joined = compare(networks, None, soft, 3, **QUICK).join(
        compare(networks, None, ridge, 3, pairs=[("a", "b")], **QUICK),
        compare(networks, None, ridge, 3, pairs=[("b", "d"), ("a", "c")], **QUICK),
    )
    at_once = compare(networks, None, methods, 3, **QUICK)
    both = [("a", "b"), ("a", "c"), ("b", "d")]

    def told(differences):
        return {
            (row["source"], row["target"], row["direction"]): (
                row["difference"],
                row["low"],
                row["high"],
            )
            for row in differences
            if (row["source"], row["target"]) in both
        }

    assert told(joined.differences("soft")) == told(at_once.differences("soft"))
    assert len(told(joined.differences("soft"))) == 2 * len(both)


def test_only_paired_comparisons_are_joined():
    networks, soft = many_networks(), {"soft": SoftMatching()}
    raw = {"raw": SoftMatching(reconstruct="raw")}
    comparison = compare(networks, None, soft, 3, **QUICK)
    for other in (
        compare(networks, None, raw, 4, **QUICK),
        compare(networks, None, raw, 3, **(QUICK | {"random_state": 1})),
        compare(networks, None, raw, 3, **(QUICK | {"n_bootstrap": 30})),
    ):
        with pytest.raises(ValueError, match="other splits or other resamples"):
            comparison.join(other)
    with pytest.raises(ValueError, match="'soft' is in two of the"):
        comparison.join(compare(networks, None, soft, 3, pairs=[("b", "c")], **QUICK))
