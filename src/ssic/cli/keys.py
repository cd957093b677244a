"""Keys and passphrases on the command line: public keys as words or files, secrets from files, environment, prompt."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ssic.cli.files import is_stdin, read
from ssic.cli.terminal import warn
from ssic.crypto import Identity, Passphrase, Recipient, SigningKey, VerifyKey
from ssic.crypto.files import Hide
from ssic.crypto.keys import KINDS, AnyKey
from ssic.crypto.wrap import Locker, Opener
from ssic.errors import BadKey, InvalidInput

K = TypeVar("K", bound=AnyKey)

ENVIRONMENT = "SSIC_PASSPHRASE"
_PANEL = "Keys"


def _option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_PANEL)


Recipients = Annotated[
    list[str] | None,
    _option(
        "--recipient",
        metavar="KEY|FILE",
        help="Public key of who may open the groups, or a file with such keys; repeatable.",
    ),
]
Identities = Annotated[
    list[Path] | None,
    _option(
        "--identity", metavar="FILE", help="Private key that opens sealed groups, of ssic keygen; repeatable."
    ),
]
AskPassphrase = Annotated[
    bool,
    _option("--passphrase", help=f"Use a passphrase: that in ${ENVIRONMENT}, else one that is typed in."),
]
PassphraseFile = Annotated[
    Path | None,
    _option("--passphrase-file", metavar="FILE", help="Use the passphrase in the first line of a file."),
]
Trust = Annotated[
    list[str] | None,
    _option(
        "--trust",
        metavar="KEY|FILE",
        help="Verification key, or a file with such keys: one of them must have signed the file. Repeatable.",
    ),
]
HideNames = Annotated[
    bool, _option("--hide-names", help="Seal names, classes, scores and qualities of these groups, too.")
]
HideOutline = Annotated[
    bool,
    _option(
        "--hide-outline",
        help="As --hide-names, and which block belongs to which of these groups: one outline of all is left.",
    ),
]
Renumber = Annotated[
    bool,
    _option(
        "--renumber",
        help="Close gaps in ids and in the numbers of names first (person 1, person 3), which would tell of hidden "
        "groups.",
    ),
]
Pad = Annotated[
    bool,
    _option("--pad", help="Pad sealed groups, by an eighth at most, so that their lengths tell less."),
]
Cipher = Annotated[
    str | None,
    typer.Option(
        "--cipher",
        metavar="aes-256-gcm|chacha20-poly1305",
        help="Cipher of the groups. Default: aes-256-gcm.",
    ),
]
Encrypted = Annotated[
    list[str] | None,
    _option(
        "--encrypt",
        metavar="NAME,...",
        help="Seal these groups, so that they are never stored in clear; one that is missing is an error, but a "
        "warning where a segmenter knows the class and finds none. Repeatable.",
    ),
]


@dataclass(frozen=True)
class OpenOptions:
    """What sealed groups are opened with."""

    identity: Identities = None
    passphrase: AskPassphrase = False
    passphrase_file: PassphraseFile = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that will be read."""
        return *(self.identity or ()), *(() if self.passphrase_file is None else (self.passphrase_file,))

    def keys(self) -> list[Opener] | None:
        """As `openers`."""
        return openers(self.identity, self.passphrase, self.passphrase_file)


@dataclass(frozen=True)
class LockOptions:
    """For whom groups are sealed."""

    recipient: Recipients = None
    passphrase: AskPassphrase = False
    passphrase_file: PassphraseFile = None

    @property
    def files(self) -> tuple[str | Path, ...]:
        """Files that will be read, if they are such; a recipient may be a key."""
        return *(self.recipient or ()), *(() if self.passphrase_file is None else (self.passphrase_file,))

    @property
    def given(self) -> bool:
        """Whether any was given."""
        return bool(self.files) or self.passphrase

    def locks(self) -> list[Locker]:
        """As `locks`."""
        return locks(self.recipient, self.passphrase, self.passphrase_file)


@dataclass(frozen=True)
class HideOptions:
    """What is sealed beside the pixels of groups, and what else shall not tell of them."""

    hide_names: HideNames = False
    hide_outline: HideOutline = False
    renumber: Renumber = False
    pad: Pad = False

    @property
    def hide(self) -> Hide:
        """As `ssic.encrypt` takes it. Of the two options, one is enough."""
        return "outline" if self.hide_outline else "names" if self.hide_names else "nothing"

    @property
    def given(self) -> bool:
        """Whether any was given."""
        return self != HideOptions()

    def check(self) -> None:
        """Refuses options that are of no use together (`InvalidInput`), before the work."""
        if self.renumber and self.hide == "nothing":
            raise InvalidInput(
                "--renumber is of use with --hide-names or --hide-outline only: else ids and names stay"
            )

    def how(self) -> dict[str, Any]:
        """All of them, as `ssic.encrypt` takes them."""
        return {"hide": self.hide, "renumber": self.renumber, "pad": self.pad}


def locks(recipients: list[str] | None, ask: bool, file: Path | None) -> list[Locker]:
    """Whom to seal for. A passphrase that is typed in is asked for twice.

    Raises:
        InvalidInput: for nobody.
    """
    found: list[Locker] = []
    for word in recipients or ():
        found += _public(word, Recipient)
    if ask or file is not None:
        found.append(_passphrase(file, confirm=True))
    if not found:
        raise InvalidInput("for whom? --recipient KEY, --passphrase or --passphrase-file FILE must say it")
    return found


def openers(identities: list[Path] | None, ask: bool, file: Path | None) -> list[Opener] | None:
    """What to open with; None if nothing was given. A passphrase in the environment is tried unasked."""
    found: list[Opener] = []
    if identities:
        for path in identities:
            found += _secrets(path, Identity)
    if ask or file is not None or os.environ.get(ENVIRONMENT):
        found.append(_passphrase(file, confirm=False))
    return found or None


def signing_key(path: Path) -> SigningKey:
    """The signing key in a file."""
    return _secrets(path, SigningKey)[0]


def verify_keys(words: list[str] | None) -> list[VerifyKey] | None:
    """Verification keys from words or files; None if none were given."""
    if not words:
        return None
    return [key for word in words for key in _public(word, VerifyKey)]


def _public(word: str, kind: type[K]) -> list[K]:
    """The key that `word` is, or those in the file that it names. A private key in a file stands for its public one."""
    _check_not_secret(word)
    if any(word.strip().startswith(known.PREFIX) for known in KINDS):
        return [kind.parse(word)]
    return kind.read_all(read(Path(word)), word)


def _check_not_secret(word: str) -> None:
    if any(word.strip().upper().startswith(kind.PREFIX) for kind in KINDS if kind.SECRET):
        raise BadKey(
            "a private key does not belong on a command line, where others can see it: keep it in a file (ssic "
            "keygen), and make a new one if somebody may have seen this one"
        )


def _secrets(path: Path, kind: type[K]) -> list[K]:
    _check_not_secret(str(path))
    keys = kind.read_all(read(path), str(path))  # first: a public key, given by mistake, is for everybody
    if not is_stdin(path) and os.name == "posix":
        state = path.stat()
        if stat.S_ISREG(state.st_mode) and state.st_mode & 0o077:
            warn(f"{path}: others may read this private key (chmod 600 {path})")
    return keys


def _passphrase(file: Path | None, *, confirm: bool) -> Passphrase:
    if file is not None:
        return Passphrase.read(read(file), str(file))
    if given := os.environ.get(ENVIRONMENT):
        return Passphrase(given)
    if sys.stdin is None or not sys.stdin.isatty():
        raise InvalidInput(
            f"there is no terminal to ask for the passphrase: set {ENVIRONMENT}, or give --passphrase-file FILE"
        )
    typed = getpass.getpass("Passphrase: ")
    if confirm and getpass.getpass("Once more: ") != typed:
        raise InvalidInput("the passphrases differ")
    return Passphrase(typed)
