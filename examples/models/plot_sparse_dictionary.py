"""
Sparse dictionaries of two sentence encoders
============================================

Networks are often described by dictionaries: many features, few of which are active for
a stimulus. Do two encoders have the same features? This example learns a dictionary of
each of two pre-trained sentence encoders and matches the features one by one. The
features are given to skmot as sparse arrays. The dictionaries here are small, and the
comparison has pitfalls that larger ones share.
"""

# %%
# The features
# ------------
# The stimuli are 400 sentences. A dictionary has 256 atoms, which scikit-learn learns
# from the last layer of an encoder for the training sentences. A feature is the
# nonnegative weight of an atom in the sparse code of a sentence.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, ShuffleSplit

from skmot import LayerStack, SoftMatching
from skmot.datasets import load_sentence_encoders
from skmot.exceptions import DeadUnitWarning
from skmot.preprocessing import ActivitySelector

encoders = load_sentence_encoders()
first = encoders.source.layer("block 3").astype(np.float64)
second = encoders.target.layer("block 6").astype(np.float64)
sentences, themes = encoders.sentences, encoders.factors["theme"]
N_ATOMS, PENALTY = 256, 0.1

# Features that are active for no training sentence are left out of a matching. Some of
# the codes in learning miss the tolerance of scikit-learn.
warnings.simplefilter("ignore", DeadUnitWarning)
warnings.simplefilter("ignore", ConvergenceWarning)


def learn_atoms(layer, train, seed):
    """Return a dictionary of a layer, learned for some of the sentences."""
    learner = MiniBatchDictionaryLearning(
        N_ATOMS,
        alpha=PENALTY,
        batch_size=50,
        max_iter=20,
        fit_algorithm="cd",
        positive_code=True,
        random_state=seed,
    )
    return learner.fit(prepare(layer, train)[train]).components_


def draw_atoms(layer, train, seed):
    """Return a dictionary of random directions, whatever the layer."""
    atoms = np.random.default_rng(seed).normal(size=(N_ATOMS, layer.shape[1]))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def features(layer, train, seed, find_atoms=learn_atoms):
    """Return the sparse code of all sentences."""
    code = sparse_encode(
        prepare(layer, train),
        find_atoms(layer, train, seed),
        algorithm="lasso_cd",
        alpha=PENALTY,
        positive=True,
    )
    return sparse.csr_array(code)


def prepare(layer, train):
    """Return activations with the training mean subtracted, scaled to length 1."""
    layer = layer - layer[train].mean(axis=0)
    return layer / np.linalg.norm(layer, axis=1, keepdims=True)


splits = list(ShuffleSplit(n_splits=3, test_size=0.25, random_state=0).split(first))
train, test = splits[0]
X = LayerStack({"first": features(first, train, seed=0)}, stimuli=sentences)
y = LayerStack({"second": features(second, train, seed=0)}, stimuli=sentences)
n_active = ActivitySelector(1).fit(X[train]).n_active_[0]
share = 100 * X.layers[0].nnz / X.size
print(f"{share:.1f} % of the entries of the first dictionary are not 0")
print(
    f"half of its features are active for at most {np.median(n_active):.0f} of the "
    f"{len(train)} training sentences"
)

# %%
# One fit
# -------
# Sparse layers stay sparse, and the cost is that of dense layers. The sentences are
# those that the most frequent feature, and the one matched to it, are most active for.

matching = SoftMatching().fit(X[train], y[train])
in_dense = SoftMatching().fit(*(side[train].layers[0].toarray() for side in (X, y)))
print(f"cost from sparse layers {matching.cost_:.12f}")
print(f"cost from dense layers  {in_dense.cost_:.12f}")

unit = int(np.argmax(n_active))
partner = int(matching.coupling_[[unit]].toarray().argmax())
for side, k in ((X, unit), (y, partner)):
    responses = side.layers[0].toarray()[:, k]
    print(f"\nfeature {k} of the {side.names[0]} encoder")
    for row in np.argsort(-responses)[:4]:
        print(f"  {responses[row]:.2f}  {sentences[row]}")

# %%
# What is a high agreement?
# -------------------------
# Five comparisons, each fitted to training sentences and read on held-out ones:
#
# - the units of the two encoders, without dictionaries;
# - the dictionaries of the two encoders;
# - two dictionaries of the first encoder, learned with different seeds;
# - random atoms in place of learned ones, which give sparse codes of both encoders;
# - the dictionaries of the two encoders, with the training sentences of one in random
#   order, which have nothing in common.
#
# The grammar that composed the sentences makes many of them resemble each other. A
# second way to split them holds out whole themes, so that features of the training
# themes cannot help.


def compare(train, test, seed):
    """Return the mean correlation of matched features, in training and held out."""
    ours, theirs = (features(layer, train, seed) for layer in (first, second))
    again = features(first, train, seed + 100)
    random = (
        features(layer, train, seed + k, draw_atoms)
        for k, layer in enumerate((first, second))
    )
    shuffled = np.random.default_rng(seed).permutation(train)
    rows = []
    for sides, order in (
        ((first, second), train),
        ((ours, theirs), train),
        ((ours, again), train),
        (random, train),
        ((ours, theirs), shuffled),
    ):
        X, y = (LayerStack([side]) for side in sides)
        fitted = SoftMatching().fit(X[train], y[order])
        rows.append([1 - fitted.cost_, fitted.matching_score(X[test], y[test])])
    return rows


names = [
    "units of two encoders",
    "dictionaries of two encoders",
    "two dictionaries of one encoder",
    "random atoms, two encoders",
    "dictionaries, sentences shuffled",
]
by_theme = list(GroupKFold(4).split(first, groups=themes))[:3]
found = {
    name: np.array([compare(*split, seed) for seed, split in enumerate(chosen)])
    for name, chosen in (("random sentences", splits), ("whole themes", by_theme))
}
print(f"{'':34s} training   held-out sentences   held-out themes")
for k, name in enumerate(names):
    trained, held_out = found["random sentences"][:, k].mean(axis=0)
    of_themes = found["whole themes"][:, k, 1].mean()
    print(f"{name:34s} {trained:8.2f}   {held_out:18.2f}   {of_themes:15.2f}")

# %%
# - **Read held-out stimuli only.** In training, dictionaries correlate at .74, and at
#   .65 if the sentences of one are shuffled. A feature that is active for four
#   sentences finds a partner that is active for some of them in any data.
# - The dictionaries agree better than the units do, .53 against .39 on held-out
#   sentences. Sparse codes alone do not do that: those of random atoms are at .10.
# - **They do not agree better on new themes**, where both are at .14. That is what one
#   would see if most features stood for a few similar sentences of the training themes.
# - **A dictionary is not the dictionary of its encoder.** Another seed finds other
#   features: .57 and .42. Two encoders cannot be expected to agree any better, so that
#   their .53 is nearly all that dictionaries of this size can show.
#
# Dictionaries of language models have many more features and are learned from millions
# of tokens. Whether the numbers would be similar there is not known from these. The
# comparisons are the same: a second seed, random atoms, and stimuli of another kind.

# %%
# Plot
# ----
# Each mark is one of three splits.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9.5, 3.8), width_ratios=(1, 1.3), layout="constrained"
)
left.hist(n_active, bins=np.arange(0, n_active.max() + 2) - 0.5, color="0.5")
left.set(
    xlabel=f"training sentences (of {len(train)}) with the feature",
    ylabel="number of features",
    title="Most features are rare",
)
for shift, (split, marker) in enumerate(
    {"random sentences": "o", "whole themes": "s"}.items()
):
    scores = found[split][:, :, 1]
    places = np.arange(len(names)) + 0.24 * shift - 0.12
    right.plot(scores.T, places, marker, color=f"C{shift}", alpha=0.5)
    right.plot([], [], marker, color=f"C{shift}", label=f"{split} held out")
right.axvline(0, color="0.8", zorder=0)
right.set_yticks(range(len(names)), names)
right.invert_yaxis()
right.set(xlabel="correlation of matched features", title="Held-out agreement")
right.legend(loc="lower right", fontsize="small")
plt.show()
