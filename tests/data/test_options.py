"""Every option of every data set changes what it gives, or is refused.

Each key of each file of conf/data gets other values, of its type or of the table below. Then the
splits, the batches, the names or the units must differ, or the value is refused in one line. What
decides only how fast or where from, `SPEED`, must leave the batches as they are.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import re
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from gentrain.commands.check.equality import difference
from gentrain.data.mnist_5k import MNIST5k
from gentrain.errors import UserError
from gentrain.runs import resolvers
from tests.contracts.test_training_options import options, others
from tests.data.test_contract import CONFIGS
from tests.support.data_files import idx
from tests.support.paths import CONF

# how fast batches come, and where files lie: nothing of them changes a batch
SPEED = {"workers": ["0"], "resident": ["true"], "cache": ["CACHE"]}
# read elsewhere: the name in messages and records; the addresses of a download
ELSEWHERE = {"name", "mirrors"}
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 10, 16, 3), dtype=np.uint8)
PIXELS[:, 0, 0] = 255
ATTRIBUTES = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"]


def pictures(folder: Path, rows: range, classes: int = 0) -> Path:
    """One of them is broken, and is in no split but the training's."""
    for n in rows:
        place = folder / f"class{n % classes}" if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[n]).save(place / f"{n:03d}.png")
    return folder


def broken(folder: Path) -> Path:
    (folder / "999.png").write_bytes(b"no picture")
    return folder


def texts(folder: Path) -> Path:
    for path in folder.glob("*.png"):
        words = f"picture {['two', 'four', 'six'][int(path.stem) % 3]} of some {path.stem}"
        path.with_suffix(".txt").write_text(words + "\n")
    return folder


def real_digits(folder: Path, rows: range) -> None:
    """Files of MNIST's form with digits, of which some rules need more than noise."""
    folder.mkdir()
    images, labels, _ = embedded().load("train")
    assert labels is not None
    for stem, start in (("train", 0), ("t10k", 60)):
        some = torch.arange(rows.start + start, rows.stop + start) * 37 % len(images)
        idx_of(folder, stem, images[some, 0].numpy(), labels[some].numpy())


@cache
def embedded() -> MNIST5k:
    return MNIST5k(name="mnist_5k", shape=(1, 28, 28), classes=10)


def idx_of(folder: Path, stem: str, images: np.ndarray, labels: np.ndarray) -> None:
    (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
    (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))


def shard(path: Path, rows: range, first: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for n in rows:
            out = io.BytesIO()
            Image.fromarray(PIXELS[n]).save(out, "png")
            picture = first if first and n == rows.start else out.getvalue()
            files = {"png": picture, "cls": b"%d" % (n % 3), "txt": b"%d" % (n % 2)}
            for ending, content in files.items():
                about = tarfile.TarInfo(f"{n:06d}.{ending}")
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
    return path.parent


def attribute_table(path: Path, shift: int) -> Path:
    lines = ["61", " ".join([*ATTRIBUTES, "Gray_Hair"])]
    for n in (*range(60), 999):
        m = n + shift
        has = [
            "1" if yes else "-1" for yes in (*(m % 3 == k for k in range(3)), m % 2, m % 4 < 2, 0)
        ]
        lines.append(f"{n:03d}.png {' '.join(has)}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind, each of them twice."""
    place = tmp_path_factory.mktemp("sources")
    for which, rows in (("one", range(40)), ("two", range(20, 60))):
        texts(pictures(place / f"texts_{which}", rows))
        real_digits(place / f"digits_{which}", rows)
        pictures(place / which, rows), pictures(place / f"classes_{which}", rows, 2)
        attribute_table(place / f"{which}.txt", len(which) + rows.start)
        shard(place / f"shards_{which}" / "0.tar", rows)
        table = np.random.default_rng(rows.start).uniform(-0.9, 0.9, (50, 2))
        np.savez(place / f"points_{which}.npz", one=table, two=table[::-1] ** 2, three=2 * table)
        labels = np.arange(40) % 2
        np.savez(
            place / f"tensors_{which}.npz", odd=PIXELS[rows].transpose(0, 3, 1, 2)[..., :3],
            images=PIXELS[rows], more=PIXELS[rows][:, ::-1],
            labels=labels, kinds=1 - labels,
        )  # fmt: skip
        static = np.random.default_rng(rows.start).integers(0, 2, (20, 784))
        (place / f"static_{which}").mkdir()
        for split in ("train", "valid", "test"):
            np.savetxt(place / f"static_{which}" / f"binarized_mnist_{split}.amat", static, "%d")
    texts(broken(pictures(place / "texts_broken", range(40))))
    lines = [f"{n:03d}.png,a {'red' if n % 3 else 'blue'} picture" for n in range(40)]
    (place / "texts.csv").write_text("file,caption\n" + "\n".join(lines) + "\n")
    lines = [f"class{n % 2}/{n:03d}.png,{'ab'[n % 3 == 0]}" for n in range(40)]
    (place / "labels.csv").write_text("file,class\n" + "\n".join(lines) + "\n")
    pictures(place / "faces", range(60)), broken(pictures(place / "faces_broken", range(60)))
    broken(pictures(place / "broken", range(40)))
    for path in pictures(place / "negative", range(40)).iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    pictures(place / "splits" / "train", range(20)), pictures(place / "splits" / "test", range(9))
    np.savez(place / "splits.npz", x_train=PIXELS[:20], x_test=PIXELS[20:30])
    shard(place / "shards_broken" / "0.tar", range(40), b"no picture")
    return place


# words with which a data set is read; of another kind where an option has a meaning only there
FOLDER = "root={one} size=8"
WORDS = {
    "mnist": "root={idx} verify=false", "fashion_mnist": "root={idx} verify=false",
    "cifar10": "root={cifar} verify=false", "mnist_static": "root={static_one} verify=false",
    "stacked_mnist": "root={idx} verify=false n=100",
    "coloured_digits": "digits=mnist root={idx} verify=false",
    "digit_domains": "digits=mnist root={idx} verify=false",
    "digit_colours": "digits=mnist root={idx} verify=false",
    "captioned_digits": "digits=mnist root={digits_one} verify=false n=100",
    "captions": "root={texts_one} size=8",
    "image_folder": FOLDER, "facades": FOLDER,
    "pairs": "a={one} b={negative} size=8", "unpaired": "a={one} b={negative} size=8",
    "celeba": "root={faces} size=8 table={one.txt} validation=0.3",
    "celeba_attributes": "root={faces} size=8 table={one.txt} validation=0.3",
    "shards": "root={shards_one} size=8",
    "points": "file={points_one.npz} key=one shape=[2]",
    "tensors": "file={tensors_one.npz} key=images shape=[3,8,8] size=8",
}  # fmt: skip
POINTS = ("gaussian_grid", "gaussian_ring", "two_moons", "checkerboard", "rings")
WORDS |= dict.fromkeys(POINTS, "n=200")
CLASSES = "root={classes_one} classes=2 size=8"
# values that a type does not tell, with the words of the data set that they need
VALUES: dict[str, tuple[str, ...]] = {
    "root": ("{two}", "{static_two}", "{shards_two}", "{idx_two}", "{cifar_two}", "{digits_two}",
             "{texts_two}"),
    "texts": ("{texts.csv}",), "label_kind.length": ("4", "12"),
    "file": ("{points_two.npz}", "{tensors_two.npz}"), "key": ("two", "more"),
    "a": ("{two}",), "b": ("{two}",), "table": ("{two.txt}",),
    "range": ("[0,200]",), "degrade": ("grayscale", "mask"), "labelled": ("10", "2", "4"),
    "size": ("9", "[8,10]"), "digits": ("mnist_5k",), "source": ("blue",), "target": ("blue",),
    "direction": ("a2b", "b2a"), "attributes": ("[Blond_Hair,Brown_Hair,Black_Hair]",),
    "layout": ("nchw", "nhwc"), "image": ("jpg",), "label": ("txt",), "label_key": ("kinds",),
    "subset": ("other",), "validation": ("0.2",), "source_shape": ("[1,2,3]",),
    "batch_size": ("5",), "classes": ("2", "3"), "on_bad": ("stop",),
    "shape": ("[1,2,3]",), "verify": ("true", "false"), "labels": ("{labels.csv}",),
    "label_kind.names": ("[a,b]",), "label_kind.exclusive": ("[[Male,Young]]",),
}  # fmt: skip
BROKEN = {
    "captions": "root={texts_broken}",
    "image_folder": "root={broken}", "facades": "root={broken}", "celeba": "root={faces_broken}",
    "celeba_attributes": "root={faces_broken}", "pairs": "a={broken} b={broken}",
    "unpaired": "b={broken}", "shards": "root={shards_broken}",
}  # fmt: skip
MORE = {(name, "on_bad"): f"{words} on_bad=skip" for name, words in BROKEN.items()}
MORE |= {
    ("image_folder", "labelled"): CLASSES, ("image_folder", "labels"): CLASSES,
    ("shards", "labelled"): "classes=3", ("tensors", "labelled"): "classes=2",
    ("shards", "label"): "classes=3", ("tensors", "label_key"): "classes=2",
    ("tensors", "layout"): "key=odd layout=nhwc",
}  # fmt: skip
# one of each kind of source; the others take longer, or differ in their files alone
QUICK = ("mnist", "celeba_attributes", "two_moons", "tensors")


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow) if name not in QUICK else name


def seen(data: Any) -> list[Any]:
    """All that a data set gives to a training."""
    splits = [data.load(split) for split in ("train", "validation", "test")]
    stream = list(itertools.islice(data.batches(), 3))
    labels = splits[0].labels
    other = []
    if labels is not None and data.classes > 1:
        torch.manual_seed(0)
        other = [data.label_kind.others(labels[:40], data.classes)]
        if data.label_kind.listed:
            other += [data.label_kind.following(labels[:40], data.classes)]
    names, units = [*data.class_names, *data.domain_names], data.log_det
    numbers = [data.classes, *data.shape, *(data.source_shape or ())]
    return [*(list(split) for split in splits), stream, other, names, units, numbers]


@pytest.fixture
def places(sources: Path, idx_root: Path, cifar_root: Path) -> Callable[[str], str]:
    """Words with the paths of files in place of their names."""
    known = {path.name: path for path in sources.iterdir()} | {"idx": idx_root, "cifar": cifar_root}

    def placed(words: str) -> str:
        for name, path in known.items():
            words = words.replace(f"{{{name}}}", str(path))
        return words

    return placed


def given(node: DictConfig) -> list[Any]:
    """What the data set of a node gives."""
    keys: Any = OmegaConf.to_container(node, resolve=True)
    keys["data"]["label_kind"] = instantiate(keys["data"]["label_kind"])
    return seen(get_class(keys["data"].pop("_target_"))(**keys["data"]))


def changed(node: DictConfig, words: str) -> DictConfig:
    """The node with other values, from which the others follow."""
    node = copy.deepcopy(node)
    for word in words.split():
        path, value = word.split("=", 1)
        OmegaConf.update(node, f"data.{path}", yaml.safe_load(value), merge=False)
    return node


def values_of(node: DictConfig) -> dict[str, list[str]]:
    """The options of a data set, and other values of each."""
    data: Any = OmegaConf.to_container(node, resolve=True)["data"]  # type: ignore
    hints = get_type_hints(get_class(data["_target_"]), include_extras=True)
    found = {}
    for path, _, key, hint in [*options(data, "data")]:
        typed = [json.dumps(value) for value in others(data.get(key), hints.get(key, hint))]
        path = path.removeprefix("data.")
        found[path] = [*VALUES.get(path, ()), *(word.replace(" ", "") for word in typed)]
    return found


@pytest.mark.parametrize("name", [slow(name) for name in CONFIGS])
def test_an_option_changes_what_is_given_or_is_refused(
    name: str, places: Callable[[str], str], own_cache: Path
) -> None:
    if name == "huggingface":
        pytest.importorskip("datasets")
    resolvers.register()
    words = [f"data.{word}" for word in places(WORDS.get(name, "")).split()]
    with initialize_config_dir(str(CONF), version_base=None):
        node = compose(
            overrides=[
                "+quality=none",
                f"+data={name}",
                "data.batch_size=4",
                "data.validation=0.1",
                *words,
            ]
        )
    node = OmegaConf.create({"seed": 7, "data": node.data})
    bare: dict[str, list[Any]] = {}
    without = []
    for path, values in values_of(node).items():
        more = places(MORE.get((name, path), ""))
        if more not in bare:
            bare[more] = given(changed(node, more))
        if path in SPEED:
            for value in SPEED[path]:
                word = f"{path}={value}".replace("CACHE", str(own_cache / "other"))
                assert difference(given(changed(node, word)), bare[""]) is None
            continue
        taken, refused = [], []
        for value in [] if path in ELSEWHERE else map(places, values):
            try:
                other = changed(node, f"{more} {path}={value}")
                if other == changed(node, more):
                    continue
                found = given(other)
            except UserError as error:
                refused.append(str(error))
                continue
            if difference(found, bare[more]) is not None:
                break
            taken.append(value)
        else:
            if path not in ELSEWHERE and (taken or not refused):
                without.append(f"{path}={taken[:1]}")
    assert without == []


REFUSED = {
    "a folder of the embedded digits": ("coloured_digits", "root=DIR", "data.root"),
    "their sums": ("digit_domains", "verify=false", "data.verify"),
    "attributes of few": ("celeba_attributes", "root={faces} labelled=5", "data.labelled"),
    "other attributes": (
        "celeba_attributes", "root={faces} label_kind.names=[a,b]", "data.label_kind.names",
    ),
    "a draw that is none": ("image_folder", "root={splits} draw_seed=1", "data.draw_seed"),
    "a draw of two folders": ("pairs", "a={splits} b={splits} draw_seed=1", "data.draw_seed"),
    "a draw of two domains": ("unpaired", "a={splits} b={splits} draw_seed=1", "data.draw_seed"),
    "a draw of arrays": ("tensors", "file={splits.npz} shape=[3,8,8] size=8 test=0.2", "data.test"),
    "labels of no classes": ("tensors", "file={tensors_one.npz} key=images label_key=kinds "
                             "shape=[3,8,8] size=8", "data.label_key"),
    "files of no classes": ("shards", "root={shards_one} label=txt", "data.label"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_changes_nothing_is_refused_in_a_line(
    case: str, make: Callable[..., Any], places: Callable[[str], str]
) -> None:
    name, words, key = REFUSED[case]
    with pytest.raises(UserError, match=rf"\(.*{re.escape(key)}.*\); ") as refused:
        make(name, *places(words).split()).load("train")
    assert "\n" not in str(refused.value)


def test_a_draw_of_one_of_two_domains_is_not_refused(
    make: Callable[..., Any], places: Callable[[str], str]
) -> None:
    data = make("unpaired", *places("a={splits} b={one} draw_seed=1 size=8").split())
    assert len(data.load("train").images) == 36


def test_the_folder_of_the_environment_is_nobodys_word(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENTRAIN_DATA_DIR", "/anywhere")
    assert make("coloured_digits", "size=8").load("test").rows
