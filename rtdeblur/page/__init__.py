"""Self-contained HTML page that compares pictures before and after.

Its Content-Security-Policy allows only its own style and script, by their SHA-256, and its own pictures.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures of the same moment.

    Attributes:
        caption: one line.
        before: JPEG, shown on the left of the divider.
        after: JPEG of the same size, on the right.
        size: (height, width) of both.
    """

    caption: str
    before: bytes
    after: bytes
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Page:
    """Contents of a page.

    Attributes:
        title: heading.
        summary: one sentence under it.
        facts: names and values.
        labels: names of the two sides of a divider.
        pairs: pictures, in order.
        command: shell command to run next; empty if there is none.
    """

    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    labels: tuple[str, str]
    pairs: tuple[Pair, ...]
    command: str = ""


def render(page: Page) -> str:
    """Return the HTML file."""
    style, script = ((_FOLDER / name).read_text(encoding="utf-8").strip() for name in ("page.css", "page.js"))
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in page.facts)
    command = ""
    if page.command:
        command = (
            f'<p>To restore the whole file:</p><pre><code id="command">{escape(page.command)}</code></pre>'
        )
    return Template((_FOLDER / "page.html").read_text(encoding="utf-8")).substitute(
        policy=f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'",
        title=escape(page.title),
        summary=escape(page.summary),
        facts=facts,
        command=command,
        pairs="".join(_figure(pair, page.labels, number) for number, pair in enumerate(page.pairs, 1)),
        style=style,
        script=script,
    )


def _figure(pair: Pair, labels: tuple[str, str], number: int) -> str:
    height, width = pair.size
    pictures = "".join(
        f'<img class="{side}" width="{width}" height="{height}" alt="{escape(f"{label}: {pair.caption}")}" '
        f'src="data:image/jpeg;base64,{b64encode(data).decode()}">'
        for side, label, data in zip(("before", "after"), labels, (pair.before, pair.after), strict=True)
    )
    before, after = map(escape, labels)
    return (
        f'<figure><div class="frame"><div class="pair">{pictures}'
        f'<input type="range" min="0" max="100" step="0.5" value="50" id="divider{number}" '
        f'aria-label="Divider between {before} and {after}, picture {number}">'
        f'<span class="line" aria-hidden="true"></span>'
        f'<span class="label left" aria-hidden="true">{before}</span>'
        f'<span class="label right" aria-hidden="true">{after}</span></div></div>'
        f"<figcaption>{escape(pair.caption)}</figcaption></figure>"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
