"""A cluster that several commands share: whose work its workers are at, a line where ours waits for another's, and the end of ours."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline.config import InputError
from pipeline.plurals import many
from pipeline.progress import say

#: Work of which nothing was heard for so long is asked for: whether any worker is at it.
SILENT_SECONDS = 25

#: Workers have so long to end their step and to keep it: a GPU's checkpoint may have gigabytes.
STOP_SECONDS = 60

#: How often they are asked meanwhile.
LOOK_SECONDS = 0.2

#: A worker that does not answer for so long is left alone: it is held, or its machine is.
ANSWER_SECONDS = 8

#: A function of ``standing`` in each worker, with its arguments → workers' answers, ``None`` of those that are silent.
Ask = Callable[..., list[Any]]


def command_name() -> str:
    """Of this command, and of no other one at the cluster."""
    return f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"


async def answers(client: Any, name: str, *values: str) -> list[Any]:
    """What the function ``name`` of ``standing`` answers in each worker; ``None`` of one that is silent. One that is gone has no part.

    Each is asked by itself: of several at once dask waits for the slowest, without a limit.
    """
    text = f"__import__('pipeline.processes.standing', fromlist=['x']).{name}(*{values!r})"

    async def one(worker: str) -> list[Any]:
        asked = client._run(eval, text, workers=[worker], on_error="ignore")
        try:
            return list((await asyncio.wait_for(asked, ANSWER_SECONDS)).values())
        except TimeoutError:
            return [None]

    each = await asyncio.gather(*map(one, await client.scheduler.ncores()))
    return [answer for some in each for answer in some]


class Watch:
    """Says it in a line, once, where the workers do the work of others while this command's waits."""

    def __init__(self, command: str, address: str, ask: Ask) -> None:
        self.command, self.address, self.ask = command, address, ask
        self.heard, self.told = time.monotonic(), False

    def look(self, heard: bool) -> None:
        """``heard``: whether some of this command's work was just done."""
        now = time.monotonic()
        if heard or self.told:
            self.heard = now
        if now - self.heard < SILENT_SECONDS:
            return
        self.heard = now
        answers = [answer for answer in self.ask("busy") if answer is not None]
        busy = {(command, folder) for answer in answers for command, folder in answer}
        if not answers or self.command in {command for command, _ in busy}:
            return
        self.told = True
        folders = " and ".join(sorted({folder for _, folder in busy}))
        others = f"the work of another command, which stands in {folders}" if busy else "other work"
        say(
            f"waiting: the dask workers at {self.address} do {others}; this command's begins when one is free. More workers "
            "begin at once"
        )


def stop(command: str, ask: Ask) -> None:
    """Ask the workers to end the steps of a command and to keep them; returns when they have, or after ``STOP_SECONDS``.

    A line says of how many it is not known that they have.
    """
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(InputError):  # the cluster is gone as well
        while any(answers := ask("stop", command)) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        if late := sum(answer is None or answer > 0 for answer in answers):
            say(
                f"{late} of {many(len(answers), 'dask worker')} did not say that their step has ended; of their packs stays what was kept last"
            )
