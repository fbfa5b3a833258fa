"""Long runs: what grows, what is left behind, and a full-size fit that is killed.

    python benchmarks/soak.py                  all parts
    python benchmarks/soak.py memory search    these parts
    python benchmarks/soak.py --scale small    the same, smaller, in about two minutes

memory   memory of one process after a tenth of many fits, and after all of them
search   files and processes that are left after a search of 200 fits with two jobs
network  24 layers of 2048 units against 36 of 896 units, 1,024 stimuli, in files:
         killed halfway, resumed, and compared with a fit that was not killed

It exits with 1 if anything grew, was left, was solved again or differs.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from interrupted import entries, fit, fit_until_killed
from measure import highest_resident_bytes, in_fresh_process, resident_bytes_with_files
from problems import network, save_network
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skmot import (
    LayerStack,
    MultiLevelOT,
    RotationMatching,
    SoftMatching,
    TemplateMOT,
)
from skmot.model_selection import compare

# Number of fits of each kind. A template has 4 networks and a comparison 4 fits.
N_FITS = {
    "full": {
        "SoftMatching": 10_000,
        "MultiLevelOT": 10_000,
        "RotationMatching": 10_000,
        "TemplateMOT": 1_000,
        "compare": 1_000,
    },
    "small": dict.fromkeys(
        ("SoftMatching", "MultiLevelOT", "RotationMatching", "TemplateMOT", "compare"),
        100,
    ),
}
# The allocator keeps pages for later: less than this is no growth.
SLACK_BYTES = 8e6
# Layers and units of source and target, stimuli.
NETWORKS = {
    "full": ((24, 2048), (36, 896), 1024),
    "small": ((6, 256), (9, 128), 256),
}
SECONDS_TO_END = 20.0
N_CANDIDATES = {"full": 40, "small": 4}
N_FOLDS = 5


def main():
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="memory, search, network")
    parser.add_argument("--scale", choices=["full", "small"], default="full")
    arguments = parser.parse_args()
    parts = {"memory": soak_memory, "search": soak_search, "network": soak_network}
    unknown = set(arguments.parts) - set(parts)
    if unknown:
        parser.error(f"there is no part {sorted(unknown)}; there are {list(parts)}")
    passed = [parts[name](arguments.scale) for name in arguments.parts or parts]
    sys.exit(not all(passed))


# -- memory ----------------------------------------------------------------------------


def soak_memory(scale):
    """Print the memory after a tenth of many fits, and after all; whether it grew."""
    passed = True
    for kind, n_fits in N_FITS[scale].items():
        early, late, objects, seconds = in_fresh_process(_fit_often, kind, n_fits)
        grew = late - early > SLACK_BYTES
        passed &= not grew
        print(
            f"{kind}: {early / 1e6:.1f} MB resident after {n_fits // 10:,} fits, "
            f"{late / 1e6:.1f} MB after {n_fits:,}; {objects:+,} objects; "
            f"{seconds:.0f} s{'; IT GREW' if grew else ''}",
            flush=True,
        )
    return passed


def _fit_often(kind, n_fits):
    fit_once = _fit_of(kind)
    start = time.perf_counter()
    for number in range(n_fits):
        fit_once(number)
        if number + 1 == n_fits // 10:
            gc.collect()
            early, n_objects = resident_bytes_with_files(), len(gc.get_objects())
    gc.collect()
    late = resident_bytes_with_files()
    new = len(gc.get_objects()) - n_objects
    return early, late, new, time.perf_counter() - start


def _fit_of(kind):
    """Return a function that fits to other numbers each time."""
    rng = np.random.default_rng(0)
    networks = [
        LayerStack([rng.normal(size=(40, width)) for width in (8, 12, 10)])
        for _ in range(4)
    ]
    X, y = networks[:2]

    def shifted(number):
        # Other numbers each time, so that nothing can be found again.
        return X.map(lambda layer: layer * (1 + number / 1e6) + number)

    fits = {
        "SoftMatching": lambda number: SoftMatching().fit(shifted(number), y),
        "MultiLevelOT": lambda number: MultiLevelOT().fit(shifted(number), y),
        "RotationMatching": lambda number: RotationMatching(max_iter=5, tol=1.0).fit(
            shifted(number), y
        ),
        "TemplateMOT": lambda number: TemplateMOT(
            n_layers=2, n_units=5, max_iter=2, tol=1.0, random_state=0
        ).fit([shifted(number), *networks[1:]]),
        "compare": lambda number: compare(
            {"a": shifted(number)},
            {"b": y},
            {"mot": MultiLevelOT(), "soft": SoftMatching()},
            ShuffleSplit(2, random_state=0),
            n_bootstrap=10,
            random_state=0,
            verbose=False,
        ),
    }
    return fits[kind]


# -- a search --------------------------------------------------------------------------


def soak_search(scale):
    """Print what a search leaves behind; whether that is nothing."""
    n_candidates = N_CANDIDATES[scale]
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("TMPDIR"), os.environ.get("JOBLIB_TEMP_FOLDER")
        os.environ["TMPDIR"] = os.environ["JOBLIB_TEMP_FOLDER"] = folder
        try:
            seconds = in_fresh_process(_search, n_candidates)
        finally:
            for name, value in zip(
                ("TMPDIR", "JOBLIB_TEMP_FOLDER"), before, strict=True
            ):
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
        # Workers notice within moments that their parent has ended.
        deadline = time.monotonic() + SECONDS_TO_END
        while _processes_that_use(folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        files, processes = list(Path(folder).iterdir()), _processes_that_use(folder)
    print(
        f"search: {n_candidates * N_FOLDS} fits, n_jobs=2, {seconds:.0f} s: "
        f"{len(files)} files and {len(processes)} processes left",
        flush=True,
    )
    return not files and not processes


def _search(n_candidates):
    # Large enough for joblib to put the layers into temporary files.
    X, y = (LayerStack(network(3, 150, 1000, run=run)) for run in (0, 1))
    start = time.perf_counter()
    GridSearchCV(
        MultiLevelOT(SoftMatching()),
        {"inner__mass": np.linspace(0.5, 1, n_candidates)},
        cv=N_FOLDS,
        n_jobs=2,
        refit=False,
    ).fit(X, y)
    return time.perf_counter() - start


def _processes_that_use(folder):
    """Return the processes whose environment names a folder."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={folder}".encode() in environment.read_bytes():
                found.append(environment.parent.name)
        except OSError:
            continue  # It ended, or belongs to someone else.
    return found


# -- a network at full size ------------------------------------------------------------


def soak_network(scale):
    """Print what a fit that is killed has to solve again; whether it is the same."""
    source, target, n_stimuli = NETWORKS[scale]
    n_pairs = source[0] * target[0]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        networks = [
            in_fresh_process(_write, folder, name, shape, n_stimuli, run)
            for run, (name, shape) in enumerate(
                (("source", source), ("target", target))
            )
        ]
        plain, peak = in_fresh_process(_fit_and_peak, networks, None)
        print(
            f"network: {source[0]} x {source[1]} against {target[0]} x {target[1]} "
            f"units, {n_stimuli} stimuli: {plain.n_solved} pairs in "
            f"{plain.seconds:.0f} s, {peak / 1e9:.2f} GB at most",
            flush=True,
        )
        memory = str(folder / "memory")
        killed = fit_until_killed(networks, memory, (n_pairs // 2, 0.05))
        n_kept = len(entries(memory))
        n_bytes = sum(path.stat().st_size for path in entries(memory))
        resumed, _ = in_fresh_process(_fit_and_peak, networks, memory)
    same = resumed.digest == plain.digest
    again = resumed.n_solved - (n_pairs - n_kept)
    print(
        f"  killed with {n_kept} of {n_pairs} pairs kept ({n_bytes / 1e6:.0f} MB), "
        f"resumed: {resumed.n_solved} pairs solved in {resumed.seconds:.0f} s, {again} "
        f"of them a second time; {'the same bits' if same else 'OTHER RESULTS'}",
        flush=True,
    )
    return killed and same and again == 0


def _write(folder, name, shape, n_stimuli, run):
    return save_network(folder, name, network(*shape, n_stimuli, run=run))


def _fit_and_peak(networks, memory):
    return fit(networks, memory), highest_resident_bytes()


if __name__ == "__main__":
    # Functions that other processes run must belong to a module that can be imported.
    from soak import main as run

    run()
