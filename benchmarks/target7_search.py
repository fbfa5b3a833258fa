"""Target 7: number of pairs that a search, or a fit after an interruption, solves."""

import os
import signal
import subprocess
import tempfile

from measure import Watch, in_fresh_process
from problems import network
from report import Row
from sklearn.model_selection import GridSearchCV

from skmot import LayerStack, MultiLevelOT, SoftMatching

# Layers and units of source and target, stimuli.
SIZES = {
    "full": ((6, 1024), (8, 768), 1200),
    "small": ((3, 256), (4, 192), 400),
}
STRATEGIES = ["transport", "single_best", "pairwise_best", "permuted"]
N_FOLDS = 3


def rows(scale):
    """Yield the rows of target 7."""
    source, target, n_stimuli = SIZES[scale]
    case = f"{source[0]} x {source[1]} vs {target[0]} x {target[1]}"
    sizes = source, target, n_stimuli
    n_pairs = source[0] * target[0]
    with tempfile.TemporaryDirectory() as memory:
        cached = in_fresh_process(_search, sizes, memory)
    plain = in_fresh_process(_search, sizes, None)
    yield Row(
        7,
        f"grid of {len(STRATEGIES)} strategies, {N_FOLDS} folds and a refit, {case}: "
        "inner solves",
        cached.value["solves"],
        n_pairs * (N_FOLDS + 1),
        f"({n_pairs} pairs, {N_FOLDS + 1} training sets)",
        unit="",
        wanted="each pair once a fold",
        limit=1.0,
        right=cached.value["scores"] == plain.value["scores"],
        details={
            "solves without memory": plain.value["solves"],
            "same scores": cached.value["scores"] == plain.value["scores"],
        },
    )
    yield Row(
        7,
        "  the same, in time",
        cached.seconds,
        plain.seconds,
        "without memory",
        at_least=True,
    )
    before = n_pairs // 2
    with tempfile.TemporaryDirectory() as memory:
        try:
            in_fresh_process(_fit, sizes, memory, before)
        except subprocess.CalledProcessError:
            rest, cost = in_fresh_process(_fit, sizes, memory, None)
        else:
            raise RuntimeError("The fit that was to be killed ended.")
    expected = in_fresh_process(_fit, sizes, None, None)[1]
    yield Row(
        7,
        f"  solves after a kill at pair {before + 1} of {n_pairs}",
        rest,
        n_pairs - before,
        "pairs left",
        unit="",
        wanted="none again",
        limit=1.0,
        right=cost == expected,
        details={"same cost": cost == expected},
    )


def _networks(sizes):
    source, target, n_stimuli = sizes
    return [
        LayerStack(network(*shape, n_stimuli, run=run))
        for run, shape in enumerate((source, target))
    ]


class CountedMatching(SoftMatching):
    """Soft matching that counts its fits, and kills the process after too many."""

    solves, most = 0, None

    def _solve(self, source, target):
        cls = type(self)
        cls.solves += 1
        if cls.most is not None and cls.solves > cls.most:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._solve(source, target)


def _search(sizes, memory):
    X, y = _networks(sizes)
    search = GridSearchCV(
        MultiLevelOT(CountedMatching(), memory=memory, random_state=0),
        {"strategy": STRATEGIES},
        cv=N_FOLDS,
    )
    with Watch() as measured:
        search.fit(X, y)
    measured.value = {
        "solves": CountedMatching.solves,
        "scores": search.cv_results_["mean_test_score"].tolist(),
    }
    return measured


def _fit(sizes, memory, most):
    X, y = _networks(sizes)
    CountedMatching.most = most
    cost = MultiLevelOT(CountedMatching(), memory=memory).fit(X, y).cost_
    return CountedMatching.solves, cost
