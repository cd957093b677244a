"""From pixels to groups: segmenters, how they are found, and the masks that are made of what they find.

A segmenter maps a picture to the instances that it sees. Packages offer theirs through the entry points of
`ssic.segmenters`; those that come with ssic are offered in the same way. `docs/segment.md` says how to write one.

>>> import numpy as np
>>> def bright(rgb):
...     yield Instance("bright", 0.9, rgb.min(2) > 200)
>>> picture = np.zeros((32, 48, 3), np.uint8); picture[:16, :20] = 255
>>> segment(bright, picture).ids
array([[1, 1, 0],
       [0, 0, 0]], dtype=uint8)
"""

from __future__ import annotations

import difflib
import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ssic.arguments import is_number, is_whole, listing, type_name
from ssic.blocks import MAX_GROUPS
from ssic.errors import InvalidInput, SegmenterError, SsicError
from ssic.groups.label_maps import Rule
from ssic.groups.mask import GroupMask, from_objects
from ssic.groups.objects import Objects
from ssic.names import as_text, numbered

GROUP = "ssic.segmenters"
"""The entry points that name segmenters."""
_OWN = "ssic"
"""The package whose segmenters change without a new name or version only together with what they say of themselves."""
MIN_SCORE = 0.25
MAX_OBJECTS = MAX_GROUPS - 1
"""How many groups fit beside the background."""


class LeftOut(UserWarning):
    """Something that a segmenter found, or all that was asked for, is in no group."""


class Shared(UserWarning):
    """More objects were found than there can be groups: the least sure of a class are one group."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing in a picture.

    Attributes:
        name: of its class: "person".
        score: how sure the segmenter is, 0..1.
        mask: [H, W] bool, the picture's size.
    """

    name: str
    score: float
    mask: NDArray[np.bool_] = field(repr=False)


class Segmenter(Protocol):
    """Maps a picture to what is in it.

    One that knows all its classes beforehand may say so in an attribute `classes`, a collection of names; then what
    is asked for in vain is an error rather than an empty mask. And it may say in an attribute `identity`, a text, what
    its masks depend on beside the version of its package: which weights, or the version of a package that brings them.
    """

    def __call__(self, rgb: NDArray[np.uint8], /) -> Iterable[Instance]:
        """The instances in a picture [H, W, 3], in any order; also unsure ones, since the caller draws the line.
        A generator is best: masks of many instances of a large picture need not be in memory together."""


Factory = Callable[[str | None], Segmenter]
"""What an entry point names: it takes what stands after the colon of `NAME:ARG`, or None."""


def available() -> dict[str, EntryPoint]:
    """The segmenters that installed packages offer, by name.

    Raises:
        SegmenterError: two packages use one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if (other := found.setdefault(entry.name, entry)) != entry:
            where = " and ".join(f"{e.dist.name if e.dist else '?'} ({e.value})" for e in (other, entry))
            raise SegmenterError(
                f'two packages offer a segmenter "{entry.name}", {where}: uninstall one of them'
            )
    return dict(sorted(found.items()))


def find_segmenter(spec: str) -> Segmenter:
    """The segmenter that `NAME` or `NAME:ARG` stands for, ready to run.

    Raises:
        SegmenterError: no package offers it, or it can't be made: a package or model is missing, ARG is wrong.
    """
    if not isinstance(spec, str):
        raise SegmenterError(
            f'a segmenter is named, as in "foreground" or "onnx:FILE", not {type_name(spec)}'
        )
    name, colon, argument = spec.partition(":")
    known = available()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else "."
        raise SegmenterError(
            f'there is no segmenter "{name}"{hint} There are: {", ".join(known) or "none"} '
            f'(entry points "{GROUP}" of installed packages)'
        )
    with _blaming(name, "can't be loaded"):
        factory: Factory = known[name].load()
        return factory(argument if colon else None)


def identity_of(spec: str, segmenter: Segmenter) -> dict[str, str]:
    """What decides the masks that a segmenter makes, as far as can be told: those of another one may differ.

    Args:
        spec: `NAME` or `NAME:ARG`, what it was made from with `find_segmenter`.

    Returns:
        "name"; "argument", where there is one, or rather the SHA-256 of the file that it names; "package", with its
        version, where it is of another than ssic; and "identity", where it says what it is.

    Raises:
        OSError: the file can't be read.
    """
    name, _, argument = spec.partition(":")
    entry = available()[name]
    facts = {"name": name}
    if argument:
        path = Path(argument)
        facts["argument"] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else argument
    # Those that come with ssic say themselves when they change, so that not each of its versions makes other masks.
    if entry.dist is None or entry.dist.name != _OWN:
        facts["package"] = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
    if (identity := getattr(segmenter, "identity", None)) is not None:
        facts["identity"] = str(identity)
    return facts


def segment(
    segmenter: Segmenter,
    rgb: NDArray[np.uint8],
    *,
    keep: Collection[str] | str | None = None,
    min_score: float = MIN_SCORE,
    max_groups: int = MAX_OBJECTS,
    group_by: Literal["instance", "class"] = "instance",
    rule: Rule = "any",
    always: Collection[str] = (),
) -> GroupMask:
    """The groups of a picture, [H, W, 3] uint8: one for each instance that a segmenter finds, or for each class.

    Groups are named by class, and numbered where several have it ("dog", "person 1", "person 2"), the surest first;
    ids are 1, 2, ... in that order, and 0 is the background, where it owns blocks. Where instances overlap, the surer
    one lies on top.

    Args:
        keep: the classes that become groups, all by default; the rest is background, and hides nothing.
        min_score: what is less sure than that is background.
        max_groups: at most that many groups beside the background, 1..254. Every class gets one, the surest classes
            first; what is left goes to the surest objects, and the last group of a class takes all others of it:
            "person 254 and 46 more". So nothing of a class that is sealed is outside of its groups.
        rule: as of `blocks_from_pixels`. With "any" objects are whole: they own each block that they touch,
            so that none is cut off, and however small it is, it is there (unless others have more of its blocks).
        always: classes that get a group before surer ones do, where there are more than `max_groups` classes.

    Warns:
        LeftOut: classes beyond `max_groups`, or nothing was found at all.
        Shared: objects beyond `max_groups`.
        DroppedGroups: groups that own no block.

    Raises:
        SegmenterError: a class in `keep` that the segmenter does not have, or it fails, or what it gives is unusable.
        InvalidInput: an argument is out of range, or `max_groups` less than what `always` names and is found.
        MaskError: another `rule`.
    """
    if not isinstance(group_by, str) or group_by not in ("instance", "class"):
        raise InvalidInput(f'group_by is {group_by!r}; it can be "instance" or "class"')
    _check_picture(rgb)
    if not is_number(min_score) or not 0 <= min_score <= 1:
        raise InvalidInput(f"the lowest score is {min_score!r:.80}; scores are from 0 to 1")
    if not is_whole(max_groups) or not 1 <= max_groups <= MAX_OBJECTS:
        raise InvalidInput(f"at most {max_groups} groups; 1 to {MAX_OBJECTS} fit beside the background")
    if not callable(segmenter):
        raise SegmenterError(
            f"a segmenter is a function of a picture, not {type_name(segmenter)}: `find_segmenter` finds one by name"
        )
    if keep is not None:
        if not isinstance(keep, (str, Collection)) or not all(isinstance(name, str) for name in keep):
            raise InvalidInput(f"keep takes names of classes, not {keep!r:.80}")
        keep = [keep] if isinstance(keep, str) else keep
    if isinstance(always, str) or not isinstance(always, Collection):
        raise InvalidInput(f"always takes names of classes, not {always!r:.80}")
    check_classes(segmenter, keep)
    wanted = None if keep is None else set(keep)
    # Painted as they come, each pixel for the surest so far: one mask in memory, and their order does not matter.
    labels = np.zeros(rgb.shape[:2], np.int32)
    surest = np.zeros(rgb.shape[:2], np.float32)
    found: list[tuple[str, float]] = []
    for instance in instances(segmenter, rgb):
        if instance.score < min_score or (wanted is not None and instance.name not in wanted):
            continue
        found.append((instance.name, float(instance.score)))
        # A score of 0 must show on the background too.
        above = instance.mask & ((instance.score > surest) | (labels == 0))
        labels[above] = len(found)
        surest[above] = instance.score
    if not found:
        asked = f" of {', '.join(keep)}" if keep else ""
        text = f"nothing{asked} was found that scores {min_score} or more: the picture is one group"
        warnings.warn(text, LeftOut, stacklevel=2)
    return from_objects(_objects(labels, found, max_groups, group_by, always), rule, drop_empty=True)


def instances(segmenter: Segmenter, rgb: NDArray[np.uint8]) -> Iterator[Instance]:
    """What a segmenter finds in a picture, checked.

    Raises:
        SegmenterError: it fails, or what it gives is no instance of such a picture.
    """
    who = getattr(segmenter, "__name__", type(segmenter).__name__)
    _check_picture(rgb)
    with _blaming(who, "failed"):
        for found in segmenter(rgb):
            mask, name, score = found.mask, as_text(str(found.name)), found.score
            if not name:
                raise SegmenterError(f"{who} found something without a name of its class: {found.name!r}")
            if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != rgb.shape[:2]:
                met = getattr(mask, "dtype", type(mask).__name__), list(getattr(mask, "shape", ()))
                raise SegmenterError(
                    f'the mask of a "{name}" by {who} is {met[0]} {met[1]}; bool {list(rgb.shape[:2])} was expected'
                )
            if not 0 <= score <= 1:
                raise SegmenterError(f'the score of a "{name}" by {who} is {score}; 0 to 1 was expected')
            yield found if name == found.name else Instance(name, score, mask)


def _check_picture(rgb: NDArray[np.uint8]) -> None:
    if not isinstance(rgb, np.ndarray):
        raise SegmenterError(
            f"a picture [H, W, 3] uint8 was expected, not {type_name(rgb)}: load_picture(...).pixels reads one"
        )
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise SegmenterError(f"a picture [H, W, 3] uint8 was expected, met {rgb.dtype} {list(rgb.shape)}")


def check_classes(segmenter: Segmenter, keep: Collection[str] | None) -> None:
    """
    Raises:
        SegmenterError: a class in `keep` that the segmenter, if it knows its classes, does not have.
    """
    classes: Collection[str] | None = getattr(segmenter, "classes", None)
    for name in keep or ():
        if classes is not None and name not in classes:
            close = difflib.get_close_matches(name, classes, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else "."
            listed = ", ".join(sorted(classes)[:100]) + (", ..." if len(classes) > 100 else "")
            raise SegmenterError(f'the segmenter has no class "{name}"{hint} It has: {listed}')


def _objects(
    labels: NDArray[np.int32],
    found: list[tuple[str, float]],
    max_groups: int,
    group_by: Literal["instance", "class"],
    always: Collection[str],
) -> Objects:
    """`labels` 1, 2, ... of instances with these names and scores, renumbered and grouped: the surest first."""
    order = sorted(range(len(found)), key=lambda n: -found[n][1])
    of_class = [name for name, _ in found]
    surest: dict[str, int] = {}  # of each class
    for n in order:
        surest.setdefault(of_class[n], n)
    classes = sorted(surest, key=lambda name: name not in always)
    if missed := [name for name in classes[max_groups:] if name in always]:
        raise InvalidInput(
            f"{listing(missed)} must have a group, and at most {max_groups} are wanted: allow more (max_groups, "
            "--max-groups)"
        )
    if len(classes) > max_groups:
        text = f"{len(classes)} classes were found; left out, beyond the surest {max_groups}"
        warnings.warn(f"{text}: {listing(classes[max_groups:])}", LeftOut, stacklevel=3)
    kept = set(classes[:max_groups])
    leading = {surest[name] for name in kept}
    if group_by == "instance":
        further = [n for n in order if of_class[n] in kept and n not in leading]
        leading |= set(further[: max_groups - len(leading)])
    leaders = [n for n in order if n in leading]
    group_of = {n: k for k, n in enumerate(leaders, 1)}
    last = {of_class[n]: group_of[n] for n in leaders}  # of each class
    group_of |= {n: last.get(of_class[n], 0) for n in order if n not in leading}
    names = numbered([of_class[n] for n in leaders])
    scores: dict[int, float] = {}
    if group_by == "instance":
        more = Counter(group_of[n] for n in order if n not in leading and group_of[n])
        scores = {k: found[n][1] for k, n in enumerate(leaders, 1) if k not in more}
        for k, count in more.items():
            names[k - 1] += f" and {count} more"
            text = (
                f'more were found than {max_groups} groups hold: "{names[k - 1]}" is {count + 1} in one group'
            )
            warnings.warn(text, Shared, stacklevel=3)
        names = numbered(names, ())
    table = np.array([0, *(group_of[n] for n in range(len(found)))], np.int32)
    by_group = {k: of_class[n] for k, n in enumerate(leaders, 1)}
    return Objects(table[labels], dict(enumerate(names, 1)), by_group, scores)


@contextmanager
def _blaming(name: str, what: str) -> Iterator[None]:
    """What a segmenter raises, however unexpected, says which one it was, and is an error of this package."""
    try:
        yield
    except SsicError:
        raise
    except Exception as error:
        text = f'the segmenter "{name}" {what}: {error or type(error).__name__}'
        raise SegmenterError(text) from error
