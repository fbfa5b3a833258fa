"""
Does the coupling follow depth?
===============================

This example reproduces appendices G, H and I of the multi-level optimal transport
paper. The hierarchy score H measures how closely a layer map follows relative depth. It
is compared with the score of a uniform coupling, with those of the same plan with
permuted rows, and with the best possible score. The layer maps are based on matching
units, with and without rotations (R), and on measures that do not match units: linear
predictivity (LP, appendix H) and representational similarity (RSA, appendix I).
"""

# %%
# The networks
# ------------
# There are two pairs of networks that read digits. One pair has three and six layers of
# equal width. The layers of the other pair taper, so that costs could depend on width.

import warnings
from itertools import permutations

import matplotlib.pyplot as plt
import numpy as np

from skmot import RSA, LinearPredictivity, MultiLevelOT, MultiLevelOTRotation
from skmot.datasets import load_digit_networks
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import hierarchy_score
from skmot.model_selection import hierarchy_test
from skmot.transport import solve_transport

# ReLU units that respond to no stimulus are left out. The warning is not repeated here.
warnings.simplefilter("ignore", DeadUnitWarning)

pairs = {
    "equal widths": load_digit_networks(source_hidden=(64,) * 3),
    "tapering": load_digit_networks(
        source_hidden=(128, 96, 64, 32), target_hidden=(128, 96, 64, 32)
    ),
}
for name, networks in pairs.items():
    print(name)
    print(f"    source: {networks.source}\n    target: {networks.target}")

# %%
# The maps
# --------
# Transport can couple layers with any measure that has a cost. Costs are computed in
# sample, as in the paper, and on held-out folds, where they do not depend on width.

methods = {
    "MOT": MultiLevelOT(),
    "MOT + R": MultiLevelOTRotation(),
    "LP": MultiLevelOT(LinearPredictivity(random_state=0)),
    "RSA": MultiLevelOT(RSA()),
}
readings = {"in sample": None, "held out": 3}
costs = {
    (pair, name, reading): method.set_params(cost_cv=cost_cv)
    .fit(networks.source, networks.target)
    .layer_costs_
    for pair, networks in pairs.items()
    for name, method in methods.items()
    for reading, cost_cv in readings.items()
}


def couple(costs, strategy):
    """Couple layers by their costs, as `MultiLevelOT` does with that strategy."""
    if strategy == "transport":
        return solve_transport(costs).coupling.toarray()
    # Each source layer takes its cheapest target layer, as in the paper.
    return np.eye(costs.shape[1])[costs.argmin(axis=1)] / len(costs)


# %%
# The scores: table G.1
# ---------------------
# The table shows H, and in brackets the adjusted score. It is 0 for the uniform
# coupling and 1 for the best coupling with uniform marginals. Pairwise maps need not
# have uniform marginals. For transport, the table also shows the mean and the standard
# deviation of H over all permutations of the rows of the plan, and the share of
# permutations with at least the same H. The mean is equal to H of the uniform coupling,
# because H is linear in the plan.

for pair, networks in pairs.items():
    n_source, n_target = networks.source.n_layers, networks.target.n_layers
    distance = np.abs(
        np.linspace(0, 1, n_source)[:, np.newaxis] - np.linspace(0, 1, n_target)
    )
    uniform = hierarchy_score(np.ones((n_source, n_target)))
    best = hierarchy_score(solve_transport(distance).coupling.toarray())
    orders = [list(order) for order in permutations(range(n_source))]
    print(
        f"\n{pair}, {n_source} x {n_target} layers: uniform {uniform:.3f}, "
        f"best possible {best:.3f}, {len(orders)} permutations"
    )
    print(f"{'':<22}{'transport':>16}{'permuted':>16}{'share':>8}{'pairwise':>16}")
    for name in methods:
        for reading in readings:
            plan, pairwise = (
                couple(costs[pair, name, reading], strategy)
                for strategy in ("transport", "pairwise")
            )
            score = hierarchy_score(plan)
            permuted = np.array([hierarchy_score(plan[order]) for order in orders])
            share = np.mean(permuted >= score - 1e-9)
            line = f"{name:<10}{reading:<12}"
            line += f"{score:>8.3f} ({hierarchy_score(plan, adjusted=True):+.2f})"
            line += f"{permuted.mean():>8.3f} ({permuted.std():.3f}){share:>8.3f}"
            line += f"{hierarchy_score(pairwise):>8.3f} "
            line += f"({hierarchy_score(pairwise, adjusted=True):+.2f})"
            print(line)

# %%
# H is a description. Whether layers of similar depth are more alike is tested with the
# layer costs of MOT, beyond what widths and the quality of the layers explain:

for pair, networks in pairs.items():
    result = hierarchy_test(
        MultiLevelOT(), networks.source, networks.target, random_state=0
    )
    print(f"{pair}: {result}")

# %%
# In the run for this page, the test finds a relation for both pairs (p = .02 and .04).
# Transport follows depth more closely than the pairwise map
# in all cases but one, as in the paper. This also holds for LP and RSA, where the plan
# is the best possible in every case: the order results from coupling all layers at
# once, not from matching units. MOT finds the order for the tapering networks. For
# equal widths the score of its plan is within the range of permuted plans. Three or
# four layers have few orders, so no share can be below 1/6 or 1/24.
#
# The exception is MOT + R with held-out costs of the tapering networks. Its cost is a
# squared error. It becomes very large if a unit responds to hardly any training
# stimulus, but to a held-out one:

for row in costs["tapering", "MOT + R", "held out"]:
    print("".join(f"{cost:>9.2f}" for cost in row))

# %%
# The maps: figures H.1 and I.1
# -----------------------------
# The panels show the shares of each source layer, for costs in sample. The upper row is
# the target layer of lowest cost for each source layer, the lower row the transport
# plan.

for pair, networks in pairs.items():
    figure, axes = plt.subplots(
        2, len(methods), figsize=(11, 5), sharex=True, sharey=True, layout="constrained"
    )
    for column, name in enumerate(methods):
        for axis, strategy in zip(
            axes[:, column], ("pairwise", "transport"), strict=True
        ):
            plan = couple(costs[pair, name, "in sample"], strategy)
            image = axis.imshow(
                len(plan) * plan, cmap="Blues", vmin=0, vmax=1, aspect="auto"
            )
            axis.set_title(f"{name}, {strategy}")
            axis.set_xticks(range(plan.shape[1]), range(1, plan.shape[1] + 1))
            axis.set_yticks(range(len(plan)), range(1, len(plan) + 1))
    figure.supxlabel("target layer")
    figure.supylabel("source layer")
    figure.colorbar(image, ax=axes, label="share of the source layer")
    figure.suptitle(f"{pair}: {networks.source.n_layers} x {networks.target.n_layers}")
    figure.savefig(f"hierarchy_{pair.split()[0]}.png", dpi=150)
plt.show()
