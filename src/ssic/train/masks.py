"""Random group masks and qualities for training: the network has to meet every kind of border.

They are made for a whole batch at once from a few random tensors, and so on any device without waiting for it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BOXES = 8
FIELDS = 6
COARSE = 6
"""Nodes on a side of the smooth random fields, at most."""

STRIPES = 7
GROUPS = BOXES + 1
"""Group ids of a mask are below."""

_KIND, _BOXES, _COARSE, _FIELDS, _ANGLE, _WIDTH, _ALIKE = range(7)
_FIRST_BOX = 7
_QUALITIES = _FIRST_BOX + 6 * BOXES
NUMBERS = _QUALITIES + 3 + GROUPS
"""Uniform random numbers that a mask and its qualities take."""

PLAIN = 0.45
"""Share of masks without groups; a fifth of all have boxes, three tenths blobs, and a twentieth stripes."""


def normals(side: int) -> int:
    """Normal random numbers that a mask of side x side blocks takes."""
    return FIELDS * (COARSE**2 + side**2)


def random_masks(uniform: Tensor, normal: Tensor, side: int) -> Tensor:
    """Group ids, not all of which need occur.

    Unions of boxes (rectangular borders, as in Feng et al.), blobs from smooth noise (curved borders) or stripes
    through the whole crop; or no groups at all.

    Args:
        uniform: [B, NUMBERS] in [0, 1).
        normal: [B, normals(side)].
        side: blocks on a side of a crop.

    Returns:
        [B, side, side] int64, 0 to GROUPS - 1.
    """
    kind = uniform[:, _KIND].view(-1, 1, 1)
    curved = torch.where(kind < 0.95, _blobs(uniform, normal, side), _stripes(uniform, side))
    return torch.where(kind < 0.65, _boxes(uniform, side), curved) * (kind >= PLAIN)


def _boxes(r: Tensor, side: int) -> Tensor:
    """Up to eight, later ones over earlier ones."""
    n, at = len(r), torch.arange(side, device=r.device)
    box = r[:, _FIRST_BOX:_QUALITIES].view(n, BOXES, 6, 1)
    number = torch.arange(BOXES, device=r.device).view(1, BOXES, 1)
    unit = max(1, side // 16)
    tall, wide = (2 + (box[:, :, 0] * 6).floor()) * unit, (2 + (box[:, :, 1] * 6).floor()) * unit
    top = (box[:, :, 2] * (side + tall - 1)).floor() + 1 - tall
    left = (box[:, :, 3] * (side + wide - 1)).floor() + 1 - wide
    used = number < 1 + (r[:, _BOXES].view(n, 1, 1) * BOXES).floor()
    rows, columns = (at >= top) & (at < top + tall) & used, (at >= left) & (at < left + wide)
    last = ((rows[..., None] & columns[:, :, None]) * (number + 1)[..., None]).amax(1)  # 0: no box
    group = torch.where(box[:, :, 4] < 0.7, number + 1, (box[:, :, 5] * (number + 1)).long())
    return F.pad(group.view(n, BOXES), (1, 0)).gather(1, last.view(n, -1)).view(n, side, side)


def _blobs(r: Tensor, normal: Tensor, side: int) -> Tensor:
    """Which of two to six smooth random fields is the largest."""
    n, at = len(r), torch.arange(side, device=r.device)
    fields, ragged = normal.split([FIELDS * COARSE**2, FIELDS * side**2], 1)
    coarse = 3 + (r[:, _COARSE] * (COARSE - 2)).floor()
    node = at * ((coarse[:, None] - 1) / max(1, side - 1))
    weight = (1 - (node[..., None] - torch.arange(COARSE, device=r.device)).abs()).clamp(min=0)
    field = weight[:, None] @ fields.view(n, FIELDS, COARSE, COARSE) @ weight.mT[:, None]
    field = field + 0.15 * ragged.view(n, FIELDS, side, side)  # ragged borders, single stray blocks
    used = 2 + (r[:, _FIELDS] * (FIELDS - 1)).floor()
    number = torch.arange(FIELDS, device=r.device).view(1, FIELDS, 1, 1)
    return field.masked_fill(number >= used.view(n, 1, 1, 1), -math.inf).argmax(1)


def _stripes(r: Tensor, side: int) -> Tensor:
    at = torch.arange(side, device=r.device)
    angle = r[:, _ANGLE].view(-1, 1, 1) * math.pi
    along = torch.cos(angle) * at + torch.sin(angle) * at[:, None]
    return torch.floor(along / (2 + 6 * r[:, _WIDTH].view(-1, 1, 1))).long() % STRIPES


def random_qualities(uniform: Tensor, ids: Tensor) -> Tensor:
    """A quality 1 to 100 for each group: mostly one for the whole crop, and mostly one that people use.

    Args:
        uniform: [B, NUMBERS] in [0, 1).
        ids: [B, side, side] of `random_masks`.

    Returns:
        [B, side, side] int64.
    """
    usual, one, each = uniform[:, _QUALITIES:].split([2, 1, GROUPS], 1)

    def some(value: Tensor, usual: Tensor) -> Tensor:
        return torch.where(usual < 0.75, 5 + (value * 86).floor(), 1 + (value * 100).floor()).long()

    alike = uniform[:, _ALIKE : _ALIKE + 1] < 0.6
    table = torch.where(alike, some(one, usual[:, :1]).expand(-1, GROUPS), some(each, usual[:, 1:]))
    return table.gather(1, ids.flatten(1)).view(ids.shape)
