"""Estimators for the tests: they show what they are given, or tell where they ran."""

import os
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, RegressorMixin

from skmot import SoftMatching
from skmot.base import Solution


class Revealing(SoftMatching):
    """Predicts each target unit as the source unit in its place, and shows on what.

    Attributes
    ----------
    source_, target_ : Population
        What it was fitted to.
    maps_ : tuple of Copying
        From source to target, and back.
    """

    def _solve(self, source, target):
        maps = Copying(), Copying()
        shown = {"source_": source, "target_": target, "maps_": maps}
        return Solution(cost=0.0, maps=maps, attributes=shown)


class Copying:
    """A map that returns what it is given, in a precision of its own, and keeps it."""

    def __init__(self):
        self.dtype = None

    def __call__(self, units):
        self.units = units
        return units if self.dtype is None else units.astype(self.dtype)


class Witness(RegressorMixin, BaseEstimator):
    """A foreign inner estimator that tells where it was fitted, and may warn."""

    def __init__(self, message=None, path=None, seconds=0.0, dies_once=None):
        self.message = message
        self.path = path
        self.seconds = seconds
        self.dies_once = dies_once

    def fit(self, X, y):
        self.process_, self.thread_ = os.getpid(), threading.get_ident()
        self.config_ = get_config()["working_memory"]
        self.cost_ = abs(float(X.mean()) - float(y.mean()))
        if self.path is not None:
            with open(self.path, "a") as lines:
                lines.write(f"{self.cost_}\n")
        time.sleep(self.seconds)
        if self.dies_once is not None and Path(self.path).stat().st_size > 80:
            try:
                os.mkdir(self.dies_once)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        if self.message is not None:
            warnings.warn(self.message.format(X.shape[1]), UserWarning, stacklevel=2)
        return self

    def predict(self, X):
        return np.zeros((len(X), 2))
