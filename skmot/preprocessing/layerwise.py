"""LayerwiseTransformer, and the base class of the transformers of layers."""

from abc import ABCMeta, abstractmethod
from contextlib import contextmanager

from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skmot._utils.methods import LayersAsOutput, available_where
from skmot._utils.progress import fit_task
from skmot._utils.sklearn import HasMethods, fit_context
from skmot._utils.state import PlainState
from skmot.layers.checks import check_layer
from skmot.layers.sides import check_later_side, read_side, seen_by_sklearn


class LayerTransformer(
    PlainState,
    CallbackSupportMixin,
    LayersAsOutput,
    # Layers are returned as the type they were given as, not as a DataFrame.
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
    auto_wrap_output_keys=None,
):
    """Base class of the transformers that fit and transform each layer separately."""

    # Whether layers may have NaN and infinite responses.
    _allows_missing = False
    # Whether sparse layers stay sparse. Otherwise they become dense arrays.
    _accepts_sparse = False

    @abstractmethod
    def _transform_layer(self, learned, layer, where):
        """Transform one layer.

        Parameters
        ----------
        learned : object
            Result of the fit to this layer.
        layer : array of shape (n_stimuli, n_units)
            Layer to transform.
        where : str
            Name of the layer in error messages.

        Returns
        -------
        layer : array of shape (n_stimuli, n_new_units)
            Transformed layer.
        """

    def _read(self, X):
        """Read the input of `fit` and store its layout."""
        stack, layout = read_side(X, "X")
        validate_data(self, seen_by_sklearn(X, stack, layout), skip_check_array=True)
        self._layout = layout
        return stack

    def _learn(self, stack, learn):
        """Fit to each array of a stack, including those of nested stacks.

        Parameters
        ----------
        stack : LayerStack
            Layers to fit to.
        learn : callable
            Function that takes an array and its name in error messages, and returns the
            result of the fit.

        Returns
        -------
        learned : list
            Results, one per array. `_layout.nest` nests them like the layers.
        """
        return [
            learn(self._check(leaf.layer, leaf.where), leaf.where)
            for leaf in self._layout.leaves(stack)
        ]

    def _check(self, layer, where):
        return check_layer(
            layer,
            where,
            allow_missing=self._allows_missing,
            accept_sparse=self._accepts_sparse,
        )

    def transform(self, X):
        """Transform each layer.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            The layers of `fit`, each of shape (n_stimuli, n_units).

        Returns
        -------
        X : LayerStack, list, dict or ndarray
            Transformed layers of the same type as the input. DataFrames and DataArrays,
            also in a list or dict, become a LayerStack, which keeps what they say of
            their rows, and of units that are selected.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError, TypeError
            If the layers differ from those in `fit`, or are not numeric and finite.
        """
        check_is_fitted(self)
        stack, layout = check_later_side(self, X, self._layout)
        return self._apply(self._transform_layer, stack, layout)

    def _apply(self, function, stack, layout):
        """Apply a function like `_transform_layer` to each array of a stack."""
        names = [leaf.where for leaf in layout.leaves(stack)]
        learned = iter(self._learned)

        def apply(layer, where):
            return function(next(learned), self._check(layer, where), where)

        if layout.kind in ("stack", "frame") or stack._has_named_arrays:
            # Later steps compare the names of stimuli and units.
            return self._apply_to_stack(apply, stack, names)
        if layout.is_single_array:
            # The result for a single array need not be an array.
            return layout.restore([apply(stack.layers[0], names[0])], None)
        return layout.restore(
            list(self._apply_to_stack(apply, stack, names).layers), None
        )

    def _apply_to_stack(self, apply, stack, names):
        """Apply a function of an array and its name to each array of a stack."""
        return stack.map(apply, names)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._allows_missing
        return tags


def _check_inverse(estimator):
    """Raise the transformer's own AttributeError if it has no inverse."""
    _ = estimator.transformer.inverse_transform


@contextmanager
def _layer_named(where):
    """Name the layer in the errors of a transformer, which does not know it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        # A subclass may need more arguments than a message.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{error} (found in {where})") from error


def _inverse_transform_layer(learned, layer, where):
    with _layer_named(where):
        return learned.inverse_transform(layer)


class LayerwiseTransformer(LayerTransformer, auto_wrap_output_keys=None):
    """Apply a scikit-learn transformer to each layer separately.

    In a pipeline, a scikit-learn transformer receives all layers side by side and
    returns one array. The layers are then lost, and methods such as PCA mix them.

    Parameters
    ----------
    transformer : transformer
        Transformer that is cloned and fitted to each layer. If it accepts sparse input,
        as its tags tell, sparse layers are passed to it as they are. Otherwise it
        receives them as dense arrays.

    Attributes
    ----------
    transformers_ : list of transformers
        Fitted transformers, one per layer, with a list for each nested stack.
    n_features_in_ : int
        Number of units of all layers.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the units. Defined only if `X` is a DataFrame with string columns.

    See Also
    --------
    UnitSubsampler : Selects a random subset of the units.

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

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit a clone of the transformer to each layer.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Layers, each of shape (n_stimuli, n_units).
        y : object, default=None
            Target that is passed to the `fit` of each transformer.

        Returns
        -------
        self : LayerwiseTransformer
            Fitted transformer.
        """

        def fit(layer, where):
            with _layer_named(where):
                return clone(self.transformer).fit(layer, y)

        with fit_task(self, X=X, y=y):
            self._learned = self._learn(self._read(X), fit)
            self.transformers_ = self._layout.nest(self._learned)
        return self

    @available_where(_check_inverse)
    def inverse_transform(self, X):
        """Transform layers back to their original units.

        Only available if the transformer has an `inverse_transform`.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            Transformed layers, one for each layer of `fit`.

        Returns
        -------
        X : LayerStack, list, dict or ndarray
            Layers in their original units, of the same type as the input. DataFrames
            and DataArrays become a LayerStack.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError, TypeError
            If the number, the names or the widths of the layers are wrong, or if they
            are not numeric and finite.
        """
        check_is_fitted(self)
        stack, layout = read_side(X, "X")
        n_layers, n_arrays = len(self._layout.widths), len(self._learned)
        found = stack.n_layers, sum(1 for _ in stack.leaves())
        if found != (n_layers, n_arrays):
            arrays = "" if found[0] != n_layers else f" of {found[1]} array(s) in all"
            raise ValueError(
                f"X has {found[0]} layer(s){arrays}, but {type(self).__name__} was "
                f"fitted to {n_layers}{arrays and f' of {n_arrays}'}."
            )
        self._layout.check_names(stack, self)
        return self._apply(_inverse_transform_layer, stack, layout)

    @property
    def _accepts_sparse(self):
        return get_tags(self.transformer).input_tags.sparse

    def _transform_layer(self, learned, layer, where):
        with _layer_named(where):
            return learned.transform(layer)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.transformer).transformer_tags
        tags.transformer_tags.preserves_dtype = inner.preserves_dtype if inner else []
        return tags
