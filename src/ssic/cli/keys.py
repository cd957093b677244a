"""Keys and passphrases on the command line: public keys as words or files, secrets from files, environment, prompt."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ssic.cli.files import is_pipe, read
from ssic.cli.terminal import warn
from ssic.errors import BadKey, InvalidInput

if TYPE_CHECKING:
    from ssic.crypto import Passphrase, SigningKey, VerifyKey
    from ssic.crypto.keys import AnyKey
    from ssic.crypto.wrap import Locker, Opener

K = TypeVar("K", bound="AnyKey")

ENVIRONMENT = "SSIC_PASSPHRASE"
_PANEL = "Keys"

Recipients = Annotated[
    list[str] | None,
    typer.Option(
        "--recipient",
        metavar="KEY|FILE",
        help="Who may open it: a public key, or a file with some; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
Identities = Annotated[
    list[Path] | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        help="Private key, from ssic keygen; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
AskPassphrase = Annotated[
    bool,
    typer.Option(
        "--passphrase",
        help=f"Use a passphrase: that in ${ENVIRONMENT}, or ask for it.",
        rich_help_panel=_PANEL,
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Use the passphrase in the first line of a file.", rich_help_panel=_PANEL
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="KEY|FILE",
        help="Take the file only if one of these verification keys signed it; repeatable.",
        rich_help_panel=_PANEL,
    ),
]


def locks(recipients: list[str] | None, ask: bool, file: Path | None) -> list[Locker]:
    """Whom to seal for. A passphrase that is typed in is asked for twice.

    Raises:
        InvalidInput: for nobody.
    """
    from ssic.crypto import Recipient

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
        from ssic.crypto import Identity

        for path in identities:
            found += _secrets(path, Identity)
    if ask or file is not None or os.environ.get(ENVIRONMENT):
        found.append(_passphrase(file, confirm=False))
    return found or None


def signing_key(path: Path) -> SigningKey:
    """The signing key in a file."""
    from ssic.crypto import SigningKey

    return _secrets(path, SigningKey)[0]


def verify_keys(words: list[str] | None) -> list[VerifyKey] | None:
    """Verification keys from words or files; None if none were given."""
    if not words:
        return None
    from ssic.crypto import VerifyKey

    return [key for word in words for key in _public(word, VerifyKey)]


def _public(word: str, kind: type[K]) -> list[K]:
    """The key that `word` is, or those in the file that it names. A private key in a file stands for its public one."""
    from ssic.crypto.keys import KINDS

    _check_not_secret(word)
    if any(word.strip().startswith(known.PREFIX) for known in KINDS):
        return [kind.parse(word)]
    return kind.read_all(read(Path(word)), word)


def _check_not_secret(word: str) -> None:
    from ssic.crypto.keys import KINDS

    if any(word.strip().upper().startswith(kind.PREFIX) for kind in KINDS if kind.SECRET):
        raise BadKey(
            "a private key does not belong on a command line, where others can see it: keep it in a file (ssic "
            "keygen), and make a new one if somebody may have seen this one"
        )


def _secrets(path: Path, kind: type[K]) -> list[K]:
    _check_not_secret(str(path))
    keys = kind.read_all(read(path), str(path))  # first: a public key, given by mistake, is for everybody
    if not is_pipe(path) and os.name == "posix":
        state = path.stat()
        if stat.S_ISREG(state.st_mode) and state.st_mode & 0o077:
            warn(f"{path}: others may read this private key (chmod 600 {path})")
    return keys


def _passphrase(file: Path | None, *, confirm: bool) -> Passphrase:
    from ssic.crypto import Passphrase

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
