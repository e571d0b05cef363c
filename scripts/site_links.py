"""From the files of the repository to the pages of the documentation site, and links between them.

The texts link to each other as files of the repository, so that they can be read there as well.
Code that a text links to becomes a page of its own.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

ROOT = Path(__file__).parents[1]
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks": "benchmarks/README.md",
    "docs/demos": "demos/README.md",
    "conf": "options/index.md",
}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "bash", ".cff": "yaml"}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


def page_of(path: str) -> str:
    """The page, or the file, of the site that shows a file or a folder of the repository.

    >>> page_of("docs/results.md"), page_of("conf/loss")
    ('results.md', 'options/loss.md')
    >>> page_of("src/gentrain/errors.py")
    'files/src/gentrain/errors.py.md'
    """
    if path in MOVED:
        return MOVED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("conf/") and path.count("/") == 1 and not path.endswith(".yaml"):
        return f"options/{path.removeprefix('conf/')}.md"
    if path.endswith(".md"):
        return path
    return f"files/{path}/index.md" if (ROOT / path).is_dir() else f"files/{path}.md"


def origin_of(page: str) -> str:
    """The file of the repository that a page is made from, or would be."""
    return {page: file for file, page in MOVED.items() if file.endswith(".md")}.get(
        page, page if page.startswith("benchmarks/") else f"docs/{page}"
    )


class Links:
    """Rewrites links, and remembers the files that they lead to.

    Attributes:
        files: the code and the folders for which pages are needed.
    """

    def __init__(self) -> None:
        self.files: set[str] = set()

    def rewritten(self, text: str, origin: str, page: str) -> str:
        """The text of a file of the repository with the links of a page of the site.

        Args:
            text: in Markdown.
            origin: the file of the repository.
            page: where the site shows it.
        """

        def replaced(match: re.Match[str]) -> str:
            target = normpath(join(dirname(origin), match[1]))
            if "://" in match[1] or target.startswith("..") or not (ROOT / target).exists():
                return match[0]
            found = page_of(target)
            if found.startswith("files/"):
                self.files.add(target)
            return relpath(found, dirname(page) or ".") + (match[2] or "")

        return LINK.sub(replaced, text)

    def file_pages(self) -> Iterator[tuple[str, str | bytes]]:
        """The pages of all files that were linked to, also from the pages of folders."""
        done: set[str] = set()
        while rest := sorted(self.files - done):
            for path in rest:
                done.add(path)
                yield from shown(path, self)


def shown(path: str, links: Links) -> Iterator[tuple[str, str | bytes]]:
    """The page of a file or of a folder, and the pictures of a notebook."""
    page, file = page_of(path), ROOT / path
    head = f"{UNSEARCHED}# {path}\n\n"
    if file.is_dir():
        inside = [each for each in sorted(file.rglob("*")) if each.is_file() and is_text(each)]
        names = [os.fspath(each.relative_to(ROOT)) for each in inside]
        listed = "".join(f"- [{name}]({relpath(name, 'files')})\n" for name in names)
        yield page, head + links.rewritten(listed, "files/x", page)
    elif file.suffix == ".ipynb":
        yield from notebook(path, page)
    else:
        language = LANGUAGES.get(file.suffix, "text")
        lines = ' linenums="1"' if language == "python" else ""
        yield page, f"{head}````{language}{lines}\n{file.read_text('utf-8').rstrip()}\n````\n"


def is_text(file: Path) -> bool:
    """Whether a file of a folder is shown."""
    return file.suffix in (*LANGUAGES, ".ipynb") and "__pycache__" not in file.parts


def notebook(path: str, page: str) -> Iterator[tuple[str, str | bytes]]:
    """A notebook as a page: its cells, and the outputs that it keeps."""
    cells: list[dict[str, Any]] = json.loads((ROOT / path).read_text("utf-8"))["cells"]
    parts, pictures = [f"*This page is the notebook `{path}`.*"], 0
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{page.removesuffix('.md')}-{pictures}.png"
                pictures += 1
                yield picture, base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Output of the cell above]({Path(picture).name})")
            elif text := "".join(output.get("text", data.get("text/plain", []))).rstrip():
                parts.append(f"````text\n{text}\n````")
    yield page, UNSEARCHED + "\n\n".join(parts) + "\n"
