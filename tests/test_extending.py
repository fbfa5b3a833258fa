"""The page "Write your own similarity": what it shows works in a module, as it says."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.utils.estimator_checks import check_estimator

from skmot import LayerStack, MultiLevelOT
from skmot.exceptions import DeadUnitWarning

PAGE = Path(__file__).parents[1] / "doc" / "extending.rst"
MOST_LINES = 60


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page's class in a file of its own, as a new author would write it."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if "class ReducedRank" in line)
    imports = [
        re.sub(r"^>>> ", "", line)
        for line in lines[:start]
        if line.startswith((">>> import numpy", ">>> from skmot.base"))
    ]
    body = [re.sub(r"^>>> ", "", lines[start])]
    for line in lines[start + 1 :]:
        if not line.startswith("..."):
            break
        body.append(line[4:])
    path = tmp_path_factory.mktemp("own") / "reduced_rank.py"
    path.write_text("\n".join([*imports, "", "", *body, ""]), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("reduced_rank", path)
    module = sys.modules["reduced_rank"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield path, module.ReducedRankMapping
    del sys.modules["reduced_rank"]


def test_the_file_is_short(written):
    path, _ = written
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES


# The checks draw data at random, some of it with constant units.
@pytest.mark.filterwarnings(f"ignore::{DeadUnitWarning.__module__}.DeadUnitWarning")
@pytest.mark.parametrize("above", [False, True])
def test_the_class_passes_scikit_learns_checks(written, above):
    _, mapping = written
    estimator = MultiLevelOT(mapping()) if above else mapping()
    results = check_estimator(estimator, on_skip=None)
    assert len(results) > 40
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_the_class_finds_shared_dimensions_and_no_others(written):
    _, mapping = written
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(200, 2))
    X = shared @ rng.normal(size=(2, 6)) + 0.01 * rng.normal(size=(200, 6))
    y = shared @ rng.normal(size=(2, 5))
    assert mapping(rank=2).fit(X, y).score(X, y) > 0.999
    assert mapping(rank=1).fit(X, y).score(X, y) < 0.99


def test_the_class_works_in_every_way_that_the_page_promises(written, tmp_path):
    _, mapping = written
    rng = np.random.default_rng(1)
    source = [rng.normal(size=(80, n)) for n in (5, 7)]
    target = [
        layer @ rng.normal(size=(n, 6)) for layer, n in zip(source, (5, 7), strict=True)
    ]
    X, y = LayerStack(source), LayerStack(target[::-1])
    plain = MultiLevelOT(mapping(5), cost_cv=3).fit(X, y)
    np.testing.assert_array_equal(plain.coupling_ > 0, [[False, True], [True, False]])
    for settings in ({"n_jobs": 2}, {"memory": str(tmp_path)}):
        # Processes could not import a module of a temporary folder.
        with parallel_config("threading"):
            again = MultiLevelOT(mapping(5), cost_cv=3, **settings).fit(X, y)
        np.testing.assert_allclose(again.layer_costs_, plain.layer_costs_, rtol=1e-9)
    nested = MultiLevelOT(MultiLevelOT(mapping(5))).fit(
        LayerStack([X, X]), LayerStack([y, y])
    )
    assert nested.score(LayerStack([X, X]), LayerStack([y, y])) > 0.5
