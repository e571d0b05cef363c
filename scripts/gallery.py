"""Write docs/gallery.md: what run directories have to show, run by run.

    gentrain model=vae data=mnist_5k samples.every=300 hydra.run.dir=outputs/gallery/vae
    gentrain model=rbm data=mnist_5k samples.every=200 hydra.run.dir=outputs/gallery/rbm
    python scripts/gallery.py outputs/gallery

Each run has its command, its samples through training, its curves, a sound where it makes sounds,
and the sample modes that fit it: interpolations, translations, completions, chains and others. All
of it is read from the run directory, and a mode says itself whether it fits. The pictures go to
docs/gallery, and may have a megabyte together, so that the page opens at once.

matplotlib comes with mlxtend.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image, ImageDraw
from run_tables import shown_words

from gentrain.commands.explore.explorer import offers
from gentrain.commands.list import title
from gentrain.commands.sample import build_mode
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.runs.directory import typed_words
from gentrain.runs.reopen import OpenedRun, reopen

ROOT = Path(__file__).parents[1]
PAGE, PICTURES = ROOT / "docs" / "gallery.md", ROOT / "docs" / "gallery"
MAX_BYTES = 1_000_000
STEPS = 5  # pictures through training
WIDTH = 900  # pixels of a picture, at most
PLOTS = 4  # curves of a run
NOT_DRAWN = ("images_per_second", "gradient_norm", "doctor/", "floor", "epoch")  # of the curves
# sample modes, in order, and how much of each is shown
MODES = {
    "class_grid": ("n=8",),
    "interpolate": ("n=4",),
    "traverse": ("n=5",),
    "reconstruct": (),
    "complete": ("n=6",),
    "denoise": (),
    "chains": ("n=5", "mode.columns=11"),
    "filters": ("n=36",),
    "translate": ("n=8",),
    "cycle": ("n=8",),
    "domains": ("n=4",),
    "density": (),
}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="a folder of run directories")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args(words)
    found = sorted(file.parents[1] for file in args.runs.glob("*/.hydra/config.yaml"))
    if not found:
        print(f"no run directories in {args.runs}", file=sys.stderr)
        return 2
    pictures = args.page.with_suffix("")
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    sections = [section(run, pictures) for run in found]
    text = "\n\n".join([HEAD, *sections])
    args.page.write_text(f"{text}\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in pictures.iterdir())
    print(f"{len(found)} runs, {size / 1e6:.2f} MB of pictures; see {args.page}")
    if size > MAX_BYTES:
        print(f"more than {MAX_BYTES / 1e6:g} MB; give fewer runs", file=sys.stderr)
    return int(size > MAX_BYTES)


HEAD = """\
# Gallery

Written by `python scripts/gallery.py RUNS` from run directories: the command of each run, its
samples through training, and what `gentrain sample` draws of it. The trainings are short, some
minutes of one core together; [results](results.md) has longer ones, with scores. Nothing is
chosen: all pictures are of seed 0."""


def section(run_dir: Path, pictures: Path) -> str:
    """What the page says of a run; its pictures are written beside."""
    run, name = reopen(run_dir), run_dir.name
    title = " on ".join(run.choices.get(group, "?") for group in ("model", "data"))
    parts = [f"## {title}", f"    {command(run_dir)}"]
    for key, about, picture in (*of_training(run_dir), *of_curves(run_dir), *of_modes(run)):
        file = pictures / f"{name}-{key}.png"
        small(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
            file, optimize=True
        )
        parts.append(f"{about}:\n\n![{name}, {key}]({pictures.name}/{file.name})")
    parts += of_sounds(run_dir, pictures)
    return "\n\n".join(parts)


def command(run_dir: Path) -> str:
    """The command of a run, in lines that fit a page."""
    shown = [shlex.quote(word) for word in shown_words(typed_words(run_dir))]
    lines = ["gentrain"]
    for word in shown:
        if len(lines[-1]) + len(word) > 84:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return "\n    ".join(lines)


Shown = Iterator[tuple[str, str, Image.Image]]  # a name, a sentence, a picture


def of_training(run_dir: Path) -> Shown:
    """Samples of equal noise at some steps, side by side, the last step among them."""
    files = sorted((run_dir / "samples").glob("step-*.png"))
    if len(files) < 2:
        return
    places = {round(i * (len(files) - 1) / (STEPS - 1)) for i in range(STEPS)}
    chosen = [files[place] for place in sorted(places)]
    names = [f"step {int(file.stem.removeprefix('step-')):,}" for file in chosen]
    yield (
        "training",
        "Samples through training, always of the same noise or the same sources",
        beside(chosen, names),
    )


def beside(files: list[Path], names: list[str]) -> Image.Image:
    """Pictures side by side, each below its name."""
    opened = [Image.open(file).convert("RGB") for file in files]
    width = min(WIDTH // len(opened) - 6, opened[0].width)
    parts = [part.resize((width, part.height * width // part.width)) for part in opened]
    height = 14 + max(part.height for part in parts)
    picture = Image.new("RGB", ((width + 6) * len(parts), height), "white")
    pen = ImageDraw.Draw(picture)
    for i, (part, name) in enumerate(zip(parts, names, strict=True)):
        pen.text((i * (width + 6), 0), name, fill="black")
        picture.paste(part, (i * (width + 6), 14))
    return picture


def of_curves(run_dir: Path) -> Shown:
    """The losses and scores of metrics.csv, each against the step."""
    with (run_dir / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if value and name != "step" and not any(word in name for word in NOT_DRAWN):
                curves.setdefault(name, []).append((float(row["step"]), float(value)))
    long = {name: points for name, points in curves.items() if len(points) > 2}
    if not long:
        return
    figure, axes = plt.subplots(1, PLOTS, figsize=(9, 1.9))
    for axis in axes:
        axis.set_visible(False)
    for axis, (name, points) in zip(axes, long.items(), strict=False):
        axis.set_visible(True)
        axis.plot(*zip(*points, strict=True), color="teal")
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=6)
        axis.set_xlabel("step", fontsize=7)
    figure.tight_layout(pad=0.4)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    picture = Image.open(drawn).convert("RGB")
    plt.close(figure)
    yield "curves", "Curves of the training", picture


def of_modes(run: OpenedRun) -> Shown:
    """What each sample mode that fits the run draws."""
    for name, words in MODES.items():
        config = configuration(f"run='{run.run_dir}'", f"mode={name}", "save=none", *words)
        mode, session = build_mode(config), SampleSession(run)
        if not offers(session, mode):
            continue
        with tempfile.TemporaryDirectory() as place, redirect_stdout(StringIO()):
            out = Output(Path(place), "none", run.data)
            mode.draw(session, out)
            picture = Image.open(out.pictures[0]).convert("RGB")
        yield name, f"{title('mode', name).split(';')[0]} (`mode={name}`)", picture


def configuration(*words: str) -> dict[str, Any]:
    """The keys of conf/sample.yaml."""
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from gentrain.cli.compose import register
    from gentrain.config import paths, schema

    register()
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        found = compose("sample", overrides=list(words))
    with open_dict(found):
        found.out = None
    return schema.resolved(found)


def of_sounds(run_dir: Path, pictures: Path) -> list[str]:
    """The last sounds of a run, to hear."""
    files = sorted((run_dir / "samples").glob("*.wav"))
    last = [file for file in files if file.stem != "real"][-1:]
    found = []
    for file in last:
        copy = pictures / f"{run_dir.name}-{file.name}"
        shutil.copy(file, copy)
        link = f"{pictures.name}/{copy.name}"
        found.append(f'<audio controls src="{link}"></audio>\n\n[The sounds]({link}) as a file.')
    return found


def small(picture: Image.Image) -> Image.Image:
    """A picture at most WIDTH wide, and enlarged where it is tiny."""
    if picture.width > WIDTH:
        return picture.resize((WIDTH, picture.height * WIDTH // picture.width))
    times = max(1, WIDTH // 2 // picture.width)
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


if __name__ == "__main__":
    sys.exit(main())
