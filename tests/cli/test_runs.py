"""Runs that end well: every preset, commands of the documentation, sweeps, seeds, overlays, strange
places.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from gentrain.protocols import lines
from tests.support.shell import (
    LIMIT,
    SMALL,
    TINY,
    Done,
    assert_fine,
    curves,
    gentrain,
    only_run,
    presets,
    started,
    summary,
)

Run = Callable[..., Done]
BARE = ("gan", "wgan_gp")
KEYS = {
    "status",
    "choices",
    "seed",
    "steps",
    "metrics",
    "directions",
    "plugins",
    "data",
    "best",
    "protocols",
    "protocol_lines",
    "measured_by",
    "verdicts",
    "images_per_second",
    "seconds_per_step",
    "wall_seconds",
    "device",
    "versions",
}
DATA = {  # of presets whose own are not the embedded digits themselves
    "planar": "two_moons",
    "iaf": "two_moons",
    "realnvp_points": "two_moons",
    "pix2pix": "digit_edges",
    "unet": "digit_edges",
    "srgan": "digit_downsampled",
    "srresnet": "digit_downsampled",
    "inpainting": "digit_holes",
    "colorization": "digit_colours",
    "cyclegan": "digit_domains",
    "stargan": "coloured_digits",
    "wavegan": "tones",
    "gan_cls": "captioned_digits",
}
SOUNDS = ("wavegan",)  # which leave a .wav beside each picture
OTHERS = tuple(sorted(presets() - set(BARE)))
# the others are in the slow tests, and every GAN class trains in the matrix
FIRST = ("cgan", "vae")


def assert_complete(run_dir: Path, model: str, pictures: set[str]) -> None:
    """Everything that a run directory promises."""
    end = summary(run_dir)
    assert end.keys() == KEYS
    found = (end["status"], end["steps"], end["choices"]["model"], end["choices"]["data"])
    assert found == ("completed", 2, model, DATA.get(model, "mnist_5k"))
    assert (
        end["images_per_second"] > 0
        and end["wall_seconds"] > 0
        and end["device"].startswith("CPU")
        and end["versions"]["torch"]
    )
    config = yaml.safe_load((run_dir / ".hydra" / "config.yaml").read_text())
    assert (config["steps"], config["seed"]) == (2, end["seed"])
    expected = {"real.png", "final.png", *pictures}
    heard = {name.replace(".png", ".wav") for name in expected if model in SOUNDS}
    assert {file.name for file in (run_dir / "samples").iterdir()} == expected | heard
    for picture in (run_dir / "samples").glob("*.png"):
        Image.open(picture).load()
    assert (run_dir / "checkpoints" / "last.ckpt").stat().st_size > 0
    if end["protocols"]:  # beside metrics.csv, and in the last line
        told = json.loads((run_dir / "protocols.json").read_text())
        assert told == end["protocol_lines"] == lines(end["protocols"])
    assert (
        f"model={model}" in (run_dir / "train.log").read_text()
        and "done: 2 steps" in (run_dir / "train.log").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gan", "wgan_gp"])
def test_a_bare_preset(run: Run, tmp_path: Path, model: str) -> None:
    done = run(f"model={model}", "steps=2", "trainer=cpu")
    assert_fine(done)
    run_dir = only_run(tmp_path)
    assert run_dir.parent == tmp_path / "outputs" / f"{model}-mnist_5k"
    assert_complete(run_dir, model, {"step-000000.png"})
    end = summary(run_dir)
    assert (
        end["best"]["metric"] == "quality/fid_classifier"
        and (run_dir / end["best"]["path"]).exists()
    )
    assert "quality" in end["protocols"] and end["metrics"]["quality/fid_classifier"] > 0
    assert (run_dir / "wandb").is_dir(), "without a key, W&B keeps the run on disk"


@pytest.mark.parametrize(
    "models",
    [FIRST, *(pytest.param(OTHERS[part::3], marks=pytest.mark.slow) for part in range(3))],
    ids=["first", "all-0", "all-1", "all-2"],
)
def test_every_other_preset(tmp_path: Path, env: dict[str, str], models: tuple[str, ...]) -> None:
    """Two families, or all, in processes forked from one that imports torch once."""
    words = [
        "steps=2",
        "samples.every=1",
        "samples.n=9",
        "scheme.log_every=1",
        "sweep.name=all",
        *SMALL,
    ]
    assert_fine(gentrain(tmp_path, env, "-m", f"model={','.join(models)}", *words))
    for number, model in enumerate(models):
        run_dir = tmp_path / "outputs" / "sweeps" / "all" / f"{number:03d}"
        assert_complete(run_dir, model, {f"step-00000{step}.png" for step in range(3)})
        rows = curves(run_dir)
        assert [row["step"] for row in rows if row["images_per_second"]] == ["1", "2"], model
        if "model/gradient_norm" not in rows[0]:  # a GAN
            terms = {
                key.removeprefix(f"{player}/target_").removeprefix(f"{player}/")
                for player in ("critic", "generator")
                for key in rows[0]
            }
            assert (
                "generator/gradient_norm" in rows[0] and {"adversarial", "feature_matching"} & terms
            ), model


COMMANDS = {
    "hinge": (
        ["loss=hinge", "lipschitz=spectral_norm", "tricks=[feature_matching,historical_averaging]"],
        {
            "loss": "hinge",
            "lipschitz": "spectral_norm",
            "tricks": "feature_matching historical_averaging",
        },
        "generator/historical_averaging",
    ),
    "ls": (
        [
            "loss=ls",
            "tricks=[label_smoothing,minibatch_discrimination,virtual_batch_norm]",
            "scheme.critic_steps=2",
        ],
        {
            "loss": "ls",
            "lipschitz": "none",
            "tricks": "label_smoothing minibatch_discrimination virtual_batch_norm",
        },
        "critic/adversarial",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_of_the_documentation(run: Run, tmp_path: Path, name: str) -> None:
    words, chosen, curve = COMMANDS[name]
    assert_fine(run("model=dcgan", *words, "steps=2", *TINY))
    run_dir = only_run(tmp_path)
    assert chosen.items() <= summary(run_dir)["choices"].items()
    assert float(curves(run_dir)[-1][curve]) == pytest.approx(summary(run_dir)["metrics"][curve])


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_multirun_with_a_mistake(run: Run, tmp_path: Path, seeds: int) -> None:
    """The job that cannot be built is named; the others train; the status tells."""
    done = run(
        "-m",
        "model=wgan_gp,sngan",
        f"seed={','.join(map(str, range(seeds)))}",
        "model.critic.norm=none,batch",
        "steps=2",
        "logger=auto",
        "sweep.name=s",
        *TINY[:1],
        *TINY[2:],
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert (
        last.startswith(f"gentrain: error: {seeds} of {4 * seeds} cells of outputs/sweeps/s ")
        and "001" in last
        and "model.critic.norm" in last
    )
    swept = (
        "model=wgan_gp, seed=0, model.critic.norm"
        if seeds > 1
        else "model=wgan_gp, model.critic.norm"
    )
    assert f"cell 001 ({swept}=batch): failed: " in done.stderr
    cells = [tmp_path / "outputs" / "sweeps" / "s" / f"{number:03d}" for number in range(4 * seeds)]
    ended = {cell.name: summary(cell) for cell in cells if (cell / "summary.json").exists()}
    good = ["000", "002", "004", "005", "006", "007"] if seeds > 1 else ["000", "002", "003"]
    assert sorted(ended) == good
    assert all(end["status"] == "completed" for end in ended.values())
    assert [ended[name]["seed"] for name in good] == ([0, 1, 0, 0, 1, 1] if seeds > 1 else [0] * 3)
    assert all(
        len(list((cells[int(name)] / "wandb").glob("offline-run-*"))) == 1 for name in ended
    ), "one W&B run a job"


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        # vae's and maf's, and not the default model's
        ("quality.images=5", "quality.images=choice(5)"),
        ("quality.imagez=5", "quality.imagez=5"),  # nobody's
        ("data.batch_size=5", "data.batch_size=5"),
    ],
)
def test_a_key_that_only_the_jobs_of_a_multirun_have(word: str, becomes: str) -> None:
    from gentrain.cli.compose import register
    from gentrain.cli.multirun import defer_job_keys

    register()
    overrides = ["model=vae,maf", word, "seed=0,1"]
    assert defer_job_keys("train", overrides) == ["model=vae,maf", becomes, "seed=0,1"]


@pytest.mark.slow
def test_31_43_a_strange_place(env: dict[str, str], tmp_path: Path) -> None:
    """Spaces, letters of other alphabets and `=` in the path; no locale, no HOME, no terminal."""
    here = tmp_path / "a b"
    here.mkdir()
    bare = {key: value for key, value in env.items() if key not in ("HOME", "TERM")} | {
        "LC_ALL": "C"
    }
    done = gentrain(here, bare, "hydra.run.dir='zähler 数 x=1'", "steps=2", *TINY[:1], *TINY[2:])
    assert_fine(done)
    assert (
        summary(here / "zähler 数 x=1")["status"] == "completed" and not (here / "outputs").exists()
    )


def test_7_a_drawn_seed_and_two_runs_at_once(env: dict[str, str], tmp_path: Path) -> None:
    words = ("seed=null", "steps=1", "samples.every=0", *TINY)
    with started(tmp_path, env, *words) as one, started(tmp_path, env, *words) as other:
        assert [process.wait(LIMIT) for process in (one, other)] == [0, 0], (
            one.stderr.read() + other.stderr.read()
        )
    configs = list(tmp_path.glob("outputs/wgan_gp-mnist_5k/*/.hydra/config.yaml"))
    seeds = {yaml.safe_load(file.read_text())["seed"] for file in configs}
    assert len(configs) == len(seeds) == 2
    assert seeds == {summary(file.parents[1])["seed"] for file in configs}


def test_overlays(run_light: Run, tmp_path: Path) -> None:
    overlay = tmp_path / "mine" / "experiment"
    overlay.mkdir(parents=True)
    (overlay / "short_sngan.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: sngan\nsteps: 7\n"
    )
    for word in ("experiment=short_sngan", "+experiment=short_sngan"):
        done = run_light("--config-dir", "mine", word, "--cfg", "job")
        assert done.returncode == 0 and "steps: 7" in done.stdout, done.stderr


def test_an_overlay_trains(run: Run, tmp_path: Path) -> None:
    overlay = tmp_path / "mine" / "experiment"
    overlay.mkdir(parents=True)
    (overlay / "short_sngan.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: sngan\nsteps: 1\n"
    )
    assert_fine(run("--config-dir", os.path.join(".", "mine"), "+experiment=short_sngan", *TINY))
    end = summary(only_run(tmp_path))
    assert (end["steps"], end["choices"]["model"], end["choices"]["experiment"]) == (
        1,
        "sngan",
        "short_sngan",
    )
