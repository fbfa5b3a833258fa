"""Target 4: time of many small problems, compared with products and assignments."""

import literal
from measure import Watch, interleaved
from problems import trajectory, unit_columns
from report import Row

from skmot import MultiLevelOT

# Checkpoints of each side, layers, units, stimuli, repeats.
SIZES = {"full": (20, 7, 128, 2552, 2), "small": (5, 4, 128, 1024, 2)}
# Sizes of the trajectories in the paper.
PAPER_CHECKPOINTS = 154


def rows(scale):
    """Yield the rows of target 4."""
    *sizes, repeats = SIZES[scale]
    n_checkpoints, n_layers, n_units, n_stimuli = sizes
    ours, bare = interleaved([(_fit, *sizes), (_bare, *sizes)], repeats)
    n_problems = (n_checkpoints * n_layers) ** 2
    more = (PAPER_CHECKPOINTS / n_checkpoints) ** 2
    case = (
        f"{n_checkpoints} x {n_checkpoints} checkpoints, {n_layers} layers of "
        f"{n_units} units, {n_stimuli} stimuli: {n_problems} problems"
    )
    with_proof = ours.seconds + ours.value
    yield Row(
        4,
        case,
        ours.seconds,
        bare.seconds,
        "bare products and assignments",
        wanted="at most 1.5x",
        limit=1.5,
        details={
            "seconds a problem": ours.seconds / n_problems,
            "peak bytes over the input": ours.peak_bytes,
            f"seconds at {PAPER_CHECKPOINTS} x {PAPER_CHECKPOINTS}, scaled": (
                ours.seconds * more
            ),
        },
    )
    yield Row(
        4,
        "  with all potentials and gaps",
        with_proof,
        bare.seconds,
        "the same",
    )
    yield Row(
        4,
        f"  {PAPER_CHECKPOINTS} x {PAPER_CHECKPOINTS} checkpoints, scaled",
        ours.seconds * more / 60,
        bare.seconds * more / 60,
        "the same",
        unit="min",
        details={"minutes with all potentials and gaps": with_proof * more / 60},
    )


def _trajectories(sizes):
    return [trajectory(*sizes, run=run) for run in (0, 1)]


def _fit(*sizes):
    source, target = _trajectories(sizes)
    with Watch() as measured:
        mot = MultiLevelOT(MultiLevelOT()).fit(source, target)
    with Watch() as proof:
        for pair in (pair for row in mot.inner_ for pair in row):
            for matching in (matching for row in pair.inner_ for matching in row):
                _ = matching.potentials_, matching.duality_gap_
    measured.value = proof.seconds
    return measured


def _bare(*sizes):
    source, target = (
        [unit_columns(layer) for checkpoint in side for layer in checkpoint]
        for side in _trajectories(sizes)
    )
    with Watch() as measured:
        literal.match_many(source, target)
    return measured
