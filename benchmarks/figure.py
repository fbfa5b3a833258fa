"""Figure of the time of an MOT fit against units, layers and stimuli."""

import literal
from measure import in_fresh_process, shortest
from problems import network, unit_columns

from skmot import MultiLevelOT

REPEATS = 2
# The literal loop is timed on at most this number of pairs and scaled to all pairs.
MOST_LITERAL_PAIRS = 4
# Units, layers and stimuli of each panel. None marks the size that varies.
PANELS = {
    "full": {
        "units in each layer, N = K": (
            (None, 2, 2042),
            [64, 128, 256, 512, 1024, 2048, 4096],
        ),
        "layers in each network, L = M": ((512, None, 2042), [1, 2, 4, 8, 16, 32]),
        "stimuli, S": ((1024, 2, None), [256, 512, 1024, 2048, 4096, 8192, 16384]),
    },
    "small": {
        "units in each layer, N = K": ((None, 2, 500), [64, 128, 256, 512]),
        "layers in each network, L = M": ((128, None, 500), [1, 2, 4, 8]),
        "stimuli, S": ((256, 2, None), [250, 500, 1000, 2000]),
    },
}
# Name, colour and marker. The palette of Okabe and Ito suits colour-blind readers.
LINES = [
    ("literal loop: np.corrcoef, dense ot.emd", "#D55E00", "s"),
    ("skmot, the whole fit", "#0072B2", "o"),
    ("float32 matrix products alone", "#555555", "^"),
]


def measure(scale):
    """Time the fits of all panels.

    Returns
    -------
    points : list of dict
        Label, fixed sizes, values and the seconds of each line, for each panel.
    """
    points = []
    for label, (sizes, values) in PANELS[scale].items():
        times = []
        for value in values:
            units, layers, stimuli = (value if size is None else size for size in sizes)
            times.append(in_fresh_process(_time, units, layers, stimuli))
            print(f"  figure: {label} {value}: {times[-1]}", flush=True)
        seconds = {
            name: [taken[line] for taken in times]
            for line, (name, *_) in enumerate(LINES)
        }
        points.append(
            {"label": label, "sizes": sizes, "values": values, "seconds": seconds}
        )
    return points


def _time(n_units, n_layers, n_stimuli):
    """Return the seconds of the literal loop, a fit, and the products, on one core."""
    source, target = (network(n_layers, n_units, n_stimuli, run=run) for run in (0, 1))
    columns = [[unit_columns(layer) for layer in side] for side in (source, target)]
    pairs = [(x, y) for x in source for y in target]
    timed = pairs[:MOST_LITERAL_PAIRS]
    loop, fit, products = shortest(
        [
            lambda: [literal.match_layers(x, y) for x, y in timed],
            lambda: MultiLevelOT().fit(source, target),
            lambda: [(x.T @ y).shape for x in columns[0] for y in columns[1]],
        ],
        REPEATS,
    )
    return loop * len(pairs) / len(timed), fit, products


def draw(points, machine, path):
    """Draw all panels in one figure and save it."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure, axes = plt.subplots(
        1, 3, figsize=(10, 4.1), sharey=True, layout="constrained"
    )
    for axis, panel in zip(axes, points, strict=True):
        for name, colour, marker in LINES:
            axis.loglog(
                panel["values"],
                panel["seconds"][name],
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=1.8,
                label=name,
            )
        axis.set(xlabel=panel["label"], title=_fixed(panel["sizes"]))
        axis.title.set_fontsize("medium")
        axis.xaxis.set_major_locator(FixedLocator(panel["values"]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.tick_params(axis="x", labelsize="small")
        axis.grid(which="major", color="#dddddd", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("seconds, one core")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=len(LINES),
        frameon=False,
    )
    figure.text(
        0.995,
        -0.04,
        f"{machine['processor']}, numpy {machine['numpy']}, POT {machine['ot']}",
        ha="right",
        fontsize="small",
        color="#555555",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")


def _fixed(sizes):
    units, layers, stimuli = sizes
    fixed = [
        None if layers is None else f"{layers} x {layers} layers",
        None if units is None else f"{units:,} units",
        None if stimuli is None else f"{stimuli:,} stimuli",
    ]
    return ", ".join(part for part in fixed if part is not None)
