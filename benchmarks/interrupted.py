"""Fits with `memory=` that are killed, resumed, counted and compared bit for bit."""

import hashlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from measure import in_fresh_process
from problems import load_network

from skmot import LayerStack, MultiLevelOT, SoftMatching


@dataclass
class Outcome:
    """What a fit has learned, and what it took.

    Attributes
    ----------
    digest : str
        Hash of the costs, the coupling, and the plans of all pairs.
    n_solved : int
        Number of pairs that were solved, not found in the folder.
    seconds : float
        Wall time of the fit.
    """

    digest: str
    n_solved: int
    seconds: float


class CountedMatching(SoftMatching):
    """Soft matching that writes a byte to a file for each pair that it solves.

    The file is named by the environment, so that all workers write to it.
    """

    def _solve(self, source, target):
        with open(os.environ["SOLVED"], "ab") as counts:
            counts.write(b".")
        return super()._solve(source, target)


def fit(networks, memory, backend="threading", n_jobs=1, killed_at=None):
    """Fit to memory-mapped layers, perhaps until the process is killed.

    Parameters
    ----------
    networks : tuple of list of path-like
        Files of the layers of the source and of the target.
    memory : str or None
        Folder of the disk cache.
    backend, n_jobs : str, int
        How joblib runs the pairs.
    killed_at : tuple of (int, float), default=None
        Number of pairs that are kept in the folder, and the seconds after that, when
        this process kills itself and its workers, as a batch system does.

    Returns
    -------
    outcome : Outcome
        What was learned.
    """
    X, y = (LayerStack(load_network(paths, mmap_mode="r")) for paths in networks)
    os.environ["SOLVED"] = counts = str(networks[0][0]) + f".{os.getpid()}"
    Path(counts).touch()
    start = time.perf_counter()
    if killed_at is not None:
        os.setsid()
        killer = threading.Thread(target=_kill, args=(memory, *killed_at), daemon=True)
        killer.start()
    with joblib.parallel_config(backend):
        mot = MultiLevelOT(CountedMatching(), memory=memory, n_jobs=n_jobs).fit(X, y)
    seconds = time.perf_counter() - start
    n_solved = os.path.getsize(counts)
    os.remove(counts)
    return Outcome(digest_of(mot), n_solved, seconds)


def _kill(memory, n_kept, seconds):
    while len(entries(memory)) < n_kept:
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(os.getpid(), signal.SIGKILL)


def fit_until_killed(networks, memory, killed_at, backend="threading", n_jobs=1):
    """Fit in a new process that kills itself; return whether it lived to be killed."""
    try:
        in_fresh_process(fit, networks, memory, backend, n_jobs, killed_at)
    except subprocess.CalledProcessError as error:
        if error.returncode != -signal.SIGKILL:
            raise
        return True
    return False


def digest_of(mot):
    """Return a hash of everything that a fit of pairs has learned."""
    digest = hashlib.sha256()
    for values in (mot.layer_costs_, mot.coupling_, mot.inverse_coupling_):
        digest.update(np.ascontiguousarray(values).tobytes())
    for pair in (pair for row in mot.inner_ for pair in row):
        for values in (pair.coupling_.data, pair.coupling_.indices, *pair.potentials_):
            digest.update(np.ascontiguousarray(values).tobytes())
        digest.update(np.float64(pair.cost_).tobytes())
    return digest.hexdigest()


def entries(memory):
    """Return the files of the pairs that are kept in a folder."""
    return sorted(Path(memory).rglob("output.pkl"))
