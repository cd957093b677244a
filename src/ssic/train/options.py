"""What a training run is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssic.engine.torch import Precision
from ssic.errors import InvalidInput
from ssic.model.config import PRESETS
from ssic.train.crops import check_crop
from ssic.train.launch import MANNERS, Manner

Only = Literal["synthesis"]


@dataclass(frozen=True)
class TrainOptions:
    """What a run is told.

    Attributes:
        data: folders of pictures; every 50th file is held out.
        run: folder for checkpoint and log; a checkpoint in it is resumed.
        preset: model configuration, see `ssic.model.config.PRESETS`.
        minutes: stop this start after so long, reading the pictures and the decay of the learning rate included;
            None: only `steps` counts.
        steps: stop at this step, counted from the very first of the weights, also of those that were started from;
            with `decay`, the schedule that resumes exactly.
        decay: share of the budget at its end in which the learning rate falls to zero, 0 to 1; 0 keeps it constant,
            for runs that will be resumed.
        batch: crops per step.
        crop: side of a crop in pixels.
        matrix_rate: learning rate of Muon, for the hidden matrices.
        other_rate: learning rate of AdamW, for everything else.
        warm_up: steps of linear warm-up after a start or resumption without optimiser state.
        seed: of everything random.
        device: "cpu", "cuda"...
        threads: CPU threads; None leaves torch's default.
        checkpoint_minutes: how often a checkpoint is written.
        weights: start from this installed model or weights file, or from the averages of this checkpoint of
            another run, instead of from a KLT.
        only: "synthesis" leaves the encoder and the entropy model of `weights` as they are and trains what follows the
            decoding of symbols, on those that the encoder chooses: files of given qualities, with effort 1, stay the
            same to the byte, and show pictures that are nearer to the originals.
        launch: how steps are run: "eager", as they are written; "compiled", in pieces that torch.compile makes;
            "captured", those as one CUDA graph; "auto": "captured" on CUDA ("compiled" with several processes),
            "eager" elsewhere.
        compile_seconds: for compiling, all pieces together; those that aren't done by then are left out, with a
            warning.
        precision: of the matrix products; "auto" is bfloat16 where the processor multiplies it natively, which may
            be five times as fast as float32, and six times as slow elsewhere.

    Raises:
        InvalidInput: a value is out of its range, or `decay` has no budget to be a share of.
    """

    data: tuple[Path, ...]
    run: Path
    preset: str = "small"
    minutes: float | None = None
    steps: int | None = None
    decay: float = 0.0
    batch: int = 8
    crop: int = 256
    matrix_rate: float = 8e-4
    other_rate: float = 1e-3
    warm_up: int = 50
    seed: int = 1
    device: str = "cpu"
    threads: int | None = None
    checkpoint_minutes: float = 5.0
    weights: Path | None = None
    only: Only | None = None
    launch: Manner = "auto"
    compile_seconds: float = 120.0
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InvalidInput(f"no preset {self.preset!r}; there are {', '.join(PRESETS)}")
        for name, least in (("batch", 1), ("threads", 1), ("steps", 1), ("seed", 0), ("warm_up", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidInput(f"{_option(name)} is at least {least}, not {value}")
        for name in ("minutes", "matrix_rate", "other_rate", "checkpoint_minutes", "compile_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInput(f"{_option(name)} is above 0, not {value}")
        if self.only not in (None, "synthesis"):
            raise InvalidInput(f"{_option('only')} is synthesis, not {self.only!r}")
        if self.launch not in MANNERS:
            raise InvalidInput(f"{_option('launch')} is one of {', '.join(MANNERS)}, not {self.launch!r}")
        check_crop(self.crop)
        if not 0 <= self.decay <= 1:
            raise InvalidInput(f"{_option('decay')} is a share, 0 to 1, not {self.decay}")
        if self.decay and self.minutes is None and self.steps is None:
            raise InvalidInput(f"{_option('decay')} is a share of the budget: give minutes or steps, too")


def _option(name: str) -> str:
    return name.replace("_", "-")
