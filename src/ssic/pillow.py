"""Pillow opens and saves ssic files once this module is imported.

::

    import ssic.pillow
    from PIL import Image

    im = Image.open("photo.ssic")                         # reads the head: size, mode, info; runs no model
    im.ssic.groups                                        # the file, as `ssic.open` returns it
    im.select("person", fill="transparent").save("person.png")
    photo.save("photo.ssic", mask=labels, quality=60, group_quality={"person": 85})
    im.thumbnail((200, 200))                              # and all else that images of Pillow can

`save` takes what `ssic.encode` takes: `mask`, `quality`, `group_quality`, `target`, `group_targets`, `order`, `model`
and `engine`; `names` of the labels, where `mask` is a label map; and `icc_profile`. What looks like a slip of one of
these is refused. Other options, such as `optimize` or `exif`, are Pillow's or of other formats, and mean nothing
here, as with all plugins.

`ssic.pillow.limits` is what `Image.open` may spend on a file, a `ssic.DecodeLimits`; None, as at the start, stands for
those of the process (`ssic.set_default_limits`). What goes beyond them is no image for Pillow when it is opened, and
an `OSError` when its pixels are decoded::

    ssic.pillow.limits = dataclasses.replace(ssic.DecodeLimits(), max_pixels=20_000_000, max_memory=2**32)

Pillow opens the file that it writes to, and so empties one that was there, before this plugin is asked: if encoding
then fails (transparent pixels, a mask of another size), what was there is lost. Encode first where that matters:
``Path("photo.ssic").write_bytes(ssic.encode(photo, mask))``.
"""

from __future__ import annotations

import difflib
import os
import warnings
from typing import IO, Any

from PIL import Image, ImageFile

from ssic.blocks import SCALES
from ssic.codec import encode
from ssic.decoded import DamagedGroups, SealedGroups
from ssic.errors import DamagedSegment, FormatError, InvalidInput, ModelError
from ssic.file import GroupNames, SsicFile
from ssic.format import DecodeLimits
from ssic.format.layout import MAGIC
from ssic.groups.mask import GroupMask
from ssic.opening import open as open_ssic
from ssic.pictures.fill import Fill, check_fill, compose

FORMAT = "SSIC"

limits: DecodeLimits | None = None
"""What opening and decoding through Pillow may cost; None for what holds in this process. An image keeps those that it
was opened with."""

_OPTIONS = ("mask", "quality", "group_quality", "target", "group_targets", "order", "model", "engine")
"""Options of `save` that are those of `ssic.encode`."""

_FOREIGN = {"qtables", "mode", "modes", "format", "encoder", "encoding"}
"""Options of other plugins that look like some of these."""


class SsicImageFile(ImageFile.ImageFile):
    """An ssic file as Pillow sees it: the head is read at once, pixels are decoded when they are needed. Of a file that
    was opened by its path, no more is read than what is decoded.

    `info` has "ssic", what `ssic info --json` prints, and "icc_profile", where the file has one. Where groups
    are damaged, loading raises an `OSError`; with `PIL.ImageFile.LOAD_TRUNCATED_IMAGES` they are filled
    instead, and a `DamagedGroups` warning names them. Sealed groups are filled, too, and a `SealedGroups` warning
    names them; `Image.open` takes no keys, `ssic.decode` does.

    Attributes:
        ssic: the file, with its groups and mask.
    """

    format = FORMAT
    format_description = "Semantically structured image"

    ssic: SsicFile
    _groups: GroupNames | None = None
    _reduced = 1
    _fill: Fill = "black"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            # A name may also be a label that a caller put on a stream of his own; Pillow's are paths that it opened.
            if self.filename and os.path.isfile(self.filename) and self._is_that_file():
                self.ssic = open_ssic(os.path.abspath(os.fsdecode(self.filename)), limits=limits)
            else:
                self.ssic = SsicFile(self.fp.read(), limits=limits)
        except FormatError as error:
            raise SyntaxError(str(error)) from error  # how a plugin tells Pillow that the file is not for it
        self._size = self.ssic.size
        self.info["ssic"] = self.ssic.info()
        if self.ssic.icc is not None:
            self.info["icc_profile"] = self.ssic.icc
        self._decode_later("RGB")

    def _is_that_file(self) -> bool:
        """Whether what Pillow reads from is the file at `filename`."""
        try:
            return os.path.samestat(os.fstat(self.fp.fileno()), os.stat(self.filename))  # type: ignore[union-attr]
        except (OSError, AttributeError, ValueError):  # a stream in memory has no number
            return False

    def load_seek(self, pos: int) -> None:
        """Nothing: pixels are not read by Pillow. That a plugin has this tells `PIL.ImageFile.Parser`, which Django and
        others feed, to collect the whole file and to open it then."""

    def _decode_later(self, mode: str) -> None:
        self._mode = mode
        width, height = self.ssic.size
        self._size = -(-width // self._reduced), -(-height // self._reduced)
        # Pillow takes an image with tiles for one that is not loaded. This one is never decoded by Pillow.
        self.tile = [("ssic", (0, 0, *self.size), 0, mode)]  # type: ignore[list-item]

    def select(self, groups: GroupNames | None = None, *, fill: Fill = "black") -> SsicImageFile:
        """Show these groups only, from the next `load` on. The rest of the file is not decoded.

        Args:
            groups: names, classes or ids; all by default.
            fill: what stands elsewhere: "black", "mean", "#rrggbb", (red, green, blue), or "transparent", which makes
                the mode RGBA. `im.crop(im.getbbox())` then cuts to the groups.

        Returns:
            the image itself.

        Raises:
            UnknownGroup: the file has no such group.
            ImageError: there is no such fill.
        """
        ids = None if groups is None else self.ssic.mask.resolve(groups)
        alpha = check_fill(fill)
        self._groups, self._fill = ids, fill
        self._decode_later("RGBA" if alpha else "RGB")
        return self

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Load at a lower resolution, from the next `load` on, as for JPEG: 1/2, 1/4, 1/8 or 1/16, the lowest that
        leaves at least `size`. `thumbnail` asks for it. From 1/4 on that takes a fraction of the time, as `ssic.decode`
        with a `scale` does; 1/2 is decoded in full and shrunk, which saves memory only.

        Args:
            mode: of no effect.
            size: (width, height) that are needed; None changes nothing.

        Returns:
            mode and box of what will be loaded, or None if nothing changes.
        """
        if size is None or not self.tile:
            return None
        width, height = self.ssic.size
        fits = [n for n in (16, 8, 4, 2) if width // n >= size[0] and height // n >= size[1]]
        if not fits:
            return None
        self._reduced = fits[0]
        self._decode_later(self.mode)
        return self.mode, (0, 0, width / self._reduced, height / self._reduced)

    def load(self) -> Any:
        """Decode the pixels, if that has not been done; what every other method calls first."""
        if self.tile:
            try:
                scale = self._reduced if self._reduced in SCALES else 1
                decoded = self.ssic.decode_pixels(self._groups, scale=scale)
                if decoded.damaged:
                    names = ", ".join(decoded.damaged)
                    if not ImageFile.LOAD_TRUNCATED_IMAGES:
                        text = f"could not be decoded: {names} (PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True fills it)"
                        raise DamagedSegment(text, decoded.damaged)
                    text = f"could not be decoded and is left out: {names}"
                    warnings.warn(text, DamagedGroups, stacklevel=2)
                if decoded.sealed:
                    text = f"sealed and left out, for want of a key: {', '.join(decoded.sealed)}"
                    warnings.warn(text, SealedGroups, stacklevel=2)
            except (FormatError, ModelError) as error:
                raise OSError(str(error)) from error
            image = Image.fromarray(compose(decoded.pixels, decoded.present, self._fill))
            if self._reduced > scale:
                image = image.reduce(self._reduced)
            self.im, self.readonly = image.im, image.readonly
            self.tile = []
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()

    def verify(self) -> None:
        """Check the segments against their checksums, without decoding them."""
        damaged = self.ssic.damaged()
        super().verify()
        if damaged:
            raise OSError(f"damaged: {', '.join(damaged)}")


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    given = image.encoderinfo
    for key in given.keys() - {*_OPTIONS, "names", *_FOREIGN}:
        if meant := difflib.get_close_matches(key, [*_OPTIONS, "names"], n=1, cutoff=0.75):
            raise InvalidInput(f"an ssic file is not saved with {key}=...; did you mean {meant[0]}=...?")
    options = {key: given[key] for key in _OPTIONS if key in given}
    if "names" in given:
        if options.get("mask") is None or isinstance(options["mask"], GroupMask):
            raise InvalidInput("names are those of a label map: give it as mask=...")
        options["mask"] = GroupMask.from_any(options["mask"], image.size, given["names"])
    if "icc_profile" in image.encoderinfo:
        profile = image.encoderinfo["icc_profile"]
        image = image.copy()
        image.info["icc_profile"] = profile
    file.write(encode(image, **options))


def register_ssic_opener() -> None:
    """Make ssic files known to Pillow; importing this module does it. Harmless when repeated."""
    if FORMAT not in Image.ID:  # older Pillows would list it twice
        Image.register_open(FORMAT, SsicImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".ssic")
    Image.register_mime(FORMAT, "image/vnd.ssic")


register_ssic_opener()
