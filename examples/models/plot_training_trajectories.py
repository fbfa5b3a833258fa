"""
Two training runs, checkpoint by checkpoint
===========================================

This example reproduces figure 5 of the multi-level optimal transport paper. Transport
has three levels here: units, layers and checkpoints. Two networks with the same
architecture were trained on handwritten digits with different seeds, and recorded at
checkpoints from initialisation on. Which checkpoints of the two runs correspond to each
other?
"""

# %%
# The runs
# --------
# A trajectory is a stack of stacks. Each checkpoint is a network of three hidden
# layers.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skmot import MultiLevelOT
from skmot.datasets import load_digit_trajectories
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import hierarchy_score
from skmot.model_selection import hierarchy_test

# ReLU units that respond to no stimulus are left out. The warning is not repeated here.
warnings.simplefilter("ignore", DeadUnitWarning)

runs = load_digit_trajectories()
X, y = runs.source, runs.target
print(X)
print("accuracy, run 1:", np.round(runs.source_accuracies, 2))
print("accuracy, run 2:", np.round(runs.target_accuracies, 2))

# %%
# Three levels
# ------------
# Any estimator with a cost can be the inner estimator of another one, so a third level
# needs one more `MultiLevelOT`. Pairwise-best matches each checkpoint separately. The
# output shows the partner of each checkpoint of run 1, and how closely the map follows
# the order of training: the adjusted score is 0 for a uniform map and 1 for the
# diagonal.

maps = {}
for strategy in ("transport", "pairwise_best"):
    mot = MultiLevelOT(MultiLevelOT(), strategy=strategy).fit(X, y)
    maps[strategy] = mot.inverse_coupling_
    partners = maps[strategy].argmax(axis=1)
    print(
        f"{strategy}: hierarchy {hierarchy_score(maps[strategy]):.3f}, adjusted "
        f"{hierarchy_score(maps[strategy], adjusted=True):.3f}; "
        f"{len(set(partners))} of {y.n_layers} checkpoints of run 2 used; "
        f"{np.count_nonzero(partners == np.arange(X.n_layers))} on the diagonal"
    )
    print("    steps of run 1:", *(f"{step:>5}" for step in runs.steps))
    print("    partners      :", *(f"{step:>5}" for step in runs.steps[partners]))

rng = np.random.default_rng(0)
score = hierarchy_score(maps["transport"], adjusted=True)
chance = np.array(
    [
        hierarchy_score(maps["transport"][rng.permutation(X.n_layers)], adjusted=True)
        for _ in range(1000)
    ]
)
print(
    f"transport with rows permuted: adjusted {np.mean(chance):.3f} on average; "
    f"{np.count_nonzero(chance >= score - 1e-9)} of {len(chance)} permutations reach "
    "that of transport"
)

# %%
# The test of depth order takes checkpoints for layers: are checkpoints of similar
# position in the two runs more alike, beyond what their quality explains?

print(hierarchy_test(MultiLevelOT(MultiLevelOT()), X, y, n_permutations=39, n_jobs=-1))

# %%
# In the run for this page, transport follows the diagonal from step 32 on, except for
# the last two checkpoints, which are swapped. The first six checkpoints, before the
# networks have learned much, are matched to each other without order: their costs are
# nearly the same. Pairwise-best matches all of them to step 128, and uses only four
# checkpoints of run 2.

# %%
# The maps
# --------
# Costs are computed in sample, as in the paper, so the cost of a single pair says
# little.

figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
panels = [
    (mot.layer_costs_, "cost of two checkpoints", "viridis_r"),
    (X.n_layers * maps["transport"], "transport", "Blues"),
    (X.n_layers * maps["pairwise_best"], "pairwise-best", "Blues"),
]
for axis, (values, title, colours) in zip(axes, panels, strict=True):
    image = axis.imshow(values, cmap=colours)
    figure.colorbar(image, ax=axis, shrink=0.8)
    axis.set(title=title, xlabel="step of run 2", ylabel="step of run 1")
    axis.set_xticks(range(y.n_layers), runs.steps, rotation=90)
    axis.set_yticks(range(X.n_layers), runs.steps)
figure.savefig("training_trajectories.png", dpi=150)
plt.show()
