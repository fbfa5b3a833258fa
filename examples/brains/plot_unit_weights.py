"""
Do reliable voxels deserve more weight?
=======================================

Soft matching gives every unit the same mass. Recorded units differ in how reliable they
are, so it seems natural to give reliable units more of it:
``SoftMatching(source_weights="reliability", target_weights="reliability")``. This
example shows what that does to two simulated subjects, of whom no brain was recorded
(:func:`~skmot.datasets.make_simulated_cortex`): predictions become slightly better, and
the partners of reliable voxels become worse.
"""

# %%
# Two subjects with noisy voxels
# ------------------------------
# Two subjects saw 899 images three times each. In both, the voxels of a region are
# units of the same layer of a network, but not the same ones. In single trials the
# median standard deviation of the noise is three times that of the signal. The signals
# without noise are known, so that every match can be judged.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skmot import LayerStack, SoftMatching
from skmot.datasets import make_simulated_cortex
from skmot.metrics import reconstruction_correlation

cortex = make_simulated_cortex(n_subjects=2, noise=3.0, n_mixed=1)
names = list(cortex.trials)


def region_of(subject, region):
    """Return the trials of one region as a stack, one row for each image."""
    trials = cortex.trials[subject]
    return LayerStack.from_trials({region: trials.layer(region)}, trials.stimuli)


def partner_similarity(matching, x_signal, y_signal):
    """Return the mean correlation of each target signal with those of its partners."""
    plan = matching.coupling_.toarray()
    r = np.corrcoef(x_signal, y_signal, rowvar=False)[: len(plan), len(plan) :]
    # Voxels without weight have no partner.
    return np.sum(plan * r, axis=0) / np.maximum(plan.sum(axis=0), 1e-12)


# %%
# What weights do
# ---------------
# Each region of the first subject is matched with the same region of the second one,
# and predictions are scored on a fifth of the images. Besides weights by reliability
# and by variance, there are weights that leave out unreliable voxels of both sides:
# arrays that are 0 for voxels with less than half of the mean reliability. "signal" is
# the correlation of predictions with the noise-free target, where a voxel that is left
# out counts as 0, as in the score. The last two columns judge the matches: the
# correlation of the signals of matched voxels, for the more reliable half of the target
# voxels and for the other half, without voxels that are left out.

kinds = ["equal", "reliability", "variance", "reliable only"]
numbers = {kind: [] for kind in kinds}
similarity, n_partners = ({kind: [] for kind in kinds} for _ in range(2))
train, test = train_test_split(np.arange(899), test_size=0.2, random_state=0)
for region in cortex.subjects[names[0]].names:
    X, y = (region_of(subject, region) for subject in names)
    x_signal, y_signal = (cortex.signals[subject].layer(region) for subject in names)
    ceiling = cortex.ceilings[names[1]][region]
    is_reliable = ceiling > np.median(ceiling)
    weights = {"equal": (None, None), "reliability": ("reliability", "reliability")}
    weights["variance"] = "variance", "variance"
    for kind in kinds:
        matching = SoftMatching(
            source_weights=weights[kind][0], target_weights=weights[kind][1]
        ).fit(X[train], y[train])
        if kind == "reliability":
            weights["reliable only"] = [
                (masses > masses.mean() / 2).astype(float)
                for masses in matching.masses_
            ]
        r = partner_similarity(matching, x_signal, y_signal)
        similarity[kind].append(r)
        n_partners[kind].append(np.diff(matching.coupling_.tocsc().indptr))
        has_partner = n_partners[kind][-1] > 0
        predicted = matching.predict(X[test]).layers[0]
        numbers[kind].append(
            [
                matching.held_out_cost(X[test], y[test]),
                matching.score(X[test], y[test]),
                reconstruction_correlation(y_signal[test], predicted),
                r[is_reliable & has_partner].mean(),
                r[~is_reliable & has_partner].mean(),
            ]
        )

print(f"{'':<16}{'held-out':>10}{'':>8}{'':>8}{'partners of':>14}{'partners of':>14}")
print(f"{'weights':<16}{'cost':>10}{'score':>8}{'signal':>8}", end="")
print(f"{'reliable':>14}{'others':>14}")
for kind in kinds:
    widths = 10, 8, 8, 14, 14
    means = zip(np.mean(numbers[kind], axis=0), widths, strict=True)
    print(f"{kind:<16}" + "".join(f"{mean:>{width}.3f}" for mean, width in means))

# %%
# In the run for this page, weights by reliability raise the score from .229 to .245,
# and the correlation with the noise-free target from .426 to .443. The held-out cost
# falls from .79 to .73, but this says little: it is a mean in which reliable voxels now
# count more, so costs with different weights are costs of different questions.
#
# The matches themselves become worse. The partners of the more reliable half have
# signals that correlate at .73 instead of .80. The figure shows the reason. A reliable
# voxel has more mass than its counterpart can take, if that one happens to be recorded
# with more noise. The rest of its mass must go to other voxels. Its prediction then is
# an average over more partners, and a score rewards averaging (:doc:`/rewards`).
#
# Variance is no measure of reliability here: noise is variance, too. Noisy voxels get
# more mass, and predictions become worse. The partners of reliable voxels become
# better, because these voxels have little mass, and a single partner can take it.
#
# Leaving out unreliable voxels on both sides is no remedy either: it also leaves out
# counterparts of reliable voxels. To find the counterpart of each voxel, keep equal
# weights, and judge each match by its own reliability afterwards.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
ceilings = np.concatenate(list(cortex.ceilings[names[1]].values()))
edges = np.quantile(ceilings, np.linspace(0, 1, 7))
groups = np.clip(np.searchsorted(edges, ceilings) - 1, 0, 5)
middles = [np.median(ceilings[groups == group]) for group in range(6)]
for kind in kinds[:3]:
    for axis, values in zip(axes, (similarity, n_partners), strict=True):
        values = np.concatenate(values[kind])
        means = [values[groups == group].mean() for group in range(6)]
        axis.plot(middles, means, marker="o", label=kind)
for axis, name in zip(axes, ("correlation of signals", "number"), strict=True):
    axis.set(xlabel="noise ceiling of the target voxel", title=f"partners: {name}")
    axis.set_ylim(bottom=0)
axes[0].legend(title="weights")
plt.show()
