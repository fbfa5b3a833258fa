"""Layers in files that change under a fit, or between a fit and a score."""

import os
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skmot import LayerStack, MultiLevelOT, SoftMatching
from skmot.preprocessing import FiniteUnitSelector
from tests.faults.processes import entries
from tests.networks import assert_same_fit, random_networks

KINDS = ["npy", "hdf5", "zarr"]


def write(path, layer):
    """Write a layer to a file, over what is in it, in the format of its ending."""
    if path.suffix == ".npy":
        np.save(path, layer)
    elif path.suffix == ".hdf5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["layer"] = layer
    else:
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(
            path, shape=layer.shape, dtype=layer.dtype, overwrite=True
        )
        array[:] = layer
    if path.is_file():
        # Some file systems count time in steps longer than a test takes.
        later = path.stat().st_mtime_ns + 10_000_000
        os.utime(path, ns=(later, later))


def open_layer(path):
    """Open a layer in a file, without reading it."""
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    if path.suffix == ".hdf5":
        return pytest.importorskip("h5py").File(path, "r")["layer"]
    return pytest.importorskip("zarr").open_array(path, mode="r")


@pytest.fixture(params=KINDS)
def in_files(request, tmp_path):
    """Return two networks in files, and the path of the second layer of the source."""
    sides = []
    for side, layers in zip("xy", random_networks(), strict=True):
        paths = [
            tmp_path / f"{side}{index}.{request.param}" for index in range(len(layers))
        ]
        for path, layer in zip(paths, layers, strict=True):
            write(path, layer)
        sides.append([open_layer(path) for path in paths])
    return *sides, tmp_path / f"x1.{request.param}"


def others(path):
    """Return other numbers of the shape of the layer in a file."""
    return np.random.default_rng(9).normal(size=open_layer(path).shape)


def overwrite(path):
    if path.suffix == ".hdf5":
        # The library does not let a file be opened to write that it reads.
        replace(path)
    else:
        write(path, others(path))


def replace(path):
    """Put another file, or folder, in the place of a file."""
    new = path.with_name("new" + path.suffix)
    write(new, others(path))
    if path.is_dir():
        path.rename(path.with_name("old" + path.suffix))
    os.replace(new, path)


def cut(path):
    # Shorter than one page of memory, so that no access to the rest is possible. Of a
    # store of many files, the one that says what the array is.
    os.truncate(path / "zarr.json" if path.is_dir() else path, 100)


MESSAGE = r"has changed since|was cut to"


@pytest.mark.parametrize("change", [overwrite, replace, cut])
def test_files_that_change_after_a_fit_are_an_error_in_every_method(in_files, change):
    X, y, path = in_files
    assert_refused_after(change, LayerStack(X), LayerStack(y), path)


@pytest.mark.parametrize("change", [overwrite, replace, cut])
@pytest.mark.parametrize("in_files", ["npy"], indirect=True)
def test_memory_maps_are_known_again_in_lists_and_other_stacks(in_files, change):
    X, y, path = in_files
    LayerStack([layer[3:] for layer in X])
    assert_refused_after(change, X, y, path)


def assert_refused_after(change, X, y, path):
    mot = MultiLevelOT().fit(X, y)
    change(path)
    for method in (mot.score, mot.held_out_cost, mot.unit_scores, MultiLevelOT().fit):
        with pytest.raises(ValueError, match=MESSAGE) as caught:
            method(X, y)
        assert str(path) in str(caught.value)
        assert "layer 1" in str(caught.value)
    with pytest.raises(ValueError, match=MESSAGE):
        mot.predict(X)
    with pytest.raises(ValueError, match=MESSAGE):
        SoftMatching().fit(X, y)
    # The other side is in files that have not changed.
    mot.inverse_predict(y)


def test_parts_of_a_stack_are_in_the_same_files(in_files):
    X, y, path = in_files
    X, y = LayerStack(X), LayerStack(y)
    mot = MultiLevelOT().fit(X[:40], y[:40])
    held_out = X[40:], y[40:]
    named = LayerStack({"a": X.layers[0], "b": open_layer(path)[:], "c": X.layers[2]})
    selected = FiniteUnitSelector().fit(X).transform(X)
    overwrite(path)
    for part in (held_out[0], X[[3, 2, 1]], selected[40:]):
        with pytest.raises(ValueError, match=MESSAGE):
            part.layers[1]
    with pytest.raises(ValueError, match=MESSAGE):
        mot.score(*held_out)
    # What was read into memory before is still there.
    np.testing.assert_array_equal(named.layers[0], X.layers[0])


def test_trials_in_a_file_that_changes_are_an_error(in_files):
    path = in_files[-1]
    stimuli = np.repeat(np.arange(30), 2)
    stack = LayerStack.from_trials([open_layer(path)], stimuli)
    _ = stack.layers[0], stack.trials.layers[0]
    overwrite(path)
    for part in (stack, stack.trials, stack[:10]):
        with pytest.raises(ValueError, match=MESSAGE):
            part.layers[0]


def test_a_new_stack_of_the_new_file_is_fitted(in_files):
    X, y, path = in_files
    new = others(path)
    overwrite(path)
    X = [X[0], open_layer(path), X[2]]
    fresh = MultiLevelOT().fit(LayerStack(X), LayerStack(y))
    again = MultiLevelOT().fit(
        [np.array(X[0]), new, np.array(X[2])], [np.array(layer) for layer in y]
    )
    assert_same_fit(fresh, again)


def test_a_stored_stack_is_not_opened_from_a_changed_file(in_files, tmp_path):
    X, _, path = in_files
    joblib.dump(LayerStack(X), tmp_path / "stack")
    joblib.load(tmp_path / "stack")
    overwrite(path)
    with pytest.raises(ValueError, match=rf"{path.name}' has changed since a stack"):
        joblib.load(tmp_path / "stack")


class Changing(SoftMatching):
    """A matching that changes a file in its fifth pair."""

    path, n_solved = None, 0

    def _solve(self, source, target):
        type(self).n_solved += 1
        if self.n_solved == 5:
            overwrite(self.path)
        return super()._solve(source, target)


class ChangingForeign(BaseEstimator):
    """A foreign estimator that does so before it reads its layers."""

    path, n_solved = None, 0

    def fit(self, X, y):
        type(self).n_solved += 1
        if self.n_solved == 5:
            overwrite(self.path)
        self.cost_ = abs(float(X.mean()) - float(y.mean()))
        return self


@pytest.mark.parametrize("kind", [Changing, ChangingForeign])
def test_no_result_of_a_file_that_changes_within_a_fit_is_kept(
    in_files, tmp_path, kind, monkeypatch
):
    X, y, path = in_files
    monkeypatch.setattr(kind, "path", path)
    X, y = LayerStack(X), LayerStack(y)
    # After its fifth pair.
    monkeypatch.setattr(kind, "n_solved", 5)
    old = MultiLevelOT(kind()).fit(X, y)
    monkeypatch.setattr(kind, "n_solved", 0)
    read = [np.array(layer) for layer in X.layers], [np.array(a) for a in y.layers]
    memory = str(tmp_path / "kept")
    with pytest.raises(ValueError, match=MESSAGE):
        MultiLevelOT(kind(), memory=memory).fit(X, y)
    n_kept = len(entries(memory))
    assert n_kept < 12
    # What was kept before is of the old numbers, and found by them.
    monkeypatch.setattr(kind, "n_solved", 100)
    again = MultiLevelOT(kind(), memory=memory).fit(*read)
    assert kind.n_solved == 100 + 12 - n_kept
    np.testing.assert_array_equal(again.layer_costs_, old.layer_costs_)


def test_a_map_that_is_written_to_by_its_owner_may_change(tmp_path):
    X, y = random_networks()
    np.save(tmp_path / "x.npy", X[1])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r+")
    first = MultiLevelOT().fit([X[0], mapped], y)
    mapped[:] = others(tmp_path / "x.npy")
    mapped.flush()
    second = MultiLevelOT().fit([X[0], mapped], y)
    assert first.cost_ != second.cost_
    assert_same_fit(second, MultiLevelOT().fit([X[0], np.array(mapped)], y))


def test_a_file_that_was_deleted_is_still_read(tmp_path):
    X, y = random_networks()
    np.save(tmp_path / "x.npy", X[1])
    layers = LayerStack([X[0], np.load(tmp_path / "x.npy", mmap_mode="r")])
    os.unlink(tmp_path / "x.npy")
    assert_same_fit(MultiLevelOT().fit(layers, y), MultiLevelOT().fit(X[:2], y))


_CUT = """
import os, sys
import numpy as np
from skmot import MultiLevelOT

layer = np.load(sys.argv[1], mmap_mode="r")
os.truncate(sys.argv[1], 100)
try:
    MultiLevelOT().fit([layer], [np.random.default_rng(0).normal(size=layer.shape)])
except ValueError as error:
    print(error)
"""


def test_a_file_cut_before_its_first_use_does_not_end_the_process(tmp_path):
    path = tmp_path / "layer.npy"
    np.save(path, np.ones((2_000, 30)))
    # Reading what is missing of a memory map ends a process by a signal.
    ended = subprocess.run(
        [sys.executable, "-c", _CUT, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "was cut to 100 of" in ended.stdout
