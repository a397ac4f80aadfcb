"""MkDocs hook: add the Markdown files outside `docs/` to the site, and point links at the site's pages.

README.md and the documents under `docs/` are written for GitHub and the package page. So that no page exists
twice, the site takes those files as they are and this hook rewrites their links.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "engines/README.md": "engines.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files outside `docs/`, and their pages."""

_LINK = re.compile(r'(?P<before>\]\(|^\[[^\]]+\]: |(?:src|href)=")(?P<target>[^)\s"]+)', re.MULTILINE)
_log = logging.getLogger("mkdocs.hooks.site_pages")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside `docs/`."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    sources = {page: source for source, page in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda link: link["before"] + _on_site(link["target"], source, config), markdown)


def _on_site(target: str, source: str, config: MkDocsConfig) -> str:
    """Return the target of a link in the file `source`, as a page of the site or a file on GitHub."""
    target, hash_sign, anchor = target.partition("#")
    repository = str(config.repo_url)
    raw = repository.replace("://github.com", "://raw.githubusercontent.com")
    for address in (f"{repository}/blob/main/", f"{raw}/main/"):
        if target.startswith(address):
            path = target.removeprefix(address)
            break
    else:
        if not target or "://" in target:
            return target + hash_sign + anchor
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if not (ROOT / path).exists():
        _log.warning("%s links to %s, which does not exist", source, path)
    if path not in PAGES and not path.startswith("docs/"):
        return f"{repository}/blob/main/{path}{hash_sign}{anchor}"
    page, here = PAGES.get(path, path.removeprefix("docs/")), PAGES.get(source, source.removeprefix("docs/"))
    return posixpath.relpath(page, posixpath.dirname(here) or ".") + hash_sign + anchor
