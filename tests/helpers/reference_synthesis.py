"""The synthesis of docs/synthesis.md (latents -> pixels) in plain NumPy and float64.

It was written from that page alone and shares no code with `ssic`. Tokens are kept on the grid of the picture, and
who sees whom is asked pair by pair: slow, and easy to hold against the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Floats = NDArray[np.float64]
Position = tuple[int, int]

OFFSETS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
QUALITIES = 100

_erf = np.vectorize(math.erf)


def load_floats(path: str | Path) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Configuration and float tensors of a weights file, by name without `float.`."""
    with safe_open(path, "np") as file:
        names = [name for name in file.keys() if name.startswith("float.")]  # noqa: SIM118 (not a dict)
        tensors = {name.removeprefix("float."): file.get_tensor(name).astype(np.float64) for name in names}
        return json.loads(file.metadata()["config"]), tensors


@dataclass(frozen=True)
class Token:
    """Where a token lies on the grid of its resolution, and to which group it belongs."""

    row: int
    column: int
    group: int


class ReferenceSynthesis:
    """Decodes blocks.

    Args:
        config: the configuration of a weights file.
        tensors: as from `load_floats`.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Floats]) -> None:
        self.config = config
        self.tensors = tensors

    def decode(
        self,
        latents: Mapping[Position, Sequence[int]],
        mask: Sequence[Sequence[int]],
        quality: Mapping[int, int],
    ) -> dict[Position, NDArray[np.uint8]]:
        """Pixels [16, 16, 3] of each block.

        Args:
            latents: of each wanted block, by row and column, with 6 fractional bits.
            mask: the group of each block of the picture.
            quality: of each group.
        """
        places = sorted(latents)
        rows, columns = len(mask), len(mask[0])
        coarse = [Token(r, c, mask[r][c]) for r, c in places]
        fine = [
            Token(2 * t.row + i, 2 * t.column + j, t.group) for t in coarse for i in (0, 1) for j in (0, 1)
        ]
        q = [quality[t.group] for t in coarse]
        v = np.array([latents[p] for p in places], np.float64) / 64
        dequantiser, reference = self.gains()
        y = v * dequantiser[np.array(q) - 1]
        u = v / reference[np.array(q) - 1]

        t = self.linear("embed", u) + self.quality_rows("synthesis.quality_coarse.weight", q)
        t = self.stage("blocks_coarse", t, coarse, (rows, columns))
        split = self.linear("split", self.norm("norm_coarse", t))
        t = split.reshape(len(fine), -1)
        t = t + self.quality_rows("synthesis.quality_fine.weight", q).repeat(4, axis=0)
        t = self.stage("blocks_fine", t, fine, (2 * rows, 2 * columns))
        p = self.linear("head", self.norm("norm_fine", t))
        p += (y @ self.tensors["synthesis.bypass.weight"].T).reshape(len(fine), 192)
        samples = np.clip(np.rint(255 * (p + 0.5)), 0, 255).astype(np.uint8)
        four = samples.reshape(-1, 4, 8, 8, 3)
        return {place: assembled(patches) for place, patches in zip(places, four, strict=True)}

    # -- gains --------------------------------------------------------------------------------------------------

    def quality_table(self, name: str) -> Floats:
        """[100, channels]."""
        table = self.tensors[name]
        anchors = len(table)
        rows = []
        for quality in range(1, QUALITIES + 1):
            p = (quality - 1) * (anchors - 1) / 99
            rows.append(sum(max(0.0, 1 - abs(p - a)) * table[a] for a in range(anchors)))
        return np.array(rows)

    def quality_rows(self, name: str, quality: Sequence[int]) -> Floats:
        return self.quality_table(name)[np.array(quality) - 1]

    def gains(self) -> tuple[Floats, Floats]:
        """dequantiser and reference, [100, M] each."""
        low, high = (math.log2(26 / x) / 2 - math.log2(255) for x in self.config["lambda_range"])
        step = np.array([low + (high - low) * (q - 1) / 99 for q in range(1, QUALITIES + 1)])
        log2_gain = self.quality_table("entropy.gain.weight") - step[:, None]
        dequantiser = 2 ** (self.quality_table("entropy.inverse_gain.weight") - log2_gain)
        reference = np.sqrt((2**log2_gain * self.tensors["entropy.spread"]) ** 2 + 0.04)
        return dequantiser, reference

    # -- layers -------------------------------------------------------------------------------------------------

    def linear(self, name: str, x: Floats) -> Floats:
        return x @ self.tensors[f"synthesis.{name}.weight"].T + self.tensors[f"synthesis.{name}.bias"]

    def norm(self, name: str, x: Floats) -> Floats:
        centred = x - x.mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt(variance + 1e-5)
        return scaled * self.tensors[f"synthesis.{name}.weight"] + self.tensors[f"synthesis.{name}.bias"]

    def stage(self, name: str, x: Floats, tokens: Sequence[Token], grid: tuple[int, int]) -> Floats:
        depth = self.config["depths"]["fine" not in name]
        for k in range(depth):
            if self.config.get("local", False):
                x = x + self.local(self.tensors[f"synthesis.{name}.{k}.local"], x, tokens)
            if (k + 1) % self.config.get("attention_every", 1) == 0:
                x = self.attention(f"{name}.{k}", x, tokens, grid, shifted=k % 2 == 1)
            if "coarse" in name and self.config.get("dictionary", 0):
                x = self.dictionary(f"{name}.{k}.dictionary", x)
            x = self.feed_forward(f"{name}.{k}", x)
        return x

    def dictionary(self, name: str, x: Floats) -> Floats:
        query = self.linear(f"{name}.query", self.norm(f"{name}.norm", x))
        keys, values = (self.tensors[f"synthesis.{name}.{part}"] for part in ("keys", "values"))
        width = self.config["head_width"]
        out = np.zeros_like(x)
        for i in range(len(x)):
            for h in range(x.shape[1] // width):
                part = slice(h * width, (h + 1) * width)
                a = keys[:, part] @ query[i, part] / math.sqrt(width)
                weights = np.exp(a - a.max())
                out[i, part] = weights @ values[:, part] / weights.sum()
        return x + self.linear(f"{name}.proj", out)

    def attention(
        self, name: str, x: Floats, tokens: Sequence[Token], grid: tuple[int, int], shifted: bool
    ) -> Floats:
        qkv = self.linear(f"{name}.qkv", self.norm(f"{name}.norm1", x))
        query, key, value = np.split(qkv, 3, axis=1)
        width = self.config["head_width"]
        position = self.tensors[f"synthesis.{name}.position"]
        places = [window(t, grid, shifted) for t in tokens]
        out = np.zeros_like(x)
        for i, mine in enumerate(places):
            seen = [
                j
                for j, other in enumerate(places)
                if other.number == mine.number
                and other.side == mine.side
                and tokens[j].group == tokens[i].group
            ]
            r = [(mine.row - places[j].row + 7) * 15 + (mine.column - places[j].column + 7) for j in seen]
            for h in range(x.shape[1] // width):
                part = slice(h * width, (h + 1) * width)
                a = key[seen, part] @ query[i, part] / math.sqrt(width) + position[r, h]
                weights = np.exp(a - a.max())
                out[i, part] = weights @ value[seen, part] / weights.sum()
        return x + self.linear(f"{name}.proj", out)

    def feed_forward(self, name: str, x: Floats) -> Floats:
        hidden = self.linear(f"{name}.up", self.norm(f"{name}.norm2", x))
        if self.config.get("gated", False):
            half = hidden.shape[1] // 2
            hidden = gelu(hidden[:, :half]) * hidden[:, half:]
        else:
            hidden = gelu(hidden)
        return x + self.linear(f"{name}.down", hidden)

    @staticmethod
    def local(weight: Floats, x: Floats, tokens: Sequence[Token]) -> Floats:
        at = {(t.row, t.column): n for n, t in enumerate(tokens)}
        out = np.zeros_like(x)
        for i, t in enumerate(tokens):
            for k, (dy, dx) in enumerate(OFFSETS):
                j = at.get((t.row + dy, t.column + dx))
                if j is not None and tokens[j].group == t.group:
                    out[i] += weight[k] * x[j]
        return out


def gelu(a: Floats) -> Floats:
    found: Floats = a * (1 + _erf(a / math.sqrt(2))) / 2
    return found


def assembled(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[4, 8, 8, 3] in raster order -> [16, 16, 3]."""
    upper, lower = (np.concatenate(list(pair), axis=1) for pair in (patches[:2], patches[2:]))
    return np.concatenate([upper, lower], axis=0)


@dataclass(frozen=True)
class Place:
    """Where a token lies in the windows of a block."""

    number: tuple[int, int]
    row: int
    column: int
    side: tuple[bool, bool]
    """Of the seams."""


def window(token: Token, grid: tuple[int, int], shifted: bool) -> Place:
    height, width = (-(-n // 8) * 8 for n in grid)
    r, c, side = token.row, token.column, (False, False)
    if shifted:
        r, c = (r - 4) % height, (c - 4) % width
        side = (r >= height - 4, c >= width - 4)
    return Place((r // 8, c // 8), r % 8, c % 8, side)
