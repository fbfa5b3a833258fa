"""
Which method reconstructs best?
===============================

Tables 1 to 3 of the multi-level optimal transport paper, on networks that learned to
read digits: multi-level optimal transport (MOT) beside its controls and alternatives,
with and without rotations (R). Every method meets the same five splits of the same
stimuli, both sides are reconstructed, and what is said is said of paired differences.
"""

# %%
# The networks
# ------------
# Two networks of one seed are compared with two of another. They differ in depth and in
# width; one pair differs in the seed only. All saw the same 899 digits, on which none
# was trained.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import ShuffleSplit

from skmot import MultiLevelOT, MultiLevelOTRotation
from skmot.datasets import load_digit_networks
from skmot.exceptions import DeadUnitWarning
from skmot.model_selection import compare

small, medium, large = (48,) * 3, (64,) * 4, (80,) * 6
first = load_digit_networks(source_hidden=small, target_hidden=medium)
second = load_digit_networks(source_hidden=medium, target_hidden=large)
sources = {"3 x 48": first.source, "4 x 64": second.source}
targets = {"4 x 64": first.target, "6 x 80": second.target}
for seed, networks in (("first", sources), ("second", targets)):
    for name, network in networks.items():
        print(f"{seed} seed, {name}: {network.n_layers} layers of {network.widths[0]}")

# %%
# The methods
# -----------
# Without a `random_state` of its own each fit of Perm-P draws its permutation of the
# layers from that of the comparison; one seed in the method would permute all alike.

# ReLU units that answer to no stimulus are left out; there is no need to say so again.
warnings.simplefilter("ignore", DeadUnitWarning)

plain = {
    "MOT": MultiLevelOT(),
    "Perm-P": MultiLevelOT(strategy="permuted"),
    "single best": MultiLevelOT(strategy="single_best"),
    "pairwise best": MultiLevelOT(strategy="pairwise_best"),
}
rotated = {
    "MOT + R": MultiLevelOTRotation(),
    "single best + R": MultiLevelOTRotation(strategy="single_best"),
    "pairwise best + R": MultiLevelOTRotation(strategy="pairwise_best"),
}
methods = plain | rotated
comparison = compare(
    sources,
    targets,
    methods,
    ShuffleSplit(n_splits=5, test_size=0.2, random_state=0),
    n_bootstrap=200,
    random_state=0,
)

# %%
# The scores
# ----------
# Correlations of recorded and reconstructed units on held-out stimuli. The paper
# reports the reconstruction of the source. The standard error takes the splits as
# independent, which they are not: it is too small.

spread = "standard_deviation_over_splits", "standard_error_over_splits"
pairs = [(source, target) for source in sources for target in targets]
rows = {
    (row["source"], row["target"], row["direction"], row["method"]): row
    for row in comparison.summary()
}
for direction in ("source", "target"):
    print(f"\n{direction} reconstructed: mean over 5 splits [sd, se]")
    print(" " * 18 + "".join(f"{a + ' - ' + b:>22}" for a, b in pairs))
    for method in methods:
        cells = [rows[(*pair, direction, method)] for pair in pairs]
        print(
            f"{method:<18}"
            + "".join(
                f"{cell['mean']:>8.3f} [{cell[spread[0]]:.3f}, {cell[spread[1]]:.3f}]"
                for cell in cells
            )
        )

# %%
# The differences
# ---------------
# Each method less MOT, or less MOT + R, on the same splits; in brackets the 95 %
# bootstrap interval over the held-out stimuli, with the fits kept. A star marks those
# that leave out 0.

differences = {}
for reference, others in (("MOT", [*plain, "MOT + R"]), ("MOT + R", rotated)):
    for row in comparison.differences(reference):
        if row["method"] in others:
            pair = row["source"], row["target"]
            differences[(*pair, row["direction"], row["method"], reference)] = row

contrasts = list(dict.fromkeys(key[3:] for key in differences))
for direction in ("source", "target"):
    print(f"\n{direction} reconstructed: difference [95 % interval]")
    print(" " * 32 + "".join(f"{a + ' - ' + b:>25}" for a, b in pairs))
    for contrast in contrasts:
        line = f"{contrast[0] + ' less ' + contrast[1]:<32}"
        for pair in pairs:
            row = differences[(*pair, direction, *contrast)]
            star = "*" if row["low"] > 0 or row["high"] < 0 else " "
            line += f"{row['difference']:>+8.3f} "
            line += f"[{row['low']:+.3f},{row['high']:+.3f}]{star}"
        print(line)

# %%
# In the run that made this page, what the paper finds holds in part.
#
# - Rotations help most: MOT + R is above MOT in every pair and both directions, as in
#   table 3.
# - Where the depths differ, MOT reconstructs the source better than single best and
#   pairwise best, as in table 1. At equal depths single best is MOT, whose plan is
#   one-to-one, and pairwise best is better. In the other direction pairwise best is
#   above MOT in two of four pairs, below it in one.
# - Perm-P is below MOT everywhere, but by .025 at most, and where the depths differ it
#   reconstructs the source better than pairwise best does. So two fifths to nine tenths
#   of what MOT gains over pairwise best there come from using several layers, whichever
#   they are.
# - With rotations the strategies differ by less than .02. The intervals are widest for
#   targets rebuilt from the source of 4 x 64. It has units that answer to one or a few
#   of the training stimuli; standardised, they are huge where they answer to a test
#   stimulus, and a rotation spreads that over a whole layer.

# %%
# The picture
# -----------
# Above the scores, with their standard deviation over splits, below the differences,
# with their bootstrap intervals.

figure, axes = plt.subplots(2, 2, figsize=(12, 8), sharey="row", layout="constrained")
for column, direction in enumerate(("source", "target")):
    for number, method in enumerate(methods):
        cells = [rows[(*pair, direction, method)] for pair in pairs]
        axes[0, column].errorbar(
            np.arange(len(pairs)) + (number - 3) / 10,
            [cell["mean"] for cell in cells],
            [cell[spread[0]] for cell in cells],
            fmt="o" if method in plain else "s",
            color=f"C{list(methods).index(method)}",
            capsize=3,
            label=method,
        )
    for number, contrast in enumerate(contrasts):
        cells = [differences[(*pair, direction, *contrast)] for pair in pairs]
        centre = np.array([cell["difference"] for cell in cells])
        low, high = (np.array([cell[end] for cell in cells]) for end in ("low", "high"))
        # A percentile interval need not hold the estimate.
        place = np.arange(len(pairs)) + (number - 2.5) / 10
        colour = f"C{list(methods).index(contrast[0])}"
        axes[1, column].vlines(place, low, high, color=colour)
        axes[1, column].plot(
            place, centre, "o", color=colour, label=" less ".join(contrast)
        )
    axes[1, column].axhline(0, color="grey", linewidth=0.8)
    arrow = [f"{a}\n{b}" for a, b in pairs]
    axes[0, column].set(title=f"{direction} reconstructed")
    for axis in axes[:, column]:
        axis.set_xticks(range(len(pairs)), arrow)
        axis.set_xlabel("layers x units, source above target")
axes[0, 0].set_ylabel("held-out correlation")
axes[1, 0].set_ylabel("difference")
for row in axes:
    row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
figure.savefig("compare.png", dpi=150)
plt.show()
