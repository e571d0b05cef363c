"""Draw images from generator.onnx with numpy, onnxruntime and Pillow alone, without torch.

python scripts/sample_onnx.py RUN/export/generator.onnx --n 64 --out grid.png [--label 7]
python scripts/sample_onnx.py RUN/export/generator.onnx --text "a red seven on white"
"""

import argparse
import json
import re

import numpy as np
import onnxruntime
from PIL import Image


def inputs(
    session: onnxruntime.InferenceSession, n: int, seed: int, label: int | None, text: str = ""
) -> dict[str, np.ndarray]:
    """The noise (n, latent) of the model's prior, and labels (n,) where the model has classes.

    Captions are (n, L): the numbers of the words of `text` in the vocabulary, and then zeros.
    """
    draw, facts = np.random.default_rng(seed), session.get_modelmeta().custom_metadata_map
    _, *labels = session.get_inputs()
    draws = {
        "uniform": lambda length: draw.uniform(-1, 1, (n, length)),
        "normal": lambda length: draw.standard_normal((n, length)),
        "one-hot": lambda length: np.eye(length)[draw.integers(length, size=n)],
    }
    z = np.concatenate([draws[kind](length) for kind, length in json.loads(facts["noise"])], 1)
    feed: dict[str, np.ndarray] = {"z": z.astype(np.float32)}
    if "words" in facts:
        known = {word: i for i, word in enumerate(json.loads(facts["words"])) if i}
        numbers = [known[word] for word in re.findall(r"[^\W_]+", text.lower())]
        caption = np.zeros(labels[0].shape[1], np.int64)
        caption[: len(numbers)] = numbers
        feed["y"] = np.tile(caption, (n, 1))
    elif labels:
        in_turn = np.arange(n) % int(facts["classes"])
        feed["y"] = in_turn if label is None else np.full(n, label)
    return feed


def grid(images: np.ndarray) -> Image.Image:
    """Images (n, C, H, W) in [-1, 1] as one picture, row by row."""
    pixels = ((images + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    columns = int(np.ceil(np.sqrt(len(pixels))))
    blank = np.zeros((-len(pixels) % columns, *pixels.shape[1:]), np.uint8)
    cells = np.concatenate([pixels, blank]).reshape(-1, columns, *pixels.shape[1:])
    picture = np.concatenate([np.concatenate(list(row), 1) for row in cells])
    return Image.fromarray(picture.squeeze() if pixels.shape[3] == 1 else picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="generator.onnx")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", type=int, help="one class; without it, all in turn")
    parser.add_argument("--text", default="", help="the caption, for a model of captions")
    parser.add_argument("--out", default="grid.png")
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    (images,) = session.run(None, inputs(session, args.n, args.seed, args.label, args.text))
    grid(images).save(args.out)


if __name__ == "__main__":
    main()
