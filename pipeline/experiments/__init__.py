"""Procedures of several trainings. Begin with ``generations``. Imports: engine and what lies below it."""
