"""The quantity that the `cost_` of an estimator is, in the words of a colour bar."""

# By the name of the class, because these classes are in packages that import no
# display. Of a subclass that is not listed, its base class is looked up.
_QUANTITIES = {
    "RotationMatching": "squared error an entry",
    "MultiLevelOTRotation": "squared error an entry",
    "SemiMatching": "correlation distance",
    "OneToOneMatching": "correlation distance",
    "Procrustes": "squared Procrustes distance",
    "LinearPredictivity": "1 - validation correlation",
    "RegressorMapping": "1 - validation correlation",
    "RSA": "1 - RSA correlation",
    "CKA": "1 - CKA",
}
_METRICS = {
    "correlation": "correlation distance",
    "cosine": "cosine distance",
    "sqeuclidean": "squared Euclidean distance",
}


def name_layer_cost(estimator):
    """Name the quantity of `layer_costs_` of a fitted multi-level estimator."""
    name = _name_cost(estimator)
    cost_cv = getattr(estimator, "cost_cv", None)
    return name if cost_cv is None else f"{name}, held-out folds"


def _name_cost(estimator):
    if hasattr(estimator, "inner_"):
        name = type(estimator).__name__
        return _QUANTITIES.get(name) or _name_cost(estimator.inner_[0][0])
    classes = [base.__name__ for base in type(estimator).__mro__]
    if "SoftMatching" in classes:
        return _METRICS.get(estimator.metric, f"{estimator.metric} distance")
    if "FunctionComparison" in classes:
        function = getattr(estimator.func, "__name__", "function")
        return f"-{function}" if estimator.greater_is_more_alike else function
    return next(
        (_QUANTITIES[name] for name in classes if name in _QUANTITIES),
        f"cost of {classes[0]}",
    )
