"""TransformedTargetLayers, which transforms the target layers before the fit."""

from contextlib import contextmanager
from dataclasses import replace

from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skmot._scores import unwrap
from skmot._utils.methods import available_where
from skmot._utils.progress import fit_task
from skmot._utils.sklearn import HasMethods, fit_context
from skmot._utils.state import PlainState
from skmot.layers import LayerStack
from skmot.layers.checks import check_layer
from skmot.layers.sides import check_later_side, check_target_given, read_side


def _regressor_has(method):
    """Make a method available if the regressor has it; otherwise raise its error."""

    def check(estimator):
        getattr(getattr(estimator, "regressor_", estimator.regressor), method)

    return available_where(check)


def _last_has(method):
    """Make a method available if what the regressor ends in has it."""

    def check(estimator):
        regressor = getattr(estimator, "regressor_", estimator.regressor)
        getattr(unwrap(regressor)[0], method)

    return available_where(check)


class TransformedTargetLayers(
    PlainState,
    CallbackSupportMixin,
    RegressorMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Fit an estimator to transformed target layers.

    A pipeline transforms the source. This meta-estimator transforms the target, with a
    transformer that is fitted to the training stimuli. Use it instead of
    :class:`sklearn.compose.TransformedTargetRegressor`, which would convert the target
    layers to one array.

    Predictions are transformed back to the units of the target if the transformer has
    an `inverse_transform`. Otherwise, they are in the transformed units.

    Scores are always computed in the transformed units. The regressor is fitted in
    these units, they exist for every transformer, and they do not contain the variance
    that a transformer such as PCA removes on purpose. If the transformer only shifts
    and scales units, the score is the same in the original units.

    The methods that a Pipeline does not have (`unit_scores`, `layer_scores`,
    `inverse_score` and `held_out_cost`) are those of its last step. Its earlier steps
    transform `X`, and the source is scored as they transform it.

    Parameters
    ----------
    regressor : estimator
        Estimator that is cloned and fitted to the source and the transformed target: an
        estimator of skmot, or a pipeline or search that ends in one.
    transformer : transformer
        Transformer that is cloned and fitted to the target:
        :class:`LayerwiseTransformer`, :class:`UnitSubsampler`,
        :class:`ReliabilitySelector`, :class:`FiniteUnitSelector`, another transformer
        that returns a LayerStack for a LayerStack, or a pipeline of such transformers.
        If it or the first step of the pipeline has the tag `allow_nan`, the target may
        have missing responses.

    Attributes
    ----------
    regressor_ : estimator
        Fitted regressor.
    transformer_ : transformer
        Fitted transformer.
    cost_ : float
        Cost of the regressor, if it has one.
    n_features_in_ : int
        Number of source units.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the source units. Defined only if `X` is a DataFrame with string
        columns.

    See Also
    --------
    LayerwiseTransformer : Applies a scikit-learn transformer to each layer.

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

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Fit the transformer to the target, and the regressor to the result.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same stimuli.

        Returns
        -------
        self : TransformedTargetLayers
            Fitted estimator.

        Raises
        ------
        ValueError
            If the transformer or the regressor raises it.
        TypeError
            If the transformer does not return a LayerStack.
        """
        check_target_given(self, y)
        stack, layout = read_side(y, "y")
        _check_layers(stack, layout, self.transformer)
        transformer, regressor = clone(self.transformer), clone(self.regressor)
        with fit_task(self, 2, X=X, y=y) as task:
            with task.new_part("fit-transformer").passed_on_to(transformer):
                with _errors_named():
                    transformer.fit(stack)
                transformed = _transform_stack(transformer, stack)
            with task.new_part("fit-regressor").passed_on_to(regressor):
                self.regressor_ = regressor.fit(X, transformed)
            self.transformer_, self._layout = transformer, layout
        return self

    @_regressor_has("predict")
    def predict(self, X):
        """Reconstruct the target network from the source network.

        Parameters
        ----------
        X : LayerStack, list, dict, DataFrame or array-like
            The source layers of `fit`, each of shape (n_stimuli, n_units).

        Returns
        -------
        y : same type as `y` in `fit`
            Predicted target layers, each of shape (n_stimuli, n_units), in the units of
            the target if the transformer has an `inverse_transform`. Otherwise, they
            are in the transformed units, and a DataFrame with two-level columns becomes
            a LayerStack.
        """
        check_is_fitted(self)
        stack = self.regressor_.predict(X)
        if hasattr(self.transformer_, "inverse_transform"):
            stack = self.transformer_.inverse_transform(stack)
            return _restore(self._layout, stack)
        kind = self._layout.kind
        if kind == "frame":
            kind = "stack"
        elif kind == "vector" and stack.widths != (1,):
            kind = "array"
        layout = replace(self._layout, kind=kind)
        return _restore(layout, stack)

    @_regressor_has("inverse_predict")
    def inverse_predict(self, y):
        """Reconstruct the source network from the target network.

        Parameters
        ----------
        y : LayerStack, list, dict, DataFrame or array-like
            The target layers of `fit`, each of shape (n_stimuli, n_units), without the
            transformation.

        Returns
        -------
        X : same type as `X` in `fit`
            Predicted source layers, each of shape (n_stimuli, n_units).
        """
        return self._call_regressor("inverse_predict", y=y)

    @_regressor_has("score")
    def score(self, X, y, sample_weight=None):
        """Score the reconstruction of the transformed target on held-out stimuli.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        sample_weight : None
            Passed to the regressor if it is not None.

        Returns
        -------
        score : float
            Score of the regressor.
        """
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self._call_regressor("score", X, y=y, **weights)

    @_last_has("inverse_score")
    def inverse_score(self, X, y):
        """Score the reconstruction of the source from the transformed target.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        score : float
            Inverse score of the regressor.
        """
        return self._call_last("inverse_score", X, y)

    @_last_has("layer_scores")
    def layer_scores(self, X, y, direction="target"):
        """Score each layer of the transformed target or of the source.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Side that is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_layers,)
            Layer scores of the regressor.
        """
        return self._call_last("layer_scores", X, y, direction=direction)

    @_last_has("unit_scores")
    def unit_scores(self, X, y, direction="target"):
        """Score each unit of the transformed target or of the source.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.
        direction : {"target", "source"}, default="target"
            Side that is reconstructed and scored.

        Returns
        -------
        scores : ndarray of shape (n_units,), or list of such arrays
            Unit scores of the regressor, one array per layer, or a single array if that
            side was a single array in `fit`.
        """
        scores = self._call_last("unit_scores", X, y, direction=direction)
        return (
            scores[0]
            if direction == "target" and self._layout.is_single_array
            else scores
        )

    @_last_has("held_out_cost")
    def held_out_cost(self, X, y):
        """Compute the cost of the fit on held-out stimuli.

        Parameters
        ----------
        X, y : LayerStack, list, dict, DataFrame or array-like
            Source and target layers over the same, preferably held-out, stimuli.

        Returns
        -------
        cost : float
            Held-out cost of the regressor.
        """
        return self._call_last("held_out_cost", X, y)

    @property
    def cost_(self):
        return self.regressor_.cost_

    @property
    def n_features_in_(self):
        return self.regressor_.n_features_in_

    @property
    def feature_names_in_(self):
        return self.regressor_.feature_names_in_

    def _call_regressor(self, method, *source, y, **settings):
        """Call a method of the regressor with the transformed target."""
        transformed = self._transform_target(y)
        return getattr(self.regressor_, method)(*source, transformed, **settings)

    def _call_last(self, method, X, y, **settings):
        """Call a method of what the regressor ends in with transformed layers."""
        transformed = self._transform_target(y)
        estimator, X, transformed = unwrap(self.regressor_, X, transformed)
        return getattr(estimator, method)(X, transformed, **settings)

    def _transform_target(self, y):
        """Check and transform the target for the regressor."""
        check_is_fitted(self)
        stack, layout = check_later_side(self, y, self._layout)
        _check_layers(stack, layout, self.transformer_)
        return _transform_stack(self.transformer_, stack)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = _allows_missing(self.regressor)
        if hasattr(self.regressor, "predict"):
            inner = get_tags(self.regressor).regressor_tags
            tags.regressor_tags.poor_score = inner is None or inner.poor_score
        else:
            tags.estimator_type = None
            tags.regressor_tags = None
        return tags


def _restore(layout, stack):
    return layout.restore(list(stack.layers), stack.stimuli, stack._row_numbers)


def _check_layers(stack, layout, transformer):
    """Raise an error if a layer is not numeric, or not finite where it has to be."""
    allow_missing = _allows_missing(transformer)
    for leaf in layout.leaves(stack):
        check_layer(
            leaf.layer, leaf.where, allow_missing=allow_missing, accept_sparse=True
        )


def _allows_missing(estimator):
    """Whether an estimator, or the first step of a pipeline, accepts NaN."""
    while isinstance(estimator, Pipeline):
        # The tags of a pipeline do not say whether it accepts NaN.
        estimator = next(
            (step for _, step in estimator.steps if step not in (None, "passthrough")),
            None,
        )
    return (
        hasattr(estimator, "__sklearn_tags__")
        and get_tags(estimator).input_tags.allow_nan
    )


@contextmanager
def _errors_named():
    """Add a note to errors of the transformer, which calls the target X."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note("(X is the target here: the transformer was given y.)")
        raise


def _transform_stack(transformer, stack):
    """Transform a stack and check that the result is also a stack."""
    with _errors_named():
        transformed = transformer.transform(stack)
    if not isinstance(transformed, LayerStack):
        raise TypeError(
            f"{type(transformer).__name__} made one {type(transformed).__name__} of "
            "the layers of y. Wrap it, so that it works on each layer: "
            "`LayerwiseTransformer(transformer)`."
        )
    return transformed
