"""Sound files as samples: reading any container (``reading``, ``containers``), the noise of the noisy view, and
changed copies (``changing``).

Begin with ``reading.read_clip``. Imports: config. Neither torch nor librosa.
"""

from pipeline.audio.reading import ClipError, noise, read_clip

__all__ = ["ClipError", "noise", "read_clip"]
