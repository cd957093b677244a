"""The networks of *Semantically Structured Image Compression via Irregular Group-Based Decoupling* (ICCV 2023), as a
yardstick of time: what others take for the same picture on the same machine.

Built in plain PyTorch from what is known of the architecture. Weights are random: time does not depend on them, and
nothing is said here of quality. Not in it are the range coder and the reading of symbols.

Known: four stages of stride 2, of 2x2 patch embedding and Swin blocks that attend within a group (widths 128, 192, 256,
320; depths 2, 2, 5, 1; heads 8, 12, 16, 16; windows of 8x8, every second block's shifted by 4; MLP ratio 4; LayerNorm);
a synthesis that mirrors them with 1x1 convolutions and pixel shuffle; 320 latent channels at 1/16 of the resolution; a
hyperprior of 3x3 and 5x5 convolutions with 192 channels down to 1/64; ten slices of 32 channels, each predicted by 1x1
nets from the hyperprior and the slices before. Not known are the widths of these nets, for which those of the published
channel-autoregressive model are taken (224 and 128; one net each for means, scales and what rounding lost), and how
many slices a net sees: here all before it. They take a twentieth of the time, so it matters little.

The decoder runs slice by slice, as it must. Sides of a picture are multiples of 128.

    python benchmarks/paper.py --threads 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

WIDTHS, DEPTHS, HEADS = (128, 192, 256, 320), (2, 2, 5, 1), (8, 12, 16, 16)
WINDOW = 8
LATENTS, HYPER = 320, 192
SLICES = 10
MULTIPLE = 2 ** len(WIDTHS) * WINDOW
"""Sides of a picture are multiples of this, so that windows are full at all stages."""


class Block(nn.Module):
    """A Swin block: windows of tokens, of which each attends to those of its own group."""

    def __init__(self, width: int, heads: int, shift: int) -> None:
        super().__init__()
        self.heads, self.shift = heads, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.position = nn.Parameter(0.02 * torch.randn((2 * WINDOW - 1) ** 2, heads))
        place = torch.stack(torch.meshgrid(*[torch.arange(WINDOW)] * 2, indexing="ij")).flatten(1)
        row, column = place[:, :, None] - place[:, None] + WINDOW - 1
        self.relative: Tensor
        self.register_buffer("relative", row * (2 * WINDOW - 1) + column)

    def forward(self, x: Tensor, group: Tensor) -> Tensor:
        """Tokens [H, W, C] and their groups [H, W] -> [H, W, C]."""
        h, w, c = x.shape
        windows = _windows(self._rolled(self.norm1(x), -1))
        q, k, v = (
            self.qkv(windows).view(len(windows), -1, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        )
        seen = (q * (c // self.heads) ** -0.5) @ k.transpose(2, 3)
        seen += self.position[self.relative].permute(2, 0, 1)
        seen.masked_fill_(self._apart(group)[:, None], -torch.inf)
        found = self.proj((seen.softmax(3) @ v).transpose(1, 2).reshape(windows.shape))
        found = found.view(h // WINDOW, w // WINDOW, WINDOW, WINDOW, c).transpose(1, 2).reshape(h, w, c)
        x = x + self._rolled(found, 1)
        return x + self.mlp(self.norm2(x))

    def _rolled(self, x: Tensor, sign: int) -> Tensor:
        return x.roll((sign * self.shift, sign * self.shift), (0, 1)) if self.shift else x

    def _apart(self, group: Tensor) -> Tensor:
        """[windows, 64, 64] which tokens may not see each other: those of other groups."""
        h, w = group.shape
        if self.shift:  # opposite sides of the picture, which the roll brings together, are apart, too
            bottom, right = torch.arange(h) < self.shift, torch.arange(w) < self.shift
            group = group + 256 * (bottom[:, None] + 2 * right)
        key = _windows(self._rolled(group[:, :, None], -1))
        return key != key.transpose(1, 2)


def _windows(x: Tensor) -> Tensor:
    """[H, W, C] -> [windows, 64, C]."""
    h, w, c = x.shape
    x = x.view(h // WINDOW, WINDOW, w // WINDOW, WINDOW, c).transpose(1, 2)
    return x.reshape(-1, WINDOW**2, c)


def _blocks(width: int, depth: int, heads: int) -> nn.ModuleList:
    return nn.ModuleList(Block(width, heads, WINDOW // 2 * (i % 2)) for i in range(depth))


def _halved(x: Tensor) -> Tensor:
    """[H, W, C] -> [H / 2, W / 2, 4 C]."""
    return F.pixel_unshuffle(x.permute(2, 0, 1), 2).permute(1, 2, 0)


def _doubled(x: Tensor) -> Tensor:
    return F.pixel_shuffle(x.permute(2, 0, 1), 2).permute(1, 2, 0)


class Analysis(nn.Module):
    """Pixels to latents."""

    def __init__(self) -> None:
        super().__init__()
        before = (3, *WIDTHS)
        self.embed = nn.ModuleList(nn.Linear(4 * i, o) for i, o in zip(before, WIDTHS, strict=False))
        self.stages = nn.ModuleList(map(_blocks, WIDTHS, DEPTHS, HEADS))

    def forward(self, x: Tensor, groups: list[Tensor]) -> Tensor:
        """[H, W, 3] -> [H / 16, W / 16, 320]; `groups` at each stage."""
        for embed, stage, group in zip(self.embed, self.stages, groups, strict=True):
            x = embed(_halved(x))
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x, group)
        return x


class Synthesis(nn.Module):
    """Latents to pixels."""

    def __init__(self) -> None:
        super().__init__()
        after = (3, *WIDTHS)
        self.stages = nn.ModuleList(map(_blocks, WIDTHS, DEPTHS, HEADS))
        self.expand = nn.ModuleList(nn.Linear(i, 4 * o) for i, o in zip(WIDTHS, after, strict=False))

    def forward(self, x: Tensor, groups: list[Tensor]) -> Tensor:
        """[H / 16, W / 16, 320] -> [H, W, 3]."""
        for expand, stage, group in reversed(list(zip(self.expand, self.stages, groups, strict=True))):
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x, group)
            x = _doubled(expand(x))
        return x


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """The 1x1 nets of a slice."""
    return nn.Sequential(
        nn.Linear(inputs, 224), nn.GELU(), nn.Linear(224, 128), nn.GELU(), nn.Linear(128, outputs)
    )


class Entropy(nn.Module):
    """Hyperprior and channel-autoregressive context."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(LATENTS, HYPER, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(HYPER, HYPER, 5, 2, 2),
            nn.GELU(),
            nn.Conv2d(HYPER, HYPER, 5, 2, 2),
        )
        self.hyper_synthesis = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(HYPER, HYPER, 5, 2, 2, 1),
                nn.GELU(),
                nn.ConvTranspose2d(HYPER, HYPER, 5, 2, 2, 1),
                nn.GELU(),
                nn.Conv2d(HYPER, LATENTS, 3, 1, 1),
            )
            for _ in range(2)
        )
        width = LATENTS // SLICES
        seen = [LATENTS + width * i for i in range(SLICES)]
        self.mean, self.scale = (nn.ModuleList(_pointwise(n, width) for n in seen) for _ in range(2))
        self.lost = nn.ModuleList(_pointwise(n + width, width) for n in seen)

    def hyper_latents(self, y: Tensor) -> Tensor:
        """[h, w, 320] -> [1, 192, h / 4, w / 4], rounded."""
        return self.hyper_analysis(y.permute(2, 0, 1)[None]).round()

    def slices(self, z: Tensor, symbols: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        """One slice after another -> latents as decoded, [h, w, 320].

        Args:
            z: as `hyper_latents`.
            symbols: index, means and scales of a slice -> its symbols: what a range decoder reads, or an encoder
                writes.
        """
        means, scales = (net(z)[0].permute(1, 2, 0) for net in self.hyper_synthesis)
        found: list[Tensor] = []
        for i in range(SLICES):
            context = torch.cat([means, *found], 2)
            mean = self.mean[i](context)
            scale = self.scale[i](torch.cat([scales, *found], 2))
            decoded = symbols(i, mean, scale) + mean
            found.append(decoded + 0.5 * torch.tanh(self.lost[i](torch.cat([context, decoded], 2))))
        return torch.cat(found, 2)


class Networks(nn.Module):
    """All of them, with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.analysis, self.synthesis, self.entropy = Analysis(), Synthesis(), Entropy()

    @torch.inference_mode()
    def encode(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What an encoder computes.

        Args:
            pixels: [H, W, 3], 0 to 1.
            ids: [H / 16, W / 16] group of each block.

        Returns:
            symbols [h, w, 320] and hyper-latents [1, 192, h / 4, w / 4], which it would write.
        """
        y = self.analysis(pixels, stages_of(ids))
        z = self.entropy.hyper_latents(y)
        written: list[Tensor] = []

        def write(i: int, mean: Tensor, scale: Tensor) -> Tensor:
            written.append((y.chunk(SLICES, 2)[i] - mean).round())
            return written[-1]

        self.entropy.slices(z, write)
        return torch.cat(written, 2), z

    @torch.inference_mode()
    def decode(self, symbols: Tensor, z: Tensor, ids: Tensor) -> Tensor:
        """What a decoder computes of what it has read -> [H, W, 3]."""
        parts = symbols.chunk(SLICES, 2)
        y = self.entropy.slices(z, lambda i, mean, scale: parts[i])
        return self.synthesis(y, stages_of(ids))


def stages_of(ids: Tensor) -> list[Tensor]:
    """Groups of blocks -> of the tokens of each stage."""
    by = [2**k for k in reversed(range(len(WIDTHS)))]
    return [ids.repeat_interleave(n, 0).repeat_interleave(n, 1) for n in by]


def measure(pixels: NDArray[np.uint8], ids: NDArray[np.uint8], runs: int, threads: int) -> dict[str, Any]:
    """Median seconds of the networks of encoding and decoding, by the clock and of the processor, and kMAC per pixel
    of the transforms.

    Args:
        pixels: [H, W, 3], whose sides are multiples of `MULTIPLE`.
        ids: [H / 16, W / 16] group of each block.
    """
    if pixels.shape[0] % MULTIPLE or pixels.shape[1] % MULTIPLE:
        raise SystemExit(f"the sides of the picture are multiples of {MULTIPLE}, not {pixels.shape[:2]}")
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    networks = Networks().eval()
    given = torch.from_numpy(pixels.astype(np.float32) / 255)
    groups = torch.from_numpy(ids.astype(np.int64))
    coded = networks.encode(given, groups)
    found: dict[str, Any] = {"transforms_kmac": transforms_kmac(networks)}
    work: dict[str, Callable[[], object]] = {
        "encode": partial(networks.encode, given, groups),
        "decode": partial(networks.decode, *coded, groups),
    }
    for name, run in work.items():
        taken = []
        for _ in range(runs + 1):
            start = time.perf_counter(), time.process_time()
            run()
            taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        clock, processor = (statistics.median(column) for column in zip(*taken[1:], strict=True))
        found[name] = {"seconds": clock, "processor": processor}
    return found


@torch.inference_mode()
def transforms_kmac(networks: Networks) -> list[float]:
    """Thousands of multiplications per pixel, of analysis and of synthesis, in all products of matrices."""
    side, deep = MULTIPLE, MULTIPLE // 16
    stages = stages_of(torch.zeros(deep, deep, dtype=torch.int64))
    found = []
    for network, shape in ((networks.analysis, (side, side, 3)), (networks.synthesis, (deep, deep, LATENTS))):
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(shape), stages)
        found.append(counter.get_total_flops() / 2 / side**2 / 1000)
    return found


def main() -> None:
    from _pictures import fitted, nine_groups, photograph

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    pixels, mask = fitted(photograph(), 768, 512), nine_groups(768, 512)
    print(json.dumps(measure(pixels, mask.ids, options.runs, options.threads), indent=2))


if __name__ == "__main__":
    main()
