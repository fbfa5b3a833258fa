"""The version of skmot."""

__version__ = "0.1.0"
