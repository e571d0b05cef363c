"""Several processes, half precision, and a GPU where there is one: through the command, as a user
runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from gentrain.layers import precision
from gentrain.runs.directory import CONFIG
from gentrain.training.devices import settle_precision
from tests.support.paths import ROOT
from tests.support.shell import Done, curves, plain, python

NARROW = ("model.generator.width=8", "model.critic.width=8")
SMALL = ("data.batch_size=8", "samples.n=4", "quality=none", "logger=csv")
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def run(directory: Path, *overrides: str, status: int = 0, **env: str) -> Done:
    """The program with a probe, for small runs on images."""
    words = [
        *(() if any(word.startswith("data=") for word in overrides) else ("data=mnist_5k",)),
        *SMALL,
        *(NARROW if network(overrides) else ()),
        *overrides,
    ]
    return probed(directory, *words, status=status, **env)


def probed(directory: Path, *words: str, status: int = 0, **env: str) -> Done:
    """The program with a probe. Processes that a run starts itself are cold."""
    own = plain() | {"PYTHONPATH": str(ROOT)} | env
    cold = "trainer=gpu" in words  # a device would not survive a fork
    command = ("-m", "tests.support.probe", *words, f"hydra.run.dir={directory}")
    done = python(ROOT, own, *command, cold=cold)
    assert done.returncode == status, done.stderr[-4000:]
    return done


def network(overrides: tuple[str, ...]) -> bool:
    """Are the players one network each, of a width?"""
    own = {
        f"model={name}"
        for name in ("cgan", "vae", "rbm", "cyclegan", "stargan", "unet", "srresnet")
    }
    return not own & set(overrides)


def rank(directory: Path, number: int = 0) -> dict[str, Any]:
    return torch.load(directory / f"rank-{number}.pt", weights_only=True)


def weights(end: dict[str, Any]) -> list[str]:
    """All but the running statistics: they are each process's own, rank zero's are the ones that
    sample and are saved.
    """
    return [name for name in end["model"] if ".running_" not in name]


def assert_ranks_equal(directory: Path) -> None:
    """Weights bit by bit, of images and random numbers that are each process's own."""
    one, other = rank(directory, 0), rank(directory, 1)
    for name in weights(one):
        same = torch.equal(one["model"][name], other["model"][name])
        # Markov chains and old fakes are each process's own
        assert same or name.endswith("chains") or ".pools." in name, name
    assert not set(one["images"]) & set(other["images"])
    assert not set(one["random"]) & set(other["random"])


def checkpoint(directory: Path) -> dict[str, Any]:
    return torch.load(
        directory / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu"
    )


def assert_same_run(
    one: Path, other: Path, processes: int, steps: int = 0, batches: int = 0
) -> None:
    """The second run is the first from a step, and that step's first batch, on."""
    for number in range(processes):
        a, b = rank(one, number), rank(other, number)
        for name in weights(a):
            assert torch.equal(a["model"][name], b["model"][name]), name
        assert a["images"][batches:] == b["images"]
        assert a["random"][steps:] == b["random"]


# --- two processes --------------------------------------------------------------------------------


SHORT = ("data.length=1024", "data.notes=[67,76]", "data.classes=8", "data.n=40")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("model=wgan_gp",), ("model=wavegan", "data=tones", *SHORT)], ids=["images", "sounds"]
)
def test_two_processes_stay_equal_and_resume_exactly(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """k:1 steps with a gradient penalty; a run resumed after its third step equals, in both
    processes, the one that was not stopped.
    """
    options = (
        *words,
        *TWO,
        "scheme.critic_steps=2",
        "checkpoint.every=0",
        "samples.every=0",
    )
    run(tmp_path / "whole", *options, "steps=4")
    assert_ranks_equal(tmp_path / "whole")
    run(tmp_path / "parts", *options, "steps=3")
    assert len(checkpoint(tmp_path / "parts")["rng"]) == 2
    run(tmp_path / "parts", *options, "steps=4", "resume=auto")
    assert_same_run(tmp_path / "whole", tmp_path / "parts", processes=2, steps=3, batches=6)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    """Two, then one, then two; each step once."""
    options = ("model=dcgan", "checkpoint.every=0", "samples.every=0", "scheme.log_every=1")
    for steps, devices in ((2, TWO), (4, ("trainer=cpu",)), (6, TWO)):
        more = ("resume=auto",) if steps > 2 else ()
        run(tmp_path / "run", *options, *devices, f"steps={steps}", *more)
        assert checkpoint(tmp_path / "run")["global_step"] == steps
    assert [int(row["step"]) for row in curves(tmp_path / "run")] == list(range(1, 7))


@pytest.mark.slow
def test_markov_chains_of_two_processes_differ_and_resume_exactly(tmp_path: Path) -> None:
    options = ("model=rbm", "schedule=constant", *TWO, "checkpoint.every=0", "samples.every=0")
    run(tmp_path / "whole", *options, "steps=4")
    assert_ranks_equal(tmp_path / "whole")
    assert not torch.equal(
        *(rank(tmp_path / "whole", number)["model"]["chains"] for number in (0, 1))
    )
    run(tmp_path / "parts", *options, "steps=3")
    run(tmp_path / "parts", *options, "steps=4", "resume=auto")
    assert_same_run(tmp_path / "whole", tmp_path / "parts", processes=2, steps=3, batches=3)


TRANSLATIONS = {
    "pix2pix": ("data=digit_edges", "data.flip=true", "data.jitter=4", "model.critic.depth=1"),
    "colorization": ("data=digit_colours", "model.critic.depth=1"),
    "inpainting": ("data=digit_holes", "model.generator.bottleneck=16"),
    "srgan": ("data=digit_downsampled", "model.generator.blocks=1"),
    "srresnet": ("data=digit_downsampled", "model.network.width=8", "model.network.blocks=1"),
    "unet": ("data=digit_edges", "model.network.width=8"),
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", TRANSLATIONS)
def test_translations_of_two_processes_resume_exactly(preset: str, tmp_path: Path) -> None:
    """Noise inside of networks, holes and crops included."""
    options = (
        f"model={preset}",
        *TRANSLATIONS[preset],
        *TWO,
        "checkpoint.every=0",
        "samples.every=0",
        "callbacks.paired.images=10",
    )
    run(tmp_path / "whole", *options, "steps=4")
    assert_ranks_equal(tmp_path / "whole")
    run(tmp_path / "parts", *options, "steps=3")
    run(tmp_path / "parts", *options, "steps=4", "resume=auto")
    assert_same_run(tmp_path / "whole", tmp_path / "parts", processes=2, steps=3, batches=3)


TRANSLATORS = (
    "model.generator.width=4",
    "model.generator.blocks=1",
    "model.critic.width=4",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ("model=cyclegan", "data=digit_domains"),
        ("model=stargan", "data=coloured_digits", "scheme.critic_steps=2"),
    ],
)
def test_translations_of_two_processes_stay_equal_and_resume_exactly(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """A pool a process, in its own checkpointed state; the run resumed with pools that are not full
    is the one that was not stopped.
    """
    options = (
        *model,
        *TRANSLATORS,
        *TWO,
        "schedule=constant",
        "checkpoint.every=0",
        "samples.every=0",
    )
    run(tmp_path / "whole", *options, "steps=6")
    assert_ranks_equal(tmp_path / "whole")
    run(tmp_path / "parts", *options, "steps=3")
    run(tmp_path / "parts", *options, "steps=6", "resume=auto")
    k = 1 + ("scheme.critic_steps=2" in model)
    assert_same_run(tmp_path / "whole", tmp_path / "parts", processes=2, steps=3, batches=3 * k)


@pytest.mark.slow
def test_batch_norm_in_the_critic_of_two_processes(tmp_path: Path) -> None:
    """Two forwards before one backward."""
    done = run(tmp_path, "model=dcgan", *TWO, "steps=3", "scheme.critic_steps=2")
    assert_ranks_equal(tmp_path)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("model=sngan",),
        ("model=wgan_gp", "compile=true"),
        ("model=r3gan",),
        ("model=semi_supervised_gan", "data.labelled=40"),
        ("model=cgan",),
        ("model=vae",),
        ("model=rbm",),
        ("model=wgan_gp", "trainer.precision=bf16-mixed"),
        ("model=progan", "model.growth.fade=32", "model.growth.stable=16"),
    ],
    ids=lambda options: " ".join(options),
)
def test_other_games_of_two_processes(options: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path, *options, *TWO, "steps=2")
    assert_ranks_equal(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_of_eight_are_one_of_sixteen(tmp_path: Path, accumulate: int) -> None:
    """The mean of the processes' gradients is the gradient of the joint batch, for networks that do
    not mix its samples.
    """
    descent = (
        "optimizer=sgd",
        "scheme.optimizers.critic.lr=1e-2",
        "scheme.optimizers.generator.lr=1e-2",
    )
    game = (
        "model=dcgan",
        "network=mlp",
        "loss=wasserstein",
        "lipschitz=gp",
        *descent,
        "scheme.critic_steps=2",
        f"scheme.accumulate={accumulate}",
        "steps=3",
    )
    run(tmp_path / "two", *game, *TWO, PROBE_JOINT="1")
    run(tmp_path / "one", *game, "trainer=cpu", "data.batch_size=16", PROBE_JOINT="1")
    two, one = rank(tmp_path / "two")["model"], rank(tmp_path / "one")["model"]
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)


# --- half precision -------------------------------------------------------------------------------


def test_bf16_on_a_cpu_trains_both_players(tmp_path: Path) -> None:
    for steps in (1, 3):
        run(
            tmp_path / str(steps),
            "model=wgan_gp",
            "trainer=cpu",
            "trainer.precision=bf16-mixed",
            f"steps={steps}",
            "scheme.critic_steps=2",
        )
    early, late = rank(tmp_path / "1"), rank(tmp_path / "3")
    changed = {
        name.split(".")[0]
        for name in early["parameters"]
        if not torch.equal(early["model"][name], late["model"][name])
    }
    assert changed == {"generator", "critic"}
    assert all(
        tensor.isfinite().all() and tensor.dtype != torch.bfloat16
        for tensor in late["model"].values()
    )


def test_fp16_on_a_cpu_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "trainer=cpu", "trainer.precision=16-mixed", "steps=1", status=2)
    assert "trainer.precision" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("accelerator", "cuda", "sets", "chosen"),
    [
        ("auto", None, {"avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ("cpu", None, {"amx_bf16": True}, "bf16-mixed"),
        ("cpu", None, {"avx512_bf16": False, "avx512_f": True, "bf16": True}, "32-true"),
        ("auto", None, {}, "32-true"),  # a torch that does not say
        ("gpu", None, {"avx512_bf16": True}, "32-true"),  # there is none, and that is refused later
        ("auto", True, {}, "bf16-mixed"),
        ("gpu", False, {"avx512_bf16": True}, "32-true"),  # it would emulate bfloat16
        ("cpu", True, {}, "32-true"),
    ],
)
def test_precision_is_chosen_by_the_device(
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    cuda: bool | None,
    sets: dict[str, bool],
    chosen: str,
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or bool(cuda)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(precision, "cpu_capabilities", lambda: sets)
    assert precision.fast_precision(accelerator) == chosen
    node = {"accelerator": accelerator, "precision": "auto"}
    settle_precision(node)
    assert node["precision"] == chosen


def test_a_torch_that_does_not_say_what_the_cpu_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert precision.cpu_capabilities() == {}


def test_the_chosen_precision_is_recorded_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the configuration, and as a word, so that processes of DDP do not choose again."""
    from gentrain.cli.compose import choose_precision, keep_settings
    from gentrain.runs.directory import settings_kept

    def command(asked: str) -> DictConfig:
        task = ["model=gan", f"trainer.precision={asked}"]
        node = {"accelerator": "auto", "precision": asked}
        return OmegaConf.create({"trainer": node, "hydra": {"overrides": {"task": task}}})

    (tmp_path / CONFIG).parent.mkdir()
    monkeypatch.setattr(precision, "fast_precision", lambda accelerator: "bf16-mixed")
    for asked, before, kept in (
        ("auto", None, "bf16-mixed"),
        ("auto", "32-true", "32-true"),
        ("64-true", "32-true", "64-true"),
    ):
        cfg = command(asked)
        saved = {"model": {}, "trainer": {"precision": before}}
        OmegaConf.save(saved, tmp_path / CONFIG)
        if before:
            node = OmegaConf.to_container(cfg.trainer)
            keep_settings(cfg, settings_kept(tmp_path, {"trainer": node}, {"trainer.precision"}))
        choose_precision(cfg)
        assert cfg.trainer.precision == kept
        assert cfg.hydra.overrides.task == ["model=gan", f"trainer.precision={kept}"]


# --- a GPU ----------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("compile", ["false", "true"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_gpu_trains_in_every_precision(precision: str, compile: str, tmp_path: Path) -> None:
    run(
        tmp_path,
        "model=wgan_gp",
        "trainer=gpu",
        f"trainer.precision={precision}",
        f"compile={compile}",
        "steps=20",
        "scheme.critic_steps=5",
    )
    end = rank(tmp_path)
    assert all(tensor.isfinite().all() for tensor in end["model"].values())
    assert end["latest"]["critic/gradient_penalty"] > 0
    saved = checkpoint(tmp_path)
    assert saved["global_step"] == 20
    assert "cuda" in saved["rng"][0]


@pytest.mark.gpu
def test_the_scale_of_fp16_moves_and_is_saved(tmp_path: Path) -> None:
    """It starts at 2^16 and is halved when a gradient overflows, doubled after 2000 steps of either
    player without one.
    """
    run(
        tmp_path,
        "model=wgan_gp",
        "network=mlp",
        "trainer=gpu",
        "trainer.precision=16-mixed",
        "steps=450",
        "scheme.critic_steps=4",
    )
    scaler = checkpoint(tmp_path)["MixedPrecision"]
    assert scaler["scale"] != 2.0**16
    assert scaler["growth_interval"] == 2000


@pytest.mark.gpu
def test_a_resumed_fp16_run_equals_the_uninterrupted(tmp_path: Path) -> None:
    options = (
        "model=wgan_gp",
        "network=mlp",
        "trainer=gpu",
        "trainer.precision=16-mixed",
        "scheme.critic_steps=2",
        "checkpoint.every=0",
        "samples.every=0",
    )
    run(tmp_path / "whole", *options, "steps=6")
    run(tmp_path / "parts", *options, "steps=4")
    run(tmp_path / "parts", *options, "steps=6", "resume=auto")
    whole, parts = rank(tmp_path / "whole"), rank(tmp_path / "parts")
    for name, tensor in whole["model"].items():
        torch.testing.assert_close(parts["model"][name], tensor, rtol=1e-4, atol=1e-5)
    assert (
        checkpoint(tmp_path / "whole")["MixedPrecision"]
        == checkpoint(tmp_path / "parts")["MixedPrecision"]
    )


@pytest.mark.gpu
def test_the_data_live_on_the_gpu() -> None:
    from gentrain.data.arrays import ArrayDataset
    from gentrain.data.batches import Batches, BatchSampler

    samples = ArrayDataset(
        torch.zeros(64, 1, 28, 28, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64)
    )
    batches = Batches(samples, BatchSampler(64, 8, 0), "cuda")
    images, labels = next(iter(batches))
    assert batches.samples.images.is_cuda
    assert images.is_cuda
    assert labels.is_cuda


@pytest.mark.gpu
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_gpu_computes_the_penalty_of_the_cpu(norm: str) -> None:
    from gentrain.adversarial.lipschitz import GradientPenalty
    from gentrain.networks import dcgan

    critic, penalty = dcgan.Critic([1, 28, 28], 16, norm), GradientPenalty(points="both")
    real, fake = torch.rand(2, 16, 1, 28, 28)
    found = []
    for device in ("cpu", "cuda"):
        critic.to(device)
        value = penalty.critic_term(critic, real.to(device), fake.to(device))
        assert value is not None
        grads = torch.autograd.grad(value, list(critic.parameters()), allow_unused=True)
        found.append([value.cpu(), *(g.cpu() for g in grads if g is not None)])
    for cpu, gpu in zip(*found, strict=True):
        # cuDNN's convolutions use TF32
        torch.testing.assert_close(gpu, cpu, rtol=5e-3, atol=1e-4 * float(cpu.abs().max()) + 1e-6)
