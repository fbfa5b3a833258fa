"""The hooks of the chosen modules, and what they record."""

import numpy as np

from skmot.extraction.batches import first_tensor
from skmot.extraction.choice import FINAL_NORM


class Recorder:
    """Hooks of the chosen modules, which record batch by batch.

    Parameters
    ----------
    places : list of Place
        What is recorded.
    reduction : Reduction
        Reduces activations to rows.
    storage : MemoryStorage or FolderStorage
        Keeps the rows of all batches.
    may_drop : bool
        Whether layers are left out that do not run, or repeat another layer, because
        the user did not ask for them.

    Attributes
    ----------
    n_stimuli : int
        Number of stimuli of all batches.
    n_positions : list of int
        Number of rows of each stimulus.
    """

    def __init__(self, places, reduction, storage, may_drop):
        self._places, self._reduction, self._storage = places, reduction, storage
        self._may_drop = may_drop
        self._handles = {}
        self._names = None
        self._n_batches = 0
        self.n_stimuli = 0
        self.n_positions = []

    def attach(self):
        """Register the hooks."""
        for place in self._places:
            self._handles[place.name] = self._register(place)

    def detach(self):
        """Remove the hooks."""
        for handle in self._handles.values():
            handle.remove()

    def _register(self, place):
        if place.is_input:
            return place.module.register_forward_pre_hook(
                lambda module, args, kwargs: self._record_input(place, args, kwargs),
                with_kwargs=True,
            )
        return place.module.register_forward_hook(
            lambda module, args, output: self._record(place, output)
        )

    def _record_input(self, place, args, kwargs):
        # A block that is used several times has one first input.
        if place.name not in self._n_uses:
            self._record(place, first_tensor(args, kwargs))

    def _record(self, place, output):
        use = self._n_uses.get(place.name, 0)
        self._n_uses[place.name] = use + 1
        name = place.name if use == 0 else f"{place.name}#{use}"
        where = f"layer {name!r}, batch {self._n_batches}"
        # Copied at once, because the next module may work in place.
        reduced = self._reduction(output, self._mask, place, where)
        n_rows = len(reduced.n_positions)
        if self._n_rows not in (None, n_rows):
            raise ValueError(
                f"The activations have {n_rows} rows for {self._n_rows} stimuli "
                f"({where}). The first axis of batches and activations must be that of "
                "the stimuli. Stack single stimuli, `torch.stack(images)`; if another "
                "axis of the activations is that of the stimuli, write "
                "`reduce=lambda tensor, mask: ...`."
            )
        self._n_rows = n_rows
        self._batch[name] = reduced

    def start_batch(self, args, kwargs, mask):
        """Prepare for the activations of a batch.

        Parameters
        ----------
        args, kwargs : tuple, dict
            Arguments that the model is called with.
        mask : tensor of shape (n_stimuli, n_positions) or None
            Attention mask.
        """
        first = first_tensor(args, kwargs)
        self._n_rows = None if first is None else len(first)
        self._mask = mask
        self._n_uses, self._batch = {}, {}

    def end_batch(self):
        """Check the activations of a batch and store them."""
        if self._names is None:
            self._drop_idle()
            self._names = list(self._batch)
        changed = sorted({*self._names} ^ {*self._batch})
        if changed:
            raise ValueError(
                f"Layers {changed} ran in some batches only: batches 0 and "
                f"{self._n_batches} differ. All layers need a row for each stimulus, "
                "so choose `layers` without these."
            )
        first, *others = self._names
        counts = self._batch[first].n_positions
        for name in others:
            own = self._batch[name].n_positions
            if own != counts:
                raise ValueError(
                    f"Layers {first!r} and {name!r} have {counts[0]} and {own[0]} "
                    "positions a stimulus, so their rows do not correspond: choose "
                    "`layers` with the same positions."
                )
        for name in self._names:
            self._storage.append(name, self._batch[name].rows)
        self._n_batches += 1
        self.n_stimuli += len(counts)
        self.n_positions += counts

    def _drop_idle(self):
        """Leave out what the first batch shows to be no layer of its own."""
        idle = [place.name for place in self._places if place.name not in self._n_uses]
        if not self._batch or (idle and not self._may_drop):
            raise ValueError(
                f"Layers {idle} did not run. The model does not call these modules, or "
                "it was exported and calls no hooks: load the original model."
            )
        if self._may_drop and FINAL_NORM in self._batch:
            *_, last, norm = (reduced.rows for reduced in self._batch.values())
            if np.array_equal(last, norm):
                self._handles.pop(FINAL_NORM).remove()
                del self._batch[FINAL_NORM]
