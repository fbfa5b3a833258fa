"""
Maps of voxels: an fMRI subject and a network
=============================================

From single-trial images to figures, and back to maps of the brain, with nilearn. The
page :doc:`/fmri` explains every step, and what is different with real data. Here **no
brain was recorded**: the responses are those of
:func:`skmot.datasets.make_simulated_cortex`, at arbitrary places of the grey matter
mask that nilearn ships. Therefore it is known which layer of the network drives each
voxel, and what the score without noise is.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from nilearn import plotting
from nilearn.datasets import load_mni152_gm_mask, load_mni152_template
from nilearn.image import get_data, math_img, new_img_like
from nilearn.maskers import NiftiMasker
from nilearn.masking import apply_mask
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skmot import LayerStack, MultiLevelOT, SemiMatching, SoftMatching
from skmot.datasets import make_simulated_cortex
from skmot.inspection import (
    LayerCouplingDisplay,
    PermutationControlDisplay,
    UnitScoresDisplay,
    matches,
)
from skmot.metrics import noise_corrected_score
from skmot.model_selection import permutation_control
from skmot.preprocessing import (
    ActivitySelector,
    ReliabilitySelector,
    TransformedTargetLayers,
)

# %%
# The simulated images
# --------------------
# One beta image for each trial: 300 images, three trials each. The regions follow each
# other with the distance from the back of the brain. The lowest slices are missing in
# the last third of the trials.

NAMES = ["V1", "V2", "V3", "V4", "Ventral"]
# A voxel of the mask at the back of the brain, in the middle.
BACK = 12, 3, 8
cortex = make_simulated_cortex(n_subjects=1)
trials = cortex.trials["subject 1"]
trials = trials[trials.stimuli < 300]
signals = cortex.signals["subject 1"][:300]
region_of_voxel = np.repeat([1, 2, 3, 4, 5], [trials.layer(n).shape[1] for n in NAMES])

brain = load_mni152_gm_mask(resolution=8)
places = np.argwhere(get_data(brain))
distances = np.linalg.norm(places - BACK, axis=1)
x, y, z = places[np.argsort(distances)[: len(region_of_voxel)]].T


def make_image(voxels):
    """Return an image of simulated voxels, one volume for each row."""
    values = np.zeros((*brain.shape, len(voxels)), dtype=np.float32)
    values[x, y, z] = voxels.T
    return new_img_like(brain, values)


atlas = math_img("img[..., 0]", img=make_image(region_of_voxel[np.newaxis]))
betas = make_image(np.hstack([trials.layer(name) for name in NAMES]))
get_data(betas)[:, :, : z.min() + 2, 600:] = np.nan

# %%
# From images to a stack
# ----------------------
# Voxels that were not recorded in all trials are left out of the mask: the masker would
# replace their missing responses by 0. One row of the stack is one image, with its
# trials. The name of a voxel is its column in the masker.

recorded = math_img("np.isfinite(img).all(axis=-1)", img=betas)
mask = math_img("(atlas > 0) & recorded", atlas=atlas, recorded=recorded)
masker = NiftiMasker(mask, standardize=None).fit()
region = apply_mask(atlas, mask)
columns = {name: np.flatnonzero(region == k) for k, name in enumerate(NAMES, 1)}


def read_regions(image):
    """Return the voxels of each region."""
    voxels = masker.transform(image)
    return {name: voxels[:, own] for name, own in columns.items()}


subject = LayerStack.from_trials(
    read_regions(betas), trials.stimuli, unit_names=columns.values()
)
network = cortex.network[:300]
print(subject)

# %%
# Regions and layers
# ------------------
# Units of the network that respond to hardly any image and voxels that are not reliable
# are left out, in the training images. Each region is matched with the layer that
# drives it.

noiseless = LayerStack(
    read_regions(make_image(np.hstack([signals.layer(name) for name in NAMES]))),
    stimuli=signals.stimuli,
    unit_names=columns.values(),
)
X_train, X_test, y_train, y_test, _, noiseless_test = train_test_split(
    network, subject, noiseless, test_size=0.3, random_state=0
)
reliable = ReliabilitySelector(0.3, n_halves=20, random_state=0)
mot = TransformedTargetLayers(
    make_pipeline(ActivitySelector(), MultiLevelOT()), reliable
)
mot.fit(X_train, y_train)
LayerCouplingDisplay.from_estimator(mot, network_names=("network", "subject"))
plt.show()

# %%
# Scores of voxels, and their ceilings
# ------------------------------------
# The correlation of a voxel with its reconstruction cannot be above its noise ceiling,
# apart from the error of the estimates.

score = noise_corrected_score(mot, X_test, y_test, random_state=0)
UnitScoresDisplay.from_result(score, layer_names=NAMES)
plt.show()

# %%
# The correction can be checked, because the simulation has the responses without noise.
# The two numbers agree:

print(f"score of held-out images {score.raw_score:.3f}")
print(f"corrected for trial noise {score.score:.3f}")
print(f"of responses without noise {mot.score(X_test, noiseless_test):.3f}")

# %%
# More than chance
# ----------------

related = permutation_control(
    mot,
    network,
    subject,
    control="stimuli",
    statistic="cost",
    n_permutations=99,
    random_state=0,
)
PermutationControlDisplay.from_result(related)
plt.show()

# %%
# Back to the brain
# -----------------
# A value for each column of the masker becomes an image by its `inverse_transform`.
# First the corrected scores, without those of voxels with a low ceiling:


def make_map(values):
    """Return an image of a Series of values, indexed by the columns of the masker."""
    volume = np.full(masker.n_elements_, np.nan, dtype=np.float32)
    volume[values.index] = values
    return masker.inverse_transform(volume)


table = score.to_frame("units").set_index("unit")
table["corrected"] = (table["score"] / table["ceiling"]).where(table["ceiling"] >= 0.3)
by_region = table.groupby("layer", sort=False)
print(by_region[["score", "ceiling", "corrected"]].mean().round(2))

# %%
# Which layer does each voxel resemble? Semi-matching finds the unit of the network that
# is most similar to each voxel, in any layer. Transport between all units and all
# voxels is worse at this, because it uses all units alike. Where a region has more
# voxels than its layer has units, the others are matched with units of other layers.

depth = dict(zip(network.names + tuple(NAMES), 2 * (1, 2, 3, 4, 5), strict=True))
for matching in (SoftMatching(), SemiMatching()):
    population = TransformedTargetLayers(
        make_pipeline(ActivitySelector(), matching), reliable
    ).fit(X_train, y_train)
    best = matches(population, X_test, y_test).set_index("target_unit")
    layer = best["source_layer"].map(depth)
    share = (layer == best["target_layer"].map(depth)).mean()
    print(f"{matching}: the driving layer in {share:.0%} of {len(best)} voxels")

# %%
# The maps, on the template that nilearn ships. The last one is of semi-matching:

colours = ListedColormap(plt.get_cmap("viridis")(np.linspace(0, 1, 5)))
maps = {
    "region": (atlas, {"cmap": colours, "vmin": 0.5, "vmax": 5.5, "colorbar": False}),
    "corrected score": (
        make_map(table["corrected"]),
        {"cmap": "viridis", "vmin": 0, "vmax": 1},
    ),
    "layer of the most similar unit": (
        make_map(layer),
        {"cmap": colours, "vmin": 0.5, "vmax": 5.5, "colorbar": False},
    ),
}
template = load_mni152_template(resolution=2)
figure, axes = plt.subplots(3, 1, figsize=(6.5, 7))
figure.subplots_adjust(left=0.02, right=0.98, bottom=0.08, top=0.95)
for ax, (title, (image, options)) in zip(axes, maps.items(), strict=True):
    plotting.plot_stat_map(
        # Voxels of value 0 are not drawn.
        math_img("np.nan_to_num(img)", img=image),
        bg_img=template,
        black_bg=False,
        display_mode="z",
        cut_coords=[-8, 0, 8, 16],
        resampling_interpolation="nearest",
        symmetric_cbar=False,
        annotate=False,
        axes=ax,
        **options,
    )
    ax.set_title(title)
figure.legend(
    handles=[
        Patch(color=colours(k), label=f"{name}, {layer_name}")
        for k, (name, layer_name) in enumerate(zip(NAMES, network.names, strict=True))
    ],
    loc="lower center",
    ncols=5,
    fontsize="small",
    handlelength=1,
    columnspacing=1,
)
figure.savefig("fmri.png", dpi=150)
plt.show()
