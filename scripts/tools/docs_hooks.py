"""MkDocs hooks: make links into the repository work on the site as they do on GitHub; keep short names whole.

Pages outside `docs/`, such as README.md, get a place on the site. Any other linked file, such as a module,
becomes a page under `source/` that shows its text.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s#]+)")
SHORT_CODE = re.compile(r"<code>(?=[^<]{1,28}</code>)")
FENCE_TITLE = re.compile(r"^(```\w+ title=)(\S+)$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside `docs/` and every linked source file."""
    for name, place in ROOT_PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text("utf-8")))
    pages = [file for file in files if file.is_documentation_page()]
    linked = {target for file in pages for target in _targets(file)}
    for target in sorted(linked):
        if not target.startswith("docs/") and target not in ROOT_PAGES:
            files.append(File.generated(config, _place(target), content=_source_page(target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with links as the site has them, and fence titles as the highlighter reads them."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    directory, here = _directory(page.file), posixpath.dirname(page.file.src_uri)

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(directory, link[1]))
        return posixpath.relpath(_place(target), here or ".")

    return FENCE_TITLE.sub(r'\1"\2"', LINK.sub(on_site, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Return the page with a class on short inline code, so that it is not broken at a hyphen."""
    return SHORT_CODE.sub('<code class="name">', html)


def _targets(file: File) -> Iterator[str]:
    """Yield the paths, from the root of the repository, that the page links to."""
    for link in LINK.finditer(file.content_string):
        yield posixpath.normpath(posixpath.join(_directory(file), link[1]))


def _directory(file: File) -> str:
    """Return the directory of the page in the repository."""
    if file.src_uri in ROOT_PAGES.values():
        return ""
    return posixpath.join("docs", posixpath.dirname(file.src_uri))


def _place(target: str) -> str:
    """Return where a file of the repository is on the site."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return ROOT_PAGES.get(target, f"source/{target}.md")


def _source_page(target: str) -> str:
    text = (ROOT / target).read_text("utf-8")
    return f"# {target}\n\n````{Path(target).suffix.removeprefix('.') or 'text'}\n{text}````\n"
