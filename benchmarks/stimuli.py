"""Simulate how many stimuli soft matching needs, and print the tables of the guide.

    python benchmarks/stimuli.py                    40 data sets a cell
    python benchmarks/stimuli.py --runs 4           a first look

Two populations have the same number of units. Each unit of the source has one
counterpart in the target, with the same signal, and both have noise of their own. The
signal-to-noise ratio is the variance of the signal divided by that of the noise. The
signals of the units are independent of each other, or mixtures of a few signals that
all units share. Unrelated populations have signals of their own.

Each data set gives the held-out cost of `SoftMatching`, fitted to four fifths of the
stimuli, and the same for an unrelated population. All stimuli give the in-sample cost
of the unrelated population, the share of the units that are matched to their
counterpart, and the p-value of `permutation_control(statistic="cost")`. Intervals of
rates are those of Clopper and Pearson, at 95 %.
"""

import argparse
import os
import time
from dataclasses import dataclass

# One core: the simulation may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy.stats import binomtest

from skmot import SoftMatching
from skmot.model_selection import permutation_control

STIMULI = (25, 50, 100, 200, 400)
HELD_OUT = 0.2
LEVEL = 0.05
# With 39 permutations a p-value is at most 0.05 if at most one of them is as good.
N_PERMUTATIONS = 39


@dataclass(frozen=True)
class Case:
    """One row of the tables.

    Attributes
    ----------
    n_units : int
        Number of units of each population.
    snr : float
        Variance of the signal of a unit divided by the variance of its noise.
    n_signals : int or None
        Number of signals that the units mix. None means one signal for each unit.
    """

    n_units: int
    snr: float
    n_signals: int | None = None

    def __str__(self):
        signals = "own" if self.n_signals is None else f"{self.n_signals} mixed"
        ratio = f"{self.snr:g}" if self.snr >= 1 else f"1/{1 / self.snr:g}"
        return f"{signals:<9}  {ratio:<3}  {self.n_units:>5}"


CASES = [
    *(Case(n_units, snr) for snr in (1, 1 / 4) for n_units in (20, 100, 400)),
    *(Case(100, snr, n_signals=5) for snr in (1, 1 / 4)),
]


def main():
    """Run the simulations and print a table for each quantity."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=40, help="data sets of each cell")
    n_runs = parser.parse_args().runs
    started = time.process_time()
    measured = {
        case: [simulate_many(case, n_stimuli, n_runs) for n_stimuli in STIMULI]
        for case in CASES
    }
    for title, format_cell in TABLES.items():
        print(f"\n{title}, by the number of stimuli\n")
        print_table(
            {
                case: [format_cell(cell) for cell in cells]
                for case, cells in measured.items()
            }
        )
    seconds = time.process_time() - started
    print(f"\n{n_runs} data sets a cell, {seconds:.0f} s of CPU time")


def simulate_many(case, n_stimuli, n_runs):
    """Return the measurements of all data sets, as an array for each quantity."""
    runs = [measure(case, n_stimuli, seed) for seed in range(n_runs)]
    return {name: np.array([run[name] for run in runs]) for name in runs[0]}


def measure(case, n_stimuli, seed):
    """Measure one pair of related and one pair of unrelated populations."""
    rng = np.random.default_rng(seed)
    signals = draw_signals(rng, case, n_stimuli)
    counterparts = rng.permutation(case.n_units)
    X = add_noise(rng, case, signals)
    y = add_noise(rng, case, signals[:, counterparts])
    unrelated = add_noise(rng, case, draw_signals(rng, case, n_stimuli))
    matching, null = (SoftMatching().fit(X, target) for target in (y, unrelated))
    matched = matching.coupling_.toarray()[counterparts, np.arange(case.n_units)]
    tested = permutation_control(
        SoftMatching(),
        X,
        y,
        control="stimuli",
        statistic="cost",
        n_permutations=N_PERMUTATIONS,
        random_state=seed,
    )
    return {
        "significant": tested.p_value <= LEVEL,
        "cost": held_out_cost(X, y),
        "null cost": held_out_cost(X, unrelated),
        "null cost in sample": null.cost_,
        "found": matched.sum(),
    }


def held_out_cost(X, y):
    """Fit to the first stimuli, and return the cost on the others."""
    n_train = len(X) - round(HELD_OUT * len(X))
    matching = SoftMatching().fit(X[:n_train], y[:n_train])
    return matching.held_out_cost(X[n_train:], y[n_train:])


def draw_signals(rng, case, n_stimuli):
    """Draw signals of variance 1, one for each unit."""
    if case.n_signals is None:
        return rng.normal(size=(n_stimuli, case.n_units))
    mixtures = rng.normal(size=(case.n_signals, case.n_units))
    mixtures /= np.linalg.norm(mixtures, axis=0)
    return rng.normal(size=(n_stimuli, case.n_signals)) @ mixtures


def add_noise(rng, case, signals):
    """Return the responses of units with these signals."""
    return signals + rng.normal(size=signals.shape) / np.sqrt(case.snr)


def rate(values):
    """Format a rate with its interval."""
    interval = binomtest(int(values.sum()), len(values)).proportion_ci(method="exact")
    return f"{values.mean():.2f} ({interval.low:.2f} to {interval.high:.2f})"


def mean_and_deviation(values):
    """Format a mean with the standard deviation over data sets."""
    return f"{values.mean():.2f} ({values.std(ddof=1):.2f})"


TABLES = {
    "Power at .05 of the permutation control of the cost (95 % interval)": (
        lambda cell: rate(cell["significant"])
    ),
    "Held-out cost of matched populations (standard deviation over data sets)": (
        lambda cell: mean_and_deviation(cell["cost"])
    ),
    "Held-out cost of unrelated populations (standard deviation over data sets)": (
        lambda cell: mean_and_deviation(cell["null cost"])
    ),
    "In-sample cost of unrelated populations (standard deviation over data sets)": (
        lambda cell: mean_and_deviation(cell["null cost in sample"])
    ),
    "Share of units matched to their counterpart (standard deviation over data sets)": (
        lambda cell: mean_and_deviation(cell["found"])
    ),
}


def print_table(rows):
    """Print a table that reStructuredText can read."""
    width = max(len(cell) for cells in rows.values() for cell in cells)
    rule = "=========  ===  =====  " + "  ".join(["=" * width] * len(STIMULI))
    lines = {"signals    SNR  units": STIMULI, **rows}
    lines = [
        f"{head}  " + "  ".join(f"{cell:<{width}}" for cell in cells).rstrip()
        for head, cells in lines.items()
    ]
    print(rule, lines[0], rule, *lines[1:], rule, sep="\n")


if __name__ == "__main__":
    main()
