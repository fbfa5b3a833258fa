"""Result of a test or an estimate, which prints what it shows in a sentence."""

from numbers import Number

import numpy as np
from sklearn.utils import Bunch

from skmot._utils.frames import choose_table


class Result(Bunch):
    """Bunch that prints as a sentence: what it shows, and what it does not show.

    A subclass overrides `_tables` if the result has more tables than the row of its
    single values.

    Parameters
    ----------
    conclusion : str
        The sentence.
    **values
        The numbers, which become attributes.

    Examples
    --------
    >>> from skmot._utils.results import Result
    >>> result = Result("The two are related (p = 0.01).", p_value=0.01)
    >>> print(result)
    The two are related (p = 0.01).
    >>> result.p_value
    0.01
    >>> result.to_frame().columns.tolist()
    ['p_value', 'conclusion']
    """

    def __init__(self, conclusion, **values):
        super().__init__(conclusion=conclusion, **values)

    def to_frame(self, table=None):
        """Return the result, or a part of it, as a table.

        Parameters
        ----------
        table : str, default=None
            Name of the table. Each function says which tables its result has. None
            means the first of them, which is "result" for most: one row with all values
            that are a single number or string, so that ``pd.concat`` makes a table of
            many results.

        Returns
        -------
        frame : pandas.DataFrame
            Table of numbers and strings, which can be written by ``to_csv`` and
            ``to_json``.

        Raises
        ------
        ImportError
            If pandas is not installed: ``pip install 'skmot[data]'``.
        ValueError
            If the result has no table of this name.
        """
        return choose_table(self._tables(), table)

    def _tables(self):
        """Return functions that return the columns of each table, the first one first.

        Returns
        -------
        tables : dict of callable
            Functions without arguments, by the name of the table.
        """
        return {"result": self._row}

    def _row(self):
        """Return the single values as a table with one row, the sentence at the end."""
        row = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.items()
            # A name with an underscore at the end repeats another one.
            if isinstance(value, str | Number | np.generic) and not name.endswith("_")
        }
        del row["conclusion"]
        return [{**row, "conclusion": self.conclusion}]

    def __str__(self):
        return self.conclusion

    def __dir__(self):
        # A Bunch lists its items only.
        return sorted([*super().__dir__(), "to_frame"])

    def __reduce__(self):
        # A Bunch is restored from its items, without arguments of `__init__`.
        return _restore, (type(self), dict(self))


def numbered_rows(number, **values):
    """Return the columns of a table whose rows are numbered from 0.

    Parameters
    ----------
    number : str
        Name of the column with the numbers.
    **values : array-like of shape (n_rows,)
        Further columns.
    """
    n_rows = len(next(iter(values.values())))
    return {number: range(n_rows), **values}


def _restore(cls, values):
    return cls(**values)
