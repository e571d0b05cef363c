"""What `gentrain doctor` finds in 40 runs that are made sick on purpose and in 40 healthy ones.

    python scripts/doctor_trial.py --out docs/doctor.md
    python scripts/doctor_trial.py --out /tmp/again.md --seed 100 --only 'sngan|maf'

The page is written after each run, so that it can be looked at, and stopped. With --seed the same
runs have other weights, batches and noise: a threshold that is changed after a look at one page is
checked by another. Processes may share the runs:

    python scripts/doctor_trial.py --out one.md --seed 100 --part 1/2
    python scripts/doctor_trial.py --out two.md --seed 100 --part 2/2
    cat one.md two.md > docs/doctor.md
    python scripts/doctor_trial.py --out docs/doctor.md --seed 100 --again NONE

Runs are short ones on the 5,000 embedded digits, with narrow networks. They are sick by their
options or their data where a user could do the same, and by an edit of the generator after the
training where no option does it for certain. A sick run is seen if the finding is the expected one.
"""

from __future__ import annotations

import argparse
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import gentrain
from gentrain.commands.doctor import measure_run
from gentrain.data.batches import as_batch
from gentrain.errors import UserError
from gentrain.quality.diagnostics import examine
from gentrain.runs.reopen import reopen
from gentrain.training.divergence import Diverged

Edit = Callable[[Any, Tensor, Tensor], None]  # of a model, with training and other images
COMMON = (
    "trainer=cpu",
    "logger=csv",
    "quality=none",
    "samples.every=0",
    "samples.n=4",
    "checkpoint.every=1000000",
)
GAN = ("model.generator.width=16", "model.critic.width=16", "data=mnist_5k")
MLP = ("model.generator.width=128", "model.critic.width=128", "data=mnist_5k")
VAE = ("model.encoder.width=64", "model.decoder.width=64", "data=mnist_5k")


class Trial(NamedTuple):
    """A run, what the doctor should say of it, and what is done to the model afterwards."""

    expected: str | None  # None: nothing
    words: tuple[str, ...]
    edit: Edit | None = None
    how: str = ""  # what the edit does


# --- edits ----------------------------------------------------------------------------------------


def noisy_copies(kinds: int, deviation: float) -> Edit:
    """Samples become copies of a few real images, with noise."""

    def edit(model: Any, images: Tensor, others: Tensor) -> None:
        prototypes = images[:kinds]

        def sample(batch: tuple[Tensor, ...], *_: Any, **__: Any) -> Tensor:
            chosen = prototypes[torch.randint(kinds, (len(batch[0]),))]
            return (chosen + deviation * torch.randn_like(chosen)).clamp(-1, 1)

        model.sample = sample

    return edit


def without_noise(model: Any, images: Tensor, others: Tensor) -> None:
    """The generator, and its average where there is one, get the same noise for every image."""

    def blind(generator: Any) -> None:
        inner = generator.forward

        def forward(z: Tensor, *others: Tensor) -> Tensor:
            return inner(z[:1].expand_as(z), *others)

        generator.forward = forward

    for generator in (model.generator, model.ema_generator):
        if generator is not None:
            blind(generator)


def learned_by_heart(model: Any, images: Tensor, others: Tensor) -> None:
    """The critic scores its training images above others and above fakes."""
    critic = model.critic
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    for _ in range(400):
        high = critic(images)
        low = torch.cat([critic(others), critic(model.sample((images,)))])
        if high.min() > low.max() + 1:
            return
        loss = torch.nn.functional.softplus(-high).mean() + torch.nn.functional.softplus(low).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# --- the runs -------------------------------------------------------------------------------------


def sick(few: Path, one_class: Path) -> Iterator[Trial]:
    """40 sick runs. `few` has 64 digits, and in `one_class` all labels are the same."""
    yield from without_variety()
    yield from sick_critics(few, one_class)
    yield from sick_densities(few)


def without_variety() -> Iterator[Trial]:
    """Generators that collapse."""
    for model in ("dcgan", "lsgan", "hinge_gan", "wgan_gp", "sngan", "wgan", "r3gan"):
        # without the many critic updates at the start of model=wgan
        quick = ("scheme.critic_warmup=null",) if model == "wgan" else ()
        words = (f"model={model}", *GAN, "steps=40", *quick)
        yield Trial("mode collapse", words, without_noise, "no noise")
    yield Trial("mode collapse", ("model=gan", *MLP, "steps=40"), without_noise, "no noise")
    for kinds, deviation in ((1, 0.1), (1, 0.3), (1, 0.6), (3, 0.1), (3, 0.3), (3, 0.6)):
        told = f"{kinds} image(s), noise of {deviation}"
        edit = noisy_copies(kinds, deviation)
        yield Trial("noisy copies", ("model=dcgan", *GAN, "steps=40"), edit, told)
    for deviation in (0.2, 0.5):
        edit, told = noisy_copies(2, deviation), f"2 image(s), noise of {deviation}"
        yield Trial("noisy copies", ("model=wgan_gp", *GAN, "steps=20"), edit, told)


def sick_critics(few: Path, one_class: Path) -> Iterator[Trial]:
    """Critics that are too strong, diverge, or learn their images by heart; and one label."""
    strong = ("scheme.optimizers.critic.lr=1e-2", "scheme.optimizers.generator.lr=2e-6")
    for model in ("dcgan", "cgan", "hinge_gan"):  # least squares are flat nowhere
        yield Trial("critic saturated", (f"model={model}", *GAN, *strong, "steps=200"))
    yield Trial("critic saturated", ("model=gan", *MLP, *strong, "steps=300"))
    for weight in (4, 16):
        noise = (f"scheme.critic_steps={weight}", "scheme.optimizers.critic.lr=5e-3")
        words = ("model=dcgan", *GAN, *noise, "scheme.optimizers.generator.lr=1e-6", "steps=80")
        yield Trial("critic saturated", words)
    wild = ("lipschitz.bound=10", "scheme.critic_warmup=null", "scheme.optimizers.critic.lr=0.2")
    yield Trial("near infinity", ("model=wgan", *GAN, "model.critic.norm=none", *wild, "steps=40"))
    fast = ("model.critic.norm=none", "scheme.optimizers.critic.lr=1", "steps=60")
    yield Trial("near infinity", ("model=lsgan", *GAN, *fast))
    one = f"data.file={one_class}"
    for model in ("cgan", "acgan"):
        small = (*GAN[:2], "data=tensors", one, "data.classes=10")
        yield Trial("one label", (f"model={model}", *small, "steps=20"))
    # fakes of so few images are soon bad, and then a critic needs to know none by heart
    for model in ("sngan", "hinge_gan", "dcgan", "lsgan"):
        more = ("lipschitz=none",) if model == "sngan" else ()
        words = (f"model={model}", *GAN[:2], *of_few(few), *more, "steps=20")
        told = "critic fitted to its training images, held-out ones against it"
        yield Trial("critic overfitting", words, learned_by_heart, told)


def sick_densities(few: Path) -> Iterator[Trial]:
    """Posteriors that collapse, and densities that learn their images by heart."""
    few_images = of_few(few)
    for model in ("vae", "cvae"):
        for beta in (50, 500):
            yield Trial(
                "posterior collapse", (f"model={model}", *VAE, f"model.beta={beta}", "steps=800")
            )
    yield Trial("posterior collapse", ("model=vae_planar", *VAE, "model.beta=100", "steps=800"))
    yield Trial("posterior collapse", ("model=beta_vae", *VAE, "model.beta=300", "steps=800"))
    for model, steps in (("vae", 1500), ("cvae", 1500)):
        wide = ("model.encoder.width=256", "model.decoder.width=256")
        words = (*wide, *few_images, "data.classes=10", "scheme.optimizers.model.lr=1e-3")
        yield Trial("overfitting", (f"model={model}", *words, f"steps={steps}"))
    yield Trial("overfitting", ("model=maf", *few_images, "model.flow.width=784", "steps=300"))
    wide = ("model.encoder.width=256", "model.decoder.width=256")
    words = ("model=vae_planar", *wide, "data.classes=10", *few_images, "steps=2000")
    yield Trial("overfitting", words)


def of_few(few: Path) -> tuple[str, ...]:
    """Overrides of a training on 64 digits."""
    return ("data=tensors", f"data.file={few}", "data.batch_size=32", "data.test=0.5")


HEALTHY = (
    *(("model=" + name, *GAN, "steps=200") for name in ("dcgan", "lsgan", "hinge_gan", "acgan")),
    *(("model=" + name, *GAN, "steps=200") for name in ("cgan", "infogan", "improved_gan")),
    *(("model=" + name, *GAN, "steps=60") for name in ("bigan", "ali", "ebgan")),
    *(("model=" + name, *GAN, "steps=60") for name in ("wgan_gp", "sngan", "r3gan")),
    ("model=wgan", *GAN, "scheme.critic_warmup=null", "steps=100"),
    *(("model=" + name, *GAN, "steps=400", "seed=1") for name in ("dcgan", "hinge_gan", "lsgan")),
    ("model=gan", *MLP, "steps=600"),
    ("model=gan", *MLP, "steps=600", "seed=1"),
    ("model=semi_supervised_gan", "data=mnist_5k", "data.labelled=100", "steps=100"),
    ("model=dcgan", *GAN, "tricks=[ema,label_smoothing]", "steps=200"),
    ("model=dcgan", *GAN, "tricks=[minibatch_discrimination,feature_matching]", "steps=200"),
    ("model=dcgan", *GAN, "model.critic.norm=none", "loss=wasserstein", "lipschitz=gp",
     "steps=150"),
    ("model=dcgan", *GAN, "model.critic.norm=none", "loss=relativistic", "lipschitz=r1",
     "steps=150"),
    ("model=pix2pix", *GAN, "data.degrade=edges", "data.size=32", "steps=100"),
    ("model=cyclegan", "data=digit_colours", *GAN[:2], "data.batch_size=4", "model.identity=0",
     "steps=60"),
    ("model=inpainting", "data=mnist_5k", "data.degrade=mask_centre", "data.size=32", *GAN[:2],
     "steps=60"),
    *(("model=" + name, *VAE, "steps=300") for name in ("vae", "beta_vae", "cvae", "vae_planar")),
    ("model=vae", *VAE, "steps=300", "seed=1"),
    ("model=vae_iaf", *VAE, "steps=300"),
    ("model=semi_supervised_vae", "data=mnist_5k", "data.labelled=100", "steps=200"),
    ("model=realnvp", "data=mnist_5k", "data.size=16", "steps=60"),
    ("model=maf", "data=mnist_5k", "data.size=16", "model.flow.width=256", "steps=60"),
    ("model=gated_pixelcnn", "data=mnist_5k", "data.size=14", "model.network.width=16", "steps=60"),
    ("model=pixelcnn", "data=mnist_5k", "data.size=14", "model.network.width=16", "steps=60"),
    ("model=dcgan", *GAN[:2], "data=coloured_digits", "steps=200"),
    ("model=dcgan", *GAN[:2], "data=stacked_mnist", "data.digits=mnist_5k", "steps=100"),
)  # fmt: skip


WHAT = (
    "The doctor is right about a sick run if it has the expected finding, and about a healthy one",
    "if it has none. Runs are short, of narrow networks, on the 5,000 embedded digits.",
    "`gentrain doctor run=DIR` examines any run in the same way. The runs are young: fakes of a",
    "generator after 60 to 200 steps may lie as close to each other as noisy copies do, so that in",
    "the first 500 steps only copies that are like a real image are a finding.",
)

# --- the trial ------------------------------------------------------------------------------------


def with_seed(words: tuple[str, ...], shift: int) -> tuple[str, ...]:
    """The words with their seed, 0 where they have none, raised by `shift`."""
    seeds = [int(word.removeprefix("seed=")) for word in words if word.startswith("seed=")]
    others = tuple(word for word in words if not word.startswith("seed="))
    return (*others, f"seed={sum(seeds) + shift}") if seeds or shift else words


def findings(trial: Trial, place: Path) -> set[str]:
    """The names of what the doctor finds in a run of a trial."""
    try:
        gentrain.train(*trial.words, *COMMON, f"hydra.run.dir={place}")
    except Diverged:
        return {"near infinity"}  # the training itself ended and said so
    opened = reopen(place)
    if trial.edit is not None:
        train, test = opened.data.load("train"), opened.data.held_out("test")
        assert test is not None
        first = torch.arange(min(64, len(train.images), len(test.images)))
        both = (as_batch(split, first, opened.device)[0] for split in (train, test))
        trial.edit(opened.model, *both)
    return {finding.name for finding in examine(measure_run(opened))}


def told(trial: Trial) -> str:
    """The first two cells of the row of a run: what it is, and what is expected."""
    words = shlex.join(w if "/" not in w else w.split("=")[0] + "=FILE" for w in trial.words)
    how = f", {trial.how}" if trial.how else ""
    return f"| `{words}`{how} | {trial.expected or 'healthy'} |"


def row(trial: Trial, place: Path) -> tuple[bool, str]:
    """Whether the doctor was right, and the row of the table."""
    try:
        found = findings(trial, place)
    except UserError as error:
        return False, f"{told(trial)} not run: {error} | no |"
    right = (trial.expected in found) if trial.expected else not found
    said = ", ".join(sorted(found)) or "nothing"
    return right, f"{told(trial)} {said} | {'yes' if right else 'no'} |"


def stored(trial: Trial, file: Path) -> tuple[bool, str] | None:
    """The row of a run as a page has it; None where it does not."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    for line in lines:
        if line.startswith(told(trial)):
            return line.endswith("| yes |"), line
    return None


def digits(folder: Path) -> tuple[Path, Path]:
    """A file of 64 digits and as many to test, and one of digits with one label."""
    from gentrain.data.mnist_5k import MNIST5k

    shape = (1, 28, 28)
    data = MNIST5k(name="mnist_5k", shape=shape, batch_size=64, classes=10, validation=0, size=28)
    samples = data.load("train")
    assert samples.labels is not None
    images, labels = samples.images.numpy(), samples.labels.numpy()
    few, one_class = folder / "few.npz", folder / "one_class.npz"
    np.savez(few, x=images[:128].squeeze(1), y=labels[:128])
    np.savez(one_class, x=images[:2000].squeeze(1), y=np.full(2000, 3))
    return few, one_class


def page(
    trials: list[Trial], rows: list[tuple[bool, str]], command: str, minutes: float, note: str
) -> str:
    """The page, with the confusion table of the runs that have been made.

    Args:
        trials: all of them.
        rows: whether the doctor was right, and the row, of those that have been made.
        command: that makes this page.
        minutes: of a core; 0 where some rows were made before.
        note: a remark of whoever made it; may be empty.
    """
    done = list(zip(trials, rows, strict=False))
    sick = [right for trial, (right, _) in done if trial.expected]
    healthy = [right for trial, (right, _) in done if not trial.expected]
    lines = [
        "# What the doctor sees",
        "",
        f"Written by `{command}`.",
        f"{len(done)} of {len(trials)} runs were made"
        + (f", in {minutes:.0f} minutes of a core." if minutes else "."),
        "",
        "| | a finding | none |",
        "|---|---|---|",
        f"| {len(sick)} sick runs | **{sum(sick)}** (the right one) | {sick.count(False)} |",
        f"| {len(healthy)} healthy runs | {healthy.count(False)} | **{sum(healthy)}** |",
        "",
        *([note, ""] if note else []),
        *WHAT,
        "",
        "| run | what it is | found | right |",
        "|---|---|---|---|",
        *(text for _, text in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="added to the seed of every run")
    parser.add_argument("--only", default="", help="a pattern: the runs whose words have it")
    parser.add_argument("--part", default="1/1", help="K/N: every N-th run, from the K-th on")
    parser.add_argument("--again", help="a pattern: rows made again; others stay as they are")
    parser.add_argument("--note", default="", help="a remark for the page")
    args = parser.parse_args()
    shift = f" --seed {args.seed}" if args.seed else ""
    command = f"python scripts/doctor_trial.py --out {args.out}{shift}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        few, one_class = digits(folder)
        trials = [*sick(few, one_class), *(Trial(None, words) for words in HEALTHY)]
        first, step = map(int, args.part.split("/"))
        trials = trials[first - 1 :: step]
        trials = [each for each in trials if re.search(args.only, " ".join(each.words))]
        trials = [each._replace(words=with_seed(each.words, args.seed)) for each in trials]
        kept = {}
        for trial in trials if args.again is not None else ():
            found = stored(trial, args.out)
            if found is not None and not re.search(args.again, found[1]):
                kept[told(trial)] = found
        rows: list[tuple[bool, str]] = []
        for number, trial in enumerate(trials):
            place = folder / f"run{number}"
            rows.append(kept.get(told(trial)) or row(trial, place))
            minutes = 0 if kept else time.process_time() / 60
            args.out.write_text(page(trials, rows, command, minutes, args.note))
            print(f"{number + 1} of {len(trials)}: {rows[-1][1]}", flush=True)


if __name__ == "__main__":
    main()
