"""The training loop: epochs of steps, one record per run and epoch, checkpoints, Ctrl-C, and what comes out.

Everything that a step reads and writes is in its ``Pack``; the loop does not know how many runs that are, nor whether they
are computed one by one or as one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import models, signals
from pipeline.config import TrainSettings
from pipeline.listed import kept_epochs
from pipeline.plurals import many
from pipeline.training import checkpoint as files
from pipeline.training import inference, optimizer, peers
from pipeline.training.draws import draws_tables
from pipeline.training.from_files import read_ahead
from pipeline.training.graphs import graphed_step
from pipeline.training.live import Lesson
from pipeline.training.movement import Movement
from pipeline.training.sampling import EpochTables, epoch_tables, steps_of
from pipeline.training.state import Interrupted, Progress, failure
from pipeline.training.step import Pack, step
from pipeline.training.task import Run, Trained
from pipeline.training.term_figures import term_figures


class Loop:
    """A pack under way: the epochs that are left, records, checkpoints."""

    def __init__(
        self,
        pack: Pack,
        runs: Sequence[Run],
        settings: TrainSettings,
        path: Path | None,
        key: str,
        every: float,
        on_epoch: Callable[[int, dict[str, Any]], None] | None,
        until: int | None = None,
    ) -> None:
        self.pack, self.runs, self.settings = pack, runs, settings
        self.path, self.key, self.every, self.on_epoch = path, key, every, on_epoch
        self.last = min(settings.epochs, until or settings.epochs)
        count, device = len(runs), pack.samples.device
        self.progress = Progress(
            history=[[] for _ in runs],
            failures=[None] * count,
            best_accuracy=[-1.0] * count,
            best_epoch=[None] * count,
            steps=[0] * count,
        )
        self.test = inference.held_out_rows(runs, device)
        self.test_labels = pack.truth(self.test)
        self.test_counts = torch.tensor([len(run.task.test) for run in runs], device=device)
        self.logits = pack.weights.new_zeros(count, self.test.shape[1], pack.learner.stacked.classes)
        self.best = {name: tensor.detach().clone() for name, tensor in pack.learner.state().items()}
        self.kept = {
            epoch: {name: torch.zeros_like(tensor) for name, tensor in self.best.items()}
            for epoch in kept_epochs(settings.keep, settings.epochs)
        }
        self.movement = Movement(pack.learner) if self.kept else None
        self.graphed = device.type == "cuda" and pack.learner.layout != "loop"
        self.graphs: dict[bool, Callable[[], None]] = {}
        self.memory: Any = None
        self.saved_at = time.monotonic()
        self.stop = threading.Event()

    def run(self) -> list[Trained]:
        started = time.monotonic()
        with self.ctrl_c():
            while self.progress.epoch < self.last and None in self.progress.failures:
                self.epoch()
            if self.path is not None:
                self.save()
        with self.pack.averaged():
            return [self.trained(r, time.monotonic() - started) for r in range(len(self.runs))]

    def epoch(self) -> None:
        """The steps of the epoch that are left, then its record."""
        pack, progress = self.pack, self.progress
        stopped = [failure is not None for failure in progress.failures]
        self.set_tables(
            epoch_tables(
                self.runs,
                pack.labels,
                self.settings,
                progress.epoch,
                stopped,
                pack.samples.device,
                pack.augment is not None,
                pack.learner.stacked.classes,
            ),
            draws_tables(
                self.runs,
                pack.loss.members,
                self.settings.batch,
                progress.epoch,
                stopped,
                pack.samples.device,
                self.settings.sampler,
            ),
        )
        pack.loss.set_epoch(progress.epoch, self.settings.epochs)
        if isinstance(pack.teaching, Lesson):
            pack.teaching.start_epoch(stopped)
        pack.counter.fill_(progress.done)
        begun = time.monotonic() - progress.epoch_seconds
        steps = max(0 if stop else self.steps_of(run) for run, stop in zip(self.runs, stopped))
        while progress.done < steps:
            self.take(masked=progress.done >= self.full)
            progress.done += 1
            if self.stop.is_set() or (self.path and time.monotonic() - self.saved_at >= self.every):
                progress.epoch_seconds = time.monotonic() - begun
                self.save_or_stop()
        with pack.averaged():
            self.record(time.monotonic() - begun, stopped)
        pack.sums.zero_()
        pack.bad.fill_(-1)
        progress.epoch, progress.done, progress.epoch_seconds = progress.epoch + 1, 0, 0.0

    def set_tables(self, fresh: EpochTables, draws: Mapping[str, Tensor] | None = None) -> None:
        """Put an epoch's tables where the steps, and the graphs of them, look for them."""
        old = self.pack.tables
        for table, values in zip(old, fresh):
            if isinstance(table, Tensor) and isinstance(values, Tensor):
                table[: len(values)] = values
        for key, values in (draws or {}).items():
            self.pack.draws[key][: len(values)] = values
        self.full, self.labelled = fresh.full, fresh.labelled

    def steps_of(self, run: Run) -> int:
        return steps_of(run, self.settings.batch, self.settings.sampler)

    def take(self, masked: bool) -> None:
        """One step; on a GPU by a graph of it."""
        pack = self.pack
        read_ahead(pack.samples, pack.tables.rows, self.progress.done)
        if not self.graphed:
            step(pack, masked)
            return
        if masked not in self.graphs:
            self.memory = self.memory or torch.cuda.graph_pool_handle()
            written = list(pack.written().values())
            self.graphs[masked] = graphed_step(lambda: step(pack, masked), written, self.memory)
        self.graphs[masked]()

    def record(self, seconds: float, stopped: Sequence[bool]) -> None:
        """Test every run, note failures and bests, and pass the records on. The one wait for the device per epoch."""
        pack, progress = self.pack, self.progress
        active = [r for r, stop in enumerate(stopped) if not stop]
        logits = self.held_out(active)
        figures = torch.stack(
            inference.held_out_figures(logits, self.test_labels, self.test_counts, pack.targets)
        ).tolist()
        sums, bad = pack.sums.tolist(), pack.bad.tolist()
        finite = torch.isfinite(pack.weights).all(1).tolist()
        weights = {term: pack.loss.weights[term].tolist() for term in pack.terms}
        for r in active:
            reason = failure([row[r] for row in bad], finite[r], pack.terms, progress.epoch, self.runs[r])
            progress.failures[r] = reason
        progress.failures = peers.stopped(pack.teaching, progress.failures)
        for r in active:
            steps = self.steps_of(self.runs[r])
            progress.steps[r] += steps
            if progress.failures[r]:
                continue
            terms = {
                term: {"raw": sums[i][r] / steps, "weighted": weights[term][r] * sums[i][r] / steps}
                for i, term in enumerate(pack.terms, 1)
                if r in pack.loss.members[term]
            }
            progress.history[r].append(
                {
                    "epoch": progress.epoch + 1,
                    "lr": optimizer.learning_rate(self.settings, progress.epoch, steps - 1, steps),
                    "loss": sums[0][r] / steps,
                    "terms": terms,
                    **self.scores(r, sums[-1][r], steps, figures[0][r]),
                    "test_loss": figures[1][r],
                    "seconds": seconds,
                    **(self.movement.figures(r, progress.epoch == 0) if self.movement else {}),
                }
            )
            self.logits[r] = logits[r]
            if (kept := self.kept.get(progress.epoch + 1)) is not None:
                self.copy(kept, r)
            if figures[0][r] > progress.best_accuracy[r]:
                progress.best_accuracy[r], progress.best_epoch[r] = figures[0][r], progress.epoch + 1
                self.copy(self.best, r)
            if self.on_epoch:
                self.on_epoch(r, progress.history[r][-1])

    def held_out(self, active: Sequence[int]) -> Tensor:
        """Logits (R, n, classes) of the test rows. Those of a space in place of the classes are zeros, whatever it hears: it is asked
        behind its last epoch alone, for their signs."""
        if models.width_of(self.settings.model) and self.progress.epoch + 1 < self.last:
            return torch.zeros_like(self.logits)
        return inference.held_out_logits(self.pack, self.test, active)

    def scores(self, r: int, right: float, steps: int, tested: float) -> dict[str, float]:
        """How well a run does in an epoch, as its record has it."""
        if self.pack.targets is not None:
            return {"map": tested}
        trained = right / max(1, self.labelled[r]) if self.labelled else right / steps / self.settings.batch
        return {"train_accuracy": trained, "accuracy": tested}

    def copy(self, into: dict[str, Tensor], r: int) -> None:
        """Keep the weights of one run as they are now."""
        for name, tensor in self.pack.learner.state().items():
            into[name][r] = tensor[r]

    def trained(self, r: int, seconds: float) -> Trained:
        progress, run = self.progress, self.runs[r]
        failed = progress.failures[r]
        return Trained(
            run=run,
            state={} if failed else self.state(self.pack.learner.state(), r),
            adapters={} if failed else self.state(self.pack.learner.adapters_state(), r),
            terms={} if failed else term_figures(self.pack, self.runs[r], r),
            best_state=self.state(self.best, r) if progress.best_epoch[r] else {},
            kept={} if failed else {epoch: self.state(whole, r) for epoch, whole in self.kept.items()},
            history=progress.history[r],
            logits=self.logits[r, : len(run.task.test)].cpu().numpy()
            if progress.history[r]
            else np.zeros((0, 0), np.float32),
            best_accuracy=progress.best_accuracy[r] if progress.best_epoch[r] else None,
            best_epoch=progress.best_epoch[r],
            failure=failed,
            steps=progress.steps[r],
            seconds=seconds,
        )

    def state(self, whole: dict[str, Tensor], r: int) -> dict[str, Tensor]:
        """The ``state_dict`` of the network of one run, on the CPU."""
        return {
            name: tensor[r : r + 1].detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in whole.items()
        }

    @contextlib.contextmanager
    def ctrl_c(self) -> Iterator[None]:
        """The first Ctrl-C (or SIGTERM, SIGHUP) lets the step end, the second one does not; so does whoever asks this thread."""
        if threading.current_thread() is not threading.main_thread():
            with signals.thread_asks(self.stop.set):
                yield
            return

        if signals.received:
            self.stop.set()
        with signals.first_asks(self.stop.set):
            yield

    def save_or_stop(self) -> None:
        if self.path is not None:
            self.save()
        if self.stop.is_set():
            where = f"epoch {self.progress.epoch + 1} of {self.settings.epochs}, step {self.progress.done}"
            kept = f"kept in {self.path}: the same command goes on from there" if self.path else "not kept"
            raise Interrupted(f"{many(len(self.runs), 'run')} at {where}, {kept}")

    def tensors(self) -> dict[str, Tensor]:
        """Everything on the device that a step changes or an epoch keeps."""
        return {
            **self.pack.written(),
            "logits": self.logits,
            **{f"best.{k}": v for k, v in self.best.items()},
            **{f"kept.{epoch}.{k}": v for epoch, whole in self.kept.items() for k, v in whole.items()},
            **({f"before.{k}": v for k, v in self.movement.before.items()} if self.movement else {}),
        }

    def save(self) -> None:
        assert self.path is not None
        payload = {
            "layout": self.pack.learner.layout,
            "progress": asdict(self.progress),
            "tensors": {name: tensor.cpu() for name, tensor in self.tensors().items()},
        }
        files.write(self.path, payload, self.key)
        self.saved_at = time.monotonic()

    def restore(self, saved: dict[str, Any]) -> None:
        self.progress = Progress(**saved["progress"])
        if not any(name.startswith("before.") for name in saved["tensors"]):
            self.movement = None  # a checkpoint of before there was any: how far the weights moved is not known
        for name, tensor in self.tensors().items():
            tensor.copy_(saved["tensors"][name])
