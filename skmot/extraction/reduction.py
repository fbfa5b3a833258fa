"""Activations at several positions reduced to rows."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from skmot.layers.positions import (
    by_position,
    check_unit_axis,
    rows_at_positions,
    usual_unit_axis,
)


class Reduced(NamedTuple):
    """Rows of one layer in one batch.

    Attributes
    ----------
    rows : ndarray of shape (n_rows, n_units)
        The rows, a copy.
    n_positions : list of int
        Number of rows of each stimulus.
    """

    rows: np.ndarray
    n_positions: list


class Reduction:
    """Function that reduces the activations of a layer to rows.

    Parameters
    ----------
    reduce : str or callable
        How, see :func:`skmot.extraction.record_activations`.
    unit_axis : int, dict or None
        Axis of the units, or axes by the names of layers.
    places : list of Place
        The layers.
    """

    def __init__(self, reduce, unit_axis, places):
        if not callable(reduce) and reduce not in _REDUCTIONS:
            raise ValueError(
                f"`reduce` must be one of {sorted(_REDUCTIONS)} or a callable; got "
                f"{reduce!r}."
            )
        names = [place.name for place in places]
        if not isinstance(unit_axis, Mapping):
            unit_axis = dict.fromkeys(names, unit_axis)
        for name, axis in unit_axis.items():
            check_unit_axis(axis)
            if name not in names:
                nearest = get_close_matches(str(name), names, n=3, cutoff=0)
                raise ValueError(
                    f"`unit_axis` has the layer {name!r}, which is not recorded. The "
                    f"nearest names are {nearest}."
                )
            if axis == 0:
                raise ValueError("`unit_axis` is 0, which is the axis of the stimuli.")
        self._reduce, self._unit_axis = reduce, unit_axis

    def __call__(self, output, mask, place, where):
        """Reduce the output of a module.

        Parameters
        ----------
        output : tensor, tuple or dict
            The output, or a tuple or dict that has it.
        mask : tensor of shape (n_stimuli, n_positions) or None
            Attention mask.
        place : Place
            The layer.
        where : str
            Name of layer and batch in error messages.

        Returns
        -------
        reduced : Reduced
            The rows.
        """
        import torch

        tensor = _tensor_of(output, where)
        if tensor.is_complex():
            raise ValueError(f"The activations are complex numbers ({where}).")
        if not tensor.is_floating_point():
            tensor = tensor.float()
        mask = None if mask is None else mask.to(tensor.device) != 0
        n_positions = None
        if callable(self._reduce):
            rows = torch.as_tensor(self._reduce(tensor, mask))
            if rows.ndim != 2:
                raise ValueError(
                    f"`reduce` returned the shape {tuple(rows.shape)} for activations "
                    f"of shape {tuple(tensor.shape)} ({where}): it must be (n_stimuli, "
                    "n_units)."
                )
        elif tensor.ndim < 2:
            raise ValueError(
                f"The activations have the shape {tuple(tensor.shape)} ({where}): they "
                "must have an axis of stimuli and one of units. If batches are single "
                "stimuli, stack them, `torch.stack(stimuli)`."
            )
        elif tensor.ndim == 2:
            rows = tensor
        else:
            activations = self._by_position(tensor, mask, place, where)
            rows = _REDUCTIONS[self._reduce](activations)
            if self._reduce == "positions":
                n_positions = activations.counts
        if n_positions is None:
            n_positions = [1] * len(rows)
        rows = rows.detach().to("cpu", _dtype(tensor), copy=True).numpy()
        _check_finite(rows, tensor, where)
        return Reduced(rows, n_positions)

    def _by_position(self, tensor, mask, place, where):
        if getattr(place.module, "batch_first", True) is False:
            raise ValueError(
                f"The module has `batch_first=False`, so the first axis of its "
                f"activations is not that of the stimuli ({where}). Make it with "
                "`batch_first=True`, or record another module."
            )
        axis = self._unit_axis.get(place.name)
        if axis is None:
            axis = place.unit_axis if tensor.ndim == 3 else usual_unit_axis(tensor.ndim)
        if axis is None:
            raise ValueError(
                f"The activations have the shape {tuple(tensor.shape)} ({where}), and "
                "in a model with one-dimensional convolutions the units may be on "
                f"axis 1 or 2: give `unit_axis={{{place.name!r}: 1}}` or 2."
            )
        if not -tensor.ndim < axis < tensor.ndim:
            raise ValueError(
                f"`unit_axis` is {axis}, but the activations have the shape "
                f"{tuple(tensor.shape)} ({where})."
            )
        is_map = tensor.ndim > 3
        values = by_position(tensor, axis)
        mask = None if is_map else _check_mask(mask, values, where)
        return _Activations(values, mask, tensor, is_map, where)


class _Activations(NamedTuple):
    """Activations at the positions of each stimulus.

    Attributes
    ----------
    values : tensor of shape (n_stimuli, n_positions, n_units)
        The activations.
    mask : tensor of bool of shape (n_stimuli, n_positions) or None
        Positions that take part, or None if all do.
    tensor : tensor of shape (n_stimuli, ...)
        The activations in the shape that the module gave them.
    is_map : bool
        Whether positions are those of a feature map.
    where : str
        Name of layer and batch in error messages.
    """

    values: object
    mask: object
    tensor: object
    is_map: bool
    where: str

    @property
    def counts(self):
        n_stimuli, n_positions, _ = self.values.shape
        if self.mask is None:
            return [n_positions] * n_stimuli
        return self.mask.sum(1).tolist()

    def filled(self, value):
        """Return the values, with another value where positions take no part."""
        if self.mask is None:
            return self.values
        # Not a product with the mask: what is at padded positions may be infinite.
        return self.values.masked_fill(~self.mask[..., None], value)


def _mean(activations):
    import torch

    values = activations.filled(0)
    total = values.sum(1, dtype=_dtype(values))
    return total / torch.tensor(activations.counts, device=total.device)[:, None]


def _max(activations):
    return activations.filled(-float("inf")).amax(1)


def _last_token(activations):
    if activations.is_map:
        raise ValueError(
            f"`reduce='last_token'` is for tokens, and the activations have the shape "
            f"{tuple(activations.tensor.shape)} ({activations.where})."
        )
    if activations.mask is None:
        return activations.values[:, -1]
    # Padding may be on either side.
    n_after = activations.mask.int().flip(1).argmax(1)
    last = activations.mask.shape[1] - 1 - n_after
    return activations.values[range(len(last)), last.tolist()]


def _flatten(activations):
    if activations.mask is not None and not activations.mask.all():
        raise ValueError(
            f"`reduce='flatten'` needs the same number of positions for all stimuli, "
            f"and the attention mask leaves some out ({activations.where})."
        )
    return activations.tensor.flatten(1)


def _positions(activations):
    return rows_at_positions(activations.values, activations.mask)


_REDUCTIONS = {
    "mean": _mean,
    "max": _max,
    "last_token": _last_token,
    "flatten": _flatten,
    "positions": _positions,
}


def _dtype(tensor):
    """Return the precision of sums and rows: at least float32."""
    import torch

    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _tensor_of(output, where):
    """Return the tensor of activations in the output of a module."""
    import torch

    if isinstance(output, Mapping):
        # Outputs of Hugging Face models. A loss may come before the logits.
        keys = ("last_hidden_state", "logits")
        output = next((output[key] for key in keys if key in output), output)
    elif isinstance(output, tuple | list) and output:
        # Activations come first; attention weights and states follow.
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise ValueError(
            f"The output is no tensor but a {type(output).__name__} ({where}). Name "
            "another layer, within or around this one."
        )
    return output


def _check_mask(mask, values, where):
    if mask is None:
        return None
    shape = tuple(values.shape[:2])
    if tuple(mask.shape) != shape:
        raise ValueError(
            f"The attention mask has the shape {tuple(mask.shape)}, but the "
            f"activations have {shape} (stimuli, positions) ({where}). Write "
            "`reduce=lambda tensor, mask: ...`."
        )
    is_empty = ~mask.any(1)
    if is_empty.any():
        raise ValueError(
            f"The attention mask leaves no position of stimulus "
            f"{int(is_empty.int().argmax())} ({where}). Is it an empty text?"
        )
    return mask


def _check_finite(rows, tensor, where):
    import torch

    if np.isfinite(rows).all():
        return
    if tensor.dtype == torch.float16:
        raise ValueError(
            f"The activations overflow float16, which ends at 65,504 ({where}). Run "
            "the model in another dtype: `model.float()` or `model.bfloat16()`."
        )
    raise ValueError(f"The activations are NaN or infinite ({where}).")
