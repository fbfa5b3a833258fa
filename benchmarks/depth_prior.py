"""Simulate what a prior on depth does, and print the tables of the guide.

    python benchmarks/depth_prior.py                100 pairs of networks a case
    python benchmarks/depth_prior.py --runs 10      a first look

Two networks have layers of ten units each, recorded over 40 stimuli. Units of one layer
have independent signals, which change from layer to layer of the source (correlation .7
between neighbours). Each target layer has the signals of one source layer, its
counterpart, and both networks have noise of their own. A target with more layers has
several for each source layer. In the right order, the counterparts have the same
relative depth. In the wrong order, the target layers are in random order.

Each pair of networks gives the true mass, the sum of the layer coupling over the pairs
of counterparts, for several weights of the prior. It also gives the true mass with the
weight that a search over three folds chooses, by the held-out reconstruction of the
target, by that of the source, and by the held-out cost. Of weights that are equally
good, a search takes the smallest. Intervals are means plus and minus 1.96 standard
errors over pairs of networks.
"""

import argparse
import os
import time

# One core: the simulation may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.model_selection import GridSearchCV

from skmot import LayerStack, MultiLevelOT
from skmot.metrics import negative_cost, source_score, target_score

WEIGHTS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
CRITERIA = {"target": target_score, "source": source_score, "cost": negative_cost}
N_STIMULI, N_UNITS = 40, 10
# Correlation of the signals of neighbouring layers.
CONTINUITY = 0.7
# Source layers, target layers, and the standard deviation of the noise. That of the
# signals is 1.
CASES = ((6, 6, 1.0), (6, 6, 2.1), (4, 8, 2.1))


def simulate(n_source, counterparts, noise, rng):
    """Return two networks whose target layer m has the source layer counterparts[m]."""
    shape = (N_STIMULI, N_UNITS)
    signals = [rng.normal(size=shape)]
    for _ in range(n_source - 1):
        change = np.sqrt(1 - CONTINUITY**2) * rng.normal(size=shape)
        signals.append(CONTINUITY * signals[-1] + change)
    source, target = (
        LayerStack(
            [signals[layer] + noise * rng.normal(size=shape) for layer in layers]
        )
        for layers in (range(n_source), counterparts)
    )
    return source, target


def true_mass(estimator, counterparts):
    """Return the mass of a coupling on the pairs of counterparts."""
    coupling = np.asarray(estimator.coupling_)
    return float(coupling[counterparts, np.arange(len(counterparts))].sum())


def run(n_source, n_target, noise, is_right, seed):
    """Return the true mass for each weight, and which weights the searches choose."""
    rng = np.random.default_rng(seed)
    counterparts = np.repeat(np.arange(n_source), n_target // n_source)
    if not is_right:
        counterparts = rng.permutation(counterparts)
    X, y = simulate(n_source, counterparts, noise, rng)
    masses = [
        true_mass(MultiLevelOT(depth_prior=weight).fit(X, y), counterparts)
        for weight in WEIGHTS
    ]
    search = GridSearchCV(
        MultiLevelOT(), {"depth_prior": WEIGHTS}, scoring=CRITERIA, refit=False, cv=3
    ).fit(X, y)
    chosen = [
        int(np.argmax(search.cv_results_[f"mean_test_{name}"])) for name in CRITERIA
    ]
    return masses, chosen


def say(values):
    """Format a mean with its interval of 1.96 standard errors."""
    error = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.2f} ± {error:.2f}"


def main():
    """Run the simulations and print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="networks of each case")
    n_runs = parser.parse_args().runs
    started = time.process_time()
    for n_source, n_target, noise in CASES:
        for is_right in (True, False):
            results = [
                run(n_source, n_target, noise, is_right, seed) for seed in range(n_runs)
            ]
            masses = np.array([masses for masses, _ in results])
            order = "right" if is_right else "wrong"
            print(f"\n{n_source} x {n_target} layers, noise {noise}, {order} order")
            for weight, column in zip(WEIGHTS, masses.T, strict=True):
                print(f"    depth_prior={weight:<22}{say(column)}")
            for number, name in enumerate(CRITERIA):
                chosen = np.array([chosen[number] for _, chosen in results])
                found = masses[np.arange(n_runs), chosen]
                gain = found - masses[:, 0]
                print(
                    f"    chosen by {name:<24}{say(found)}, gain over 0 {say(gain)}, "
                    f"0 chosen in {np.mean(chosen == 0):.0%}"
                )
    seconds = time.process_time() - started
    print(f"\n{n_runs} pairs of networks a case, {seconds:.0f} s of CPU time")


if __name__ == "__main__":
    main()
