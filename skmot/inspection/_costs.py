"""The quantity that the `cost_` of an estimator is, in the words of a colour bar."""


def name_layer_cost(estimator):
    """Name the quantity of `layer_costs_` of a fitted multi-level estimator."""
    name = _name_cost(estimator)
    cost_cv = getattr(estimator, "cost_cv", None)
    return name if cost_cv is None else f"{name}, held-out folds"


def _name_cost(estimator):
    if hasattr(estimator, "inner_"):
        return _name_cost(estimator.inner_[0][0])
    # An inner estimator of another package has no such attribute.
    name = getattr(estimator, "_cost_name", None)
    return f"cost of {type(estimator).__name__}" if name is None else name
