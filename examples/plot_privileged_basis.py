"""
Do networks converge on the same basis?
=======================================

Figures 4B, 4C and 4D of the soft matching paper, on networks that read digits. One
population is turned away from its own axes, little by little, until its basis is a
random one. If single units of two networks are tuned alike, the soft matching score
falls on the way. If only the geometry is shared, it does not.
"""

# %%
# The networks
# ------------
# Three comparisons, as in the paper: of the same architecture from another seed, of
# another architecture, and of networks with other training data, digits 0 to 4 here and
# 5 to 9 there. Every comparison is made with three pairs of networks. All are recorded
# on the same 899 images, which none was trained on.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skmot import SoftMatching
from skmot.datasets import load_digit_trajectories
from skmot.exceptions import DeadUnitWarning
from skmot.metrics import rotation_curve, soft_matching_score

# ReLU units that answer to no stimulus are left out; there is no need to say so again.
warnings.simplefilter("ignore", DeadUnitWarning)

digits = load_digits()
images, stimuli, labels, _ = train_test_split(
    digits.data / 16, digits.target, test_size=0.5, random_state=0
)


def record(hidden, seed, classes=range(10)):
    """Train a network on some classes; return its first and last hidden layer."""
    shown = np.isin(labels, classes)
    network = MLPClassifier(hidden, max_iter=500, random_state=seed)
    network.fit(images[shown], labels[shown])
    activity, layers = stimuli, []
    for weights, bias in zip(network.coefs_, network.intercepts_, strict=True):
        activity = np.maximum(activity @ weights + bias, 0)
        layers.append(activity)
    # The last of them is the output, which is no hidden layer.
    return {"early": layers[0], "late": layers[-2]}


SAME, OTHER = (64, 64, 64), (96, 48, 96, 48)
pairs = {"B: other seed": [], "C: other architecture": [], "D: other training data": []}
for seed in range(0, 15, 5):
    reference = record(SAME, seed)
    pairs["B: other seed"].append((reference, record(SAME, seed + 1)))
    pairs["C: other architecture"].append((reference, record(OTHER, seed + 2)))
    pairs["D: other training data"].append(
        (record(SAME, seed + 3, range(5)), record(SAME, seed + 4, range(5, 10)))
    )

# %%
# The paper has no untrained networks. Here they are a control: of their axes nothing
# but the ReLU is special.

pairs["untrained"] = []
for seed in range(3):
    runs = load_digit_trajectories(n_checkpoints=2, hidden=SAME, random_state=seed)
    first, second = (
        {"early": layers[0], "late": layers[-1]}
        for layers in (run.layer("step 0").layers for run in (runs.source, runs.target))
    )
    pairs["untrained"].append((first, second))

# %%
# The curves
# ----------
# In sample, units are matched and compared on the same stimuli, and so even unrelated
# populations score above 0. Held out, they are matched on one half of the stimuli and
# compared on the other. "Unrelated" is the score in the own basis when the stimuli of
# one network are in random order.

half = len(stimuli) // 2
shuffled = np.random.default_rng(0).permutation(len(stimuli))
alphas = [0, 0.25, 0.5, 0.75, 1]
curves = {}
print(f"{'mean of 3 pairs':<30}{'in sample':>30}{'held out':>30}{'random':>20}")
print(
    f"{'':<30}"
    + f"{'own':>10}{'random':>10}{'unrelated':>10}" * 2
    + f"{'below own in':>20}"
)
for name, networks in pairs.items():
    for depth in ("early", "late"):
        rows, held_out = [], []
        for seed, (first, second) in enumerate(networks):
            X, y = first[depth], second[depth]
            # Two alphas, the ends, are enough where there is nothing to draw.
            inside = rotation_curve(
                X[:half], y[:half], [0, 1], n_rotations=4, random_state=seed
            )
            outside = rotation_curve(
                X[:half],
                y[:half],
                alphas,
                n_rotations=4,
                held_out=(X[half:], y[half:]),
                score=SoftMatching(),
                random_state=seed,
            )
            other = y[shuffled]
            matching = SoftMatching().fit(X[:half], other[:half])
            rows.append(
                [
                    *inside.mean,
                    soft_matching_score(X[:half], other[:half]),
                    *outside.mean[[0, -1]],
                    matching.matching_score(X[half:], other[half:]),
                ]
            )
            held_out.append(outside.scores)
        curves[name, depth] = held_out = np.array(held_out)
        lower = np.count_nonzero(held_out[..., -1] < held_out[..., 0])
        n_rotations = held_out[..., 0].size
        print(
            f"{name + ', ' + depth:<30}"
            + "".join(f"{mean:>10.3f}" for mean in np.mean(rows, axis=0))
            + f"{f'{lower} of {n_rotations} rotations':>20}"
        )

# %%
# In the run that made this page the score falls from the own basis to a random one for
# another seed and another architecture, in early and in late layers, by .03 to .05:
# evidence for a common basis, as in figures 4B and 4C, and a small effect on these
# networks; not every pair falls at every step. For other training data it falls by less
# in early layers (.02), and in late ones it does not fall: figure 4D comes out for the
# early layer only. Networks that were shown disjoint classes do not share a basis in
# their last layer here. Untrained networks have no fall on held-out stimuli either: the
# common basis comes by training.
#
# A random basis does not score 0, nor is it meant to: in sample the score is the
# highest over all matchings and so above 0 by construction, as it is for unrelated
# responses (.06 to .11). That is the smaller part. Held out, where unrelated responses
# score about .01 at most, a random basis still scores from about .3 to .7: both
# populations answer to the same digits, in whatever basis. So the common basis shows in
# the fall, not in the height. Error bars are standard deviations over rotations; in the
# own basis there is nothing to vary.

figure, axes = plt.subplots(
    2, len(pairs), figsize=(11, 5), sharex=True, sharey="row", layout="constrained"
)
for column, name in enumerate(pairs):
    for row, depth in enumerate(("early", "late")):
        axis = axes[row, column]
        for number, scores in enumerate(curves[name, depth], start=1):
            axis.errorbar(
                alphas,
                scores.mean(axis=0),
                scores.std(axis=0, ddof=1),
                marker="o",
                capsize=2,
                label=f"pair {number}",
            )
    axes[0, column].set_title(name)
    axes[1, column].set_xlabel("rotation $\\alpha$ (1: random basis)")
for row, depth in enumerate(("early", "late")):
    axes[row, 0].set_ylabel(f"{depth} layer\nheld-out score $s_T$")
axes[0, 0].legend()
figure.savefig("privileged_basis.png", dpi=150)
plt.show()
