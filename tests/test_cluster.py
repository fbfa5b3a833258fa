"""Pairs side by side on a cluster of real worker processes, by Dask."""

import os
from collections import Counter

import joblib
import numpy as np
import pytest
from sklearn.base import clone

from skmot import CKA, MultiLevelOT
from tests.estimators import Witness
from tests.networks import (
    assert_same_fit,
    random_networks,
    trajectories,
    wide_networks,
)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes on this machine, by Dask."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            processes=True,
            threads_per_worker=1,
            host="127.0.0.1",
            # Any free port: another cluster may have the usual one.
            dashboard_address="127.0.0.1:0",
        ) as workers,
        distributed.Client(workers) as client,
    ):
        yield client


@pytest.fixture
def sent(cluster, monkeypatch):
    """Collect how many bytes the arguments of each task have."""
    from distributed.protocol.pickle import dumps

    sizes, submit = [], cluster.submit

    def watching(function, *args, tasks, **kwargs):
        sizes.append(len(dumps(tasks)))
        return submit(function, *args, tasks=tasks, **kwargs)

    monkeypatch.setattr(cluster, "submit", watching)
    return sizes


@pytest.mark.parametrize(
    "mot",
    [
        MultiLevelOT(),
        MultiLevelOT(cost_cv=2),
        MultiLevelOT(MultiLevelOT()),
        MultiLevelOT(MultiLevelOT(n_jobs=2), cost_cv=2),
        MultiLevelOT(CKA()),
    ],
    ids=str,
)
def test_a_cluster_gives_the_same_bits(cluster, sent, mot):
    nested = isinstance(mot.inner, MultiLevelOT)
    X, y = trajectories() if nested else wide_networks()
    with joblib.parallel_config("dask"):
        far = clone(mot).fit(X, y)
    assert len(sent) >= 6
    assert_same_fit(far, clone(mot).fit(X, y))


def test_layers_in_files_travel_as_references(cluster, sent, tmp_path):
    rng = np.random.default_rng(0)
    X, y = [], []
    for side, name in ((X, "x"), (y, "y")):
        for index in range(3):
            path = tmp_path / f"{name}{index}.npy"
            np.save(path, rng.normal(size=(5_000, 20)).astype(np.float32))
            side.append(np.load(path, mmap_mode="r"))
    plain = MultiLevelOT(n_jobs=1).fit(X, y)
    with joblib.parallel_config("dask"):
        far = MultiLevelOT().fit(X, y)
    assert_same_fit(far, plain)
    # 400 kilobytes a layer, two layers a pair; a task may have several pairs.
    assert 0 < sum(sent) < 9 * 10_000


def test_a_cluster_keeps_pairs_and_finds_them(cluster, sent, tmp_path):
    X, y = wide_networks()
    with joblib.parallel_config("dask"):
        mot = MultiLevelOT(memory=str(tmp_path)).fit(X, y)
        assert len(sent) > 0
        sent.clear()
        again = MultiLevelOT(memory=str(tmp_path)).fit(X, y)
    assert sent == []
    assert_same_fit(mot, again)
    assert_same_fit(mot, MultiLevelOT().fit(X, y))


def test_what_foreign_estimators_warn_of_in_a_cluster_is_told_once(cluster):
    X, y = random_networks()
    with (
        joblib.parallel_config("dask"),
        pytest.warns(UserWarning, match=r"strange \(12 time\(s\) in all\)") as caught,
    ):
        MultiLevelOT(Witness("strange")).fit(X, y)
    assert len(caught) == 1


def test_a_lost_worker_costs_its_running_pair_only(cluster, tmp_path):
    X, y = random_networks()
    path, died = tmp_path / "fits", tmp_path / "died"
    # Long enough for each pair to be a task of its own, and for what came before it to
    # have been fetched.
    inner = Witness(path=str(path), seconds=0.3, dies_once=str(died))
    with joblib.parallel_config("dask"):
        mot = MultiLevelOT(inner).fit(X, y)
    assert died.exists()
    # Only the pair that was running in it is fitted twice.
    assert sorted(Counter(path.read_text().split()).values()) == [1] * 11 + [2]
    assert os.getpid() not in {pair.process_ for row in mot.inner_ for pair in row}
    np.testing.assert_array_equal(
        mot.layer_costs_, MultiLevelOT(Witness()).fit(X, y).layer_costs_
    )
