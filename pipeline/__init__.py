"""Audio classifiers compressed by relational knowledge distillation: features, teachers, students, reports."""

__version__ = "0.1.0"
