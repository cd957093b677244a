"""What URLs may name, and how they are shown: only protocols that were allowed are read, and no secret is repeated."""

from __future__ import annotations

import re
from collections.abc import Collection

from ssic.arguments import type_name
from ssic.errors import InvalidInput

PROTOCOLS = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "file", "local"})
"""What a URL may name unless the caller allows more. Others unpack, follow, execute or cache what they find at a second
place, or open connections that nobody thought of: they are read where a program asks for them by name."""

MOST_SHOWN = 200
_MOST_READ = 2000  # characters of a foreign message that are looked at
_AUTHORITY_END = re.compile("[/?#]")
_QUERY = re.compile("[?#]")
_NAME = re.compile("[A-Za-z][A-Za-z0-9+.-]{0,30}")


def checked_url(url: str, more: Collection[str] = ()) -> str:
    """`url` itself, its protocols in lower case.

    Args:
        more: protocols that are allowed besides `PROTOCOLS`. URLs that are chained ("zip://a.ssic::https://...") are
            taken only where this names one.

    Raises:
        InvalidInput: it names a protocol that was not allowed, is chained and nobody asked for that, or holds
            characters that no URL has.
    """
    if isinstance(more, str) or not isinstance(more, Collection) or not all(isinstance(p, str) for p in more):
        raise InvalidInput(f'protocols are a list of names such as ["zip"], not {type_name(more)}')
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in url):
        raise InvalidInput(f"{without_secrets(url)!a} is no URL: it holds control characters")
    allowed = PROTOCOLS | {name.lower() for name in more}
    # HTTP stands alone, and may hold double colons: "https://[::1]/a.ssic".
    links = [url] if is_http(url) else url.split("::")
    if len(links) > 1 and not more:
        raise InvalidInput(
            f"{without_secrets(url)} is a chain of URLs, which reads more places than one: name the protocols that it "
            'may use, ssic.open(..., protocols=["zip"]) or --protocols zip, if it comes from somebody whom you trust'
        )
    checked = []
    for link in links:
        name, mark, rest = link.partition("://")
        if name.lower() not in allowed:
            shown = name if _NAME.fullmatch(name) else "what stands before its ://"
            raise InvalidInput(
                f"{without_secrets(url)} can't be read: URLs may name {', '.join(sorted(allowed))}, and {shown} is "
                "none of them; ssic.open(..., protocols=[...]) and --protocols allow others, for URLs of people whom "
                "you trust"
            )
        checked.append(name.lower() + mark + rest)
    return "::".join(checked)


def is_http(url: str) -> bool:
    """Whether this is a URL of HTTP, and no chain that ends in one."""
    return url[:8].lower().startswith(("http://", "https://"))


def without_secrets(url: str) -> str:
    """A URL for messages: without user, password and query, where keys are often kept. Linear in its length.

    >>> without_secrets("https://me:secret@example.org/a.ssic?token=1#x")
    'https://example.org/a.ssic'
    >>> without_secrets("zip://a.ssic::https://me:p@ss@example.org/b.zip?token=1:2")
    'zip://a.ssic::https://example.org/b.zip'
    """
    return "::".join(map(_without_secrets, url.split("::")))


def _without_secrets(link: str) -> str:
    kept: list[str] = []
    done, last = 0, link.rfind("@")
    while (start := link.find("://", done, max(last, 0))) >= 0:
        start += 3
        end = found.start() if (found := _AUTHORITY_END.search(link, start)) else len(link)
        at = link.rfind("@", start, end)
        colon = link.find(":", start, end)
        # Passwords may hold what should have been escaped; a port, with which a path may follow, is none.
        if at < 0 <= colon and not (colon + 1 == end or link[colon + 1 : end].isdecimal()):
            at = link.find("@", colon)
        kept.append(link[done:start])
        done = max(start, at + 1)
    shown = "".join(kept) + link[done:]
    return _QUERY.split(shown, maxsplit=1)[0]


def reason(error: BaseException | str) -> str:
    """What an error of a library says, in one line of characters that can be printed, without the secrets of URLs in
    it. Foreign text is cut before it is looked at."""
    text = str(error)
    words = text[:_MOST_READ].split()
    if len(text) > _MOST_READ and words and "://" in words[-1]:
        del words[-1]  # perhaps a URL that lost the sign by which its password is found
    line = " ".join(without_secrets(word) if "://" in word else word for word in words)[:MOST_SHOWN]
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
