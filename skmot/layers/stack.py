"""LayerStack: layers recorded over the same stimuli, indexed as one array."""

import math
import numbers
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse, vstack
from sklearn.utils import check_random_state

from skmot._utils.array_api import (
    NUMPY,
    device_of,
    device_reference,
    is_foreign,
    namespace_of,
)
from skmot._utils.sparse import ShiftedSparse, is_sparse
from skmot._utils.state import PlainState
from skmot.layers.files import Reference
from skmot.layers.labelled import read_coordinate, split_by_layer
from skmot.layers.labels import (
    are_sorted,
    as_labels,
    explain_difference,
    join_labels,
    labels_agree,
    list_labels,
    plain_form,
    stimulus_codes,
)
from skmot.layers.layout import layer_label
from skmot.layers.lazy import (
    LazyLayer,
    SelectedRows,
    SelectedUnits,
    check_unchanged,
    compact_rows,
    is_in_file,
    repeats_of,
    sample_of,
    take_rows,
    to_store,
)
from skmot.layers.reading import (
    LazyLayers,
    Reading,
    as_2d,
    check_unmasked,
    read_layers,
)
from skmot.layers.rows import as_index, check_rows, compose_rows, simplify
from skmot.layers.trials import (
    Repeats,
    TrialAverages,
    numeric_trials,
)


class Leaf(NamedTuple):
    """One array of a stack or of a stack nested within it.

    Attributes
    ----------
    layer : array of shape (n_stimuli, n_units)
        The array.
    where : str
        Name of the array in error messages.
    top : int
        Index of the layer of the outermost stack that the array is or belongs to.
    weight : float
        Weight of the array in that layer, where all layers of a nested stack have the
        same weight.
    """

    layer: object
    where: str
    top: int
    weight: float


class LayerStack(PlainState):
    """Layers of one network over the same stimuli, which scikit-learn can split.

    For scikit-learn, a stack is one array of shape (n_stimuli, n_units), with the units
    of all layers, so cross-validation, pipelines and parameter searches can split and
    shuffle its stimuli. The layers are stored separately. Indexing selects stimuli and
    is lazy: no data is copied until a layer is accessed, and then only for that layer.

    Parameters
    ----------
    layers : list, dict, DataFrame, array-like or LayerStack
        A list of layers, each array-like of shape (n_stimuli, n_units); a dict of
        layers, whose keys are their names; a DataFrame with two-level columns (layer,
        unit); or one array, for a single layer. A layer may itself be a stack (or a
        list or dict of layers), to nest checkpoints, runs or subjects. A layer in a
        list or dict may be a sparse array of SciPy, and becomes a `csr_array`. Memory
        maps,
        HDF5 datasets and zarr arrays stay in their files: only requested rows are read,
        and a stack is pickled with references to the files.
    names : sequence of hashable, default=None
        Names of the layers. None uses the keys of a dict, the columns of a DataFrame or
        the names of a stack. Other layers have no names.
    stimuli : array-like of shape (n_stimuli,), default=None
        Labels of the stimuli, which are preserved by indexing. If both sides of a
        comparison have labels, these must be equal, as Python's `==` says, and in the
        same order. A string names a coordinate of DataArrays or a level of the index of
        DataFrames. None uses the index of DataFrames, the index or only coordinate of
        the rows of DataArrays, or the labels of nested stacks. A DataFrame index of
        whole numbers without a name numbers rows, and is no label.
    unit_names : list, default=None
        Names of the units of each layer, or None for a layer without names. If both a
        fit and a later call have names, these must agree. None uses the columns of
        DataFrames, except 0, 1, 2, ..., and the index of the units of DataArrays.

    Attributes
    ----------
    layers : sequence of array of shape (n_stimuli, n_units) or LayerStack
        The layers. Each layer is read when it is accessed. Sparse layers are
        `csr_array`.
    names : tuple or None
        Names of the layers.
    n_layers : int
        Number of layers.
    stimuli : ndarray of shape (n_stimuli,) or None
        Labels of the stimuli.
    unit_names : list
        Names of the units of each layer or None, nested like the layers.
    has_trials : bool
        Whether the rows are averages of trials, see :meth:`from_trials`.
    trials : LayerStack of shape (n_all_trials, n_units)
        The single trials of the rows, row by row. This attribute and the next two
        exist only for stacks that have trials.
    trial_rows : ndarray of int of shape (n_all_trials,)
        Row of this stack that each trial belongs to.
    n_trials : ndarray of int of shape (n_stimuli,)
        Number of trials of each row.
    shape : tuple of int
        Number of stimuli and total number of units.

    Raises
    ------
    ValueError
        If there is no layer, a layer is not two-dimensional, or the layers differ in
        their stimuli, array library or device.
    TypeError
        If `layers` is itself a sparse array, or if the stack is indexed by anything
        except stimuli.

    Notes
    -----
    If scikit-learn's `array_api_dispatch
    <https://scikit-learn.org/stable/modules/array_api.html>`__ is enabled, arrays of
    other libraries stay in their library and on their device. Otherwise they are
    converted to numpy arrays.

    Sparse layers stay sparse when stimuli or units are selected, in averages over
    trials, in copies and in files. `np.asarray(stack)` is a dense array, and so are the
    layers that most estimators read, see :ref:`sparse-layers`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> rng = np.random.default_rng(0)
    >>> v1, v2 = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    >>> stack = LayerStack({"V1": v1, "V2": v2})
    >>> stack
    LayerStack(6 stimuli, 2 layers: V1 (4 units), V2 (3 units))
    >>> stack.shape
    (6, 7)
    >>> stack[[0, 2]].layer("V2").shape
    (2, 3)
    """

    def __iter__(self):
        # Python would iterate over the stimuli of a stack, because it has a length and
        # can be indexed. A user who writes `for layer in stack` means the layers.
        raise TypeError(
            "A LayerStack is not iterable, because indexing selects stimuli. For the "
            "layers write `for layer in stack.layers`."
        )

    # Of stacks that were pickled before they had them.
    _row_numbers = None
    # Whether the layers were transformed from averages, so that trials are lost.
    _trials_were_dropped = False
    # Numbers that the units of each layer had before a transformer selected them.
    _numbers = None
    # None unless `from_trials` put the rows in another order than that of their labels.
    # Else a dict that all parts of the stack share, so that only one of them warns.
    _reordered = None
    # Whether labels were removed, because rows are meant to be compared as they are.
    _labels_were_removed = False

    def __init__(self, layers, names=None, stimuli=None, unit_names=None):
        if isinstance(stimuli, str):
            layers, stimuli = read_coordinate(layers, stimuli)
        if isinstance(layers, LayerStack):
            self.__dict__.update(layers.__dict__)
        else:
            self._set_layers(read_layers(layers, LayerStack))
        if names is not None:
            self._names = _check_names(names, self._bases)
        if stimuli is not None:
            self._labels = as_labels(stimuli)
            if len(self._labels) != len(self):
                raise ValueError(
                    f"`stimuli` has {len(self._labels)} labels, but the layers have "
                    f"{len(self)} stimuli."
                )
        if unit_names is not None:
            self._unit_names = _check_unit_names(unit_names, self._bases, self._names)

    @classmethod
    def from_trials(cls, layers, stimuli=None, names=None, unit_names=None):
        """Return a stack of averages over trials, which keeps the trials.

        The stack has one row per distinct stimulus, in the order of first appearance,
        which is random in most experiments. Give the other side of a comparison its
        labels, too, and use :func:`align_stimuli`: a side without labels is compared
        row by row. Each layer is the average over the trials of each stimulus. Indexing
        selects stimuli with all their trials, so that no split can separate them.

        Parameters
        ----------
        layers : list, dict, DataFrame, array-like or LayerStack
            Layers of single trials, each of shape (n_trials, n_units), as for the
            class.
        stimuli : array-like of shape (n_trials,), default=None
            Label of the stimulus of each trial, as for the class. Trials with equal
            labels are repeats of one stimulus. Stimuli may differ in their number of
            trials.
        names : sequence of hashable, default=None
            Names of the layers, as for the class.
        unit_names : list, default=None
            Names of the units of each layer, as for the class.

        Returns
        -------
        stack : LayerStack of shape (n_stimuli, n_units)
            Averages, computed in float64 and returned in float32 if the trials have
            this precision or a lower one, otherwise in float64. In memory, they are
            computed once and shared by all parts of the stack. If the trials are in a
            file, only those of the requested stimuli are read.

        Raises
        ------
        ValueError
            If there are no labels, the layers have trials of their own already, or
            trials are not numeric; and for the same reasons as the class.

        See Also
        --------
        skmot.preprocessing.average_repeats : The averages without the trials.
        skmot.preprocessing.ReliabilitySelector : Selects units by their trials.
        skmot.metrics.noise_ceiling : Noise ceilings from the trials.

        Examples
        --------
        >>> from skmot import LayerStack
        >>> trials = {"V1": [[1.0], [5.0], [3.0]]}
        >>> stack = LayerStack.from_trials(trials, stimuli=["cat", "dog", "cat"])
        >>> stack
        LayerStack(2 stimuli, 1 layer: V1 (1 units))
        >>> stack.layer("V1").ravel().tolist()  # averages of "cat" and "dog"
        [2.0, 5.0]
        >>> stack[:1].trials.layer("V1").ravel().tolist()  # trials of "cat"
        [1.0, 3.0]
        """
        trials = cls(layers, names=names, stimuli=stimuli, unit_names=unit_names)
        if trials.stimuli is None:
            raise ValueError(
                "The layers have no stimulus labels, so which trials are repeats of "
                "one stimulus is not known: give `stimuli`, one label per trial."
            )
        codes = stimulus_codes(trials.stimuli)
        _, first = np.unique(codes, return_index=True)
        averages = trials._averaged(Repeats.of_codes(codes), "the layers")
        if not are_sorted(trials.stimuli[first]):
            averages._reordered = {"is_told": False}
        return averages.with_stimuli(trials.stimuli[first])

    @classmethod
    def from_xarray(cls, array, layer="region", stimulus="stimulus_id", unit=None):
        """Return a stack of the parts of a DataArray, such as brain regions.

        The default coordinates are those of Brain-Score's assemblies [1]_.

        Parameters
        ----------
        array : xarray.DataArray
            Responses. It has one dimension of stimuli and one of units, in any order,
            and possibly others of length 1. The coordinates tell which is which.
        layer : str, default="region"
            Coordinate along the units that names the layer of each unit.
        stimulus : str, default="stimulus_id"
            Coordinate along the stimuli that labels them. If labels repeat, each row
            is a trial: pass the result to :meth:`from_trials`.
        unit : str, default=None
            Coordinate along the units that names them. None uses "neuroid_id", or else
            the index of the units, if it has a different name for each unit.

        Returns
        -------
        stack : LayerStack
            The layers in the order of their first unit, with labels of the stimuli and
            names of the units.

        Raises
        ------
        ValueError
            If a coordinate is missing or along the wrong dimension, the array has
            another dimension, a label is missing, or `unit` does not tell units apart.
        TypeError
            If `array` is no DataArray.

        References
        ----------
        .. [1] M. Schrimpf, J. Kubilius, M. J. Lee, et al. Integrative benchmarking to
           advance neurally mechanistic models of human intelligence. Neuron, 2020.

        Examples
        --------
        >>> import numpy as np
        >>> import xarray as xr
        >>> from skmot import LayerStack
        >>> array = xr.DataArray(
        ...     np.ones((3, 4)),
        ...     dims=("neuroid", "presentation"),
        ...     coords={
        ...         "region": ("neuroid", ["V4", "IT", "IT"]),
        ...         "stimulus_id": ("presentation", ["cat", "dog", "owl", "eel"]),
        ...     },
        ... )
        >>> LayerStack.from_xarray(array)
        LayerStack(4 stimuli, 2 layers: V4 (1 units), IT (2 units))
        """
        layers, stimuli, unit_names = split_by_layer(array, layer, stimulus, unit)
        return cls(layers, stimuli=stimuli, unit_names=unit_names)

    @classmethod
    def _of(cls, reading):
        """Return the stack of the layers in a `Reading`."""
        stack = cls.__new__(cls)
        stack._set_layers(reading)
        return stack

    def _set_layers(self, given):
        if len(given.bases) == 0:
            raise ValueError("A LayerStack needs at least one layer, got none.")
        self._names = _check_names(given.names, given.bases)
        _check_one_device(given.bases, self._names)
        self._bases = tuple(given.bases)
        self._check_files()
        self._rows = range(_common_length(given.bases, self._names))
        self._labels = given.stimuli
        self._row_numbers = given.row_numbers
        self._unit_names = tuple(given.unit_names or [None] * len(self._bases))

    # -- access to the layers ------------------------------------------------------

    @property
    def layers(self):
        """Sequence of the layers, each of which is read when it is accessed."""
        return LazyLayers(self)

    @property
    def names(self):
        """Names of the layers, or None."""
        return self._names

    @property
    def n_layers(self):
        """Number of layers."""
        return len(self._bases)

    @property
    def stimuli(self):
        """Labels of the stimuli, or None."""
        return self._labels

    @property
    def unit_names(self):
        """Names of the units of each layer or None, nested like the layers."""
        return [
            base.unit_names if isinstance(base, LayerStack) else names
            for base, names in zip(self._bases, self._unit_names, strict=True)
        ]

    @property
    def _has_named_arrays(self):
        """Whether rows or units have names or numbers that arrays would lose."""
        are_arrays = [not isinstance(base, LayerStack) for base in self._bases]
        knows_rows = self._labels is not None or self._row_numbers is not None
        return (knows_rows and any(are_arrays)) or any(
            names is not None for names in self._unit_names
        )

    def layer(self, name):
        """Return the layer with the given name.

        Parameters
        ----------
        name : hashable
            One of :attr:`names`.

        Returns
        -------
        layer : array of shape (n_stimuli, n_units) or LayerStack
            The layer.

        Raises
        ------
        KeyError
            If no layer has this name.
        """
        if self._names is None:
            raise KeyError(
                f"{name!r}: the layers of this stack have no names; index `.layers`."
            )
        if name not in self._names:
            raise KeyError(f"{name!r}: the layers are {list(self._names)}.")
        return self.layers[self._names.index(name)]

    def with_stimuli(self, stimuli):
        """Return a stack of the same layers with other stimulus labels or no labels.

        Parameters
        ----------
        stimuli : array-like of shape (n_stimuli,) or None
            New labels. None removes the labels, so that the stack can be compared with
            any stack of the same number of stimuli, for instance in a shuffled control.

        Returns
        -------
        stack : LayerStack
            A stack that shares the layers of this stack.

        Raises
        ------
        ValueError
            If the number of labels is not the number of stimuli.
        """
        stack = LayerStack(self, stimuli=stimuli)
        if stimuli is None:
            stack._labels = stack._row_numbers = None
        stack._labels_were_removed = stimuli is None
        return stack

    @property
    def widths(self):
        """Number of units of each layer. For a nested stack, this is its total."""
        return tuple(base.shape[1] for base in self._bases)

    @property
    def structure(self):
        """Names and widths of the layers at all levels of nesting.

        This is a tuple (names, parts). `names` can be None. `parts` has one element per
        layer: its number of units, or the structure of a nested stack.
        """
        return self._names, tuple(
            base.structure if isinstance(base, LayerStack) else base.shape[1]
            for base in self._bases
        )

    # -- trials --------------------------------------------------------------------

    @property
    def has_trials(self):
        """Whether all rows are averages of trials that the stack keeps."""
        return all(
            base.has_trials
            if isinstance(base, LayerStack)
            else repeats_of(base) is not None
            for base in self._bases
        )

    @property
    def n_trials(self):
        """Number of trials of each stimulus, an array of shape (n_stimuli,)."""
        self._check_trials()
        counts = [
            self._layer(index).n_trials
            if isinstance(base, LayerStack)
            else base.repeats.of(self._rows)[1]
            for index, base in enumerate(self._bases)
        ]
        for index, own in enumerate(counts):
            if not np.array_equal(own, counts[0]):
                raise AttributeError(
                    f"{layer_label(0, self._names)} and "
                    f"{layer_label(index, self._names)} have different numbers of "
                    "trials: read the trials of one layer, `stack.layers[0].trials`."
                )
        return counts[0]

    @property
    def trial_rows(self):
        """Row of this stack that each trial belongs to, of shape (n_trials,)."""
        counts = self.n_trials
        return np.repeat(np.arange(len(counts)), counts)

    @property
    def trials(self):
        """Stack of the single trials of the rows, in the order of the rows."""
        counts = self.n_trials
        stack = LayerStack(self)
        stack._bases = tuple(
            self._layer(index).trials
            if isinstance(base, LayerStack)
            else SelectedRows(base.trials, simplify(base.repeats.of(self._rows)[0]))
            for index, base in enumerate(self._bases)
        )
        stack._rows = range(int(counts.sum()))
        if self._labels is not None:
            stack._labels = np.repeat(self._labels, counts)
        return stack

    def split_trials(self, n=None, random_state=None):
        """Split the trials of each stimulus at random into two stacks.

        Parameters
        ----------
        n : int, default=None
            Number of trials of each stimulus in the first stack. None means half of
            them, rounded down.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the split. Pass an int for reproducible output
            across multiple function calls.

        Returns
        -------
        first, second : LayerStack
            Stacks of the same stimuli. The first has `n` trials of each stimulus and
            the second all its other trials. All layers are split alike.

        Raises
        ------
        ValueError
            If `n` is less than 1, or a stimulus has no other trials.
        TypeError
            If `n` is no whole number.
        AttributeError
            If the stack has no trials.

        Examples
        --------
        >>> from skmot import LayerStack
        >>> stack = LayerStack.from_trials(
        ...     [[[1.0], [5.0], [3.0], [9.0]]], stimuli=["cat", "dog", "cat", "dog"]
        ... )
        >>> first, second = stack.split_trials(random_state=0)
        >>> first.n_trials.tolist(), second.n_trials.tolist()
        ([1, 1], [1, 1])
        """
        counts = self.n_trials
        if n is not None and not isinstance(n, numbers.Integral):
            raise TypeError(f"`n` must be a whole number of trials or None; got {n!r}.")
        wanted = counts // 2 if n is None else np.full_like(counts, n)
        few = np.flatnonzero((wanted < 1) | (wanted >= counts))
        if len(few):
            row = few[0]
            raise ValueError(
                f"{len(few)} stimuli cannot be split into two parts, the first in row "
                f"{row}, which has {counts[row]} trial(s)"
                f"{'' if n is None else f' for n={n}'}. Select those with more trials, "
                "`stack[stack.n_trials >= 2]`."
            )
        codes = self.trial_rows
        keys = check_random_state(random_state).random_sample(len(codes))
        order = np.lexsort((keys, codes))
        rank = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        is_first = rank < wanted[codes]
        trials = self.trials
        parts = (
            trials[order[chosen]]._averaged(Repeats.of_codes(codes[chosen]), "stack")
            for chosen in (is_first, ~is_first)
        )
        return tuple(part.with_stimuli(self._labels) for part in parts)

    def _trial_leaves(self, where):
        """Iterate over the trials of all arrays, in the order of :meth:`leaves`.

        Parameters
        ----------
        where : callable
            Function that returns the name of a layer from its index.

        Yields
        ------
        trials : array of shape (n_trials, n_units)
            Trials of one array.
        where : str
            Name of the array in error messages.
        rows : ndarray of int of shape (n_trials,)
            Row of this stack that each of the trials belongs to.
        """
        self._check_trials()
        for index, base in enumerate(self._bases):
            if isinstance(base, LayerStack):
                inner, here = self._layer(index), where(index)
                yield from inner._trial_leaves(inner._names_within(here))
            else:
                trials, counts = base.repeats.of(self._rows)
                rows = np.repeat(np.arange(len(counts)), counts)
                check_unchanged(base, where(index))
                yield take_rows(base.trials, simplify(trials)), where(index), rows

    def _check_trials(self):
        if not self.has_trials:
            raise AttributeError(
                "This stack has no trials: make it with `LayerStack.from_trials`. "
                "Transformers drop them, except selectors of units."
            )

    def _averaged(self, repeats, where):
        """Return a stack whose rows average rows of this stack, its trials."""
        bases = []
        for index, base in enumerate(self._bases):
            here = f"{where}, {layer_label(index, self._names)}"
            if isinstance(base, LayerStack):
                bases.append(self._layer(index)._averaged(repeats, here))
                continue
            if repeats_of(base) is not None:
                raise ValueError(f"The trials of {here} are averaged already.")
            if not self._has_all_rows:
                base = SelectedRows(base, self._rows)
            bases.append(TrialAverages(numeric_trials(base, here), repeats))
        averages = LayerStack(self)
        averages._bases, averages._rows = tuple(bases), range(len(repeats))
        averages._labels = averages._row_numbers = None
        return averages

    # -- access to all arrays, including those of nested stacks --------------------

    def leaves(self, where="X"):
        """Iterate over all arrays of the stack, including those of nested stacks.

        Parameters
        ----------
        where : str, default="X"
            Name of the stack in error messages.

        Yields
        ------
        leaf : Leaf
            An array, `layer`; its name in error messages, `where`; the index of the
            layer of this stack that it is or belongs to, `top`; and its weight in that
            layer, `weight`. Each array is read when the iteration reaches it.

        Examples
        --------
        >>> import numpy as np
        >>> from skmot import LayerStack
        >>> runs = LayerStack({"run 1": [np.ones((5, 2)), np.ones((5, 3))]})
        >>> for leaf in runs.leaves():
        ...     print(leaf.where, leaf.layer.shape, leaf.weight)
        X, layer 'run 1', layer 0 (5, 2) 0.5
        X, layer 'run 1', layer 1 (5, 3) 0.5
        """
        return self._leaves(self._names_within(where))

    def _names_within(self, where):
        """Return a function that names a layer by its index, within a named stack."""
        return lambda index: f"{where}, {layer_label(index, self._names)}"

    def _leaves(self, where):
        """Yield the leaves, where `where(index)` returns the name of a layer."""
        for index, layer in enumerate(self.layers):
            for leaf in leaves_of(layer, where(index)):
                yield leaf._replace(top=index)

    def map(self, function, *values):
        """Apply a function to every array and return a stack of the results.

        Parameters
        ----------
        function : callable
            Function that takes an array and the corresponding element of each sequence
            in `values`, and returns an array.
        *values : sequence
            Further arguments of the function, with one element per array, in the order
            of :meth:`leaves`.

        Returns
        -------
        stack : LayerStack
            Stack of the results, with the names and labels of this stack.

        Raises
        ------
        ValueError
            If the length of a sequence is not the number of arrays.

        Examples
        --------
        >>> import numpy as np
        >>> from skmot import LayerStack
        >>> stack = LayerStack({"V1": np.ones((5, 2)), "V2": np.ones((5, 3))})
        >>> stack.map(lambda layer: layer[:, :1])
        LayerStack(5 stimuli, 2 layers: V1 (1 units), V2 (1 units))
        """
        results = [
            function(leaf.layer, *arguments)
            for leaf, *arguments in zip(self.leaves(), *values, strict=True)
        ]
        return self._replace_arrays(iter(results), self._labels)

    def _replace_arrays(self, arrays, labels):
        """Return a stack of the same structure with other arrays."""
        layers = [
            base._replace_arrays(arrays, labels)
            if isinstance(base, LayerStack)
            else as_2d(next(arrays), layer_label(index, self._names))
            for index, base in enumerate(self._bases)
        ]
        reading = Reading(layers, "stack", self._names, row_numbers=self._row_numbers)
        stack = LayerStack._of(reading)
        stack._trials_were_dropped = self._trials_were_dropped or self.has_trials
        stack._reordered = self._reordered
        stack._labels_were_removed = self._labels_were_removed
        return stack if labels is None else stack.with_stimuli(labels)

    def select_units(self, selection):
        """Return a stack of some of the units of each layer.

        Parameters
        ----------
        selection : list or dict
            One element per layer, or by the names of layers: a mask or numbers of
            units, unit names, or None for all units. For a nested stack, a list or dict
            of them.

        Returns
        -------
        stack : LayerStack
            Stack of the selected units in the order given, with their names.

        Raises
        ------
        ValueError
            If the selection does not fit the layers, or a name is unknown.
        """
        bases, unit_names = list(self._bases), list(self._unit_names)
        numbers = [None] * self.n_layers if self._numbers is None else [*self._numbers]
        for index, units in enumerate(_read_selection(selection, self)):
            if units is None:
                continue
            base, names = bases[index], unit_names[index]
            if isinstance(base, LayerStack):
                bases[index] = base.select_units(units)
                continue
            where = layer_label(index, self._names)
            positions = _unit_positions(units, base.shape[1], names, where)
            bases[index] = SelectedUnits(base, positions)
            unit_names[index] = None if names is None else names[positions]
            if numbers[index] is not None:
                numbers[index] = numbers[index][positions]
        stack = self._with_bases(bases, unit_names)
        stack._numbers = numbers
        return stack

    def _select_positions(self, positions):
        """Return a stack of some units of each array.

        Parameters
        ----------
        positions : iterator of ndarray of int
            Positions of the units of each array, in the order of :meth:`leaves`.
        """
        bases, unit_names, numbers = [], [], []
        for base, names, before in zip(
            self._bases, self._unit_names, self._unit_numbers, strict=True
        ):
            if isinstance(base, LayerStack):
                bases.append(base._select_positions(positions))
                unit_names.append(None)
                numbers.append(None)
                continue
            units = next(positions)
            bases.append(SelectedUnits(base, units))
            unit_names.append(None if names is None else names[units])
            numbers.append(units if before is None else before[units])
        stack = self._with_bases(bases, unit_names)
        stack._numbers = numbers
        return stack

    @property
    def _unit_numbers(self):
        """Numbers of the units before a selection or None, nested like the layers."""
        return [
            base._unit_numbers if isinstance(base, LayerStack) else numbers
            for base, numbers in zip(
                self._bases, self._numbers or [None] * self.n_layers, strict=True
            )
        ]

    def _with_bases(self, bases, unit_names):
        """Return a stack of other layers with the same rows."""
        stack = LayerStack(self)
        stack._bases, stack._unit_names = tuple(bases), tuple(unit_names)
        return stack

    # -- interface of one array, for scikit-learn and numpy ------------------------

    @property
    def shape(self):
        """Number of stimuli and total number of units."""
        return (len(self._rows), sum(self.widths))

    @property
    def ndim(self):
        """Number of dimensions, which is 2."""
        return 2

    @property
    def size(self):
        """Number of stimuli times total number of units."""
        return math.prod(self.shape)

    @property
    def dtype(self):
        """Common dtype of all layers."""
        xp = namespace_of(self._sample)
        return xp.result_type(*(base.dtype for base in self._bases))

    @property
    def device(self):
        """Device of all layers, as defined by the array API standard."""
        return device_of(self._sample)

    @property
    def _sample(self):
        """One of the arrays, which all have the same namespace and device."""
        return _sample_of(self._bases[0])

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, key):
        rows = check_rows(key, len(self))
        stack = LayerStack(self)
        stack._rows = compose_rows(self._rows, rows)
        index = as_index(rows)
        if self._labels is not None:
            stack._labels = self._labels[index]
            # Rows that were put in the order of their labels are no longer reordered.
            if stack._reordered is not None and are_sorted(stack._labels):
                stack._reordered = None
        if self._row_numbers is not None:
            stack._row_numbers = self._row_numbers[index]
        return stack

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError(
                "A LayerStack stores its layers separately: side by side they are a "
                "copy."
            )
        # Cast like `np.asarray`, which also converts numeric objects to numbers.
        return np.concatenate(
            [
                layer.toarray() if issparse(layer) else np.asarray(layer)
                for layer in self.layers
            ],
            axis=1,
            dtype=dtype,
            casting="unsafe",
        )

    def __array_function__(self, function, types, args, kwargs):
        if function in (np.concatenate, np.take):
            stacked = _STACKED[function](*args, **kwargs)
            if stacked is not NotImplemented:
                return stacked
        # All other functions receive the layers side by side, as in `np.asarray`.
        return function(*_as_arrays(args), **_as_arrays(kwargs))

    def __array_namespace__(self, *, api_version=None):
        # numpy's `take`, `concat` and `asarray` call `__array_function__`, so with
        # array API dispatch rows are also selected layer by layer. Other libraries
        # have no such protocol and need a namespace of their own.
        if is_foreign(self._sample):
            return _stack_namespace(namespace_of(self._sample))
        return NUMPY

    def __repr__(self):
        names = self._names or range(self.n_layers)
        described = ", ".join(
            f"{name} ({width} units)"
            for name, width in zip(names, self.widths, strict=True)
        )
        plural = "" if self.n_layers == 1 else "s"
        return (
            f"LayerStack({len(self)} stimuli, {self.n_layers} layer{plural}: "
            f"{described})"
        )

    # -- storing: layers in files become references to them ------------------------

    def _attributes_to_store(self):
        state = super()._attributes_to_store()
        if self._has_all_rows or all(map(is_in_file, self._bases)):
            bases = map(to_store, self._bases)
        else:
            # What is in memory travels with its own rows only. Evenly spaced rows of
            # a file stay a reference to it.
            bases = (
                base[as_index(self._rows)]
                if isinstance(base, LayerStack)
                else compact_rows(base, self._rows)
                for base in self._bases
            )
            state["_rows"] = range(len(self))
        state["_bases"] = tuple(bases)
        return state

    @property
    def _has_all_rows(self):
        n_rows = self._bases[0].shape[0]
        return isinstance(self._rows, range) and self._rows == range(n_rows)

    def __setstate__(self, state):
        super().__setstate__(state)
        self._bases = tuple(map(Reference.opened, self._bases))

    def _check_files(self, where=None):
        """Raise an error if a layer is in a file that has changed since its first use.

        Layers are also checked each time before they are read.

        Parameters
        ----------
        where : callable, default=None
            Function that takes the index of a layer and returns its name in the error
            message. None names the layer of this stack.
        """
        for index, base in enumerate(self._bases):
            name = where(index) if where else layer_label(index, self._names)
            if isinstance(base, LayerStack):
                base._check_files(base._names_within(name))
            else:
                check_unchanged(base, name)

    def _layer(self, index):
        base = self._bases[index]
        if isinstance(base, LayerStack):
            # A nested stack has the labels of this stack, which may have been changed.
            layer = base[as_index(self._rows)]
            layer._labels = self._labels
            return layer
        check_unchanged(base, layer_label(index, self._names))
        if isinstance(base, LazyLayer) or not self._has_all_rows:
            return take_rows(base, self._rows)
        return base


def _sample_of(base):
    """Return an array of the namespace and on the device of a layer."""
    return base._sample if isinstance(base, LayerStack) else sample_of(base)


def leaves_of(layer, where):
    """Iterate over the arrays of a layer, which is one array unless it is a stack.

    Parameters
    ----------
    layer : array of shape (n_stimuli, n_units) or LayerStack
        The layer.
    where : str
        Name of the layer in error messages.

    Yields
    ------
    leaf : Leaf
        An array, with `top` 0 and its weight in the layer.
    """
    if not isinstance(layer, LayerStack):
        yield Leaf(layer, where, 0, 1.0)
        return
    for leaf in layer.leaves(where):
        yield leaf._replace(top=0, weight=leaf.weight / layer.n_layers)


def device_of_layers(stack):
    """Return an empty array in the namespace and on the device of a stack's layers."""
    return device_reference(stack._sample)


def side_by_side(layers):
    """Concatenate the units of several arrays. A single array is returned unchanged.

    If one of several arrays is sparse, all of them become a `ShiftedSparse`.
    """
    layers = list(layers)
    if len(layers) == 1:
        return layers[0]
    if any(map(is_sparse, layers)):
        return ShiftedSparse.side_by_side(layers)
    return namespace_of(*layers).concat(layers, axis=1)


def _as_numbered(given, number):
    """Return one of several inputs as a stack, with its number in errors."""
    if isinstance(given, LayerStack):
        return given
    try:
        return LayerStack(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (found in stack {number})") from error


def align_stimuli(*stacks):
    """Select the stimuli that all stacks have, in the order of the first stack.

    Parameters
    ----------
    *stacks : LayerStack, list, dict, DataFrame or array-like
        One or more stacks with stimulus labels (`stimuli`).

    Returns
    -------
    stacks : list of LayerStack
        The same layers with the common stimuli only, in the same order.

    Raises
    ------
    ValueError
        If no stack is given, a stack has no labels or the same label twice, no label is
        common to all stacks, or labels differ in their type, Unicode form or white
        space alone.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack, align_stimuli
    >>> a = LayerStack([np.eye(3)], stimuli=["cat", "dog", "owl"])
    >>> b = LayerStack([np.eye(3)], stimuli=["owl", "eel", "cat"])
    >>> a, b = align_stimuli(a, b)
    >>> a.stimuli.tolist(), b.stimuli.tolist()
    (['cat', 'owl'], ['cat', 'owl'])
    """
    if not stacks:
        raise ValueError("align_stimuli needs at least one stack, got none.")
    stacks = [_as_numbered(stack, number) for number, stack in enumerate(stacks)]
    positions = []
    for number, stack in enumerate(stacks):
        if stack.stimuli is None:
            raise ValueError(
                f"Stack {number} has no stimulus labels: give them with "
                "`LayerStack(layers, stimuli=labels)`."
            )
        labels = list_labels(stack.stimuli)
        position = {label: row for row, label in enumerate(labels)}
        if len(position) != len(labels):
            repeated = next(
                label for row, label in enumerate(labels) if position[label] != row
            )
            raise ValueError(
                f"Stack {number} has the stimulus {repeated!r} more than once: make it "
                "with `LayerStack.from_trials`, average its repeats with "
                "`skmot.preprocessing.average_repeats`, or select one of them."
            )
        positions.append(position)
    common = [
        label
        for label in positions[0]
        if all(label in other for other in positions[1:])
    ]
    _check_no_twins(positions, common)
    if not common:
        raise ValueError("The stacks have no stimulus in common.")
    return [
        stack[np.array([position[label] for label in common], dtype=np.intp)]
        for stack, position in zip(stacks, positions, strict=True)
    ]


def _check_no_twins(positions, common):
    """Raise if labels that would be dropped differ in their form alone."""
    dropped = {}
    for number, position in enumerate(positions):
        for label in position.keys() - set(common):
            number_of_other, other = dropped.setdefault(
                plain_form(label), (number, label)
            )
            if number_of_other != number and other != label:
                raise ValueError(
                    f"The stimulus {other!r} of stack {number_of_other} is {label!r} "
                    f"in stack {number}.{explain_difference(other, label)}"
                )


# -- numpy functions that return stacks ----------------------------------------------


def _concatenate(arrays, axis=0, out=None, **kwargs):
    """Concatenate stacks along the stimuli, as `np.concatenate` for each layer."""
    if axis not in (0, -2) or out is not None or not _only_stacks(arrays):
        return NotImplemented
    first = arrays[0]
    for other in arrays[1:]:
        if other.structure != first.structure:
            raise ValueError(
                f"Stacks of other layers cannot be joined: {first!r} and {other!r}."
            )
    labels = None
    if all(stack.stimuli is not None for stack in arrays):
        labels = join_labels([stack.stimuli for stack in arrays])
    layers = []
    for index in range(first.n_layers):
        bases = [stack._bases[index] for stack in arrays]
        if all(repeats_of(base) is not None for base in bases):
            layers.append(_join_averages(bases, [stack._rows for stack in arrays]))
        else:
            layers.append(_join([stack.layers[index] for stack in arrays], **kwargs))
    reading = Reading(
        layers,
        "stack",
        first.names,
        labels,
        unit_names=[_common_unit_names(arrays, k) for k in range(first.n_layers)],
    )
    return LayerStack._of(reading)


def _join_averages(bases, rows):
    """Join averages of trials with their trials."""
    found = [base.repeats.of(own) for base, own in zip(bases, rows, strict=True)]
    trials = _join(
        [
            take_rows(base.trials, simplify(positions))
            for base, (positions, _) in zip(bases, found, strict=True)
        ]
    )
    counts = np.concatenate([counts for _, counts in found])
    return TrialAverages(trials, Repeats(np.arange(trials.shape[0]), counts))


def _common_unit_names(stacks, index):
    """Return the unit names of one layer, or raise if stacks name units differently."""
    named = [own for stack in stacks if (own := stack._unit_names[index]) is not None]
    for other in named[1:]:
        if labels_agree(named[0], other):
            continue
        pairs = enumerate(zip(list_labels(named[0]), list_labels(other), strict=True))
        unit, (one, another) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
        raise ValueError(
            f"Stacks of other units cannot be joined: unit {unit} of "
            f"{layer_label(index, stacks[0].names)} is {one!r} in one and {another!r} "
            "in another. Put the units in one order with `stack.select_units`."
        )
    return named[0] if named else None


def _join(parts, dtype=None, **kwargs):
    first = parts[0]
    if any(map(issparse, parts)):
        return vstack(parts, format="csr", dtype=dtype)
    if is_foreign(first._sample if isinstance(first, LayerStack) else first):
        return namespace_of(first).concat(parts, axis=0)
    return np.concatenate(parts, dtype=dtype, **kwargs)


def _take(stack, indices, axis=None, out=None, mode="raise"):
    """Select stimuli, as `np.take`, which the array API uses instead of indexing."""
    if not isinstance(stack, LayerStack) or axis not in (0, -2) or out is not None:
        return NotImplemented
    if mode != "raise":
        return NotImplemented
    return stack[indices]


_STACKED = {np.concatenate: _concatenate, np.take: _take}


class _StackNamespace:
    """Namespace of another library, with `take` and `concat` that support stacks."""

    def __init__(self, xp):
        self._xp = xp

    def __getattr__(self, name):
        return getattr(self._xp, name)

    def take(self, array, indices, /, *, axis=None):
        stacked = _take(array, indices, axis=axis)
        if stacked is not NotImplemented:
            return stacked
        return self._xp.take(array, indices, axis=axis)

    def concat(self, arrays, /, *, axis=0):
        stacked = _concatenate(arrays, axis=axis)
        if stacked is not NotImplemented:
            return stacked
        return self._xp.concat(arrays, axis=axis)


@lru_cache
def _stack_namespace(xp):
    """Return the stack namespace of a library, always the same object.

    Namespaces are compared by identity.
    """
    return _StackNamespace(xp)


def _only_stacks(arrays):
    return len(arrays) > 0 and all(isinstance(array, LayerStack) for array in arrays)


def _as_arrays(value):
    if isinstance(value, LayerStack):
        return np.asarray(value)
    if isinstance(value, list | tuple):
        return type(value)(_as_arrays(element) for element in value)
    if isinstance(value, dict):
        return {key: _as_arrays(element) for key, element in value.items()}
    return value


# -- checks ------------------------------------------------------------------------


def _check_unit_names(unit_names, bases, names):
    """Return unit names as one array of labels per layer."""
    unit_names = list(unit_names)
    if len(unit_names) != len(bases):
        raise ValueError(
            f"`unit_names` has {len(unit_names)} elements for {len(bases)} layers: one "
            "sequence of names per layer, or None."
        )
    checked = []
    for index, (own, base) in enumerate(zip(unit_names, bases, strict=True)):
        where = layer_label(index, names)
        if own is None:
            checked.append(None)
            continue
        if isinstance(base, LayerStack):
            raise ValueError(
                f"{where} is a stack: give unit names to the stacks within it."
            )
        own = as_labels(own, "unit")
        if len(own) != base.shape[1]:
            raise ValueError(
                f"`unit_names` has {len(own)} names for the {base.shape[1]} units of "
                f"{where}."
            )
        checked.append(own)
    return tuple(checked)


def _read_selection(selection, stack):
    """Return one selection per layer."""
    if isinstance(selection, Mapping):
        unknown = set(selection) - set(stack.names or ())
        if unknown:
            raise ValueError(
                f"`selection` names the layers {sorted(map(str, unknown))}, but the "
                f"stack has {list(stack.names or ())}."
            )
        return [selection.get(name) for name in stack.names]
    selection = list(selection)
    if len(selection) != stack.n_layers:
        raise ValueError(
            f"`selection` has {len(selection)} elements for {stack.n_layers} layers: "
            "one per layer."
        )
    return selection


def _unit_positions(units, n_units, names, where):
    """Return positions of the selected units of one layer."""
    check_unmasked(units, f"the selection of {where}")
    found = np.asarray(units)
    if found.dtype == bool:
        if found.shape != (n_units,):
            raise ValueError(
                f"The mask of {where} has the shape {found.shape}, but the layer has "
                f"{n_units} units."
            )
        return np.flatnonzero(found)
    if found.dtype.kind in "iu" and (names is None or names.dtype.kind not in "iu"):
        if found.size and not (found.min() >= 0 and found.max() < n_units):
            raise ValueError(
                f"Units of {where} are numbered from 0 to {n_units - 1}; got {units}."
            )
        return found.astype(np.intp)
    if names is None:
        raise ValueError(f"The units of {where} have no names: select them by number.")
    places = {name: place for place, name in enumerate(list_labels(names))}
    if len(places) < len(names):
        raise ValueError(
            f"Several units of {where} have the same name: select them by a mask."
        )
    missing = [name for name in list_labels(as_labels(units)) if name not in places]
    if missing:
        raise ValueError(f"{where} has no unit {missing[0]!r}.")
    return np.array([places[n] for n in list_labels(as_labels(units))], dtype=np.intp)


def _check_names(names, bases):
    if names is None:
        return None
    names = tuple(names)
    if len(names) != len(bases):
        raise ValueError(f"`names` has {len(names)} names for {len(bases)} layers.")
    if len(set(names)) != len(names):
        raise ValueError(f"`names` must differ from each other; got {list(names)}.")
    return names


def _check_one_device(bases, names):
    """Raise an error unless all layers have the same library and device."""
    places = [
        (namespace_of(sample).__name__, device_of(sample))
        for sample in map(_sample_of, bases)
    ]
    for index, place in enumerate(places):
        if place != places[0]:
            found = [f"{name} on {device}" for name, device in (places[0], place)]
            raise ValueError(
                f"{layer_label(0, names)} is of {found[0]} and "
                f"{layer_label(index, names)} of {found[1]}: all layers of a network "
                "must be arrays of one library, on one device. Move them first."
            )


def _common_length(bases, names):
    lengths = [base.shape[0] for base in bases]
    for index, length in enumerate(lengths):
        if length != lengths[0]:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"{layer_label(0, names)} has {lengths[0]} stimuli and "
                f"{layer_label(index, names)} has {length}. All layers of a network "
                "must be recorded over the same stimuli."
            )
    return lengths[0]
