"""Temperature scaling (Guo et al. 2017, section 4.2): one number by which logits are divided, so that confidence is as high as accuracy.

T minimises the negative log-likelihood of softmax(z / T), of clips with several labels the binary cross-entropy of σ(z / T), one T for
all classes. It changes no predicted class, and no set of classes at a probability of 0.5. It must be fitted on clips that the network
was not trained on, and that it is not tested on.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, softmax

from pipeline.config import InputError
from pipeline.plurals import many

#: The temperatures among which one is looked for: beyond them a network is sure of all, or knows nothing.
LEAST, MOST = 0.05, 20.0

#: Halvings of the interval of 1 / T: to all digits of a float64.
STEPS = 60


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """T of logits (clips, classes) and labels (clips,), or targets (clips, classes) of clips with several labels.

    With β = 1 / T the loss mean(log Σ_c exp(β z_c) − β z_y) is convex, its slope mean(Σ_c p_c z_c − z_y) rises with β: its root is
    found by halving. So it is of the binary cross-entropy, whose slope is mean_n,c((σ(β z_c) − t_c) z_c). ``InputError`` for logits that are
    not finite, or none.
    """
    values = np.asarray(logits, np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise InputError(
            f"{many(len(values), 'clip')} of logits, not all finite: a temperature needs finite ones; expected a run that trained"
        )
    several = np.ndim(labels) == 2
    right = (values * labels).mean(axis=1) if several else values[np.arange(len(values)), labels]

    def slope(beta: float) -> float:
        if several:
            return float((expit(beta * values) * values).mean() - right.mean())
        return float((softmax(beta * values, axis=1) * values).sum(axis=1).mean() - right.mean())

    low, high = 1 / MOST, 1 / LEAST
    for _ in range(STEPS):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(1 / np.sqrt(low * high))
