"""Multi-level estimators, which match the layers of two networks."""

from skmot.multilevel.estimators import MultiLevelOT, MultiLevelOTRotation
from skmot.multilevel.template import TemplateMOT

__all__ = ["MultiLevelOT", "MultiLevelOTRotation", "TemplateMOT"]
