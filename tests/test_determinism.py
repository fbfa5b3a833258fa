"""Numbers are the same wherever and however often they are computed.

They have the same bits in every process, thread, backend and repetition, and differ by
rounding errors between numbers of BLAS threads. `benchmarks/versions.py` compares them
between versions of the dependencies.
"""

import inspect
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skmot import (
    LayerStack,
    LinearPredictivity,
    MultiLevelOT,
    MultiLevelOTRotation,
    SoftMatching,
    TemplateMOT,
)
from skmot.exceptions import DeadUnitWarning
from skmot.model_selection import (
    compare,
    coupling_stability,
    hierarchy_test,
    joint_permutation_test,
    pairwise_costs,
    permutation_control,
)
from skmot.partial import mass_curve
from tests.networks import random_networks, rows, trajectories, wide_networks
from tests.properties.promises import PROMISES
from tests.public import public_modules

ROOT = Path(__file__).parents[1]
BACKENDS = ["sequential", "loky", "threading", "multiprocessing"]
TRAINING, HELD_OUT = slice(0, 150), slice(150, 200)
# They run functions and regressors of users, with as many threads as these like.
USERS_CODE = {"FunctionComparison", "RegressorMapping"}
every_estimator = pytest.mark.parametrize("name", sorted(PROMISES))


def assert_same_bits(first, second):
    """Compare numbers in arrays, lists, dicts and tables, bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert list(first) == list(second)
        first, second = list(first.values()), list(second.values())
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        for part, other in zip(first, second, strict=True):
            assert_same_bits(part, other)
    elif hasattr(first, "toarray"):
        np.testing.assert_array_equal(first.toarray(), second.toarray())
    else:
        np.testing.assert_array_equal(first, second)


def numbers_of(fitted, X, y):
    """Return what is learned in a fit, and read of it on held-out stimuli."""
    names = ("cost_", "layer_costs_", "coupling_", "inverse_coupling_", "rotation_")
    numbers = {name: getattr(fitted, name) for name in names if hasattr(fitted, name)}
    if hasattr(fitted, "inner_"):
        numbers["inner costs"] = [inner.cost_ for row in fitted.inner_ for inner in row]
    # Predictions depend on the bits of all maps.
    readings = {"held_out_cost": (X, y), "score": (X, y), "predict": (X,)}
    readings |= {"inverse_predict": (y,)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadUnitWarning)
        for name, sides in readings.items():
            if hasattr(fitted, name):
                value = getattr(fitted, name)(*sides)
                numbers[name] = list(getattr(value, "layers", [value]))
    return numbers


def fitted_numbers(
    estimator, networks, training=TRAINING, held_out=HELD_OUT, *, blas_threads=1
):
    """Fit a clone to a part of two networks, and return its numbers."""
    X, y = (LayerStack(side) for side in networks)
    with (
        warnings.catch_warnings(),
        threadpool_limits(blas_threads, user_api="blas"),
    ):
        # Few rounds do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = clone(estimator).fit(X[training], y[training])
    return numbers_of(fitted, X[held_out], y[held_out])


# -- the same bits ---------------------------------------------------------------------


@every_estimator
def test_a_second_fit_has_the_same_bits(name):
    networks = [side[:1] for side in wide_networks()]
    first, second = (fitted_numbers(PROMISES[name].estimator, networks) for _ in "12")
    assert_same_bits(first, second)


@every_estimator
def test_side_by_side_pairs_have_the_same_bits(name):
    # Each estimator as the inner one: of pairs, or of the layers in two networks.
    inner = PROMISES[name].estimator
    if hasattr(inner, "n_jobs"):
        networks, parts = trajectories(2, 2), (slice(0, 40), slice(40, 60))
    else:
        networks, parts = wide_networks(), (TRAINING, HELD_OUT)
    one = fitted_numbers(MultiLevelOT(inner, cost_cv=2), networks, *parts)
    # Each pair has one BLAS thread, however many there are.
    blas_threads = 1 if name in USERS_CODE else 2
    for n_jobs in (1, 2):
        mot = MultiLevelOT(inner, cost_cv=2, n_jobs=n_jobs)
        found = fitted_numbers(mot, networks, *parts, blas_threads=blas_threads)
        assert_same_bits(found, one)


LEVELS = {
    "pairs": MultiLevelOT(n_jobs=2),
    "pairs, ridge": MultiLevelOT(LinearPredictivity(random_state=0), n_jobs=2),
    "pairs, cost_cv, weights": MultiLevelOT(
        SoftMatching("abs_correlation", source_weights="variance"), cost_cv=2, n_jobs=2
    ),
    "rotations": MultiLevelOTRotation(max_iter=2, tol=1.0, n_jobs=2),
}


@cache
def numbers_alone(level):
    """Return the numbers of a level that solves one pair after another."""
    mot = clone(LEVELS[level]).set_params(n_jobs=None)
    return fitted_numbers(mot, wide_networks())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", LEVELS)
def test_backends_that_users_choose_give_the_same_bits(level, backend):
    networks = wide_networks()
    with joblib.parallel_config(backend):
        found = fitted_numbers(LEVELS[level], networks)
    assert_same_bits(found, numbers_alone(level))


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_give_the_same_bits_of_networks_in_networks(backend):
    networks, parts = trajectories(), (slice(0, 40), slice(40, 60))
    deep = MultiLevelOT(MultiLevelOT(), cost_cv=2)
    with joblib.parallel_config(backend):
        found = fitted_numbers(clone(deep).set_params(n_jobs=2), networks, *parts)
    assert_same_bits(found, fitted_numbers(deep, networks, *parts))


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_give_the_same_bits_of_a_template(backend):
    networks = trajectories(2, 1)[0]

    def template(n_jobs):
        mot = MultiLevelOT(n_jobs=n_jobs)
        fitted = TemplateMOT(inner=mot, max_iter=2, tol=1.0, random_state=0)
        fitted.fit(networks)
        return [fitted.costs_, list(fitted.template_.layers)]

    with joblib.parallel_config(backend):
        found = template(2)
    assert_same_bits(found, template(None))


# -- functions of many fits ------------------------------------------------------------

X, Y = random_networks((7, 5), (6, 9), n_stimuli=40)
DEEP = random_networks((7, 5, 6, 8), (6, 9, 7, 5), n_stimuli=40)
FUNCTIONS = {
    compare: lambda **given: compare(
        {"a": X},
        {"b": Y, "c": rows(X, slice(None, None, -1))},
        {"mot": MultiLevelOT(), "soft": SoftMatching()},
        cv=2,
        random_state=0,
        verbose=False,
        **given,
    ).to_frame(),
    coupling_stability: lambda **given: coupling_stability(
        MultiLevelOT(), X, Y, n_resamples=4, random_state=0, **given
    ),
    hierarchy_test: lambda **given: hierarchy_test(
        MultiLevelOT(), *DEEP, n_permutations=19, random_state=0, **given
    ),
    joint_permutation_test: lambda **given: joint_permutation_test(
        MultiLevelOT(),
        {"a": X},
        {"b": Y, "c": rows(X, slice(None, None, -1))},
        n_permutations=19,
        random_state=0,
        **given,
    ),
    mass_curve: lambda **given: mass_curve(
        X[0], Y[0], (0.4, 0.7, 1.0), cv=2, n_permutations=19, random_state=0, **given
    ),
    pairwise_costs: lambda **given: pairwise_costs([X, Y], MultiLevelOT(), **given),
    permutation_control: lambda **given: permutation_control(
        MultiLevelOT(), X, Y, cv=2, n_permutations=19, random_state=0, **given
    ),
}


def comparable(result):
    """Return the numbers of a result, without the time that it took."""
    if hasattr(result, "columns"):
        result = {column: result[column].tolist() for column in result.columns}
    if not isinstance(result, dict):
        return result
    return {
        name: value
        for name, value in result.items()
        if name != "seconds"
        and isinstance(value, int | float | str | list | np.ndarray)
    }


def test_every_function_with_n_jobs_is_listed():
    found = set()
    for module in public_modules():
        for name in module.__all__:
            public = getattr(module, name)
            if not inspect.isfunction(public):
                continue
            if "n_jobs" in inspect.signature(public).parameters:
                found.add(name)
    assert found == {function.__name__ for function in FUNCTIONS}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_functions_of_many_fits_have_the_same_bits_in_all_backends(function):
    alone = comparable(FUNCTIONS[function](n_jobs=None))
    if isinstance(alone, dict):
        assert any(
            isinstance(value, float | list | np.ndarray) for value in alone.values()
        )
    for backend in BACKENDS:
        with joblib.parallel_config(backend):
            found = comparable(FUNCTIONS[function](n_jobs=2))
        assert_same_bits(found, alone)


# -- rounding --------------------------------------------------------------------------


@every_estimator
def test_blas_threads_change_costs_and_scores_by_rounding_only(name):
    # In float32, whose sums differ most.
    networks = [side[:1] for side in wide_networks()]
    found = []
    for blas_threads in (1, 2):
        numbers = fitted_numbers(
            PROMISES[name].estimator, networks, blas_threads=blas_threads
        )
        read = [numbers["cost_"], *numbers["held_out_cost"], *numbers.get("score", [])]
        found.append(np.array(read))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-6)


def test_fresh_processes_write_the_same_numbers(tmp_path):
    # Sets of strings are in another order with another seed of their hashes.
    contents = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.json"
        subprocess.run(
            [
                sys.executable,
                ROOT / "benchmarks" / "versions.py",
                "write",
                path,
                "--inputs",
                "simulated",
            ],
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        )
        contents.append(path.read_text())
    assert len(contents[0]) > 10_000
    assert contents[0] == contents[1]
