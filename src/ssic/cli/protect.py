"""`ssic keygen`, `encrypt`, `decrypt`, `rewrap`, `sign` and `verify`: what touches bytes only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ssic.cli.files import (
    check_local,
    check_output,
    check_stdin,
    is_pipe,
    named,
    naming,
    open_ssic,
    say_file,
    shown,
    split,
    write,
)
from ssic.cli.inspect import Input, Output
from ssic.cli.keys import (
    AskPassphrase,
    Identities,
    PassphraseFile,
    Recipients,
    Trust,
    locks,
    openers,
    signing_key,
    verify_keys,
)
from ssic.cli.terminal import say, warn
from ssic.errors import InvalidInput

Opened = Annotated[
    list[str] | None,
    typer.Option(
        "--groups", metavar="NAME,...", help="Only these; by default all that the keys open; repeatable."
    ),
]
HideNames = Annotated[
    bool, typer.Option("--hide-names", help="Seal names, classes, scores and qualities, too.")
]
HideOutline = Annotated[
    bool,
    typer.Option(
        "--hide-outline", help="Seal names and so on, and which block is whose: one outline is left."
    ),
]


def hiding(names: bool, outline: bool) -> str:
    """The value of `hide` for two options, of which one is enough."""
    return "outline" if outline else "names" if names else "nothing"


def keygen(
    output: Annotated[Path, typer.Option("-o", "--output", help="File for the private key; must not exist.")],
    public: Annotated[Path | None, typer.Option(help="Write the public key to a file, too.")] = None,
    signing: Annotated[bool, typer.Option("--signing", help="Make a key to sign with.")] = False,
) -> None:
    """Make a key pair: the private key goes to a file for your eyes only, the public one is printed."""
    if is_pipe(output):
        raise InvalidInput("a private key is not printed: give it a file")
    if output.exists() or output.is_symlink():
        raise InvalidInput(f"{output} exists, and keys are not overwritten: what they opened would be lost")
    if public is not None and public.is_file():
        raise InvalidInput(f"{public} exists, and keys are not overwritten: it may be somebody's only copy")
    if public is not None and os.path.realpath(public) == os.path.realpath(output):
        raise InvalidInput(
            f"{output} can't be the file of both keys: the public one would replace the private one"
        )
    check_output(output, (), as_json=False)
    if public is not None:
        check_output(public, (), as_json=False)
    from ssic.crypto import Identity, SigningKey

    key = SigningKey.generate() if signing else Identity.generate()
    does = "signs files as yours" if signing else "opens what is sealed to it"
    lines = [
        f"# ssic private key, which {does}. Keep it to yourself.",
        f"# public key: {key.public}",
        key.secret(),
    ]
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    if public is not None:
        write(public, f"{key.public}\n".encode())
    say(str(key.public))


def encrypt(
    file: Input,
    groups: Annotated[list[str], typer.Option(metavar="NAME,...", help="Names, classes or ids; repeatable.")],
    output: Output,
    recipient: Recipients = None,
    passphrase: AskPassphrase = False,
    passphrase_file: PassphraseFile = None,
    hide_names: HideNames = False,
    hide_outline: HideOutline = False,
    group_version: Annotated[int, typer.Option(help="Number of this version, for readers who remember.")] = 0,
    cipher: Annotated[
        str | None,
        typer.Option(metavar="aes-256-gcm|chacha20-poly1305", help="The first, unless told otherwise."),
    ] = None,
) -> None:
    """Seal groups: only the recipients can decode them. The others stay as they are."""
    wanted = named("--groups", groups)
    _check(output, file, *(recipient or ()), passphrase_file)
    keys = locks(recipient, passphrase, passphrase_file)
    opened, data = open_ssic(file)
    from ssic.protect import encrypt as seal

    with naming(file):
        sealed = bytes(
            seal(
                data,
                wanted,
                keys,
                hide=hiding(hide_names, hide_outline),  # type: ignore[arg-type]
                version=group_version,
                cipher=cipher,
            )
        )
    if lost := [tag for tag in opened.head.chunks if tag not in ("ICCP", "SIGN")]:
        warn(f"left out, as they may show what is sealed: {', '.join(lost)}")
    write(output, sealed)
    say_file(output, sealed, opened)


def decrypt(
    file: Input,
    output: Output,
    groups: Opened = None,
    identity: Identities = None,
    passphrase: AskPassphrase = False,
    passphrase_file: PassphraseFile = None,
    min_version: Annotated[int, typer.Option(help="Refuse groups of earlier versions.")] = 0,
) -> None:
    """Open sealed groups: writes a file in which they are clear."""
    _check(output, file, *(identity or ()), passphrase_file)
    keys = openers(identity, passphrase, passphrase_file)
    if keys is None:
        raise InvalidInput("with what? --identity FILE, --passphrase or --passphrase-file FILE must say it")
    opened, data = open_ssic(file)
    from ssic.protect import decrypt as unseal

    with naming(file):
        clear = bytes(unseal(data, keys, split(groups), min_version=min_version))
    write(output, clear)
    say_file(output, clear, opened)


def rewrap(
    file: Input,
    output: Output,
    groups: Opened = None,
    identity: Identities = None,
    recipient: Recipients = None,
    passphrase: AskPassphrase = False,
    passphrase_file: PassphraseFile = None,
    keep: Annotated[bool, typer.Option("--keep", help="Add to those who can open them now.")] = False,
) -> None:
    """Seal for other recipients what an identity opens; what is sealed stays as it is."""
    _check(output, file, *(identity or ()), *(recipient or ()), passphrase_file)
    keys = openers(identity, False, None)
    if keys is None:
        raise InvalidInput(
            "with what are the groups opened? --identity FILE, or the environment, must say it"
        )
    new = locks(recipient, passphrase, passphrase_file)
    opened, data = open_ssic(file)
    from ssic.protect import rewrap as seal_for

    with naming(file):
        sealed = bytes(seal_for(data, keys, new, split(groups), keep=keep))
    write(output, sealed)
    say_file(output, sealed, opened)


def sign(
    file: Input,
    key: Annotated[Path, typer.Option(metavar="FILE", help="Signing key, from ssic keygen --signing.")],
    output: Output,
) -> None:
    """Sign a file, so that whoever has your verification key sees any change, and what was taken out."""
    _check(output, file, key)
    secret = signing_key(key)
    _, data = open_ssic(file)
    from ssic.protect import sign as put_signature

    with naming(file):
        signed = bytes(put_signature(data, secret))
    write(output, signed)
    if not is_pipe(output):
        say(f"{output}: {len(signed):,} bytes, signed by {secret.verify_key}")


def verify(
    file: Input,
    trust: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check the signature of a file, each segment included."""
    check_local(trust or ())
    check_stdin([file, *(trust or ())])
    trusted = verify_keys(trust)
    _, data = open_ssic(file)
    from ssic.protect import verify as check

    with naming(file):
        key = check(data, trusted)
    if as_json:
        say(json.dumps({"signed_by": str(key), "trusted": trusted is not None}))
    elif trusted is not None:
        say(f"{shown(file)}: intact, and signed by {key}")
    else:
        say(
            f"{shown(file)}: intact since it was signed by {key}; --trust KEY tells whether that is who you think"
        )


def _check(output: Path, file: str, *keys: str | Path | None) -> None:
    """Refuses, before the work, an output that is one of the files of keys: what they open would be lost.
    (The file that is changed may be written over.)"""
    check_local(keys)
    check_output(output, keys, as_json=False)
    check_stdin([file, *keys])
