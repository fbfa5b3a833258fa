"""Utilities for arrays, linear algebra, parallel runs, warnings and docstrings."""
