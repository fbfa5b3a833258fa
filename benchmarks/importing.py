"""Time of `import skmot`, compared with that of the libraries it cannot do without."""

import resource
import subprocess
import sys

from report import Row

REPEATS = {"full": 5, "small": 3}
# What estimators, pipelines and solvers need, whoever imports it.
NEEDED = (
    "import joblib, scipy.optimize, scipy.sparse, scipy.stats, sklearn.model_selection"
)
WITH_POT = "import ot"


def rows(scale):
    """Yield the rows about the import."""
    cases = {"skmot": "import skmot", "needed": NEEDED, "POT": WITH_POT}
    times = {name: [] for name in cases}
    for _ in range(REPEATS[scale]):
        for name, code in cases.items():
            times[name].append(_processor_seconds(code))
    best = {name: min(taken) for name, taken in times.items()}
    yield Row(
        "import",
        "import skmot",
        best["skmot"],
        best["needed"],
        "scikit-learn, SciPy and joblib",
        wanted="at most 1.5x",
        limit=1.5,
    )
    yield Row("import", "import skmot", best["skmot"], best["POT"], "import ot")


def _processor_seconds(code):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
