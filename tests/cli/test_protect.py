"""`ssic keygen`, `encrypt`, `decrypt`, `rewrap`, `sign`, `verify`, and what keys change for the other commands."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import REPORT, Run, command
from ssic.crypto import wrap


@pytest.fixture
def keys(run: Run, tmp_path: Path) -> Path:
    """A folder with me.key, me.pub, you.key, sign.key, sign.pub, and what is made in the test."""
    run("keygen", "-o", tmp_path / "me.key", "--public", tmp_path / "me.pub")
    run("keygen", "-o", tmp_path / "you.key")
    run("keygen", "--signing", "-o", tmp_path / "sign.key", "--public", tmp_path / "sign.pub")
    return tmp_path


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases that cost less."""
    monkeypatch.setitem(wrap.Wrapper.__init__.__kwdefaults__, "cost", 14)
    monkeypatch.delenv("SSIC_PASSPHRASE", raising=False)


def secret(path: Path) -> str:
    return path.read_text().split()[-1]


def test_keygen_writes_private_keys_for_their_owner(run: Run, tmp_path: Path) -> None:
    code, out, err = run("keygen", "-o", tmp_path / "a.key", "--public", tmp_path / "a.pub")
    assert (code, err) == (0, "")
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    public = (tmp_path / "a.pub").read_text()
    assert out == public
    assert ssic.Identity.parse(secret(tmp_path / "a.key")).recipient == ssic.Recipient.parse(public)
    before = (tmp_path / "a.key").read_bytes()
    code, out, err = run("keygen", "-o", tmp_path / "a.key")
    assert (code, out) == (2, "")
    assert "not overwritten" in err
    assert (tmp_path / "a.key").read_bytes() == before
    assert run("keygen", "-o", "-").code == 2
    assert run("keygen", "-o", tmp_path / "no" / "a.key").code == 6
    code, out, _ = run("keygen", "--signing", "-o", tmp_path / "s.key")
    assert ssic.SigningKey.parse(secret(tmp_path / "s.key")).verify_key == ssic.VerifyKey.parse(out)


def test_encrypt_decode_decrypt(run: Run, inputs: Path, keys: Path) -> None:
    file, out = inputs / "photo.ssic", keys / "sealed.ssic"
    code, said, err = run("encrypt", file, "--groups", "person", "--recipient", keys / "me.pub", "-o", out)
    assert (code, err) == (0, "")
    assert said.endswith("background, dog, person (encrypted)\n")
    assert out.stat().st_size - file.stat().st_size in (
        115 + 13,
        115 + 13 + 1,
    )  # its length may take a byte more

    code, said, err = run("decode", out, "-o", keys / "p.png")
    assert code == 0
    assert err == "ssic: notice: sealed and left out: person (give an --identity that opens them)\n"
    assert said.endswith("background, dog\n")
    expected = ssic.decode(file.read_bytes(), ["background", "dog"])
    np.testing.assert_array_equal(np.asarray(Image.open(keys / "p.png")), expected)
    code, _, err = run("decode", out, "-o", keys / "p.png", "--identity", keys / "you.key")
    assert (code, "no key or passphrase given opens them" in err) == (0, True)
    code, said, err = run("decode", out, "-o", keys / "no.png", "--groups", "person")
    assert (code, said, (keys / "no.png").exists()) == (7, "", False)
    assert err == (
        f'ssic: error: {out}: "person" is sealed: give an identity that it was sealed to (--identity FILE), or its '
        "passphrase\n"
    )
    code, said, err = run("decode", out, "-o", keys / "p.png", "--identity", keys / "me.key", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(said)
    assert (facts["groups"], facts["sealed"], facts["damaged"]) == (["background", "dog", "person"], [], [])
    np.testing.assert_array_equal(np.asarray(Image.open(keys / "p.png")), ssic.decode(file.read_bytes()))

    assert run("decrypt", out, "--identity", keys / "you.key", "-o", keys / "no.ssic").code == 7
    assert run("decrypt", out, "-o", keys / "no.ssic").code == 2
    assert run("decrypt", out, "--identity", keys / "me.pub", "-o", keys / "no.ssic").code == 2
    assert not (keys / "no.ssic").exists()
    code, said, err = run("decrypt", out, "--identity", keys / "me.key", "-o", keys / "clear.ssic")
    assert (code, err) == (0, "")
    assert (keys / "clear.ssic").read_bytes() == file.read_bytes()


def test_several_recipients_as_words_and_files(run: Run, inputs: Path, keys: Path) -> None:
    word = str(ssic.Identity.parse(secret(keys / "you.key")).recipient)
    (keys / "all.pub").write_text(f"# the desk\n\n{(keys / 'me.pub').read_text()}{word}\n")
    for recipients in ([word, keys / "me.pub"], [keys / "all.pub"], [keys / "me.key", word]):
        options = [x for r in recipients for x in ("--recipient", r)]
        hidden = ["--hide-outline", "--group-version", 3, "--cipher", "chacha20-poly1305"]
        line = ["encrypt", inputs / "photo.ssic", "--groups", "dog,person", "-o", keys / "s.ssic"]
        assert run(*line, *options, *hidden).code == 0
        for key in ("me.key", "you.key"):
            run("decrypt", keys / "s.ssic", "--identity", keys / key, "-o", keys / "c.ssic")
            assert (keys / "c.ssic").read_bytes() == (inputs / "photo.ssic").read_bytes()
        old = ["decrypt", keys / "s.ssic", "--identity", keys / "me.key", "--min-version", 4]
        code, _, err = run(*old, "-o", keys / "c.ssic")
        assert (code, "version 3, and at least 4" in err) == (4, True)


def test_encode_can_seal_at_once(run: Run, inputs: Path, keys: Path) -> None:
    options = ["--mask", inputs / "labels.png", "--names", inputs / "names.json"]
    sealing = ["--encrypt", "person", "--recipient", keys / "me.pub", "--hide-names"]
    plain = ["encode", inputs / "photo.jpg", *options, "-o", keys / "clear.ssic"]
    assert run(*plain).code == 0
    code, _, err = run("encode", inputs / "photo.jpg", *options, *sealing, "-o", keys / "s.ssic")
    assert (code, err) == (0, "")
    assert [g.name for g in ssic.open(keys / "s.ssic").groups if g.encrypted] == ["sealed"]
    run("decrypt", keys / "s.ssic", "--identity", keys / "me.key", "-o", keys / "c.ssic")
    assert (keys / "c.ssic").read_bytes() == (keys / "clear.ssic").read_bytes()
    assert run(*plain, "--recipient", keys / "me.pub").code == 2
    assert run(*plain, "--encrypt", "person").code == 2
    assert run(*plain, "--encrypt", "cat", "--recipient", keys / "me.pub").code == 2


def test_passphrases_from_file_environment_and_prompt(
    run: Run, inputs: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["encrypt", inputs / "photo.ssic", "--groups", "dog", "-o", keys / "s.ssic"]
    code, _, err = run(*line, "--passphrase")
    assert (code, "no terminal to ask" in err) == (2, True)
    (keys / "phrase").write_text("correct horse\n")
    assert run(*line, "--passphrase-file", keys / "phrase").code == 0
    decrypt = ["decrypt", keys / "s.ssic", "-o", keys / "c.ssic"]
    assert run(*decrypt, "--passphrase-file", keys / "phrase").code == 0
    monkeypatch.setenv("SSIC_PASSPHRASE", "correct horse")
    assert run(*decrypt).code == 0  # unasked
    assert run("encrypt", *line[1:], "--recipient", keys / "me.pub").code == 0
    assert run(*decrypt).code == 7  # it was not sealed for the passphrase
    assert run(*line, "--passphrase").code == 0
    assert run("rewrap", keys / "s.ssic", "--recipient", keys / "me.pub", "-o", keys / "r.ssic").code == 0
    monkeypatch.setenv("SSIC_PASSPHRASE", "wrong horse")
    code, _, err = run(*decrypt)
    assert (code, "horse" in err) == (7, False)
    (keys / "phrase").write_text("\n")
    assert run(*line, "--passphrase-file", keys / "phrase").code == 2

    leader, follower = pty.openpty()
    code = (
        "from ssic.crypto import wrap; wrap.Wrapper.__init__.__kwdefaults__['cost'] = 14; "
        "from ssic.cli import main; main()"
    )
    environment = {k: v for k, v in os.environ.items() if k != "SSIC_PASSPHRASE"}
    environment["PYTHONPATH"] = str(Path(ssic.__file__).parents[1])
    args = ["encrypt", inputs / "photo.ssic", "--groups", "dog", "--passphrase", "-o", keys / "t.ssic"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=follower,
        stderr=follower,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(follower)
        seen = b""
        for prompt in (b"Passphrase: ", b"Once more: "):
            while prompt not in seen:
                seen += os.read(leader, 4096)
            os.write(leader, b"open sesame\n")
        assert process.wait(60) == 0
    os.close(leader)
    assert b"sesame" not in seen
    assert bytes(ssic.decrypt((keys / "t.ssic").read_bytes(), ssic.Passphrase("open sesame")))


def test_rewrap(run: Run, inputs: Path, keys: Path) -> None:
    you = ["--recipient", keys / "you.key"]
    run(
        "encrypt",
        inputs / "photo.ssic",
        "--groups",
        "dog,person",
        "--recipient",
        keys / "me.pub",
        "-o",
        keys / "s.ssic",
    )
    line = ["rewrap", keys / "s.ssic", "--identity", keys / "me.key", *you]
    assert run(*line, "--groups", "dog", "-o", keys / "one.ssic").code == 0
    assert run(*line, "--keep", "-o", keys / "both.ssic").code == 0
    opened = ssic.SsicFile(
        (keys / "one.ssic").read_bytes(), identity=ssic.Identity.parse(secret(keys / "you.key"))
    )
    assert opened.decode_pixels().sealed == ("person",)
    for key in ("me.key", "you.key"):
        run("decrypt", keys / "both.ssic", "--identity", keys / key, "-o", keys / "c.ssic")
        assert (keys / "c.ssic").read_bytes() == (inputs / "photo.ssic").read_bytes()
    assert run("rewrap", keys / "s.ssic", *you, "-o", keys / "x").code == 2
    assert run("rewrap", keys / "s.ssic", "--identity", keys / "me.key", "-o", keys / "x").code == 2
    assert run("rewrap", keys / "s.ssic", "--identity", keys / "you.key", *you, "-o", keys / "x").code == 7


def test_sign_and_verify(run: Run, inputs: Path, keys: Path) -> None:
    public = (keys / "sign.pub").read_text().strip()
    signed = keys / "signed.ssic"
    assert run("sign", inputs / "photo.ssic", "--key", keys / "sign.key", "-o", signed).code == 0
    code, out, err = run("verify", signed)
    assert (code, err, public in out) == (0, "", True)
    for trust in (public, keys / "sign.pub", keys / "sign.key"):
        assert json.loads(run("verify", signed, "--trust", trust, "--json").out) == {
            "signed_by": public,
            "trusted": True,
        }
        assert f"Signed by {public}." in run("info", signed, "--trust", trust).out
        assert run("decode", signed, "-o", keys / "p.png", "--trust", trust, "--groups", "dog").code == 0
    assert json.loads(run("info", signed, "--json").out)["signed_by"] == public
    run("keygen", "--signing", "-o", keys / "other.key", "--public", keys / "other.pub")
    run("extract", signed, "--groups", "dog", "-o", keys / "dog.ssic")
    for line in (["verify", signed, "--trust", keys / "other.pub"], ["verify", keys / "dog.ssic"],
                 ["info", signed, "--trust", keys / "other.pub"], ["info", keys / "dog.ssic", "--trust", public],
                 ["decode", keys / "dog.ssic", "-o", keys / "x.png", "--trust", public]):  # fmt: skip
        code, out, err = run(*line)
        assert (code, out) == (7, "")
        assert "sign" in err
    code, _, err = run(
        "encrypt", signed, "--groups", "dog", "--recipient", keys / "me.pub", "-o", keys / "s.ssic"
    )
    assert (code, "sign it again" in err) == (0, True)
    assert run("sign", signed, "--key", keys / "me.key", "-o", keys / "x").code == 2


def test_secrets_are_in_no_message(run: Run, inputs: Path, keys: Path) -> None:
    mine, sign = secret(keys / "me.key"), secret(keys / "sign.key")
    (keys / "torn.key").write_text(mine[:-3] + "\n")
    (keys / "torn.key").chmod(0o600)
    run(
        "encrypt",
        inputs / "photo.ssic",
        "--groups",
        "dog",
        "--recipient",
        keys / "me.pub",
        "-o",
        keys / "s.ssic",
    )
    lines: list[list[object]] = [
        ["decrypt", keys / "s.ssic", "--identity", keys / "torn.key", "-o", keys / "x"],
        ["decrypt", keys / "s.ssic", "--identity", keys / "sign.key", "-o", keys / "x"],
        ["decrypt", keys / "s.ssic", "--identity", mine, "-o", keys / "x"],
        ["sign", keys / "s.ssic", "--key", keys / "me.key", "-o", keys / "x"],
        ["encrypt", inputs / "photo.ssic", "--groups", "dog", "--recipient", mine, "-o", keys / "x"],
        ["verify", keys / "s.ssic", "--trust", sign],
        ["decode", keys / "s.ssic", "--identity", keys / "me.key", "--groups", "cat", "-o", keys / "x.png"],
        ["info", inputs / "names.json"],
    ]
    for line in lines:
        for debug in ([], ["--debug"]):
            code, out, err = run(*debug, *line)
            assert code in (2, 4, 6)
            for key in (mine, sign):
                assert key[14:40] not in out + err, line
    (keys / "me.key").chmod(0o644)
    code, _, err = run("decrypt", keys / "s.ssic", "--identity", keys / "me.key", "-o", keys / "x")
    assert (code, "others may read" in err) == (0, True)


@pytest.mark.parametrize(
    ("line", "imported"),
    [
        ("encrypt photo.ssic --groups dog --recipient {key} -o {new}", "numpy"),
        ("--help", ""),
    ],
)
def test_nothing_heavy_is_imported_in_vain(inputs: Path, keys: Path, line: str, imported: str) -> None:
    args = line.format(key=keys / "me.pub", new=keys / "new").split()
    done = command(*args, code=REPORT, cwd=inputs, check=True)
    assert done.stderr.decode().strip() == imported


def test_keys_are_not_written_over(run: Run, inputs: Path, keys: Path) -> None:
    file = inputs / "photo.ssic"
    (keys / "word").write_text("secret\n")
    sealed = keys / "s.ssic"
    assert run("encrypt", file, "--groups", "dog", "--recipient", keys / "me.pub", "-o", sealed).code == 0
    lines: list[list[object]] = [
        ["sign", file, "--key", keys / "sign.key", "-o", keys / "sign.key"],
        ["decrypt", sealed, "--identity", keys / "me.key", "-o", keys / "me.key"],
        ["encrypt", file, "--groups", "dog", "--recipient", keys / "me.pub", "-o", keys / "me.pub"],
        ["encrypt", file, "--groups", "dog", "--passphrase-file", keys / "word", "-o", keys / "word"],
        [
            "rewrap",
            sealed,
            "--identity",
            keys / "me.key",
            "--recipient",
            keys / "me.pub",
            "-o",
            keys / "me.key",
        ],
        ["decode", file, "--identity", keys / "me.key", "-o", keys / "me.key"],
        [
            "encode",
            inputs / "photo.png",
            "--encrypt",
            "0",
            "--recipient",
            keys / "me.key",
            "-o",
            keys / "me.key",
        ],
        ["keygen", "-o", keys / "new.key", "--public", keys / "me.key"],
        ["keygen", "-o", keys / "new.key", "--public", keys / "new.key"],
    ]
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    for line in lines:
        assert run(*line).code == 2, line
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_stdin_is_read_once(run: Run, inputs: Path, keys: Path) -> None:
    code, _, err = run("encrypt", "-", "--groups", "dog", "--passphrase-file", "-", "-o", keys / "x")
    assert (code, "stdin can be read once" in err) == (2, True)


def test_a_passphrase_that_is_no_text_is_refused(run: Run, inputs: Path, keys: Path) -> None:
    (keys / "word").write_bytes(b"gr\xfcn\n")
    line = ["encrypt", inputs / "photo.ssic", "--groups", "dog", "--passphrase-file", keys / "word"]
    code, _, err = run(*line, "-o", keys / "x")
    assert (code, "UTF-8" in err, (keys / "x").exists()) == (2, True, False)


def test_a_signature_that_is_lost_is_said(run: Run, inputs: Path, keys: Path) -> None:
    signed = keys / "signed.ssic"
    run("sign", inputs / "photo.ssic", "--key", keys / "sign.key", "-o", signed)
    run("extract", inputs / "photo.ssic", "--groups", "dog", "-o", keys / "dog.ssic")
    run("drop", signed, "--groups", "dog", "-o", keys / "rest.ssic")
    changes: list[list[object]] = [
        ["extract", signed, "--groups", "dog"],
        ["drop", signed, "--groups", "dog"],
        ["reorder", signed, "--order", "background"],
        ["set-quality", signed, "--group-quality", "dog=5"],
        ["replace", signed, "--group", "dog", "--with", inputs / "photo.png"],
    ]
    for line in changes:
        code, _, err = run(*line, "-o", keys / "x.ssic")
        assert (code, "sign it again" in err) == (0, True), line
    for line in (["merge", signed], ["reorder", signed, "--order", "dog,person"]):  # the file as it was
        code, _, err = run(*line, "-o", keys / "x.ssic")
        assert (code, err, (keys / "x.ssic").read_bytes()) == (0, "", signed.read_bytes()), line


def test_targets_of_sealed_groups_are_not_said_to_be_met(run: Run, inputs: Path, keys: Path) -> None:
    line = ["encode", inputs / "photo.png", "--mask", inputs / "labels.png", "--recipient", keys / "me.pub"]
    line += ["--encrypt", "1", "-o", keys / "x.ssic", "--group-target"]
    code, _, err = run(*line, "group 1=bytes:300")
    assert (code, "before it is sealed" in err, (keys / "x.ssic").exists()) == (2, True, False)
    assert run(*line, "group 2=bytes:300,group 1=psnr:30").code == 0
