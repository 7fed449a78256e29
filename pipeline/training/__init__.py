"""``fit``: the one training loop. R runs with their own fold, seed, order, weights and losses go through it together.

- ``loop``: epochs, records, checkpoints; begin here, then ``step``: batch, forward, losses, backward, optimizer, sums;
- ``task`` (what a run is, what comes out), ``sampling`` (its batches);
- ``step.taught``: what teachers say of a batch, ``teaching`` (computed once and stored) or ``live`` (they run in the step);
  ``engine.room`` decides which, ``engine.packs.teaching_of`` makes it;
- ``packing``: how many runs at once; ``inference``: networks in evaluation mode; ``fit``: what others call.

Imports: losses, models. Tensors only; ``checkpoint`` alone knows a file.
"""

from pipeline.training.fit import fit, packed, standardisation
from pipeline.training.inference import outputs
from pipeline.training.live import Live
from pipeline.training.sampling import Sampling
from pipeline.training.state import Interrupted
from pipeline.training.task import Run, Start, Task, Trained
from pipeline.training.teaching import File, Stored
from pipeline.training.tuning import tuned

__all__ = [
    "File",
    "Interrupted",
    "Live",
    "Run",
    "Sampling",
    "Start",
    "Stored",
    "Task",
    "Trained",
    "fit",
    "outputs",
    "packed",
    "standardisation",
    "tuned",
]
