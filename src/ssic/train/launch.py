"""How steps are run: as they are written, with compiled pieces, or as one graph that is replayed.

A step of training is thousands of small operations, each of which a GPU finishes sooner than Python asks for the next.
Compiling fuses them; a CUDA graph asks for all at once.
"""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ssic.errors import EngineError, InvalidInput
from ssic.train.step import Step

Manner = Literal["auto", "eager", "compiled", "captured"]

MANNERS: tuple[str, ...] = get_args(Manner)

ORDER = ("block", "ends", "bits", "data", "context", "hyper")
"""Pieces of a step in the order of what compiling them gains."""

WARM = 3
"""Steps between the last change and the capture, in which all that is kept is allocated."""

AHEAD = 8
"""Steps that may wait for the device: so the clock means something."""

ALIKE = 0.02
"""How far loss and way of a replayed step may be from those of an eager one, relative to them."""


class LeftOut(UserWarning):
    """A piece of a step that was not compiled, and is run as it is written."""


class TookTooLong(BaseException):
    """Goes through all that catches exceptions, as Ctrl-C does."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` after so many seconds; where signals can't be had, never."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def find_manner(name: Manner, device: torch.device, ranks: int) -> str:
    """What "auto" means: as one graph on CUDA (of several processes, compiled pieces), as written elsewhere.

    Raises:
        InvalidInput: not on this device.
    """
    if name == "captured" and (device.type != "cuda" or ranks > 1):
        raise InvalidInput("steps are captured on one CUDA device, by one process: launch them otherwise")
    if name != "auto":
        return name
    if device.type != "cuda":
        return "eager"
    return "captured" if ranks == 1 else "compiled"


class Launch:
    """Runs steps, the first ones on the way to the manner that was asked for. All of them train.

    Attributes:
        step: what is run.
        stream: of CUDA, on which everything has to run; None elsewhere.
        graph: the recorded step, once there is one.
    """

    def __init__(
        self,
        step: Step,
        manner: str,
        seconds: float,
        report: Callable[[dict[str, Any]], None] | None = None,
        **how: Any,
    ) -> None:
        """
        Args:
            manner: of `find_manner`.
            seconds: for compiling, all pieces together; those that aren't done by then are left out.
            report: is told what was compiled and captured.
            how: for `torch.compile`.
        """
        self.step, self.report, self._how = step, report or (lambda facts: None), how
        self._captures = manner == "captured"
        self._waiting = [] if manner == "eager" else list(ORDER)
        self._seconds = seconds
        self._settled = 0
        self._events: deque[torch.cuda.Event] = deque()
        device = step.pictures.device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.graph: torch.cuda.CUDAGraph | None = None
        if self._waiting:
            # Fine and coarse blocks, shifted or not, and the nets of all slices are compiled each for itself.
            torch._dynamo.config.recompile_limit = 64

    @contextmanager
    def running(self) -> Iterator[None]:
        """All steps, and what reads and writes their tensors, run in here."""
        if self.stream is None:
            yield
            return
        before = torch.get_float32_matmul_precision()
        if self.step.model.dtype == torch.bfloat16:
            torch.set_float32_matmul_precision("high")  # TF32: as much as the bypass needs
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            self.stream.synchronize()
            torch.set_float32_matmul_precision(before)

    @property
    def ready(self) -> bool:
        """Whether steps are run in the manner that was asked for."""
        return not self._waiting and (self.graph is not None or not self._captures)

    @property
    def captures_next(self) -> bool:
        """Whether the next step is preceded by a capture. If that fails, the device may be lost."""
        return not self._waiting and not self.ready and self._settled >= WARM

    def __call__(self, seed: int) -> None:
        """One step of training; all that is random in it follows from the seed."""
        if self.captures_next:
            self._capture(seed)
        if self._waiting and self._settled:
            self._compile(self._waiting.pop(0), seed)
        else:
            self._run(seed)
        self._settled += 1
        if self.stream is not None:
            self._events.append(self.stream.record_event())
            if len(self._events) > AHEAD:
                self._events.popleft().synchronize()

    def _run(self, seed: int) -> None:
        torch.manual_seed(seed)
        if self.graph is None:
            self.step()
        else:
            self.graph.replay()

    def _wait(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _compile(self, piece: str, seed: int) -> None:
        """One step with one more piece compiled, or, if that fails or takes too long, without."""
        begun, why = time.monotonic(), None
        if self._seconds <= 0:
            why = "no time was left for it"
        else:
            self.step.compile(piece, **self._how)
            torch.manual_seed(seed)
            try:
                with _within(self._seconds):
                    loss = self.step.gradients()
                    self._wait()
            except TookTooLong:
                why = "it took too long"
            except Exception as e:  # of any kind: compilers run whatever is installed
                why = f"{type(e).__name__}: {e}"[:300]
            seconds = time.monotonic() - begun
            self._seconds -= seconds
        if why is None:
            self.step.updates.update(loss)
            self.report({"compiled": piece, "seconds": round(seconds, 1)})
        else:
            self.step.uncompile(piece)
            self.step.updates.drop_gradients()
            self.report({"not_compiled": piece, "why": why})
            warnings.warn(f"{piece!r} is not compiled: {why}", LeftOut, stacklevel=2)
            self._run(seed)
        self._settled = 0

    # -- the graph ---------------------------------------------------------------------------------------------

    def _capture(self, seed: int) -> None:
        """
        Raises:
            EngineError: a step can't be recorded, or a replay gives something else.
        """
        self._wait()
        self._events.clear()
        torch.manual_seed(seed)
        begun, graph = time.monotonic(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.step()
        except Exception as e:
            text = f"a step can't be captured: {type(e).__name__}: {e}"[:300]
            raise EngineError(f"{text}; resume with steps launched compiled") from e
        facts = self.compare(graph.replay, seed)
        self.report({"captured": facts, "seconds": round(time.monotonic() - begun, 1)})
        if not facts["alike"]:
            raise EngineError(f"a captured step gives something else: {facts}; launch steps compiled")
        self.graph = graph

    def compare(self, replay: Callable[[], None], seed: int) -> dict[str, Any]:
        """Hold a replayed step against one as it is launched now, from the same state with the same random numbers.

        Returns:
            whether they are alike; loss, way gone of both, and the distance between where they end. The state is
            as it was.
        """
        updates = self.step.updates
        tensors = updates.tensors()
        saved = [tensor.detach().clone() for tensor in tensors]

        def restore() -> None:
            with torch.no_grad():
                for tensor, value in zip(tensors, saved, strict=True):
                    tensor.copy_(value)

        def once(run: Callable[[], None]) -> tuple[float, float, Tensor]:
            before = updates.weights.clone()
            updates.take_means()
            torch.manual_seed(seed)
            run()
            ended = updates.weights.clone()
            loss = updates.take_means()["loss"]
            restore()
            return loss, float((ended - before).norm()), ended

        (loss, way, ended), (other, other_way, other_ended) = once(self.step), once(replay)
        apart = float((ended - other_ended).norm())
        alike = abs(loss - other) <= ALIKE * abs(loss) and abs(way - other_way) <= ALIKE * way
        return {
            "alike": alike and apart <= way / 2,
            "loss": (loss, other),
            "way": (way, other_way),
            "apart": apart,
        }
