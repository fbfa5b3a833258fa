"""Estimators refuse bad data and wrong parameters, and say which and what to do."""

import inspect
import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skmot import LayerStack, SoftMatching, TemplateMOT
from tests.bad_input.calls import N_STIMULI, SOURCE, labelled, make_network
from tests.bad_input.rows import rows_of, spoil_layer
from tests.test_estimator_checks import ARGUMENTS, PUBLIC

# There are few stimuli, which some estimators warn of.
pytestmark = pytest.mark.filterwarnings("ignore")

# As wide as the source, as a permutation of units needs.
TARGET = make_network(5, {"V1": 5, "V2": 4})
SIDES = {"X": SOURCE, "y": TARGET}
# scikit-learn's own methods, which take no layers.
_OTHER_METHODS = {"fit", "fit_transform", "fit_predict", "func"}

_NOT_A_SWITCH = ("yes", 2)
_NOT_A_COUNT = (0, 1.5, "many")
_NOT_WEIGHTS = ("even", [-1.0], np.ones(99))
FITS_ITSELF = {"leave_one_out_scores"}
# Wrong values of the parameters of estimators: of another type, and out of range.
WRONG_PARAMETERS = {
    "random_state": ("seed", -1, 1.5),
    "n_jobs": ("two", 1.5),
    "debiased": _NOT_A_SWITCH,
    "func": (3, "corr"),
    "greater_is_more_alike": _NOT_A_SWITCH,
    "kw_args": (3, [("a", 1)]),
    "alphas": ([], [-1.0], "some"),
    "alpha_per_target": _NOT_A_SWITCH,
    "validation_fraction": (0, 1.5, "half"),
    "inner": (3, SoftMatching, "rsa"),
    "strategy": ("best", 3),
    "cost_cv": (1, "five", 2.5),
    "memory": (3,),
    "depth_prior": (-1, "strong", np.inf, np.nan),
    "metric": ("manhattan", 3),
    "max_iter": _NOT_A_COUNT,
    "tol": (-1, "small"),
    "n_init": _NOT_A_COUNT,
    "regressor": (3, "ridge"),
    "mass": (0, 1.5, "half", np.nan),
    "reconstruct": ("z", 3),
    "source_weights": _NOT_WEIGHTS,
    "target_weights": _NOT_WEIGHTS,
    "n_layers": _NOT_A_COUNT,
    "n_units": _NOT_A_COUNT,
    "init": ("random", -1, 7, 1.5),
    "min_active": (0, 1.5, "five", -1),
    "transformer": (3, "scale"),
    "threshold": ("high",),
    "reliabilities": ("high", [np.ones(3)]),
    "runs": ("runs",),
    "n_halves": _NOT_A_COUNT,
    "fraction": (0, 1.5, "half"),
}
# Rows of the table that a class does not refuse, because it is made for them.
ACCEPTED = {
    "FiniteUnitSelector": {"NaN", "infinity", "missing units", "constant"},
    "LayerwiseTransformer": {"constant"},
    "ReliabilitySelector": {"constant"},
    "UnitSubsampler": {"constant"},
    # It says that no unit responds.
    "ActivitySelector": {"constant"},
}


FIT_TO_NETWORKS = [cls for cls in PUBLIC if cls is not TemplateMOT]
COMPARISONS = [cls for cls in FIT_TO_NETWORKS if not hasattr(cls, "transform")]


def make(estimator, **changed):
    return estimator(**{**ARGUMENTS.get(estimator, {}), **changed})


def data_of(estimator):
    """Return what an instance is fitted to, by argument, and what each holds."""
    if isinstance(estimator, TemplateMOT):
        return {"X": {"a": SOURCE, "b": TARGET}}, {"X": "networks"}
    if hasattr(estimator, "transform"):
        # Transformers do not use the target.
        return {"X": SOURCE}, {"X": "network"}
    return SIDES, dict.fromkeys(SIDES, "network")


def methods_of(estimator):
    """Yield the public methods of a fitted estimator that take layers."""
    for name in dir(estimator):
        if name.startswith("_") or name in _OTHER_METHODS:
            continue
        method = getattr(estimator, name, None)
        if not inspect.ismethod(method):
            continue
        arguments = [a for a in inspect.signature(method).parameters if a in SIDES]
        if arguments:
            yield name, arguments


def is_refused(row, estimator, argument, layer, call):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    message = str(error.value)
    assert isinstance(error.value, row.kind), message
    assert row.found in message
    assert row.remedy in message
    assert re.search(rf"\b{argument}\b", message)
    if row.found:
        assert layer in message


@pytest.mark.parametrize("estimator", PUBLIC)
def test_bad_layer_is_named_at_fit(estimator):
    estimator = make(estimator)
    given, kinds = data_of(estimator)
    accepted = ACCEPTED.get(type(estimator).__name__, ())
    n_refused = 0
    for argument, kind in kinds.items():
        for name, row in rows_of(kind, is_fit=True).items():
            if name in accepted:
                continue
            bad, layer = spoil_layer(given[argument], kind, row)
            is_refused(
                row,
                estimator,
                argument,
                layer,
                lambda bad=bad, argument=argument: clone(estimator).fit(
                    **{**given, argument: bad}
                ),
            )
            n_refused += 1
    assert n_refused > 10


@pytest.mark.parametrize("estimator", PUBLIC)
def test_bad_layer_is_named_by_every_method_of_a_fitted_estimator(estimator):
    estimator = make(estimator)
    given, kinds = data_of(estimator)
    estimator.fit(**given)
    accepted = ACCEPTED.get(type(estimator).__name__, ())
    for method, arguments in methods_of(estimator):
        sides = {name: given.get(name, SIDES[name]) for name in arguments}
        getattr(estimator, method)(**sides)
        for argument in arguments:
            kind = kinds.get(argument, "network")
            for name, row in rows_of(kind, is_fit=False).items():
                if name in accepted:
                    continue
                bad, layer = spoil_layer(sides[argument], kind, row)
                is_refused(
                    row,
                    estimator,
                    argument,
                    layer,
                    lambda bad=bad, argument=argument, method=method, sides=sides: (
                        getattr(estimator, method)(**{**sides, argument: bad})
                    ),
                )


@pytest.mark.parametrize("estimator", PUBLIC)
def test_wrong_parameter_is_named_at_fit(estimator):
    given, _ = data_of(make(estimator))
    for name in inspect.signature(estimator).parameters:
        others = {}
        if estimator.__name__ == "ReliabilitySelector" and name == "runs":
            # With known reliabilities there is nothing that runs are used for.
            others["reliabilities"] = None
        for value in WRONG_PARAMETERS[name]:
            with pytest.raises((TypeError, ValueError)) as error:
                make(estimator, **others, **{name: value}).fit(**given)
            assert re.search(rf"\b{name}\b", str(error.value)), (value, error.value)


@pytest.mark.parametrize("estimator", PUBLIC)
def test_unfitted_use_is_an_error(estimator):
    estimator = make(estimator)
    given, _ = data_of(estimator)
    methods = [part for part in methods_of(estimator) if part[0] not in FITS_ITSELF]
    for method, arguments in methods:
        sides = {name: given.get(name, SIDES[name]) for name in arguments}
        with pytest.raises(NotFittedError, match=type(estimator).__name__):
            getattr(estimator, method)(**sides)
    assert methods


# -- the network -----------------------------------------------------------------------

BAD_NETWORKS = {
    "nothing": (lambda network: {}, ValueError, "at least one layer"),
    "number": (lambda network: 3, ValueError, "Expected 2D array"),
    "path": (lambda network: "layers.npz", TypeError, "np.load"),
    "generator": (
        lambda network: (layer for layer in network.values()),
        TypeError,
        "list(layers)",
    ),
    "feature maps": (
        lambda network: np.zeros((N_STIMULI, 4, 3, 3)),
        ValueError,
        "layer.mean(axis=(2, 3))",
    ),
    "layers first": (
        lambda network: np.zeros((2, N_STIMULI, 4)),
        ValueError,
        "list(array)",
    ),
    "sparse": (
        lambda network: sparse.csr_array(network["V1"]),
        TypeError,
        "toarray",
    ),
}


@pytest.mark.parametrize("estimator", FIT_TO_NETWORKS)
@pytest.mark.parametrize(
    ("spoil", "kind", "found"), BAD_NETWORKS.values(), ids=BAD_NETWORKS
)
def test_bad_network_is_named_by_its_argument(estimator, spoil, kind, found):
    estimator = make(estimator)
    given, kinds = data_of(estimator)
    for argument in kinds:
        with pytest.raises(kind) as error:
            clone(estimator).fit(**{**given, argument: spoil(given[argument])})
        message = str(error.value)
        assert found in message
        assert re.search(rf"\b{argument}\b", message)


@pytest.mark.parametrize("estimator", COMPARISONS)
def test_one_stimulus_in_both_sides_is_refused_as_scikit_learn_does(estimator):
    single = {
        argument: {name: layer[:1] for name, layer in network.items()}
        for argument, network in SIDES.items()
    }
    with pytest.raises(ValueError, match=r"n_samples=1|1 sample|minimum of 2"):
        make(estimator).fit(**single)


# -- other layers than those of the fit ----------------------------------------------

OTHER_NETWORKS = {
    "width": lambda network: {**network, "V2": network["V2"][:, :-1]},
    "number": lambda network: {"V1": network["V1"]},
    "order": lambda network: dict(reversed(network.items())),
}


@pytest.mark.parametrize("estimator", FIT_TO_NETWORKS)
@pytest.mark.parametrize("change", OTHER_NETWORKS.values(), ids=OTHER_NETWORKS)
def test_other_layers_than_those_of_the_fit_are_refused(estimator, change):
    estimator = make(estimator)
    given, _ = data_of(estimator)
    estimator.fit(**given)
    for method, arguments in methods_of(estimator):
        sides = {name: SIDES[name] for name in arguments}
        if method == "inverse_transform":
            sides["X"] = estimator.transform(SOURCE)
        for argument in arguments:
            with pytest.raises(ValueError, match=rf"\b{argument}\b"):
                getattr(estimator, method)(
                    **{**sides, argument: change(sides[argument])}
                )


# -- labels --------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", COMPARISONS)
def test_labels_that_differ_are_named_with_the_first_row(estimator):
    order = np.arange(N_STIMULI)
    order[[4, 5]] = 5, 4
    with pytest.raises(ValueError, match=r"row 4 is 4 in X and 5 in y"):
        make(estimator).fit(labelled(SOURCE), labelled(TARGET, order))
    other = np.arange(N_STIMULI) + 100
    with pytest.raises(ValueError, match=r"in X and .* in y"):
        make(estimator).fit(labelled(SOURCE), labelled(TARGET, other))
    fitted = make(estimator).fit(labelled(SOURCE), labelled(TARGET))
    for method, arguments in methods_of(fitted):
        if len(arguments) == 2:
            with pytest.raises(ValueError, match=r"row 4 is 4 in X and 5 in y"):
                getattr(fitted, method)(
                    labelled(SOURCE, np.arange(N_STIMULI)), labelled(TARGET, order)
                )


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([None, *range(1, N_STIMULI)], "missing"),
        ([float("nan"), *range(1, N_STIMULI)], "missing"),
        (["NaT", *range(1, N_STIMULI)], None),
        ("subject", "one label"),
        (range(3), "3 labels"),
        ([{}, *range(1, N_STIMULI)], "hash"),
        (np.ma.array(np.arange(N_STIMULI), mask=np.arange(N_STIMULI) == 3), "row 3"),
    ],
)
def test_labels_that_cannot_name_stimuli_are_refused(labels, found):
    if found is None:
        assert LayerStack(SOURCE, stimuli=labels).stimuli[0] == labels[0]
        return
    if isinstance(labels, str):
        with pytest.raises(ValueError, match=rf"`stimuli='{labels}'`"):
            LayerStack(SOURCE, stimuli=labels)
        return
    with pytest.raises(ValueError, match=found):
        LayerStack(SOURCE, stimuli=labels)


def test_numbers_and_strings_of_the_same_digits_are_different_labels():
    X = labelled(SOURCE)
    y = labelled(TARGET, [str(row) for row in range(N_STIMULI)])
    with pytest.raises(ValueError, match=r"row 0 is 0 in X and '0' in y"):
        SoftMatching().fit(X, y)
