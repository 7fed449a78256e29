"""The fast path (not yet)."""

from pipeline.features.plain import stacked as stacked
