"""Place: the bucket and the folder in it that a URL names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from actorflow.errors import BadStoreUrl

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_USERINFO = re.compile(r"//[^/@]*:[^/@]*@")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a store is. Made by `parse_place`."""

    url: str
    """As it was given, without a slash at its end."""
    scheme: str
    """In lower case."""
    bucket: str
    """The bucket, container or host; never empty."""
    folder: str
    """What all names in the bucket begin with: "", or segments that each end in "/"."""

    @property
    def path(self) -> str:
        """What follows the scheme."""
        return f"{self.bucket}/{self.folder}".rstrip("/")


def parse_place(url: str) -> Place:
    """What ``url`` names. Nothing in it is decoded: a ``%`` is a ``%``.

    Raises:
        BadStoreUrl: chained, without a bucket, with a password, a query or fragment, or with odd segments.
    """
    shown = _USERINFO.sub("//***@", url)
    if "::" in url:
        raise BadStoreUrl(shown, "chained URLs can't be a store: a cache or archive in between is not safe")
    match = _URL.fullmatch(url)
    if match is None:
        raise BadStoreUrl(shown, "write it as scheme://bucket/folder")
    if shown != url:
        raise BadStoreUrl(shown, "no passwords in URLs, which end up in logs; use storage_options or the environment")
    scheme, rest = match[1].lower(), match[2].removesuffix("/")
    if "?" in rest or "#" in rest:
        raise BadStoreUrl(url, "a store's URL has no query or fragment (? or #); options go to storage_options")
    if not rest.isprintable() or "\\" in rest:
        raise BadStoreUrl(repr(url), "it contains control characters or backslashes")
    bucket, _, folder = rest.partition("/")
    if not bucket:
        raise BadStoreUrl(url, f"it names no bucket; write {scheme}://bucket/folder")
    if folder and not {"", ".", ".."}.isdisjoint(folder.split("/")):
        raise BadStoreUrl(url, "each part of the folder must be a name: not empty, not . and not ..")
    return Place(url=url.removesuffix("/"), scheme=scheme, bucket=bucket, folder=f"{folder}/" if folder else "")
