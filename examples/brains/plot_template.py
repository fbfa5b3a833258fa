"""
A common template of many subjects
==================================

Four simulated subjects saw the same digits. Each has its own voxels, so that there is
no average brain. `TemplateMOT` makes one: a network whose units are averages of the
voxels that match across subjects. This example asks what such a template is good for,
and what it is not good for. It predicts a new subject worse than other methods do.
"""

# %%
# The template
# ------------
# The layers are seven regions. No brain was recorded: each voxel is a noisy mixture of
# units of one layer of a network. 300 stimuli are used for training, and 300 are held
# out.

import matplotlib.pyplot as plt
import numpy as np
import ot
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from skmot import LayerStack, MultiLevelOT, Procrustes, TemplateMOT
from skmot.datasets import load_digit_networks, make_simulated_cortex
from skmot.metrics import reconstruction_correlation

subjects = make_simulated_cortex(n_subjects=4).subjects
rng = np.random.default_rng(0)
rows = rng.permutation(899)
train_rows, test_rows = np.sort(rows[:300]), np.sort(rows[300:600])
train = LayerStack(subjects)[train_rows]
test = LayerStack(subjects)[test_rows]

template = TemplateMOT(tol=0.001, max_iter=30, random_state=0).fit(train)
print(template.template_)
print("mean cost in each round:", template.costs_.round(3))

# %%
# The cost falls in every round. The regions of each subject are coupled with the layers
# of the template in the order of the list, which k-means started from:

regions = train.layers[0].names
couplings = [7 * mot.coupling_ for mot in template.mots_]
figure, axes = plt.subplots(1, 4, figsize=(10, 3), sharey=True, layout="constrained")
for axis, coupling, name in zip(axes, couplings, subjects, strict=True):
    image = axis.imshow(coupling, vmin=0, vmax=1, cmap="Greys")
    axis.set(title=name, xlabel="layer of the template", xticks=range(7))
axes[0].set_yticks(range(7), regions)
figure.colorbar(image, ax=axes, label="share of the layer")

# %%
# The order of the regions
# ------------------------
# The default start relies on the order. If each subject lists the regions in another
# order, it finds none of them. A start from one subject needs no order.


def shuffle_regions(network):
    """Return the regions of a subject in random order, and their names."""
    order = rng.permutation(7)
    names = [network.names[index] for index in order]
    return [network.layer(name) for name in names], names


first, *others = train.layers
shuffled = [([*first.layers], list(first.names)), *map(shuffle_regions, others)]
for init in ("kmeans", 0):
    found = TemplateMOT(init=init, max_iter=30, tol=0.01, random_state=0).fit(
        [layers for layers, _ in shuffled]
    )
    partners = [
        [names[index] for index in mot.coupling_.argmax(axis=0)]
        for mot, (_, names) in zip(found.mots_, shuffled, strict=True)
    ]
    n_common = sum(len(set(names)) == 1 for names in zip(*partners, strict=True))
    print(
        f"init={init!r:<8}: {n_common} of 7 layers of the template are one region in "
        f"all subjects, final cost {found.costs_.min():.2f}"
    )

# %%
# How well a template predicts a new network
# ------------------------------------------
# Each network is left out in turn. A template of the others is matched to it on
# training stimuli, and reconstructs its units on held-out stimuli. The alternatives
# see exactly the same data:
#
# - one other network, matched by `MultiLevelOT`: the best one, chosen by its held-out
#   score, which favours this line;
# - the mean of such reconstructions from all other networks;
# - a template by Procrustes analysis: one rotation a layer, as in hyperalignment;
# - a barycenter of the tuning curves of each region by POT, without a coupling of
#   layers;
# - a ridge regression from all units of all others, with a penalty by cross-validation.


def standardize(layer):
    """Return units of variance 1. Units that are constant become 0."""
    return StandardScaler().fit_transform(layer)


def score(network, reconstruction):
    """Return the mean over layers of the mean correlation over units."""
    pairs = zip(network.layers, reconstruction.layers, strict=True)
    return np.mean([reconstruction_correlation(*pair) for pair in pairs])


def average(stacks):
    """Return the average of several stacks."""
    layers = zip(*(stack.layers for stack in stacks), strict=True)
    return LayerStack([np.mean(layer, axis=0) for layer in layers])


def score_pairs(train, test):
    """Return the score of the best other network, and of the mean of all others."""
    best, mean = [], []
    for index, own in enumerate(train.layers):
        pairs = [
            (MultiLevelOT().fit(own, other), held_out)
            for other, held_out in zip(train.layers, test.layers, strict=True)
        ]
        del pairs[index]
        predicted = [mot.inverse_predict(held_out) for mot, held_out in pairs]
        best.append(max(score(test.layers[index], part) for part in predicted))
        mean.append(score(test.layers[index], average(predicted)))
    return best, mean


def barycenter(networks):
    """Return the free-support barycenter of the units of each layer by POT."""
    layers = []
    for index in range(networks[0].n_layers):
        clouds = [standardize(network.layers[index]).T for network in networks]
        masses = [ot.unif(len(cloud)) for cloud in clouds]
        points = ot.lp.free_support_barycenter(clouds, masses, clouds[0])
        layers.append(points.T)
    return LayerStack(layers)


def score_barycenters(train, test):
    """Return the score of a barycenter of the other networks, for each network."""
    scores = []
    for index, own in enumerate(train.layers):
        others = [other for other in range(train.n_layers) if other != index]
        center = barycenter([train.layers[other] for other in others])
        curves = average(
            MultiLevelOT().fit(train.layers[other], center).predict(test.layers[other])
            for other in others
        )
        scores.append(
            MultiLevelOT().fit(own, center).inverse_score(test.layers[index], curves)
        )
    return scores


def score_ridge(train, test):
    """Return the score of a regression from all other networks, for each network."""
    scores = []
    for index, own in enumerate(train.layers):
        sides = [
            np.hstack([np.asarray(s) for k, s in enumerate(stack.layers) if k != index])
            for stack in (train, test)
        ]
        scaler = StandardScaler().fit(sides[0])
        ridge = RidgeCV(np.logspace(0, 4, 5))
        ridge.fit(scaler.transform(sides[0]), np.asarray(own))
        predicted = ridge.predict(scaler.transform(sides[1]))
        layers = np.split(predicted, np.cumsum(own.widths)[:-1], axis=1)
        scores.append(score(test.layers[index], LayerStack(layers)))
    return scores


def score_all(train, test):
    """Return the scores of all methods, one for each network."""
    best, mean = score_pairs(train, test)
    settings = {"tol": 0.01, "random_state": 0}
    templates = {
        "template": TemplateMOT(**settings),
        "template by Procrustes": TemplateMOT(inner=Procrustes(), init=0, **settings),
    }
    return {
        "best other network": best,
        "barycenter by POT": score_barycenters(train, test),
        **{
            name: template.leave_one_out_scores(train, test)
            for name, template in templates.items()
        },
        "mean of all other networks": mean,
        "ridge from all other networks": score_ridge(train, test),
    }


# %%
# The same methods are compared for four networks that learned to read digits from
# other initial weights, without the units that no stimulus of either part activates.


def drop_silent(network):
    """Return a network without units that are constant in either part."""
    parts = [network[train_rows], network[test_rows]]
    return network.select_units(
        [
            np.flatnonzero(np.all([np.ptp(p.layers[i], axis=0) > 0 for p in parts], 0))
            for i in range(network.n_layers)
        ]
    )


digits = LayerStack(
    {
        f"seed {seed}": drop_silent(
            load_digit_networks(
                source_hidden=(48, 48, 48), target_hidden=(8,), random_state=seed
            ).source
        )
        for seed in range(4)
    }
)
results = {
    "simulated cortex": score_all(train, test),
    "digit networks": score_all(digits[train_rows], digits[test_rows]),
}
print(f"{'mean over networks':<38}" + "".join(f"{name:>18}" for name in results))
for method in results["digit networks"]:
    means = [np.mean(scores[method]) for scores in results.values()]
    print(f"{method:<38}" + "".join(f"{mean:18.2f}" for mean in means))

# %%
# In the run for this page, a template predicts a new network better than a single
# other network does, and worse than the plain mean of all reconstructions from other
# networks. A regression is better than all. Rotations are better than matched units,
# because they may mix them. The template is a summary: what it offers is one set of
# units for all networks (see :func:`skmot.inspection.rosetta_units`), not a prediction.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), sharey=True, layout="constrained")
for axis, (name, scores) in zip(axes, results.items(), strict=True):
    for height, values in enumerate(scores.values()):
        axis.plot(values, np.full(4, height), "o", color="C0", alpha=0.5)
        axis.plot(np.mean(values), height, "|", color="black", markersize=14)
    axis.set(title=name, xlabel="held-out correlation (bar: mean)", xlim=(0.4, 1))
    axis.grid(axis="x")
axes[0].set_yticks(range(len(scores)), scores)
axes[0].invert_yaxis()
figure.savefig("template.png", dpi=150)
plt.show()
