"""Class Differences: a table of differences between methods, with a conclusion."""

import textwrap

import numpy as np

from skmot._utils.frames import import_pandas
from skmot.model_selection.over_networks import say_sample

# Characters in a printed line.
LINE = 88


class Differences(list):
    """Differences between methods, returned by :meth:`Comparison.differences`.

    This is a list of dicts, see there. ``print(differences)`` shows the most important
    columns as a table, and what they show and do not show.

    Parameters
    ----------
    rows : list of dict
        The differences.
    reference : str
        Method that the others are compared with.
    over : {"networks", "stimuli"}
        What they hold for.
    correction : {"holm", None}
        Correction of the p-values.
    methods : list
        Names of all methods, of which those without a difference are named.
    note : str, default=""
        Sentence that ends the conclusion.

    Attributes
    ----------
    conclusion : str
        What the differences show and do not show.
    over : {"networks", "stimuli"}
        The given value.
    """

    def __init__(self, rows, reference, over, correction, methods, note=""):
        super().__init__(rows)
        self.over = over
        compared = {reference, *(row["method"] for row in rows)}
        self.conclusion = _conclude(rows, reference, over, correction)
        if rows and (missing := [name for name in methods if name not in compared]):
            self.conclusion += (
                f" Not compared: {', '.join(map(repr, missing))}, whose scores are of "
                "another kind or of other units than those of the reference (RSA and "
                "CKA have costs only)."
            )
        self.conclusion += note

    def __str__(self):
        columns = _SHOWN[self.over]
        if self.over == "networks" and not _tested(self):
            columns = _SHOWN_OF_FEW
        lines = table_lines(self, columns)
        return "\n".join([*lines, *textwrap.wrap(self.conclusion, LINE)])

    def to_frame(self):
        """Return all columns as a table.

        Returns
        -------
        frame : pandas.DataFrame
            Table with one row for each dict.

        Raises
        ------
        ImportError
            If pandas is not installed: ``pip install 'skmot[data]'``.
        """
        return import_pandas().DataFrame(list(self))


_SHOWN = {
    "networks": (
        "method",
        "direction",
        "difference",
        "low",
        "high",
        "p_value",
        "p_corrected",
        "detectable",
        "n_pairs",
    ),
    "stimuli": (
        "source",
        "target",
        "method",
        "direction",
        "difference",
        "low",
        "high",
    ),
}


# With too few networks for a test.
_SHOWN_OF_FEW = (
    "method",
    "direction",
    "difference",
    "low_over_stimuli",
    "high_over_stimuli",
    "n_pairs",
)


def table_lines(rows, columns):
    """Return the lines of a table, without the columns that are empty."""
    table = [
        [column, *(_say(row[column], column) for row in rows)] for column in columns
    ]
    table = [cells for cells in table if set(cells[1:]) - {"nan"}]
    widths = [max(map(len, cells)) for cells in table]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in zip(*table, strict=True)
    ]


def _say(value, column):
    if column.startswith("p_") and value < 0.0005:
        return "<0.001"
    return f"{value:z.3f}" if isinstance(value, float) else str(value)


def _conclude(rows, reference, over, correction):
    """Say what differences show, and what they do not show."""
    if not rows:
        return f"No method has scores that can be compared with those of {reference!r}."
    about = f"These are differences from {reference!r}"
    costs = ""
    if any(row["direction"] == "cost" for row in rows):
        costs = " Costs have no interval over stimuli; lower costs mean more alike."
    if over == "stimuli":
        return (
            f"{about} for these networks and these fits, with intervals over held-out "
            "stimuli: they do not show what other networks, or fits to other stimuli, "
            "would give, and are too narrow for weak effects if splits train on each "
            f"other's held-out stimuli.{costs}"
        )
    samples = "; ".join(dict.fromkeys(say_sample(row) for row in rows))
    if not _tested(rows):
        return (
            f"{about} {samples}. They describe these pairs: the intervals are over "
            "held-out stimuli, and hold for the mean over these networks only. "
            f"`over='stimuli'` gives the intervals of each pair.{costs}"
        )
    p_value = "p_value" if correction is None else "p_corrected"
    return (
        f"{about} {samples}, and over held-out stimuli: a small `{p_value}` says that "
        "the mean difference is not 0 for networks like these. It does not say that "
        "every pair differs, and a large one does not say that the methods are equal: "
        f"mean differences below `detectable` are usually missed.{costs}"
    )


def _tested(rows):
    """Return the rows that have enough networks for a test."""
    return [row for row in rows if row["sample"] != "none"]


def holm(p_values):
    """Return p-values corrected by Holm's method; NaN are no tests."""
    corrected = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested])]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return corrected
