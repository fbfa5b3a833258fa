"""What the inference of a comparison needs, besides its rows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ComparisonFacts:
    """What the inference of a comparison needs, besides its rows.

    Attributes
    ----------
    n_splits : int
        Number of splits.
    design : str
        Digest of the splits and of the resamples.
    resampled : dict of ndarray of shape (n_bootstrap,)
        Scores on the resamples, averaged over splits, by source, target, method and
        direction.
    units : dict of list of ndarray
        For each split, what tells the scored units apart, by the same keys.
    identities : dict of str
        Digest of each network, by ("source" or "target", name).
    is_one_set : bool
        Whether the networks of one set were compared with each other.
    costs : dict of str or None
        For each method, a description that is equal for methods whose costs have the
        same unit. None if nothing is known.
    layers : dict of {"side by side", "one by one"} or None
        By source, target and method: whether the method treats all layers of a network
        as one population, or couples layers. None if both networks have one layer, or
        if the method is not skmot's.
    """

    n_splits: int
    design: str
    resampled: dict
    units: dict
    identities: dict
    is_one_set: bool
    costs: dict
    layers: dict

    def join(self, other):
        """Return the facts of two comparisons."""
        if other.design != self.design:
            raise ValueError(
                "The comparisons have other splits or other resamples of the stimuli, "
                "so their scores are not paired. Make them with the same `cv`, "
                "`groups`, `n_bootstrap` and integer `random_state`."
            )
        for end in self.identities.keys() & other.identities.keys():
            if self.identities[end] != other.identities[end]:
                side, name = end
                raise ValueError(
                    f"The {side} {name!r} is another network in one of the "
                    "comparisons: give it another name."
                )
        costs = self.costs | other.costs
        # Methods of one name that are not the same have no common unit.
        costs |= {
            method: None
            for method in self.costs.keys() & other.costs.keys()
            if self.costs[method] != other.costs[method]
        }
        return ComparisonFacts(
            self.n_splits,
            self.design,
            self.resampled | other.resampled,
            self.units | other.units,
            self.identities | other.identities,
            self.is_one_set and other.is_one_set,
            costs,
            self.layers | other.layers,
        )

    def have_same_cost(self, *methods):
        """Whether the costs of two methods have the same unit."""
        first, second = (self.costs[method] for method in methods)
        return first is not None and first == second

    def labels(self):
        """Return one label for each network, whichever side it stands on.

        Returns
        -------
        labels : dict of str
            Label by ("source" or "target", name).
        """
        labels, first = {}, {}
        for side in ("source", "target"):
            names = {}
            for (own_side, name), identity in self.identities.items():
                if own_side != side:
                    continue
                if identity in names:
                    raise ValueError(
                        f"The {side}s {names[identity]!r} and {name!r} are the same "
                        "network, which can be in a sample only once: leave one out."
                    )
                names[identity] = name
                labels[side, name] = first.setdefault(identity, f"{side} {name!r}")
        return labels
