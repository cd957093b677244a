"""Plans against their definition, by brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.masks import blob_mask
from ssic.blocks import ABSENT
from ssic.plan import CELL, NEIGHBOURS, WINDOW, Plan, Windows, make_plan


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    rows, columns = draw(st.integers(1, 19)), draw(st.integers(1, 21))
    seed = draw(st.integers(0, 2**32 - 1))
    mask = blob_mask(seed, rows, columns, draw(st.integers(1, 6)))
    if draw(st.booleans()) and mask.max() > 0:
        mask[mask == 0] = ABSENT
    return mask


def visible(windows: Windows, n: int) -> np.ndarray:
    """[n, n]: who attends to whom."""
    token = np.full(windows.key.size, -1)
    token[windows.scatter] = np.arange(n)
    token = token.reshape(windows.key.shape)
    sees = np.zeros((n, n), bool)
    for slots, keys, gather in zip(token, windows.key, windows.gather, strict=True):
        assert (gather[slots >= 0] == slots[slots >= 0]).all()
        assert (keys[slots < 0] < 0).all()
        assert len(set(keys[slots < 0].tolist())) == (slots < 0).sum()
        same = keys[:, None] == keys[None]
        for i in np.flatnonzero(slots >= 0):
            for j in np.flatnonzero(same[i]):
                assert slots[j] >= 0, "a token sees an empty slot"
                sees[slots[i], slots[j]] = True
    return sees


def positions(plan: Plan, fine: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, _, columns = plan.shape
    row, column = np.divmod(plan.block, columns)
    group = plan.group.astype(int)
    if fine:
        quarter = np.tile(np.arange(4), len(plan))
        row, column = 2 * row.repeat(4) + quarter // 2, 2 * column.repeat(4) + quarter % 2
        group = group.repeat(4)
    return row, column, group


@settings(max_examples=25)
@given(masks(), st.booleans(), st.booleans())
def test_a_token_sees_its_group_in_its_window_and_nothing_else(mask, fine, shifted):
    plan = make_plan(mask)
    row, column, group = positions(plan, fine)
    shift = WINDOW // 2 if shifted else 0
    window = np.stack([(row + shift) // WINDOW, (column + shift) // WINDOW])
    expected = (window[:, :, None] == window[:, None, :]).all(0) & (group[:, None] == group)
    got = visible((plan.fine if fine else plan.coarse)[int(shifted)], len(row))
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=25)
@given(masks())
def test_neighbours_are_of_the_same_group_and_earlier_ones_of_an_earlier_phase(mask):
    plan = make_plan(mask)
    index = {(b // mask.shape[1], b % mask.shape[1]): i for i, b in enumerate(plan.block.tolist())}
    for (row, column), i in index.items():
        assert plan.phase[i] == {(0, 0): 0, (1, 1): 1}.get((row % 2, column % 2), 2)
        for j, (dy, dx) in enumerate(NEIGHBOURS):
            other = index.get((row + dy, column + dx), len(plan))
            if other < len(plan) and plan.group[other] != plan.group[i]:
                other = len(plan)
            assert plan.neighbours[i, j] == other
            early = other < len(plan) and plan.phase[other] < plan.phase[i]
            assert plan.earlier[i, j] == (other if early else len(plan))


@given(masks())
def test_pairs_are_the_groups_of_each_cell(mask):
    plan = make_plan(mask)
    row, column = np.divmod(plan.block, mask.shape[1])
    cells = -(-mask.shape[1] // CELL)
    names = list(zip((row // CELL * cells + column // CELL).tolist(), plan.group.tolist(), strict=True))
    assert sorted(set(names)) == [
        names[int(np.flatnonzero(plan.pair == p)[0])] for p in range(len(plan.pair_count))
    ]
    for p, name in enumerate(sorted(set(names))):
        assert plan.pair_count[p] == names.count(name)
        assert plan.pair_group[p] == name[1]
        assert all(plan.pair[i] == p for i, n in enumerate(names) if n == name)


@given(masks())
def test_earlier_pairs_are_of_the_same_group_in_cells_around(mask):
    plan = make_plan(mask)
    row, column = np.divmod(plan.block, mask.shape[1])
    pairs = {
        (int(row[i]) // CELL, int(column[i]) // CELL, int(plan.group[i])): int(plan.pair[i])
        for i in range(len(plan))
    }
    for (y, x, group), p in pairs.items():
        assert plan.pair_phase[p] == {(0, 0): 0, (1, 1): 1}.get((y % 2, x % 2), 2)
        for j, (dy, dx) in enumerate(NEIGHBOURS):
            other = pairs.get((y + dy, x + dx, group), len(pairs))
            early = other < len(pairs) and plan.pair_phase[other] < plan.pair_phase[p]
            assert plan.earlier_pairs[p, j] == (other if early else len(pairs))


@given(masks())
def test_a_group_alone_is_planned_as_in_company(mask):
    """Whatever the nets are told about a group's tokens is the same, up to their place in the list."""
    whole = make_plan(mask)
    group = int(whole.group[0])
    alone = make_plan(mask, mask == group)
    rows = np.flatnonzero(whole.group == group)
    np.testing.assert_array_equal(alone.block, whole.block[rows])
    np.testing.assert_array_equal(alone.phase, whole.phase[rows])
    np.testing.assert_array_equal(alone.cell_position, whole.cell_position[rows])
    np.testing.assert_array_equal(alone.pair_count[alone.pair], whole.pair_count[whole.pair][rows])
    renamed = np.full(len(whole) + 1, len(alone))
    renamed[rows] = np.arange(len(alone))
    np.testing.assert_array_equal(alone.neighbours, renamed[whole.neighbours[rows]])
    np.testing.assert_array_equal(alone.earlier, renamed[whole.earlier[rows]])
    pairs = np.flatnonzero(whole.pair_group == group)
    renamed = np.full(len(whole.pair_group) + 1, len(alone.pair_group))
    renamed[pairs] = np.arange(len(pairs))
    np.testing.assert_array_equal(alone.pair_phase, whole.pair_phase[pairs])
    np.testing.assert_array_equal(alone.earlier_pairs, renamed[whole.earlier_pairs[pairs]])
    for own, all_ in zip((*alone.coarse, *alone.fine), (*whole.coarse, *whole.fine), strict=True):
        scale = len(own.scatter) // len(alone)
        tokens = (scale * rows[:, None] + np.arange(scale)).reshape(-1)
        sees = visible(all_, len(all_.scatter))[np.ix_(tokens, tokens)]
        np.testing.assert_array_equal(visible(own, len(own.scatter)), sees)


@settings(max_examples=25)
@given(masks())
def test_fine_neighbours_are_those_on_the_fine_grid(mask):
    plan = make_plan(mask)
    n = len(plan)
    h, w = mask.shape
    token = np.full((2 * h + 2, 2 * w + 2), -1)
    group = np.full(token.shape, -1)
    for i, b in enumerate(plan.block):
        for j in range(4):
            at = 2 * (b // w) + j // 2 + 1, 2 * (b % w) + j % 2 + 1
            token[at], group[at] = 4 * i + j, plan.group[i]
    for y, x in zip(*np.nonzero(token >= 0), strict=True):
        around = [
            token[y + dy, x + dx] if group[y + dy, x + dx] == group[y, x] else 4 * n for dy, dx in NEIGHBOURS
        ]
        assert plan.fine_neighbours[token[y, x]].tolist() == around
