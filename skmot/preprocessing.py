"""Transformers that work layer by layer and keep the layers apart."""

from abc import ABCMeta, abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    RegressorMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skmot._array_api import select
from skmot._labels import as_labels
from skmot._repeats import (
    average_trials,
    say_largest,
    split_half_reliability,
    stimulus_codes,
)
from skmot._validation import (
    check_later_side,
    check_layer,
    checked_layers,
    read_side,
    seen_by_sklearn,
)
from skmot.layers import LayerStack, as_stack, layer_label, restore_layers

__all__ = [
    "LayerwiseTransformer",
    "ReliabilitySelector",
    "TransformedTargetLayers",
    "UnitSubsampler",
    "average_repeats",
]


class _LayerTransformer(
    # Layers are given back as they came, so scikit-learn must not wrap them in a frame.
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
    auto_wrap_output_keys=None,
):
    """Base of the transformers of layers: learns from each, transforms each."""

    @abstractmethod
    def _transform_layer(self, learned, layer, where):
        """Return one layer transformed by what was learned from it."""

    def _read(self, X):
        """Read what is fitted to, and remember what it looks like."""
        stack, layout = read_side(X, "X")
        validate_data(self, seen_by_sklearn(X, stack, layout), skip_check_array=True)
        self._layout = layout
        return stack

    def _learn(self, stack, learn):
        """Learn from each layer; `learn` takes a layer, and its name in a message."""
        return [
            _learn(learn, layer, self._layout.where(index))
            for index, layer in enumerate(stack.layers)
        ]

    def transform(self, X):
        """Transform each layer.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            The layers fitted to, each (n_stimuli, n_units).

        Returns
        -------
        X : LayerStack, list, dict or ndarray
            The transformed layers, as the kind given; a DataFrame with two-level
            columns becomes a LayerStack, any other an array.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError, TypeError
            If the layers differ from those fitted to, or are not finite numbers.
        """
        check_is_fitted(self)
        stack, layout = check_later_side(self, X, self._layout)
        return self._apply(self._transform_layer, stack, layout)

    def _apply(self, function, stack, layout):
        """Apply a function of what was learned and a layer to each layer."""
        layers = [
            _apply(function, learned, layer, layout.where(index))
            for index, (learned, layer) in enumerate(
                zip(self._learned, stack.layers, strict=True)
            )
        ]
        kind = "stack" if layout.kind == "frame" else layout.kind
        return restore_layers(layers, kind, layout.names, stack.stimuli)

    def set_output(self, *, transform=None):
        """Do nothing: layers are given back as the kind they came as.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Ignored: one frame has no layers.

        Returns
        -------
        self : estimator
            Unchanged.
        """
        return self


def _transformer_inverts(estimator):
    """Raise the transformer's own AttributeError if it has no inverse."""
    return bool(estimator.transformer.inverse_transform)


def _inverse_transform_layer(learned, layer, where):
    try:
        return learned.inverse_transform(layer)
    except ValueError as error:
        # Only the transformer knows how many columns it made of the layer.
        raise ValueError(f"{error} (found in {where})") from error


class LayerwiseTransformer(_LayerTransformer, auto_wrap_output_keys=None):
    """Apply a scikit-learn transformer to every layer on its own.

    Without it a transformer in a pipeline sees all layers side by side as one array,
    and gives back one array: the layers are lost, and scaling or PCA mixes them.

    Parameters
    ----------
    transformer : transformer
        Cloned and fitted once a layer.

    Attributes
    ----------
    transformers_ : list of transformers
        The fitted clones, one a layer; of a stack within a stack, a list of them.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of units, where `X` was a DataFrame with string columns.

    See Also
    --------
    UnitSubsampler : Keeps a random part of the units.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skmot import LayerStack, MultiLevelOT
    >>> from skmot.preprocessing import LayerwiseTransformer
    >>> rng = np.random.default_rng(0)
    >>> stack = LayerStack([rng.normal(size=(40, 6)), rng.normal(size=(40, 9))])
    >>> LayerwiseTransformer(PCA(n_components=2)).fit_transform(stack)
    LayerStack(40 stimuli, 2 layers: 0 (2 units), 1 (2 units))
    """

    _parameter_constraints = {"transformer": [HasMethods(["fit", "transform"])]}

    def __init__(self, transformer):
        self.transformer = transformer

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit a clone of the transformer to each layer.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Layers, each (n_stimuli, n_units).
        y : object, default=None
            Passed on to each `fit`.

        Returns
        -------
        self : LayerwiseTransformer
            Fitted.
        """
        self.transformers_ = self._learned = self._learn(
            self._read(X), lambda layer, where: clone(self.transformer).fit(layer, y)
        )
        return self

    @available_if(_transformer_inverts)
    def inverse_transform(self, X):
        """Bring transformed layers back to the units fitted to.

        There if the transformer has it.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Transformed layers, as many as were fitted to.

        Returns
        -------
        X : LayerStack, list, dict or ndarray
            The layers, as the kind given; a DataFrame with two-level columns becomes a
            LayerStack, any other an array.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError, TypeError
            If there are more or fewer layers, they have other names or widths, or are
            not finite numbers.
        """
        check_is_fitted(self)
        stack, layout = read_side(X, "X")
        if stack.n_layers != len(self._learned):
            raise ValueError(
                f"X has {stack.n_layers} layer(s), but {type(self).__name__} was "
                f"fitted to {len(self._learned)}."
            )
        names = self._layout.names
        if None not in (stack.names, names) and stack.names != names:
            raise ValueError(
                f"X has the layers {list(stack.names)}, but {type(self).__name__} was "
                f"fitted to {list(names)}, in that order."
            )
        return self._apply(_inverse_transform_layer, stack, layout)

    def _transform_layer(self, learned, layer, where):
        return learned.transform(layer)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.transformer).transformer_tags
        tags.transformer_tags.preserves_dtype = inner.preserves_dtype if inner else []
        return tags


class _UnitSelector(_LayerTransformer, auto_wrap_output_keys=None):
    """Base of the transformers that keep some units of each layer."""

    def _transform_layer(self, learned, layer, where):
        return select(layer, learned, axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class UnitSubsampler(_UnitSelector, auto_wrap_output_keys=None):
    """Keep a random part of the units of each layer.

    Costs in sample depend on how many units a layer has; subsampling tells by how much,
    and makes large networks quick to try.

    Parameters
    ----------
    fraction : float, default=0.5
        Share of each layer's units that is kept, above 0 and at most 1; rounded, and at
        least one unit.
    random_state : int, RandomState instance or None, default=None
        Of the choice.

    Attributes
    ----------
    units_ : list of ndarray of int
        The units kept of each layer, in their order; of a stack within a stack, a list
        of them.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of units, where `X` was a DataFrame with string columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import UnitSubsampler
    >>> stack = LayerStack([np.ones((5, 40)), np.ones((5, 10))])
    >>> UnitSubsampler(fraction=0.1, random_state=0).fit_transform(stack)
    LayerStack(5 stimuli, 2 layers: 0 (4 units), 1 (1 units))
    """

    _parameter_constraints = {
        "fraction": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(self, fraction=0.5, random_state=None):
        self.fraction = fraction
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Choose the units.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Layers, each (n_stimuli, n_units).
        y : None
            Ignored.

        Returns
        -------
        self : UnitSubsampler
            Fitted.
        """
        random = check_random_state(self.random_state)

        def choose(layer, where):
            n_units = layer.shape[1]
            n_kept = max(1, round(self.fraction * n_units))
            return np.sort(random.permutation(n_units)[:n_kept])

        self.units_ = self._learned = self._learn(self._read(X), choose)
        return self


class ReliabilitySelector(_UnitSelector, auto_wrap_output_keys=None):
    """Keep the units of each layer that answer alike to repeats of a stimulus.

    The reliability of a unit is that of its average over the training repeats of each
    stimulus: the correlation between averages over random halves of the repeats,
    brought to all of them by the Spearman-Brown formula, as in
    :func:`skmot.metrics.noise_ceiling`, whose square it is. Test stimuli have no say.

    Rows are single trials, and repeats reach the selector through the labels of the
    stack: trials with equal labels in `stimuli` are repeats of one stimulus. Labels
    follow the rows through splitters and pipelines; use a splitter that keeps repeats
    together.

    Parameters
    ----------
    threshold : float, default=0.2
        The least reliability of a unit that is kept. A constant unit has none, and is
        never kept.
    reliabilities : array-like of shape (n_units,), list of them or float, default=None
        Reliabilities from elsewhere, one array a layer (a list of them for a stack
        within a stack) or one number for all units; NaN where a unit has none. Labels
        are then not needed. None estimates them in `fit`.
    n_halves : int, default=100
        Number of random splits in halves.
    random_state : int, RandomState instance or None, default=None
        Of the splits.

    Attributes
    ----------
    reliabilities_ : list of ndarray of shape (n_units,)
        Of each layer's units: from 0 to 1 where they were estimated, NaN for constant
        units; of a stack within a stack, a list of them.
    units_ : list of ndarray of int
        The units kept of each layer, in their order; of a stack within a stack, a list
        of them.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of units, where `X` was a DataFrame with string columns.

    See Also
    --------
    TransformedTargetLayers : Selects units of the target.
    average_repeats : Averages the trials of each stimulus.
    skmot.metrics.noise_ceiling : The square root of the reliability.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import ReliabilitySelector
    >>> rng = np.random.default_rng(0)
    >>> signal = np.repeat(rng.normal(size=(100, 4)), 2, axis=0)
    >>> trials = signal * [1, 0, 1, 0] + rng.normal(size=(200, 4))
    >>> stack = LayerStack({"V1": trials}, stimuli=np.repeat(np.arange(100), 2))
    >>> selector = ReliabilitySelector(threshold=0.5, random_state=0).fit(stack)
    >>> selector.units_
    [array([0, 2])]
    """

    _parameter_constraints = {
        "threshold": [Interval(Real, None, None, closed="neither")],
        "reliabilities": ["array-like", Real, None],
        "n_halves": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, threshold=0.2, *, reliabilities=None, n_halves=100, random_state=None
    ):
        self.threshold = threshold
        self.reliabilities = reliabilities
        self.n_halves = n_halves
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Choose the units.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Layers, each (n_trials, n_units), with labels that repeat unless
            `reliabilities` are given.
        y : None
            Ignored.

        Returns
        -------
        self : ReliabilitySelector
            Fitted.

        Raises
        ------
        ValueError
            If there are no labels or no repeats, `reliabilities` do not fit the layers,
            or no unit of a layer reaches the threshold.
        """
        stack = self._read(X)
        rate = self._estimator(stack) if self.reliabilities is None else self._reader()

        def choose(layer, where):
            reliabilities = rate(layer, where)
            units = np.flatnonzero(reliabilities >= self.threshold)
            if units.size == 0:
                raise ValueError(
                    f"No unit of {where} has a reliability of at least "
                    f"{self.threshold}: the largest is {say_largest(reliabilities)}. "
                    "Lower `threshold`, or leave the layer out."
                )
            return reliabilities, units

        chosen = self._learn(stack, choose)
        self.reliabilities_ = _each(chosen, lambda pair: pair[0])
        self.units_ = self._learned = _each(chosen, lambda pair: pair[1])
        return self

    def _estimator(self, stack):
        """Return a function that estimates reliabilities from a layer's repeats."""
        if stack.stimuli is None:
            raise ValueError(
                "X has no stimulus labels, so which trials are repeats of one stimulus "
                "is not known: give them with `LayerStack(layers, stimuli=labels)`, or "
                "give `reliabilities`."
            )
        codes = stimulus_codes(stack.stimuli)
        random = check_random_state(self.random_state)
        return lambda layer, where: split_half_reliability(
            layer, codes, self.n_halves, random
        )

    def _reader(self):
        """Return a function that reads the reliabilities given for each next layer."""
        if isinstance(self.reliabilities, Real):
            return lambda layer, where: np.full(
                layer.shape[1], self.reliabilities, dtype=np.float64
            )
        given = iter(list(_given_layers(self.reliabilities, self._layout.structure)))

        def read(layer, where):
            own = np.array(next(given), dtype=np.float64)
            if own.shape != layer.shape[1:]:
                raise ValueError(
                    f"`reliabilities` of {where} has the shape {own.shape}, but the "
                    f"layer has {layer.shape[1]} units: one number a unit."
                )
            return own

        return read


def _regressor_has(method):
    """Make a method available where the regressor has it; it says why if not."""

    def check(estimator):
        regressor = getattr(estimator, "regressor_", estimator.regressor)
        return bool(getattr(regressor, method))

    return available_if(check)


class TransformedTargetLayers(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit to a target network of which every layer is transformed.

    What :class:`sklearn.compose.TransformedTargetRegressor` cannot be here, because it
    makes one array of the target. A pipeline transforms the source; this transforms the
    target, with what was learned from the training stimuli.

    Predictions are brought back to the target's own units where the transformer can
    (`inverse_transform`), and otherwise are in the transformed ones. Scores are always
    of the transformed target: the one space that is there with every transformer, in
    which the regressor was fitted, and without the variance that a transformer
    discarded (a PCA) on purpose. Where the transformer shifts and scales units, both
    spaces have the same score.

    Parameters
    ----------
    regressor : estimator
        Cloned and fitted to the source and the transformed target: an estimator of
        skmot, or a pipeline or search that ends in one.
    transformer : transformer
        Cloned and fitted to the target: :class:`LayerwiseTransformer`,
        :class:`UnitSubsampler`, :class:`ReliabilitySelector` or another transformer
        that gives a LayerStack for a LayerStack, or a pipeline of them.

    Attributes
    ----------
    regressor_ : estimator
        The fitted regressor.
    transformer_ : transformer
        The fitted transformer.
    cost_ : float
        Of the regressor, where it has one.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of source units, where `X` was a DataFrame with string columns.

    See Also
    --------
    LayerwiseTransformer : Makes any transformer one of layers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skmot import LayerStack, MultiLevelOT
    >>> from skmot.preprocessing import LayerwiseTransformer, TransformedTargetLayers
    >>> rng = np.random.default_rng(0)
    >>> X = LayerStack([rng.normal(size=(40, 6)), rng.normal(size=(40, 9))])
    >>> y = LayerStack({"V1": rng.normal(size=(40, 8))})
    >>> pca = LayerwiseTransformer(PCA(n_components=3))
    >>> mot = TransformedTargetLayers(MultiLevelOT(), pca).fit(X, y)
    >>> mot.regressor_.inner_[0][0].coupling_.shape
    (6, 3)
    >>> mot.predict(X)
    LayerStack(40 stimuli, 1 layer: V1 (8 units))
    """

    _parameter_constraints = {
        "regressor": [HasMethods(["fit"])],
        "transformer": [HasMethods(["fit", "transform"])],
    }

    def __init__(self, regressor, transformer):
        self.regressor = regressor
        self.transformer = transformer

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Fit the transformer to the target, and the regressor to what it makes of it.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same stimuli.

        Returns
        -------
        self : TransformedTargetLayers
            Fitted.

        Raises
        ------
        ValueError
            What the transformer or the regressor refuses.
        TypeError
            If the transformer gives anything but a LayerStack.
        """
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but "
                "the target y is None: `fit(source_layers, target_layers)`."
            )
        stack, layout = read_side(y, "y")
        _check_finite(stack, layout)
        transformer = clone(self.transformer).fit(stack)
        transformed = _transform_stack(transformer, stack)
        self.regressor_ = clone(self.regressor).fit(X, transformed)
        self.transformer_, self._layout = transformer, layout
        return self

    @_regressor_has("predict")
    def predict(self, X):
        """Reconstruct the target network from the source network.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Source layers of shape (n_stimuli, n_units), the ones fitted to.

        Returns
        -------
        y : same kind as the `y` fitted to
            Target layers of shape (n_stimuli, n_units), in the target's units if the
            transformer has an `inverse_transform`, else in the transformed ones (a
            DataFrame with two-level columns is then a LayerStack).
        """
        check_is_fitted(self)
        made = self.regressor_.predict(X)
        if hasattr(self.transformer_, "inverse_transform"):
            made = self.transformer_.inverse_transform(made)
            return self._layout.restore(list(made.layers), made.stimuli)
        kind = self._layout.kind
        if kind == "frame":
            kind = "stack"
        elif kind == "vector" and made.widths != (1,):
            kind = "array"
        return restore_layers(list(made.layers), kind, made.names, made.stimuli)

    @_regressor_has("inverse_predict")
    def inverse_predict(self, y):
        """Reconstruct the source network from the target network.

        Parameters
        ----------
        y : LayerStack, list, dict, DataFrame or array-like
            Target layers of shape (n_stimuli, n_units), the ones fitted to; they are
            transformed first.

        Returns
        -------
        X : same kind as the `X` fitted to
            Source layers of shape (n_stimuli, n_units), in the source's units.
        """
        return self._ask("inverse_predict", y=y)

    @_regressor_has("score")
    def score(self, X, y, sample_weight=None):
        """Score the reconstruction of the transformed target on held-out stimuli.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        sample_weight : None
            Handed to the regressor, if it is given.

        Returns
        -------
        score : float
            The regressor's.
        """
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self._ask("score", X, y=y, **weights)

    @_regressor_has("inverse_score")
    def inverse_score(self, X, y):
        """Score the reconstruction of the source from the transformed target.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        score : float
            The regressor's.
        """
        return self._ask("inverse_score", X, y=y)

    @_regressor_has("layer_scores")
    def layer_scores(self, X, y, direction="target"):
        """Score each layer, of the transformed target or of the source.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Which side is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_layers,)
            The regressor's.
        """
        return self._ask("layer_scores", X, y=y, direction=direction)

    @_regressor_has("unit_scores")
    def unit_scores(self, X, y, direction="target"):
        """Score each unit, of the transformed target or of the source.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Which side is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_units,), or list of them
            The regressor's; the array itself where that side was fitted as one array.
        """
        scores = self._ask("unit_scores", X, y=y, direction=direction)
        return scores[0] if direction == "target" and self._layout.is_bare else scores

    @_regressor_has("held_out_cost")
    def held_out_cost(self, X, y):
        """Read the cost of the fit on other stimuli.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        cost : float
            The regressor's.
        """
        return self._ask("held_out_cost", X, y=y)

    @property
    def cost_(self):
        return self.regressor_.cost_

    @property
    def n_features_in_(self):
        return self.regressor_.n_features_in_

    @property
    def feature_names_in_(self):
        return self.regressor_.feature_names_in_

    def _ask(self, method, *source, y, **settings):
        """Ask the regressor, with the target transformed."""
        check_is_fitted(self)
        stack, layout = check_later_side(self, y, self._layout)
        _check_finite(stack, layout)
        transformed = _transform_stack(self.transformer_, stack)
        return getattr(self.regressor_, method)(*source, transformed, **settings)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        if hasattr(self.regressor, "predict"):
            inner = get_tags(self.regressor).regressor_tags
            tags.regressor_tags.poor_score = inner is None or inner.poor_score
        else:
            tags.estimator_type = None
            tags.regressor_tags = None
        return tags


def average_repeats(stack, groups=None):
    """Average the trials of each stimulus, in every layer.

    Parameters
    ----------
    stack : LayerStack, list, dict, DataFrame or array-like
        Layers, each (n_trials, n_units); trials with equal labels in `stimuli` are
        repeats of one stimulus.
    groups : array-like of shape (n_trials,), default=None
        Labels to use in place of the stack's.

    Returns
    -------
    averages : LayerStack of shape (n_stimuli, n_units)
        One row a stimulus, labelled with it, in the order of first appearance. Layers
        are made one at a time and keep their precision, float32 or float64; their sums
        are float64.

    Raises
    ------
    ValueError
        If there are no labels, too few, or responses are not finite numbers.

    See Also
    --------
    ReliabilitySelector : Keeps units that answer alike to repeats.
    skmot.metrics.noise_ceiling : How well the averages can be predicted.

    Examples
    --------
    >>> import numpy as np
    >>> from skmot import LayerStack
    >>> from skmot.preprocessing import average_repeats
    >>> trials = LayerStack([[[1.0], [5.0], [3.0]]], stimuli=["cat", "dog", "cat"])
    >>> averages = average_repeats(trials)
    >>> averages.stimuli.tolist(), averages.layers[0].ravel().tolist()
    (['cat', 'dog'], [2.0, 5.0])
    """
    stack, _, _ = as_stack(stack)
    labels = stack.stimuli if groups is None else as_labels(groups)
    if labels is None:
        raise ValueError(
            "The stack has no stimulus labels, so which trials are repeats of one "
            "stimulus is not known: give `groups`, one label a trial."
        )
    if len(labels) != len(stack):
        raise ValueError(
            f"`groups` has {len(labels)} labels, but the layers have {len(stack)} "
            "trials."
        )
    codes = stimulus_codes(labels)
    _, first = np.unique(codes, return_index=True)
    averages = _average_layers(stack, "stack", codes)
    return LayerStack(averages, stimuli=labels[first])


def _average_layers(stack, where, codes):
    layers = [
        _average_layers(layer, name, codes)
        if isinstance(layer, LayerStack)
        else average_trials(check_layer(layer, name), codes)
        for layer, name in zip(*_parts(stack, where), strict=True)
    ]
    return LayerStack(layers, names=stack.names)


def _check_finite(stack, layout):
    """Raise, with the side's own name, where a layer is no array of finite numbers."""
    for _ in checked_layers(stack, layout):
        pass


def _transform_stack(transformer, stack):
    """Transform a stack; what makes one array of the layers is no use here."""
    transformed = transformer.transform(stack)
    if not isinstance(transformed, LayerStack):
        raise TypeError(
            f"{type(transformer).__name__} made one {type(transformed).__name__} of "
            "the layers of y. Wrap it, so that it works on each layer: "
            "`LayerwiseTransformer(transformer)`."
        )
    return transformed


def _given_layers(given, structure):
    """Return what was given for each layer, in the order the layers are learned in."""
    names, parts = structure
    if len(parts) == 1 and all(np.ndim(element) == 0 for element in given):
        given = [given]
    if len(given) != len(parts):
        layers = f"{len(parts)} layer(s)"
        raise ValueError(
            f"`reliabilities` has {len(given)} arrays for {layers}"
            f"{'' if names is None else f' {list(names)}'}: one a layer."
        )
    for part, own in zip(parts, given, strict=True):
        if isinstance(part, tuple):
            yield from _given_layers(own, part)
        else:
            yield own


def _each(learned, function):
    """Apply a function to what was learned of each layer, nested as the layers are."""
    return [
        _each(part, function) if isinstance(part, list) else function(part)
        for part in learned
    ]


def _apply(function, learned, layer, where):
    """Apply a function to a layer, or to each layer of a stack within the stack."""
    if not isinstance(layer, LayerStack):
        return function(learned, check_layer(layer, where), where)
    parts = [
        _apply(function, *part)
        for part in zip(learned, *_parts(layer, where), strict=True)
    ]
    return LayerStack(parts, names=layer.names, stimuli=layer.stimuli)


def _learn(learn, layer, where):
    """Learn from a layer, or from each layer of a stack within the stack."""
    if not isinstance(layer, LayerStack):
        return learn(check_layer(layer, where), where)
    return [_learn(learn, *part) for part in zip(*_parts(layer, where), strict=True)]


def _parts(stack, where):
    """Return the layers of a stack within the stack, and what they are called."""
    names = [
        f"{where}, {layer_label(index, stack.names)}" for index in range(stack.n_layers)
    ]
    return stack.layers, names
