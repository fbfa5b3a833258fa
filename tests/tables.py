"""Whether tables survive files, for the tests of all tables."""

import io

import pandas as pd

# Decimal digits are read to the last bit or two.
_ROUNDING = 1e-14


def assert_survives_files(frame):
    """Write a table as CSV and as JSON, read it, and compare cell by cell."""
    assert len(frame) > 0
    assert frame.columns.is_unique
    assert all(type(name) is str for name in frame.columns)
    csv = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    json = pd.read_json(
        io.StringIO(frame.to_json(orient="records", double_precision=15)),
        orient="records",
    )
    for read in (csv, json):
        assert list(read.columns) == list(frame.columns)
        assert len(read) == len(frame)
        for name in frame.columns:
            cells = frame[name].tolist()
            # A column with names and numbers is read as one of strings.
            convert = str if {str, int} <= {type(cell) for cell in cells} else _same
            for cell, found in zip(cells, read[name], strict=True):
                # No arrays, lists, tuples or objects.
                assert isinstance(cell, str | int | float | None), name
                if pd.isna(cell):
                    assert pd.isna(found), name
                elif isinstance(cell, float):
                    assert abs(found - cell) <= _ROUNDING * max(1.0, abs(cell)), name
                else:
                    assert convert(found) == convert(cell), name


def _same(cell):
    return cell
