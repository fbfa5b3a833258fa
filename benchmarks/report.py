"""Rows of the benchmark table, which is printed and written as JSON."""

from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """One comparison of skmot with a reference.

    Attributes
    ----------
    target : int or str
        Number of the target, or subject of the row.
    case : str
        Description of the problem, with its sizes.
    measured, reference : float
        Values of skmot and of the reference, in `unit`.
    against : str
        Name of the reference.
    unit : str
        Unit of both values.
    wanted : str
        Description of the target; "" if the row is for information only.
    limit : float or None
        Upper limit of `ratio`, or lower limit if `at_least` is True.
    at_least : bool
        Whether a large ratio is good. The ratio is then reference / measured, the
        speed-up. Otherwise it is measured / reference.
    right : bool
        Whether the computed result is correct. If not, the target is not met.
    details : dict
        Further values for the JSON file.
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
        """Whether the target is met; None if the row has no target."""
        if self.limit is None:
            return None
        if self.at_least:
            return self.right and self.ratio >= self.limit
        return self.right and self.ratio <= self.limit

    def as_dict(self):
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


_HEADINGS = ("target", "case", "skmot", "other side", "ratio", "wanted", "met")


def table(rows):
    """Format rows as an aligned table."""
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
