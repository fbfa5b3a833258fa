"""`memory=` where the disk is full, cannot be written to, or is shared."""

import errno
import os
import resource
import signal

import joblib
import pytest
from joblib._store_backends import CacheWarning, FileSystemStoreBackend

from skmot import MultiLevelOT
from tests.faults.processes import OwnProcess, entries, n_begun
from tests.multilevel.fits import CountedMatching
from tests.networks import assert_same_fit, random_networks

N_PAIRS = 3 * 4


@pytest.fixture(autouse=True)
def solved():
    CountedMatching.solved.clear()
    return CountedMatching.solved


def written(folder):
    """Return all files below a folder except the note that joblib leaves for git."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".gitignore"
    ]


@pytest.fixture
def small_files():
    """Let this process write files of some bytes only, as where a disk becomes full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal of the limit already, other programs do not.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(n_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("n_bytes", [100, 600])
def test_a_disk_that_is_full_costs_a_warning_only(
    tmp_path, small_files, n_bytes, n_jobs
):
    X, y = random_networks()
    mot = MultiLevelOT(CountedMatching(), memory=str(tmp_path), n_jobs=n_jobs)
    mot.fit(X[:1], y)
    n_kept = len(entries(tmp_path))
    small_files(n_bytes)
    with pytest.warns(CacheWarning, match="Unable to cache to disk") as caught:
        mot.fit(X, y)
    small_files(resource.RLIM_INFINITY)
    # Once, not once a pair, and nothing half-written is left.
    assert len(caught) == 1
    assert len(written(tmp_path)) == len(entries(tmp_path)) == n_kept == 4
    assert len(CountedMatching.solved) == N_PAIRS
    assert_same_fit(mot, MultiLevelOT().fit(X, y))
    # Where there is room again, the rest is kept.
    mot.fit(X, y)
    assert len(entries(tmp_path)) == N_PAIRS


class FullAtTheEnd(FileSystemStoreBackend):
    """A store whose disk becomes full when an entry gets its name."""

    def _move_item(self, source, destination):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), destination)


class WithoutFolders(FileSystemStoreBackend):
    """A store in which no folder can be made, as if it could only be read."""

    def create_location(self, location):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), location)


@pytest.mark.parametrize(
    ("backend", "message"),
    [(FullAtTheEnd, "No space left"), (WithoutFolders, "Permission denied")],
)
def test_a_store_that_fails_in_writing_costs_a_warning_only(
    tmp_path, solved, backend, message
):
    X, y = random_networks()
    MultiLevelOT(CountedMatching(), memory=str(tmp_path)).fit(X[:2], y)
    joblib.register_store_backend(backend.__name__, backend)
    memory = joblib.Memory(tmp_path / "joblib", backend=backend.__name__, verbose=0)
    mot = MultiLevelOT(CountedMatching(), memory=memory)
    with pytest.warns(CacheWarning, match=message) as caught:
        mot.fit(X, y)
    assert len(caught) == 1
    # What is there is read all the same.
    assert len(solved) == N_PAIRS
    assert len(written(tmp_path)) == len(entries(tmp_path)) == 8
    assert_same_fit(mot, MultiLevelOT().fit(X, y))


FIT = """
import sys
from skmot import MultiLevelOT
from tests.faults.processes import LoggedMatching
from tests.networks import random_networks

mot = MultiLevelOT(LoggedMatching(), memory=sys.argv[1]).fit(*random_networks())
print(mot.layer_costs_.tobytes().hex(), mot.coupling_.tobytes().hex())
"""


def test_two_processes_in_one_folder_do_not_disturb_each_other(tmp_path):
    kept, folders = tmp_path / "kept", [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first, second = (
        OwnProcess(FIT, kept, folder=folder, seconds=0.02) for folder in folders
    )
    with first, second:
        results = [fit.result() for fit in (first, second)]
    (printed, errors), (same, more_errors) = results
    assert errors == more_errors == ""
    expected = MultiLevelOT().fit(*random_networks())
    assert printed == same
    assert printed.split() == [
        expected.layer_costs_.tobytes().hex(),
        expected.coupling_.tobytes().hex(),
    ]
    # Neither leaves a half-written file, and a third finds all pairs.
    assert len(written(kept)) == len(entries(kept)) == N_PAIRS
    n_solved = n_begun(first.log)
    with OwnProcess(FIT, kept, folder=folders[0]) as third:
        assert third.result() == (printed, "")
    assert n_begun(first.log) == n_solved
