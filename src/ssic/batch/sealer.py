"""Sealing groups of one file of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from ssic.batch.encoder import hash_of
from ssic.batch.jobs import Job
from ssic.batch.records import Status
from ssic.batch.work import Made, Work
from ssic.crypto import Recipient
from ssic.crypto.files import Hide
from ssic.crypto.stanza import suite_named
from ssic.crypto.wrap import Wrapper
from ssic.file import SsicFile
from ssic.format import allowing, check
from ssic.protect import encrypt, those_there


@dataclass(frozen=True)
class SealRecipe:
    """How groups of every file are sealed; as in `ssic.encrypt`.

    Attributes:
        groups: names, classes or ids; a file without one of them fails, lest it be passed on in clear.
        recipients: public keys, as text.
        max_pixels: of a file, in whole blocks; None is the default. It decides which are sealed, not how.
        max_memory: bytes that a worker may take for coding, by an estimate; None is the default. Likewise.
    """

    groups: Sequence[str] = ()
    recipients: Sequence[str] = ()
    hide: Hide = "nothing"
    cipher: str | None = None
    renumber: bool = False
    pad: bool = False
    max_pixels: int | None = None
    max_memory: int | None = None

    def check(self) -> None:
        """Refuses, before the work, what every file would fail with.

        Raises:
            InvalidInput: no recipients or too many, or no such cipher.
        """
        Wrapper(map(Recipient.parse, self.recipients))
        if self.cipher is not None:
            suite_named(self.cipher)

    def identity(self) -> str:
        """Hash of all that decides who can open which groups. (The bytes differ from run to run.)"""
        facts = asdict(self) | {"recipients": sorted(self.recipients), "max_pixels": None, "max_memory": None}
        return hash_of(facts | {key: facts[key] or None for key in ("renumber", "pad")})


@dataclass(frozen=True)
class Sealer(Work):
    """Seals groups of files. Runs no model. Other groups that are damaged are copied as they are, and said to be so."""

    recipe: SealRecipe = field(default_factory=SealRecipe)

    DONE: ClassVar[Status] = "encrypted"

    def make(self, job: Job, data: bytes) -> Made:
        with allowing(self.recipe.max_pixels, self.recipe.max_memory):
            return self._make(data)

    def _make(self, data: bytes) -> Made:
        recipe = self.recipe
        opened = SsicFile(data)
        those_there(opened.mask, recipe.groups, "--groups")
        recipients = [Recipient.parse(word) for word in recipe.recipients]
        how: dict[str, Any] = {"cipher": recipe.cipher, "renumber": recipe.renumber, "pad": recipe.pad}
        sealed = bytes(encrypt(data, list(recipe.groups), recipients, hide=recipe.hide, **how))
        SsicFile(sealed)  # what can't be read again shall not replace what is there
        damaged = [group.name for group in check(data, opened.head)]
        return Made(sealed, opened.size, len(opened.groups), recipe.groups, damaged)
