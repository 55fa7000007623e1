"""Pictures of what happens during a drag: functions of a `Trace`, arrays or pictures that return a Figure."""

from figures.comparison import before_after, sheet
from figures.drift import drift_curve
from figures.effects import effects
from figures.film import Film
from figures.latents import gradient_arrows, latent_channels
from figures.perturbation import perturbation_by_timestep, perturbation_curve
from figures.ranking import ranking, small_multiples
from figures.schedules import schedule_strip
from figures.similarity import similarity_maps
from figures.trajectories import trajectories

__all__ = [
    "Film",
    "before_after",
    "drift_curve",
    "effects",
    "gradient_arrows",
    "latent_channels",
    "perturbation_by_timestep",
    "perturbation_curve",
    "ranking",
    "schedule_strip",
    "sheet",
    "similarity_maps",
    "small_multiples",
    "trajectories",
]
