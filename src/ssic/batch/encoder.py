"""Encoding one picture of many: how (`Recipe`), and the work that does it (`Encoder`)."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ssic.batch.coding import encode_picture
from ssic.batch.jobs import Job, mask_file
from ssic.batch.work import Made, Work
from ssic.codec import Codec, current_weights
from ssic.crypto import Recipient
from ssic.crypto.files import Hide
from ssic.crypto.wrap import Wrapper
from ssic.engine.base import check_engine, most_processes
from ssic.engine.effort import check_effort
from ssic.errors import MaskError
from ssic.file import SsicFile
from ssic.format import allowing
from ssic.groups.label_maps import UnusedNames
from ssic.groups.mask import GroupMask
from ssic.groups.recipe import MaskRecipe
from ssic.model.weights import DEFAULT_MODEL, find_weights
from ssic.pictures.depth import To8Bit
from ssic.pictures.formats import MAX_PIXELS
from ssic.pictures.read import Picture, load_picture
from ssic.protect import encrypt, those_there


@dataclass(frozen=True)
class Recipe:
    """How every picture is encoded.

    Attributes:
        quality: of groups without another one.
        group_quality: exceptions, by name, class or id; a picture without such a group ignores them.
        target: of each file, as "bytes:20000", instead of `quality`.
        group_targets: of groups; a picture without such a group ignores them.
        order: groups that lie first, where there are such.
        mask: how a picture gets its groups.
        encrypt: groups that are sealed; a picture without one of them fails, lest it be written in clear. Where it is a
            class that the segmenter knows, and did not find, a note says so instead.
        recipients: public keys, as text, of those for whom.
        hide: what else is sealed.
        renumber, pad: as in `ssic.encrypt`.
        to_8_bit, background, frame: what becomes of pictures that are refused by default, as in `load_picture`.
        max_pixels: of a picture, in whole blocks; None is the default. It decides which are coded, not how.
        max_memory: bytes that a worker may take for coding, by an estimate; None is the default. Likewise.
        engine: what runs the networks. It is not part of what makes a file another one.
        effort: 2 to 9 refine latents; None for 1.
    """

    quality: int = 60
    group_quality: Mapping[str, int] = field(default_factory=dict)
    target: str | None = None
    group_targets: Mapping[str, str] = field(default_factory=dict)
    order: Sequence[str] | None = None
    mask: MaskRecipe = field(default_factory=lambda: MaskRecipe(drop_empty=True))
    encrypt: Sequence[str] | None = None
    recipients: Sequence[str] = ()
    hide: Hide = "nothing"
    renumber: bool = False
    pad: bool = False
    to_8_bit: To8Bit | None = None
    background: str | None = None
    frame: int | None = None
    max_pixels: int | None = None
    max_memory: int | None = None
    model: str = DEFAULT_MODEL
    engine: str = "auto"
    effort: int | None = None

    def check(self, *, here: bool = True) -> None:
        """Refuses, before the work, what every picture would fail with.

        Args:
            here: it is done on this machine, whose packages and devices can be looked for.

        Raises:
            InvalidInput: an effort that there isn't, or too many recipients.
            EngineError: there is no such engine, or its package or device is not there; or an effort needs torch.
            ModelError: there is no such model, or the engine can't run it.
        """
        check_engine(self.engine, current_weights(find_weights(self.model)), here=here)
        check_effort(1 if self.effort is None else self.effort, here=here)
        if self.encrypt is not None:
            Wrapper(map(Recipient.parse, self.recipients))

    def most_workers(self) -> int | None:
        """How many workers the engine's device has room for; None for any number. Once `check` has passed."""
        return most_processes(self.engine, current_weights(find_weights(self.model)))

    def identity(self) -> str:
        """Hash of all that decides the bytes of a file, but for the picture and its own mask.

        Raises:
            ModelError: there is no such model.
            SegmenterError: there is no such segmenter.
        """
        facts = asdict(self) | {"model": current_weights(find_weights(self.model)).identity}
        del facts["engine"], facts["max_pixels"], facts["max_memory"]
        facts |= {key: facts[key] or None for key in ("renumber", "pad")}
        facts["recipients"] = sorted(self.recipients)
        facts["mask"]["rule"] = self.mask.block_rule
        facts["mask"]["segmenter"] = (
            self.mask.segmenter_identity()
        )  # another one of its name is another recipe
        return hash_of(facts)


def hash_of(facts: Mapping[str, Any]) -> str:
    """Hash of what decides the bytes of an output. What is not given is left out, so that options to come don't make
    other recipes of those of today; names are sorted, as no result depends on the order of entries."""

    def without_none(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {str(key): without_none(v) for key, v in value.items() if v is not None}

    return hashlib.sha256(json.dumps(without_none(facts), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Encoder(Work):
    """Encodes pictures."""

    recipe: Recipe = field(default_factory=Recipe)

    def make(self, job: Job, data: bytes) -> Made:
        with allowing(self.recipe.max_pixels, self.recipe.max_memory):
            return self._make(job, data)

    def _make(self, job: Job, data: bytes) -> Made:
        recipe = self.recipe
        picture = load_picture(
            data,
            to_8_bit=recipe.to_8_bit,
            background=recipe.background,
            frame=recipe.frame,
            max_pixels=recipe.max_pixels or MAX_PIXELS,
        )
        mask = self._mask(job, picture)
        qualities: dict[str | int, int] = {
            name: q for name, q in recipe.group_quality.items() if name in mask
        }
        targets: dict[str | int, str] = {
            name: target for name, target in recipe.group_targets.items() if name in mask
        }
        first = [name for name in recipe.order or () if name in mask]
        secret = those_there(mask, recipe.encrypt or (), "--encrypt", recipe.mask.classes)
        coded = encode_picture(
            Codec.load(recipe.model, engine=recipe.engine),
            picture,
            mask,
            quality=recipe.quality if recipe.target is None else None,
            group_quality=qualities,
            target=recipe.target,
            group_targets=targets,
            order=first,
            effort=1 if recipe.effort is None else recipe.effort,
        ).data
        if secret:
            recipients = [Recipient.parse(word) for word in recipe.recipients]
            how: dict[str, Any] = {"hide": recipe.hide, "renumber": recipe.renumber, "pad": recipe.pad}
            coded = bytes(encrypt(coded, secret, recipients, **how))
        SsicFile(coded)  # what can't be read again shall not replace what is there
        matched = (*map(str, qualities), *map(str, targets), *first, *secret)
        return Made(coded, picture.size, len(mask.groups), matched)

    def _mask(self, job: Job, picture: Picture) -> GroupMask:
        if job.annotations is None:
            source = job.boxes if job.mask is None else mask_file(job.mask)
            with warnings.catch_warnings():
                # Names are those of a data set, of which no picture has all.
                warnings.simplefilter("ignore", UnusedNames)
                return self.recipe.mask.mask(picture.pixels, source, file_name=str(job.picture))
        known = json.loads(job.annotations)
        if (count := len(known["images"])) != 1:
            what = "none" if count == 0 else f"{count} pictures"
            raise MaskError(f"the COCO file has {what} with the file name {job.picture.name}: one is needed")
        return self.recipe.mask.mask(picture.pixels, known, file_name=str(job.picture))
