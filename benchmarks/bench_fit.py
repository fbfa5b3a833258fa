"""Compare a fit of MultiLevelOT with the paper-literal loop, in time and memory.

The loop computes float64 correlations with numpy, solves one dense `ot.emd` a pair and
keeps the dense plans, as the formulas of the paper read. Both sides get the same
float32 activations of two random ReLU networks, and the costs are compared as well.

    python benchmarks/bench_fit.py --source 4 1024 --target 6 448 --stimuli 2042
"""

import argparse
import multiprocessing
import platform
import resource
import time

import numpy as np
import ot

from skmot import MultiLevelOT


def relu_network(n_layers, n_units, inputs, rng):
    """Return the layers of a random network that share their inputs' structure."""
    layers, activity = [], inputs
    for _ in range(n_layers):
        weights = rng.normal(size=(activity.shape[1], n_units))
        activity = np.maximum(activity @ weights / np.sqrt(activity.shape[1]), 0)
        activity += 0.1 * rng.normal(size=activity.shape)
        layers.append(activity.astype(np.float32))
    return layers


def literal_loop(source, target):
    """Fit as the formulas read; return the layer costs."""
    plans = np.empty((len(source), len(target)), dtype=object)
    costs = np.empty(plans.shape)
    for pair in np.ndindex(plans.shape):
        X, Y = source[pair[0]].astype(np.float64), target[pair[1]].astype(np.float64)
        distances = 1 - np.corrcoef(X, Y, rowvar=False)[: X.shape[1], X.shape[1] :]
        # Scaled, or `ot.emd` may be wrong without a word.
        offset, spread = distances.min(), np.ptp(distances)
        plan = ot.emd([], [], (distances - offset) / spread, numItermax=10_000_000)
        plans[pair], costs[pair] = plan, np.sum(plan * distances)
    ot.emd([], [], costs)
    return costs


def skmot_fit(source, target):
    """Fit by skmot; return the layer costs."""
    return MultiLevelOT(n_jobs=1).fit(source, target).layer_costs_


def measure(side, arguments, queue):
    """Run one side in a process of its own, so that its peak memory is its own."""
    source, target = make_networks(arguments)
    before = peak_megabytes()
    start = time.perf_counter()
    costs = side(source, target)
    queue.put((time.perf_counter() - start, peak_megabytes() - before, costs))


def peak_megabytes():
    """Return the peak resident memory of this process (Linux counts in kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_networks(arguments):
    """Return both networks, the same in every process."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(arguments.stimuli, 64))
    return (
        relu_network(*arguments.source, inputs, rng),
        relu_network(*arguments.target, inputs, rng),
    )


def main():
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=int, nargs=2, default=(4, 1024))
    parser.add_argument("--target", type=int, nargs=2, default=(6, 448))
    parser.add_argument("--stimuli", type=int, default=2042)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = {}
    for side in (literal_loop, skmot_fit):
        queue = context.Queue()
        process = context.Process(target=measure, args=(side, arguments, queue))
        process.start()
        results[side.__name__] = queue.get()
        process.join()
    (slow, slow_memory, expected), (fast, fast_memory, costs) = results.values()
    print(
        f"{arguments.source[0]} x {arguments.source[1]} against "
        f"{arguments.target[0]} x {arguments.target[1]} units, {arguments.stimuli} "
        f"stimuli; {platform.machine()}, {multiprocessing.cpu_count()} cores"
    )
    print(f"{'':<14}{'seconds':>9}{'peak MB over the input':>25}")
    print(f"{'literal loop':<14}{slow:>9.2f}{slow_memory:>25.0f}")
    print(f"{'skmot':<14}{fast:>9.2f}{fast_memory:>25.0f}")
    print(f"literal loop / skmot: {slow / fast:.2f} in time")
    print(f"largest difference of a layer cost: {np.abs(costs - expected).max():.1e}")


if __name__ == "__main__":
    main()
