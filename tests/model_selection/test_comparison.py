import itertools
import pickle

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import (
    CKA,
    RSA,
    FunctionComparison,
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    SoftMatching,
)
from skmot.model_selection import StimulusKFold, compare
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests.model_selection.common import FALSE_ALARM, ONE_SPLIT, stacks
from tests.model_selection.methods import (
    METHODS,
    QUICK,
    ForwardOnly,
    many_networks,
    networks_to_compare,
    wide_pair,
)
from tests.networks import random_networks
from tests.tables import assert_survives_files


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


def named_networks():
    first, second = random_networks(), random_networks(seed=1)
    return (
        {
            "a": LayerStack(dict(zip(["V1", "V2", "V4"], first[0], strict=True))),
            "b": LayerStack(dict(zip(["V1", "V2", "V4"], second[0], strict=True))),
        },
        {
            "c": LayerStack(
                dict(zip(["p", "q", "r", "s"], first[1], strict=True)),
                unit_names=[list("uvwxyz"), None, None, None],
            )
        },
    )


@pytest.fixture(scope="module")
def kept():
    methods = {
        "mot": MultiLevelOT(),
        "flat": SoftMatching(),
        "rsa": MultiLevelOT(RSA()),
    }
    return compare(
        *named_networks(),
        methods,
        2,
        directions=("target", "source"),
        keep=("couplings", "hierarchy_scores", "unit_scores"),
        n_bootstrap=5,
        verbose=False,
    )


def test_kept_couplings_are_a_table_of_pairs_of_layers(kept):
    frame = kept.to_frame("couplings")
    assert set(frame["method"]) == {"mot", "rsa"}
    for fit in kept.kept:
        found = frame[
            (frame["source"] == fit["source"])
            & (frame["method"] == fit["method"])
            & (frame["split"] == fit["split"])
        ]
        if fit["method"] == "flat":
            assert found.empty
            continue
        wide = found.pivot(
            index="source_layer", columns="target_layer", values="coupling"
        )
        assert list(wide.index) == ["V1", "V2", "V4"]
        assert list(wide.columns) == ["p", "q", "r", "s"]
        np.testing.assert_array_equal(wide, fit["coupling"])
        np.testing.assert_array_equal(
            found["inverse_coupling"], fit["inverse_coupling"].ravel()
        )
    assert_survives_files(frame)


def test_kept_unit_scores_are_a_table_whose_means_are_the_scores(kept):
    frame = kept.to_frame("unit_scores")
    by = ["source", "target", "method", "direction", "split", "layer"]
    means = frame.groupby(by)["score"].mean()
    rows = [row for row in kept.rows if row["direction"] != "cost"]
    assert len(means) == len(rows)
    for row in rows:
        mean = means[tuple(row[column] for column in by)]
        assert mean == pytest.approx(row["score"], abs=1e-12)
    first = frame[(frame["direction"] == "target") & (frame["layer"] == "p")]
    assert first["unit"].tolist() == list("uvwxyz") * (len(first) // 6)
    second = frame[frame["layer"] == "q"]
    assert second["unit"].tolist() == [*range(9)] * (len(second) // 9)
    assert_survives_files(frame)


def test_kept_hierarchy_scores_are_a_table_of_fits(kept):
    frame = kept.to_frame("hierarchy_scores")
    assert len(frame) == len(kept.kept) == 2 * 3 * 2
    assert frame["hierarchy_score"].isna().equals(frame["method"] == "flat")
    assert_survives_files(frame)
    assert_survives_files(kept.to_frame())


def test_what_was_not_kept_is_no_table():
    comparison = compare(
        *named_networks(), {"mot": MultiLevelOT()}, 2, n_bootstrap=5, verbose=False
    )
    for table in ("couplings", "unit_scores", "hierarchy_scores"):
        with pytest.raises(ValueError, match=rf"\['scores'\]; got '{table}'"):
            comparison.to_frame(table)


def test_joined_comparisons_have_the_tables_of_all_parts(kept):
    sources, targets = named_networks()
    options = {"n_bootstrap": 5, "random_state": 0, "verbose": False}
    parts = [
        compare(sources, targets, {name: MultiLevelOT()}, 2, keep=keep, **options)
        for name, keep in (("first", ["couplings"]), ("second", ["unit_scores"]))
    ]
    joined = parts[0].join(parts[1])
    for table, part in zip(("couplings", "unit_scores"), parts, strict=True):
        assert joined.to_frame(table).equals(part.to_frame(table))


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
    row = comparison.differences("soft", "stimuli", confidence_level=0.9)[0]
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
    # A method that has no difference is not left out without a word.
    for over in ("networks", "stimuli"):
        text = str(comparison.differences("mot", over=over))
        assert "Not compared: 'cost'" in text.replace("\n", " ")
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
        row = comparison.differences("raw", "stimuli", confidence_level=0.9)[0]
        covered += row["low"] <= truth <= row["high"]
    # Two-sided: too wide is as wrong as too narrow.
    assert binom.ppf(FALSE_ALARM / 2, 100, 0.9) <= covered
    assert covered <= binom.ppf(1 - FALSE_ALARM / 2, 100, 0.9)


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

    assert told(joined.differences("soft", over="stimuli")) == told(
        at_once.differences("soft", over="stimuli")
    )
    assert len(told(joined.differences("soft", over="stimuli"))) == 2 * len(both)


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


# -- the mean over fixed networks, and what is printed ---------------------------------


@pytest.mark.parametrize("by", [("method", "direction"), ("target", "direction")])
def test_means_over_pairs_have_the_interval_of_slow_resamples(by):
    sources, targets = random_sides(1, 2)
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    cv = KFold(2)
    comparison = compare(
        sources, targets, methods, cv, directions=["target"], **SETTINGS
    )
    drawn = np.random.RandomState(0).multinomial(40, np.full(40, 1 / 40), 50)
    slow = {}
    for (target, y), (name, method) in itertools.product(
        targets.items(), methods.items()
    ):
        X = sources["s0"]
        scores = np.zeros(50)
        for train, test in cv.split(X):
            fitted = clone(method).fit(X[train], y[train])
            for k, counts in enumerate(drawn):
                resample = np.repeat(test, counts[test])
                scores[k] += fitted.score(X[resample], y[resample]) / 2
        slow[target, name] = scores
    column = ("target", "method").index(by[0])
    rows = comparison.summary(by, confidence_level=0.9)
    assert len(rows) == 2
    for row in rows:
        own = np.mean(
            [scores for key, scores in slow.items() if key[column] == row[by[0]]],
            axis=0,
        )
        low, high = np.quantile(own, [0.05, 0.95])
        assert (row["low"], row["high"]) == pytest.approx((low, high))
        assert row["standard_error_over_stimuli"] == pytest.approx(own.std(ddof=1))
        assert (row["n_bootstrap"], row["confidence_level"]) == (50, 0.9)
    # Of the mean difference, too, which is all that two subjects tell.
    (row,) = comparison.differences("soft")
    own = np.mean([slow[t, "mot"] - slow[t, "soft"] for t in targets], axis=0)
    found = row["low_over_stimuli"], row["high_over_stimuli"]
    assert found == pytest.approx(tuple(np.quantile(own, [0.025, 0.975])))
    assert np.isnan(row["low"])
    printed = str(comparison.differences("soft"))
    assert "low_over_stimuli" in printed
    assert f"{found[0]:.3f}" in printed


def test_costs_and_single_layers_have_no_interval():
    sources, targets = random_sides(1, 2)
    methods = {"rsa": RSA(), "mot": MultiLevelOT()}
    comparison = compare(sources, targets, methods, 2, **SETTINGS)
    rows = comparison.summary(("method", "direction"))
    assert {row["direction"] for row in rows if np.isnan(row["low"])} == {"cost"}
    for row in comparison.summary(("method", "direction", "layer")):
        assert np.isnan(row["low"])
        assert np.isnan(row["standard_error_over_stimuli"])
        assert row["n_bootstrap"] == 0
    with pytest.raises(ValueError, match="between 0 and 1; got 1"):
        comparison.summary(confidence_level=1)


def test_a_resample_without_a_score_of_one_pair_is_left_out():
    rng = np.random.default_rng(0)
    X, full = rng.normal(size=(2, 20, 3))
    # In many resamples these units do not vary.
    rare = np.zeros((20, 3))
    rare[[1, 11]] = 1.0
    comparison = compare(
        {"x": X},
        {"full": full, "rare": rare},
        {"soft": SoftMatching()},
        [(np.arange(10), np.arange(10, 20))],
        directions=["target"],
        **SETTINGS,
    )
    full, rare = comparison.summary()
    (both,) = comparison.summary(("direction",))
    assert full["n_bootstrap"] == 50
    assert both["n_bootstrap"] == rare["n_bootstrap"] < 50
    assert both["mean"] == pytest.approx((full["mean"] + rare["mean"]) / 2)


def test_methods_of_one_population_are_told_from_those_that_couple_layers():
    sources, targets = random_sides(2, 2)
    methods = {
        "mot": MultiLevelOT(),
        "pooled": make_pipeline(LayerwiseTransformer(StandardScaler()), RSA()),
        "searched": GridSearchCV(SoftMatching(), {"mass": [1.0]}, cv=2),
        "coupled": MultiLevelOT(RSA()),
        "own": ForwardOnly(),
    }
    comparison = compare(sources, targets, methods, 2, **SETTINGS)
    found = {row["method"]: row["layers"] for row in comparison.summary()}
    assert found == {
        "mot": "one by one",
        "pooled": "side by side",
        "searched": "side by side",
        "coupled": "one by one",
        "own": None,
    }
    (mixed, *_) = comparison.summary(("direction",))
    assert mixed["layers"] is None
    for text in (str(comparison), comparison.differences("mot").conclusion):
        text = " ".join(text.split())
        assert "do not couple layers: 'pooled', 'searched'." in text


def test_nothing_is_said_of_layers_where_methods_agree_or_there_is_one():
    sources, targets = random_sides(1, 2)
    alike = compare(sources, targets, {"a": RSA(), "b": RSA()}, 2, **SETTINGS)
    assert "couple layers" not in str(alike)
    assert "side by side" in str(alike)
    single = [{"x": network.layers[0]} for network in (sources["s0"], targets["t0"])]
    methods = {"soft": SoftMatching(), "mot": MultiLevelOT()}
    comparison = compare(*single, methods, 2, **SETTINGS)
    assert {row["layers"] for row in comparison.summary()} == {None}
    assert "layers" not in str(comparison).splitlines()[0]
    assert "couple layers" not in str(comparison)


def test_joined_comparisons_keep_how_layers_are_seen():
    sources, targets = random_sides(1, 2)
    parts = [
        compare(sources, targets, {name: method}, 2, **SETTINGS)
        for name, method in (("mot", MultiLevelOT()), ("soft", SoftMatching()))
    ]
    found = {row["method"]: row["layers"] for row in parts[0].join(parts[1]).summary()}
    assert found == {"mot": "one by one", "soft": "side by side"}


def test_a_comparison_prints_its_scores_with_intervals():
    sources, targets = random_sides(1, 2)
    methods = {"mot": MultiLevelOT(), "rsa": RSA()}
    comparison = compare(sources, targets, methods, 2, **SETTINGS)
    header, *lines = str(comparison).splitlines()
    assert header.split() == ["method", "direction", "mean", "low", "high", "layers"]
    rows = comparison.summary(("method", "direction"))
    for line, row in zip(lines, rows, strict=False):
        assert line.split()[:5] == [
            row["method"],
            row["direction"],
            *(f"{row[name]:.3f}" for name in ("mean", "low", "high")),
        ]
    assert max(map(len, lines)) <= 100
    text = " ".join(lines)
    for part in (
        "Means over 2 pair(s) of networks and 2 split(s)",
        "for these networks and these fits only",
        "lower costs mean more alike",
    ):
        assert part in text
    assert repr(comparison).startswith("Comparison(2 methods, 2 pairs")


# -- over networks ---------------------------------------------------------------------


def random_sides(n_sources, n_targets, seed=0, n_rows=40):
    """Return networks of two layers that share signals with each other."""
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(n_rows, 6))

    def network():
        return LayerStack(
            [
                signals @ rng.normal(size=(6, 5)) + 2 * rng.normal(size=(n_rows, 5))
                for _ in range(2)
            ]
        )

    return (
        {f"s{number}": network() for number in range(n_sources)},
        {f"t{number}": network() for number in range(n_targets)},
    )


STRATEGIES = {
    "mot": MultiLevelOT(),
    "uniform": MultiLevelOT(strategy="uniform"),
    "soft": SoftMatching(),
}
SETTINGS = {"n_bootstrap": 50, "random_state": 0, "verbose": False}


def grid_of_means(comparison, method, direction):
    """Return the score of each pair, by loops over the rows."""
    found = {}
    for row in comparison.rows:
        if (row["method"], row["direction"]) == (method, direction):
            key = row["source"], row["target"]
            found.setdefault(key, {}).setdefault(row["split"], []).append(row["score"])
    return {
        pair: np.mean([np.mean(layers) for layers in splits.values()])
        for pair, splits in found.items()
    }


@pytest.mark.parametrize("cv", [KFold(3), ONE_SPLIT, ShuffleSplit(11, random_state=0)])
def test_differences_over_networks_are_those_of_the_formula(cv):
    sources, targets = random_sides(4, 5)
    comparison = compare(
        sources, targets, STRATEGIES, cv, directions=["source"], **SETTINGS
    )
    found = comparison.differences("mot")
    assert [(row["method"], row["direction"]) for row in found] == [
        ("uniform", "source"),
        ("soft", "source"),
    ]
    by_stimuli = comparison.differences("mot", over="stimuli")
    for row in found:
        method, reference = (
            grid_of_means(comparison, name, row["direction"])
            for name in (row["method"], "mot")
        )
        d = np.array(
            [[method[s, t] - reference[s, t] for t in targets] for s in sources]
        )
        S, T = d.shape
        grand = d.mean()
        A = B = E = 0.0
        for s in range(S):
            A += T * (d[s].mean() - grand) ** 2 / (S - 1)
        for t in range(T):
            B += S * (d[:, t].mean() - grand) ** 2 / (T - 1)
        for s, t in np.ndindex(S, T):
            residual = d[s, t] - d[s].mean() - d[:, t].mean() + grand
            E += residual**2 / ((S - 1) * (T - 1))
        assert row["difference"] == pytest.approx(grand)
        assert row["standard_error_over_networks"] == pytest.approx(
            np.sqrt(max(A + B - E, A, B) / (S * T))
        )
        assert row["degrees_of_freedom"] == 3
        assert (row["n_sources"], row["n_targets"], row["n_pairs"]) == (4, 5, 20)
        assert row["standard_error"] == pytest.approx(
            np.hypot(
                row["standard_error_over_networks"], row["standard_error_over_stimuli"]
            )
        )
        # The mean over pairs varies over resamples less than the worst of them.
        alone = [
            other["standard_error_over_stimuli"]
            for other in by_stimuli
            if (other["method"], other["direction"])
            == (row["method"], row["direction"])
        ]
        assert len(alone) == 20
        assert 0 < row["standard_error_over_stimuli"] < max(alone)


def test_the_variance_over_stimuli_is_that_of_the_mean_over_pairs():
    sources, targets = random_sides(1, 4)
    pair = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    cv = KFold(2)
    comparison = compare(sources, targets, pair, cv, directions=["target"], **SETTINGS)
    (row,) = comparison.differences("soft")
    drawn = np.random.RandomState(0).multinomial(40, np.full(40, 1 / 40), 50)
    slow = np.zeros(50)
    for s, t in itertools.product(sources, targets):
        X, y = sources[s], targets[t]
        for train, test in cv.split(X):
            for sign, method in ((1, "mot"), (-1, "soft")):
                fitted = clone(pair[method]).fit(X[train], y[train])
                for k, counts in enumerate(drawn):
                    resample = np.repeat(test, counts[test])
                    slow[k] += sign * fitted.score(X[resample], y[resample]) / 8
    assert row["standard_error_over_stimuli"] == pytest.approx(np.std(slow, ddof=1))


def test_p_values_are_corrected_by_holm_within_a_direction():
    sources, targets = random_sides(4, 4)
    methods = STRATEGIES | {"best": MultiLevelOT(strategy="pairwise_best")}
    comparison = compare(sources, targets, methods, 2, **SETTINGS)
    found = comparison.differences("mot")
    for direction in ("target", "source"):
        rows = [row for row in found if row["direction"] == direction]
        rows = sorted(rows, key=lambda row: row["p_value"])
        assert len(rows) == 3
        first, second, third = (row["p_value"] for row in rows)
        expected = [3 * first, max(3 * first, 2 * second)]
        expected.append(max(expected[1], third))
        assert [row["p_corrected"] for row in rows] == pytest.approx(
            np.minimum(expected, 1)
        )
    plain = comparison.differences("mot", correction=None)
    assert [row["p_corrected"] for row in plain] == [row["p_value"] for row in found]
    assert "small `p_value`" in plain.conclusion
    with pytest.raises(ValueError, match="`correction` must be"):
        comparison.differences("mot", correction="bonferroni")
    with pytest.raises(ValueError, match="`over` must be"):
        comparison.differences("mot", over="pairs")


def test_one_brain_and_many_models_hold_for_this_brain_only():
    brains, models = random_sides(1, 6)
    comparison = compare(
        models, brains, {"mot": MultiLevelOT(), "soft": SoftMatching()}, 2, **SETTINGS
    )
    found = comparison.differences("mot")
    assert "for this target only, over 6 sources as a sample" in found.conclusion
    for row in found:
        soft, mot = (
            np.array(list(grid_of_means(comparison, name, row["direction"]).values()))
            for name in ("soft", "mot")
        )
        assert row["standard_error_over_networks"] == pytest.approx(
            np.std(soft - mot, ddof=1) / np.sqrt(6)
        )
        assert row["degrees_of_freedom"] == 5
        assert row["sample"] == "sources"
        assert 0 < row["p_value"] < 1


def test_few_networks_have_differences_but_no_p_value():
    sources, targets = random_sides(3, 2)
    comparison = compare(
        sources, targets, {"mot": MultiLevelOT(), "soft": SoftMatching()}, 2, **SETTINGS
    )
    found = comparison.differences("mot")
    assert "too few networks to generalise" in found.conclusion
    # Empty columns are not printed.
    assert "nan" not in str(found)
    assert "p_value" not in str(found)
    for row in found:
        assert np.isfinite(row["difference"])
        assert np.isfinite(row["standard_error_over_stimuli"])
        for name in ("low", "high", "p_value", "p_corrected", "detectable"):
            assert np.isnan(row[name])
        assert row["sample"] == "none"


@pytest.mark.parametrize("given", ["one set", "both sides", "copies"])
def test_networks_on_both_sides_are_one_set(given):
    networks, _ = random_sides(5, 0)
    targets = networks
    if given == "one set":
        targets = None
    if given == "copies":
        # Other names, other objects, other containers: the same networks.
        targets = {
            f"copy of {name}": [np.array(layer) for layer in stack.layers]
            for name, stack in networks.items()
        }
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    pairs = None
    if given == "copies":
        pairs = [(a, f"copy of {b}") for a, b in itertools.permutations(networks, 2)]
    comparison = compare(networks, targets, methods, 2, pairs=pairs, **SETTINGS)
    (row, _) = comparison.differences("soft")
    assert (row["sample"], row["n_networks"]) == ("networks", 5)
    assert row["degrees_of_freedom"] == 4
    soft, mot = (
        grid_of_means(comparison, name, row["direction"]) for name in ("soft", "mot")
    )
    without = []
    for name in networks:
        left = [
            mot[a, b] - soft[a, b]
            for a, b in soft
            if name not in (a, b.removeprefix("copy of "))
        ]
        without.append(np.mean(left))
    jackknife = 4 / 5 * np.sum((without - np.mean(without)) ** 2)
    assert row["standard_error_over_networks"] == pytest.approx(np.sqrt(jackknife))


def test_networks_that_have_one_name_on_both_sides_are_two():
    sources, targets = random_sides(4, 4)
    targets = dict(zip(sources, targets.values(), strict=True))
    comparison = compare(
        sources, targets, {"mot": MultiLevelOT(), "soft": SoftMatching()}, 2, **SETTINGS
    )
    for row in comparison.differences("mot"):
        assert (row["sample"], row["n_networks"]) == ("sources and targets", 8)


def test_one_network_under_two_names_is_no_larger_sample():
    sources, targets = random_sides(4, 4)
    sources["again"] = sources["s0"]
    comparison = compare(
        sources, targets, {"mot": MultiLevelOT(), "soft": SoftMatching()}, 2, **SETTINGS
    )
    with pytest.raises(ValueError, match="sources 's0' and 'again' are the same"):
        comparison.differences("mot")
    assert len(comparison.differences("mot", over="stimuli")) == 2 * 5 * 4


def test_incomplete_grids_are_refused_unless_networks_are_one_set():
    sources, targets = random_sides(4, 4)
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    pairs = list(itertools.product(sources, targets))[:-1]
    comparison = compare(sources, targets, methods, 2, pairs=pairs, **SETTINGS)
    with pytest.raises(ValueError, match="none of source 's3' and target 't3'"):
        comparison.differences("mot")
    comparison = compare(sources | targets, None, methods, 2, pairs=pairs, **SETTINGS)
    for row in comparison.differences("mot"):
        assert (row["sample"], row["n_networks"]) == ("networks", 8)


def test_grids_can_be_joined_from_parts():
    sources, targets = random_sides(4, 4)
    methods = {"mot": MultiLevelOT(), "soft": SoftMatching()}
    at_once = compare(sources, targets, methods, 2, **SETTINGS)
    first, *rest = (
        compare(sources, {name: target}, methods, 2, **SETTINGS)
        for name, target in targets.items()
    )
    joined = first.join(*rest)
    for row, expected in zip(
        joined.differences("mot"), at_once.differences("mot"), strict=True
    ):
        assert row == pytest.approx(expected)
    other = compare(
        {"s0": sources["s1"]}, targets, {"ridge": SoftMatching()}, 2, **SETTINGS
    )
    with pytest.raises(ValueError, match="source 's0' is another network"):
        at_once.join(other)


def test_methods_that_do_the_same_do_not_differ():
    sources, targets = random_sides(4, 4)
    # The plan of two layers and two layers is one-to-one.
    methods = {"mot": MultiLevelOT(), "best": MultiLevelOT(strategy="single_best")}
    comparison = compare(sources, targets, methods, 2, **SETTINGS)
    for row in comparison.differences("mot"):
        assert row["difference"] == 0
        assert row["p_value"] == 1


def test_few_resamples_are_refused():
    sources, targets = random_sides(4, 4)
    comparison = compare(
        sources,
        targets,
        {"mot": MultiLevelOT(), "soft": SoftMatching()},
        2,
        n_bootstrap=1,
        verbose=False,
    )
    with pytest.raises(ValueError, match="Raise `n_bootstrap`"):
        comparison.differences("mot")


class OneLayer(TransformerMixin, BaseEstimator):
    """Transformer that leaves one layer of a network."""

    def __init__(self, index):
        self.index = index

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return LayerStack([X.layers[self.index]])


def test_a_clear_difference_is_found():
    sources, targets = random_sides(5, 5)
    noise = np.random.default_rng(1)
    sources = {
        name: LayerStack([stack.layers[0], noise.normal(size=(40, 5))])
        for name, stack in sources.items()
    }
    methods = {
        name: make_pipeline(OneLayer(index), SoftMatching())
        for index, name in enumerate(("signal", "noise"))
    }
    comparison = compare(
        sources, targets, methods, 2, directions=["target"], **SETTINGS
    )
    (row,) = comparison.differences("noise")
    assert row["p_value"] < 0.05
    assert row["low"] > 0


# -- costs -----------------------------------------------------------------------------


def mean_difference(x, y):
    return abs(x.mean() - y.mean())


def test_strategies_above_one_inner_estimator_are_compared_by_their_costs():
    sources, targets = random_sides(4, 4)
    methods = {
        "mot": MultiLevelOT(RSA()),
        "best": MultiLevelOT(RSA(), strategy="pairwise_best", n_jobs=1),
        "CKA": MultiLevelOT(CKA()),
        "uniform": MultiLevelOT(RSA(), strategy="uniform"),
    }
    comparison = compare(sources, targets, methods, 3, **SETTINGS)
    with pytest.warns(UserWarning, match=r"\(16 pairs in all\): .*'CKA'") as told:
        found = comparison.differences("mot", over="stimuli")
    assert [record.filename for record in told] == [__file__]
    assert len(found) == 2 * 16
    for row in found:
        cost, reference = (
            np.mean(
                [
                    clone(methods[name])
                    .fit(sources[row["source"]][train], targets[row["target"]][train])
                    .held_out_cost(
                        sources[row["source"]][test], targets[row["target"]][test]
                    )
                    for train, test in KFold(3).split(np.zeros(40))
                ]
            )
            for name in (row["method"], "mot")
        )
        assert row["difference"] == pytest.approx(cost - reference)
        assert np.isnan([row["low"], row["high"]]).all()
        assert row["n_bootstrap"] == 0
    assert "no interval over stimuli; lower costs mean more alike" in found.conclusion


def test_differences_of_costs_over_networks_have_no_p_value():
    sources, targets = random_sides(4, 4)
    methods = {
        "mot": MultiLevelOT(RSA()),
        "uniform": MultiLevelOT(RSA(), strategy="uniform"),
    }
    comparison = compare(sources, targets, methods, 3, **SETTINGS)
    (row,) = comparison.differences("mot")
    assert row["difference"] > 0
    assert row["standard_error_over_networks"] > 0
    for name in ("p_value", "p_corrected", "low", "high", "standard_error"):
        assert np.isnan(row[name])


OTHER_COSTS = {
    "another inner estimator": MultiLevelOT(CKA()),
    "another setting": MultiLevelOT(FunctionComparison(mean_difference)),
    "no level above": RSA(),
    "another cost": MultiLevelOT(RSA(), cost_cv=2),
    "another source": make_pipeline(
        LayerwiseTransformer(PCA(2, random_state=0)), MultiLevelOT(RSA())
    ),
    "another target": TransformedTargetLayers(
        MultiLevelOT(RSA()), LayerwiseTransformer(PCA(2, random_state=0))
    ),
    "a search": GridSearchCV(
        MultiLevelOT(RSA()), {"strategy": ["uniform"]}, scoring=lambda *args: 0.0
    ),
    "no name": MultiLevelOT(FunctionComparison(lambda x, y: 0.0)),
}


@pytest.mark.parametrize("other", OTHER_COSTS)
def test_other_costs_have_no_difference(other):
    X, y = stacks()
    methods = {"mot": MultiLevelOT(RSA()), "other": OTHER_COSTS[other]}
    comparison = compare({"a": X}, {"b": y}, methods, 2, **QUICK)
    for over in ("networks", "stimuli"):
        with pytest.warns(UserWarning, match="may have different units"):
            found = comparison.differences("mot", over=over)
        assert found == []
        assert str(found).startswith("No method has scores that can be compared")


def test_strategies_behind_the_same_steps_are_compared_by_their_costs():
    X, y = stacks()
    methods = {
        strategy: make_pipeline(
            LayerwiseTransformer(PCA(2, random_state=0)),
            MultiLevelOT(RSA(), strategy=strategy),
        )
        for strategy in ("transport", "permuted")
    }
    comparison = compare({"a": X}, {"b": y}, methods, 2, **QUICK)
    (row,) = comparison.differences("transport")
    assert row["direction"] == "cost"
    assert row["difference"] != 0


# -- what is printed and kept ----------------------------------------------------------


def test_differences_print_as_a_table_and_a_conclusion():
    sources, targets = random_sides(4, 4)
    comparison = compare(sources, targets, STRATEGIES, 2, **SETTINGS)
    found = comparison.differences("mot")
    header, *lines = str(found).splitlines()
    assert header.split()[:3] == ["method", "direction", "difference"]
    assert lines[0].split()[:3] == [
        found[0]["method"],
        found[0]["direction"],
        f"{found[0]['difference']:.3f}",
    ]
    assert " ".join(lines[len(found) :]) == found.conclusion
    assert max(map(len, lines)) <= 100
    for part in (
        "from 'mot' over 4 sources and 4 targets as a sample of networks",
        "does not say that every pair differs",
        "below `detectable` are usually missed",
    ):
        assert part in found.conclusion
    by_stimuli = comparison.differences("mot", over="stimuli")
    assert "for these networks and these fits" in by_stimuli.conclusion
    assert "do not show what other networks" in by_stimuli.conclusion
    assert len(found.to_frame()) == len(found)
    assert list(found.to_frame().columns) == list(found[0])


def test_comparisons_and_differences_can_be_pickled():
    X, y = stacks()
    comparison = compare({"a": X}, {"b": y}, STRATEGIES, 2, keep=["couplings"], **QUICK)
    again = pickle.loads(pickle.dumps(comparison))
    assert again.rows == comparison.rows
    found = comparison.differences("mot", over="stimuli")
    assert again.differences("mot", over="stimuli") == found
    restored = pickle.loads(pickle.dumps(found))
    assert restored == found
    assert str(restored) == str(found)
