"""Palette: the colours of pictures, in the light and in the dark, and the style sheet that chooses among them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from actorflow.graph.progress import Mark

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'


class Palette(Struct, frozen=True):
    """The colours of one picture. A mark has three: fill, stroke, text."""

    page: str
    box: str
    inside: str
    stroke: str
    line: str
    text: str
    muted: str
    branch: tuple[str, str]  # fill, stroke
    error: str
    accent: tuple[str, str]  # fill, text: of a badge
    marks: Mapping[Mark, tuple[str, str, str]]


LIGHT = Palette(
    page="#ffffff",
    box="#f6f8fa",
    inside="#ffffff",
    stroke="#afb8c1",
    line="#6e7781",
    text="#1f2328",
    muted="#59636e",
    branch=("#fff8e6", "#c69026"),
    error="#cf222e",
    accent=("#e6edf7", "#33567f"),
    marks={
        "done": ("#dafbe1", "#1a7f37", "#0f3d1c"),
        "open": ("#ddf4ff", "#0969da", "#0a3069"),
        "waiting": ("#fff3c4", "#9a6700", "#3b2300"),
        "failed": ("#ffebe9", "#cf222e", "#660c12"),
        "skipped": ("#ffffff", "#afb8c1", "#818b98"),
    },
)

DARK = Palette(
    page="#0d1117",
    box="#1c2129",
    inside="#12171e",
    stroke="#4b535d",
    line="#8b949e",
    text="#e6edf3",
    muted="#9aa4ae",
    branch=("#2b2413", "#bb8009"),
    error="#f85149",
    accent=("#24344d", "#a9c7f0"),
    marks={
        "done": ("#12301c", "#2ea043", "#aff5b4"),
        "open": ("#0f2a4a", "#388bfd", "#cae8ff"),
        "waiting": ("#332a0d", "#d29922", "#f8e3a1"),
        "failed": ("#3a1418", "#f85149", "#ffdcd7"),
        "skipped": ("#0d1117", "#4b535d", "#6e7681"),
    },
)


def style_sheet() -> str:
    """CSS for an SVG of class ``actorflow``: dark where the reader's system is."""
    fixed = (
        f".actorflow text{{font-family:{FONT};font-size:13px}}"
        ".actorflow .small{font-size:11px}"
        ".actorflow .head{font-weight:600}"
        ".actorflow .way{fill:none;stroke-width:1.3}"
        ".actorflow .back{stroke-dasharray:5 4}"
        ".actorflow rect,.actorflow circle,.actorflow .shape{stroke-width:1.2}"
        ".actorflow .skipped>rect{stroke-dasharray:3 3}"
        ".actorflow .sign{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}"
    )
    return fixed + _colours(LIGHT) + "@media (prefers-color-scheme:dark){" + _colours(DARK) + "}"


def _colours(palette: Palette) -> str:
    rules = {
        ".page": f"fill:{palette.page}",
        "text": f"fill:{palette.text}",
        ".muted": f"fill:{palette.muted}",
        ".box": f"fill:{palette.box};stroke:{palette.stroke}",
        ".inside": f"fill:{palette.inside};stroke:{palette.stroke}",
        ".point": f"fill:{palette.text};stroke:{palette.text}",
        ".ring": f"fill:{palette.page};stroke:{palette.text}",
        ".way": f"stroke:{palette.line}",
        ".tip": f"fill:{palette.line}",
        ".way.error": f"stroke:{palette.error}",
        ".tip.error,text.error": f"fill:{palette.error}",
        ".branch": f"fill:{palette.branch[0]};stroke:{palette.branch[1]}",
        ".join": f"fill:{palette.text};stroke:{palette.text}",
        "text.on-join": f"fill:{palette.page}",
        ".badge": f"fill:{palette.accent[0]}",
        "text.on-badge": f"fill:{palette.accent[1]}",
        ".sign": f"stroke:{palette.page}",
    }
    for mark, (fill, stroke, text) in palette.marks.items():
        rules[f".{mark}>.box"] = f"fill:{fill};stroke:{stroke}"
        rules[f".{mark}>.inside"] = f"stroke:{stroke}"
        rules[f".{mark}>text.name"] = f"fill:{text}"
        rules[f".{mark}>.dot"] = f"fill:{stroke};stroke:{palette.page}"
        rules[f".{mark}>.bar"] = f"fill:{stroke}"
    rules[".track"] = f"fill:{palette.stroke};opacity:.45"
    return "".join(
        ",".join(f".actorflow {one}" for one in names.split(",")) + f"{{{rule}}}" for names, rule in rules.items()
    )
