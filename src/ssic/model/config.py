"""The frozen description of a model: everything about it but its weights."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from ssic.plan import NEIGHBOURS, WINDOW

QUALITIES = 100
"""Qualities are the integers 1 to 100."""

RANGE = 31.96875
"""Bound of all values between the entropy model's layers; just inside 16 bits with 10 fractional bits."""

SCALE_FLOOR = -3.25
"""log2 of the smallest scale that has a table (0.105)."""

SCALE_CEILING = 8.0
"""log2 of the largest scale that has a table (256)."""

CLASSES_PER_OCTAVE = 8
"""Scales that have a table, per factor of two."""

CLASSES = int((SCALE_CEILING - SCALE_FLOOR) * CLASSES_PER_OCTAVE) + 1
"""Scales that have a table."""

BLOCK_VALUES = 16 * 16 * 3
"""Values of a block of RGB pixels."""

LARGEST_SUM = 1 << 12
"""A layer of the integer twin has fewer inputs than this: so its sums are exact in float64."""

HYPER_CONTEXTS = 1 + 2 * 4
"""Kinds of pairs by their earlier neighbours: none, or 1 to 4 of them, in the second phase or in the third."""

VALUE_NEIGHBOURS = 2
"""Slices whose neighbours are seen value by value; later slices see sums of magnitudes: in high frequencies the
neighbour's sign says nothing."""

HIDDEN_MULTIPLE = 32
"""Gated feed-forwards have a multiple of so many hidden channels: matrix products like whole tiles."""

STEP_WORTH = 4 * 6 / math.log(2)
"""Bits that an error of one step, squared, is worth to an encoder, where a weights file names no other number. 6 / ln 2
is what the trade-off of a fine uniform quantiser gives (see `EntropyModel`), were no symbol context for others; four
times that did best on held-out pictures."""


@dataclass(frozen=True)
class BlockShape:
    """Shape of a transformer block.

    Attributes:
        width: channels of a token.
        head_width: channels per attention head; divides `width`.
        hidden: channels between the feed-forward's two linear maps.
        gated: the feed-forward multiplies what it passes on by gates: its first map gives twice `hidden`.
        local: mix each token with its neighbours of the same group first.
        shift: of the windows of attention, in tokens; None for a block without attention.
        entries: of the dictionary that tokens attend to; 0 for none.
    """

    width: int
    head_width: int
    hidden: int
    gated: bool
    local: bool
    shift: int | None
    entries: int

    @property
    def heads(self) -> int:
        return self.width // self.head_width


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the networks.

    Attributes:
        name: preset, for people.
        widths: channels at 1/8 and at 1/16 of the picture.
        depths: GI Swin blocks at 1/8 and at 1/16, in each of analysis and synthesis.
        head_width: channels per attention head.
        mlp_ratio: hidden width of a block's feed-forward over its width; see `blocks` for gated ones.
        slices: channels of the latent `y` in each of the slices that are coded one after another.
        hyper_channels: channels of the hyper-latent `z`.
        hyper_features: width of the side information that a block receives from `z`.
        context_width: hidden width of the nets that predict a slice.
        anchors: knots of the piecewise linear functions of quality (gains, embeddings).
        lambda_range: rate-distortion trade-off at quality 1 and 100, in bits per pixel per unit of mean squared
            error on the 0..255 scale; log-linear between.
        local: mix each token with its neighbours of the same group by a depthwise 3x3 convolution, before attention.
        gated: the feed-forward of each block is `down(gelu(a) * b)` with (a, b) = up(x), and not `down(gelu(up(x)))`.
        attention_every: the last of so many blocks of a resolution attends to its window; the others only mix
            neighbours, which takes `local`, and feed forward. With 2 these are the blocks on shifted windows.
        dictionary: learned entries that the tokens at 1/16 attend to, in each block; 0 for none.
        hyper_context: predict hyper-latents from those of the cells around that have been decoded. The integer twin
            only: it is fitted when weights are exported, and networks are trained without it.
    """

    name: str = "small"
    widths: tuple[int, int] = (128, 256)
    depths: tuple[int, int] = (2, 2)
    head_width: int = 32
    mlp_ratio: int = 4
    slices: tuple[int, ...] = (16, 32, 48, 80, 144)
    hyper_channels: int = 48
    hyper_features: int = 128
    context_width: int = 160
    anchors: int = 12
    lambda_range: tuple[float, float] = (0.001, 0.256)
    local: bool = False
    gated: bool = False
    attention_every: int = 1
    dictionary: int = 0
    hyper_context: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a field is not of its type, or beyond what any network could want.
        """
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 64 or not self.name.isprintable():
            raise ValueError("name is a text of 1 to 64 printable characters")
        for name, low, high in _BOUNDS:
            _check_integers(name, getattr(self, name), low, high)
        for name in ("widths", "depths"):
            if len(getattr(self, name)) != 2:
                raise ValueError(
                    f"{name} has an entry for each of two resolutions, not {len(getattr(self, name))}"
                )
        if not 0 < len(self.slices) <= 64:
            raise ValueError(f"there are 1 to 64 slices, not {len(self.slices)}")
        if any(width % self.head_width for width in self.widths):
            raise ValueError(f"widths {self.widths} are not multiples of head_width {self.head_width}")
        largest = max(self.slice_inputs(k) for k in range(len(self.slices)))
        if largest >= LARGEST_SUM:
            raise ValueError(
                f"hyper_features and slices give a layer of the integer twin {largest} inputs; fewer than "
                f"{LARGEST_SUM} keep its sums exact"
            )
        trade_offs = self.lambda_range
        if (
            not isinstance(trade_offs, tuple)
            or len(trade_offs) != 2
            or not all(type(v) in (float, int) for v in trade_offs)
            or not 1e-9 <= trade_offs[0] < trade_offs[1] <= 1e9
        ):
            raise ValueError(f"lambda_range is two rising positive numbers, not {trade_offs!r}")
        for name in ("local", "gated", "hyper_context"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is true or false, not {getattr(self, name)!r}")
        if self.attention_every > 1 and not self.local:
            raise ValueError(
                f"attention_every {self.attention_every} leaves blocks without attention: local must be true, or they "
                "see nothing around them"
            )

    @property
    def latent_channels(self) -> int:
        """M, the channels of `y`."""
        return sum(self.slices)

    def slice_inputs(self, k: int) -> int:
        """Inputs of the net that predicts slice k: features, the slices before, which neighbours are there, the
        neighbours' slice k (values or summed magnitudes) and slice 0."""
        around = len(NEIGHBOURS)
        inputs = self.hyper_features + sum(self.slices[:k]) + around
        inputs += self.slices[k] * (around if k < VALUE_NEIGHBOURS else 1)
        return inputs + (around * self.slices[0] if k else 0)

    def blocks(self, level: int) -> list[BlockShape]:
        """The transformer blocks at 1/8 (level 0) or 1/16 (level 1) of the picture, in order.

        A gated feed-forward has three matrices where a plain one has two: so it is two thirds as wide, rounded to a
        multiple of `HIDDEN_MULTIPLE`, and costs about the same.
        """
        width = self.widths[level]
        hidden = self.mlp_ratio * width
        if self.gated:
            hidden = max(round(2 * hidden / 3 / HIDDEN_MULTIPLE), 1) * HIDDEN_MULTIPLE
        # Every second block works on shifted windows.
        shifts = [
            WINDOW // 2 * (k % 2) if (k + 1) % self.attention_every == 0 else None
            for k in range(self.depths[level])
        ]
        entries = self.dictionary if level == 1 else 0
        return [
            BlockShape(width, self.head_width, hidden, self.gated, self.local, shift, entries)
            for shift in shifts
        ]

    def to_json(self) -> str:
        """Canonical JSON: the same configuration always gives the same text. Fields that came later are left out where
        they say what was the case before: the ids of models hash this text."""
        fields = dataclasses.asdict(self)
        for name in _LATER:
            if fields[name] == getattr(type(self), name):
                del fields[name]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Inverse of `to_json`.

        Raises:
            ValueError: no JSON object, fields that there are none of, or values that no configuration has.
        """
        given: Any = json.loads(text)
        if not isinstance(given, dict):
            raise ValueError("a configuration is a JSON object")
        unknown = given.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"a configuration has no field {', '.join(sorted(unknown))}")
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return cls(**fields)


_LATER = ("gated", "attention_every", "dictionary", "hyper_context")
"""Fields that the first models were made without."""

_BOUNDS = (
    ("widths", 1, 1 << 12),
    ("depths", 0, 64),
    ("head_width", 1, 1 << 12),
    ("mlp_ratio", 1, 16),
    ("slices", 1, 1 << 10),
    ("hyper_channels", 1, 1 << 10),
    ("hyper_features", 1, 1 << 11),
    ("context_width", 1, LARGEST_SUM - 1),
    ("anchors", 2, QUALITIES),
    ("attention_every", 1, 64),
    ("dictionary", 0, 1 << 10),
)
"""Integer fields, those of a single number and those of several, and the least and the largest value."""


def _check_integers(name: str, value: Any, low: int, high: int) -> None:
    several = name in ("widths", "depths", "slices")
    numbers = value if several else (value,)
    if not isinstance(numbers, tuple) or not all(type(n) is int and low <= n <= high for n in numbers):
        kind = "integers" if several else "an integer"
        raise ValueError(f"{name} is {kind} from {low} to {high}, not {value!r}")


SMALL = ModelConfig(hyper_context=True)
BASE = ModelConfig(
    name="base",
    widths=(192, 320),
    depths=(3, 3),
    hyper_channels=64,
    context_width=256,
    local=True,
    hyper_context=True,
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        dataclasses.replace(BASE, name="base-gated", gated=True),
        dataclasses.replace(BASE, name="base-sparse", attention_every=2),
        # As sparse, and deeper by what that saves.
        dataclasses.replace(BASE, name="base-sparse-deep", attention_every=2, depths=(4, 4)),
        dataclasses.replace(BASE, name="base-dictionary", dictionary=128),
        dataclasses.replace(
            BASE, name="base-gated-sparse-deep", gated=True, attention_every=2, depths=(4, 4)
        ),
    )
}
"""Configurations that are to be compared with `base`; no model of them is shipped."""

PRESETS = {"small": SMALL, "base": BASE, **EXPERIMENTS}
