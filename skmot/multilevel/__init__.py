"""Multi-level estimators, which match the layers of two networks."""

from skmot.multilevel.estimators import MultiLevelOT, MultiLevelOTRotation

__all__ = ["MultiLevelOT", "MultiLevelOTRotation"]
