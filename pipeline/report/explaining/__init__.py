"""``explain``: what distilled students listen to that the same network on labels does not, measured, drawn and said in words.

- ``listeners``: which networks are compared, fold by fold: the runs named, their teacher, the same network on labels;
- ``clips``: which clips of the held-out fold they hear;
- ``measuring``: how much noise each block of each clip bears, network by network and kept epoch by kept epoch, kept in the cache;
- ``comparing``: all of it together;
- ``results``: the figures, as they are written to reports/CORPUS/explained/NAME.json, which the page reads (``kept``), without torch;
- ``wording``: tables, notes, and the plain words beside them; ``pictures``: what is drawn.

Begin with ``comparing``. The measure itself: ``pipeline.figures.explained``.
"""
