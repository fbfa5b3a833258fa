"""
Many networks at once
=====================

Ten networks learned to read the same digits, five with two hidden layers and five with
four. Which of them are alike, do the two architectures separate, and which units recur
in all ten? This page is one script of less than 40 lines. What it shows, and what it
does not show, is written between them.
"""

# %%
# The costs of all pairs
# ----------------------
# Two networks of each seed, and the costs of all pairs on held-out digits, with the
# chance level of each pair. Some ReLU units respond to no digit. They are left out, and
# the warning about them is disabled on this page.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skmot import MultiLevelOT, TemplateMOT
from skmot.datasets import load_digit_networks
from skmot.exceptions import DeadUnitWarning
from skmot.inspection import NetworkMapDisplay, rosetta_units
from skmot.metrics import pairwise_costs
from skmot.model_selection import group_separation_test

warnings.simplefilter("ignore", DeadUnitWarning)

networks, shapes = {}, {"source_hidden": (32, 32), "target_hidden": (32, 32, 32, 32)}
for seed in range(5):
    pair = load_digit_networks(**shapes, random_state=seed)
    networks |= {f"2 layers, {seed}": pair.source, f"4 layers, {seed}": pair.target}

costs = pairwise_costs(
    networks, MultiLevelOT(), cv=3, n_permutations=10, random_state=0
)
others = ~np.eye(len(networks), dtype=bool)
print(f"cost {costs[others].mean():.2f}, chance {costs.chance[others].mean():.2f}")

# %%
# Held-out costs of unrelated networks are about 1 for any width and any number of
# digits, so .37 can be read as it is. In sample, chance is .95 for these networks.
#
# Do architectures separate?
# --------------------------
# The nearest network is of the same architecture more often than by chance, but there
# are only ten networks: p = .056, whichever side is the source. That is not enough to
# say that architectures differ.

architectures = [name[:-3] for name in networks]
print(group_separation_test(costs, architectures))
print(group_separation_test(costs, architectures, direction="target"))

# %%
# The map
# -------
# The eye sees two groups. The title warns of that: ten networks that are all equally
# far from each other would have nearly the same stress, so the distances on the map are
# hardly those of the matrix. The mean costs within and between architectures are .36 to
# .38, which is all that there is to see.

NetworkMapDisplay.from_costs(costs, groups=architectures, symmetrize=True)

# %%
# A common network, and the units that recur
# ------------------------------------------
# A template is a common network of all ten. The first rows of the table are the unit of
# the template that recurs best, with its counterpart in each network. The correlations
# are those on digits that the template was not fitted to.

half = slice(450), slice(450, None)
train, test = ({name: net[rows] for name, net in networks.items()} for rows in half)
template = TemplateMOT(n_units=32, max_iter=30, random_state=0).fit(train)
units = rosetta_units(template, train, test)
least = units.groupby(["template_layer", "template_unit"])["least_correlation"].first()
print(units.head(len(networks)).round(2).to_string())
print(
    f"{np.mean(least > 0.5):.0%} of {len(least)} units recur with a correlation over .5"
)
plt.show()

# %%
# The best unit is found in all ten networks with a correlation of at least .78, in
# first, second and third layers: depth is no guide to where it is. The table is a
# ranking. Networks that share what they know about digits, but no single unit, would
# have correlations above 0, too: a least correlation of .5 is no proof that a unit
# recurs.
