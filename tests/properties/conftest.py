"""How many inputs the property tests try: `HYPOTHESIS_PROFILE` names a profile.

"ci" (the default) tries the same inputs in every run, within two minutes on one core.
"hour" draws new ones in every run, for about an hour:

    HYPOTHESIS_PROFILE=hour python -m pytest tests/properties

A failure prints the input it was reduced to, from which the arrays can be made again.
"""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir

# Nothing is left in the tree.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")
COMMON = {
    "database": None,
    # A busy machine makes no test fail.
    "deadline": None,
    # Without Phase.explain, which lists lines of other packages, for minutes.
    "phases": [Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", max_examples=25, derandomize=True, **COMMON)
settings.register_profile("hour", max_examples=1500, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
