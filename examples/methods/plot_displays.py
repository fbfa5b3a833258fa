"""
Every picture of skmot
======================

The displays of :mod:`skmot.inspection`, each drawn from the activations that come with
skmot. A display keeps its numbers as attributes, draws into axes that are given to it,
and has `from_estimator` or `from_result`.
"""

# %%
# Layers
# ------
# Two language models, of three and of six blocks, read 400 sentences.

from itertools import combinations

import matplotlib.pyplot as plt

from skmot import MultiLevelOT, inspection, model_selection
from skmot.datasets import (
    load_digit_networks,
    load_digit_trajectories,
    load_sentence_encoders,
    make_simulated_cortex,
)
from skmot.metrics import pairwise_costs, rotation_curve
from skmot.partial import mass_curve

encoders = load_sentence_encoders()
X, y = encoders.source, encoders.target
mot = MultiLevelOT().fit(X[:300], y[:300])
inspection.LayerCouplingDisplay.from_estimator(
    mot, network_names=("MiniLM-L3", "MiniLM-L6")
)

# %%
# All pairs of subjects in one figure, with the same colours:

cortex = make_simulated_cortex(n_subjects=4)
subjects = cortex.subjects
pairs = {
    (one, other): MultiLevelOT().fit(subjects[one][:600], subjects[other][:600])
    for one, other in combinations(subjects, 2)
}
inspection.plot_coupling_grid(pairs)

# %%
# Units
# -----
# The plan between the units of two layers. Here unit i of one model is matched to unit
# i of the other.

inspection.UnitCouplingDisplay.from_estimator(mot, layers=("embeddings", "block 1"))

# %%
# The scores of all voxels of a subject, next to their noise ceilings. Voxels with a
# ceiling below .3 are left out and counted:

one, other = "subject 1", "subject 2"
inspection.UnitScoresDisplay.from_estimator(
    pairs[one, other],
    subjects[one][600:],
    subjects[other][600:],
    ceilings=list(cortex.ceilings[other].values()),
    threshold=0.3,
)

# %%
# Tests
# -----
# Each prints what it shows, and what it does not.

result = model_selection.permutation_control(
    MultiLevelOT(), X, y, control="layers", cv=5, random_state=0
)
inspection.PermutationControlDisplay.from_result(result)

# %%
result = model_selection.hierarchy_test(
    MultiLevelOT(), X, y, n_permutations=39, random_state=0
)
inspection.HierarchyTestDisplay.from_result(result)

# %%
# Do strategies differ, for subjects like these?

strategies = ["transport", "single_best", "uniform"]
comparison = model_selection.compare(
    subjects,
    None,
    {strategy: MultiLevelOT(strategy=strategy) for strategy in strategies},
    cv=3,
    random_state=0,
    verbose=False,
)
inspection.ComparisonDisplay.from_result(comparison, reference="transport")

# %%
# Shares and bases
# ----------------
# How many units of the second hidden layer of one digit network have a counterpart in
# that of another?

digits = load_digit_networks()
hidden = digits.source.layers[1], digits.target.layers[3]
curve = mass_curve(*hidden, cv=3, random_state=0)
inspection.MassCurveDisplay.from_result(curve)

# %%
# Does it matter in which basis their units are?

curve = rotation_curve(*hidden, alphas=[0, 0.25, 0.5, 0.75, 1], random_state=0)
inspection.RotationCurveDisplay.from_result(curve, score_name="soft matching score")

# %%
# Many networks
# -------------
# A map of the subjects. Its stress is that of networks that are all equally far from
# each other: there is nothing to see here, and the title says so.

costs = pairwise_costs(subjects, MultiLevelOT(), symmetric=True)
inspection.NetworkMapDisplay.from_costs(costs)

# %%
# The checkpoints of two training runs:

runs = load_digit_trajectories()
checkpoints = MultiLevelOT(MultiLevelOT()).fit(runs.source, runs.target)
inspection.CheckpointMapDisplay.from_estimator(checkpoints)
plt.show()
