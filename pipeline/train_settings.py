"""How one network is trained: the tables ``[teacher]`` and ``[student]`` of a preset."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline import class_subsets, listed, samplers
from pipeline.bounds import check_most
from pipeline.errors import InputError

#: Augmentations of sounds' features, in the order in which they are kept.
OF_SOUNDS = ("shift", "mask", "blank", "gain")

NOT_NEGATIVE = (
    *("lr", "momentum", "weight_decay", "gamma", "warmup_epochs", "clip_norm", "teacher_seed"),
    *("input_noise", "unlabelled_per_class", "mixup", "mixstyle"),
)
#: From 0 to below 1.
SHARES = (
    *("label_smoothing", "beta2", "average", "dropout", "teacher_dropout", "label_noise", "label_noise_fixed"),
    *("unlabelled", "unlabelled_threshold"),
)


#: In place of a held-out fold, of a run on sounds: none, it is trained on all folds and tested on nothing.
NO_FOLD = 0


@dataclass(frozen=True)
class TrainSettings:
    """How one network is trained."""

    model: str = "resnet18"
    """The network: a file of ``pipeline/models``."""
    epochs: int = 40
    """How often all training clips are gone through; the last epoch is the result."""
    batch: int = 8
    """Of a step; relations are between the clips of a batch."""
    lr: float = 0.1
    """The learning rate, at its highest."""
    momentum: float = 0.9
    """Of SGD; of AdamW β₁."""
    nesterov: bool = True
    """Of SGD: momentum as Nesterov has it."""
    weight_decay: float = 1e-4
    """How strongly weights are drawn to 0."""
    schedule: str = "step"
    """"step": lr × gamma every ``step_epochs``; "cosine": to 0 over the epochs; "constant"; all after the warm-up."""
    step_epochs: int = 10
    """Of schedule "step": after how many epochs the learning rate falls."""
    gamma: float = 0.1
    """Of schedule "step": what the learning rate is multiplied by."""
    milestones: str = ""
    """Of "step": lr × gamma at each of these epochs, for example "60,120,160", instead of every ``step_epochs``."""
    warmup_epochs: float = 0.0
    """The learning rate rises linearly over this many epochs (fractions count steps)."""
    clip_norm: float = 0.0
    """Largest gradient norm of a run; 0: no clipping."""
    label_smoothing: float = 0.0
    """Of the term ``ce`` only."""
    class_weights: str = "none"
    """Of the term ``ce``: "none", or "balanced" (by the training folds' counts)."""
    precision: str = "float32"
    """"float32", or "bfloat16" (autocast; relations stay float32)."""
    tf32: bool = False
    """Allow TensorFloat-32 in float32 products on a GPU."""
    data: str = "float32"
    """Type of the features on the device: "float32" or "bfloat16"."""
    augment: str = "none"
    """"none"; of images "crop-flip" (shifted by up to 4 pixels and mirrored); of sounds some of "shift" (in time), "mask" (frames
    and rows take the mean of their row of the clip) or "blank" (that of the training clips), and "gain", with commas, for example "shift,mask". Anew in every epoch; what teachers hear then: ``teacher_hears``."""
    teacher_epoch: str = "last"
    """Students only: which weights of the teacher teach: "last", "best" (peeks at the held-out fold), or an epoch it kept."""
    teacher_seed: int = 0
    """Students only: the seed of the teacher that all seeds of a fold share."""
    teacher_average: str = "probabilities"
    """Students only: of several teachers at once, the mean of their "probabilities" or of their "logits" teaches."""
    teacher_hears: str = "inputs"
    """Students only: what a teacher is asked about where ``augment`` changes inputs: the very "inputs", so that it runs in every step;
    or the clips' "views" as they are, once, and stored, as if a shift in time changed no answer."""
    views: str = "all"
    """Which views of a clip an epoch takes: "all", each as a clip of its own; or "random", one of each clip, drawn anew."""
    mixup: float = 0.0
    """Inputs are mixed, m x_i + (1 − m) x_j, each with another of its batch, m = max(b, 1 − b), b from Beta(mixup, mixup), and their
    targets by the same m; teachers that run in every step hear the mixtures. 0: none is mixed."""
    mixstyle: float = 0.0
    """Chance of a batch that each clip's bins get the mean and deviation over time of m of their own and 1 − m of another clip's of the
    batch, m from Beta(mixstyle_alpha, mixstyle_alpha); labels and what is stored of teachers stay. 0: none."""
    mixstyle_alpha: float = 0.3
    """Of ``mixstyle``: below 1 one clip of the two prevails, mostly."""
    sampler: str = "shuffle"
    """How batches are drawn: "shuffle", "classes:4" for 4 clips of each of batch / 4 classes, or "unlabelled:3" for 3 clips
    without a label for each with one (``pipeline.samplers``)."""
    optimizer: str = "sgd"
    """"sgd", with (Nesterov) ``momentum``; or "adamw", whose β₁ is ``momentum`` and whose weight decay is apart from the gradient."""
    beta2: float = 0.999
    """Of "adamw": how long the mean of squared gradients remembers (β₂)."""
    average: float = 0.0
    """Decay of the exponential moving average of the weights, which is tested and kept in their place; 0: the last weights.
    After step t it is at most (1 + t) / (10 + t)."""
    dropout: float = 0.0
    """Share of values set to 0 before each linear layer in training, of networks that have a ``Dropout`` there."""
    keep: str = ""
    """Epochs whose weights are kept beside the last, for example "5,10": a student's ``teacher_epoch`` may name one."""
    freeze: str = ""
    """Modules whose weights and running statistics stay bit for bit, for example "conv1,linear" (``pipeline.listed``)."""
    input_noise: float = 0.0
    """Standard deviation of Gaussian noise that is added to the inputs anew in every step, in units of each input's own deviation;
    teachers see them without."""
    teacher_dropout: float = 0.0
    """Share of a teacher's values that are dropped, anew in every step (its batch norm stays as in a test)."""
    teacher_dropout_at: str = "stages"
    """Where: "stages", behind every stage and before the output layer, by teachers that run in every step; or "output", before the
    output layer alone, from what is stored of them."""
    label_noise: float = 0.0
    """Chance that the label of a clip is another class in a step, drawn anew in every step."""
    label_noise_fixed: float = 0.0
    """Share of the clips whose label is another class throughout, drawn once per clip and seed."""
    unlabelled: float = 0.0
    """Share of the training clips whose labels are hidden, whole recordings, the same ones for all runs of a seed."""
    unlabelled_threshold: float = 0.0
    """Of clips without a label only those of whose class the teacher is so sure: its largest probability is at least this."""
    unlabelled_per_class: int = 0
    """Of these the so many of which it is surest for each class that it names, fewer repeated in turn; 0: all, once."""
    features_in: str = field(default="auto", compare=False)
    """Where the features are while it trains: "memory"; "files", from which batches are read; "auto": in memory where they take at most
    half of what is free. The numbers are the same, and it is part of no digest."""
    classes: str = ""
    """The classes that it trains and tests on, for example "0,3,7" or "0:5@1" (``pipeline.class_subsets``); "": all."""

    @property
    def labels_by_seed(self) -> bool:
        """Whether the labels that are known, or right, are others for each seed, or the classes: then each has a teacher of its own."""
        return bool(self.unlabelled or self.label_noise_fixed or class_subsets.is_drawn(self.classes))

    def __post_init__(self) -> None:
        choices = {
            "schedule": ("step", "cosine", "constant"),
            "class_weights": ("none", "balanced"),
            "precision": ("float32", "bfloat16"),
            "data": ("float32", "bfloat16"),
            "teacher_average": ("probabilities", "logits"),
            "teacher_hears": ("inputs", "views"),
            "views": ("all", "random"),
            "optimizer": ("sgd", "adamw"),
            "features_in": ("auto", "memory", "files"),
            "teacher_dropout_at": ("stages", "output"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected one of {', '.join(allowed)}")
        for name in ("epochs", "batch", "step_epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: expected at least 1")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} = {getattr(self, name)}: expected a number of at least 0")
        if not 0 < self.mixstyle_alpha < float("inf"):
            raise InputError(f"mixstyle_alpha = {self.mixstyle_alpha}: expected a number above 0, for example 0.3")
        check_most(self)
        if self.momentum >= 1:
            raise InputError(f"momentum = {self.momentum}: expected a number below 1, for example 0.9")
        marks = self.milestones.replace(" ", "").split(",") if self.milestones else []
        if not all(mark.isdecimal() and mark.isascii() and len(mark) < 8 and int(mark) for mark in marks):
            raise InputError(f"milestones = {self.milestones!r}: expected epochs such as '60,120,160', or ''")
        for name in SHARES:
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: expected 0 or more, below 1")
        samplers.check(self.sampler, self.batch)
        listed.check_teacher_epoch(self.teacher_epoch)
        kept = listed.kept_epochs(self.keep, self.epochs)
        object.__setattr__(self, "classes", class_subsets.parsed(self.classes))
        object.__setattr__(self, "keep", ",".join(map(str, kept)))
        object.__setattr__(self, "freeze", ",".join(sorted(listed.modules(self.freeze))))
        object.__setattr__(self, "augment", augmentations(self.augment))
        object.__setattr__(self, "model", self.model.replace("-", "_"))  # a network's name is its file's

    @property
    def taught_on_augmented(self) -> bool:
        """Whether a teacher has to run in every step, for it hears the inputs as they are augmented."""
        return self.augment != "none" and self.teacher_hears == "inputs"

    @property
    def augment_draws(self) -> int:
        """Random numbers of a clip and step that the augmentation takes."""
        return 6 if set(self.augment.split(",")) & set(OF_SOUNDS) else 3


def augmentations(text: str) -> str:
    """``augment`` as it is kept: in one order. ``InputError`` for words that are none, or twice, or do not go together."""
    words = text.replace(" ", "").split(",")
    if words in (["none"], ["crop-flip"]):
        return words[0]
    if not set(words) <= set(OF_SOUNDS) or len(set(words)) < len(words):
        raise InputError(
            f"augment = {text!r}: expected one of none, crop-flip, or some of {', '.join(OF_SOUNDS)}, each once, with commas"
        )
    if {"mask", "blank"} <= set(words):
        raise InputError(f"augment = {text!r}: mask and blank hide the same cells; expected one of the two")
    return ",".join(word for word in OF_SOUNDS if word in words)
