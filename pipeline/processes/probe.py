"""What a dask worker says of itself. It is sent there as text, for a worker that lacks the project cannot import it."""

from __future__ import annotations

from typing import Any


def probe(
    token: str, paths: list[str], packages: list[str], variables: dict[str, str] | None = None, place: str = ""
) -> dict[str, Any]:
    """Where the worker stands, whether it sees the file ``token`` and ``paths``, and which versions it has.

    ``place``: the folder where the command runs, from which paths are; the worker sees it by this name, or stands in it. ``variables``:
    of the environment, as they are where the command runs; "" where one is not there.
    """
    import importlib  # inside, for this text runs alone in a worker
    import importlib.metadata
    import os
    import sys

    answer: dict[str, Any] = {"folder": os.getcwd(), "same_folder": not token or os.path.exists(token)}  # noqa: PTH109, PTH110
    answer["sees_folder"] = bool(place) and os.path.exists(os.path.join(place, token))  # noqa: PTH110, PTH118
    base = place if answer["sees_folder"] else ""
    answer["unseen"] = [path for path in paths if not os.path.exists(os.path.join(base, path))]  # noqa: PTH110, PTH118
    versions = {"python": "{}.{}".format(*sys.version_info)}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    for name, value in (variables or {}).items():
        os.environ[name] = value
    try:
        importlib.import_module("pipeline")
        versions["audio-rkd"] = importlib.import_module("pipeline").__version__
        importlib.import_module("pipeline.plugins").refresh(anew=True)
    except Exception as error:
        answer["broken"] = f"{type(error).__name__}: {error}"
    return {**answer, "versions": versions}
