"""Simulate how often each test of skmot claims something, and print the rates.

    python benchmarks/chance.py                          every null 300 times
    python benchmarks/chance.py --parts hierarchy partial --runs 1000
    python benchmarks/chance.py --cases "earlier rows" refits
    python benchmarks/chance.py --json chance.json

Each part is a module `chance_<part>.py` with dicts of functions. A function simulates
one data set from a seed and returns whether the claim was made (p <= 0.05, or a true
value outside its interval). `NULLS` are data where the claim is wrong: the rate should
be at most 0.05, up to the error of the simulation. `POWER` are data where it is right.
`NOT_PROTECTED` are data where a test is known to be wrong. The intervals are those of
Clopper and Pearson, at 95 %.
"""

import argparse
import json
import os
import time
from importlib import import_module
from pathlib import Path

# Simulations run beside each other. Linear algebra must not use all cores in each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from joblib import Parallel, delayed
from scipy.stats import binomtest

PARTS = ("hierarchy", "controls", "partial", "networks", "noise", "recurring")
KINDS = ("NULLS", "NOT_PROTECTED", "POWER")


def main():
    """Run the selected simulations and print a table."""
    arguments = parse()
    rows = []
    print(f"{'rate':>5}  {'95 % interval':>13}  {'runs':>5}  {'seconds':>7}  case")
    for part in arguments.parts:
        module = import_module(f"chance_{part}")
        for kind in KINDS:
            cases = {
                name: simulate
                for name, simulate in getattr(module, kind, {}).items()
                if any(words in name for words in arguments.cases)
            }
            n_runs = arguments.runs if kind == "NULLS" else arguments.other_runs
            if cases:
                print(f"\n{part}, {kind.lower().replace('_', ' ')}")
            for name, simulate in cases.items():
                row = simulate_many(simulate, n_runs, arguments)
                rows.append({"part": part, "kind": kind, "case": name, **row})
                print(line(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def simulate_many(simulate, n_runs, arguments):
    """Return the rate at which a claim is made, with its interval."""
    started = time.perf_counter()
    seeds = range(arguments.first_seed, arguments.first_seed + n_runs)
    claims = Parallel(n_jobs=arguments.n_jobs)(
        delayed(simulate)(seed) for seed in seeds
    )
    n_claims = sum(map(bool, claims))
    interval = binomtest(n_claims, n_runs).proportion_ci(method="exact")
    return {
        "rate": n_claims / n_runs,
        "low": interval.low,
        "high": interval.high,
        "n_runs": n_runs,
        "seconds": time.perf_counter() - started,
    }


def line(row):
    """Format one row of the table."""
    interval = f"{row['low']:.3f} to {row['high']:.3f}"
    return (
        f"{row['rate']:5.3f}  {interval}  {row['n_runs']:5d}  {row['seconds']:7.0f}  "
        f"{row['case']}"
    )


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--cases", nargs="*", default=[""], help="words; only cases that have one"
    )
    parser.add_argument("--runs", type=int, default=300, help="data sets of each null")
    parser.add_argument(
        "--other-runs", type=int, default=100, help="data sets of each other case"
    )
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
