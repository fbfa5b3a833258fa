"""What all displays share: axes, colours, labels, and sentences in figures."""

import textwrap
from contextlib import contextmanager

import numpy as np

POINTS_PER_INCH = 72
# Width in inches of a figure for one column of a printed page.
COLUMN_WIDTH = 3.3
# Size in points of the text of new figures. Journals ask for at least 6 or 7 in print.
FONT_SIZE = 8
# In these colour maps lightness changes evenly, so that they can be read in grey and by
# colour-blind readers. Dark means alike in both: a low cost, a large share.
COST_COLOURS, SHARE_COLOURS = "cividis", "Blues"
# Okabe and Ito's colours, which colour-blind readers can tell apart. In grey, markers
# and line styles tell them apart.
STYLES = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": ":"},
    {"color": "#CC79A7", "marker": "D", "linestyle": "-."},
    {"color": "#000000", "marker": "v", "linestyle": "-"},
    {"color": "#E69F00", "marker": "P", "linestyle": "--"},
    {"color": "#56B4E9", "marker": "X", "linestyle": ":"},
)
FOUND, CHANCE = "#0072B2", "0.7"
# The middle 95 % of the values by chance, in percent.
MIDDLE = 2.5, 97.5
# More labels along an axis would overlap.
MOST_LABELS = 12
# Longer names of layers are shortened in the middle.
_LONGEST_NAME = 20
# Mean width of a character and height of a line, in font sizes.
CHARACTER_WIDTH, _LINE_HEIGHT = 0.53, 1.3
# Width of the symbol of a legend and of the space around it, in font sizes.
_HANDLE = 3.0
# Matplotlib's size "small", relative to the font size.
SMALL = 0.833
# Numbers in cells are as small as this many points, and left out if this is too large.
_SMALLEST_NUMBER = 5


def import_pyplot():
    """Import matplotlib's pyplot, which is an optional dependency."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays are drawn by matplotlib, which is not installed: "
            "pip install 'skmot[plot]'"
        ) from error
    return plt


@contextmanager
def drawing(axes, size, n_panels=1):
    """Provide the axes to draw on: those given, or those of a new figure.

    Parameters
    ----------
    axes : matplotlib Axes, sequence of them, or None
        Axes given by the user.
    size : tuple of two floats
        Width and height of a new figure, in inches.
    n_panels : int, default=1
        Number of axes that are needed.

    Yields
    ------
    axes : ndarray of matplotlib Axes of shape (n_panels,)
        Axes to draw on.
    """
    plt = import_pyplot()
    if axes is not None:
        given = np.atleast_1d(np.asarray(axes, dtype=object))
        if given.shape != (n_panels,):
            needed = "Two axes are" if n_panels == 2 else "One axes is"
            raise ValueError(f"{needed} needed for this plot; got {axes}.")
        yield given
        return
    # Axes that are given keep the style of the user.
    with plt.rc_context({"font.size": FONT_SIZE}):
        figure, grid = plt.subplots(
            1, n_panels, figsize=size, layout="constrained", squeeze=False
        )
        try:
            yield grid[0]
        except BaseException:
            plt.close(figure)
            raise
        fix_tick_sizes(figure)


def fix_tick_sizes(figure):
    """Set the size of tick labels, some of which are created when a figure is drawn."""
    for ax in figure.axes:
        ax.tick_params(labelsize=FONT_SIZE)


def font_size():
    """Return the size of text in points."""
    return import_pyplot().rcParams["font.size"]


def size_in_points(ax):
    """Return the width and the height of axes."""
    return tuple(
        POINTS_PER_INCH * side / ax.figure.dpi
        for side in (ax.bbox.width, ax.bbox.height)
    )


def lay_out(figure):
    """Give the axes of a figure their final sizes, if it has a layout engine."""
    engine = figure.figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure.figure)


def wrap(text, points, size):
    """Break a text into lines that fit into a width in points."""
    n_characters = max(12, int(points / (CHARACTER_WIDTH * size)))
    return textwrap.fill(text, n_characters, break_on_hyphens=False)


def write_sentence(ax, sentence, *, is_new):
    """Write what a result shows above the axes, in lines of their width.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes.
    sentence : str
        Sentence.
    is_new : bool
        Whether the figure was created for this plot. It then grows by the lines.

    Returns
    -------
    text : matplotlib Text
        Title of the axes.
    """
    lay_out(ax.figure)
    size = SMALL * font_size()
    text = wrap(sentence, size_in_points(ax)[0], size)
    if is_new:
        lines = (1 + text.count("\n")) * _LINE_HEIGHT * size
        ax.figure.set_figheight(ax.figure.get_figheight() + lines / POINTS_PER_INCH)
    return ax.set_title(text, loc="left", fontsize=size)


def add_colour_bar(image, axes):
    """Add a colour bar. It is named by `name_colour_bar`, once sizes are known."""
    first = np.ravel(np.asarray(axes, dtype=object))[0]
    return first.figure.colorbar(image, ax=axes)


def name_colour_bar(bar, label):
    """Name the quantity of a colour bar, in lines of its height."""
    height = size_in_points(bar.ax)[1]
    # Labels of long names may be somewhat longer than the bar.
    bar.set_label(wrap(label, 1.25 * height, font_size()))


def label_layers(axis, names, n_layers):
    """Label the ticks of an axis by the names of layers, or number them from 1.

    Of many layers, every second, third and so on is labelled.

    Parameters
    ----------
    axis : matplotlib XAxis or YAxis
        Axis on which layer i is at i.
    names : sequence or None
        Names of the layers.
    n_layers : int
        Number of layers.
    """
    if names is None:
        label_places(axis, range(1, n_layers + 1), range(n_layers), may_rotate=False)
    else:
        label_places(axis, names, range(n_layers))


def label_places(axis, names, places, may_rotate=True):
    """Label the ticks of an axis at some places, as :func:`label_layers` does."""
    labels = [shorten(name) for name in names]
    is_across = axis.axis_name == "x"
    length = size_in_points(axis.axes)[0 if is_across else 1]
    line = _LINE_HEIGHT * font_size()
    longest = CHARACTER_WIDTH * font_size() * (1 + max(map(len, labels)))
    is_rotated = (
        is_across and may_rotate and longest > length / min(len(labels), MOST_LABELS)
    )
    # Lines that are rotated by 45 degrees need 1.4 times their height.
    needed = 1.4 * line if is_rotated else longest if is_across else line
    most = int(np.clip(length / needed, 1, MOST_LABELS))
    step = 1 + (len(labels) - 1) // most
    axis.set_ticks(places[::step], labels[::step])
    if is_rotated:
        side = "left" if axis.get_ticks_position() == "top" else "right"
        for tick in axis.get_ticklabels():
            tick.set(rotation=45, ha=side, rotation_mode="anchor")


def shorten(name):
    """Return a name as a string, shortened in the middle if it is long."""
    name = str(name)
    if len(name) <= _LONGEST_NAME:
        return name
    kept = _LONGEST_NAME // 2
    return f"{name[: kept - 1]}…{name[-kept:]}"


def draw_cells(ax, values, colours, limits):
    """Draw a matrix as an image; `limits` are the ends of its colours, or None."""
    low, high = (None, None) if limits is None else limits
    return ax.imshow(
        np.asarray(values), cmap=colours, aspect="auto", vmin=low, vmax=high
    )


def write_numbers(image):
    """Write the number of each cell of an image, if the cells are large enough."""
    ax, values = image.axes, np.asarray(image.get_array())
    n_rows, n_columns = values.shape
    width, height = size_in_points(ax)
    texts = [[say_number(value) for value in row] for row in values]
    longest = max(len(text) for row in texts for text in row)
    fits = min(
        width / n_columns / (CHARACTER_WIDTH * (longest + 1)),
        height / n_rows / _LINE_HEIGHT,
    )
    if max(values.shape) > MOST_LABELS or fits < _SMALLEST_NUMBER:
        return
    for row, column in np.ndindex(values.shape):
        red, green, blue, _ = image.cmap(image.norm(values[row, column]))
        # Perceived luminance of the cell's colour. Dark cells have white text.
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        ax.text(
            column,
            row,
            texts[row][column],
            ha="center",
            va="center",
            fontsize=min(SMALL * font_size(), fits),
            color="black" if luminance > 0.5 else "white",
        )


def say_number(value):
    """Return a number with two decimals, or two digits if these say too little."""
    if value == 0 or 0.01 <= abs(value) < 100:
        return (
            f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"
        )
    return f"{value:.2g}"


def check_result(result, fields, function):
    """Raise an error unless a result has the fields that a display needs."""
    missing = [field for field in fields if not hasattr(result, field)]
    if missing:
        raise TypeError(
            f"`result` must be what {function} returns; got a "
            f"{type(result).__name__} without {', '.join(missing)}."
        )


def draw_null(ax, null_values, value, *, null_name, value_name):
    """Draw the histogram of values by chance, and the value that was found.

    Returns
    -------
    bars : matplotlib BarContainer
        Histogram.
    line : matplotlib Line2D
        Vertical line at the value.
    """
    n_bins = int(np.clip(np.sqrt(len(null_values)), 5, 40))
    *_, bars = ax.hist(
        null_values,
        bins=n_bins,
        color=CHANCE,
        label=f"{null_name} ({len(null_values):,})",
    )
    top = ax.get_ylim()[1]
    (line,) = ax.plot(
        [value, value], [0, top], color=FOUND, linewidth=2, label=value_name
    )
    ax.set(ylabel="count", ylim=(0, top))
    add_legend(ax)
    return bars, line


def add_legend(ax, title="", **handles_and_labels):
    """Add a legend at the top of the axes, above all that is drawn there."""
    lay_out(ax.figure)
    labels = handles_and_labels.get("labels", ax.get_legend_handles_labels()[1])
    width, height = size_in_points(ax)
    size = SMALL * font_size()
    column = (CHARACTER_WIDTH * max(map(len, labels)) + _HANDLE) * size
    n_columns = int(np.clip(width / column, 1, len(labels)))
    n_lines = -(-len(labels) // n_columns) + (1 + title.count("\n")) * bool(title)
    room = (n_lines + 0.8) * _LINE_HEIGHT * size
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + (high - low) * room / max(height - room, height / 2))
    return ax.legend(
        loc="upper left",
        ncols=n_columns,
        frameon=False,
        fontsize=size,
        title=title or None,
        title_fontsize=size,
        alignment="left",
        handlelength=1.2,
        columnspacing=1.0,
        **handles_and_labels,
    )
