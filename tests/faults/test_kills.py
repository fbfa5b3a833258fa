"""Fits that are killed or interrupted, and what is left of them."""

import os
import signal
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from skmot import MultiLevelOT
from tests.faults.processes import (
    LoggedMatching,
    OwnProcess,
    entries,
    n_begun,
    wait_until,
)
from tests.networks import assert_same_fit, random_networks

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="processes are counted in /proc"
)

FIT = """
import sys
import joblib
from skmot import MultiLevelOT
from tests.faults.processes import LoggedMatching
from tests.networks import random_networks

backend, n_jobs, memory = sys.argv[1:]
mot = MultiLevelOT(LoggedMatching(), n_jobs=int(n_jobs), memory=memory or None)
with joblib.parallel_config(backend):
    mot.fit(*random_networks())
"""
N_PAIRS = 3 * 4


@pytest.mark.parametrize(
    ("backend", "n_jobs", "seed"), [("threading", 1, 0), ("threading", 2, 1)]
)
def test_a_fit_killed_at_a_random_moment_goes_on_where_it_was(
    tmp_path, monkeypatch, backend, n_jobs, seed
):
    rng, kept = np.random.default_rng(seed), tmp_path / "kept"
    fit = OwnProcess(FIT, backend, n_jobs, kept, folder=tmp_path, seconds=0.03)
    with fit:
        fit.wait_for_pairs(rng.integers(1, N_PAIRS - 2))
        time.sleep(rng.uniform(0, 0.03))
        os.kill(fit.process.pid, signal.SIGKILL)
        fit.result()
    n_kept, n_before = len(entries(kept)), n_begun(fit.log)
    assert 0 < n_before < N_PAIRS
    if n_jobs == 1:
        # Side by side, joblib may hand over several finished pairs at once.
        assert n_kept >= n_before - 1
    monkeypatch.setenv("PAIRS_LOG", str(fit.log))
    X, y = random_networks()
    resumed = MultiLevelOT(LoggedMatching(), memory=str(kept)).fit(X, y)
    assert n_begun(fit.log) - n_before == N_PAIRS - n_kept
    assert len(entries(kept)) == N_PAIRS
    assert_same_fit(resumed, MultiLevelOT(LoggedMatching()).fit(X, y))


# A terminal sends an interrupt to the whole group, workers included; a notebook sends
# it to the main process alone.
@pytest.mark.parametrize("send", [os.killpg, os.kill])
def test_an_interrupt_leaves_no_process_and_no_temporary_file(tmp_path, send):
    kept = tmp_path / "kept"
    with OwnProcess(FIT, "loky", 2, kept, folder=tmp_path, seconds=0.2) as fit:
        fit.wait_for_pairs(3)
        wait_until(lambda: entries(kept))
        assert len(fit.family()) > 2
        send(fit.process.pid, signal.SIGINT)
        _, errors = fit.result()
        assert fit.process.returncode != 0
        assert "KeyboardInterrupt" in errors
        assert fit.leaves_nothing()
    # What was finished is kept.
    assert 0 < len(entries(kept)) < N_PAIRS


def test_a_killed_worker_is_an_error_that_loses_its_own_pairs_only(
    tmp_path, monkeypatch
):
    log, kept = tmp_path / "log", tmp_path / "kept"
    monkeypatch.setenv("PAIRS_LOG", str(log))
    monkeypatch.setenv("PAIRS_DIES", str(tmp_path / "died"))
    X, y = random_networks()
    mot = MultiLevelOT(LoggedMatching(), n_jobs=2, memory=str(kept))
    # Workers inherit the environment when they start.
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    with joblib.parallel_config("loky"):
        with pytest.raises(TerminatedWorkerError):
            mot.fit(X, y)
        n_kept, n_before = len(entries(kept)), n_begun(log)
        assert (tmp_path / "died").exists()
        assert n_kept < N_PAIRS
        # The same call goes on, with new workers.
        mot.fit(X, y)
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    assert n_begun(log) - n_before == N_PAIRS - n_kept
    assert_same_fit(mot, MultiLevelOT(LoggedMatching()).fit(X, y))
