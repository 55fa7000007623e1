"""Pictures of what happens during a drag: functions of a `Trace`, arrays or pictures that return a Figure."""

from figures.comparison import before_after
from figures.drift import drift_curve
from figures.perturbation import perturbation_curve
from figures.trajectories import trajectories

__all__ = ["before_after", "drift_curve", "perturbation_curve", "trajectories"]
