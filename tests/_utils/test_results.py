"""Result: its sentence, and its tables."""

import copy
import pickle
import sys

import numpy as np
import pytest

from skmot._utils.results import Result
from tests.tables import assert_survives_files

pd = pytest.importorskip("pandas")


class Squares(Result):
    """Result with a second table."""

    def _tables(self):
        return {
            **super()._tables(),
            "squares": lambda: {"number": range(3), "square": self.squares},
        }


def squares(**values):
    return Squares("It is so.", squares=np.arange(3.0) ** 2, **values)


def test_the_first_table_is_one_row_of_the_single_values():
    result = squares(
        mean=np.float32(0.5),
        missing=float("nan"),
        n=np.int64(3),
        is_so=np.bool_(True),
        kind="all",
        nothing=None,
        pair=(1.0, 2.0),
        mean_=0.5,
    )
    frame = result.to_frame()
    assert list(frame.columns) == [
        "mean",
        "missing",
        "n",
        "is_so",
        "kind",
        "conclusion",
    ]
    (row,) = frame.to_dict("records")
    assert row.pop("missing") != row["mean"]
    assert row == {
        "mean": 0.5,
        "n": 3,
        "is_so": True,
        "kind": "all",
        "conclusion": "It is so.",
    }
    assert_survives_files(frame)


def test_rows_of_results_make_a_table():
    frame = pd.concat([squares(p=p).to_frame() for p in (0.1, 0.2)], ignore_index=True)
    assert frame["p"].tolist() == [0.1, 0.2]
    assert_survives_files(frame)


def test_other_tables_are_chosen_by_name():
    frame = squares().to_frame("squares")
    assert frame["square"].tolist() == [0, 1, 4]
    assert squares().to_frame("result").equals(squares().to_frame())


def test_an_unknown_table_names_those_that_there_are():
    with pytest.raises(
        ValueError, match=r"one of \['result', 'squares'\]; got 'cubes'"
    ):
        squares().to_frame("cubes")


@pytest.mark.parametrize("make", [copy.copy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_keep_their_tables(make):
    copied = make(squares(p=0.1))
    assert str(copied) == "It is so."
    assert copied.p == 0.1
    assert len(copied.to_frame("squares")) == 3


def test_tables_are_found_by_completion():
    assert {"to_frame", "squares", "conclusion"} <= set(dir(squares()))


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'skmot\[data\]'"):
        squares().to_frame()
