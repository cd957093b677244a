"""The decoder of docs/entropy.md (a group's substream -> integer latents) in plain Python.

It was written from that page and docs/format.md alone and shares no code with `ssic`, so that the tests show the
pages to be enough for a stranger, and the package to do what they say. It knows Python's integers only: no float
that could round, no size that could overflow. It is slow, and no part of the package.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

from safetensors import safe_open

from helpers.reference_range_decoder import InvalidStream, ReferenceRangeDecoder

Block = tuple[int, int]
"""Row and column in the picture's block grid."""

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
LIMIT = 32736
EVEN_BIT = (0, 2**23, 2**24)
MAX_ONES = 21


def load_tensors(path: str | Path) -> tuple[dict[str, Any], list[int]]:
    """The integers of a weights file as nested lists, by name without `twin.`, and the channels of its slices."""
    with safe_open(path, "np") as file:
        names = [name for name in file.keys() if name.startswith("twin.")]  # noqa: SIM118 (not a dict)
        tensors = {name.removeprefix("twin."): file.get_tensor(name).tolist() for name in names}
        return tensors, json.loads(file.metadata()["config"])["slices"]


def decode_substream(
    tensors: dict[str, Any],
    slices: Sequence[int],
    mask: Sequence[Sequence[int]],
    group: int,
    quality: int,
    data: bytes,
) -> dict[Block, list[int]]:
    """The latents (6 fractional bits) of a group's blocks.

    Args:
        tensors: as from `load_tensors`.
        slices: channels of each slice.
        mask: the group of each block.
        data: the group's substream.

    Raises:
        InvalidStream: no encoder could have written it.
    """
    return SubstreamDecoder(tensors, slices, mask, group, quality, data).decode()


def shift(x: int, bits: int) -> int:
    """The page's `x >> bits`, which rounds."""
    return (x + 2 ** (bits - 1)) // 2**bits


def clamp(x: int) -> int:
    return min(max(x, -LIMIT), LIMIT)


def relu(x: int) -> int:
    return min(max(x, 0), LIMIT)


def phase(block: Block) -> int:
    return {(0, 0): 0, (1, 1): 1}.get((block[0] % 2, block[1] % 2), 2)


@dataclass
class SubstreamDecoder:
    """Decodes one substream once; see `decode_substream`. `escapes` counts the symbols that came as escapes."""

    tensors: dict[str, Any]
    slices: Sequence[int]
    mask: Sequence[Sequence[int]]
    group: int
    quality: int
    data: bytes
    escapes: int = 0

    def decode(self) -> dict[Block, list[int]]:
        frequencies = iter(self.tensors["tables.frequencies"])
        self._supports: list[int] = self.tensors["tables.support"]
        self._tables = [[0, *accumulate(next(frequencies) for _ in range(2 * s + 2))] for s in self._supports]
        self._symbols = ReferenceRangeDecoder(self.data)
        self._blocks = [
            (r, c) for r, row in enumerate(self.mask) for c, owner in enumerate(row) if owner == self.group
        ]
        self._features: dict[Block, list[int]] = {}
        self._latents: dict[Block, list[int]] = {block: [] for block in self._blocks}
        self._values: dict[Block, list[int]] = {block: [] for block in self._blocks}
        self._decode_hyper_latents()
        for k in range(len(self.slices)):
            for p in range(3):
                if blocks := [block for block in self._blocks if phase(block) == p]:
                    self._decode_slice(k, blocks)
        return self._latents

    # -- symbols -----------------------------------------------------------------------------------------------

    def _decode_step(self, means: list[list[int]], scales: list[list[int]]) -> list[list[int]]:
        """The decoded values of a step: a matrix, like the means and log2 scales of its elements."""
        classes = [min(max(shift(s + 3328, 7), 0), 90) for row in scales for s in row]
        supports = [self._supports[c] for c in classes]
        symbols = [0] * len(classes)
        for i in sorted(range(len(classes)), key=classes.__getitem__):  # is stable
            symbols[i] = self._symbols.decode(self._tables[classes[i]]) - supports[i]
        for i, support in enumerate(supports):
            if symbols[i] == support + 1:
                symbols[i] = self._decode_escaped(support)
        symbol = iter(symbols)
        return [[64 * next(symbol) + mean for mean in row] for row in means]

    def _bit(self) -> int:
        return self._symbols.decode(EVEN_BIT)

    def _decode_escaped(self, support: int) -> int:
        self.escapes += 1
        sign = -1 if self._bit() else 1
        ones = 0
        while self._bit():
            ones += 1
            if ones > MAX_ONES:
                raise InvalidStream(f"an escaped symbol starts with more than {MAX_ONES} ones")
        excess = 1
        for _ in range(ones):
            excess = 2 * excess + self._bit()
        return sign * (support + excess)

    # -- nets --------------------------------------------------------------------------------------------------

    def _row(self, name: str) -> list[int]:
        """The row of the group's quality."""
        return self.tensors[name][self.quality - 1]

    def _layer(self, name: str, x: list[int]) -> list[int]:
        """A layer, without the clamp or relu."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        assert len(weight[0]) == len(x), f"{name} takes {len(weight[0])} inputs, not {len(x)}"
        return [shift(sum(map(mul, row, x)) + b, 12) for row, b in zip(weight, bias, strict=True)]

    def _decode_hyper_latents(self) -> None:
        cells: dict[Block, list[Block]] = {}
        for r, c in self._blocks:
            cells.setdefault((r // 4, c // 4), []).append((r, c))
        # Tensors for a context are there if, and only if, the configuration has `hyper_context`.
        phases = [0, 1, 2] if "z_gain" in self.tensors else [None]
        decoded: dict[Block, list[int]] = {}
        for p in phases:
            step = [cell for cell in sorted(cells) if p is None or phase(cell) == p]
            if not step:
                continue
            priors = [self._hyper_prior(cell, cells, decoded, p) for cell in step]
            found = self._decode_step([mean for mean, _ in priors], [scale for _, scale in priors])
            decoded |= dict(zip(step, found, strict=True))
        for cell, blocks in sorted(cells.items()):
            z, reciprocal = decoded[cell], self.tensors["precision_reciprocal"][len(blocks) - 1]
            x = [clamp(shift(v * reciprocal, 8)) for v in z]
            x = [relu(v) for v in self._layer("features1", x)]
            x = [clamp(v) for v in self._layer("features2", x)]
            for r, c in blocks:
                position = self.tensors["position"][4 * (r % 4) + c % 4]
                terms = zip(x, self._row("features_quality"), position, strict=True)
                self._features[r, c] = [relu(sum(t)) for t in terms]

    def _hyper_prior(
        self, cell: Block, cells: dict[Block, list[Block]], decoded: dict[Block, list[int]], p: int | None
    ) -> tuple[list[int], list[int]]:
        """Mean and log2 of the scale."""
        n = len(cells[cell])
        mean = self._row("z_mean")
        scale = [a + b for a, b in zip(self._row("z_scale"), self.tensors["z_count"][n - 1], strict=True)]
        if p is None:
            return mean, scale
        around = [(cell[0] + r, cell[1] + c) for r, c in NEIGHBOURS]
        earlier = [other for other in around if other in cells and phase(other) < p]
        kind = 4 * (p - 1) + len(earlier) if earlier else 0
        predicted = []
        for c, m in enumerate(mean):
            total = 0
            for other in earlier:
                reciprocal = self.tensors["precision_reciprocal"][len(cells[other]) - 1]
                total += clamp(shift((decoded[other][c] - m) * reciprocal, 12))
            gained = shift(total * self.tensors["z_gain"][kind][c], 12)
            predicted.append(m + shift(gained * self.tensors["precision"][n - 1], 12))
        return predicted, [a + b for a, b in zip(scale, self.tensors["z_seen"][kind], strict=True)]

    def _decode_slice(self, k: int, blocks: list[Block]) -> None:
        size, start = self.slices[k], sum(self.slices[:k])
        reference, reciprocal, log2_reference = (
            self._row(name)[start : start + size]
            for name in ("reference", "reference_reciprocal", "log2_reference")
        )
        means, scales = [], []
        for block in blocks:
            x = self._context(k, start, block)
            for layer, limit in (("layer1", relu), ("layer2", relu), ("layer3", clamp)):
                x = [limit(v) for v in self._layer(f"slices.{k}.{layer}", x)]
            means.append([shift(m * r, 12) for m, r in zip(x[:size], reference, strict=True)])
            scales.append([s + r for s, r in zip(x[size:], log2_reference, strict=True)])
        for block, latents in zip(blocks, self._decode_step(means, scales), strict=True):
            self._latents[block] += latents
            self._values[block] += [clamp(shift(v * r, 12)) for v, r in zip(latents, reciprocal, strict=True)]

    def _context(self, k: int, start: int, block: Block) -> list[int]:
        """The input of slice k's net."""
        size, first = self.slices[k], self.slices[0]
        around = [(block[0] + r, block[1] + c) for r, c in NEIGHBOURS]
        earlier = [n in self._values and phase(n) < phase(block) for n in around]
        seen = [self._values[n][start:] if e else [0] * size for n, e in zip(around, earlier, strict=True)]
        x = self._features[block] + self._values[block] + [1024 * e for e in earlier]
        if k < 2:
            x += [v for values in seen for v in values]
        else:
            x += [clamp(shift(sum(map(abs, values)), 2)) for values in zip(*seen, strict=True)]
        if k > 0:
            x += [v for n in around for v in (self._values[n][:first] if n in self._values else [0] * first)]
        return x
