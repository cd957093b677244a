"""Files of keys and passphrases as editors, shells and full disks make them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from helpers.commands import Run
from ssic import Identity, Passphrase, Recipient
from ssic.arguments import text_of
from ssic.errors import BadKey, InvalidInput
from ssic.storage import atomic

ME = Identity(b"alice" * 6 + b"!!")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_key_files_are_read_however_they_were_saved(tmp_path: Path, encoding: str, end: str) -> None:
    (tmp_path / "me.key").write_bytes(f"# mine, Zürich{end or chr(10)}{ME.secret()}{end}".encode(encoding))
    assert Identity.load(tmp_path / "me.key") == ME
    assert Recipient.load(tmp_path / "me.key") == ME.recipient
    assert Passphrase.read(f"Zürich{end}".encode(encoding), "x").bytes == "Zürich".encode()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_other_encodings_are_named_and_secrets_are_not(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "me.key").write_bytes(f"# Zürich\n{ME.secret()}\n".encode(encoding))
    with pytest.raises(BadKey, match="save it as UTF-8") as caught:
        Identity.load(tmp_path / "me.key")
    assert ME.secret()[20:30] not in str(caught.value)
    with pytest.raises(InvalidInput, match="save it as UTF-8"):
        text_of("ü\0".encode(encoding), "names.json")


def test_passphrases_end_at_line_ends_only() -> None:
    for odd in ("a\x0bb", "a\x0cb", "a\x1cb", "a\x85b", "a\u2028b", " a ", "a\rb"):
        assert Passphrase.read(f"{odd}\nmore".encode(), "x").bytes == odd.encode()
    for empty in (b"", b"\n", b"\r\n", "\ufeff\n".encode()):
        with pytest.raises(BadKey, match="is empty"):
            Passphrase.read(empty, "x")


def test_a_full_disk_leaves_no_key_behind(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        assert run("keygen", "-o", tmp_path / "me.key")[0] == 6
    assert list(tmp_path.iterdir()) == []
    assert run("keygen", "-o", tmp_path / "me.key")[0] == 0
    assert stat.S_IMODE((tmp_path / "me.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["me.key"]


def test_keys_are_made_without_links_too_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    atomic.create_private(tmp_path / "a", b"key")
    monkeypatch.setattr(os, "link", no_links)
    atomic.create_private(tmp_path / "b", b"key")
    for name in "ab":
        with pytest.raises(FileExistsError):
            atomic.create_private(tmp_path / name, b"another")
        assert (tmp_path / name).read_bytes() == b"key"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_replaces_a_file_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    for _ in range(2):
        with atomic.replacing(tmp_path / "a") as temporary:
            temporary.write_bytes(b"x")
    assert done == ["replace", "fsync", "replace", "fsync"]
