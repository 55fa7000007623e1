"""Things to touch in JupyterLab. They consume the same stream of steps as everything else."""

from widgets.point_entry import PointEntry

__all__ = ["PointEntry"]
