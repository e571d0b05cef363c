"""Make every demonstration, and write its page, figure and notebook.

    python scripts/demos.py                  # all of them: some 20 minutes
    python scripts/demos.py best_critic

The pages are docs/demos/NAME.md, the notebooks examples/demos/NAME.ipynb, without outputs.
"""

from __future__ import annotations

import platform
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))  # a checkout that is not installed

from gentrain.commands.demo import build_demo, made  # noqa: E402
from gentrain.commands.demo.base import Demo, Shown, refuse_missing_matplotlib  # noqa: E402
from gentrain.commands.demo.page import markdown, notebook  # noqa: E402

PRESETS, PAGES, NOTEBOOKS = ROOT / "conf/demo", ROOT / "docs/demos", ROOT / "examples/demos"
MOST = 120  # seconds that one of them may take


def main() -> None:
    """Write the pages of some demonstrations, and the list of all."""
    parser = ArgumentParser(description="Write the pages of demonstrations.")
    parser.add_argument("names", nargs="*", default=sorted(f.stem for f in PRESETS.glob("*.yaml")))
    refuse_missing_matplotlib()
    NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names:
        began = time.process_time()
        preset = yaml.safe_load((PRESETS / f"{name}.yaml").read_text("utf-8"))
        demo = build_demo({"seed": None, "demo": preset})
        write_page(name, demo, made(demo), time.process_time() - began)
    write_index()


def write_page(name: str, demo: Demo, shown: Shown, seconds: float) -> None:
    """The page, figure and notebook of a demonstration.

    The page does not have the time itself, which is another one at each run.
    """
    shown.figure.savefig(PAGES / f"{name}.png", dpi=110)
    length = "less" if seconds < MOST else "more"
    said = f"Seed 0; {length} than two minutes of one processor, {platform.machine()}."
    page = f"{markdown(name, demo, shown, f'{name}.png')}\n{said}\n"
    (PAGES / f"{name}.md").write_text(page, "utf-8")
    (NOTEBOOKS / f"{name}.ipynb").write_text(notebook(name, demo) + "\n", "utf-8")
    print(f"{name}: {seconds:.0f} s; {'; '.join(map(str, shown.findings))}", flush=True)


def write_index() -> None:
    """docs/demos/README.md: each page by its claim, and whether its experiment shows it."""
    lines = ["# The course: claims of the lectures, as experiments", ""]
    lines += ["Written by `make demos`. `gentrain demo NAME` makes one of them.", ""]
    for preset in sorted(PRESETS.glob("*.yaml")):
        page = PAGES / f"{preset.stem}.md"
        if page.exists():
            text = page.read_text("utf-8")
            title = text.splitlines()[0].removeprefix("# ")
            note = " (not all of it is shown)" if "\n- NOT shown" in text else ""
            lines += [f"- [{title}]({page.name}){note}:", f"  `gentrain demo {preset.stem}`"]
    (PAGES / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
