"""
How many units are needed?
==========================

This example reproduces appendix J of the multi-level optimal transport paper. A random
part of the units of the larger network is kept, the plans are fitted again, and the
smaller network is reconstructed on held-out stimuli, with and without rotations (R).
The two networks read digits and have three and six layers.
"""

# %%
# A fifth of the stimuli is held out. The source is the smaller network. It is therefore
# the network that is rotated, and `inverse_score` scores its reconstruction. The units
# of the larger network are selected at random with five seeds.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skmot import MultiLevelOT, MultiLevelOTRotation
from skmot.datasets import load_digit_networks
from skmot.exceptions import DeadUnitWarning
from skmot.preprocessing import UnitSubsampler

warnings.simplefilter("ignore", DeadUnitWarning)

networks = load_digit_networks()
X_train, X_test, y_train, y_test = train_test_split(
    networks.source, networks.target, test_size=0.2, random_state=0
)
fractions = [0.1, 0.25, 0.5, 0.75, 1.0]
methods = {
    "MOT": MultiLevelOT(),
    "pairwise best": MultiLevelOT(strategy="pairwise_best"),
    "MOT + R": MultiLevelOTRotation(),
    "pairwise best + R": MultiLevelOTRotation(strategy="pairwise_best"),
}
scores = {name: np.empty((len(fractions), 5)) for name in methods}
for row, fraction in enumerate(fractions):
    for seed in range(5):
        keep = UnitSubsampler(fraction, random_state=seed).fit(y_train)
        kept_train, kept_test = keep.transform(y_train), keep.transform(y_test)
        for name, method in methods.items():
            method.fit(X_train, kept_train)
            scores[name][row, seed] = method.inverse_score(X_test, kept_test)

# %%
# The table shows the held-out correlation of the units of the smaller network with
# their reconstruction: mean (standard deviation) over the seeds.

print(f"{'share of units kept':<24}" + "".join(f"{f:>16.0%}" for f in fractions))
for name, values in scores.items():
    cells = zip(values.mean(axis=1), values.std(axis=1, ddof=1), strict=True)
    print(f"{name:<24}" + "".join(f"{m:>8.3f} ({s:.3f})" for m, s in cells))

# %%
# In the run for this page, every curve increases up to three quarters of the units and
# then changes by less than .01. None collapses: with a tenth of the units, the score of
# MOT + R is .76, and .92 with all units. MOT is above pairwise best at every share,
# with and without rotations. With rotations, the paper finds this difference at large
# shares. Here it is largest at the smallest share (.04), and .005 if all units are
# kept.

figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
for name, values in scores.items():
    axis.errorbar(
        fractions,
        values.mean(axis=1),
        values.std(axis=1, ddof=1),
        marker="o",
        capsize=3,
        label=name,
    )
axis.set(
    xlabel="share of the larger network's units kept",
    ylabel="held-out correlation, smaller network",
    ylim=(0, 1),
)
axis.legend()
figure.savefig("subsampling.png", dpi=150)
plt.show()
