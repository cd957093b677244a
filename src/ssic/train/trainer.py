"""The training loop: resumable to the step.

Whatever is random in step n follows from (seed, n) alone, so a checkpoint needs no random states: model, averages,
optimisers and the step number are everything.
"""

from __future__ import annotations

import io
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from ssic.engine.torch import find_precision, usable_device
from ssic.errors import InvalidInput, ModelError
from ssic.model.config import PRESETS, STEP_WORTH, ModelConfig
from ssic.model.tensors import float_shapes
from ssic.model.weights import find_weights, load_weights
from ssic.nets.network import Network
from ssic.storage.atomic import replacing
from ssic.train.checkpoint import is_checkpoint, read_checkpoint, twin_as_state
from ssic.train.crops import Pictures
from ssic.train.data import find_pictures, usable
from ssic.train.dense import Dense
from ssic.train.initialise import block_covariance, start_as_klt
from ssic.train.launch import Launch, find_manner
from ssic.train.objective import validate, validation_crops
from ssic.train.options import TrainOptions
from ssic.train.ranks import Ranks
from ssic.train.step import Step, Updates, hold_all_but_synthesis


@dataclass(frozen=True)
class Progress:
    """One line of the log."""

    step: int
    samples: int
    hours: float
    rate: float
    loss: float
    bpp: float
    z_bpp: float
    psnr: float
    samples_per_second: float
    minutes_left: float | None


@contextmanager
def _stopping(event: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set the event instead of breaking a step in two. A second one does what it always did."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _what(only: str | None) -> str:
    return "everything" if only is None else f"the {only} only"


def _config(path: Path, state: dict[str, Any]) -> ModelConfig:
    """Of a checkpoint."""
    try:
        return ModelConfig.from_json(state["config"])
    except (TypeError, ValueError) as e:
        raise ModelError(f"{path} has a configuration that this version of ssic doesn't know: {e}") from e


def _counts(path: Path, card: Mapping[str, Any]) -> tuple[int, int, float]:
    """Steps, samples and seconds that a model card tells of; what it doesn't tell is none."""
    counts = {name: card.get(name, 0) for name in ("step", "samples", "hours")}
    for name, count in counts.items():
        kinds = (int, float) if name == "hours" else (int,)
        if type(count) not in kinds or not 0 <= count < math.inf:
            raise ModelError(f"the card of {path} says of {name} {count!r}, which is no count to go on from")
    return counts["step"], counts["samples"], 3600.0 * counts["hours"]


class Trainer:
    """A run: network, averages, optimisers, and where they stand."""

    def __init__(self, options: TrainOptions, report: Callable[[Progress], None] | None = None) -> None:
        self._started = time.monotonic()
        self.options = options
        self.report = report
        self.config: ModelConfig = PRESETS[options.preset]
        self.ranks = Ranks(usable_device(options.device))
        self.device = self.ranks.device
        self.precision = find_precision(options.precision, self.device)
        manner = find_manner(options.launch, self.device, self.ranks.size)
        if options.threads:
            torch.set_num_threads(options.threads)
        checkpoint = options.run / "checkpoint.pt"
        fresh = not checkpoint.exists()
        if not fresh and options.weights is not None:
            raise InvalidInput(
                f"{checkpoint} would be resumed, and `weights` ignored: name another run, or no weights"
            )
        if fresh and options.weights is None and options.only is not None:
            raise InvalidInput("training the synthesis only takes a model to begin with: name its weights")
        options.run.mkdir(parents=True, exist_ok=True)
        files, self.held_out = find_pictures(options.data)
        self.pictures = Pictures(usable(files, options.crop), options.crop, self.device)
        self._validation: Tensor | None = None
        torch.manual_seed(options.seed)
        self.network = Network(self.config)
        self.step = 0
        self.samples = 0
        self.seconds = 0.0
        self.first = 0
        self.decaying = False
        self.step_worth = STEP_WORTH
        # Of the weights file whose synthesis is trained, for an export of the same model.
        self.twin: dict[str, Any] | None = None
        if fresh and options.weights is None:
            some = self.pictures.whole(every=3 if self.pictures.count > 100 else 1)
            start_as_klt(self.network, block_covariance(some))
        self.network.to(self.device)
        if options.only is not None:
            hold_all_but_synthesis(self.network)
        self.average = Network(self.config).to(self.device)
        self.updates = Updates(
            self.network, self.average, options.matrix_rate, options.other_rate, self.precision, self.ranks
        )
        if not fresh:
            self._load(checkpoint)
        elif options.weights is not None:
            self._start_from(options.weights)
        else:
            self.average.load_state_dict(self.network.state_dict())
        with torch.no_grad():  # transforms of different machines may differ in their last bits
            for network in (self.network, self.average):
                for value in network.state_dict().values():
                    value.copy_(self.ranks.mean(value))
        worth = None if options.only is None else self.step_worth
        twin = self.twin["tensors"] if self.twin else None
        model = Dense(self.network, self.precision, worth, twin)
        self.launch = Launch(
            Step(model, self.pictures, self.updates, options.batch), manner, options.compile_seconds
        )
        self.judge = Dense(self.average, self.precision, worth, twin)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def save(self, name: str = "checkpoint.pt") -> Path:
        """Write everything that resuming needs; never leaves half a file. Rank 0 writes."""
        path = self.options.run / name
        if self.ranks.rank:
            return path
        state = {
            "config": self.config.to_json(),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": self.updates.state_dicts(),
            "step": self.step,
            "samples": self.samples,
            "seconds": self.seconds,
            "first": self.first,
            "decaying": self.decaying,
            "only": self.options.only,
            "twin": self.twin,
            "step_worth": self.step_worth,
            "options": {k: str(v) for k, v in asdict(self.options).items()},
        }
        whole = io.BytesIO()
        torch.save(
            state, whole
        )  # not to the file: of a full disk torch tells in an error of its own, without a reason
        with replacing(path) as temporary:
            temporary.write_bytes(whole.getbuffer())
        return path

    def _start_from(self, path: Path) -> None:
        """Begin anew with the weights of a checkpoint or of a weights file; counts go on where they were."""
        if not is_checkpoint(path):
            weights = load_weights(find_weights(path))
            config, average = weights.config, Network.of(weights).state_dict()
            counts = _counts(path, weights.card)
            self.step_worth = weights.step_worth
            if self.options.only is not None:
                self.twin = twin_as_state(weights)
        else:
            state = read_checkpoint(path, self.device)
            config = _config(path, state)
            average, counts = state["average"], (state["step"], state["samples"], state["seconds"])
            self.step_worth = state.get("step_worth", STEP_WORTH)
            if self.options.only is not None:
                self.twin = state.get("twin")
        self._take(path, average)
        self.config = self._agreed(path, config, every=self.options.only is not None)
        self.step, self.samples, self.seconds = counts
        self.first = self.step

    def _take(self, path: Path, average: dict[str, Tensor]) -> None:
        """Weights of the same configuration, or of one that lacks parts which begin as zeros and so change nothing."""
        before = self.network.state_dict()
        other = [
            name for name, value in average.items() if name in before and before[name].shape != value.shape
        ]
        if other:
            shapes = {name: tuple(value.shape) for name, value in average.items()}
            fits = [f"--preset {name}" for name, config in PRESETS.items() if float_shapes(config) == shapes]
            raise ModelError(
                f"{path} does not fit preset {self.options.preset!r}: {other[0]} has the shape "
                f"{list(average[other[0]].shape)}, not {list(before[other[0]].shape)} (and {len(other) - 1} more "
                f"differ). {'It is for ' + fits[0] if fits else 'No preset has these shapes'}."
            )
        missing, unexpected = self.network.load_state_dict(average, strict=False)
        unfit = [*unexpected, *(name for name in missing if before[name].any())]
        if unfit:
            raise ModelError(f"{path} does not fit preset {self.options.preset!r}: {', '.join(unfit[:5])}")
        self.average.load_state_dict(self.network.state_dict())

    def _agreed(self, path: Path, config: ModelConfig, *, every: bool) -> ModelConfig:
        """What is trained from weights of this configuration; those whose tensors fit may still be of another one.

        Args:
            every: all fields are to be those of the weights, but for the context of hyper-latents, which is none of
                the networks' and fitted after training: as the weights have it. Else parts that begin as zeros may be
                new, but not other trade-offs: they would make other qualities of all that was learned.
        """
        names = [f.name for f in fields(config) if getattr(config, f.name) != getattr(self.config, f.name)]
        names = [n for n in names if (n != "hyper_context" if every else n == "lambda_range")]
        if names:
            raise ModelError(
                f"{path} has another configuration than preset {self.options.preset!r}: "
                + ", ".join(f"{n} is {getattr(config, n)}, not {getattr(self.config, n)}" for n in names)
            )
        return config if every else self.config

    def _load(self, path: Path) -> None:
        state = read_checkpoint(path, self.device)
        self.config = self._agreed(path, _config(path, state), every=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        if state.get("only") != self.options.only:
            raise InvalidInput(
                f"{path} is a run of {_what(state.get('only'))}, not of {_what(self.options.only)}: go on "
                f"{'without' if state.get('only') is None else 'with'} --only, or name another run"
            )
        self.step_worth, self.twin = state.get("step_worth", STEP_WORTH), state.get("twin")
        self.updates.load_state_dicts(state["optimisers"])
        self.step, self.samples, self.seconds = state["step"], state["samples"], state["seconds"]
        self.first, self.decaying = state["first"], state["decaying"]
        # Counted from that start, not from the first step ever: else the weights started from, which the average would
        # forget only after thousands of steps, are what gets judged.
        self.updates.since.fill_(self.step - self.first)
        if self.decaying and self.options.steps is None:
            raise InvalidInput(
                f"{path} was stopped while its learning rate was falling, by the clock: resume from "
                "before-decay.pt (move it to checkpoint.pt), or give the budget in steps"
            )

    # -- the loop ----------------------------------------------------------------------------------------------

    def _set_rate(self, used: float) -> float:
        """used: share of the budget that is gone. -> factor on the learning rates."""
        factor = min(1.0, (self.step - self.first + 1) / max(1, self.options.warm_up))
        if self.options.decay > 0:
            factor *= min(1.0, max(0.0, (1 - used) / self.options.decay))
        self.updates.factor.fill_(factor)
        return factor

    def _seed(self) -> int:
        """Of all that is random in the next step."""
        return self.options.seed * 1_000_003 + self.step + (self.ranks.rank << 40)

    def train_step(self) -> None:
        """One step of both optimisers and of the average."""
        self.launch(self._seed())
        self.step += 1
        self.samples += self.options.batch * self.ranks.size

    def _used(self) -> float:
        """Share of the budget that is gone: of minutes since this start, or of steps since the very first."""
        options, used = self.options, 0.0
        if options.minutes is not None:
            used = (time.monotonic() - self._started) / max(1e-9, 60 * options.minutes)
        if options.steps is not None:
            length = options.steps - self.first
            used = max(used, 1.0 if self.step >= options.steps else (self.step - self.first) / length)
        return used

    def run(self) -> Path:
        """Train until the budget is spent or the process is told to stop: on SIGINT (Ctrl-C) and SIGTERM the
        step in progress is finished and the checkpoint written. -> the checkpoint.

        Raises:
            InvalidInput: what was started from is past `steps` already.
        """
        options = self.options
        if options.steps is not None and 0 < self.first == self.step >= options.steps:
            had = options.run / "checkpoint.pt" if options.weights is None else options.weights
            raise InvalidInput(
                f"{had} had {self.step:,} steps of training: to go on, stop at a later step than "
                f"{options.steps:,}"
            )
        stop = threading.Event()
        with (
            _stopping(stop),
            (options.run / "log.jsonl").open("a", buffering=1) as log,
            self.launch.running(),
        ):
            self.launch.report = lambda facts: self._log(log, {"step": self.step} | facts)
            begun = last_saved = last_logged = time.monotonic()
            before, last_step = self.seconds, self.step
            used_before = self._used()
            while True:
                used = self.ranks.agreed(1.0 if stop.is_set() else self._used())
                if used >= 1:
                    break
                if options.decay and not self.decaying and used > 1 - options.decay:
                    self.save("before-decay.pt")
                    self.decaying = True
                rate = self._set_rate(used)
                if self.launch.captures_next:
                    self.save()
                self.train_step()
                now = time.monotonic()
                self.seconds = before + now - begun
                if self.step % 20 == 0:
                    n = self.step - last_step
                    reached = min(1.0, self._used())
                    spent = reached - used_before  # of the budget, by this start
                    left = (now - begun) / spent * (1 - reached) / 60 if spent > 0 else None
                    progress = Progress(
                        step=self.step,
                        samples=self.samples,
                        hours=round(self.seconds / 3600, 4),
                        rate=round(rate, 4),
                        samples_per_second=round(
                            n * self.ranks.size * options.batch / (now - last_logged), 2
                        ),
                        minutes_left=None if left is None else round(left, 1),
                        **{name: round(mean, 5) for name, mean in self.updates.take_means().items()},
                    )
                    self._log(log, asdict(progress))
                    if self.report and self.ranks.rank == 0:
                        self.report(progress)
                    last_step, last_logged = self.step, now
                if now - last_saved > 60 * options.checkpoint_minutes:
                    self.save()
                    self._log_validation(log)
                    last_saved = time.monotonic()
                    last_logged += last_saved - now  # samples per second are those of training
            path = self.save()
            if not stop.is_set():  # whoever stopped it isn't kept waiting
                self._log_validation(log)
        self.ranks.wait()
        return path

    def _log_validation(self, log: TextIO) -> None:
        if self.ranks.rank == 0 and (facts := self.validate()):
            self._log(log, {"step": self.step, "validation": facts})

    def validate(self) -> dict[str, float]:
        """The averaged weights on the held-out pictures; see `ssic.train.objective.validate`."""
        if self._validation is None:
            self._validation = validation_crops(self.held_out, self.device)
        return validate(self.judge, self._validation)

    def _log(self, log: TextIO, facts: dict[str, Any]) -> None:
        """One line of JSON, which knows no NaN: a loss that is none is null. Rank 0 writes."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: plain(v) for k, v in value.items()}
            return None if isinstance(value, float) and not math.isfinite(value) else value

        if self.ranks.rank == 0:
            log.write(json.dumps(plain(facts), allow_nan=False) + "\n")
