import os
import sys

import pytest

# Figures are drawn without a screen. Read when matplotlib is first imported.
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    # Of the tests of tables, matplotlib may not be installed.
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
