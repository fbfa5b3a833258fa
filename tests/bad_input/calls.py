"""How every public function is called, which of its arguments are data, and what is
wrong for each other argument.

A public function, or an argument, that is missing here fails `test_lists.py`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

import skmot
from skmot import (
    LayerStack,
    MultiLevelOT,
    SoftMatching,
    TemplateMOT,
    datasets,
    extraction,
    inspection,
    metrics,
    model_selection,
    partial,
    preprocessing,
    scaling,
    transport,
)

# -- data ------------------------------------------------------------------------------

N_STIMULI = 24
N_TRIALS = 3


def make_network(seed, widths):
    """Return related layers of whole numbers, which float16 and integers can hold."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(N_STIMULI, 3))
    return {
        name: np.round(
            6 * shared @ random.normal(size=(3, width))
            + 4 * random.normal(size=(N_STIMULI, width))
        )
        for name, width in widths.items()
    }


SOURCE = make_network(0, {"V1": 5, "V2": 4})
TARGET = make_network(0, {"V1": 4, "V2": 6, "IT": 3})
X, Y = SOURCE["V1"], TARGET["V1"]
NETWORKS = {"a": SOURCE, "b": TARGET}
ROWS = np.arange(N_STIMULI)
FACTORS = np.column_stack([ROWS % 4, ROWS % 3]).astype(float)
COSTS = np.random.default_rng(0).uniform(size=(6, 6))


def labelled(network, labels=ROWS):
    return LayerStack(network, stimuli=labels)


def repeats_of(layer):
    noise = np.random.default_rng(3).normal(size=(N_TRIALS, *layer.shape))
    return layer + noise


@cache
def trials():
    """Return a stack that has trials."""
    stacked = {name: np.concatenate(repeats_of(part)) for name, part in TARGET.items()}
    return LayerStack.from_trials(stacked, np.tile(ROWS, N_TRIALS))


@cache
def fitted_mot():
    return MultiLevelOT().fit(SOURCE, TARGET)


@cache
def fitted_template():
    return TemplateMOT(n_layers=2, n_units=3).fit(NETWORKS)


def small_model():
    torch = pytest.importorskip("torch")
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU())


def torch_batches():
    return pytest.importorskip("torch").ones((6, 5))


# -- calls -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Later:
    """An argument that is made when it is needed."""

    make: Callable


@dataclass(frozen=True)
class Call:
    """A public function and valid arguments.

    Attributes
    ----------
    function : callable
        The function.
    given : dict
        Valid arguments by name, `Later` where they take time. A tuple is given for
        `*args`.
    data : dict
        What an argument holds: a "layer" (an array), a "network" (a dict of layers) or
        "networks" (a dict of networks).
    wrong : dict
        Values of the other arguments that must be refused, beyond those of `WRONG`.
    is_fit : bool
        Whether something is fitted to the data, so that constant layers are refused.
    accepts : dict
        Names of the rows of the table that an argument may hold, see `rows.py`.
    words : dict
        Pattern that names an argument in messages, if it is not the name itself.
    """

    function: Callable
    given: Mapping = field(default_factory=dict)
    data: Mapping = field(default_factory=dict)
    wrong: Mapping = field(default_factory=dict)
    is_fit: bool = True
    accepts: Mapping = field(default_factory=dict)
    words: Mapping = field(default_factory=dict)

    def __call__(self, **changed):
        given = {
            name: value.make() if isinstance(value, Later) else value
            for name, value in {**self.given, **changed}.items()
        }
        kinds = {name: part.kind for name, part in self.parameters.items()}
        several = [name for name, kind in kinds.items() if kind == kind.VAR_POSITIONAL]
        return self.function(*(given.pop(several[0]) if several else ()), **given)

    @property
    def name(self):
        return self.function.__name__

    @property
    def parameters(self):
        return inspect.signature(self.function).parameters

    def wrong_values(self, name):
        return self.wrong.get(name, WRONG.get(name))

    def names_of(self, name):
        """Return the pattern that a message must have to name an argument."""
        return self.words.get(name, rf"\b{name}\b")


_NOT_A_SWITCH = ("yes", 2)
_NOT_A_COUNT = (0, 1.5, "many")
# Wrong values of arguments that several functions have.
WRONG = {
    "random_state": ("seed", -1, 1.5),
    "n_jobs": ("two", 1.5),
    "cv": ("five", 1),
    "groups": (np.arange(3), 7),
    "blocks": ("square", 0, 1.5),
    "runs": (np.arange(2),),
    "direction": ("sideways", 3),
    "n_permutations": (-1, 2.5, "many"),
    "n_halves": _NOT_A_COUNT,
    "confidence_level": (0, 1.5, "high"),
    "callbacks": (3,),
    "test_size": (-0.5, "half"),
    "validation_size": (-0.5, "half"),
    "center": _NOT_A_SWITCH,
    "scale": _NOT_A_SWITCH,
    "estimator": (3, SoftMatching),
    "categorical": ([7], "all"),
    "pairs": ([("a", "nobody")], 3),
    "max_pivots": _NOT_A_COUNT,
    "masses": ([0.5], [0.5, 0.2, 0.1], [0.2, np.nan, 0.5], "all"),
    "networks": (3, {}),
    "sources": (3, {}),
    "targets": (3, {}),
}
_WRONG_COSTS = (
    np.full((6, 6), np.nan),
    np.ones((6, 6), complex),
    np.full((6, 6), "1"),
    np.ones(6),
    np.ones((0, 6)),
    "costs.npy",
)
_WRONG_WEIGHTS = {
    name: (np.ones(3), -np.ones(6), np.full(6, np.nan), "even", ["1"] * 6)
    for name in ("row_weights", "column_weights")
}

# Errors of fits name the network, not the dict that it is in.
_NETWORK = {"sources": r"\bsources?\b", "targets": r"\btargets?\b"}


def of_pair(function, given=None, **wrong):
    given = {"X": X, "Y": Y} if given is None else given
    return Call(function, given, dict.fromkeys(given, "layer"), wrong)


def of_factors(function, given=None, **wrong):
    data = {"factors": FACTORS, "representation": X}
    return Call(function, data | (given or {}), dict.fromkeys(data, "layer"), wrong)


def of_sides(function, given=None, **wrong):
    sides = {"X": SOURCE, "y": TARGET}
    given = {"estimator": MultiLevelOT(), **sides, **(given or {})}
    return Call(function, given, dict.fromkeys(sides, "network"), wrong)


def of_fitted(function, accepts=None, **wrong):
    sides = {"X": SOURCE, "y": TARGET}
    return Call(
        function,
        {"estimator": Later(fitted_mot), **sides},
        dict.fromkeys(sides, "network"),
        wrong,
        is_fit=False,
        accepts=accepts or {},
    )


CALLS = [
    Call(
        skmot.align_stimuli,
        {"stacks": (labelled(SOURCE), labelled(TARGET))},
        wrong={"stacks": ((SOURCE,), (3,), ())},
        words={"stacks": "[Ss]tack"},
    ),
    # -- metrics
    of_pair(metrics.soft_matching_distance),
    of_pair(metrics.soft_matching_score),
    of_pair(metrics.one_to_one_distance, {"X": X, "Y": X[:, ::-1]}),
    of_pair(metrics.procrustes_distance),
    of_pair(metrics.semi_matching_score),
    of_pair(metrics.rectangular_matching_score, {"X": SOURCE["V2"], "Y": TARGET["V2"]}),
    of_pair(metrics.rsa_score),
    of_pair(metrics.linear_cka, debiased=_NOT_A_SWITCH),
    of_pair(
        metrics.linear_predictivity_score,
        alphas=([], [-1.0], [np.nan], "some", ["1"]),
        alpha_per_target=_NOT_A_SWITCH,
    ),
    Call(
        metrics.reconstruction_correlation,
        {"y_true": X, "y_pred": X[:, ::-1]},
        {"y_true": "layer", "y_pred": "layer"},
        {},
        False,
    ),
    Call(
        metrics.rotation_curve,
        {"X": X, "y": Y, "n_rotations": 2},
        {"X": "layer", "y": "layer"},
        {
            "alphas": ([], [np.nan], ["0"], 3),
            "n_rotations": _NOT_A_COUNT,
            "held_out": (3, (X,)),
            "score": (3, "best"),
        },
    ),
    Call(
        metrics.hierarchy_score,
        {"coupling": np.full((2, 3), 1 / 6)},
        wrong={
            "coupling": (
                np.full((2, 3), np.nan),
                np.ones(3),
                np.zeros((2, 3)),
                np.ones((2, 3), complex),
                "plan",
            ),
            "adjusted": _NOT_A_SWITCH,
        },
    ),
    Call(
        metrics.ceiling_from_ncsnr,
        {"ncsnr": [0.5, 1.0], "n_repeats": 3},
        wrong={
            "ncsnr": ([-1.0], ["1"], np.ma.array([1.0, 2.0], mask=[1, 0])),
            "n_repeats": _NOT_A_COUNT,
        },
    ),
    Call(
        metrics.noise_ceiling,
        {"repeats": repeats_of(X)},
        wrong={
            "repeats": (
                np.full((3, 24, 5), np.nan),
                np.ones((3, 24, 5), complex),
                np.full((3, 24, 5), "1"),
                np.ones(5),
                "repeats.npy",
            ),
            "return_interval": _NOT_A_SWITCH,
            "n_resamples": (1, 2.5, "many"),
            "groups": (np.arange(3),),
        },
    ),
    Call(
        metrics.corrected_scores,
        {"unit_scores": [0.2, 0.4], "ceilings": [0.5, 0.8], "threshold": 0.1},
        wrong={
            "unit_scores": ([0.2], "high", ["0.1", "0.2"]),
            "ceilings": ([0.2], "high", [7.0, 0.5]),
            "threshold": (0, 2, "low"),
        },
    ),
    Call(
        metrics.noise_corrected_score,
        {"estimator": Later(fitted_mot), "X": SOURCE, "y": Later(trials)},
        {"X": "network"},
        {
            "y": (TARGET,),
            "both_sides": _NOT_A_SWITCH,
            "disjoint_trials": _NOT_A_SWITCH,
        },
        is_fit=False,
    ),
    of_factors(metrics.disentanglement_score, signed=_NOT_A_SWITCH),
    of_factors(
        metrics.dci_scores,
        {"test_size": 0.3, "random_state": 0},
        regressor=("ridge", 3),
    ),
    of_factors(metrics.mutual_information_gap, n_bins=_NOT_A_COUNT),
    Call(
        metrics.pairwise_costs,
        {"networks": NETWORKS, "estimator": MultiLevelOT()},
        {"networks": "networks"},
        {"symmetric": _NOT_A_SWITCH},
    ),
    of_fitted(metrics.negative_cost),
    of_fitted(metrics.target_score),
    of_fitted(metrics.source_score),
    # It counts units of y: of X it needs no number.
    of_fitted(
        metrics.scored_units,
        {
            "X": {
                "NaN",
                "infinity",
                "missing units",
                "strings",
                "dates",
                "objects",
                "no unit",
            }
        },
    ),
    # -- model_selection
    Call(
        model_selection.compare,
        {
            "sources": {"a": SOURCE},
            "targets": {"b": TARGET},
            "methods": {"mot": MultiLevelOT()},
            "cv": 3,
            "verbose": False,
            "n_bootstrap": 10,
        },
        {"sources": "networks", "targets": "networks"},
        {
            "methods": (3, {}, {"mot": 3}, {"mot": MultiLevelOT}),
            "keep": ("everything", ["everything"]),
            "directions": ("up", ["up"]),
            "n_bootstrap": (-1, 1.5),
            "verbose": ("yes",),
        },
        words=_NETWORK,
    ),
    of_sides(
        model_selection.coupling_stability,
        {"n_resamples": 2},
        n_resamples=_NOT_A_COUNT,
        fraction=(0, 1.0, "half"),
    ),
    of_sides(
        model_selection.hierarchy_test,
        {"n_permutations": 3},
        depths=(3, ([0, 1], [0, 1]), ([0, 7], [0, 0.5, 1])),
    ),
    Call(
        model_selection.joint_permutation_test,
        {
            "estimator": MultiLevelOT(),
            "sources": {"a": SOURCE},
            "targets": {"b": TARGET},
            "n_permutations": 3,
        },
        {"sources": "networks", "targets": "networks"},
        {"statistic": ("p", 3)},
        words=_NETWORK,
    ),
    of_sides(
        model_selection.permutation_control,
        {"n_permutations": 3, "cv": 2},
        control=("noise", 3),
        statistic=("p", 3),
        refit=_NOT_A_SWITCH,
        n_pilot=(-1, 1.5, "many"),
        scale=("loud", 3),
    ),
    Call(
        model_selection.group_separation_test,
        {"costs": COSTS, "groups": list("aabbcc")},
        wrong={
            "costs": (COSTS[:, :5], np.full((6, 6), np.nan), np.ones(6), "costs"),
            "groups": (list("aabb"), list("abcdef"), 7),
        },
    ),
    Call(
        model_selection.mean_over_networks,
        {"values": {(s, t): s / (t + 1) for s in range(4) for t in range(4, 8)}},
        wrong={
            "values": (3, {}, {(0, 1): np.nan}, {(0, 1): "1"}, {("a",): 1.0}),
            "resampled": (3, {(0, 1): [1.0]}),
            "one_set": _NOT_A_SWITCH,
        },
    ),
    Call(
        model_selection.train_validation_test_split,
        {"arrays": (SOURCE, TARGET)},
        wrong={"arrays": ((), (3,), ("layer.npy",))},
        words={"arrays": r"Input 0|array"},
    ),
    # -- partial
    Call(
        partial.curve_corner,
        {"masses": [0.2, 0.5, 1.0], "values": [0.1, 0.12, 0.4]},
        wrong={"values": ([0.1], ["1", "2", "3"], [0.1, np.nan, 0.2])},
    ),
    Call(
        partial.mass_curve,
        {"X": X, "y": Y, "masses": (0.3, 0.6, 1.0), "n_permutations": 19, "cv": 2},
        {"X": "layer", "y": "layer"},
    ),
    # -- preprocessing
    Call(
        preprocessing.average_repeats,
        {"stack": SOURCE, "groups": ROWS // 2},
        {"stack": "network"},
        # Averages may be constant, and `groups` need not be in any order.
        accepts={"stack": {"constant"}},
        words={"stack": r"\bstack\b|the layers"},
    ),
    Call(
        preprocessing.positions_as_stimuli,
        {"maps": repeats_of(X)},
        wrong={
            "maps": (X, "maps.npy", np.full((6, 4, 3), "1"), 3, [], {}),
            "unit_axis": (7, 0, "last"),
            "grid": ((0,), (2, 2), "small", 1.5),
            "resampling": ("cubic", 3),
            "mask": (np.ones((2, 2), bool), "all"),
            "positions": (np.ones((2, 2), int), "all"),
            "stimuli": ([1, 2], 3),
        },
    ),
    Call(
        preprocessing.common_positions,
        {"spans": ([[(0, 3), (3, 5)]], [[(0, 5)]])},
        wrong={"spans": ((3,), ("words",), ([[(3, 1)]],), ([["a"]],))},
    ),
    # -- inspection
    of_fitted(inspection.coupling_table),
    of_fitted(inspection.score_table, by=("voxel", 3)),
    of_fitted(inspection.matches, top=_NOT_A_COUNT),
    Call(
        inspection.mutual_matches,
        {"networks": NETWORKS, "X": NETWORKS},
        {"networks": "networks", "X": "networks"},
        is_fit=False,
    ),
    Call(
        inspection.rosetta_units,
        {"template": Later(fitted_template), "networks": NETWORKS, "X": NETWORKS},
        {"networks": "networks", "X": "networks"},
        {"template": (3, Later(fitted_mot))},
        is_fit=False,
    ),
    Call(
        inspection.plot_coupling_grid,
        {"estimators_or_couplings": {("a", "b"): np.full((2, 3), 1 / 6)}},
        wrong={
            "estimators_or_couplings": (
                3,
                {},
                {("a", "b"): 3},
                {"a": np.ones((2, 2))},
            ),
            "names": (["c"], 3),
            "quantity": ("shares", 3),
        },
    ),
    # -- scaling
    Call(
        scaling.estimate,
        {"estimator": MultiLevelOT(), "X": SOURCE, "y": TARGET},
        {"X": "network", "y": "network"},
        {"n_workers": _NOT_A_COUNT, "n_rounds": (0, "many")},
        # It reads no more than shapes, dtypes and one row.
        is_fit=False,
        accepts={
            name: {"NaN", "infinity", "missing units", "objects"} for name in "Xy"
        },
    ),
    Call(
        scaling.placeholder_layers,
        {"n_stimuli": 10, "widths": [3, 4]},
        wrong={
            "n_stimuli": _NOT_A_COUNT,
            "widths": ([], [0], 3, "wide", [1.5]),
            "dtype": ("nothing", "U3", object),
        },
    ),
    # -- transport
    Call(
        transport.solve_transport,
        {"costs": COSTS},
        wrong=_WRONG_WEIGHTS
        | {
            "costs": _WRONG_COSTS,
            "potentials": (
                (np.ones(2), np.ones(2)),
                (np.full(6, np.nan), np.ones(6)),
                3,
            ),
        },
    ),
    Call(
        transport.solve_partial_transport,
        {"costs": COSTS, "mass": 0.5},
        wrong=_WRONG_WEIGHTS
        | {"costs": _WRONG_COSTS, "mass": (0, 1.5, "half", np.nan)},
    ),
    # -- datasets
    Call(
        datasets.load_digit_networks,
        {"source_hidden": (3,), "target_hidden": (3,)},
        wrong=dict.fromkeys(
            ("source_hidden", "target_hidden"), ((), (0,), (1.5,), 3, "wide")
        ),
    ),
    Call(
        datasets.load_digit_trajectories,
        wrong={"n_checkpoints": _NOT_A_COUNT, "hidden": ((), (0,), 3, "wide")},
    ),
    Call(datasets.load_sentence_encoders),
    Call(
        datasets.make_simulated_cortex,
        wrong={
            "n_subjects": _NOT_A_COUNT,
            "n_repeats": _NOT_A_COUNT,
            "noise": (-1, "loud"),
            "n_mixed": (-1, 1.5, "two"),
        },
    ),
    # -- extraction
    Call(
        extraction.record_activations,
        {"model": Later(small_model), "batches": Later(torch_batches)},
        wrong={
            "model": (3, "model"),
            "batches": (3, []),
            "layers": (["nowhere"], 3, []),
            "reduce": ("sum", 3),
            "tokenizer": (3,),
            "stimuli": ([1, 2], 3),
            "out": (3,),
            # Of activations that are (n_stimuli, n_units) the axis is not used.
            "unit_axis": (0, 1.5, "last"),
        },
    ),
]
# Functions that the solver calls, with arguments that no user makes.
INTERNAL = {"match_tuning_curves"}
