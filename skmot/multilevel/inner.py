"""Adapters between a level and its inner estimator, and the handles of its layers.

A level prepares each layer once and lets its inner estimator solve every pair of
layers. :func:`inner_of` chooses the adapter: :class:`PairInner` for estimators that are
derived from :class:`PairComparison`, :class:`LevelInner` for a further level, and
:class:`ForeignInner` for any other estimator with `fit(X, y)` and `cost_`. A worker
receives two :class:`LayerHandle`, which are small, and returns the solution of the
pair.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import uuid4

import numpy as np
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.base import clone

from skmot._units import check_some_live, constant_units
from skmot._utils.array_api import to_numpy
from skmot._utils.progress import task_in_worker
from skmot.base import LayerEstimator, PairComparison, convergence_issues
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer
from skmot.layers.layout import Layout, layer_label, nest
from skmot.layers.sides import check_both_single_or_layered, read_side
from skmot.layers.splits import read_groups, repeated_rows
from skmot.layers.stack import leaves_of
from skmot.multilevel.cache import worker_cache

# Layers are hashed in blocks of about this many bytes.
_BLOCK_BYTES = 2**25


def inner_of(estimator):
    """Return the adapter of an inner estimator.

    Parameters
    ----------
    estimator : estimator
        Unfitted inner estimator.

    Returns
    -------
    inner : PairInner, LevelInner or ForeignInner
        Adapter for this kind of estimator.
    """
    if isinstance(estimator, PairComparison):
        return PairInner(estimator)
    if isinstance(estimator, LayerEstimator):
        return LevelInner(estimator)
    return ForeignInner(estimator)


class LayerHandle:
    """One layer of a network, together with what a level needs to work with it.

    A fit creates one handle per layer, calls `read` once to check the layer and to
    compute its facts (the statistics of its units, for instance), and calls `prepared`
    for each pair of layers. The prepared layer is cached, so it is usually computed
    once for all pairs. A pickled handle does not contain the cache or the prepared
    layer.

    Parameters
    ----------
    inner : PairInner, LevelInner or ForeignInner
        Adapter of the inner estimator.
    stack : LayerStack
        Stack that contains only this layer.
    where : str
        Name of the layer in error messages.
    cache : LayerCache
        Cache of the prepared layers.
    token : str, default=None
        Identifier of the layer in the cache. None creates a unique one.
    facts : object, default=None
        Facts of the layer, if they are known: what `inner.read` returns.
    purpose : {"solve", "map", "held_out"}, default="solve"
        Method of `inner` that uses the prepared layer: `solve`, `predict` ("map") or
        `held_out_cost` ("held_out").
    is_checked : bool, default=True
        Whether the values are known to be finite.
    side : {"source", "target"}, default=None
        Side of the layer. None if it is used on both sides.

    Attributes
    ----------
    digest : str or None
        Hash of the layer's values, which does not depend on their order in memory. It
        is computed by `read` on request.
    """

    def __init__(
        self,
        inner,
        stack,
        where,
        cache,
        token=None,
        facts=None,
        purpose="solve",
        is_checked=True,
        side=None,
    ):
        self.inner, self.stack, self.where = inner, stack, where
        self.cache, self.token = cache, uuid4().hex if token is None else token
        self.facts, self.purpose, self.is_checked = facts, purpose, is_checked
        self.side = side
        self.digest = None

    @property
    def layer(self):
        """The layer as the user gave it, an array or a stack."""
        self.check_files()
        return self.stack.layers[0]

    def leaves(self):
        """Iterate over the arrays of the layer: one, unless the layer is a stack."""
        return leaves_of(self.layer, self.where)

    def read(self, is_keyed=False):
        """Check the layer and set its facts; `is_keyed=True` also sets its digest."""
        self.check_files()
        digest = LayerDigest() if is_keyed else None
        self.facts = self.inner.read(self, digest)
        self.digest = None if digest is None else digest.text
        self.check_files()
        return self

    def check_files(self):
        """Raise an error if the layer is in a file that has changed."""
        self.stack._check_files(lambda index: self.where)

    def prepared(self):
        """Return the layer prepared for its purpose. It must not be modified."""
        return self.cache.get((self.token, self.purpose), self._prepare)

    def _prepare(self):
        if not self.is_checked:
            return self.inner.prepare(self)
        with config_context(assume_finite=True):
            return self.inner.prepare(self)

    @property
    def prepared_bytes(self):
        """Approximate size of the prepared layer in bytes."""
        return self.inner.prepared_bytes(self)

    @property
    def nbytes(self):
        """Size of the facts in bytes, which is what the cache counts for a handle."""
        return self.inner.facts_bytes(self.facts)

    def at(self, rows):
        """Return the handle of the layer at some of the stimuli, from the cache."""
        selected = digest_rows(rows, len(self.stack))
        token = f"{self.token}/{selected}"

        def read():
            handle = LayerHandle(
                self.inner,
                self.stack[rows],
                self.where,
                self.cache,
                token,
                side=self.side,
            )
            facts = self.inner.read(handle, None)
            handle.facts = self.inner.digest_facts(facts, self.facts, selected)
            handle.digest = self.digest and f"{self.digest}/{selected}"
            return handle

        return self.cache.get((token, "read"), read)

    def fold(self, train, test):
        """Return the layer at the training rows and at the held-out rows of a fold."""
        trained = self.at(train)
        selected = digest_rows(test, len(self.stack))
        held_out = LayerHandle(
            self.inner,
            self.stack[test],
            self.where,
            self.cache,
            # The training rows define which units are live, and their scale.
            f"{trained.token}/{selected}",
            trained.facts,
            "held_out",
        )
        held_out.digest = self.digest and f"{self.digest}/{selected}"
        return Fold(trained, held_out)

    def __getstate__(self):
        return {**self.__dict__, "cache": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.cache = worker_cache()


@dataclass(frozen=True)
class Fold:
    """One layer in one fold of the training stimuli, for `cost_cv`.

    Attributes
    ----------
    train : LayerHandle
        The layer at the stimuli that the inner estimator is fitted to.
    test : LayerHandle
        The layer at the held-out stimuli, on which the cost is computed.
    """

    train: LayerHandle
    test: LayerHandle

    @property
    def cache(self):
        """Cache of the prepared layers."""
        return self.train.cache

    def check_files(self):
        """Raise an error if the layer is in a file that has changed."""
        self.train.check_files()

    @property
    def digest(self):
        """Hashes of the layer at the training and at the held-out stimuli."""
        return self.train.digest, self.test.digest

    @property
    def prepared_bytes(self):
        """Approximate size of both prepared layers in bytes."""
        return self.train.prepared_bytes + self.test.prepared_bytes


def open_layers(
    inner,
    stack,
    name,
    cache,
    *,
    token=None,
    facts=None,
    purpose="solve",
    is_checked=True,
    side=None,
):
    """Create the handles of the layers of a network.

    Parameters
    ----------
    inner : PairInner, LevelInner or ForeignInner
        Adapter of the inner estimator.
    stack : LayerStack
        The network.
    name : callable
        Function that takes the index of a layer and returns its name in error messages.
    cache : LayerCache
        Cache of the prepared layers.
    token : str, default=None
        Token of the network, from which those of its layers follow. None draws new
        ones.
    facts : list, default=None
        Facts of each layer, if these are known.
    purpose, is_checked, side : str, bool, str
        As in :class:`LayerHandle`.

    Returns
    -------
    handles : list of LayerHandle
        One handle per layer.
    """
    if facts is None:
        facts = [None] * stack.n_layers
    return [
        LayerHandle(
            inner,
            _select_layer(stack, index),
            name(index),
            cache,
            token=token and f"{token}/{index}",
            facts=facts[index],
            purpose=purpose,
            is_checked=is_checked,
            side=side,
        )
        for index in range(stack.n_layers)
    ]


class Inner(ABC):
    """Adapter that a level uses to work with one kind of inner estimator.

    For each layer, a level calls `read`, which checks the layer and returns its facts,
    and `prepare`, which converts the layer to the input of the other methods. For each
    pair of layers it calls `solve`, and then turns the solution into a fitted estimator
    by `fitted`. The fitted estimators are used by `predict` and `held_out_cost`.

    Parameters
    ----------
    estimator : estimator
        Unfitted inner estimator. Its parameters define how pairs are solved.
    """

    def __init__(self, estimator):
        self.estimator = estimator

    # -- layers --------------------------------------------------------------------

    @abstractmethod
    def read(self, handle, digest):
        """Check a layer and return its facts.

        Parameters
        ----------
        handle : LayerHandle
            Handle of the layer.
        digest : LayerDigest or None
            Hash that the layer's values are added to.

        Returns
        -------
        facts : object
            What the other methods need to know of the layer, without its activations.
        """

    def digest_facts(self, facts, whole, selected):
        """Add digests to the facts of selected rows, if facts contain digests.

        Parameters
        ----------
        facts : object
            Facts of the layer at the selected rows.
        whole : object
            Facts of the layer at all rows.
        selected : str
            Digest of the row selection.

        Returns
        -------
        facts : object
            Facts of the layer at the selected rows, with digests.
        """
        return facts

    @abstractmethod
    def dead_units(self, facts):
        """Return the indices of the constant units, in nested lists for a stack."""

    @abstractmethod
    def facts_bytes(self, facts):
        """Return the size of facts in bytes."""

    @abstractmethod
    def prepare(self, handle):
        """Convert a layer to the input of `solve`, `predict` or `held_out_cost`."""

    def prepared_bytes(self, handle):
        """Return the approximate size of a prepared layer in bytes, in float64."""
        return handle.stack.size * 8

    # -- pairs of layers -----------------------------------------------------------

    @abstractmethod
    def solve(self, source, target, context=None):
        """Solve a pair of layers.

        Parameters
        ----------
        source, target : LayerHandle
            The two layers.
        context : sklearn.callback.CallbackContext, default=None
            Task of the pair for callbacks, if `reports_itself`.

        Returns
        -------
        solution : object
            The solution, which must be picklable.
        """

    @abstractmethod
    def cost(self, solution):
        """Return the cost of a solution."""

    @abstractmethod
    def issues(self, solution):
        """Return the convergence issues of a solution, see `convergence_issues`."""

    @abstractmethod
    def fitted(self, solution, source, target):
        """Return a fitted inner estimator, from the solution of two layers."""

    # -- fitted estimators ---------------------------------------------------------

    @abstractmethod
    def facts_of(self, fitted, side):
        """Return the facts of the source or target layer of a fitted inner estimator.

        Parameters
        ----------
        fitted : estimator
            Fitted inner estimator.
        side : {"source", "target"}
            Side of the layer.

        Returns
        -------
        facts : object
            Facts of the layer at the training stimuli.
        """

    @abstractmethod
    def predict(self, fitted, direction, handle):
        """Reconstruct the layer of one side from the layer of the other side.

        Parameters
        ----------
        fitted : estimator
            Fitted inner estimator.
        direction : {"target", "source"}
            Side that is reconstructed.
        handle : LayerHandle
            Layer of the other side, with the purpose "map".

        Returns
        -------
        layer : array of shape (n_stimuli, n_units) or LayerStack
            The reconstruction.
        """

    @abstractmethod
    def held_out_cost(self, fitted, source, target):
        """Return the cost of a fitted inner estimator on other stimuli."""

    def fit_of_fold(self, source, target, context=None):
        """Return what computes the cost on the held-out rows of a fold.

        Parameters
        ----------
        source, target : Fold
            The two layers.
        context : sklearn.callback.CallbackContext, default=None
            Task of the pair, see `solve`.

        Returns
        -------
        fitted : estimator
            Estimator for `held_out_cost`, fitted to the training rows if it needs that.
        issues : list
            Convergence issues of the fit.
        """
        solution = self.solve(source.train, target.train, context)
        fitted = self.fitted(solution, source.train, target.train)
        return fitted, self.issues(solution)

    def cost_of_fold(self, source, target, context=None):
        """Fit to the training rows of a fold and compute the cost on the held-out rows.

        Parameters
        ----------
        source, target : Fold
            The two layers.
        context : sklearn.callback.CallbackContext, default=None
            Task of the pair, see `solve`.

        Returns
        -------
        cost : float
            Cost on the held-out rows.
        issues : list
            Convergence issues of the fit.
        """
        fitted, issues = self.fit_of_fold(source, target, context)
        # The values were checked when the whole layer was read.
        with config_context(assume_finite=True):
            return self.held_out_cost(fitted, source.test, target.test), issues

    # -- the estimator itself ------------------------------------------------------

    @property
    def runs_in_threads(self):
        """Whether `solve` can run in threads: the code is built in at all levels."""
        return False

    @property
    def is_stored(self):
        """Whether a level below stores its solutions on disk."""
        return False

    @property
    def reports_itself(self):
        """Whether the estimator can tell callbacks of the pair, and of its parts."""
        return False

    def check_settings(self):
        """Validate the estimator's parameters, because its `fit` is not called."""
        return

    def why_no_map(self, method):
        """Return why the estimator does not have a prediction method, or None."""
        if hasattr(self.estimator, method):
            return None
        return (
            f"{type(self.estimator).__name__} has no `{method}`: it compares layers "
            "and does not map one to the other"
        )


class PairInner(Inner):
    """Adapter for the estimators of one pair of populations, see `PairComparison`."""

    def read(self, handle, digest):
        groups = repeated_rows(handle.stack.stimuli)
        if digest is not None and self.estimator._splits_rows and groups is not None:
            # The parts depend on which labels are equal.
            digest.mark(groups.tolist())
        return self.estimator._read(
            handle.side, handle.stack, lambda index: handle.where, digest
        )

    def dead_units(self, facts):
        return self.estimator._constant_units(facts)

    def facts_bytes(self, facts):
        return facts.mean.nbytes + facts.deviation.nbytes

    def prepare(self, handle):
        prepare = {
            "solve": self.estimator._prepare,
            "held_out": self.estimator._prepare_held_out,
            "map": getattr(self.estimator, "_prepare_map", None),
        }[handle.purpose]
        return prepare(handle.leaves(), handle.facts)

    def prepared_bytes(self, handle):
        if handle.purpose != "solve":
            return super().prepared_bytes(handle)
        return self.estimator._prepared_bytes(len(handle.stack), handle.facts)

    def solve(self, source, target, context=None):
        # A clone copies a RandomState, so all pairs use the same random numbers.
        estimator = (
            clone(self.estimator) if self.estimator._is_stochastic else self.estimator
        )
        labels = source.stack.stimuli, target.stack.stimuli
        return estimator._solve_checked(source.prepared(), target.prepared(), labels)

    def cost(self, solution):
        return float(solution.cost)

    def issues(self, solution):
        return convergence_issues(solution.converged)

    def fitted(self, solution, source, target):
        fitted = clone(self.estimator)
        fitted._set_solution_of_layers(solution, source.facts, target.facts)
        return fitted

    def facts_of(self, fitted, side):
        if side == "source":
            return fitted._source_statistics
        return fitted._target_statistics

    def predict(self, fitted, direction, handle):
        (layer,) = fitted._map_units(direction, handle.prepared())
        return layer

    def held_out_cost(self, fitted, source, target):
        try:
            return float(fitted._held_out_cost(source.prepared(), target.prepared()))
        except ValueError as error:
            raise ValueError(
                f"{error} (found in {source.where} and {target.where})"
            ) from error

    def fit_of_fold(self, source, target, context=None):
        if self.estimator._held_out_cost_needs_fit:
            return super().fit_of_fold(source, target, context)
        return self.estimator, []

    @property
    def runs_in_threads(self):
        return self.estimator._runs_in_threads

    def check_settings(self):
        self.estimator._validate_params()
        self.estimator._check_as_inner()


@dataclass(frozen=True)
class NetworkFacts:
    """Facts of a network that is one layer of the level above.

    Attributes
    ----------
    layout : Layout
        Layout of the network.
    layers : list
        Facts of each layer of the network.
    digests : list of str or None
        Digest of each layer of the network.
    """

    layout: Layout
    layers: list
    digests: list


class LevelInner(Inner):
    """Adapter for an inner estimator that is itself multi-level.

    One layer of this level is then a network of the level below.
    """

    @property
    def below(self):
        """Adapter of the level below."""
        return self.estimator._inner

    def _layers(self, handle, facts=None):
        """Return the layout of a network and the handles of its layers."""
        stack, layout = read_side(handle.layer, "X", allow_vector=False)
        if handle.stack.stimuli is not None:
            # A single array has no labels of its own, and `cost_cv` reads them.
            stack = stack.with_stimuli(handle.stack.stimuli)

        def name(index):
            if layout.is_single_array:
                return handle.where
            return f"{handle.where}, {layer_label(index, layout.names)}"

        handles = open_layers(
            self.below,
            stack,
            name,
            handle.cache,
            token=handle.token,
            purpose=handle.purpose,
            is_checked=handle.is_checked,
            side=handle.side,
            facts=None if facts is None else facts.layers,
        )
        if facts is not None:
            for layer, digest in zip(handles, facts.digests, strict=True):
                layer.digest = digest
        return layout, handles

    def read(self, handle, digest):
        layout, handles = self._layers(handle)
        for layer in handles:
            layer.read(digest is not None)
        facts = NetworkFacts(
            layout, [layer.facts for layer in handles], [h.digest for h in handles]
        )
        if digest is not None:
            digest.mark(layout.kind, layout.names, facts.digests)
            labels = handle.stack.stimuli
            if self.estimator.cost_cv is not None and labels is not None:
                # The folds depend on which labels are equal.
                digest.mark(read_groups(labels, len(labels)).tolist())
        return facts

    def digest_facts(self, facts, whole, selected):
        parts = zip(facts.layers, whole.layers, strict=True)
        return replace(
            facts,
            layers=[self.below.digest_facts(*part, selected) for part in parts],
            digests=[digest and f"{digest}/{selected}" for digest in whole.digests],
        )

    def dead_units(self, facts):
        dead = [self.below.dead_units(layer) for layer in facts.layers]
        return dead[0] if facts.layout.is_single_array else dead

    def facts_bytes(self, facts):
        return sum(self.below.facts_bytes(layer) for layer in facts.layers)

    def prepare(self, handle):
        return self._layers(handle, handle.facts)[1]

    def prepared_bytes(self, handle):
        return sum(layer.prepared_bytes for layer in self.prepare(handle))

    def solve(self, source, target, context=None):
        check_both_single_or_layered(source.facts.layout, target.facts.layout)
        estimator = clone(self.estimator)
        with task_in_worker(estimator, context):
            return estimator._solve(
                source.stack, target.stack, source.prepared(), target.prepared()
            )

    def cost(self, solution):
        return float(solution.cost)

    def issues(self, solution):
        return convergence_issues(solution.converged)

    def fitted(self, solution, source, target):
        fitted = clone(self.estimator)
        fitted._set_solution_of_networks(
            solution, source, target, source.prepared(), target.prepared()
        )
        return fitted

    def facts_of(self, fitted, side):
        pairs = fitted.inner_
        if side == "source":
            layout, pairs = fitted._source_layout, [row[0] for row in pairs]
        else:
            layout, pairs = fitted._target_layout, pairs[0]
        layers = [self.below.facts_of(pair, side) for pair in pairs]
        return NetworkFacts(layout, layers, [None] * len(layers))

    def predict(self, fitted, direction, handle):
        layers = list(fitted._reconstruct_from(direction, handle.prepared()))
        stimuli = handle.layer.stimuli if isinstance(handle.layer, LayerStack) else None
        return fitted._layouts(direction)[1].restore(layers, stimuli)

    def held_out_cost(self, fitted, source, target):
        return fitted._coupled_cost(source.prepared(), target.prepared())

    @property
    def runs_in_threads(self):
        return self.below.runs_in_threads

    @property
    def is_stored(self):
        return self.estimator._is_stored

    @property
    def reports_itself(self):
        return True

    def check_settings(self):
        self.estimator._validate_params()
        self.estimator._check_settings()


class ForeignInner(Inner):
    """Adapter for any other estimator: its `fit` receives the layers unchanged."""

    def read(self, handle, digest):
        if digest is not None and isinstance(handle.layer, LayerStack):
            # The estimator can use the names and labels, too.
            stimuli = handle.layer.stimuli
            labels = None if stimuli is None else stimuli.tolist()
            digest.mark(handle.layer.structure, labels)
        dead = []
        for leaf in handle.leaves():
            layer = check_layer(leaf.layer, leaf.where, min_stimuli=2)
            constant = constant_units(layer)
            check_some_live(~constant, leaf.where)
            if digest is not None:
                digest.add(layer)
            dead.append(np.flatnonzero(constant))
        if isinstance(handle.layer, LayerStack):
            return nest(dead, handle.layer.structure)
        return dead[0]

    def dead_units(self, facts):
        return facts

    def facts_bytes(self, facts):
        return 0

    def prepare(self, handle):
        if isinstance(handle.layer, LayerStack):
            return handle.layer
        return check_layer(handle.layer, handle.where)

    def solve(self, source, target, context=None):
        estimator = clone(self.estimator)
        with task_in_worker(estimator, context):
            return estimator.fit(source.prepared(), target.prepared())

    @property
    def reports_itself(self):
        return hasattr(self.estimator, "set_callbacks")

    def cost(self, solution):
        if not hasattr(solution, "cost_"):
            raise TypeError(
                f"{type(solution).__name__} learned no `cost_`: the inner estimator of "
                "MultiLevelOT must tell how far two layers are apart."
            )
        return float(solution.cost_)

    def issues(self, solution):
        return []

    def fitted(self, solution, source, target):
        return solution

    def facts_of(self, fitted, side):
        return None

    def predict(self, fitted, direction, handle):
        if direction == "target":
            return fitted.predict(handle.prepared())
        return fitted.inverse_predict(handle.prepared())

    def held_out_cost(self, fitted, source, target):
        return float(fitted.held_out_cost(source.prepared(), target.prepared()))


def _select_layer(stack, index):
    """Return a stack of one layer of another stack, without reading the layer."""
    single = LayerStack(stack)
    single._bases = (stack._bases[index],)
    single._unit_names = (stack._unit_names[index],)
    single._numbers = None
    single._names = None
    return single


class LayerDigest:
    """Hash of layers by their values, which does not depend on their memory order."""

    def __init__(self):
        self._hash = sha256()

    @property
    def text(self):
        return self._hash.hexdigest()

    def mark(self, *values):
        """Add the `repr` of some values to the hash."""
        self._hash.update(f"{values!r};".encode())

    def add(self, layer):
        """Add the values of an array to the hash."""
        self.mark(layer.shape, str(layer.dtype))
        if issparse(layer):
            # Sums over sparse and dense layers differ in their rounding errors.
            self.mark("sparse")
            for part in (layer.indptr, layer.indices):
                self._hash.update(part.astype(np.int64).data)
            self._hash.update(layer.data.data)
            return
        if not isinstance(layer, np.ndarray):
            # Learned attributes are on the device of the layer.
            self.mark(type(layer).__module__, str(layer.device))
        height = max(1, _BLOCK_BYTES // (layer.shape[1] * 8))
        for start in range(0, layer.shape[0], height):
            block = to_numpy(layer[start : start + height, :])
            self._hash.update(np.ascontiguousarray(block).data)


def digest_rows(rows, n_stimuli):
    """Return a hash of the selected rows, equal for slices, masks and row numbers."""
    selected = np.arange(n_stimuli, dtype=np.int64)[rows]
    return sha256(selected.tobytes()).hexdigest()
