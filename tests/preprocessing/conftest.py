import numpy as np
import pytest

from skmot import LayerStack
from tests.networks import random_networks


@pytest.fixture
def stack():
    layers, _ = random_networks()
    return LayerStack(layers, names=["V1", "V2", "V4"], stimuli=np.arange(60) + 5)
