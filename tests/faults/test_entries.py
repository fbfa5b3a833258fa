"""Entries of `memory=` that are damaged, or replaced by other valid files."""

import pickle
import shutil

import joblib
import numpy as np
import pytest

from skmot import MultiLevelOT
from tests.faults.processes import entries
from tests.multilevel.fits import CountedMatching
from tests.networks import assert_same_fit, random_networks

N_PAIRS = 3 * 4


@pytest.fixture
def kept(tmp_path):
    """Keep a fit in a folder, and count from then on what is solved."""
    MultiLevelOT(CountedMatching(), memory=str(tmp_path / "kept")).fit(
        *random_networks()
    )
    CountedMatching.solved.clear()
    return tmp_path / "kept"


def assert_fitted_again(kept, n_damaged):
    """Fit again: damaged pairs are solved, with one warning, and nothing else is."""
    X, y = random_networks()
    mot = MultiLevelOT(CountedMatching(), memory=str(kept))
    with pytest.warns(RuntimeWarning, match=rf"damaged.* \({n_damaged} time") as caught:
        mot.fit(X, y)
    assert len(caught) == 1
    assert len(CountedMatching.solved) == n_damaged
    CountedMatching.solved.clear()
    # They were written again.
    again = MultiLevelOT(CountedMatching(), memory=str(kept)).fit(X, y)
    assert CountedMatching.solved == []
    plain = MultiLevelOT().fit(X, y)
    assert_same_fit(mot, plain)
    assert_same_fit(again, plain)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_flipped_bit_in_any_region_is_found(kept, share):
    # Each pair is damaged at another byte, so that one fit meets twelve of them.
    n_damaged = 0
    for index, entry in enumerate(entries(kept)):
        whole, content = joblib.load(entry), bytearray(entry.read_bytes())
        place = round((len(content) - N_PAIRS) * share) + index
        content[place] ^= 1 << (index % 8)
        entry.write_bytes(content)
        try:
            # A few bytes of a pickle, such as its version, do not change what is read.
            n_damaged += joblib.load(entry) != whole
        except Exception:
            n_damaged += 1
    assert n_damaged >= N_PAIRS - 7
    assert_fitted_again(kept, n_damaged)


def test_an_entry_of_any_length_that_was_cut_short_is_found(kept):
    for index, entry in enumerate(entries(kept)):
        content = entry.read_bytes()
        entry.write_bytes(content[: index * len(content) // N_PAIRS])
    assert_fitted_again(kept, N_PAIRS)


def test_entries_that_are_exchanged_around_are_not_believed(kept):
    contents = [entry.read_bytes() for entry in entries(kept)]
    for entry, content in zip(entries(kept), contents[1:] + contents[:1], strict=True):
        entry.write_bytes(content)
    assert_fitted_again(kept, N_PAIRS)


def test_entries_of_another_fit_are_not_believed(kept, tmp_path):
    X, y = random_networks(seed=1)
    MultiLevelOT(CountedMatching(), memory=str(tmp_path / "other")).fit(X, y)
    for entry, other in zip(entries(kept), entries(tmp_path / "other"), strict=True):
        shutil.copy(other, entry)
    CountedMatching.solved.clear()
    assert_fitted_again(kept, N_PAIRS)


class Refusing:
    """An object that can be pickled, but not read."""

    def __reduce__(self):
        return int, ("no number",)


FOREIGN = {
    "no pickle": b"PK\x03\x04",
    "another object": pickle.dumps({"cost": 0.0}),
    "an array": pickle.dumps(np.zeros(3)),
    "None": pickle.dumps(None),
    "two texts of bytes": pickle.dumps((b"content", b"checksum")),
    "two arrays": pickle.dumps((np.zeros(3), np.zeros(3))),
    "an object that raises an error": pickle.dumps(Refusing()),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_valid_file_of_something_else_is_not_used(kept, name):
    entries(kept)[5].write_bytes(FOREIGN[name])
    assert_fitted_again(kept, 1)


def test_a_folder_in_place_of_an_entry_is_removed(kept):
    entry = entries(kept)[5]
    entry.unlink()
    entry.mkdir()
    assert_fitted_again(kept, 1)


def test_no_file_but_the_entries_matters(kept):
    # Damage to any other file, such as notes of joblib, costs no entry.
    others = [
        path for path in kept.rglob("*") if path.is_file() and path not in entries(kept)
    ]
    for path in others:
        path.write_bytes(b"\xff\x00")
    X, y = random_networks()
    again = MultiLevelOT(CountedMatching(), memory=str(kept)).fit(X, y)
    assert CountedMatching.solved == []
    assert_same_fit(again, MultiLevelOT().fit(X, y))


def test_joblib_can_still_limit_the_size_of_the_folder(kept):
    memory = joblib.Memory(kept, verbose=0)
    n_bytes = sum(entry.stat().st_size for entry in entries(kept))
    memory.reduce_size(bytes_limit=n_bytes // 2)
    assert 0 < len(entries(kept)) < N_PAIRS
