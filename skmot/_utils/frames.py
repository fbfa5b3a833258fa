"""Tables, which are pandas DataFrames. pandas is an optional dependency."""


def import_pandas():
    """Import pandas, or raise an ImportError that says how to install it."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "Tables are pandas DataFrames, and pandas is not installed: "
            "pip install 'skmot[data]'"
        ) from error
    return pd


def choose_table(tables, name):
    """Return the table of a given name, or the first one.

    Parameters
    ----------
    tables : dict of callable
        Functions without arguments that return the columns of a table, or its rows as a
        list of dicts, by the name of the table.
    name : str or None
        Name of a table. None means the first one.

    Returns
    -------
    frame : pandas.DataFrame
        The table.

    Raises
    ------
    ImportError
        If pandas is not installed.
    ValueError
        If there is no table of this name.
    """
    pd = import_pandas()
    if name is None:
        name = next(iter(tables))
    if name not in tables:
        raise ValueError(f"`table` must be one of {list(tables)}; got {name!r}.")
    return pd.DataFrame(tables[name]())
