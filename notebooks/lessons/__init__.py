"""What the notebooks need beside the library: the exercises and their checks, one file for each lesson.

`check.ddim_step(my_function)` tells whether an answer is right, and if not, what is wrong with it.
"""

from types import SimpleNamespace

from lessons import (
    clinic,
    diffusion,
    features,
    identity,
    measuring,
    questions,
    rivals,
    schedule,
    supervision,
    whole,
)

LESSONS = (diffusion, identity, features, supervision, schedule, whole, measuring, rivals, questions, clinic)
EXERCISES = {name: exercise for lesson in LESSONS for name, exercise in lesson.EXERCISES.items()}
check = SimpleNamespace(**EXERCISES)
