"""Transformers that work layer by layer and keep the layers apart."""

from abc import ABCMeta, abstractmethod
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from skmot._validation import check_later_side, check_layer, read_side, seen_by_sklearn
from skmot.layers import LayerStack, layer_label, restore_layers

__all__ = ["LayerwiseTransformer", "UnitSubsampler"]


class _LayerTransformer(
    # Layers are given back as they came, so scikit-learn must not wrap them in a frame.
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
    auto_wrap_output_keys=None,
):
    """Base of the transformers of layers: learns from each, transforms each."""

    @abstractmethod
    def _transform_layer(self, learned, layer):
        """Return one layer transformed by what was learned from it."""

    def _fit_layers(self, X, learn):
        """Learn from each layer; `learn` takes a layer and returns what it learned."""
        stack, layout = read_side(X, "X")
        validate_data(self, seen_by_sklearn(X, stack, layout), skip_check_array=True)
        self._layout = layout
        self._learned = [
            _learn(learn, layer, layout.where(index))
            for index, layer in enumerate(stack.layers)
        ]
        return self

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
        layers = [
            self._transform(learned, layer, layout.where(index))
            for index, (learned, layer) in enumerate(
                zip(self._learned, stack.layers, strict=True)
            )
        ]
        kind = "stack" if layout.kind == "frame" else layout.kind
        return restore_layers(layers, kind, layout.names, stack.stimuli)

    def _transform(self, learned, layer, where):
        if not isinstance(layer, LayerStack):
            return self._transform_layer(learned, check_layer(layer, where))
        parts = [
            self._transform(*part)
            for part in zip(learned, *_parts(layer, where), strict=True)
        ]
        return LayerStack(parts, names=layer.names, stimuli=layer.stimuli)

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
        self._fit_layers(X, lambda layer: clone(self.transformer).fit(layer, y))
        self.transformers_ = self._learned
        return self

    def _transform_layer(self, learned, layer):
        return learned.transform(layer)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.transformer).transformer_tags
        tags.transformer_tags.preserves_dtype = inner.preserves_dtype if inner else []
        return tags


class UnitSubsampler(_LayerTransformer, auto_wrap_output_keys=None):
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

        def choose(layer):
            n_units = layer.shape[1]
            n_kept = max(1, round(self.fraction * n_units))
            return np.sort(random.permutation(n_units)[:n_kept])

        self._fit_layers(X, choose)
        self.units_ = self._learned
        return self

    def _transform_layer(self, learned, layer):
        return layer[:, learned]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _learn(learn, layer, where):
    """Learn from a layer, or from each layer of a stack within the stack."""
    if not isinstance(layer, LayerStack):
        return learn(check_layer(layer, where))
    return [_learn(learn, *part) for part in zip(*_parts(layer, where), strict=True)]


def _parts(stack, where):
    """Return the layers of a stack within the stack, and what they are called."""
    names = [
        f"{where}, {layer_label(index, stack.names)}" for index in range(stack.n_layers)
    ]
    return stack.layers, names
