"""Who sees whom on whole crops: what `ssic.plan` says in index arrays, as masks of fixed shapes.

Tokens lie on grids here: coarse ones, which are blocks, [B, h, w], fine ones [B, 2h, 2w]. Windows and cells that stick
out over a crop's edge are filled up with tokens that see each other only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssic.entropy.twin import DIAGONAL
from ssic.plan import CELL, NEIGHBOURS, PHASES, WINDOW
from ssic.train.gathers import one_hot

SHIFT = WINDOW // 2
NOBODY = -1
"""Group id of the tokens that windows and cells are filled up with."""


def _tiles(x: Tensor, side: int) -> Tensor:
    """[B, H, W, C], H and W multiples of side -> [tiles, side * side, C]."""
    b, h, w, c = x.shape
    x = x.view(b, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, side * side, c)


def _untiled(x: Tensor, side: int, b: int, h: int, w: int) -> Tensor:
    x = x.view(b, h // side, w // side, side, side, -1).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h, w, -1)


def _filled(x: Tensor, side: int, value: int = 0) -> Tensor:
    """[B, H, W, C] -> the same, filled up to multiples of side."""
    down, right = -x.shape[1] % side, -x.shape[2] % side
    return F.pad(x, (0, 0, 0, right, 0, down), value=value) if down or right else x


def windows(x: Tensor, shift: int, fill: int = 0) -> Tensor:
    """[B, H, W, C] -> [windows, 64, C]."""
    x = _filled(x, WINDOW, fill)
    return _tiles(torch.roll(x, (-shift, -shift), (1, 2)) if shift else x, WINDOW)


def from_windows(x: Tensor, shape: torch.Size, shift: int) -> Tensor:
    """[windows, 64, C] -> [B, H, W, C], as `shape` says."""
    b, h, w = shape[:3]
    x = _untiled(x, WINDOW, b, h + -h % WINDOW, w + -w % WINDOW)
    x = torch.roll(x, (shift, shift), (1, 2)) if shift else x
    return x[:, :h, :w]


def cells(x: Tensor, fill: int = 0) -> Tensor:
    """[B, h, w, C] -> [cells, 16, C]."""
    return _tiles(_filled(x, CELL, fill), CELL)


def from_cells(x: Tensor, b: int, h: int, w: int) -> Tensor:
    """[cells, 16, C] -> [B, h, w, C]."""
    return _untiled(x, CELL, b, h + -h % CELL, w + -w % CELL)[:, :h, :w]


def around_grid(x: Tensor, value: int) -> Tensor:
    """[..., h, w] -> [..., h, w, 8] each token's neighbours; `value` beyond the edge."""
    h, w = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1), value=value)
    parts = [padded[..., 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] for dy, dx in NEIGHBOURS]
    return torch.stack(parts, -1)


def phases(row: Tensor, column: Tensor) -> Tensor:
    """The pass in which what lies there is coded: as `ssic.plan` has it."""
    return torch.where((row + column) % 2 == 1, 2, row % 2)


def _seams(h: int, w: int, shift: int, device: torch.device) -> Tensor:
    """[1, H, W, 1], H and W being filled up: tokens that a shifted window brings together from opposite sides have
    different numbers, whatever their groups."""
    rolled = torch.zeros(h + -h % WINDOW, w + -w % WINDOW, dtype=torch.long, device=device)
    if shift:
        rolled[-shift:, :] += 256
        rolled[:, -shift:] += 512
    return torch.roll(rolled, (shift, shift), (0, 1))[None, :, :, None]


class Layout:
    """What follows from the size of a crop alone.

    Attributes:
        fine, coarse: seams of plain and shifted windows.
        before: [h, w, 8] bool: the neighbour is of an earlier phase.
        index, back: [8 h w], see `ssic.train.gathers.around`.
        position: [h, w] of a block in its cell, 0 to 15.
    """

    def __init__(self, h: int, w: int, device: torch.device) -> None:
        self.fine = [_seams(2 * h, 2 * w, shift, device) for shift in (0, SHIFT)]
        self.coarse = [_seams(h, w, shift, device) for shift in (0, SHIFT)]
        row, column = torch.arange(h, device=device)[:, None], torch.arange(w, device=device)
        phase = phases(row, column)
        self.before = around_grid(phase, 9) < phase[..., None]
        self.position = (row % CELL) * CELL + column % CELL
        n = h * w
        at = around_grid(torch.arange(n, device=device).view(h, w), n).view(n, 8)
        # Offsets i and 7 - i are opposite.
        opposite = 8 * at + 7 - torch.arange(8, device=device)
        self.index = at.reshape(-1).contiguous()
        self.back = torch.where(at < n, opposite, 8 * n).reshape(-1).contiguous()


def _hidden(ids: Tensor, shift: int, seams: Tensor) -> Tensor:
    """ids [B, H, W] -> [windows, 1, 64, 64] bool: who may not see whom."""
    key = windows(_filled(ids[..., None], WINDOW, NOBODY) + seams, shift)[..., 0]
    return (key[:, :, None] != key[:, None, :])[:, None]


@dataclass(frozen=True)
class Sight:
    """What the groups of a batch of crops allow.

    Attributes:
        fine, coarse: what plain and shifted windows hide, [windows, 1, 64, 64] bool.
        same: [B, h, w, 8] bool: the neighbouring block is of the same group.
        near: [B, 2h, 2w, 8] bool: the same of fine tokens.
        earlier: [B, h, w, 8] bool: of the same group, and of an earlier phase.
        pairs: [cells, 16, 16] 1 for blocks of a cell that share their group, else 0.
        number: [cells, 16, 1] how many share it.
        first: [B, h, w] 1 for the first block of each (cell, group) pair, which counts the pair's hyper-latent, else 0.
        count: [B, h, w] blocks of the pair less one, and `count_hot` its one-hot rows.
    """

    fine: list[Tensor]
    coarse: list[Tensor]
    same: Tensor
    near: Tensor
    earlier: Tensor
    pairs: Tensor
    number: Tensor
    first: Tensor
    count: Tensor
    count_hot: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, ids: Tensor, layout: Layout) -> Sight:
        """ids [B, h, w] int64, 0 to 254."""
        b, h, w = ids.shape
        fine = ids[:, :, None, :, None].expand(b, h, 2, w, 2).reshape(b, 2 * h, 2 * w)
        same = around_grid(ids, NOBODY) == ids[..., None]
        own = cells(ids[..., None], NOBODY)[..., 0]
        pairs = own[:, :, None] == own[:, None, :]
        number = pairs.sum(-1)
        first = pairs.tril(-1).sum(-1) == 0
        facts = from_cells(torch.stack([number - 1, first.long()], -1), b, h, w)
        count = facts[..., 0].contiguous()
        return cls(
            fine=[_hidden(fine, i * SHIFT, layout.fine[i]) for i in (0, 1)],
            coarse=[_hidden(ids, i * SHIFT, layout.coarse[i]) for i in (0, 1)],
            same=same,
            near=around_grid(fine, NOBODY) == fine[..., None],
            earlier=same & layout.before,
            pairs=pairs.float(),
            number=number[..., None].float(),
            first=facts[..., 1].float(),
            count=count,
            count_hot=one_hot(count, CELL**2),
        )


@dataclass(frozen=True)
class EarlierCells:
    """Of each block's (cell, group) pair, the pairs of its group in the cells around that are decoded before it: what
    `Plan.earlier_pairs` says.

    Attributes:
        there: [B, h, w, 8] 1 where the neighbouring cell has one, else 0.
        block: [B, h * w * 8] one of its blocks; any where there is none.
        kind: [B, h, w] of the pair, see `ssic.entropy.twin.context_kinds`.
    """

    there: Tensor
    block: Tensor
    kind: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, ids: Tensor) -> EarlierCells:
        """ids [B, h, w] int64, 0 to 254."""
        b, h, w = ids.shape
        rows, columns = -(-h // CELL), -(-w // CELL)
        own = cells(ids[..., None], NOBODY).view(b, rows, columns, CELL**2)
        number = torch.arange(h * w, device=ids.device).view(1, h, w, 1)
        blocks = cells(number).view(1, rows, columns, CELL**2)
        # [.., rows, columns, 8, 16] of the cells around.
        near = around_grid(own.movedim(-1, 1), NOBODY).movedim(1, -1)
        near_blocks = around_grid(blocks.movedim(-1, 1), 0).movedim(1, -1)
        alike = own[..., :, None, None] == near[:, :, :, None]  # [B, rows, columns, 16, 8, 16]
        which = alike.long().argmax(-1)
        block = torch.gather(near_blocks[:, :, :, None].expand_as(alike), -1, which[..., None])[..., 0]
        row = torch.arange(rows, device=ids.device)[:, None]
        phase = phases(row, torch.arange(columns, device=ids.device))
        before = around_grid(phase, PHASES) < phase[..., None]
        there = alike.any(-1) & before[:, :, None]
        count = there.sum(-1)
        kind = torch.where(count > 0, len(DIAGONAL) * (phase[..., None] - 1) + count, 0)

        def of_blocks(x: Tensor) -> Tensor:
            return from_cells(x.reshape(-1, CELL**2, x.shape[-1]), b, h, w)

        return cls(
            of_blocks(there).float(), of_blocks(block).reshape(b, -1), of_blocks(kind[..., None])[..., 0]
        )
