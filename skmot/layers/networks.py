"""Many networks as one input: a stack whose layers are the networks."""

from typing import NamedTuple

from skmot.layers.layout import layer_label
from skmot.layers.names import name_layers
from skmot.layers.stack import LayerStack


class Network(NamedTuple):
    """One of several networks over the same stimuli.

    Attributes
    ----------
    stack : LayerStack
        Layers of the network, each of which is an array.
    name : hashable
        Name of the network, or its number, counted from 0.
    where : str
        Name of the network in error messages.
    """

    stack: LayerStack
    name: object
    where: str


def networks_of(stack, argument):
    """Return the networks that are the layers of a stack.

    Parameters
    ----------
    stack : LayerStack
        Stack of networks. A layer that is an array is a network of one layer.
    argument : str
        Name of the argument in error messages.

    Returns
    -------
    networks : list of Network
        The networks, with the labels of the stack.

    Raises
    ------
    ValueError
        If a layer of a network has layers itself.
    """
    networks = []
    for index, (layer, name) in enumerate(
        zip(stack.layers, name_layers(stack), strict=True)
    ):
        where = argument
        if stack.n_layers > 1:
            where += f", network {index if stack.names is None else repr(name)}"
        if not isinstance(layer, LayerStack):
            unit_names = [stack.unit_names[index]]
            layer = LayerStack([layer], stimuli=stack.stimuli, unit_names=unit_names)
            layer._row_numbers = stack._row_numbers
            layer._numbers = [stack._unit_numbers[index]]
        for number, part in enumerate(layer.layers):
            if isinstance(part, LayerStack):
                raise ValueError(
                    f"{where}, {layer_label(number, layer.names)} has layers itself. A "
                    "network must be an array, or have arrays as its layers: give the "
                    "networks of one level, for instance of one checkpoint."
                )
        networks.append(Network(layer, name, where))
    return networks


def select_networks(stack, indices):
    """Return a stack of some of the networks of a stack, in the order given."""
    layers = stack.layers
    selected = LayerStack(
        [layers[index] for index in indices],
        names=None if stack.names is None else [stack.names[i] for i in indices],
        stimuli=stack.stimuli,
    )
    selected._row_numbers = stack._row_numbers
    return selected
