"""Encoding many pictures: a function of one picture that every engine runs, engines, and the list of what is done.

`Encoder` is the function: a `Job` in, a `Record` out, and it never raises on account of a picture. `run_here` runs it
in processes of this machine, `run_on_ray` on a Ray cluster. The records lie, a line of JSON each, in a file in the
folder of the outputs; with it a later run knows what is done, and by checksums whether it still holds.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssic.errors import InvalidInput, MaskError, SsicError, UnknownGroup
from ssic.outfile import replacing

if TYPE_CHECKING:
    from ssic.image import Picture
    from ssic.mask import GroupMask
    from ssic.segment import Segmenter

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".ppm", ".bmp", ".tif", ".tiff")
"""What is taken for a picture in a folder; a glob takes what it names."""
RECORDS = "ssic-batch.jsonl"
"""Name of the file of records."""
AHEAD = 2
"""Jobs handed out per worker: one at work, one waiting."""


@dataclass(frozen=True)
class Recipe:
    """How every picture is encoded; fields as the options of `ssic encode`.

    Attributes:
        names: names of the labels of label maps.
        segment: NAME[:ARG] of a segmenter that makes the mask, with `keep`, `min_score` and `max_groups`.
        group_quality: exceptions, by name, class or id; a picture without such a group ignores them.
        device: of the networks. It is not part of what makes a file another one.
    """

    quality: int = 60
    group_quality: Mapping[str, int] = field(default_factory=dict)
    rule: Literal["most", "any"] = "most"
    group_by: Literal["instance", "class"] = "instance"
    names: Mapping[int, str] | None = None
    segment: str | None = None
    keep: Sequence[str] | None = None
    min_score: float | None = None
    max_groups: int | None = None
    model: str = "small"
    device: str = "cpu"

    def identity(self) -> str:
        """Hash of all that decides the bytes of a file, but for the picture and its own mask.

        Raises:
            ModelError: there is no such model.
        """
        from ssic.model.weights import find_weights, load_weights

        facts = asdict(self) | {"model": load_weights(find_weights(self.model)).id.hex()}
        del facts["device"]
        graph = Path(self.segment.partition(":")[2]) if self.segment else None
        if graph is not None and graph.is_file():  # a model; another one at the same place is another recipe
            facts["segment"] = hashlib.sha256(graph.read_bytes()).hexdigest()
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """What became of a picture.

    Attributes:
        picture, output: paths, the output's relative to the folder of the outputs.
        status: "kept" is what an earlier run did and still holds.
        recipe: identity of the `Recipe`.
        source: SHA-256 of the picture's file and of its own mask.
        sha256, bytes: of the output.
        matched: names in `group_quality` that fitted a group.
        notes: warnings, such as of objects too small for a block.
        error: why it failed.
    """

    picture: str
    output: str
    status: Literal["encoded", "kept", "failed"]
    recipe: str
    source: str = ""
    sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    groups: int = 0
    seconds: float = 0.0
    matched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Job:
    """A picture to encode.

    Attributes:
        output: relative to the folder of the outputs.
        labels: its label map, if masks are label maps.
        annotations: COCO JSON with what is known of this picture, if masks come from COCO.
        before: what an earlier run recorded.
    """

    picture: Path
    output: Path
    labels: Path | None = None
    annotations: str | None = None
    before: Record | None = None


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
            return replace(blank, error=about or type(error).__name__)
        except SsicError as error:
            return replace(blank, error=str(error) or type(error).__name__)
        except Exception as error:  # a bug, but thousands of other pictures are waiting
            return replace(blank, error=f"unexpected {type(error).__name__}: {error}")
        if record.status == "kept":
            return record
        notes = tuple(str(w.message) for w in raised if w.category.__module__.startswith("ssic."))
        return replace(record, notes=notes, seconds=round(time.perf_counter() - begun, 3))

    def _encode(self, job: Job, blank: Record) -> Record:
        data = job.picture.read_bytes()
        source = hashlib.sha256(data)
        if job.labels is not None:
            source.update(job.labels.read_bytes())
        if job.annotations is not None:
            source.update(job.annotations.encode())
        digest, path = source.hexdigest(), self.folder / job.output
        if job.before is not None and self._holds(job.before, digest, path):
            return replace(job.before, picture=blank.picture, status="kept")

        from ssic.codec import Codec
        from ssic.file import SsicFile
        from ssic.image import load_picture

        picture = load_picture(data)
        mask = self._mask(job, picture)
        exceptions = _fitting(mask, self.recipe.group_quality)
        codec = Codec.load(self.recipe.model, device=self.recipe.device)
        coded = codec.encode(picture, mask, quality=self.recipe.quality, group_quality=exceptions).data
        groups = len(SsicFile(coded).groups)  # what can't be read again shall not replace what is there
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(coded)
        return replace(
            blank,
            status="encoded",
            source=digest,
            sha256=hashlib.sha256(coded).hexdigest(),
            bytes=len(coded),
            width=picture.size[0],
            height=picture.size[1],
            groups=groups,
            matched=tuple(map(str, exceptions)),
        )

    def _holds(self, before: Record, source: str, path: Path) -> bool:
        if (before.recipe, before.source) != (self.identity, source):
            return False
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest() == before.sha256
        except FileNotFoundError:
            return False

    def _mask(self, job: Job, picture: Picture) -> GroupMask:
        from ssic.mask import GroupMask

        if job.labels is not None:
            return GroupMask.from_label_map(
                job.labels, picture.size, self.recipe.names, rule=self.recipe.rule, drop_empty=True
            )
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
            from ssic.segment import segment

            given = {"min_score": self.recipe.min_score, "max_groups": self.recipe.max_groups}
            return segment(
                _segmenter(self.recipe.segment),
                picture.pixels,
                keep=self.recipe.keep,
                group_by=self.recipe.group_by,
                rule=self.recipe.rule,
                **{key: value for key, value in given.items() if value is not None},  # type: ignore[arg-type]
            )
        return GroupMask.single(picture.size)


@lru_cache(maxsize=1)
def _segmenter(spec: str) -> Segmenter:
    """One per process: it may be a model that takes seconds to load."""
    from ssic.segment import find_segmenter

    return find_segmenter(spec)


def _fitting(mask: GroupMask, wanted: Mapping[str, int]) -> dict[str | int, int]:
    found: dict[str | int, int] = {}
    for name, quality in wanted.items():
        try:
            mask.resolve([name])
        except UnknownGroup:
            continue
        found[name] = quality
    return found


def find_pictures(given: Sequence[str]) -> list[tuple[Path, Path]]:
    """(picture, its output relative to the folder of the outputs) of folders, globs and paths, sorted.

    Pictures of a folder are those with a suffix in `SUFFIXES`, without subfolders; ``**`` in a glob goes into them.
    Outputs keep their place below what all pictures have in common.

    Raises:
        InvalidInput: nothing there, or two pictures would have the same output.
    """
    found: set[Path] = set()
    for item in given:
        path = Path(item)
        if path.is_dir():
            here = {p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()}
        elif path.exists():
            here = {path}
        else:
            here = {p for p in map(Path, glob.glob(item, recursive=True)) if p.is_file()}
        if not here:
            raise InvalidInput(
                f"no pictures in {item}: a folder ({', '.join(SUFFIXES)}) or a glob was expected"
            )
        found |= here
    try:
        root = Path(os.path.commonpath([os.path.abspath(p.parent) for p in found]))
    except ValueError as error:  # Windows: there is no folder above two drives
        raise InvalidInput("the pictures lie on different drives: encode those of each apart") from error
    targets = [(p, Path(os.path.abspath(p)).relative_to(root).with_suffix(".ssic")) for p in sorted(found)]
    count = Counter(target for _, target in targets)
    twice = [str(p) for p, target in targets if count[target] > 1]
    if twice:
        raise InvalidInput(
            f"{' and '.join(twice[:4])} would become the same file: encode them to different folders"
        )
    return targets


def find_jobs(
    pictures: Sequence[tuple[Path, Path]],
    records: Mapping[str, Record],
    *,
    masks: Path | None = None,
    coco: Path | None = None,
) -> Iterator[Job]:
    """The jobs of `find_pictures`.

    Args:
        records: by output, of earlier runs.
        masks: folder of label maps, PNG, at the places of the outputs.
        coco: file of COCO annotations; pictures are found by file name.

    Raises:
        MaskError: the COCO file is none.
    """
    annotated = _by_picture(coco) if coco is not None else None
    for picture, output in pictures:
        yield Job(
            picture,
            output,
            labels=None if masks is None else masks / output.with_suffix(".png"),
            annotations=None if annotated is None else annotated(picture.name),
            before=records.get(output.as_posix()),
        )


def _by_picture(coco: Path) -> Callable[[str], str]:
    from ssic.sources import read_json

    data = read_json(coco, "COCO annotations")
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), list) and all(isinstance(item, dict) for item in data[key])
        for key in ("images", "annotations", "categories")
    ):
        raise InvalidInput(
            f'{coco} is no COCO annotation file: lists "images", "annotations", "categories" are needed'
        )
    images: dict[str, list[Any]] = {}
    for image in data["images"]:
        images.setdefault(Path(str(image.get("file_name"))).name, []).append(image)
    objects: dict[str, list[Any]] = {}
    for item in data["annotations"]:
        objects.setdefault(str(item.get("image_id")), []).append(item)

    def of(name: str) -> str:
        here = images.get(name, [])
        known = [item for image in here for item in objects.get(str(image.get("id")), [])]
        return json.dumps({"images": here, "annotations": known, "categories": data["categories"]})

    return of


def read_records(folder: Path) -> dict[str, Record]:
    """The last successful record of each output, from the file in `folder`; lines cut short are passed over."""
    try:
        lines = (folder / RECORDS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    found: dict[str, Record] = {}
    for line in lines:
        try:
            record = from_line(line)
        except (ValueError, TypeError, KeyError):
            continue  # what isn't known to be done is done again
        if record.status == "encoded":
            found[record.output] = record
    return found


@contextmanager
def appending(folder: Path) -> Iterator[Callable[[Record], None]]:
    """What to call with each record: it is in the file when the call returns."""
    path = folder / RECORDS
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        if cut:  # a line cut short by whatever ended the last run must not swallow the next one
            file.write("\n")

        def append(record: Record) -> None:
            file.write(as_line(record))
            file.flush()

        yield append


def default_workers() -> int:
    """A worker per two cores: the networks use two threads well, more of them less so."""
    return max(1, (os.cpu_count() or 1) // 2)


def as_line(record: Record) -> str:
    """A record as it lies in the file. In ASCII: paths that are no UTF-8 are kept in escapes only."""
    return json.dumps(asdict(record)) + "\n"


def from_line(line: str) -> Record:
    """Inverse of `as_line`; ValueError, TypeError or KeyError if the line is none."""
    given = json.loads(line)
    return Record(**given | {key: tuple(given[key]) for key in ("matched", "notes")})


def run_here(jobs: Iterable[Job], encoder: Encoder, workers: int) -> Iterator[Record]:
    """Run in `workers` processes, or in this one if that is 1; records come in the order in which they end.

    However many jobs there are, `AHEAD` per worker are out at a time, and a picture is in memory only where it is
    encoded. A worker that dies (killed for its memory) costs the picture at which it dies twice.
    """
    if workers == 1:
        yield from map(encoder, jobs)
        return
    waiting, alone = iter(jobs), list[Job]()
    while True:
        try:
            yield from _in_pool(waiting, encoder, workers, alone)
            break
        except BrokenProcessPool:
            # One of these killed its worker, and the pool with it. Each gets a pool of its own.
            for job in alone:
                try:
                    yield from _in_pool(iter([job]), encoder, 1, [])
                except BrokenProcessPool:
                    yield Record(
                        str(job.picture),
                        job.output.as_posix(),
                        "failed",
                        encoder.identity,
                        error="the process died twice at this picture, perhaps for lack of memory",
                    )
            alone.clear()


def _in_pool(jobs: Iterator[Job], encoder: Encoder, workers: int, lost: list[Job]) -> Iterator[Record]:
    """Raises BrokenProcessPool, with the jobs that were out in `lost`."""
    import multiprocessing

    threads = max(1, (os.cpu_count() or 1) // workers)
    out: dict[Future[Record], Job] = {}
    # Spawned, because a process that has run torch's threads can't be forked safely.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin_worker, (threads,))
    try:
        more = True
        while more or out:
            while more and len(out) < AHEAD * workers:
                job = next(jobs, None)
                if job is None:
                    more = False
                else:
                    # Noted first: where submitting fails, the job is not lost.
                    lost.append(job)
                    out[pool.submit(encoder, job)] = lost.pop()
            if not out:
                break
            for done in wait(out, return_when=FIRST_COMPLETED).done:
                record = done.result()
                del out[done]
                yield record
    except BrokenProcessPool:
        lost.extend(out.values())
        raise
    except KeyboardInterrupt:
        # The workers don't hear it: they finish the pictures at hand, and what they did shall be on record.
        pool.shutdown(wait=True, cancel_futures=True)
        yield from (done.result() for done in out if not done.cancelled())
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def begin_worker(threads: int) -> None:
    """First thing in a worker, before NumPy and torch are there to be told."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def run_on_ray(jobs: Iterable[Job], encoder: Encoder, workers: int | None) -> Iterator[Record]:
    """Run as a Ray Data pipeline on the cluster that Ray finds (`RAY_ADDRESS`), or on one of its own here.

    Paths must mean the same on every node: a shared file system.

    Args:
        workers: tasks at a time; as many as Ray thinks fit by default.

    Raises:
        InvalidInput: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InvalidInput('the engine ray needs Ray Data: pip install "ssic[ray]"') from error
    import pickle

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        return {"record": as_line(encoder(pickle.loads(row["job"])))}

    rows = [{"job": pickle.dumps(job)} for job in jobs]
    options: dict[str, Any] = {} if workers is None else {"concurrency": workers}
    if encoder.recipe.device.startswith("cuda"):
        options["num_gpus"] = 1
    blocks = max(1, min(len(rows), 4 * (workers or 64)))
    for row in ray.data.from_items(rows, override_num_blocks=blocks).map(encode, **options).iter_rows():
        yield from_line(row["record"])
