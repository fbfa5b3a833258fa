"""The numbers of every estimator and measure, to be compared between two environments.

    python benchmarks/versions.py write a.json
    python benchmarks/versions.py compare a.json b.json

`write` fits every estimator of `skmot`, and calls every measure of two populations, on
simulated and on real activations in float32 and float64, and keeps what is read of
them. `compare` prints the largest difference of each, and exits with 1 if one is
larger than `TOLERANCE`, if the inputs differ, or if a number is in one file only.
"""

import argparse
import hashlib
import inspect
import json
import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

import skmot
from skmot import LayerStack, MultiLevelOT, RotationMatching, metrics
from skmot.datasets import load_sentence_encoders

# Largest difference of two numbers, relative to the largest of the quantity.
TOLERANCE = 1e-6
PACKAGES = ("numpy", "scipy", "scikit-learn", "POT", "joblib")
DTYPES = ("float64", "float32")
TRAINING, HELD_OUT = slice(0, 60), slice(60, 80)
# Settings of estimators beside their defaults, and arguments that they need.
SETTINGS = {
    "CKA": [{"debiased": False}],
    "LinearPredictivity": [{"alpha_per_target": True}],
    "MultiLevelOT": [
        {"cost_cv": 3},
        {"strategy": "single_best"},
        {"strategy": "permuted"},
        {"depth_prior": 0.5},
        {"inner": RotationMatching(max_iter=5)},
    ],
    "SoftMatching": [
        {"metric": "abs_correlation", "source_weights": "variance"},
        {"metric": "cosine"},
        {"metric": "sqeuclidean"},
        {"mass": 0.6},
        {"reconstruct": "raw"},
    ],
    "RotationMatching": [{"metric": "correlation", "n_init": 2}],
}
REQUIRED = {
    "FunctionComparison": {"func": metrics.procrustes_distance},
    "MultiLevelOTRotation": {"max_iter": 10},
    "RotationMatching": {"max_iter": 10},
    "TemplateMOT": {"n_layers": 2, "n_units": 6, "max_iter": 3},
}
# Learned attributes and methods of held-out networks, where an estimator has them.
LEARNED = ("cost_", "layer_costs_", "coupling_", "rotation_", "costs_")
READ = (
    "held_out_cost",
    "score",
    "inverse_score",
    "unit_scores",
    "matching_score",
    "leave_one_out_scores",
)
# Functions of other arguments than two populations.
OTHER_FUNCTIONS = {
    "ceiling_from_ncsnr",
    "corrected_scores",
    "hierarchy_score",
    "negative_cost",
    "noise_ceiling",
    "noise_corrected_score",
    "pairwise_costs",
    "reconstruction_correlation",
    "scored_units",
    "source_score",
    "target_score",
}


# -- inputs ----------------------------------------------------------------------------


def simulated_networks():
    """Return two networks of two and three layers that share signals.

    They are rounded, so that they are equal although sums round otherwise.
    """
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(80, 8))
    return [
        [
            (
                signals @ rng.normal(size=(8, width)) + rng.normal(size=(80, width))
            ).round(6)
            for width in widths
        ]
        for widths in ((14, 18), (12, 20, 16))
    ]


def real_networks():
    """Return layers of two sentence encoders, every 24th unit."""
    encoders = load_sentence_encoders()
    return [
        [np.asarray(side.layers[index])[:80, ::24] for index in layers]
        for side, layers in ((encoders.source, (0, 3)), (encoders.target, (0, 3, 6)))
    ]


INPUTS = {"simulated": simulated_networks, "sentence encoders": real_networks}


# -- numbers ---------------------------------------------------------------------------


def unfitted_estimators():
    """Return every estimator of skmot with each of its settings, by their name."""
    found = {}
    for name in skmot.__all__:
        kind = getattr(skmot, name)
        if not hasattr(kind, "fit"):
            continue
        for settings in [{}, *SETTINGS.get(name, [])]:
            given = REQUIRED.get(name, {}) | settings
            if "random_state" in inspect.signature(kind).parameters:
                given["random_state"] = 0
            written = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            found[f"{name}({written})"] = kind(**given)
    found["MultiLevelOT(MultiLevelOT())"] = MultiLevelOT(MultiLevelOT())
    return found


def numbers_of_estimator(estimator, networks):
    """Return the numbers of a fit, by their name."""
    deep = getattr(estimator, "inner", None)
    if isinstance(deep, MultiLevelOT):
        # Two networks a side, with the same responses to other stimuli.
        networks = [[side, [layer[::-1] for layer in side]] for side in networks]
    training, held_out = (
        [_rows(side, rows) for side in networks] for rows in (TRAINING, HELD_OUT)
    )
    if hasattr(estimator, "leave_one_out_scores"):
        training, held_out = [training], [training, held_out]
    fitted = estimator.fit(*training)
    numbers = {name: getattr(fitted, name) for name in LEARNED if hasattr(fitted, name)}
    numbers |= {
        name: getattr(fitted, name)(*held_out) for name in READ if hasattr(fitted, name)
    }
    return {name: _as_list(value) for name, value in numbers.items()}


def numbers_of_measures(networks):
    """Return the measures of the first layers of two networks, by their name."""
    X, Y = (side[0] for side in networks)
    width = min(X.shape[1], Y.shape[1])
    numbers = {}
    for name in metrics.__all__:
        function = getattr(metrics, name)
        if name in OTHER_FUNCTIONS or isinstance(function, type):
            continue
        seed = (
            {"random_state": 0}
            if "random_state" in inspect.signature(function).parameters
            else {}
        )
        value = function(X[:, :width], Y[:, :width], **seed)
        if isinstance(value, dict):
            parts = value.items()
            numbers |= {
                f"{name}.{part}": _as_list(n) for part, n in parts if _is_number(n)
            }
        else:
            numbers[name] = _as_list(value)
    return numbers


def _rows(network, rows):
    if isinstance(network[0], list):
        return LayerStack([_rows(part, rows) for part in network])
    return LayerStack([layer[rows] for layer in network])


def _as_list(value):
    """Return all numbers of a value in a flat list, with None for NaN."""
    if hasattr(value, "toarray"):
        value = value.toarray()
    if isinstance(value, list | tuple):
        return [number for part in value for number in _as_list(part)]
    flat = np.asarray(value, dtype=np.float64).ravel().tolist()
    return [None if np.isnan(number) else number for number in flat]


def _is_number(value):
    """Whether a value of a result is made of numbers, not of text."""
    return np.asarray(value).dtype.kind in "bif"


def all_numbers(sources):
    """Return the environment, a digest of each input, and all numbers."""
    digests, numbers = {}, {}
    for source in sources:
        networks = INPUTS[source]()
        for dtype in DTYPES:
            sides = [[layer.astype(dtype) for layer in side] for side in networks]
            content = b"".join(layer.tobytes() for side in sides for layer in side)
            digests[f"{source}, {dtype}"] = hashlib.sha256(content).hexdigest()
            parts = {"metrics": numbers_of_measures(sides)} | {
                name: numbers_of_estimator(estimator, sides)
                for name, estimator in unfitted_estimators().items()
            }
            numbers |= {
                f"{source}, {dtype}: {name}.{quantity}": value
                for name, part in parts.items()
                for quantity, value in part.items()
            }
    environment = {"python": platform.python_version(), "skmot": skmot.__version__}
    environment |= {package: version(package) for package in PACKAGES}
    # In an order of their own: libraries are found in any.
    environment["BLAS"] = " and ".join(
        sorted(
            f"{library['internal_api']} {library['version']} "
            f"{library.get('architecture')}"
            for library in threadpool_info()
            if library["user_api"] == "blas"
        )
    )
    return {"environment": environment, "inputs": digests, "numbers": numbers}


# -- comparison ------------------------------------------------------------------------


def difference(first, second):
    """Return the largest difference relative to the largest number of a quantity."""
    first, second = (np.asarray(side, dtype=np.float64) for side in (first, second))
    if first.shape != second.shape or (np.isnan(first) != np.isnan(second)).any():
        return np.inf
    first, second = (np.nan_to_num(side) for side in (first, second))
    # Numbers that are 0 up to rounding are compared with 1.
    largest = np.abs([first, second]).max(initial=0)
    return float(
        np.abs(first - second).max(initial=0) / (largest if largest > 1e-3 else 1)
    )


def compare(first, second):
    """Print the differences of two files' contents. Return whether all are small."""
    for side in (first, second):
        print(", ".join(f"{name} {is_}" for name, is_ in side["environment"].items()))
    if first["inputs"] != second["inputs"]:
        print("The inputs differ, so that the numbers cannot be compared.")
        return False
    names = first["numbers"].keys() & second["numbers"].keys()
    alone = first["numbers"].keys() ^ second["numbers"].keys()
    differences = {
        name: difference(first["numbers"][name], second["numbers"][name])
        for name in names
    }
    for dtype in DTYPES:
        of_dtype = {
            name: d for name, d in differences.items() if f", {dtype}: " in name
        }
        equal = sum(d == 0 for d in of_dtype.values())
        print(f"{dtype}: {len(of_dtype)} quantities, {equal} equal to the last bit")
        for name in sorted(of_dtype, key=of_dtype.get)[:-6:-1]:
            print(f"  {of_dtype[name]:.1e}  {name}")
    for name in sorted(alone):
        print(f"in one file only: {name}")
    return not alone and max(differences.values()) <= TOLERANCE


def main():
    """Write a file, or compare two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    written = commands.add_parser("write")
    written.add_argument("file", type=Path)
    written.add_argument("--inputs", nargs="*", choices=INPUTS, default=list(INPUTS))
    compared = commands.add_parser("compare")
    compared.add_argument("files", type=Path, nargs=2)
    given = parser.parse_args()
    if given.command == "write":
        with warnings.catch_warnings():
            # Of few rounds and few stimuli.
            warnings.simplefilter("ignore")
            content = all_numbers(given.inputs)
        given.file.write_text(json.dumps(content) + "\n")
        return 0
    return 0 if compare(*(json.loads(file.read_text()) for file in given.files)) else 1


if __name__ == "__main__":
    sys.exit(main())
