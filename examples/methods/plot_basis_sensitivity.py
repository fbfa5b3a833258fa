"""
Which similarities see the tuning of single units?
==================================================

This example reproduces figures 3A and 3B and appendix A.5 of the soft matching paper.
Most similarity measures hardly change when the axes of one representation are rotated.
They cannot show whether single units have similar tuning. Soft matching can. In
addition, it does not rate a large population as similar to every other population.
"""

# %%
# Figure 3A: a population that contains two others
# ------------------------------------------------
# X and Y each consist of three tuning curves, scaled to norm 1 and not centred. The
# curves of X do not overlap with those of Y. Z contains all six curves. Semi-matching
# and rectangular matching give X and Z, and also Y and Z, the maximal score, although X
# and Y have nothing in common. Soft matching gives both pairs a score of one half.

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import block_diag, null_space
from scipy.stats import special_ortho_group
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from skmot.metrics import (
    linear_cka,
    procrustes_distance,
    rectangular_matching_score,
    rsa_score,
    semi_matching_score,
    soft_matching_distance,
    soft_matching_score,
)

positions = np.linspace(0, 1, 240)
# The curves are far enough apart that they do not overlap.
curves = np.maximum(
    0, 1 - np.abs(positions[:, np.newaxis] - np.linspace(1 / 12, 11 / 12, 6)) * 12
)
X, Y = curves[:, ::2], curves[:, 1::2]
Z = np.hstack([X, Y])

print("Figure 3A        (X, Z)  (Y, Z)  (X, Y)")
for name, score in [
    ("soft matching", soft_matching_score),
    ("semi-matching", semi_matching_score),
    ("rectangular", rectangular_matching_score),
]:
    cells = [score(*pair, center=False) for pair in ((X, Z), (Y, Z), (X, Y))]
    print(f"{name:<16}" + "".join(f"{cell:>8.2f}" for cell in cells))

# %%
# Figure 3B: filters in their own basis and in a random one
# ---------------------------------------------------------
# The paper rotates the first filters of AlexNet. This example uses the filters of a
# network that was trained on handwritten digits. The rows of the filter matrix are
# pixels, which replace the stimuli, and its columns are units. A random rotation keeps
# the geometry of the pixels, but each filter becomes a mixture of all filters. A
# control shows the scores of unrelated filters: the same filters with shuffled pixels.

digits = load_digits()
network = MLPClassifier((32,), alpha=0.1, max_iter=1000, random_state=0)
filters = network.fit(digits.data / 16, digits.target).coefs_[0]
rotation = special_ortho_group.rvs(filters.shape[1], random_state=0)
rotated = filters @ rotation
shuffled = np.random.default_rng(0).permutation(filters)

print(f"\n{'Figure 3B':<28}{'own basis':>11}{'rotated':>9}{'shuffled':>10}")
for name, measure in [
    ("Procrustes distance", procrustes_distance),
    ("CKA (linear)", lambda a, b: linear_cka(a, b, debiased=False)),
    ("RSA (correlation distance)", rsa_score),
    ("soft matching distance", soft_matching_distance),
    ("soft matching score", soft_matching_score),
]:
    same, turned, unrelated = (
        measure(filters, other) for other in (filters, rotated, shuffled)
    )
    print(f"{name:<28}{same:>11.3f}{turned:>9.3f}{unrelated:>10.3f}")

# %%
# Procrustes distance and CKA do not change with the rotation. RSA changes slightly:
# correlation distance subtracts from each pattern its mean over units, which is a
# projection along the fixed direction (1, ..., 1). A rotation that keeps this direction
# leaves RSA at 1; other rotations change it.

ones = np.full((32, 32), 1 / 32)
basis = null_space(ones)
mean_kept = ones + basis @ special_ortho_group.rvs(31, random_state=0) @ basis.T
unmoved = rsa_score(filters, filters @ mean_kept)
print(f"\nRSA after a rotation that keeps the means over units: {unmoved:.3f}")

# %%
# The soft matching score decreases from 1 to .57. Unrelated filters score .25, because
# the best matching of 32 curves over 64 pixels finds similar curves by chance. The
# rotated population is therefore more similar than an unrelated one, but far from
# equal. Filters of 8 x 8 pixels are too coarse to show the edges of the paper's figure.
# In the figure below (weights, red positive, blue negative) both sides look alike.

limit = np.quantile(np.abs(filters), 0.99)
figure = plt.figure(figsize=(10, 3), layout="constrained")
for panel, images, title in zip(
    figure.subfigures(1, 2, wspace=0.05),
    (filters, rotated),
    ("own basis", "rotated"),
    strict=True,
):
    panel.suptitle(title)
    for axis, image in zip(panel.subplots(4, 8).flat, images.T, strict=True):
        axis.imshow(image.reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(xticks=[], yticks=[])
figure.savefig("filters.png", dpi=150)

# %%
# Appendix A.5: disentangled representations
# ------------------------------------------
# Because it depends on the basis, soft matching can measure disentanglement. Five
# factors generate the data. A representation with one unit for each factor scores 1, in
# any order and with any gain, and so does one with three units for each factor. A
# representation that mixes factors scores less, although it contains the same
# information. So does one in which factors are missing.

rng = np.random.default_rng(0)
factors = rng.uniform(size=(500, 5))
eighth_turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
representations = {
    "one unit a factor": factors[:, rng.permutation(5)] * rng.uniform(1, 9, size=5),
    "three units a factor": np.repeat(factors, 3, axis=1),
    "two factors mixed": factors @ block_diag(eighth_turn, np.eye(3)),
    "all factors mixed": factors @ special_ortho_group.rvs(5, random_state=0),
    "two factors missing": np.hstack([factors[:, :3], rng.uniform(size=(500, 2))]),
}
print("\nAppendix A.5            soft matching score   linear CKA")
for name, representation in representations.items():
    soft = soft_matching_score(factors, representation)
    cka = linear_cka(factors, representation)
    print(f"{name:<24}{soft:>19.2f}{cka:>13.2f}")

# %%
# Linear CKA is 1 for the mixtures, and less than 1 for single factors with unequal
# gains: it does not depend on the basis, but it depends on the gains.

plt.show()
