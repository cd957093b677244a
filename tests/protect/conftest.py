"""Limits for tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import ssic
import ssic.format as fmt


@pytest.fixture(scope="module")
def passphrases_that_cost_little() -> Iterator[None]:
    """Lets files be opened whose passphrases were stretched little: what stretches them is slow on purpose."""
    before = fmt.set_default_limits(ssic.DecodeLimits(min_scrypt_cost=4))
    yield
    fmt.set_default_limits(before)
