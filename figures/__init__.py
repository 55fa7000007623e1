"""Pictures of what happens during a drag. Each function takes a `Trace`, arrays or a `DragTask`, and returns a Figure."""

from figures.comparison import before_after
from figures.drift import drift_curve
from figures.perturbation import perturbation_curve
from figures.trajectories import trajectories

__all__ = ["before_after", "drift_curve", "perturbation_curve", "trajectories"]
