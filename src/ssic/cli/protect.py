"""`ssic keygen`, `encrypt`, `decrypt`, `rewrap`, `sign` and `verify`: what touches bytes only."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ssic.cli.files import (
    check_local,
    check_output,
    check_stdin,
    is_stdout,
    named,
    naming,
    open_ssic,
    say_file,
    shown,
    split,
    write,
)
from ssic.cli.keys import (
    Cipher,
    HideOptions,
    Identities,
    LockOptions,
    OpenOptions,
    Trust,
    openers,
    signing_key,
    verify_keys,
)
from ssic.cli.limits import ReadOptions
from ssic.cli.options import AsJson, Groups, Input, Output
from ssic.cli.terminal import DAMAGED, say, say_json, warn
from ssic.crypto import Identity, SigningKey
from ssic.crypto.files import DamageKept
from ssic.errors import InvalidInput
from ssic.protect import decrypt as unseal
from ssic.protect import encrypt as seal
from ssic.protect import rewrap as seal_for
from ssic.protect import sign as put_signature
from ssic.protect import verify as check_signature
from ssic.storage.atomic import create_private

Opened = Annotated[
    list[str] | None,
    typer.Option(
        "--groups",
        metavar="NAME,...",
        help="Names, classes or ids of groups; repeatable. Default: all that the keys open.",
    ),
]


def keygen(
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="File for the private key; it must not exist yet."
        ),
    ],
    public: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the public key to a file, too; it must not exist yet."),
    ] = None,
    signing: Annotated[
        bool, typer.Option("--signing", help="Make a key to sign with, rather than one to open groups with.")
    ] = False,
) -> None:
    """Make a pair of keys: the private one goes to a file that only you can read, the public one is printed."""
    if is_stdout(output):
        raise InvalidInput("a private key is not printed: give it a file")
    if output.is_file() and output.stat().st_size == 0:
        raise InvalidInput(f"{output} exists, and is empty: delete it, or take another name")
    if output.exists() or output.is_symlink():
        raise InvalidInput(
            f"{output} exists, and keys are not overwritten: what they opened would be lost (of a private key, the "
            "public one is in the same file)"
        )
    if public is not None and public.is_file():
        raise InvalidInput(f"{public} exists, and keys are not overwritten: it may be somebody's only copy")
    if public is not None and os.path.realpath(public) == os.path.realpath(output):
        raise InvalidInput(
            f"{output} can't be the file of both keys: the public one would replace the private one"
        )
    check_output(output, (), as_json=False)
    if public is not None:
        check_output(public, (), as_json=False)
    key = SigningKey.generate() if signing else Identity.generate()
    does = "signs files as yours" if signing else "opens what is sealed to it"
    lines = [
        f"# ssic private key, which {does}. Keep it to yourself.",
        f"# public key: {key.public}",
        key.secret(),
    ]
    create_private(output, ("\n".join(lines) + "\n").encode())
    if public is not None:
        try:
            write(public, f"{key.public}\n".encode())
        except OSError:
            # Nobody has seen the public key, and the private one would be in the way of the next try.
            output.unlink()
            raise
    if public is None or not is_stdout(public):
        say(str(key.public))


def encrypt(
    file: Input,
    groups: Groups,
    output: Output,
    recipients: LockOptions,
    hiding: HideOptions,
    reading: ReadOptions,
    group_version: Annotated[
        int,
        typer.Option(
            metavar="N", help="Put a number under the seal, for readers who remember what they saw."
        ),
    ] = 0,
    cipher: Cipher = None,
) -> None:
    """Seal groups, so that only the recipients can decode them; the bytes of the other groups stay as they are."""
    wanted = named("--groups", groups)
    _check(output, file, *recipients.files)
    hiding.check()
    keys = recipients.locks()
    opened, data = open_ssic(file, protocols=reading.allowed)
    with naming(file), _noting_damage() as damaged:
        sealed = bytes(seal(data, wanted, keys, version=group_version, cipher=cipher, **hiding.how()))
    if lost := [tag for tag in opened.head.chunks if tag not in ("ICCP", "SIGN")]:
        warn(f"left out, as they may show what is sealed: {', '.join(lost)}")
    write(output, sealed)
    say_file(output, sealed, opened)
    _end(damaged)


def decrypt(
    file: Input,
    output: Output,
    opening: OpenOptions,
    reading: ReadOptions,
    groups: Opened = None,
    min_version: Annotated[
        int, typer.Option(metavar="N", help="Refuse groups with a lower --group-version.")
    ] = 0,
) -> None:
    """Open sealed groups for good: write a file in which they are clear."""
    _check(output, file, *opening.files)
    keys = opening.keys()
    if keys is None:
        raise InvalidInput("with what? --identity FILE, --passphrase or --passphrase-file FILE must say it")
    opened, data = open_ssic(file, protocols=reading.allowed)
    with naming(file), _noting_damage() as damaged:
        clear = bytes(unseal(data, keys, split(groups), min_version=min_version))
    write(output, clear)
    say_file(output, clear, opened)
    _end(damaged)


def rewrap(
    file: Input,
    output: Output,
    recipients: LockOptions,
    reading: ReadOptions,
    groups: Opened = None,
    identity: Identities = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Add recipients to those who can open the groups now.")
    ] = False,
) -> None:
    """Change who can open sealed groups; what is sealed stays as it is. A passphrase that opens them now comes from
    $SSIC_PASSPHRASE."""
    _check(output, file, *(identity or ()), *recipients.files)
    keys = openers(identity, False, None)
    if keys is None:
        raise InvalidInput(
            "with what are the groups opened? --identity FILE, or the environment, must say it"
        )
    new = recipients.locks()
    opened, data = open_ssic(file, protocols=reading.allowed)
    with naming(file), _noting_damage() as damaged:
        sealed = bytes(seal_for(data, keys, new, split(groups), keep=keep))
    write(output, sealed)
    say_file(output, sealed, opened)
    _end(damaged)


def sign(
    file: Input,
    key: Annotated[Path, typer.Option(metavar="FILE", help="Signing key, of ssic keygen --signing.")],
    output: Output,
    reading: ReadOptions,
) -> None:
    """Sign a file, so that whoever has your verification key sees any change, and any group taken out."""
    _check(output, file, key)
    secret = signing_key(key)
    _, data = open_ssic(file, protocols=reading.allowed)
    with naming(file):
        signed = bytes(put_signature(data, secret))
    write(output, signed)
    if not is_stdout(output):
        say(f"{output}: {len(signed):,} bytes, signed by {secret.verify_key}")


def verify(
    file: Input,
    reading: ReadOptions,
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Check the signature of a file, and that every segment is the one that was signed."""
    check_local(trust or ())
    check_stdin([file, *(trust or ())])
    trusted = verify_keys(trust)
    _, data = open_ssic(file, protocols=reading.allowed)
    with naming(file):
        key = check_signature(data, trusted)
    if as_json:
        say_json({"signed_by": str(key), "trusted": trusted is not None})
    elif trusted is not None:
        say(f"{shown(file)}: intact, and signed by {key}")
    else:
        say(
            f"{shown(file)}: intact since it was signed by {key}; --trust KEY tells whether that is who you think"
        )


@contextmanager
def _noting_damage() -> Iterator[list[str]]:
    """Warnings pass, and what they say of damage that was copied is noted in the list."""
    noted: list[str] = []
    raised: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always", UserWarning)
            yield noted
    finally:
        for one in raised:
            warnings.showwarning(one.message, one.category, one.filename, one.lineno)
            if issubclass(one.category, DamageKept):
                noted.append(str(one.message))


def _end(damaged: list[str]) -> None:
    """Ends a command that copied damage with the exit code for it."""
    if damaged:
        raise typer.Exit(DAMAGED)


def _check(output: Path, file: str, *keys: str | Path | None) -> None:
    """Refuses, before the work, an output that is one of the files of keys: what they open would be lost.
    (The file that is changed may be written over.)"""
    check_local(keys)
    check_output(output, keys, as_json=False)
    check_stdin([file, *keys])
