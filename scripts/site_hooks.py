"""Hooks of mkdocs: the pages of the site that are made from code, YAML files and results.

mkdocs build --strict        as `make site` does; see mkdocs.yml
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]

from mkdocs.structure.files import File, Files  # noqa: E402
from site_doctor import findings  # noqa: E402
from site_links import MOVED, ROOT, Links, origin_of, page_of  # noqa: E402
from site_options import reference  # noqa: E402
from site_presets import homes, sections  # noqa: E402

MARKER = re.compile(r"<!-- presets: (\w+) -->")


def on_config(config: Any) -> Any:
    """Put the pages that a star stands for into the navigation."""
    config.extra["texts"] = dict(texts())
    config.nav = expanded(config.nav, sorted(config.extra["texts"]))
    return config


def expanded(nav: Any, pages: list[str]) -> Any:
    """A navigation in which `options/*` is every page of that folder that is not named."""
    named = re.findall(r"[\w./-]+\.md", str(nav))
    match nav:
        case list():
            out: list[Any] = []
            for each in nav:
                if isinstance(each, str) and each.endswith("/*"):
                    folder = each.removesuffix("*")
                    out += [page for page in pages if page.startswith(folder) and page not in named]
                else:
                    out.append(expanded(each, pages))
            return out
        case dict():
            return {title: expanded(each, pages) for title, each in nav.items()}
    return nav


def texts() -> Iterator[tuple[str, str]]:
    """The pages, each with its text as a file of the repository has it."""
    files = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    files += [ROOT / name for name in MOVED if name.endswith(".md")]
    for file in sorted(files):
        yield page_of(file.relative_to(ROOT).as_posix()), file.read_text("utf-8")
    yield from reference(homes())


def on_files(files: Files, config: Any) -> Files:
    """Replace the texts of docs/ by those with all that is generated, and add the others."""
    links = Links()
    for page, text in config.extra.pop("texts").items():
        text = MARKER.sub(lambda match: sections(match[1], links), text)
        text = text.replace("<!-- findings -->", findings())
        add(files, config, page, links.rewritten(text, origin_of(page), page))
    for page, content in links.file_pages():
        add(files, config, page, content)
    return files


def add(files: Files, config: Any, page: str, content: str | bytes) -> None:
    """Add a page or a picture; one of the same name is replaced."""
    if (old := files.get_file_from_path(page)) is not None:
        files.remove(old)
    files.append(File.generated(config, page, content=content))
