"""Tables of the units that recur in many networks."""

import warnings
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils.validation import check_is_fitted

from skmot._scores import unwrap
from skmot._units import column_correlations, read_statistics, tuning_curves
from skmot._utils.array_api import check_numpy
from skmot._utils.frames import import_pandas
from skmot._utils.warnings import stacklevel_of_caller
from skmot.inspection.matches import check_couples_units
from skmot.layers.checks import check_layer, check_same_length
from skmot.layers.labels import check_same_stimuli, labels_agree
from skmot.layers.names import label_units, name_arrays_of
from skmot.layers.networks import networks_of
from skmot.layers.sides import read_side
from skmot.layers.stack import device_of_layers

# Weights are compared with this many decimals, so that rounding errors decide no tie.
_WEIGHT_DECIMALS = 12
# Correlations of two networks are computed in blocks of this many entries (32 MB).
_BLOCK_ENTRIES = 4_000_000


def rosetta_units(template, networks, X=None):
    """List the units of each network that match each unit of a template.

    Units that respond alike in all networks are called Rosetta units ([1]_). The table
    ranks the units of the template: a unit comes first if the unit matched to it
    follows it in every network, also in the worst of them.

    Parameters
    ----------
    template : TemplateMOT, or Pipeline that ends in one
        Fitted template, whose inner estimator couples units.
    networks : LayerStack, list, dict or array-like
        The networks of the fit. If they have names, two or more of them are enough.
    X : LayerStack, list, dict or array-like, default=None
        The same networks over held-out stimuli, on which the correlations are computed.
        None uses `networks`. Correlations over the training stimuli are too high.

    Returns
    -------
    table : pandas.DataFrame
        Table with one row for each unit of the template and each network, sorted by
        decreasing "least_correlation". The columns are

        - "template_layer" and "template_unit": numbers of the layer of the template and
          of the unit within it, counted from 0;
        - "network": name of the network, or its number, counted from 0, if the networks
          have no names;
        - "layer" and "unit": name or number of the layer of this network, and of the
          unit within it, that has the largest weight for the unit of the template.
          Equal weights are decided by the correlation over `networks`;
        - "weight": fraction of the weights of all units of this network that this unit
          has, from 0 to 1;
        - "correlation": correlation of the unit with the curve of the template that the
          other networks give, from -1 to 1. NaN if the unit is constant over these
          stimuli. With ``metric="abs_correlation"``, it is multiplied by the sign of
          the match;
        - "least_correlation": least correlation over the networks, the same in all rows
          of a unit of the template. Networks without a match, or with a constant unit,
          count as 0.

    Raises
    ------
    ImportError
        If pandas is not installed: ``pip install 'skmot[data]'``.
    NotFittedError
        If the template is not fitted.
    TypeError
        If `template` is no TemplateMOT, or its inner estimator couples no units.
    ValueError
        If there are fewer than two networks, or they differ from those in `fit`.

    Warns
    -----
    UserWarning
        If a layer of the template is narrower than the widest layer of a network. Its
        units then have to stand for several units each, and recurring units are lost.
    LeakWarning
        If labels say that stimuli in `X` were trained on.

    See Also
    --------
    mutual_matches : Units that are each other's best match, without a template.
    matches : Matches of two networks.

    Notes
    -----
    The table is a ranking. No least correlation proves that a unit recurs: the level
    that networks reach by a common geometry alone, without any common unit, depends on
    the data. :doc:`/guide/template` shows how to estimate it from rotated copies of the
    networks, and how often that is right.

    Units of the template do not exclude each other: a unit of a network can be the
    match of two of them.

    References
    ----------
    .. [1] A. Dravid, Y. Gandelsman, A. A. Efros, A. Shocher. Rosetta Neurons: mining
       the common units in a model zoo. ICCV, 2023.

    Examples
    --------
    Two units are common to three networks, and two are not:

    >>> import numpy as np
    >>> from skmot import TemplateMOT
    >>> from skmot.inspection import rosetta_units
    >>> rng = np.random.default_rng(0)
    >>> common = rng.normal(size=(200, 2))
    >>> networks = {
    ...     name: np.hstack([common + 0.3 * rng.normal(size=(200, 2)),
    ...                      rng.normal(size=(200, 2))])
    ...     for name in ("a", "b", "c")
    ... }
    >>> train, test = (
    ...     {name: array[rows] for name, array in networks.items()}
    ...     for rows in (slice(120), slice(120, 200))
    ... )
    >>> template = TemplateMOT(random_state=0).fit(train)
    >>> table = rosetta_units(template, train, test)
    >>> table[["network", "unit", "least_correlation"]].round(1).head(6)
      network  unit  least_correlation
    0       a     0                0.9
    1       b     0                0.9
    2       c     0                0.9
    3       a     1                0.9
    4       b     1                0.9
    5       c     1                0.9
    """
    pd = import_pandas()
    if not hasattr(template, "fit"):
        raise TypeError(f"`template` must be a fitted TemplateMOT; got {template!r}.")
    check_is_fitted(template)
    fitted, networks = _unwrap(template, networks, "networks")
    if not hasattr(fitted, "mots_"):
        raise TypeError(
            f"`template` is a {type(fitted).__name__}, which has no template: give a "
            "fitted TemplateMOT."
        )
    for mot in fitted.mots_:
        check_couples_units(mot)
    given, indices = _read_fitted(fitted, networks, "networks")
    scored = given
    if X is not None:
        scored, others = _read_fitted(fitted, _unwrap(template, X, "X")[1], "X")
        if list(others) != list(indices):
            raise ValueError(
                "X has other networks than `networks`: give the same ones in the same "
                "order."
            )
    _warn_if_narrow(fitted, indices)
    responses = [_side_by_side(network) for network in given]
    held_out = responses if X is None else [_side_by_side(n) for n in scored]
    curves = _curves_of_others(fitted, indices, given)
    held_out_curves = curves
    if X is not None:
        held_out_curves = _curves_of_others(fitted, indices, scored)
        _check_leak(fitted.mots_[indices[0]], scored[0])
    n_units = curves[0].shape[1]
    matched = [
        _best_units(_weights(fitted.mots_[index]), units, curve)
        for index, units, curve in zip(indices, responses, curves, strict=True)
    ]
    correlations = np.full((n_units, len(given)), np.nan)
    for column, (match, units, curve) in enumerate(
        zip(matched, held_out, held_out_curves, strict=True)
    ):
        has = match.units >= 0
        correlations[has, column] = match.signs[has] * column_correlations(
            units[:, match.units[has]], curve[:, has]
        )
    least = np.nan_to_num(correlations, nan=0.0).min(axis=1)
    names = [label_units(name_arrays_of(network.stack)) for network in given]
    template_names = label_units(name_arrays_of(fitted.template_))
    rows = []
    for unit in np.lexsort((np.arange(n_units), -least)):
        for column, (network, match) in enumerate(zip(given, matched, strict=True)):
            found = match.units[unit]
            if found < 0:
                continue
            rows.append(
                {
                    "template_layer": template_names["layer"][unit],
                    "template_unit": template_names["unit"][unit],
                    "network": network.name,
                    "layer": names[column]["layer"][found],
                    "unit": names[column]["unit"][found],
                    "weight": match.weights[unit],
                    "correlation": correlations[unit, column],
                    "least_correlation": least[unit],
                }
            )
    return pd.DataFrame(rows)


def mutual_matches(networks, X=None):
    """List the units that are each other's best match in every pair of networks.

    A match is one unit of each network. In every pair of networks, each of the two
    units has its largest correlation, over all units of all layers of the other
    network, with the other one. This is a strict check of :func:`rosetta_units`: what
    it lists recurs, and it misses units that have close neighbours.

    Parameters
    ----------
    networks : LayerStack, list, dict or array-like
        Two or more networks over the same stimuli, each a LayerStack, list or dict of
        layers, or an array, which is a network of one layer.
    X : LayerStack, list, dict or array-like, default=None
        The same networks over other stimuli, on which the correlations in the table are
        computed. None uses `networks`, on which units were chosen.

    Returns
    -------
    table : pandas.DataFrame
        Table with one row for each match and each network, sorted by decreasing
        "least_correlation". It is empty if there is no match. The columns are

        - "match": number of the match, counted from 0;
        - "network": name of the network, or its number, if the networks have no names;
        - "layer" and "unit": name or number of the layer, and of the unit within it;
        - "correlation": least correlation of this unit with the units of the other
          networks. A constant unit has the correlation 0;
        - "least_correlation": least correlation of any two units of the match.

    Raises
    ------
    ImportError
        If pandas is not installed: ``pip install 'skmot[data]'``.
    ValueError, TypeError
        If there are fewer than two networks, their stimuli differ, those in `X` are
        others, or the input is not numeric, finite and two-dimensional.

    See Also
    --------
    rosetta_units : Ranks the units of a template.

    Notes
    -----
    Units that are constant over the stimuli take no part. Ties go to the lower index.
    The work is S N_a N_b for each pair of networks a and b of N_a and N_b units.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot.inspection import mutual_matches
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=(100, 3))
    >>> networks = {"a": a, "b": a[:, ::-1] + 0.2 * rng.normal(size=(100, 3))}
    >>> mutual_matches(networks)[["match", "network", "layer", "unit"]]
       match network  layer  unit
    0      0       a      0     0
    1      0       b      0     2
    2      1       a      0     1
    3      1       b      0     1
    4      2       a      0     2
    5      2       b      0     0
    """
    pd = import_pandas()
    given = _read_networks(networks, "networks")
    scored = given if X is None else _read_networks(X, "X")
    structures = [[n.stack.structure for n in side] for side in (given, scored)]
    if structures[0] != structures[1]:
        raise ValueError(
            "The networks in X differ from those in `networks`, or their layers in "
            "name, number or width: give the same layers over other stimuli."
        )
    _check_same_names(given, scored)
    populations = [_live_vectors(network) for network in given]
    matches = _cliques([vectors for vectors, _ in populations])
    units = [live[found] for (_, live), found in zip(populations, matches, strict=True)]
    responses = [
        _side_by_side(network)[:, found]
        for network, found in zip(scored, units, strict=True)
    ]
    n_matches = len(units[0])
    pairs = np.full((len(given), len(given), n_matches), np.inf)
    for i, j in combinations(range(len(given)), 2):
        found = np.nan_to_num(column_correlations(responses[i], responses[j]), nan=0.0)
        pairs[i, j] = pairs[j, i] = found
    correlations = pairs.min(axis=1)
    least = correlations.min(axis=0)
    names = [label_units(name_arrays_of(network.stack)) for network in given]
    order = np.lexsort((np.arange(n_matches), -least))
    columns = {
        name: []
        for name in (
            "match",
            "network",
            "layer",
            "unit",
            "correlation",
            "least_correlation",
        )
    }
    for number, match in enumerate(order):
        for index, network in enumerate(given):
            unit = units[index][match]
            values = (
                number,
                network.name,
                names[index]["layer"][unit],
                names[index]["unit"][unit],
                correlations[index, match],
                least[match],
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return pd.DataFrame(columns)


# -- input --------------------------------------------------------------------------


def _unwrap(template, given, argument):
    """Return the template within a pipeline, and the networks that it is given."""
    if hasattr(template, "mots_"):
        return template, given
    # Selectors of units number those of a stack as they were before.
    stack, _ = read_side(given, argument, allow_vector=False)
    return unwrap(template, stack)[:2]


def _read_fitted(template, given, argument):
    """Read networks of the fit, and return them and their indices in the fit."""
    try:
        stack, _, indices = template._read_fitted(given)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{error} (found in `{argument}`)") from error
    networks = networks_of(stack, argument)
    _check_several(networks)
    return networks, indices


def _read_networks(given, argument):
    stack, _ = read_side(given, argument, allow_vector=False)
    check_numpy(device_of_layers(stack), "mutual_matches")
    networks = networks_of(stack, argument)
    _check_several(networks)
    for network in networks[1:]:
        first = networks[0]
        check_same_length(first.stack, network.stack, first.where, network.where)
        check_same_stimuli(
            first.stack.stimuli, network.stack.stimuli, first.where, network.where
        )
    return networks


def _check_same_names(given, scored):
    """Raise an error if networks or units that have names have others in X."""
    for index, (old, new) in enumerate(zip(given, scored, strict=True)):
        # Networks without names have their number as one.
        if index not in (old.name, new.name) and old.name != new.name:
            raise ValueError(
                f"{new.where} has the place of {old.where}: give the same networks in "
                "the same order."
            )
        units = zip(*(n.stack.unit_names or () for n in (old, new)), strict=False)
        for layer, (first, second) in enumerate(units):
            if first is None or second is None or labels_agree(first, second):
                continue
            raise ValueError(
                f"The units of {new.where}, layer {layer}, have other names than those "
                f"of {old.where}, or another order. Put them in the same order: "
                "`frame[names]` or `stack.select_units`."
            )


def _check_several(networks):
    if len(networks) < 2:
        raise ValueError(f"At least two networks are needed; got {len(networks)}.")


def _warn_if_narrow(template, indices):
    narrowest = min(template.template_.widths)
    widest = max(
        width - len(dead)
        for index in indices
        for width, dead in zip(
            template.mots_[index]._source_layout.widths,
            template.dead_source_units_[index],
            strict=True,
        )
    )
    if narrowest < widest:
        warnings.warn(
            f"A layer of the template has {narrowest} units, and the widest layer of "
            f"the networks {widest}: units of the template stand for several units, "
            f"and recurring ones are lost. Use TemplateMOT(n_units={widest}).",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _check_leak(mot, network):
    """Warn if stimuli on which correlations are computed were trained on."""
    if mot._training is not None:
        mot._training.check(network.stack, network.stack)


def _side_by_side(network):
    """Return the responses of all units of a network as one array."""
    return np.concatenate(
        [
            check_layer(leaf.layer, leaf.where, min_stimuli=2)
            for leaf in network.stack.leaves(network.where)
        ],
        axis=1,
    )


# -- matches of a template -----------------------------------------------------------


class _Matched(NamedTuple):
    """The unit of a network that matches each unit of the template.

    Attributes
    ----------
    units : ndarray of int of shape (n_template_units,)
        Index among all units of the network. -1 without a match.
    weights : ndarray of shape (n_template_units,)
        Fraction of the weights that the unit has.
    signs : ndarray of shape (n_template_units,)
        Sign of the match, 1 unless the plan has signs.
    """

    units: np.ndarray
    weights: np.ndarray
    signs: np.ndarray


def _weights(mot):
    """Return the weights between all units of a network and of the template.

    Returns
    -------
    weights : coo_array of shape (n_network_units, n_template_units)
        Unit plans times the layer coupling. Negative for matches of opposite sign.
    """
    starts = [np.cumsum((0, *layout.widths)) for layout in mot._layouts("target")]
    parts = []
    for row, column in zip(*np.nonzero(mot.coupling_), strict=True):
        inner = mot.inner_[row][column]
        plan = csr_array(inner.coupling_)
        signs = getattr(inner, "signs_", None)
        data = plan.data if signs is None else plan.data * signs.data
        plan = plan.tocoo()
        rows, columns = (
            indices + start[number]
            for indices, start, number in zip(
                plan.coords, starts, (row, column), strict=True
            )
        )
        parts.append((mot.coupling_[row, column] * data, rows, columns))
    data, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    shape = tuple(start[-1] for start in starts)
    return csr_array((data, (rows, columns)), shape=shape).tocoo()


def _best_units(weights, responses, curves):
    """Return the unit of largest weight for each unit of the template."""
    rows, columns = weights.coords
    sizes = np.abs(weights.data)
    shares = (sizes / np.bincount(columns, sizes)[columns]).round(_WEIGHT_DECIMALS)
    largest = np.zeros(weights.shape[1])
    np.maximum.at(largest, columns, shares)
    tied = np.flatnonzero((shares == largest[columns]) & (sizes > 0))
    rows, columns, shares = rows[tied], columns[tied], shares[tied]
    signs = np.sign(weights.data[tied])
    agreement = column_correlations(responses[:, rows], curves[:, columns])
    order = np.lexsort((rows, -np.nan_to_num(signs * agreement), columns))
    first = order[np.unique(columns[order], return_index=True)[1]]
    matched = _Matched(
        np.full(weights.shape[1], -1), largest, np.ones(weights.shape[1])
    )
    matched.units[columns[first]] = rows[first]
    matched.signs[columns[first]] = signs[first]
    return matched


def _curves_of_others(template, indices, networks):
    """Return, for each network, the curves of the template from the other networks."""
    parts = [
        np.concatenate(list(template._curves(index, network.stack)), axis=1)
        for index, network in zip(indices, networks, strict=True)
    ]
    # Not the sum of all less one of them: rounding errors of it would make curves that
    # are constant over these stimuli vary.
    return [
        sum(part for index, part in enumerate(parts) if index != own) / (len(parts) - 1)
        for own in range(len(parts))
    ]


# -- mutual matches --------------------------------------------------------------------


def _live_vectors(network):
    """Return the tuning curves of all live units, and their indices."""
    vectors, live = [], []
    for leaf in network.stack.leaves(network.where):
        statistics = read_statistics([leaf])
        layer = check_layer(leaf.layer, leaf.where)
        vectors.append(tuning_curves(layer, statistics, "correlation").vectors)
        live.append(statistics.live)
    return np.concatenate(vectors, axis=1), np.flatnonzero(np.concatenate(live))


def _cliques(vectors):
    """Return one unit per network for each match, as one array for each network."""
    candidates = np.arange(vectors[0].shape[1])
    best = {}
    for i, j in combinations(range(len(vectors)), 2):
        best[i, j], best[j, i] = _best_in_both(vectors[i], vectors[j])
    units = [candidates, *(best[0, j] for j in range(1, len(vectors)))]
    is_match = np.ones(len(candidates), dtype=bool)
    for (i, j), partners in best.items():
        is_match &= partners[units[i]] == units[j]
    return [chosen[is_match] for chosen in units]


def _best_in_both(first, second):
    """Return the best partner of each unit of the first side, and of the second."""
    height = max(1, _BLOCK_ENTRIES // second.shape[1])
    partners = np.empty(first.shape[1], dtype=np.intp)
    largest = np.full(second.shape[1], -np.inf)
    other_partners = np.zeros(second.shape[1], dtype=np.intp)
    for start in range(0, first.shape[1], height):
        products = first[:, start : start + height].T @ second
        partners[start : start + height] = products.argmax(axis=1)
        rows = products.argmax(axis=0)
        values = products[rows, np.arange(second.shape[1])]
        is_larger = values > largest
        largest[is_larger] = values[is_larger]
        other_partners[is_larger] = start + rows[is_larger]
    return partners, other_partners
