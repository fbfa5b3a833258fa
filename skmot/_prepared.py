"""Layers made ready for matching when they are asked for.

What is made of a layer is as large as the layer. So what is sent round for a pair of
layers is two handles, which are light: where a layer lies and the statistics of its
units. What the pairs need of a layer is made from its handle, once a process where
there is room.
"""

from dataclasses import dataclass
from hashlib import sha256
from uuid import uuid4

import numpy as np
from sklearn import config_context

from skmot._array_api import to_numpy
from skmot._base import LayerEstimator
from skmot._layer_cache import worker_cache
from skmot._pair import PairEstimator, read_statistics, side_by_side
from skmot._units import check_some_live, constant_units
from skmot._validation import check_layer
from skmot.layers import LayerStack, as_stack, layer_label

# Layers are hashed in blocks of about this many bytes.
_BLOCK_BYTES = 2**25


def prepare_layers(inner, stack, name, cache, keyed=False):
    """Read and check the layers of a network, one at a time.

    Parameters
    ----------
    inner : estimator
        What is to be fitted to pairs of layers.
    stack : LayerStack
        The network.
    name : callable
        Tells from a layer's number what it is called in messages.
    cache : LayerCache
        Where what is made of layers is kept.
    keyed : bool, default=False
        Whether digests are wanted.

    Returns
    -------
    handles : list of LayerHandle
        One a layer.
    """
    if isinstance(inner, PairEstimator):
        kind = PopulationHandle
    elif isinstance(inner, LayerEstimator):
        kind = NetworkHandle
    else:
        kind = LayerHandle
    handles = []
    for index in range(stack.n_layers):
        handle = kind(inner, _only(stack, index), name(index), cache)
        handle.read(keyed)
        handles.append(handle)
    return handles


def as_taken(inner, layer, where):
    """Return a layer as an inner estimator takes it once it is fitted.

    What matches units takes a stack within a stack as one population.
    """
    if not isinstance(layer, LayerStack):
        return check_layer(layer, where)
    if not isinstance(inner, PairEstimator):
        return layer
    return side_by_side(
        as_taken(inner, part, f"{where}, {layer_label(index, layer.names)}")
        for index, part in enumerate(layer.layers)
    )


class LayerHandle:
    """A layer as it is, for foreign inner estimators; base of the other handles.

    Parameters
    ----------
    inner : estimator
        What it is made ready for.
    stack : LayerStack
        The layer, and no other.
    where : str
        What it is called in messages.
    cache : LayerCache
        Where what is made of it is kept.
    token : str, default=None
        What tells it from other handles; None draws one.

    Attributes
    ----------
    dead_units : ndarray of int, or nested lists of them
        Units that are constant over the stimuli.
    digest : str or None
        Of its numbers, whatever their order in memory, where it is wanted.
    """

    def __init__(self, inner, stack, where, cache, token=None):
        self.inner, self.stack, self.where = inner, stack, where
        self.cache, self.token = cache, uuid4().hex if token is None else token
        self.digest = None

    @property
    def layer(self):
        """The layer as it was given, an array or a stack."""
        return self.stack.layers[0]

    def read(self, keyed=False):
        """Check the layer and learn what is light; `keyed`: its digest too."""
        digest = LayerDigest() if keyed else None
        self._read(digest)
        self.digest = None if digest is None else digest.text

    def _read(self, digest):
        self.dead_units = _read_raw(self.layer, self.where, digest)

    def made(self):
        """Return the layer as the inner estimator takes it; do not change it."""
        return self.cache.get((self.token, "made"), self._make)

    def _make(self):
        # Numbers were checked when they were read.
        with config_context(assume_finite=True):
            return as_taken(self.inner, self.layer, self.where)

    @property
    def made_bytes(self):
        """About how many bytes `made` takes, in float64 at most."""
        return self.stack.size * 8

    def at(self, rows):
        """Return a handle of the layer at some of the stimuli, read once."""
        selected = digest_rows(rows, len(self.stack))
        token = f"{self.token}/{selected}"
        digest = self.digest and f"{self.digest}/{selected}"

        def read():
            handle = type(self)(
                self.inner, self.stack[rows], self.where, self.cache, token
            )
            handle._read_from(self, rows)
            handle.digest = digest
            return handle

        return self.cache.get((token, "read"), read)

    def _read_from(self, whole, rows):
        """Read again what is light: of some stimuli it is not that of all."""
        self._read(None)

    def fold(self, train, test):
        """Return handles of the layer at training and, as it is, at held-out rows."""
        token = f"{self.token}/{digest_rows(test, len(self.stack))}/raw"
        held_out = LayerHandle(
            self.inner, self.stack[test], self.where, self.cache, token
        )
        if self.digest is not None:
            held_out.digest = f"{self.digest}/{digest_rows(test, len(self.stack))}"
        return Fold(self.at(train), held_out)

    @property
    def nbytes(self):
        return 0

    def __getstate__(self):
        return {**self.__dict__, "cache": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.cache = worker_cache()


@dataclass(frozen=True)
class Fold:
    """A layer at training and at held-out stimuli.

    Attributes
    ----------
    train : LayerHandle
        As the inner estimator is fitted to it.
    test : LayerHandle
        As it is.
    """

    train: LayerHandle
    test: LayerHandle

    @property
    def cache(self):
        return self.train.cache

    @property
    def digest(self):
        return self.train.digest, self.test.digest

    @property
    def made_bytes(self):
        return self.train.made_bytes + self.test.made_bytes


class PopulationHandle(LayerHandle):
    """A layer for an inner estimator that compares populations.

    Attributes
    ----------
    statistics : UnitStatistics
        Of its units.
    """

    def _read(self, digest):
        self.statistics = read_statistics(self.layer, self.where, digest)
        self.dead_units = self.statistics.dead_units

    def _make(self):
        with config_context(assume_finite=True):
            return self.inner._populate(self.layer, self.statistics, self.where)

    @property
    def made_bytes(self):
        return self.inner._population_bytes(len(self.stack), self.statistics)

    @property
    def nbytes(self):
        return self.statistics.mean.nbytes + self.statistics.deviation.nbytes


class NetworkHandle(LayerHandle):
    """A network for an inner estimator that couples its layers: a level more.

    Attributes
    ----------
    layers : list of LayerHandle
        Of each of them.
    """

    def _read(self, digest):
        stack, kind, _ = as_stack(self.layer)

        def name(index):
            if kind == "array":
                return self.where
            return f"{self.where}, {layer_label(index, stack.names)}"

        self._adopt(
            prepare_layers(
                self.inner._inner(), stack, name, self.cache, digest is not None
            )
        )
        if digest is not None:
            digest.mark(kind, stack.names, [layer.digest for layer in self.layers])

    def _read_from(self, whole, rows):
        self._adopt([layer.at(rows) for layer in whole.layers])

    def _adopt(self, layers):
        self.layers = layers
        dead = [layer.dead_units for layer in layers]
        self.dead_units = dead if isinstance(self.layer, LayerStack) else dead[0]

    def made(self):
        """Return itself: its layers are made one by one."""
        return self

    @property
    def made_bytes(self):
        return sum(layer.made_bytes for layer in self.layers)

    @property
    def nbytes(self):
        return sum(layer.nbytes for layer in self.layers)


def _only(stack, index):
    """Return one layer of a stack as a stack, without making it."""
    only = LayerStack(stack)
    only._bases = (stack._bases[index],)
    only._names = None
    if not isinstance(only._bases[0], LayerStack):
        # Labels were compared; only what takes a stack could ask for them.
        only._labels = None
    return only


def _read_raw(layer, where, digest):
    """Check a layer that is taken as it is, and return its constant units."""
    if isinstance(layer, LayerStack):
        if digest is not None:
            # A foreign estimator sees names and labels, too.
            labels = None if layer.stimuli is None else layer.stimuli.tolist()
            digest.mark(layer.names, labels)
        return [
            _read_raw(part, f"{where}, {layer_label(index, layer.names)}", digest)
            for index, part in enumerate(layer.layers)
        ]
    layer = check_layer(layer, where, min_stimuli=2)
    constant = constant_units(layer)
    check_some_live(~constant, where)
    if digest is not None:
        digest.add(layer)
    return np.flatnonzero(constant)


class LayerDigest:
    """Tells layers apart by their numbers, whatever their order in memory."""

    def __init__(self):
        self._hash = sha256()

    @property
    def text(self):
        return self._hash.hexdigest()

    def mark(self, *what):
        """Add what is written differently if it differs."""
        self._hash.update(f"{what!r};".encode())

    def add(self, layer):
        """Add an array of numbers."""
        self.mark(layer.shape, str(layer.dtype))
        if not isinstance(layer, np.ndarray):
            # What is learned lies where the layer does.
            self.mark(type(layer).__module__, str(layer.device))
        height = max(1, _BLOCK_BYTES // (layer.shape[1] * 8))
        for start in range(0, layer.shape[0], height):
            block = to_numpy(layer[start : start + height, :])
            self._hash.update(np.ascontiguousarray(block).data)


def digest_rows(rows, n_stimuli):
    """Tell selections of stimuli apart, however they are written."""
    selected = np.arange(n_stimuli, dtype=np.int64)[rows]
    return sha256(selected.tobytes()).hexdigest()
