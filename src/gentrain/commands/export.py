"""gentrain export run=PATH: the generator of a finished run for other programs.

generator.safetensors and config.json hold all that `open_exported` needs to build it again; generator.onnx needs nothing of gentrain
(scripts/sample_onnx.py). The ONNX file is run before it takes its name: batches of several sizes must agree with the generator.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import remove_if_empty
from gentrain.config.build import build
from gentrain.config.validate import checked
from gentrain.errors import Unavailable, UserError
from gentrain.files import report_disk_errors, temporary
from gentrain.runs import directory
from gentrain.runs.reopen import reopen

TOLERANCE = 1e-4  # of pixels in [-1, 1], between ONNX and the generator
SIZES = (1, 2, 7)  # of the batches that are compared; the file is traced with another one
TRACED = 3
OPSET = 17


class Drawing(nn.Module):
    """A game's generator as a function of tensors alone: z, or z and y, to images (B, C, H, W) in [-1, 1]."""

    def __init__(self, game: Any, generator: nn.Module) -> None:
        super().__init__()
        self.generate, self.generator = (
            game.generate,
            generator,
        )  # the game itself keeps more than tensors

    def forward(self, z: Tensor, *y: Tensor) -> Tensor:
        return self.generate(self.generator, (z, *y), z)


def export(config: dict[str, Any]) -> Path:
    """Write what conf/export.yaml says; the directory. Raises UserError without the extra `export`, and where there is no run."""
    for package in ("safetensors", *(("onnx", "onnxruntime") if config["onnx"] else ())):
        if find_spec(package) is None:
            raise UserError(f"{package} is not installed (onnx); pip install 'gentrain[export]'")
    from safetensors.torch import save

    run_dir = Path(config["run"])
    out = Path(config["out"]) if config["out"] else run_dir / "export"
    opened = reopen(run_dir, config["checkpoint"].name)
    studio = SampleSession(opened, config["averaged"])
    if studio.prior is None:
        raise UserError(
            "this model has no noise that its images are a function of (run); give a run of a generator"
        )
    if config["onnx"] and getattr(studio.game, "sequential", False):
        raise UserError(
            "this model draws one value after the other, which is no graph of a single pass (onnx); give onnx=false"
        )
    drawing, about = (
        Drawing(studio.game, studio.generator).eval(),
        description(studio, config),
    )
    with report_disk_errors(out, "out"):
        part = temporary(out / "export")
        part.mkdir(parents=True)
        try:
            weights = {
                name: value.detach().contiguous().clone()
                for name, value in studio.generator.state_dict().items()
                if torch.is_tensor(value)
            }
            (part / "generator.safetensors").write_bytes(save(weights, {"format": "pt"}))
            (part / "config.json").write_text(json.dumps(about, indent=2, default=str) + "\n")
            agreement = ""
            if config["onnx"]:
                write_onnx(drawing, studio, about, part / "generator.onnx")
                agreement = (
                    f"; ONNX within {agree(drawing, studio, part / 'generator.onnx'):.1e} of it"
                )
            for file in sorted(part.iterdir()):
                os.replace(file, out / file.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            remove_if_empty(out)
    count = sum(p.numel() for p in studio.generator.parameters())
    print(
        f"{run_dir} at step {opened.step}: generator of {count:,} parameters in {out}{agreement}"
    )
    return out


def description(
    studio: SampleSession, config: dict[str, Any]
) -> dict[str, Any]:
    """config.json: what is needed to build and to feed the generator, and where it comes from."""
    return {
        "format": "gentrain generator 1",
        "model": studio.run.config["model"],
        "latent": studio.noise(1).shape[1],
        "prior": studio.prior,
        "shape": list(studio.data.shape),
        "range": [-1, 1],
        "classes": studio.data.classes if studio.classes is not None else None,
        "run": str(Path(config["run"]).resolve()),
        "choices": studio.run.choices,
        "step": studio.run.step,
        "averaged": studio.averaged,
        "versions": directory.versions(),
    }


def inputs(studio: SampleSession, n: int) -> tuple[Tensor, ...]:
    """Noise, and labels where there are."""
    z, y = studio.noise(n), studio.labels(n)
    return (z,) if y is None else (z, y)


def write_onnx(drawing: Drawing, studio: SampleSession, about: dict[str, Any], path: Path) -> None:
    import onnx

    example = inputs(studio, TRACED)
    names = ["z", "y"][: len(example)]
    axes = {name: {0: "batch"} for name in (*names, "images")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # this exporter needs nothing but torch; the newer one wants two packages more
            torch.onnx.export(
                drawing,
                example,
                path,
                input_names=names,
                output_names=["images"],
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, ValueError) as error:
        raise Unavailable(
            f"this generator does not go into ONNX: {one_line(error)} (onnx); give onnx=false"
        ) from error
    model = onnx.load(path)
    facts = {name: str(about[name]) for name in ("prior", "classes") if about[name] is not None}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def agree(drawing: Drawing, studio: SampleSession, path: Path) -> float:
    """The largest difference of a pixel over batches of several sizes. Raises Unavailable where it is above the tolerance."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it has to say of a wrong shape comes as an exception, too
    session, worst = (
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]),
        0.0,
    )
    for n in SIZES:
        given = inputs(studio, n)
        with torch.no_grad():
            wanted = drawing(*given)
        try:
            (found,) = session.run(
                None,
                {
                    node.name: tensor.numpy()
                    for node, tensor in zip(session.get_inputs(), given, strict=True)
                },
            )
        except Exception as error:  # onnxruntime's own classes
            raise Unavailable(
                f"ONNX does not run on a batch of {n}: {one_line(error)} (onnx); give onnx=false"
            ) from error
        if found.shape != tuple(wanted.shape):
            raise Unavailable(
                f"ONNX gives {found.shape} for a batch of {n}, not {tuple(wanted.shape)} (onnx); give onnx=false"
            )
        worst = max(worst, float((torch.from_numpy(found) - wanted).abs().max()))
    if not worst <= TOLERANCE:
        raise Unavailable(
            f"ONNX differs from the generator by {worst:.2g}, more than {TOLERANCE:g} (onnx); give onnx=false"
        )
    return worst


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def open_exported(folder: Path) -> tuple[Any, nn.Module]:
    """(game, generator) from generator.safetensors and config.json alone: `game.generate(generator, batch, noise)` draws."""
    from safetensors.torch import load_file

    about = json.loads((folder / "config.json").read_text())
    game = build(checked(about["model"], "model"), "model")
    game.generator.load_state_dict(load_file(folder / "generator.safetensors"))
    return game, game.generator.eval()
