"""
From trials with missing voxels to matched voxels
=================================================

Two simulated subjects (:func:`skmot.datasets.make_simulated_cortex`; no brain was
recorded) saw 899 images three times each. In the last run, a tenth of the voxels was
outside the scanned volume. These 25 lines compare the two subjects: regions with
regions, and voxels with voxels. The page :doc:`/data` explains the steps.
"""

import numpy as np
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT
from skmot import preprocessing as pre
from skmot.datasets import make_simulated_cortex
from skmot.inspection import LayerCouplingDisplay, matches
from skmot.metrics import corrected_scores

subjects, rng = [], np.random.default_rng(0)
for runs in make_simulated_cortex(n_subjects=2).trials.values():
    for region in runs.layers:
        region[-899:, rng.random(region.shape[1]) < 0.1] = np.nan
    subjects.append(LayerStack.from_trials(runs, unit_names=map(range, runs.widths)))

# %%
# In these stacks one row is one image, the average of its trials. No split can separate
# the trials of an image. Voxels are selected in each training set, on both sides: those
# without missing responses, and of these the reliable ones.

chosen = make_pipeline(
    pre.FiniteUnitSelector(), pre.ReliabilitySelector(0.3, random_state=0)
)
mot = pre.TransformedTargetLayers(make_pipeline(chosen, MultiLevelOT()), chosen)
print("held-out scores:", cross_val_score(mot, *subjects, cv=5).round(2))

# %%
# The noise ceilings are estimated from the trials of the held-out images.

X, X_test, y, y_test = train_test_split(*subjects, test_size=0.2, random_state=0)
scores = mot.fit(X, y).unit_scores(X_test, y_test)
found = corrected_scores(scores, mot.transformer_.transform(y_test), threshold=0.3)
print(f"held out: {found.raw_mean:.2f}, noise-corrected: {found.corrected_mean:.2f}")

# %%
# Each region is matched with itself. The table lists the best-matched pairs of voxels,
# with the numbers that they had before the selection. Voxels of the two subjects mix
# different units of the same layers, so not even their signals are equal.

table = matches(mot, X_test, y_test).sort_values("correlation", ascending=False)
print(table.drop(columns="weight")[:8].round(2).to_string(index=False))
LayerCouplingDisplay.from_estimator(mot).figure_.savefig("trials.png", dpi=150)
