"""Masks as arrays: .npy files, stacks of masks, and masks by name."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.errors import MaskError
from ssic.groups.objects import GroupBy, Item, Objects, Region, paint
from ssic.groups.sam import binary
from ssic.names import as_text


def parse_npy(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a .npy file. Objects, which would be unpickled, are refused.

    Raises:
        MaskError: damaged, of objects, or of more bytes than there are.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, kind = read(file)
    except Exception as error:  # the header is a Python literal, and fails as one
        raise MaskError(f"the .npy file is damaged: {error}") from error
    if kind.hasobject or kind.kind not in "buif":
        raise MaskError(f"the .npy file holds {kind}: an array of bool or integers was expected")
    count, start = 1, file.tell()
    for n in shape:
        count *= n
    if min(shape, default=0) < 0 or count * kind.itemsize != len(data) - start:
        raise MaskError(
            f"the .npy file says that it holds {list(shape)} of {kind}, {count * kind.itemsize:,} bytes, and has "
            f"{len(data) - start:,}"
        )
    array = np.frombuffer(data, kind, offset=start)
    return array.reshape(shape, order="F" if by_columns else "C")


def read_stack(stack: Any, size: tuple[int, int], names: Mapping[int, str] | None = None) -> Objects:
    """Masks [N, H, W], not 0 where the objects are, painted, the smaller on top.

    Args:
        names: by place in the stack, from 0; the others are called "group N", N counting from 1.
    """
    masks = np.asarray(stack)
    if masks.ndim != 3:
        raise MaskError(f"a stack of masks is [N, rows, columns], not {list(masks.shape)}")
    if masks.shape[:2] == size[::-1] and masks.shape[1:] != size[::-1]:
        raise MaskError(
            f"the stack of masks is {list(masks.shape)}: masks come first, [N, rows, columns]; transpose(2, 0, 1)"
        )
    called = {n: (names or {}).get(n, f"group {n + 1}") for n in range(len(masks))}
    return read_named({called[n]: masks[n] for n in called} if len(set(called.values())) == len(called) else
                      list(zip(called.values(), masks, strict=True)), size)  # fmt: skip


def read_named(
    masks: Mapping[str, Any] | list[tuple[str, Any]], size: tuple[int, int], *, group_by: GroupBy = "instance"
) -> Objects:
    """Masks [H, W] by name, not 0 where the objects are, painted, the smaller on top."""
    pairs = list(masks.items()) if isinstance(masks, Mapping) else masks
    items = []
    for name, mask in pairs:
        if not isinstance(name, str) or not as_text(name):
            raise MaskError(f"masks are given by name, {{'dog': mask}}, not by {name!r:.40}")
        items.append(Item(name, partial(_draw, mask, size, f'the mask of "{name}"')))
    return paint(items, size, group_by)


def _draw(mask: Any, size: tuple[int, int], where: str) -> Region:
    return Region(0, 0, binary(mask, size, where))
