"""gentrain export run=PATH: the generator of a finished run, for other programs.

`open_exported` builds the generator again from generator.safetensors and config.json.
generator.onnx needs nothing of gentrain (see scripts/sample_onnx.py). The ONNX file is run before
it takes its name: batches of several sizes must agree with the generator.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gentrain.capability import supports
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import remove_if_empty
from gentrain.config.build import build
from gentrain.config.validate import checked
from gentrain.errors import Unavailable, UserError
from gentrain.files import report_disk_errors, temporary, to_json
from gentrain.models.base import DrawsPixels, HasCodes
from gentrain.patience import say_if_slow
from gentrain.runs import directory
from gentrain.runs.reopen import reopen
from gentrain.runs.tensors import read_tensors, refuse_missing_safetensors, write_tensors

TOLERANCE = 1e-4  # of pixels in [-1, 1], between ONNX and the generator
SIZES = (1, 2, 7)  # of the batches that are compared; the file is traced with another size
TRACED = 3
OPSET = 17


class ExportedGenerator(nn.Module):
    """A generator as a function of tensors alone.

    Args:
        model: the model, which knows how its generator is called.
        generator: the generator, or its average.
    """

    def __init__(self, model: Any, generator: nn.Module) -> None:
        super().__init__()
        # the model itself would be a submodule, with more than the generator's weights
        self.generate, self.generator = model.generate, generator
        self.register_state_dict_post_hook(keep_tensors)

    def forward(self, z: Tensor, *y: Tensor) -> Tensor:
        """Noise (B, latent), and labels (B,) if any, to images (B, C, H, W) in [-1, 1]."""
        return self.generate(self.generator, (z, *y), z)


def keep_tensors(module: nn.Module, state: dict[str, Any], *_: Any) -> None:
    """Take numbers out of a state, such as a growing network's level: the tracer reads none."""
    for name in [name for name, value in state.items() if not isinstance(value, Tensor)]:
        del state[name]


def export(config: dict[str, Any]) -> Path:
    """Write the generator of a finished run.

    Args:
        config: the keys of conf/export.yaml.

    Returns:
        The directory of what was written.

    Raises:
        UserError: without the extra `export`, without a run, and for a model without noise.
        Unavailable: where ONNX cannot express the generator.
    """
    refuse_missing_packages(config["onnx"])
    run_dir = Path(config["run"])
    out = Path(config["out"]) if config["out"] else run_dir / "export"
    with say_if_slow(f"opening {run_dir}"):
        session = SampleSession(reopen(run_dir, config["checkpoint"].name), config["averaged"])
    refuse_unfit(session, config["onnx"])
    if supports(session.model, DrawsPixels):
        session.model.mean = True  # draws are no function of noise and labels
    with report_disk_errors(out, "out"):
        part = temporary(out / "export")
        part.mkdir(parents=True)
        try:
            with say_if_slow("writing the generator" + (", and as ONNX" if config["onnx"] else "")):
                difference = write_files(session, config["onnx"], part)
            for file in sorted(part.iterdir()):
                os.replace(file, out / file.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            remove_if_empty(out)
    count = sum(p.numel() for p in session.generator.parameters())
    agreement = "" if difference is None else f"; ONNX within {difference:.1e} of it"
    print(
        f"{run_dir} at step {session.run.step}: generator of {count:,} parameters in "
        f"{out}{agreement}"
    )
    return out


def refuse_missing_packages(onnx: bool) -> None:
    """Refuse an installation without the extra `export`."""
    refuse_missing_safetensors("onnx")
    for package in ("onnx", "onnxruntime") if onnx else ():
        if find_spec(package) is None:
            raise UserError(f"{package} is not installed (onnx); pip install 'gentrain[export]'")


def refuse_unfit(session: SampleSession, onnx: bool) -> None:
    """Refuse a model whose samples are not a function of noise, or take many passes."""
    if session.prior is None:
        raise UserError(
            "the images of this model are not a function of noise (run); give a run of a generator"
        )
    if onnx and session.model.sequential:
        raise UserError(
            "this model draws one value after the other, which is no graph of a single pass "
            "(onnx); give onnx=false"
        )


def write_files(session: SampleSession, onnx: bool, folder: Path) -> float | None:
    """Write all files of an export; returns how far ONNX is from the generator."""
    about = description(session)
    write_tensors(folder / "generator.safetensors", session.generator.state_dict())
    (folder / "config.json").write_text(to_json(about, indent=2) + "\n", "utf-8")
    if not onnx:
        return None
    exported = ExportedGenerator(session.model, session.generator).eval()
    traced = ExportedGenerator(session.model, with_plain_weights(session.generator)).eval()
    write_onnx(traced, session, about, folder / "generator.onnx")
    return largest_difference(exported, session, folder / "generator.onnx")


def with_plain_weights(generator: nn.Module) -> nn.Module:
    """A copy whose weights are numbers, where they are computed of others (spectral norm).

    ONNX cannot express all of these computations, and at rest their results do not change.
    """
    copied = copy.deepcopy(generator).eval()
    for module in [m for m in copied.modules() if parametrize.is_parametrized(m)]:
        names: Any = module.parametrizations
        found = {name: getattr(module, name).detach().clone() for name in names}
        # `remove_parametrizations` would change the class, which the original has as well
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
        for name, value in found.items():
            module.register_parameter(name, nn.Parameter(value))
    return copied


def description(session: SampleSession) -> dict[str, Any]:
    """What config.json says: how to build and to feed the generator, and where it is from."""
    run = session.run
    means = {"mean": True} if supports(session.model, DrawsPixels) else {}
    return {
        "format": "gentrain generator 1",
        "model": run.config["model"] | means,
        "latent": session.noise(1).shape[1],
        "prior": session.prior,
        "noise": noise_parts(session),
        "shape": list(session.data.shape),
        "range": [-1, 1],
        "classes": session.data.classes if session.model.labelled else None,
        "class_names": session.class_names if session.model.labelled else [],
        "run": str(run.run_dir.resolve()),
        "choices": run.choices,
        "step": run.step,
        "averaged": session.averaged,
        **session.model.sample_protocol(),
        "versions": directory.versions(),
    }


def noise_parts(session: SampleSession) -> list[tuple[str, int]]:
    """What the noise consists of, in order, and how long each part is."""
    if supports(session.model, HasCodes):
        return session.model.noise_parts
    assert session.prior is not None
    return [(session.prior, session.noise(1).shape[1])]


def inputs(session: SampleSession, n: int) -> tuple[Tensor, ...]:
    """Noise (n, latent), and labels (n,) where there are any."""
    z, y = session.noise(n), session.labels(n)
    return (z,) if y is None else (z, y)


def write_onnx(
    exported: ExportedGenerator, session: SampleSession, about: dict[str, Any], path: Path
) -> None:
    """Trace the generator into an ONNX file whose batch size is free.

    Raises:
        Unavailable: where ONNX cannot express it.
    """
    import onnx

    example = inputs(session, TRACED)
    names = ["z", "y"][: len(example)]
    axes = {name: {0: "batch"} for name in (*names, "images")}
    try:
        with warnings.catch_warnings():
            # this exporter needs nothing but torch; the newer one needs two more packages
            warnings.simplefilter("ignore")
            torch.onnx.export(
                exported,
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
    facts["noise"] = to_json(about["noise"])
    if not session.data.label_kind.listed and session.model.labelled:
        facts["words"] = to_json(about["class_names"])  # the vocabulary of captions
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def largest_difference(exported: ExportedGenerator, session: SampleSession, path: Path) -> float:
    """The largest difference of a pixel between ONNX and the generator, over several batches.

    Raises:
        Unavailable: where ONNX cannot run a batch, or differs by more than `TOLERANCE`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it reports of a wrong shape comes as an exception, too
    runtime = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for n in SIZES:
        given = inputs(session, n)
        with torch.no_grad():
            expected = exported(*given)
        found = run_onnx(runtime, given, n)
        if found.shape != expected.shape:
            raise Unavailable(
                f"ONNX gives {tuple(found.shape)} for a batch of {n}, not "
                f"{tuple(expected.shape)} (onnx); give onnx=false"
            )
        worst = max(worst, float((found - expected).abs().max()))
    if not worst <= TOLERANCE:
        raise Unavailable(
            f"ONNX differs from the generator by {worst:.2g}, more than {TOLERANCE:g} (onnx); "
            "give onnx=false"
        )
    return worst


def run_onnx(runtime: Any, given: tuple[Tensor, ...], n: int) -> Tensor:
    """The images that ONNX makes of a batch."""
    feed = {
        node.name: tensor.numpy() for node, tensor in zip(runtime.get_inputs(), given, strict=True)
    }
    try:
        (images,) = runtime.run(None, feed)
    except Exception as error:  # onnxruntime has its own classes
        raise Unavailable(
            f"ONNX does not run on a batch of {n}: {one_line(error)} (onnx); give onnx=false"
        ) from error
    return torch.from_numpy(images)


def one_line(error: Exception) -> str:
    """The first 200 characters of an error, in one line."""
    return " ".join(str(error).split())[:200]


def open_exported(folder: Path) -> tuple[Any, nn.Module]:
    """Build a generator again from generator.safetensors and config.json.

    Returns:
        (model, generator); `model.generate(generator, batch, noise)` draws images.
    """
    about = json.loads((folder / "config.json").read_text("utf-8"))
    model = build(checked(about["model"], "model"), "model")
    model.generator.load_state_dict(read_tensors(folder / "generator.safetensors"))
    return model, model.generator.eval()
