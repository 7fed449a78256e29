"""Settings chosen on the inner folds of a held-out fold, which no trial reads: ``audio-rkd search`` (docs/search.md).

Begin with ``searching`` (trials, stopped early, one after another bracket), then ``space`` (a TOML file: what is varied; those of
this folder come with the project), ``planning`` (a trial's trainings), ``halving`` (which go on), ``proposing`` (optuna: what is
tried next), ``record`` (``trials.jsonl``) and ``nested`` (presets, and students with them). Imports: experiments and what lies below.
"""
