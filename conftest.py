"""Leaves out doctests whose libraries are not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["skmot/extraction/record.py"]
