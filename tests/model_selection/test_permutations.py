import itertools

import numpy as np
import pytest

from skmot.model_selection.permutations import (
    read_runs,
    row_permutations,
    warn_about_near_rows,
)

RUNS = np.repeat([0, 1, 2], [4, 5, 3])


def every_order(permutations):
    orders = permutations.sample(permutations.n_distinct, np.random.RandomState(0))
    return sorted(map(tuple, orders.tolist()))


def test_blocks_change_places_within_their_run():
    # Runs 0 and 2 are held out: two blocks of two, one of two and one row.
    rows = np.r_[0:4, 9:12]
    permutations = row_permutations(rows, None, 2, RUNS)
    assert every_order(permutations) == [
        (0, 1, 2, 3, 4, 5, 6),
        (2, 3, 0, 1, 4, 5, 6),
    ]
    assert permutations.movable_share == pytest.approx(4 / 7)


def test_shifts_are_of_each_run_by_itself():
    rows = np.r_[0:4, 9:12]
    permutations = row_permutations(rows, None, "circular", RUNS)
    expected = [
        (*np.roll(range(4), first), *np.roll(range(4, 7), second))
        for first, second in itertools.product(range(4), range(3))
    ]
    assert every_order(permutations) == sorted(expected)
    # Fewer than there are: still shifts of each run.
    orders = permutations.sample(5, np.random.RandomState(0))
    assert {tuple(order) for order in orders.tolist()} <= set(expected)


def test_a_part_of_a_run_is_a_segment_too():
    permutations = row_permutations(np.arange(2, 8), None, 1, RUNS)
    # Two rows of run 0 and four of run 1.
    assert permutations.n_distinct == 2 * 24
    assert all(set(order[:2]) == {0, 1} for order in every_order(permutations))


@pytest.mark.parametrize(
    ("rows", "runs", "message"),
    [
        ([0, 1, 3], RUNS, "row 1 is followed by row 3"),
        ([1, 0, 4, 5], RUNS, "row 1 is followed by row 0"),
        ([9, 10, 0, 1], RUNS, "row 10 is followed by row 0"),
        ([0, 1, 9, 10], None, r"must be consecutive.*give `runs=`"),
        ([0, 1, 4, 5], RUNS, "no two groups or blocks of the same run"),
    ],
)
def test_rows_that_have_no_blocks_are_refused(rows, runs, message):
    with pytest.raises(ValueError, match=message):
        row_permutations(np.array(rows), None, 2, runs)


def test_runs_are_read_in_the_order_of_time():
    assert read_runs(["b", "b", "a"], 3).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="run 'b' are not consecutive: row 2 comes"):
        read_runs(["b", "a", "b"], 3)
    with pytest.raises(ValueError, match="one label a row; got 3"):
        read_runs(3, 3)
    with pytest.raises(ValueError, match="2 labels for 3 rows"):
        read_runs([0, 1], 3)


@pytest.mark.filterwarnings("error")
def test_rows_of_other_runs_are_not_near():
    leave_one_out = [
        (np.flatnonzero(run != RUNS), np.flatnonzero(run == RUNS)) for run in range(3)
    ]
    warn_about_near_rows(leave_one_out, 2, RUNS)
    with pytest.warns(UserWarning, match="are 1 row"):
        warn_about_near_rows(leave_one_out, 2)
    # Three rows apart within run 1.
    within = [(np.array([0, 4]), np.array([7, 8, 9]))]
    warn_about_near_rows(within, 2, RUNS)
    with pytest.warns(UserWarning, match=r"are 3 row.*give `runs=`"):
        warn_about_near_rows(within, 3, RUNS)
