"""
Compare feature maps position by position
=========================================

Convolutional layers have each channel at many positions. Averages over positions ask
whether two channels respond to the same images. Positions as stimuli ask whether they
respond to the same places of them. Two networks rarely have maps of the same size, so a
common grid has to be said.

The networks of this page are small and learn without labels, so that the page needs no
deep-learning library: each layer has filters that k-means finds in patches, and the
"triangle" activation of Coates, Ng and Lee (*An analysis of single-layer networks in
unsupervised feature learning*, AISTATS 2011), which is zero for filters that are
further from a patch than the average filter. For networks in PyTorch, see
:func:`skmot.extraction.record_activations`.
"""

# %%
# Two networks
# ------------
# Both see the same 240 handwritten digits, which were not used for learning. One reads
# images of 8 x 8 pixels. The other reads them at 12 x 12 pixels, and its first layer
# has every second position only. Their filters come from different runs of k-means.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import zoom
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold, cross_val_score

from skmot import MultiLevelOT
from skmot.exceptions import DeadUnitWarning, LeakWarning
from skmot.model_selection import StimulusKFold, permutation_control
from skmot.preprocessing import positions_as_stimuli

# Some channels respond to no patch. They are left out of the matching.
warnings.simplefilter("ignore", DeadUnitWarning)

images = np.random.default_rng(0).permutation(load_digits().images / 16)[:900]
N_LEARNED = 660


def patches_of(maps, step):
    """Return the 3 x 3 patch around every position, or around every second one."""
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::step, ::step]
    patches = windows.transpose(0, 2, 3, 1, 4, 5)
    return patches.reshape(*patches.shape[:3], -1)


def learn_layer(maps, n_channels, step, seed):
    """Learn filters from the first images, and return the maps of all of them."""
    patches = patches_of(maps, step)
    learned = patches[:N_LEARNED].reshape(-1, patches.shape[-1])
    # Patches without any ink would be most of them.
    inked = learned[learned.std(axis=1) > 0.1]
    kmeans = MiniBatchKMeans(n_channels, n_init=3, random_state=seed).fit(inked)
    distances = kmeans.transform(patches.reshape(-1, patches.shape[-1]))
    active = np.maximum(distances.mean(axis=1, keepdims=True) - distances, 0)
    return np.moveaxis(active.reshape(*patches.shape[:3], -1), -1, 1)


def learn_network(images, steps, seed):
    """Return the maps of three layers, for the images that were not learned."""
    maps, network = images[:, np.newaxis], {}
    for name, n_channels, step in zip("abc", (12, 16, 24), steps, strict=True):
        maps = learn_layer(maps, n_channels, step, seed)
        network[name] = maps[N_LEARNED:]
    return network


first = learn_network(images, steps=(1, 1, 2), seed=0)
second = learn_network(zoom(images, (1, 1.5, 1.5), order=1), steps=(2, 1, 2), seed=1)
for network in (first, second):
    print({name: maps.shape for name, maps in network.items()})

# %%
# A common grid
# -------------
# Without a grid, layers of different sizes are an error:

try:
    positions_as_stimuli(first)
except ValueError as error:
    print(error)

# %%
# A grid of 4 x 4 cells averages over the area of each cell. Maps of 8 x 8 positions are
# pooled, those of 6 x 6 share positions between cells, and those of 3 x 3 are spread
# out, which gives them more rows and no more information. A grid assumes that all maps
# show the same part of the image, as they do here.

X, y = (positions_as_stimuli(network, grid=(4, 4)) for network in (first, second))
print(X, y, sep="\n")
print("labels of the first rows:", X.stimuli[:18].tolist())

# %%
# Splits and tests by image
# -------------------------
# Rows of one image have the same label. The splitters and controls of skmot keep them
# together. `KFold` does not, and estimators warn that positions of one image are both
# trained on and scored. Here the warning is about little: both scores are the same,
# because a matching of a few channels hardly overfits 192 images. A test that took
# 3,840 rows for as many observations would be wrong all the same.

mot = MultiLevelOT()
by_image = cross_val_score(mot, X, y, cv=StimulusKFold(5))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", LeakWarning)
    by_row = cross_val_score(mot, X, y, cv=KFold(5, shuffle=True, random_state=0))
print(f"StimulusKFold {by_image.mean():.3f}, KFold {by_row.mean():.3f}")
print(
    permutation_control(mot, X, y, statistic="cost", n_permutations=19, random_state=0)
)

# %%
# The choice of the grid
# ----------------------
# A grid of one cell is the average over all positions. If the cells of each image
# change places at random in one network, what is left is what the whole images share.

random = np.random.default_rng(0)
print("cells    area   linear   area, cells shuffled")
for size in (1, 2, 3, 4, 6, 8):
    n_cells = size**2
    # The rows of an image follow each other.
    rows = np.arange(240 * n_cells).reshape(240, n_cells)
    split = [(rows[:180].ravel(), rows[180:].ravel())]
    shuffled = random.permuted(rows, axis=1).ravel()
    scores = {}
    for resampling in ("area", "linear"):
        source, target = (
            positions_as_stimuli(network, grid=(size, size), resampling=resampling)
            for network in (first, second)
        )
        scores[resampling] = cross_val_score(mot, source, target, cv=split)[0]
        if resampling == "area":
            other = target[shuffled]
            scores["shuffled"] = cross_val_score(mot, source, other, cv=split)[0]
    print(
        f"{size} x {size}   {scores['area']:6.2f} {scores['linear']:8.2f} "
        f"{scores['shuffled']:8.2f}"
    )

# %%
# The score depends on the grid and on how it is resampled: it is highest for 3 x 3
# cells, the size of the coarsest map, and lower for finer grids, which repeat its
# positions. A grid is a choice like the size of a voxel. Say it, and compare scores on
# the same grid only. With shuffled cells, most of the score is gone: within an image,
# what the channels share is where they respond.

# %%
# Another question, other matches
# -------------------------------
# Channels that respond to the same images need not respond to the same places. The two
# matchings share few pairs, and neither predicts well what the other one was made for.

fits, rows = {}, {}
for name, size in (("averages", 1), ("positions", 3)):
    rows[name] = [
        positions_as_stimuli(network, grid=(size, size)) for network in (first, second)
    ]
    trained = rows[name][0].stimuli < 180
    fits[name] = MultiLevelOT().fit(*(stack[trained] for stack in rows[name]))
for fitted_to, fit in fits.items():
    for scored_on, stacks in rows.items():
        held_out = stacks[0].stimuli >= 180
        score = fit.score(*(stack[held_out] for stack in stacks))
        print(f"matched by {fitted_to:<9} scored on {scored_on:<9} {score:.2f}")
couplings = {name: fit.inner_[0][0].coupling_.toarray() for name, fit in fits.items()}
shared = np.minimum(*couplings.values()).sum()
print(f"mass of layer a on the same pairs: {shared:.2f}")

# %%
# Four channels of layer a of the first network, for one image, and the channels of the
# second network that are matched to them. One image decides nothing: for this one,
# both matchings give channel 1 the same partner, and channel 3 looks more like its
# partner by averages. The scores above are over all held-out images and positions.

image = 181
figure, axes = plt.subplots(4, 4, figsize=(6, 6.2), layout="constrained")
titles = ("image", "first network", "by positions", "by averages")
for ax, title in zip(axes[0], titles, strict=True):
    ax.set_title(title, fontsize="medium")
for channel, row in enumerate(axes):
    maps = [images[N_LEARNED + image], first["a"][image, channel]]
    for name in ("positions", "averages"):
        matched = int(couplings[name][channel].argmax())
        maps.append(second["a"][image, matched])
    for ax, values, colours in zip(
        row, maps, ("gray_r", "viridis", "viridis", "viridis"), strict=True
    ):
        ax.imshow(values, cmap=colours)
        ax.set(xticks=[], yticks=[])
    row[1].set_ylabel(f"channel {channel + 1}")
plt.show()
