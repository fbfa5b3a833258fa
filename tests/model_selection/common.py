"""What the tests of this package share."""

from sklearn.model_selection import ShuffleSplit

from skmot import LayerStack
from tests.networks import random_networks

ONE_SPLIT = ShuffleSplit(1, test_size=0.4, random_state=0)
# Seeds are fixed, so a test either always passes or always fails; had they been drawn
# anew, a right implementation would fail each check of uniformity this often.
FALSE_ALARM = 1e-3


def stacks(**kwargs):
    return [LayerStack(layers) for layers in random_networks(**kwargs)]
