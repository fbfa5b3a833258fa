"""What a benchmark reports: rows of a table, which is printed and written as JSON."""

from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """One comparison.

    Attributes
    ----------
    target : int or str
        The target it belongs to, or what else it is about.
    case : str
        What was run, with its sizes.
    measured, reference : float
        Ours and the other side, in `unit`.
    against : str
        What the reference is.
    unit : str
        Of both.
    wanted : str
        The target, as a user reads it; "" where the row is for information.
    limit : float or None
        What `ratio` must not exceed, with `at_least` not fall below.
    at_least : bool
        Whether a large ratio is good. It is then reference / measured: so many times
        faster; otherwise measured / reference.
    right : bool
        Whether what was computed is right, too: else no time meets a target.
    details : dict
        Whatever else is worth keeping, for the JSON.
    """

    target: int | str
    case: str
    measured: float
    reference: float
    against: str
    unit: str = "s"
    wanted: str = ""
    limit: float | None = None
    at_least: bool = False
    right: bool = True
    details: dict = field(default_factory=dict)

    @property
    def ratio(self):
        pair = self.measured, self.reference
        over, under = reversed(pair) if self.at_least else pair
        return over / under if under else float("inf")

    @property
    def met(self):
        """Whether the target is reached; None where there is none."""
        if self.limit is None:
            return None
        if self.at_least:
            return self.right and self.ratio >= self.limit
        return self.right and self.ratio <= self.limit

    def as_dict(self):
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


_HEADINGS = ("target", "case", "skmot", "other side", "ratio", "wanted", "met")


def table(rows):
    """Return rows as aligned text."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(7)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _cells(row):
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return (
        str(row.target),
        row.case,
        _number(row.measured, row.unit),
        f"{_number(row.reference, row.unit)} {row.against}",
        f"{row.ratio:.2f}",
        row.wanted,
        met,
    )


def _number(value, unit):
    digits = ".0f" if float(value).is_integer() or abs(value) >= 1000 else ".3g"
    return f"{value:{digits}} {unit}"
