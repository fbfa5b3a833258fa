"""Which modules of a model are recorded, and under which names."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

# Layers of Hugging Face transformers that are no modules of their own in every model.
EMBEDDINGS, FINAL_NORM = "embeddings", "final_norm"

_N_SUGGESTED = 3


class Place(NamedTuple):
    """Place in a model where activations are recorded.

    Attributes
    ----------
    name : str
        Name of the layer.
    module : torch.nn.Module
        The module that has the hook.
    is_input : bool
        Whether the input of the module is recorded instead of its output.
    unit_axis : int or None
        Axis of the units of activations with three axes, or None if it is not known.
    """

    name: str
    module: object
    is_input: bool = False
    unit_axis: int | None = -1


def choose_layers(model, layers):
    """Return the places to record.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    layers : str, iterable of str, or None
        Names of layers, see :func:`skmot.extraction.record_activations`.

    Returns
    -------
    places : list of Place
        Each module once, although several names may lead to it.
    """
    if layers is None:
        places = _transformer_places(model) or _children_places(model)
    else:
        if not isinstance(layers, Iterable):
            raise TypeError(
                "`layers` must be names of modules, a list of str; got a "
                f"{type(layers).__name__}."
            )
        names = [layers] if isinstance(layers, str) else list(layers)
        places = [_named_place(model, name) for name in names]
    if not places:
        raise ValueError(
            "There are no layers to record: give names of modules in `layers`."
        )
    _check_not_scripted(places)
    distinct = {}
    for place in places:
        distinct.setdefault((place.module, place.is_input), place)
    return list(distinct.values())


def _named_place(model, name):
    import torch

    special = {
        place.name: place
        for place in _transformer_places(model, is_required=False)
        if place.name in (EMBEDDINGS, FINAL_NORM)
    }
    if name in special:
        return special[name]
    # With all names of a module that the model holds several times.
    modules = dict(model.named_modules(remove_duplicate=False))
    del modules[""]
    if name not in modules:
        known = [*special, *modules]
        nearest = get_close_matches(str(name), known, n=_N_SUGGESTED, cutoff=0)
        raise ValueError(
            f"The model has no layer {name!r}, which is in `layers`. The nearest names "
            f"are {nearest}; all are in `dict(model.named_modules())`."
        )
    module = modules[name]
    if isinstance(module, torch.nn.ModuleList | torch.nn.ModuleDict):
        inside = [f"{name}.{key}" for key, _ in module.named_children()]
        raise ValueError(
            f"Layer {name!r} is a {type(module).__name__}, which never runs itself: "
            f"name its elements, {inside}."
        )
    return Place(name, module, unit_axis=_axis_of_sequences(module, model))


# -- Hugging Face transformers -----------------------------------------------------


def _transformer_places(model, is_required=True):
    """Return the embeddings, blocks and final norm, or an empty list.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    is_required : bool, default=True
        Whether it is an error if a transformer has other blocks than its configuration
        says.
    """
    import torch

    depth = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    if depth is None:
        return []
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth
    }
    # A list within a block, such as that of its experts, may be as long by chance.
    lists = {
        path: blocks
        for path, blocks in lists.items()
        if not any(path.startswith(f"{outer}.") for outer in lists)
    }
    if len(lists) != 1:
        if not is_required:
            return []
        raise ValueError(
            f"The configuration says {depth} blocks, and the model has {len(lists)} "
            f"lists of {depth} modules: {list(lists)}. Name the layers, such as "
            f"`layers=[f'encoder.layer.{{k}}' for k in range({depth})]`; all names are "
            "in `dict(model.named_modules())`."
        )
    ((path, blocks),) = lists.items()
    places = [Place(EMBEDDINGS, blocks[0], is_input=True)]
    places += [Place(f"{path}.{number}", block) for number, block in enumerate(blocks)]
    base = _base_model(model, path)
    return places if base is None else [*places, Place(FINAL_NORM, base)]


def _base_model(model, path):
    """Return the part of a model without its head, or None if it is not known."""
    parts = path.split(".")
    for length in range(len(parts)):
        module = model.get_submodule(".".join(parts[:length]))
        # The model without a head is its own `base_model`.
        if getattr(module, "base_model", None) is module:
            return module
    return None


# -- other models ------------------------------------------------------------------


def _children_places(model):
    found = list(_children(model, ""))
    # A wrapper has one child, which has the layers.
    while len(found) == 1 and list(found[0][1].children()):
        name, wrapped = found[0]
        found = list(_children(wrapped, f"{name}."))
    return [
        Place(name, module, unit_axis=_axis_of_sequences(module, model))
        for name, module in found
    ]


def _children(module, prefix):
    """Yield names and children of a module, with those of containers in their place."""
    from torch import nn

    containers = nn.Sequential, nn.ModuleList, nn.ModuleDict
    copying = (
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.Dropout3d,
        nn.AlphaDropout,
        nn.FeatureAlphaDropout,
        nn.Identity,
        nn.Flatten,
        nn.Unflatten,
    )
    for key, child in module.named_children():
        # A subclass of a container may be a block with a meaning of its own.
        if type(child) in containers:
            yield from _children(child, f"{prefix}{key}.")
        elif not isinstance(child, copying):
            yield f"{prefix}{key}", child


def _axis_of_sequences(module, model):
    """Return the axis of the units of activations with three axes, None if unknown.

    Convolutions over time give (stimuli, units, positions), everything else gives
    (stimuli, positions, units).
    """
    from torch import nn

    one_dimensional = (
        nn.Conv1d,
        nn.ConvTranspose1d,
        nn.BatchNorm1d,
        nn.InstanceNorm1d,
        nn.MaxPool1d,
        nn.AvgPool1d,
        nn.AdaptiveMaxPool1d,
        nn.AdaptiveAvgPool1d,
    )
    if isinstance(module, one_dimensional):
        return 1
    if isinstance(module, nn.Linear | nn.LayerNorm | nn.Embedding):
        return -1
    if any(isinstance(part, nn.Conv1d) for part in model.modules()):
        return None
    return -1


def _check_not_scripted(places):
    import torch

    for place in places:
        if isinstance(place.module, torch.jit.ScriptModule):
            raise ValueError(
                f"Layer {place.name!r} belongs to a ScriptModule, which calls no "
                "hooks: load the original model instead of the scripted one."
            )
