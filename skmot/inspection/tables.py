"""Tables of the layer coupling and of the scores of a fitted estimator."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmot._scores import DIRECTIONS, check_is_estimator, unwrap
from skmot._utils.array_api import to_numpy
from skmot._utils.frames import import_pandas
from skmot._utils.sklearn import StrOptions, validate_params
from skmot.inspection._unwrap import unwrap_stacks
from skmot.layers.names import label_units, name_arrays, pair_columns
from skmot.layers.sides import read_side


def coupling_table(estimator, X=None, y=None):
    """List the cost and the coupling of each pair of layers.

    Parameters
    ----------
    estimator : MultiLevelOT, MultiLevelOTRotation, Pipeline, search or \
TransformedTargetLayers
        Fitted estimator. A Pipeline and a TransformedTargetLayers must end in a
        multi-level estimator. Of a search, the best estimator is used.
    X, y : LayerStack, list, dict, DataFrame or array-like, default=None
        Source and target layers over the same held-out stimuli. Given both, the costs
        of all pairs on these stimuli are listed, too.

    Returns
    -------
    table : pandas.DataFrame
        Table with one row for each pair of layers, in the order of the layers. The
        columns are

        - "source_layer" and "target_layer": name of the layer, or its number, counted
          from 0, if the layers have no names;
        - "cost": entry of `layer_costs_`;
        - "held_out_cost", if `X` and `y` are given: cost of the pair on these stimuli,
          see :meth:`skmot.MultiLevelOT.held_out_layer_costs`;
        - "coupling": entry of `coupling_`, which reconstructs the target. The sum over
          all pairs is 1;
        - "inverse_coupling": entry of `inverse_coupling_`, which reconstructs the
          source.

    Raises
    ------
    ImportError
        If pandas is not installed: ``pip install 'skmot[data]'``.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it couples no layers.
    ValueError
        If only one of `X` and `y` is given, or the layers differ from those in `fit`.

    See Also
    --------
    LayerCouplingDisplay : Plot of the costs and the coupling.
    matches : Table of the units that are matched, with their weights.

    Notes
    -----
    The couplings as a table with one row for each source layer and one column for each
    target layer, as a heat map needs it, are
    ``pd.DataFrame(mot.coupling_, mot.source_names_, mot.target_names_)``.

    If layers have layers themselves, the pairs of the highest level are listed. Those
    within the pair of layers i and j are ``coupling_table(mot.inner_[i][j])``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.inspection import coupling_table
    >>> rng = np.random.default_rng(0)
    >>> X = {name: rng.normal(size=(100, 8)) for name in ("conv1", "conv2")}
    >>> y = {"V1": X["conv1"][:, ::-1], "V4": X["conv2"] + rng.normal(size=(100, 8))}
    >>> coupling_table(MultiLevelOT().fit(X, y)).round(2)
      source_layer target_layer  cost  coupling  inverse_coupling
    0        conv1           V1  0.00       0.5               0.5
    1        conv1           V4  0.88       0.0               0.0
    2        conv2           V1  0.90       0.0               0.0
    3        conv2           V4  0.31       0.5               0.5

    The costs of other stimuli, as a matrix with the names of the layers:

    >>> from skmot import LayerStack
    >>> X, y = LayerStack(X), LayerStack(y)
    >>> table = coupling_table(MultiLevelOT().fit(X[:60], y[:60]), X[60:], y[60:])
    >>> table.pivot(
    ...     index="source_layer", columns="target_layer", values="held_out_cost"
    ... ).round(1)
    target_layer   V1   V4
    source_layer
    conv1         0.0  1.0
    conv2         1.0  0.3
    """
    pd = import_pandas()
    if (X is None) != (y is None):
        raise ValueError("Give both `X` and `y`, or neither of them.")
    is_held_out = X is not None
    if is_held_out:
        estimator, X, y = unwrap_stacks(estimator, X, y)
    else:
        check_is_estimator(estimator)
        check_is_fitted(estimator)
        estimator, *_ = unwrap(estimator)
    if not hasattr(estimator, "layer_costs_"):
        raise TypeError(
            f"{type(estimator).__name__} couples no layers: give a MultiLevelOT or "
            "MultiLevelOTRotation, or what ends in one."
        )
    costs = to_numpy(estimator.layer_costs_)
    names = estimator.source_names_, estimator.target_names_
    layers = [
        range(n_layers) if given is None else given
        for given, n_layers in zip(names, costs.shape, strict=True)
    ]
    held_out = (
        {"held_out_cost": estimator.held_out_layer_costs(X, y)} if is_held_out else {}
    )
    return pd.DataFrame(
        pair_columns(
            *layers,
            cost=costs,
            **held_out,
            coupling=to_numpy(estimator.coupling_),
            inverse_coupling=to_numpy(estimator.inverse_coupling_),
        )
    )


@validate_params(
    {
        "by": [StrOptions({"unit", "layer"})],
        "direction": [StrOptions(set(DIRECTIONS))],
    },
    prefer_skip_nested_validation=True,
)
def score_table(estimator, X, y, *, by="unit", direction="target"):
    """List the scores of units, or of layers.

    Parameters
    ----------
    estimator : estimator, Pipeline, search or TransformedTargetLayers
        Fitted estimator with the method `unit_scores`. A Pipeline's earlier steps are
        applied to `X`, and a TransformedTargetLayers transforms `y`. Of a search, the
        best estimator is used.
    X, y : LayerStack, list, dict, DataFrame or array-like
        Source and target layers over the same, preferably held-out, stimuli.
    by : {"unit", "layer"}, default="unit"
        What a row is.
    direction : {"target", "source"}, default="target"
        Side that is reconstructed and scored.

    Returns
    -------
    table : pandas.DataFrame
        Table with one row for each unit or layer of the scored side, in their order.
        The columns are

        - "direction": the given direction;
        - "layer": name of the layer, or its number, counted from 0, if the layers have
          no names. For stacks of stacks, this is a string with the names at all levels,
          joined by "/";
        - "unit", for `by="unit"`: name of the unit, or its number within its layer,
          counted from 0, if the units have no names. If earlier steps select units,
          this is the number before the selection;
        - "score": correlation with the reconstruction, from -1 to 1. NaN for a unit
          that is constant over these stimuli. For `by="layer"` it is the mean over
          units, NaN if all are constant;
        - "n_units", for `by="layer"`: number of units that the score is a mean of.

    Raises
    ------
    ImportError
        If pandas is not installed: ``pip install 'skmot[data]'``.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it has no `unit_scores`, because it does not predict.
    ValueError
        If the layers differ from those in `fit`, the stimuli of the two sides differ,
        or there are fewer than two stimuli.

    See Also
    --------
    UnitScoresDisplay : Plot of the scores of units.
    skmot.metrics.noise_corrected_score : Scores with noise ceilings, with the same
        table and its ceilings as ``result.to_frame("units")``.
    skmot.model_selection.compare : Scores of many pairs of networks and methods, with
        the same columns in its table.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import MultiLevelOT
    >>> from skmot.inspection import score_table
    >>> rng = np.random.default_rng(0)
    >>> X = {name: rng.normal(size=(90, 3)) for name in ("conv1", "conv2")}
    >>> y = {"V1": X["conv1"][:, ::-1], "V4": X["conv2"] + rng.normal(size=(90, 3))}
    >>> train, test = (
    ...     [{name: layer[rows] for name, layer in side.items()} for side in (X, y)]
    ...     for rows in (slice(60), slice(60, 90))
    ... )
    >>> mot = MultiLevelOT().fit(*train)
    >>> score_table(mot, *test, by="layer").round(1)
      direction layer  score  n_units
    0    target    V1    1.0        3
    1    target    V4    0.8        3
    """
    pd = import_pandas()
    estimator, X, y = unwrap_stacks(estimator, X, y)
    if not hasattr(estimator, "unit_scores"):
        raise TypeError(
            f"{type(estimator).__name__} has no `unit_scores`: give an estimator of "
            "skmot that predicts."
        )
    scores = np.concatenate(list(_arrays(estimator.unit_scores(X, y, direction))))
    layout = estimator._layouts(direction)[1]
    side = {"target": (y, "y"), "source": (X, "X")}[direction]
    stack, _ = read_side(*side)
    arrays = name_arrays(layout.structure, layout.unit_names, stack._unit_numbers)
    if by == "unit":
        columns = {**label_units(arrays), "score": scores}
    else:
        ends = np.cumsum([array.n_units for array in arrays])[:-1]
        scored = [part[~np.isnan(part)] for part in np.split(scores, ends)]
        columns = {
            "layer": [array.label for array in arrays],
            "score": [part.mean() if len(part) else np.nan for part in scored],
            "n_units": [len(part) for part in scored],
        }
    return pd.DataFrame({"direction": direction, **columns})


def _arrays(nested):
    """Yield the arrays in lists that are nested like the layers."""
    if isinstance(nested, list):
        for part in nested:
            yield from _arrays(part)
    else:
        yield nested
