"""What holds around a command: where the root is, which plugins there are, what its options are where they are not given.

From the nearest: the command line, the environment (``AUDIO_RKD_ROOT`` …), ``rkd.toml`` in the working folder, the option's own default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipeline import plugins, working_folder
from pipeline.config import InputError
from pipeline.spelling import suggestion
from pipeline.working_folder import Default

#: Commands whose data set or preset is no choice among the corpora's, or is named by what they run.
WITHOUT = {"data": ("dataset", "data"), **dict.fromkeys(("ban", "experiment", "search", "table4"), ("preset",))}

#: Data sets that are no corpus.
OTHERS = ("cifar100",)


@contextmanager
def in_force(named: Mapping[str, Default]) -> Iterator[None]:
    """While the block runs, root and plugins are as ``named`` says. ``InputError`` where that cannot be."""
    with plugins.using(*named.get("plugins", ((), ""))):
        require_known(named)
        root = named.get("root")
        with rooted(root.value if root else "", root.source if root else ""):
            yield


@contextmanager
def rooted(folder: str, source: str) -> Iterator[None]:
    """While the block runs, here and in processes that it starts, the root is ``folder``; "" leaves it."""
    if not folder:
        yield
        return
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"{source}: root {folder} is a file; expected a folder for cache, runs, reports and exports")
    with working_folder.variable_set("root", folder, source):
        yield


def require_known(named: Mapping[str, Default]) -> None:
    """``InputError``, with the nearest name, for a data set or a preset that is none."""
    from pipeline import corpus, presets

    if dataset := named.get("dataset"):
        known = (working_folder.AUTO, *corpus.names(), *OTHERS)
        if dataset.value not in known:
            near = suggestion(dataset.value, known)
            raise InputError(
                f"{dataset.source}: dataset = {dataset.value!r}{near or ':'} expected one of {', '.join(known)}"
            )
    if preset := named.get("preset"):
        try:
            presets.located(preset.value, Path())
        except ValueError as error:
            near = suggestion(preset.value, presets.names()).lstrip(", ")
            raise InputError(" ".join(filter(None, (f"{preset.source}: {error};", near))).rstrip(";")) from None


def of_command(name: str, named: Mapping[str, Default]) -> dict[str, Any]:
    """Option → what it is where the command line does not say, as click's ``default_map`` has it."""
    keys = [key for key in ("dataset", "data", "preset") if key not in WITHOUT.get(name, ())]
    return {key: named[key].value for key in keys if key in named}


def of_its_dataset(context: click.Context, parameter: click.Parameter, data: Path | None) -> Path | None:
    """The corpus' folder; one that the working folder names is of the data set that stands beside it, not of another one."""
    sources = [context.get_parameter_source(str(name)) for name in (parameter.name, "dataset")]
    if sources != [ParameterSource.DEFAULT_MAP, ParameterSource.COMMANDLINE]:
        return data
    beside = (context.default_map or {}).get("dataset")
    return data if working_folder.same(context.params["dataset"], Default(beside, "") if beside else None) else None


def is_given(name: str) -> bool:
    """Whether an option stands on the command line."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
