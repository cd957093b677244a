"""Encoding one picture of many: how (`Recipe`), and the function that does it (`Encoder`)."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssic.batch.jobs import Job
from ssic.batch.records import Record
from ssic.errors import InvalidInput, MaskError, SsicError
from ssic.storage.atomic import replacing

if TYPE_CHECKING:
    from ssic.crypto.files import Hide
    from ssic.groups.mask import GroupMask
    from ssic.groups.segment import Segmenter
    from ssic.pictures.read import Picture


@dataclass(frozen=True)
class Recipe:
    """How every picture is encoded; fields as the options of `ssic encode`.

    Attributes:
        names: names of the labels of label maps.
        segment: NAME[:ARG] of a segmenter that makes the mask, with `keep`, `min_score` and `max_groups`.
        grid: rows and columns of equal cells.
        group_quality: exceptions, by name, class or id; a picture without such a group ignores them.
        target: of each file, as "bytes:20000", instead of `quality`.
        group_targets: of groups; a picture without such a group ignores them.
        order: groups that lie first, where there are such.
        encrypt: groups that are sealed; a picture without one of them fails, lest it be written in clear.
        recipients: public keys, as text, of those for whom.
        hide: what else is sealed.
        engine: what runs the networks. It is not part of what makes a file another one.
        effort: 2 to 9 refine latents; None for 1.
    """

    quality: int = 60
    group_quality: Mapping[str, int] = field(default_factory=dict)
    target: str | None = None
    group_targets: Mapping[str, str] = field(default_factory=dict)
    order: Sequence[str] | None = None
    rule: Literal["most", "any"] = "most"
    group_by: Literal["instance", "class"] = "instance"
    names: Mapping[int, str] | None = None
    segment: str | None = None
    keep: Sequence[str] | None = None
    min_score: float | None = None
    max_groups: int | None = None
    grid: tuple[int, int] | None = None
    encrypt: Sequence[str] | None = None
    recipients: Sequence[str] = ()
    hide: Hide = "nothing"
    model: str = "small"
    engine: str = "auto"
    effort: int | None = None

    def identity(self) -> str:
        """Hash of all that decides the bytes of a file, but for the picture and its own mask.

        Raises:
            ModelError: there is no such model.
        """
        from ssic.model.weights import find_weights, load_weights

        facts = asdict(self) | {"model": load_weights(find_weights(self.model)).id.hex()}
        del facts["engine"]
        facts["recipients"] = sorted(self.recipients)
        graph = Path(self.segment.partition(":")[2]) if self.segment else None
        if graph is not None and graph.is_file():  # a model; another one at the same place is another recipe
            facts["segment"] = hashlib.sha256(graph.read_bytes()).hexdigest()
        # What is not given is left out, so that options to come don't make other recipes of those of today. That
        # names are sorted loses nothing: qualities and targets don't depend on the order of their entries.
        given = {key: value for key, value in facts.items() if value is not None}
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Encoder:
    """Encodes a picture to a file and says what became of it. Picklable; the model is loaded once per process."""

    recipe: Recipe
    identity: str
    folder: Path

    def __call__(self, job: Job) -> Record:
        """Encode, unless it is done and intact. What goes wrong with the picture is in the record."""
        begun = time.perf_counter()
        blank = Record(str(job.picture), job.output.as_posix(), "failed", self.identity)
        try:
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always", UserWarning)
                record = self._encode(job, blank)
        except OSError as error:
            about = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
            return self.failed(job, about or type(error).__name__)
        except SsicError as error:
            return self.failed(job, str(error) or type(error).__name__)
        except Exception as error:  # a bug, but thousands of other pictures are waiting
            return self.failed(job, f"unexpected {type(error).__name__}: {error}")
        if record.status == "kept":
            return record
        notes = tuple(str(w.message) for w in raised if w.category.__module__.startswith("ssic."))
        return replace(record, notes=notes, seconds=round(time.perf_counter() - begun, 3))

    def failed(self, job: Job, error: str) -> Record:
        """What became of a picture that could not be encoded. A file of an earlier run is left where it is."""
        stale = (self.folder / job.output).exists()
        return Record(
            str(job.picture), job.output.as_posix(), "failed", self.identity, error=error, stale=stale
        )

    def _encode(self, job: Job, blank: Record) -> Record:
        data = job.picture.read_bytes()
        path = self.folder / job.output
        now = replace(blank, source=hashlib.sha256(data).hexdigest(), mask=_own_mask(job))
        if job.before is not None:
            if self._holds(job.before, now, path):
                return replace(job.before, picture=blank.picture, status="kept")
            _check_same(job.before, now, path)

        from ssic.codec import Codec
        from ssic.file import SsicFile
        from ssic.pictures.read import load_picture

        picture = load_picture(data)
        mask = self._mask(job, picture)
        recipe = self.recipe
        excepted = [name for name in recipe.group_quality if name in mask]
        aimed = [name for name in recipe.group_targets if name in mask]
        first = [name for name in recipe.order or () if name in mask]
        if recipe.encrypt is not None:
            from ssic.protect import check_there

            check_there(mask, recipe.encrypt, "--encrypt")
        codec = Codec.load(recipe.model, engine=recipe.engine)
        rate: dict[str, Any] = {
            "quality": recipe.quality if recipe.target is None else None,
            "group_quality": {name: recipe.group_quality[name] for name in excepted},
            "order": first,
            "effort": 1 if recipe.effort is None else recipe.effort,
        }
        targets: Any = {name: recipe.group_targets[name] for name in aimed}
        coded = codec.encode(picture, mask, target=recipe.target, group_targets=targets, **rate).data
        if recipe.encrypt is not None:
            coded = self._sealed(coded)
        SsicFile(coded)  # what can't be read again shall not replace what is there
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(coded)
        return replace(
            now,
            status="encoded",
            sha256=hashlib.sha256(coded).hexdigest(),
            bytes=len(coded),
            width=picture.size[0],
            height=picture.size[1],
            groups=len(mask.groups),
            matched=tuple(dict.fromkeys((*excepted, *aimed, *first))),
        )

    def _sealed(self, coded: bytes) -> bytes:
        from ssic.crypto import Recipient
        from ssic.protect import encrypt

        recipients = [Recipient.parse(word) for word in self.recipe.recipients]
        return bytes(encrypt(coded, self.recipe.encrypt or (), recipients, hide=self.recipe.hide))

    def _holds(self, before: Record, now: Record, path: Path) -> bool:
        if (before.recipe, before.source, before.mask) != (now.recipe, now.source, now.mask):
            return False
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest() == before.sha256
        except FileNotFoundError:
            return False

    def _mask(self, job: Job, picture: Picture) -> GroupMask:
        from ssic.groups.mask import GroupMask

        if job.labels is not None:
            return GroupMask.from_label_map(
                job.labels, picture.size, self.recipe.names, rule=self.recipe.rule, drop_empty=True
            )
        if job.boxes is not None:
            return GroupMask.from_boxes(job.boxes, picture.size, rule=self.recipe.rule, drop_empty=True)
        if job.annotations is not None:
            known = json.loads(job.annotations)
            if (count := len(known["images"])) != 1:
                what = "none" if count == 0 else f"{count} pictures"
                raise MaskError(
                    f"the COCO file has {what} with the file name {job.picture.name}: one is needed"
                )
            return GroupMask.from_coco(
                known,
                picture.size,
                file_name=job.picture.name,
                group_by=self.recipe.group_by,
                rule=self.recipe.rule,
            )
        if self.recipe.segment is not None:
            from ssic.groups.segment import segment

            given = {"min_score": self.recipe.min_score, "max_groups": self.recipe.max_groups}
            return segment(
                _segmenter(self.recipe.segment),
                picture.pixels,
                keep=self.recipe.keep,
                group_by=self.recipe.group_by,
                rule=self.recipe.rule,
                **{key: value for key, value in given.items() if value is not None},  # type: ignore[arg-type]
            )
        if self.recipe.grid is not None:
            return GroupMask.grid(picture.size, *self.recipe.grid)
        return GroupMask.single(picture.size)


@lru_cache(maxsize=1)
def _segmenter(spec: str) -> Segmenter:
    """One per process: it may be a model that takes seconds to load."""
    from ssic.groups.segment import find_segmenter

    return find_segmenter(spec)


def _own_mask(job: Job) -> str:
    """SHA-256 of the mask that belongs to this picture; "" if there is none, or a segmenter makes it."""
    if job.annotations is not None:
        return hashlib.sha256(job.annotations.encode()).hexdigest()
    path = job.labels or job.boxes
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _check_same(before: Record, now: Record, path: Path) -> None:
    """Refuses to put the file of a picture in the place of that of another one (`InvalidInput`). A picture with the
    same content at another place is no other one: it was moved."""
    same = os.path.abspath(before.picture) == os.path.abspath(now.picture) or before.source == now.source
    if not same and path.exists():
        raise InvalidInput(
            f"{path} was made of another picture, {before.picture}, and would be lost: take another folder of outputs, "
            "--root DIR with a folder above both pictures, or delete the file"
        )
