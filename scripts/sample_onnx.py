"""Images from generator.onnx alone: numpy, onnxruntime and Pillow, no torch.

python scripts/sample_onnx.py RUN/export/generator.onnx --n 64 --out grid.png [--label 7]
"""

import argparse

import numpy as np
import onnxruntime
from PIL import Image

options = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
options.add_argument("model")
options.add_argument("--n", type=int, default=64)
options.add_argument("--seed", type=int, default=0)
options.add_argument("--label", type=int, help="one class; all in turn where the model has labels")
options.add_argument("--out", default="grid.png")
args = options.parse_args()

session, draw = (
    onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"]),
    np.random.default_rng(args.seed),
)
facts, (noise, *labelled) = session.get_modelmeta().custom_metadata_map, session.get_inputs()
shape = (args.n, noise.shape[1])
feed = {
    "z": (
        draw.uniform(-1, 1, shape) if facts["prior"] == "uniform" else draw.standard_normal(shape)
    ).astype(np.float32)
}
if labelled:
    feed["y"] = (
        np.arange(args.n) % int(facts["classes"])
        if args.label is None
        else np.full(args.n, args.label)
    )
(images,) = session.run(None, feed)  # (n, C, H, W) in [-1, 1]

pixels = ((images + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
columns = int(np.ceil(np.sqrt(args.n)))
padded = np.concatenate([pixels, np.zeros((-args.n % columns, *pixels.shape[1:]), np.uint8)])
rows = [np.concatenate(list(row), 1) for row in padded.reshape(-1, columns, *pixels.shape[1:])]
Image.fromarray(
    np.concatenate(rows).squeeze() if pixels.shape[3] == 1 else np.concatenate(rows)
).save(args.out)
