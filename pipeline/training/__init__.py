"""``fit``: the one training loop. R runs with their own fold, seed, order, weights and losses are one network.

- ``run``: what a run is, what comes out of it, and everything about it that is known before the first step
  (normalisation, order of samples, learning rates, steps an epoch);
- ``step``: one step of a pack: batch, forward, losses, backward, optimizer, sums;
- ``inference``: networks in evaluation mode;
- ``job``: epochs, records, checkpoints;
- ``fit``: the door to all of it.
"""

from pipeline.training.fit import fit, tuned
from pipeline.training.inference import outputs, teacher_outputs
from pipeline.training.job import Interrupted
from pipeline.training.run import Run, TeacherOutputs, Trained

__all__ = ["Interrupted", "Run", "TeacherOutputs", "Trained", "fit", "outputs", "teacher_outputs", "tuned"]
