"""Networks by name, and pairs of them."""

import itertools
from hashlib import sha256

import numpy as np

from skmot._utils.array_api import to_numpy
from skmot.layers.checks import check_layer, check_same_length
from skmot.layers.labels import check_same_stimuli
from skmot.layers.sides import read_side

# Two networks with the same responses to this many stimuli are the same network.
_N_COMPARED = 16


def read_networks(sources, targets):
    """Read both dicts of networks and check that they have the same stimuli.

    Parameters
    ----------
    sources, targets : dict of LayerStack, list, dict, DataFrame or array-like
        Networks by name. If `targets` is None, they are the sources.

    Returns
    -------
    networks : list of two dicts of LayerStack
        Sources and targets. A network that is given twice is the same object.
    """
    networks, first, known = [], None, {}
    for argument, given in (("sources", sources), ("targets", targets)):
        if given is None:
            networks.append(networks[0])
            continue
        if not given:
            raise ValueError(f"`{argument}` is empty: give networks by name.")
        read = {}
        for name, network in given.items():
            where = f"{argument}[{name!r}]"
            # A network that is on both sides is read once, so that it is recognised.
            if id(network) not in known:
                known[id(network)], _ = read_side(network, where, allow_vector=False)
            read[name] = known[id(network)]
            if first is None:
                first = read[name], where
            check_same_length(first[0], read[name], first[1], where)
            check_same_stimuli(first[0].stimuli, read[name].stimuli, first[1], where)
        networks.append(read)
    return networks


def read_pairs(networks, is_one_set, pairs):
    """Return the names of the pairs to compare.

    Parameters
    ----------
    networks : list of two dicts of LayerStack
        Sources and targets, from `read_networks`.
    is_one_set : bool
        Whether the networks of one set are compared with each other.
    pairs : sequence of (source, target) or None
        Names of the pairs. None means all: each source with each target except itself,
        or each pair of one set once.

    Returns
    -------
    pairs : list of tuple
        Names of the source and of the target of each pair.
    """
    sources, targets = networks
    if pairs is None:
        if is_one_set:
            pairs = list(itertools.combinations(sources, 2))
        else:
            pairs = [
                (source, target)
                for source, target in itertools.product(sources, targets)
                if sources[source] is not targets[target]
            ]
        if not pairs:
            raise ValueError("There is no pair: a network is not compared with itself.")
        return pairs
    pairs = [tuple(pair) for pair in pairs]
    if not pairs:
        raise ValueError("`pairs` is empty: give names of a source and a target.")
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in sources or pair[1] not in targets:
            raise ValueError(
                f"`pairs` must have a source of {list(sources)} and a target of "
                f"{list(targets)} each; got {pair}."
            )
        if sources[pair[0]] is targets[pair[1]]:
            raise ValueError(f"`pairs` has {pair}, a network with itself.")
        if pairs.count(pair) > 1:
            raise ValueError(f"`pairs` has {pair} twice.")
    return pairs


def identify_networks(networks, pairs):
    """Return a digest of each network in the pairs, by which it is recognised.

    A network can be given as two objects, under two names or in two comparisons. It has
    the same widths and the same responses, of which some stimuli are compared, so that
    layers in files are not read as a whole.

    Parameters
    ----------
    networks : list of two dicts of LayerStack
        Sources and targets.
    pairs : list of tuple
        Names of the pairs.

    Returns
    -------
    identities : dict of str
        Digest by (side, name), where side is "source" or "target".
    """
    identities, known = {}, {}
    for names in pairs:
        for side, stacks, name in zip(
            ("source", "target"), networks, names, strict=True
        ):
            stack = stacks[name]
            if id(stack) not in known:
                known[id(stack)] = _digest_of_network(stack, f"{side}s[{name!r}]")
            identities[side, name] = known[id(stack)]
    return identities


def _digest_of_network(stack, where):
    rows = np.unique(np.linspace(0, len(stack) - 1, _N_COMPARED).astype(int))
    arrays = (
        to_numpy(check_layer(leaf.layer, leaf.where))
        for leaf in stack[rows].leaves(where)
    )
    return digest(*arrays)


def digest(*arrays):
    """Return a hash of arrays of numbers."""
    found = sha256()
    for array in arrays:
        array = np.asarray(array, dtype=np.float64)
        found.update(f"{array.shape}".encode())
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()
