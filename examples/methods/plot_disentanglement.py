"""
Disentanglement: does each unit stand for one factor?
=====================================================

A stimulus is made from a few factors, such as the shape, the size and the place of an
object. A representation is called disentangled if its units correspond to the factors
one to one. The soft matching score between factors and units asks for just that, as the
paper on soft matching proposes in appendix A.5. This example shows what it sees and
what it does not see, beside two measures that are common in this field: DCI (Eastwood
and Williams, 2018) and the mutual information gap, MIG (Chen et al., 2018).
"""

# %%
# Representations that are known
# ------------------------------
# Five independent factors, uniform from -1 to 1, and ten representations of them, all
# with a little noise.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import OrdinalEncoder

from skmot.datasets import load_sentence_encoders
from skmot.metrics import (
    dci_scores,
    disentanglement_score,
    mutual_information_gap,
    semi_matching_score,
)

rng = np.random.default_rng(0)
n_factors = 5
factors = rng.uniform(-1, 1, size=(1000, n_factors))
rotation, _ = np.linalg.qr(rng.normal(size=(n_factors, n_factors)))
neighbours = np.eye(n_factors) + 0.6 * np.roll(np.eye(n_factors), 1, axis=1)
noise = rng.normal(size=(1000, 5))
representations = {
    "axis-aligned": factors,
    "signs flipped": factors * [-1, 1, -1, 1, -1],
    "two units a factor": np.repeat(factors, 2, axis=1),
    "one factor in six units": factors[:, [0, 0, 0, 0, 0, 0, 1, 2, 3, 4]],
    "five idle units": np.hstack([factors, noise]),
    "two factors missing": factors[:, [0, 1, 2]],
    "much noise": factors + 0.5 * noise,
    "rotated": factors @ rotation,
    "entangled": np.tanh(2 * factors @ neighbours),
    "magnitudes only": np.abs(factors),
}
representations = {
    name: units + 0.02 * rng.normal(size=units.shape)
    for name, units in representations.items()
}

# %%
# What each measure says
# ----------------------
# For each, 1 is the best. DCI predicts the factors from the units, here by a lasso and
# by a random forest. D (disentanglement) is 1 if each unit predicts one factor, C
# (completeness) if each factor is predicted by one unit, and I (informativeness) if the
# factors are predicted without error. MIG is the difference between what the two best
# units know of a factor. The semi-matching score is the mean correlation of each factor
# with its best unit.


def measure(factors, units):
    """Return all measures of a representation, by name."""
    lasso = dci_scores(factors, units, random_state=0)
    forest = dci_scores(factors, units, regressor="random_forest", random_state=0)
    return {
        "soft matching": disentanglement_score(factors, units),
        "without signs": disentanglement_score(factors, units, signed=False),
        "semi-matching": semi_matching_score(factors, units),
        "D, lasso": lasso.disentanglement,
        "C, lasso": lasso.completeness,
        "I, lasso": lasso.informativeness,
        "D, forest": forest.disentanglement,
        "C, forest": forest.completeness,
        "I, forest": forest.informativeness,
        "MIG": mutual_information_gap(factors, units).gap,
    }


scores = {name: measure(factors, units) for name, units in representations.items()}

figure, (matrices, axes) = plt.subplots(
    1, 2, figsize=(10, 6), sharey=True, width_ratios=[1, 4], layout="constrained"
)
table = np.array([list(row.values()) for row in scores.values()])
colours = {"vmin": -1, "vmax": 1, "cmap": "RdBu"}
image = axes.imshow(table, aspect="auto", **colours)
for (row, column), value in np.ndenumerate(table):
    colour = "white" if abs(value) > 0.6 else "black"
    axes.text(column, row, f"{value:.2f}", color=colour, ha="center", va="center")
axes.set_xticks(range(table.shape[1]), scores["rotated"], rotation=40, ha="right")
axes.set_title("measures")
for row, units in enumerate(representations.values()):
    correlations = np.corrcoef(factors, units, rowvar=False)[:n_factors, n_factors:]
    place = (0, units.shape[1], row + 0.42, row - 0.42)
    matrices.imshow(correlations, extent=place, aspect="auto", **colours)
matrices.set_xlim(0, 10)
matrices.set_ylim(len(scores) - 0.5, -0.5)
matrices.set_yticks(range(len(scores)), scores)
matrices.set_xticks([])
matrices.set_title("correlations of five\nfactors (rows) and units")
figure.colorbar(image, ax=axes, label="measure, or correlation")
plt.show()

# %%
# What they see
# -------------
# - **Rotated.** The signed score, DCI and MIG tell a rotation from the factors
#   themselves. Without signs the soft matching score is .75, as high as for units that
#   are one factor each with much noise: with few factors, the best of the correlations
#   in a rotated basis are large. A soft matching score below 1 does not say why it is
#   below 1. D does: it is high for the noisy units and low for the rotated ones.
# - **Entangled.** Each unit mixes a factor with a smaller part of the next one. The
#   soft matching score is .85, because each unit still resembles one factor. D and C
#   of the lasso are .26.
# - **Copies and idle units.** Two units for each factor do not lower the soft matching
#   score; C and MIG fall, MIG to 0. Six units for one factor and units that know
#   nothing lower the soft matching score, to .5 and .6, because every unit has to be
#   matched. D and MIG do not mind idle units, nor does semi-matching. Which of the two
#   is right depends on whether units without a factor are a fault.
# - **Signs.** Units that fall when their factor rises count as negative in the signed
#   score, which is .39 if three of five do. DCI and MIG ignore signs. If the sign of a
#   unit has no meaning, as in a latent space with a symmetric prior, use
#   `signed=False`.
# - **Missing factors and noise.** I tells of both. D of the lasso is .94 when two of
#   five factors are missing; D of the forest is .42, because trees that are fitted to
#   noise use all units.
# - **Magnitudes.** Units that are the absolute value of one factor have a correlation
#   of 0 with it, so that soft matching sees nothing. MIG does: .57. Neither
#   regressor can predict the factor, because its sign is lost.
# - **MIG is no share of 1.** For the axis-aligned units it is .74, since a noise of .02
#   moves values into the next of 20 bins.

# %%
# Real activations, and chance
# ----------------------------
# The layers of a sentence encoder have 384 units. Four of the factors that its 400
# sentences were composed of are categories: the number of the subject, the tense, the
# polarity and the form. The same measures for sentences in a random order show what is
# chance.

encoders = load_sentence_encoders()
chosen = [encoders.factors[name] for name in ("number", "tense", "polarity", "form")]
factors = OrdinalEncoder().fit_transform(np.column_stack(chosen))
shuffled = factors[rng.permutation(len(factors))]
settings = {"categorical": range(4)}
print(" " * 26 + "soft matching   without signs   D, lasso   I, lasso    MIG")
for layer in ("embeddings", "block 6"):
    units = encoders.target.layer(layer)
    for order, rows in (("", factors), ("shuffled", shuffled)):
        dci = dci_scores(rows, units, random_state=0, **settings)
        print(
            f"{layer:<14}{order:<12}"
            f"{disentanglement_score(rows, units, **settings):>13.2f}"
            f"{disentanglement_score(rows, units, signed=False, **settings):>16.2f}"
            f"{dci.disentanglement:>11.2f}{dci.informativeness:>11.2f}"
            f"{mutual_information_gap(rows, units, **settings).gap:>7.3f}"
        )

# %%
# The soft matching score is above that of the shuffled sentences, and falls from the
# embeddings to the last block. It is far below 1: four factors are nine columns, and
# 384 units have to be matched to them. **D is about as high for shuffled sentences, .64
# to .71**: with many units, few stimuli and sparse weights, each unit predicts few
# columns, whatever they are. I says that nothing is predicted then. D and C should not
# be reported without I, and no measure without the value for shuffled rows. MIG is
# close to 0: no factor has a single unit that knows much more than the next one.
