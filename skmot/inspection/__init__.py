"""Views of fitted estimators: displays, which store the plotted values, and tables."""

from skmot.inspection.checkpoint_map import CheckpointMapDisplay
from skmot.inspection.comparison import ComparisonDisplay
from skmot.inspection.coupling_grid import plot_coupling_grid
from skmot.inspection.hierarchy import HierarchyTestDisplay
from skmot.inspection.layer_coupling import LayerCouplingDisplay
from skmot.inspection.mass_curve import MassCurveDisplay
from skmot.inspection.matches import matches
from skmot.inspection.network_map import NetworkMapDisplay
from skmot.inspection.permutation_control import PermutationControlDisplay
from skmot.inspection.rosetta import mutual_matches, rosetta_units
from skmot.inspection.rotation_curve import RotationCurveDisplay
from skmot.inspection.tables import coupling_table, score_table
from skmot.inspection.unit_coupling import UnitCouplingDisplay
from skmot.inspection.unit_scores import UnitScoresDisplay

__all__ = [
    "CheckpointMapDisplay",
    "ComparisonDisplay",
    "HierarchyTestDisplay",
    "LayerCouplingDisplay",
    "MassCurveDisplay",
    "NetworkMapDisplay",
    "PermutationControlDisplay",
    "RotationCurveDisplay",
    "UnitCouplingDisplay",
    "UnitScoresDisplay",
    "coupling_table",
    "matches",
    "mutual_matches",
    "plot_coupling_grid",
    "rosetta_units",
    "score_table",
]
