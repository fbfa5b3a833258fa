"""Properties of every estimator of a pair, for all populations hypothesis finds."""

import numpy as np
import pytest
from hypothesis import example, find, given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import ortho_group
from sklearn.base import clone

import skmot
from skmot import (
    RSA,
    LayerStack,
    OneToOneMatching,
    RotationMatching,
    SoftMatching,
)
from tests import reference
from tests.properties import proofs
from tests.properties.promises import (
    OTHERS,
    PROMISES,
    fitted,
    with_dead_units_alive,
)
from tests.properties.strategies import (
    LAYOUTS,
    OTHER_SEED,
    Population,
    examples,
    generic_pairs,
    pairs,
    weights,
)

every_estimator = pytest.mark.parametrize("name", sorted(PROMISES))
SEEDS = st.integers(0, 2**16)
METRICS = ["correlation", "abs_correlation", "cosine", "sqeuclidean"]
# Costs of float32 populations round to about this.
ROUNDING_32 = 1e-4


def named(condition):
    """Run a test on the estimators whose promise meets a condition."""
    names = [name for name, promise in PROMISES.items() if condition(promise)]
    return pytest.mark.parametrize("name", sorted(names))


def drawn(data, name, strategy=pairs, **settings):
    """Draw two populations with enough stimuli for an estimator."""
    # Of few stimuli units in general position have tied correlations, 1 and -1.
    fewest = 6 if strategy is generic_pairs else 2
    fewest = max(PROMISES[name].min_stimuli, settings.pop("min_stimuli", fewest))
    return data.draw(strategy(min_stimuli=fewest, **settings))


def test_every_estimator_is_listed():
    found = {name for name in skmot.__all__ if hasattr(getattr(skmot, name), "fit")}
    listed = {name.partition(" ")[0] for name in PROMISES}
    assert found == listed | OTHERS.keys()
    for name, promise in PROMISES.items():
        assert type(promise.estimator).__name__ == name.partition(" ")[0]


# -- any input ---------------------------------------------------------------------


@every_estimator
@examples(2)
@given(data=st.data())
def test_any_populations_have_a_cost_and_scores_in_range(name, data):
    promise = PROMISES[name]
    recipes = drawn(data, name)
    X, y = (recipe.array() for recipe in recipes)
    copies = X.copy(), y.copy()
    model, _ = fitted(promise.estimator, X, y)
    assert -1e-6 <= model.cost_ <= promise.highest + 1e-6
    new = [with_dead_units_alive(side[::-1]) for side in (X, y)]
    n_new = len(X)
    assert np.isfinite(model.held_out_cost(*new))
    for side, copy in zip((X, y), copies, strict=True):
        np.testing.assert_array_equal(side, copy)
    if not hasattr(model, "predict"):
        return
    for predicted, side in (
        (model.predict(new[0]), y),
        (model.inverse_predict(new[1]), X),
    ):
        assert predicted.shape == (n_new, side.shape[1])
        assert np.isfinite(predicted).all()
        # Constant units are predicted as they were.
        dead = (side == side[0]).all(axis=0)
        np.testing.assert_array_equal(
            predicted[:, dead], np.tile(side[0, dead], (n_new, 1))
        )
    scores = [
        model.score(*new),
        model.inverse_score(*new),
        *np.concatenate([np.ravel(part) for part in model.unit_scores(*new)]),
        *np.ravel(model.layer_scores(*new, direction="source")),
    ]
    if hasattr(model, "matching_score"):
        scores.append(model.matching_score(*new))
    assert np.abs(scores).max() <= 1


@every_estimator
@examples(0.5)
@given(data=st.data())
def test_the_same_numbers_in_another_layout_cost_the_same(name, data):
    promise = PROMISES[name]
    strategy = pairs if promise.is_continuous else generic_pairs
    recipes = drawn(data, name, strategy)
    layout = data.draw(st.sampled_from(LAYOUTS))
    first, second = (
        fitted(promise.estimator, *(recipe.array() for recipe in pair))[0].cost_
        for pair in (recipes, [recipe.resized(layout=layout) for recipe in recipes])
    )
    is_double = {recipe.dtype for recipe in recipes} <= {"float64", "int64"}
    tolerance = promise.tolerance if is_double else ROUNDING_32
    assert first == pytest.approx(second, abs=tolerance)


@every_estimator
@examples(0.5)
@given(data=st.data())
def test_a_sparse_layer_costs_what_the_same_dense_one_costs(name, data):
    promise = PROMISES[name]
    kinds = ("ReLU", "one active", "ties") if promise.is_continuous else ("signals",)
    X, y = (
        recipe.array()
        for recipe in drawn(data, name, kinds=kinds, hostile=False, max_units=20)
    )
    dense, _ = fitted(promise.estimator, X, y)
    stacks = [LayerStack([csr_array(X)]), LayerStack([csr_array(y)])]
    sparse, _ = fitted(promise.estimator, *stacks)
    assert sparse.cost_ == pytest.approx(dense.cost_, abs=promise.tolerance)


# -- what costs ignore -------------------------------------------------------------


def transform(population, kind, rng):
    """Return a population after a transformation of its units."""
    n_units = population.shape[1]
    if kind == "permutation":
        return population[:, rng.permutation(n_units)]
    if kind == "scaling":
        return population * np.exp(rng.normal(0, 4))
    if kind == "translation":
        return population + rng.normal(size=n_units) * population.std()
    if kind == "sign":
        return population * rng.choice([-1, 1], n_units)
    assert kind == "orthogonal"
    return population @ ortho_group.rvs(n_units, random_state=rng)


@every_estimator
@examples(2)
@given(data=st.data())
def test_costs_ignore_what_they_promise_to_ignore(name, data):
    promise = PROMISES[name]
    kind = data.draw(st.sampled_from(sorted(promise.ignores)))
    X, y = (recipe.array() for recipe in drawn(data, name, generic_pairs))
    cost = fitted(promise.estimator, X, y)[0].cost_
    rng = np.random.default_rng(data.draw(SEEDS))
    for pair in (
        (transform(X, kind, rng), y),
        (X, transform(y, kind, rng)),
    ):
        changed = fitted(promise.estimator, *pair)[0].cost_
        assert changed == pytest.approx(cost, abs=promise.tolerance)


@named(lambda promise: not promise.splits_rows)
@examples(1)
@given(data=st.data())
def test_the_order_of_the_stimuli_changes_no_cost(name, data):
    promise = PROMISES[name]
    X, y = (recipe.array() for recipe in drawn(data, name, generic_pairs))
    order = np.random.default_rng(data.draw(SEEDS)).permutation(len(X))
    cost = fitted(promise.estimator, X, y)[0].cost_
    shuffled = fitted(promise.estimator, X[order], y[order])[0].cost_
    assert shuffled == pytest.approx(cost, abs=promise.tolerance)


@every_estimator
@examples(1)
@given(data=st.data())
def test_plans_and_predictions_follow_the_units(name, data):
    promise = PROMISES[name]
    # With few stimuli two units can have the same ranks, or span everything.
    X, y = (
        recipe.array() for recipe in drawn(data, name, generic_pairs, min_stimuli=10)
    )
    rng = np.random.default_rng(data.draw(SEEDS))
    rows, columns = (rng.permutation(side.shape[1]) for side in (X, y))
    model, _ = fitted(promise.estimator, X, y)
    moved, _ = fitted(promise.estimator, X[:, rows], y[:, columns])
    if hasattr(model, "coupling_") and not hasattr(model, "layer_costs_"):
        expected = model.coupling_.toarray()[np.ix_(rows, columns)]
        np.testing.assert_allclose(moved.coupling_.toarray(), expected, atol=1e-9)
    if hasattr(model, "predict"):
        for predicted, expected in (
            (moved.predict(X[:, rows]), model.predict(X)[:, columns]),
            (moved.inverse_predict(y[:, columns]), model.inverse_predict(y)[:, rows]),
        ):
            np.testing.assert_allclose(
                predicted, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
            )


@named(lambda promise: promise.is_symmetric)
@examples(1)
@given(data=st.data())
def test_swapped_sides_have_the_same_cost_and_the_transposed_plan(name, data):
    promise = PROMISES[name]
    X, y = (recipe.array() for recipe in drawn(data, name, generic_pairs))
    there, _ = fitted(promise.estimator, X, y)
    back, _ = fitted(promise.estimator, y, X)
    assert back.cost_ == pytest.approx(there.cost_, abs=promise.tolerance)
    if hasattr(there, "coupling_") and not hasattr(there, "layer_costs_"):
        np.testing.assert_allclose(
            back.coupling_.toarray(), there.coupling_.toarray().T, atol=1e-9
        )
    if hasattr(there, "predict"):
        np.testing.assert_allclose(
            back.inverse_predict(X), there.predict(X), rtol=0, atol=1e-7
        )


@named(lambda promise: not promise.is_symmetric)
def test_other_estimators_have_a_witness_that_they_are_directed(name):
    promise = PROMISES[name]

    def is_directed(recipes):
        X, y = (recipe.array() for recipe in recipes)
        costs = [fitted(promise.estimator, *pair)[0].cost_ for pair in ((X, y), (y, X))]
        return abs(costs[0] - costs[1]) > 0.01

    find(generic_pairs(min_stimuli=max(6, promise.min_stimuli)), is_directed)


# Constant units are part of the patterns of an RDM.
@named(lambda promise: not isinstance(promise.estimator, RSA))
@examples(1)
@given(data=st.data())
def test_dead_units_take_no_part(name, data):
    promise = PROMISES[name]
    X, y = (recipe.array() for recipe in drawn(data, name, generic_pairs))
    value = data.draw(st.sampled_from([0.0, 0.1, -7.0, 1e30]))
    cost = fitted(promise.estimator, X, y)[0].cost_
    dead = [np.insert(side, side.shape[1] // 2, value, axis=1) for side in (X, y)]
    assert fitted(promise.estimator, *dead)[0].cost_ == pytest.approx(
        cost, abs=promise.tolerance
    )


# -- soft matching -----------------------------------------------------------------


def curves_of(side, metric):
    """Return live units in extended precision, as a metric compares them."""
    live = (side != side[0]).any(axis=0)
    units = np.asarray(side[:, live], dtype=np.longdouble)
    # Squares of 1e30 are too large for the longdouble of some machines.
    units = units / np.abs(units).max(axis=0 if metric != "sqeuclidean" else None)
    if metric != "cosine":
        units = units - units.mean(axis=0)
    norms = np.sqrt((units**2).sum(axis=0))
    if metric == "sqeuclidean":
        return units / np.sqrt((norms**2).mean()), live
    return units / norms, live


def distances_of(X, y, metric):
    """Return the distances of live units in extended precision, and who is live."""
    (first, rows), (second, columns) = (curves_of(side, metric) for side in (X, y))
    products = first.T @ second
    if metric == "sqeuclidean":
        squared = [(side**2).sum(axis=0) for side in (first, second)]
        costs = squared[0][:, np.newaxis] + squared[1] - 2 * products
    else:
        costs = 1 - (np.abs(products) if metric == "abs_correlation" else products)
    return costs, products, (rows, columns)


def scale_of_small_costs(X, y, metric):
    if metric != "sqeuclidean":
        return 1.0
    return max(
        float(np.median((curves_of(side, metric)[0] ** 2).sum(axis=0)))
        for side in (X, y)
    )


@pytest.mark.parametrize("metric", METRICS)
@examples(4)
@given(recipes=pairs())
def test_soft_matching_is_optimal_by_its_potentials_in_extended_precision(
    metric, recipes
):
    X, y = (recipe.array() for recipe in recipes)
    model, has_converged = fitted(SoftMatching(metric), X, y)
    costs, products, (rows, columns) = distances_of(X, y, metric)
    plan = model.coupling_.toarray()
    assert (plan >= 0).all()
    assert np.count_nonzero(plan) <= rows.sum() + columns.sum() - 1
    np.testing.assert_allclose(plan.sum(axis=1), rows / rows.sum(), atol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=0), columns / columns.sum(), atol=1e-12)
    assert np.isnan(model.potentials_[0][~rows]).all()
    assert np.isnan(model.potentials_[1][~columns]).all()
    u, v = model.potentials_[0][rows], model.potentials_[1][columns]
    single = "float32" in (recipes[0].dtype, recipes[1].dtype)
    single |= "float16" in (recipes[0].dtype, recipes[1].dtype)
    rounding = (ROUNDING_32 if single else 1e-9) * max(float(np.abs(costs).max()), 1.0)
    cost = float((plan[np.ix_(rows, columns)] * costs).sum())
    assert abs(cost - model.cost_) <= rounding
    violation = max(float((u[:, np.newaxis] + v - costs).max()), 0.0)
    assert violation <= rounding
    gap = cost - float(u.mean() + v.mean()) + violation
    assert gap <= 3 * rounding
    if metric != "sqeuclidean":
        assert has_converged
    elif has_converged and not single:
        # Among quiet units too: potentials of the quiet ones alone are a proof.
        scale = scale_of_small_costs(X, y, metric)
        eps = np.finfo(np.float64).eps
        assert gap <= 1e-8 * scale + 64 * eps * float(np.abs(costs).max())
    if metric == "abs_correlation":
        matched = plan[np.ix_(rows, columns)] > 0
        signs = model.signs_.toarray()[np.ix_(rows, columns)][matched]
        assert (signs * products[matched] >= -rounding).all()


@st.composite
def loud_pairs(draw):
    """Draw two small populations that both have loud units."""
    first, second = draw(generic_pairs(max_units=8))
    n_loud = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return tuple(
        recipe.resized(n_units=max(recipe.n_units, 2 * n), n_loud=n)
        for recipe, n in zip((first, second), n_loud, strict=True)
    )


# Found wrong before costs were clipped at twice the gap, and with their rounding.
@example(
    recipes=(
        Population(23, 3, "noise", 91, n_loud=1),
        Population(23, 4, "noise", 91 + OTHER_SEED, n_loud=1),
    )
)
@example(
    recipes=(
        Population(27, 6, "noise", 226, n_loud=1),
        Population(27, 7, "noise", 226 + OTHER_SEED, n_loud=1),
    )
)
@examples(4)
@given(recipes=loud_pairs())
def test_quiet_units_are_matched_best_among_themselves_beside_loud_ones(recipes):
    X, y = (recipe.array() for recipe in recipes)
    # Whether or not the proof of the plan is lost in the rounding of loud units.
    model, _ = fitted(SoftMatching("sqeuclidean"), X, y)
    (first, _), (second, _) = (curves_of(side, "sqeuclidean") for side in (X, y))
    costs = (-2 * first.T @ second).astype(np.float64)
    excess = proofs.exact_excess(model.coupling_.toarray(), costs)
    assert excess <= 1e-9 * scale_of_small_costs(X, y, "sqeuclidean")


@pytest.mark.parametrize("metric", METRICS)
@examples(2)
@given(recipes=generic_pairs())
def test_soft_matching_has_the_plan_of_another_solver(metric, recipes):
    X, y = (recipe.array() for recipe in recipes)
    costs, *_ = distances_of(X, y, metric)
    expected, cost = reference.transport(costs)
    model, _ = fitted(SoftMatching(metric), X, y)
    assert model.cost_ == pytest.approx(cost, abs=1e-9)
    np.testing.assert_allclose(model.coupling_.toarray(), expected, atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@examples(1)
@given(recipes=pairs(), seed=SEEDS)
def test_a_shuffled_and_rescaled_copy_costs_nothing(metric, recipes, seed):
    X = recipes[0].resized(dtype="float64", layout="C").array()
    rng = np.random.default_rng(seed)
    # Powers of two do not round.
    copy = np.ldexp(X[:, rng.permutation(X.shape[1])], int(rng.integers(-20, 20)))
    matching, _ = fitted(SoftMatching(metric), X, copy)
    assert 0 <= matching.cost_ <= 1e-12
    if metric == "correlation":
        one_to_one, _ = fitted(OneToOneMatching(), X, copy)
        assert 0 <= one_to_one.cost_ <= 1e-12


@pytest.mark.parametrize("metric", METRICS)
@examples(1)
@given(data=st.data())
def test_weighted_units_have_their_masses_and_whole_weights_are_copies(metric, data):
    X, y = (recipe.array() for recipe in data.draw(generic_pairs()))
    given_weights = [data.draw(weights(side.shape[1])) for side in (X, y)]
    if any(side is not None for side in given_weights):
        settings = {"source_weights": given_weights[0]}
        settings["target_weights"] = given_weights[1]
        model, _ = fitted(SoftMatching(metric, **settings), X, y)
        plan = model.coupling_.toarray()
        for side, masses, axis in zip(
            given_weights, model.masses_, (1, 0), strict=True
        ):
            if side is not None:
                np.testing.assert_allclose(masses, side / side.sum(), atol=2e-12)
            np.testing.assert_allclose(plan.sum(axis=axis), masses, atol=1e-12)
        assert np.abs(model.score(X, y)) <= 1
        assert np.abs(model.matching_score(X, y)) <= 1 + 1e-12
    copies = data.draw(
        st.lists(st.integers(0, 3), min_size=X.shape[1], max_size=X.shape[1])
    )
    if any(copies):
        repeated, _ = fitted(SoftMatching(metric), np.repeat(X, copies, axis=1), y)
        weighted, _ = fitted(SoftMatching(metric, source_weights=copies), X, y)
        assert weighted.cost_ == pytest.approx(repeated.cost_, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@examples(1)
@given(recipes=pairs(), masses=st.lists(st.floats(0.01, 1), min_size=2, max_size=3))
def test_partial_matching_keeps_the_mass_and_never_costs_less_with_more(
    metric, recipes, masses
):
    X, y = (recipe.array() for recipe in recipes)
    costs = []
    for mass in sorted(masses):
        model, _ = fitted(SoftMatching(metric, mass=mass), X, y)
        plan = model.coupling_.toarray()
        assert plan.sum() == pytest.approx(mass, abs=1e-12)
        for matched, axis in zip(model.matched_, (1, 0), strict=True):
            n_live = plan.shape[1 - axis] - len(
                (model.dead_source_units_, model.dead_target_units_)[1 - axis]
            )
            assert ((matched >= 0) & (matched <= 1)).all()
            np.testing.assert_allclose(
                plan.sum(axis=axis), matched / n_live, atol=1e-12
            )
        costs.append(model.cost_)
    assert (np.diff(costs) >= -1e-6).all()


def test_the_matching_score_of_copies_is_not_rounded_above_one():
    rng = np.random.default_rng(0)
    for n_stimuli in range(2, 60):
        X = rng.normal(size=(n_stimuli, 5))
        model, _ = fitted(SoftMatching(), X, X)
        assert model.matching_score(X, X) <= 1


@pytest.mark.parametrize("reconstruct", ["standardized", "raw"])
def test_predictions_have_at_least_the_precision_of_what_they_predict(reconstruct):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3)).astype(np.float32)
    y = np.insert(rng.normal(size=(20, 3)), 1, 0.1, axis=1)
    model, _ = fitted(SoftMatching(reconstruct=reconstruct), X, y)
    predicted = model.predict(X)
    assert predicted.dtype == np.float64
    # A constant unit is predicted as it was, not as float32 has it.
    np.testing.assert_array_equal(predicted[:, 1], 0.1)


# -- rotations ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["sqeuclidean", "correlation"])
@examples(4)
@given(recipes=pairs(), seed=SEEDS)
def test_the_objective_of_a_rotation_never_rises(metric, recipes, seed):
    X, y = (recipe.array() for recipe in recipes)
    estimator = RotationMatching(metric, tol=0, max_iter=8, n_init=2, random_state=seed)
    model, _ = fitted(estimator, X, y)
    single = X.dtype != np.float64 or y.dtype != np.float64
    rounding = ROUNDING_32 if single else 1e-9
    rotation = model.rotation_
    n_live = X.shape[1] - len(model.dead_source_units_)
    np.testing.assert_allclose(
        rotation.T @ rotation, np.eye(n_live), atol=10 * rounding
    )
    objective, error = (model.path_[key] for key in ("objective", "error"))
    assert len(objective) == len(error) == model.n_iter_
    assert ((objective >= -rounding) & (objective <= 4 + rounding)).all()
    if metric == "sqeuclidean":
        assert (np.diff(objective) <= rounding).all()
    assert model.cost_ == pytest.approx(error[objective.argmin()], abs=10 * rounding)
    plan = model.coupling_.toarray()
    assert (plan >= 0).all()
    live = np.ones(X.shape[1])
    live[model.dead_source_units_] = 0
    np.testing.assert_allclose(plan.sum(axis=1), live / n_live, atol=1e-12)


@examples(1)
@given(recipes=generic_pairs())
def test_the_cost_of_a_rotation_is_the_error_of_the_source(recipes):
    X, y = (recipe.array() for recipe in recipes)
    model, _ = fitted(RotationMatching(max_iter=6), X, y)
    (zx, zy) = ((side - side.mean(axis=0)) / side.std(axis=0) for side in (X, y))
    reconstructed = zy @ (X.shape[1] * model.coupling_.toarray()).T
    expected = np.mean((zx @ model.rotation_ - reconstructed) ** 2)
    assert model.cost_ == pytest.approx(expected, abs=1e-9)
    # No rotation of a random pair reconstructs better with this plan.
    rng = np.random.default_rng(0)
    for _ in range(3):
        other = ortho_group.rvs(max(2, X.shape[1]), random_state=rng)
        if X.shape[1] == 1:
            other = np.array([[-1.0]])
        assert np.mean((zx @ other - reconstructed) ** 2) >= expected - 1e-9


def test_no_test_changes_an_estimator_of_the_table():
    # Fits are of clones, so that one example does not depend on another.
    for promise in PROMISES.values():
        assert repr(clone(promise.estimator)) == repr(promise.estimator)
        assert not hasattr(promise.estimator, "cost_")
