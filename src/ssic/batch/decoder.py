"""Decoding one file of many to a picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from ssic.batch.encoder import hash_of
from ssic.batch.jobs import Job
from ssic.batch.records import Status
from ssic.batch.work import Made, Work
from ssic.codec import current_weights
from ssic.crypto import Identity, VerifyKey
from ssic.decoded import SealedGroups
from ssic.engine.base import check_engine, most_processes
from ssic.file import SsicFile
from ssic.format import allowing
from ssic.model.weights import Weights, find_weights
from ssic.pictures.fill import compose
from ssic.pictures.write import picture_bytes

_NOT_OF_PICTURES = ("engine", "identities", "max_pixels", "max_memory")


@dataclass(frozen=True)
class DecodeRecipe:
    """How every file is decoded; as in `ssic.decode`.

    Attributes:
        suffix: of the pictures, which says their format.
        groups: names, classes or ids; None is all. A file without one of them fails.
        fill: what stands where no decoded group is.
        crop: cut each picture to the box around its decoded groups.
        scale: 4, 8 or 16 for 1/4, 1/8 or 1/16 of the resolution; None for all of it.
        model: None is the installed model that a file names.
        identities: files of private keys that open sealed groups. (Paths, because keys don't travel to other
            processes.)
        trust: verification keys, as text, of which one must have signed.
        engine: what runs the networks. It is not part of what makes a picture another one.
        max_pixels: of a file, in whole blocks; None is the default. Nor is this.
        max_memory: bytes that a worker may take for coding, by an estimate; None is the default. Nor is this.
    """

    suffix: str = ".png"
    groups: Sequence[str] | None = None
    fill: str = "black"
    crop: bool = False
    scale: int | None = None
    model: str | None = None
    identities: Sequence[Path] = ()
    trust: Sequence[str] = ()
    engine: str = "auto"
    max_pixels: int | None = None
    max_memory: int | None = None

    def check(self, *, here: bool = True) -> None:
        """Refuses, before the work, what every file would fail with; arguments and errors as of `Recipe.check`."""
        check_engine(self.engine, self._weights(), here=here)

    def most_workers(self) -> int | None:
        """As of `Recipe.most_workers`."""
        return most_processes(self.engine, self._weights())

    def _weights(self) -> Weights | None:
        return None if self.model is None else current_weights(find_weights(self.model))

    def identity(self) -> str:
        """Hash of all that decides the bytes of a picture, but for the file and the installed model that it names: that
        later versions of the package may make nearer pictures of it makes none anew.

        Raises:
            ModelError: there is no such model.
        """
        facts = {key: value for key, value in asdict(self).items() if key not in _NOT_OF_PICTURES}
        keys = [key for path in self.identities for key in read_identities(path)]
        facts["identities"] = sorted(str(key.recipient) for key in keys)
        facts["trust"] = sorted(self.trust)
        if self.model is not None:
            facts["model"] = current_weights(find_weights(self.model)).identity
        return hash_of(facts)


@dataclass(frozen=True)
class Decoder(Work):
    """Decodes files. A picture with damaged groups is written without them."""

    recipe: DecodeRecipe = field(default_factory=DecodeRecipe)

    DONE: ClassVar[Status] = "decoded"

    def make(self, job: Job, data: bytes) -> Made:
        with allowing(self.recipe.max_pixels, self.recipe.max_memory):
            return self._make(job, data)

    def _make(self, job: Job, data: bytes) -> Made:
        recipe = self.recipe
        trust = [VerifyKey.parse(word) for word in recipe.trust] or None
        keys = [key for path in recipe.identities for key in read_identities(path)] or None
        opened = SsicFile(data, model=recipe.model, identity=keys, trust=trust)
        decoded = opened.decode_pixels(
            recipe.groups, crop=recipe.crop, scale=recipe.scale or 1, engine=recipe.engine
        )
        if decoded.sealed:
            warnings.warn(f"sealed and left out: {', '.join(decoded.sealed)}", SealedGroups, stacklevel=2)
        picture = compose(decoded.pixels, decoded.present, recipe.fill)
        asked = opened.mask.groups if recipe.groups is None else opened.mask.resolve(recipe.groups)
        name = Path(job.output.name)
        height, width = picture.shape[:2]
        return Made(
            picture_bytes(picture, name, opened.icc), (width, height), len(asked), damaged=decoded.damaged
        )


@lru_cache(maxsize=64)
def read_identities(path: Path) -> list[Identity]:
    """The private keys in a file; read once per process.

    Raises:
        BadKey: there is none.
        OSError: the file can't be read.
    """
    return Identity.read_all(path.read_bytes(), str(path))
