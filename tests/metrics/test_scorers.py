"""Scorers against steps applied by hand, and scores taken from predictions."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, SemiMatching, SoftMatching
from skmot.metrics import (
    negative_cost,
    scored_units,
    source_score,
    target_score,
)
from skmot.preprocessing import (
    LayerwiseTransformer,
    TransformedTargetLayers,
    UnitSubsampler,
)
from tests import reference
from tests.networks import random_networks, rows

TRAIN, TEST = slice(0, 40), slice(40, 60)


@pytest.fixture
def networks():
    return random_networks()


def fitted(estimator, networks):
    source, target = (LayerStack(rows(layers, TRAIN)) for layers in networks)
    return estimator.fit(source, target)


def held_out(networks):
    return [LayerStack(rows(layers, TEST)) for layers in networks]


def test_target_score_is_that_of_the_predictions(networks):
    mot = fitted(MultiLevelOT(), networks)
    X, y = held_out(networks)
    expected = reference.score(y.layers, mot.predict(X).layers)
    assert target_score(mot, X, y) == pytest.approx(expected, abs=1e-12)


def test_source_score_is_that_of_the_inverse_predictions(networks):
    mot = fitted(MultiLevelOT(), networks)
    X, y = held_out(networks)
    expected = reference.score(X.layers, mot.inverse_predict(y).layers)
    assert source_score(mot, X, y) == pytest.approx(expected, abs=1e-12)
    assert source_score(mot, X, y) != pytest.approx(target_score(mot, X, y), abs=1e-3)


def test_negative_cost_is_read_on_the_rows_given(networks):
    mot = fitted(MultiLevelOT(), networks)
    slow = reference.SlowMultiLevelOT(*(rows(layers, TRAIN) for layers in networks))
    training = [LayerStack(rows(layers, TRAIN)) for layers in networks]
    assert negative_cost(mot, *training) == pytest.approx(-slow.cost)
    # By the definition: <P, <Q, 1 - corr>> of the held-out rows.
    expected, (X, y) = 0.0, held_out(networks)
    for row, column in np.ndindex(mot.coupling_.shape):
        source, target = X.layers[row], y.layers[column]
        n = source.shape[1]
        correlations = np.corrcoef(source.T, target.T)[:n, n:]
        plan = mot.inner_[row][column].coupling_.toarray()
        expected += mot.coupling_[row, column] * np.sum(plan * (1 - correlations))
    assert negative_cost(mot, X, y) == pytest.approx(-expected, abs=1e-9)


def test_negative_cost_of_noise_is_near_minus_one():
    X, y = np.random.default_rng(0).normal(size=(2, 90, 40))
    scores = cross_val_score(SoftMatching(), X, y, cv=3, scoring=negative_cost)
    assert scores.mean() == pytest.approx(-1, abs=0.05)
    assert -SoftMatching().fit(X, y).cost_ > -0.85


@pytest.mark.parametrize("wrap", [lambda inner: inner, MultiLevelOT])
@pytest.mark.parametrize(
    ("inner", "expected"), [(SemiMatching(), -1), (SoftMatching("sqeuclidean"), -2)]
)
def test_negative_cost_of_noise_is_held_out_for_every_inner(inner, expected, wrap):
    # Without correlation: 1 - 0, and the squared distance of unit vectors.
    X, y = np.random.default_rng(1).normal(size=(2, 120, 60))
    pipeline = make_pipeline(StandardScaler(), wrap(inner))
    found = cross_validate(
        pipeline, X, y, cv=3, scoring=negative_cost, return_train_score=True
    )
    assert found["test_score"].mean() == pytest.approx(expected, rel=0.05)
    assert found["train_score"].mean() > 0.85 * expected


def test_layerwise_pca_in_a_pipeline_is_applied_before_scoring(networks):
    pipeline = make_pipeline(LayerwiseTransformer(PCA(3)), MultiLevelOT())
    fitted(pipeline, networks)
    training, testing = [], []
    for layer in networks[0]:
        pca = PCA(3).fit(layer[TRAIN])
        training.append(pca.transform(layer[TRAIN]))
        testing.append(pca.transform(layer[TEST]))
    mot = MultiLevelOT().fit(training, rows(networks[1], TRAIN))
    X, y = held_out(networks)
    expected = reference.score(testing, mot.inverse_predict(list(y.layers)))
    assert source_score(pipeline, X, y) == pytest.approx(expected, abs=1e-12)
    expected = reference.score(y.layers, mot.predict(testing))
    assert target_score(pipeline, X, y) == pytest.approx(expected, abs=1e-12)
    assert negative_cost(pipeline, X, y) == pytest.approx(
        -mot.held_out_cost(testing, y), abs=1e-12
    )


def test_subsampled_units_in_a_pipeline_are_the_ones_scored(networks):
    pipeline = make_pipeline(UnitSubsampler(0.6, random_state=3), MultiLevelOT())
    fitted(pipeline, networks)
    kept = [
        layer[:, units]
        for layer, units in zip(networks[0], pipeline[0].units_, strict=True)
    ]
    assert [part.shape[1] for part in kept] == [4, 7, 3]
    mot = MultiLevelOT().fit(rows(kept, TRAIN), rows(networks[1], TRAIN))
    X, y = held_out(networks)
    expected = reference.score(rows(kept, TEST), mot.inverse_predict(list(y.layers)))
    assert source_score(pipeline, X, y) == pytest.approx(expected, abs=1e-12)
    cost = mot.held_out_cost(rows(kept, TEST), list(y.layers))
    assert negative_cost(pipeline, X, y) == pytest.approx(-cost, abs=1e-12)


def test_several_steps_of_which_one_passes_through_are_applied_in_order(networks):
    X, y = networks[0][0], networks[1][0]
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),
            ("nothing", "passthrough"),
            ("reduce", PCA(4)),
            ("match", SoftMatching()),
        ]
    ).fit(X[TRAIN], y[TRAIN])
    scaler = StandardScaler().fit(X[TRAIN])
    pca = PCA(4).fit(scaler.transform(X[TRAIN]))
    reduced = pca.transform(scaler.transform(X))
    matching = SoftMatching().fit(reduced[TRAIN], y[TRAIN])
    expected = reference.score([reduced[TEST]], [matching.inverse_predict(y[TEST])])
    assert source_score(pipeline, X[TEST], y[TEST]) == pytest.approx(expected)
    cost = matching.held_out_cost(reduced[TEST], y[TEST])
    assert negative_cost(pipeline, X[TEST], y[TEST]) == pytest.approx(-cost)


@pytest.mark.parametrize("scorer", [target_score, source_score, negative_cost])
def test_a_pipeline_of_one_step_scores_as_the_step(networks, scorer):
    X, y = held_out(networks)
    found = scorer(fitted(make_pipeline(MultiLevelOT()), networks), X, y)
    assert found == scorer(fitted(MultiLevelOT(), networks), X, y)


@pytest.mark.parametrize("scorer", [target_score, source_score, negative_cost])
def test_a_pipeline_in_a_pipeline_scores_as_one(networks, scorer):
    subsample = UnitSubsampler(0.6, random_state=3)
    reduce = LayerwiseTransformer(PCA(2))
    flat = make_pipeline(subsample, reduce, MultiLevelOT())
    nested = make_pipeline(
        clone(subsample), make_pipeline(clone(reduce), MultiLevelOT())
    )
    X, y = held_out(networks)
    found = scorer(fitted(nested, networks), X, y)
    assert found == pytest.approx(scorer(fitted(flat, networks), X, y), abs=1e-14)


@pytest.mark.parametrize("scorer", [target_score, source_score, negative_cost])
def test_cross_validation_scores_each_fold_as_by_hand(networks, scorer):
    X, y = (LayerStack(layers) for layers in networks)
    pipeline = make_pipeline(LayerwiseTransformer(StandardScaler()), MultiLevelOT())
    found = cross_val_score(
        pipeline, X, y, scoring=scorer, cv=KFold(3), error_score="raise"
    )
    by_hand = []
    for train, test in KFold(3).split(np.arange(60)):
        # Standardising units before a correlation changes nothing.
        mot = MultiLevelOT().fit(*(rows(layers, train) for layers in networks))
        X_test, y_test = (rows(layers, test) for layers in networks)
        if scorer is target_score:
            by_hand.append(reference.score(y_test, mot.predict(X_test)))
        elif scorer is source_score:
            by_hand.append(reference.score(X_test, mot.inverse_predict(y_test)))
        else:
            by_hand.append(-mot.held_out_cost(X_test, y_test))
    np.testing.assert_allclose(found, by_hand, rtol=0, atol=1e-12)


def test_all_scorers_at_once_and_in_a_search(networks):
    X, y = (LayerStack(layers) for layers in networks)
    pipeline = make_pipeline(UnitSubsampler(random_state=0), MultiLevelOT())
    scoring = {
        "target": target_score,
        "source": source_score,
        "negative_cost": negative_cost,
    }
    together = cross_validate(pipeline, X, y, scoring=scoring, cv=3)
    for name, scorer in scoring.items():
        alone = cross_val_score(pipeline, X, y, scoring=scorer, cv=3)
        np.testing.assert_array_equal(together[f"test_{name}"], alone)
    fractions = [0.3, 1.0]
    search = GridSearchCV(
        pipeline,
        {"unitsubsampler__fraction": fractions},
        scoring=source_score,
        cv=3,
        error_score="raise",
    ).fit(X, y)
    means = [
        cross_val_score(
            clone(pipeline).set_params(unitsubsampler__fraction=fraction),
            X,
            y,
            scoring=source_score,
            cv=3,
        ).mean()
        for fraction in fractions
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], means)
    assert search.best_params_ == {
        "unitsubsampler__fraction": fractions[int(np.argmax(means))]
    }


def test_estimators_without_an_inverse_or_a_cost_are_errors(networks):
    X, y = networks[0][0], networks[1][0]
    regression = make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)
    assert target_score(regression, X, y) == regression.score(X, y)
    with pytest.raises(AttributeError, match="inverse_score"):
        source_score(regression, X, y)
    with pytest.raises(TypeError, match="no `held_out_cost"):
        negative_cost(regression, X, y)


def test_searches_score_as_their_best_estimator():
    X, y = (LayerStack(layers) for layers in random_networks())
    search = GridSearchCV(
        make_pipeline(UnitSubsampler(random_state=0), MultiLevelOT()),
        {"multilevelot__strategy": ["transport", "pairwise_best"]},
        cv=3,
        scoring=source_score,
    ).fit(X, y)
    best = search.best_estimator_
    assert source_score(search, X, y) == best[-1].inverse_score(best[0].transform(X), y)
    cost = best[-1].held_out_cost(best[0].transform(X), y)
    assert negative_cost(search, X, y) == -cost
    nested = cross_val_score(search, X, y, cv=3, scoring=source_score)
    assert np.isfinite(nested).all()


def test_units_are_those_that_the_score_is_a_mean_of(networks):
    X, y = held_out(networks)
    constant = [np.array(layer) for layer in y.layers]
    constant[1][:, 2] = 0.5
    y = LayerStack(constant)
    half = UnitSubsampler(fraction=0.5, random_state=0)
    n_all = sum(width for width in y.widths) - 1
    mot = fitted(MultiLevelOT(), networks)
    assert scored_units(mot, X, y) == n_all
    assert scored_units(mot, X, y) == sum(
        np.count_nonzero(~np.isnan(scores)) for scores in mot.unit_scores(X, y)
    )
    # Selected source units do not change it, selected target units do.
    assert scored_units(
        fitted(make_pipeline(half, MultiLevelOT()), networks), X, y
    ) == (n_all)
    targets = fitted(TransformedTargetLayers(MultiLevelOT(), half), networks)
    assert scored_units(targets, X, y) == sum(
        np.count_nonzero(~np.isnan(scores)) for scores in targets.unit_scores(X, y)
    )
    assert scored_units(targets, X, y) < n_all


def test_the_r2_of_scikit_learn_pools_the_units_of_all_layers():
    source, target = (LayerStack(side) for side in random_networks())
    found = cross_validate(
        MultiLevelOT(),
        source,
        target,
        cv=[(np.arange(40), np.arange(40, 60))],
        scoring={"ours": target_score, "r2": "r2"},
    )
    mot = MultiLevelOT().fit(source[TRAIN], target[TRAIN])
    predicted = mot.predict(source[TEST])
    of_layers = [
        1 - ((y - p) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        for y, p in zip(target[TEST].layers, predicted.layers, strict=True)
    ]
    assert found["test_r2"] == pytest.approx(np.concatenate(of_layers).mean())
    # Neither a mean over layers, nor the score.
    assert found["test_r2"] != pytest.approx(np.mean([one.mean() for one in of_layers]))
    assert found["test_ours"] == pytest.approx(mot.score(source[TEST], target[TEST]))
    assert found["test_r2"] < found["test_ours"]
