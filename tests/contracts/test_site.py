"""The documentation: links, numbers and names in its texts; the site that is built of them.

The site is built once for the slow tests, with warnings as errors, and opened in headless Chromium.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Optional, Union
from urllib.parse import unquote

import pytest
import yaml

from tests.support.browser import CHROMIUM, Page, browser
from tests.support.paths import CONF, ROOT

sys.path.append(str(ROOT / "scripts"))

from site_doctor import findings
from site_links import Links, origin_of, page_of
from site_options import words_of
from site_text import comments, doc_of, escaped, prose

TEXTS = sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md")
    for file in ROOT.glob(pattern)
)

# --- texts ----------------------------------------------------------------------------------------


def test_links_of_texts_lead_to_files() -> None:
    broken = []
    for file in TEXTS:
        text = re.sub(r"^ {4}.*$|`[^`]*`", "", file.read_text("utf-8"), flags=re.MULTILINE)
        for link in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
            if "://" not in link and not (file.parent / link).exists():
                broken.append(f"{file.relative_to(ROOT)}: {link}")
    assert broken == []


def test_the_readme_is_short_and_its_scores_are_measured() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.encode()) < 5500
    results = " ".join((ROOT / "docs/results/earlier.md").read_text("utf-8").split())
    rows = re.findall(
        r"^\| `(gentrain [^`]*)` \|.*?\| .*?(-?[\d.]+) .*?\| ([\d.]+) \|$", text, re.M
    )
    assert len(rows) == 3
    for command, score, minutes in rows:
        said = command if command in results else command.replace("data=rings", "data=NAME")
        assert said in results, command
        assert score in results and minutes in results, command


def test_the_gallery_is_of_its_pictures_and_small() -> None:
    text = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    files = sorted((ROOT / "docs" / "gallery").iterdir())
    assert {f"gallery/{file.name}" for file in files} == set(re.findall(r"gallery/[\w.-]+", text))
    assert sum(file.stat().st_size for file in files) < 1_000_000
    kinds = {file.stem.partition("-")[2] for file in files}
    assert kinds >= {"training", "curves", "interpolate", "translate", "complete", "chains"}
    assert any(file.suffix == ".wav" for file in files)


def test_curves_that_pages_name_are_logged() -> None:
    source = "\n".join(file.read_text("utf-8") for file in (ROOT / "src").rglob("*.py"))
    words = set(re.findall(r"\w+", source))
    for page in (ROOT / "docs" / "families").glob("*.md"):
        for name in re.findall(r"`(?:critic|generator|model)/(\w+)`", page.read_text("utf-8")):
            term = name.removeprefix("source_").removeprefix("target_")
            assert {term, term.title().replace("_", "")} & words, name


def test_every_finding_of_the_doctor_is_in_the_table() -> None:
    source = (ROOT / "src/gentrain/quality/diagnostics.py").read_text("utf-8")
    table, names = findings(), re.findall(r'Finding\(\s*"([^"]+)"', source)
    assert len(names) > 6 and all(f"| {name} |" in table for name in names)
    collapse = next(line for line in table.splitlines() if line.startswith("| mode collapse |"))
    for word in ("minibatch_discrimination", "packing", "scheme.optimizers.model.lr=1e-4"):
        assert word in collapse  # given by the callers


def test_links_between_pages() -> None:
    links = Links()
    text = "[a](../conf/loss) [b](../src/gentrain/errors.py#x) [c](results.md) [d](https://e.org)"
    page = links.rewritten(text, "docs/python.md", "python.md")
    said = "[a](options/loss.md) [b](files/src/gentrain/errors.py.md#x) [c](results.md) "
    assert page == f"{said}[d](https://e.org)"
    assert links.files == {"src/gentrain/errors.py"}
    assert origin_of(page_of("README.md")) == "README.md"
    assert origin_of(page_of("docs/demos/README.md")) == "docs/demos/README.md"


def test_docstrings_and_comments_become_markdown(tmp_path: Path) -> None:
    class Example:
        """First.

            x = y_i * 2

        Args:
            one, other: two of
                them.
            third: a `code|x`.

        Raises:
            ValueError: never.
        """

    Example.__module__ = "gentrain.example"
    doc = doc_of(Example)
    assert doc.prose == "First.\n\n    x = y_i * 2"
    assert doc.args == {"one": "two of them.", "other": "two of them.", "third": "a `code|x`."}
    assert prose("a_b <c>\n  code_x\nd") == "a&#95;b &lt;c>\n\n    code_x\n\nd"
    assert escaped("`a_b` a|b") == "`a_b` a&#124;b"
    file = tmp_path / "x.yaml"
    file.write_text("# head\nkey: 1\n# above\nother:\n  inner: [1]  # behind\n")
    assert comments(file) == {"other": "above", "other.inner": "behind"}


def test_the_navigation_has_every_page_of_docs() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    for file in (ROOT / "docs").glob("**/*.md"):
        page = file.relative_to(ROOT / "docs")
        assert f"- {page.as_posix()}" in text or f"- {page.parent.as_posix()}/*" in text, page


def test_every_score_is_in_the_list_of_rows() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text("utf-8").partition("### Rows of eval")[2]
    listed = {word.rstrip("_*") for word in re.findall(r"`([\w*]+)`", text)}
    source = "".join(
        file.read_text("utf-8") for file in (ROOT / "src/gentrain/quality").glob("*.py")
    )
    names = {
        name.replace("*", "").rstrip("_")
        for name in re.findall(r'^ +"([\w*]+)": Score\(', source, re.MULTILINE)
    }
    parts = re.compile(r"_(error|std|sd|mean|permuted|floor|pooled)$")
    assert len(names) > 40
    for name in names:
        assert {name, parts.sub("", name), re.sub("__sd$", "", name)} & listed, name


def test_workflows_and_forms_are_yaml() -> None:
    files = [*ROOT.glob(".github/**/*.yml")]
    assert len(files) >= 4
    for file in files:
        node = yaml.safe_load(file.read_text("utf-8"))
        assert "name" in node or "blank_issues_enabled" in node, file
    targets = re.findall(r"make ([\w-]+)", "".join(file.read_text("utf-8") for file in files))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert targets and all(re.search(rf"^{each}:", makefile, re.MULTILINE) for each in targets)


# --- the site -------------------------------------------------------------------------------------


def test_types_of_options_are_in_words() -> None:
    """Of any spelling: `Union` alone says nothing."""
    asked = Optional[Union[int, str, list[Union[int, str]]]]  # noqa: UP007, UP045
    assert words_of(asked) == "int | str | list[int | str] | null"
    assert words_of(Optional[Literal["a", "b", 3]]) == "int | str | null"  # noqa: UP045
    assert words_of(int | None) == "int | null"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; mkdocs ends with an error where it would warn."""
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip("needs the extra `docs`")
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(place)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return place


class Html(HTMLParser):
    """The anchors and the links of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value is not None:
                self.links.append(value)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_link_is_broken(site: Path) -> None:
    pages = {file: Html(file) for file in site.rglob("*.html") if file.name != "404.html"}
    assert len(pages) > 100
    broken, outside = [], set()
    for file, page in pages.items():
        for link in page.links:
            if re.match(r"(https?|mailto|data|javascript):", link):
                outside.add(link)
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (file.parent / path).resolve() if path else file
            if not target.exists() or (
                anchor and target in pages and anchor not in pages[target].anchors
            ):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert broken == [] and outside


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_preset_and_option_has_its_section(site: Path) -> None:
    for file in CONF.glob("*/*.yaml"):
        group, name = file.parent.name, file.stem
        if group == "hydra" or name.startswith("_"):
            continue
        places = (
            site.glob("families/*.html") if group == "model" else [site / f"options/{group}.html"]
        )
        found = [place for place in places if f'id="{name}"' in place.read_text("utf-8")]
        assert len(found) == 1, (group, name)


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with browser() as page:
        yield page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pages_open_without_a_complaint(site: Path, tab: Page) -> None:
    """All but those of code: no error on the console, no request to a network, nothing too wide."""
    for file in sorted(site.rglob("*.html")):
        name = file.relative_to(site).as_posix()
        if name == "404.html" or (name.startswith("files/") and file.name != "gan.ipynb.html"):
            continue  # pages of code, and one whose links begin at the root of a server
        for width in (1280, 390):
            tab.open(file, width, ready="document.readyState === 'complete'")
            assert tab.complaints == [], (name, tab.complaints)
            assert tab.run("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        formulas = tab.run("document.querySelectorAll('.arithmatex').length")
        assert (
            tab.run("document.querySelectorAll('.arithmatex > .katex-display').length") == formulas
        )
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert tab.run(broken) == [], name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_search_finds_an_option_in_pages_that_are_files(site: Path, tab: Page) -> None:
    tab.open(site / "index.html", ready="document.readyState === 'complete'")
    found = "document.querySelectorAll('.md-search-result__item').length > 0"
    tab.run("document.querySelector('[data-md-toggle=search]').click()")
    tab.run(
        "{const box = document.querySelector('.md-search__input'); box.focus();"
        " box.value = 'gradient penalty'; box.dispatchEvent(new Event('input', {bubbles: true}));"
        " box.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));}"
    )
    tab.run(
        "new Promise((done, fail) => {const end = Date.now() + 20000; const look = () =>"
        f" {found} ? done() : Date.now() > end ? fail(new Error('nothing found'))"
        " : setTimeout(look, 100); look();})"
    )
