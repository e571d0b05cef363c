"""The callback: when it scores, what it writes down, what it refuses, and that training does not
notice it.
"""

import multiprocessing
import os
import random

import lightning as L
import numpy as np
import pytest
import torch

from gentrain.errors import Diverged, UserError
from gentrain.quality.cache import cached
from gentrain.quality.classifier import Classifier
from gentrain.quality.coverage import ModeCoverage, StackedCoverage
from gentrain.quality.image_quality import ImageQuality, NoQuality

NAMES = {
    *(
        "fid_classifier",
        "fid_classifier_floor",
        "is_classifier_mean",
        "is_classifier_std",
        "kid_classifier",
    ),
    *("precision_classifier", "recall_classifier", "density_classifier", "coverage_classifier"),
    *("confident", "classes_covered", "class_entropy", "n"),
}


def quality(cache, **changes) -> ImageQuality:
    settings = {
        "every": 3,
        "samples": 90,
        "batch_size": 40,
        "prdc_samples": 50,
        "kid_subsets": 5,
        "cache": str(cache),
    }
    return ImageQuality(features=Classifier(updates=60, batch_size=32), **(settings | changes))


def ready(cache, data, model, trainer, **changes) -> ImageQuality:
    callback = quality(cache, **changes)
    callback.setup(trainer(data), model, "fit")
    callback.on_fit_start(trainer(data), model)
    return callback


def test_scores_and_protocol(cache, bars, model, trainer):
    judged = model()
    callback = ready(cache, bars, judged, trainer)
    callback.on_train_start(trainer(bars), judged)
    (scores,) = judged.records
    assert scores.keys() == {f"quality/{name}" for name in NAMES}
    assert all(np.isfinite(value) for value in scores.values())
    assert (
        scores["quality/n"] == 90
        and scores["quality/classes_covered"] == 3
        and scores["quality/class_entropy"] > 0.95
    )
    protocol = judged.protocols["quality"]
    assert (
        protocol["features"] == "classifier"
        and len(protocol["features_hash"]) == 12
        and protocol["test_accuracy"] > 0.95
    )
    assert protocol["reference"] == {
        "data": "bars",
        "split": "train",
        "digest": bars.digest("train"),
        "samples": 600,
    }
    assert protocol["fid_classifier_floor"]["samples"] == 90 and not protocol["ema"]


def test_noise_scores_worse_than_data_and_collapse_is_seen(cache, bars, model, trainer):
    def scores(draw):
        judged = model(draw)
        ready(cache, bars, judged, trainer).on_train_start(trainer(bars), judged)
        return judged.records[0]

    good, noise, collapsed = (
        scores(None),
        scores(lambda b: torch.rand_like(b[0]) * 2 - 1),
        scores(lambda b: b[0][b[1] == 1][:1].expand_as(b[0])),
    )
    assert 10 * good["quality/fid_classifier"] < noise["quality/fid_classifier"]
    assert collapsed["quality/classes_covered"] == 1 and collapsed["quality/class_entropy"] == 0
    assert collapsed["quality/recall_classifier"] < 0.1


def test_a_model_of_labels_is_asked_whether_it_keeps_to_them(cache, bars, model, trainer):
    """Fakes that are the asked class, and fakes of the class after it; permuted labels fall to
    chance, a third.
    """

    def scores(draw):
        judged = model(draw)
        judged.model = type("Conditional", (), {"labelled": True})
        ready(cache, bars, judged, trainer, samples=600).on_train_start(trainer(bars), judged)
        return judged.records[0]

    images, labels, _ = bars.load("train")
    ofclass = torch.stack([images[labels == k][0] for k in range(3)]) / 127.5 - 1
    right, wrong = scores(lambda b: ofclass[b[1]]), scores(lambda b: ofclass[(b[1] + 1) % 3])
    assert right["quality/label_agreement"] == 1 and wrong["quality/label_agreement"] == 0
    assert abs(right["quality/label_agreement_permuted"] - 1 / 3) < 0.06


def test_a_model_that_reconstructs_is_asked_whether_the_class_is_kept(cache, bars, model, trainer):
    def kept(reconstruct):
        judged = model()
        judged.model = type("Bidirectional", (), {"reconstruct": staticmethod(reconstruct)})
        ready(cache, bars, judged, trainer).on_train_start(trainer(bars), judged)
        return judged.records[0]["quality/class_kept"]

    assert kept(lambda x: x) > 0.95 and kept(lambda x: x[:1].expand_as(x)) < 0.6


def test_when_it_scores(cache, bars, model, trainer):
    """At 0, at each multiple, and at the end unless it has just been done; a resumed run does not
    start anew.
    """
    judged = model()
    callback = ready(cache, bars, judged, trainer)
    callback.on_train_start(trainer(bars), judged)
    steps = []
    for step in range(1, 8):
        judged.global_step = step
        before = len(judged.records)
        callback.on_train_batch_end(trainer(bars, step), judged, None, None, step)
        steps += [step] * (len(judged.records) - before)
    assert steps == [3, 6]
    callback.on_train_end(trainer(bars, 7), judged)
    callback.on_train_end(trainer(bars, 7), judged)
    assert len(judged.records) == 4

    resumed, judged = ready(cache, bars, judged, trainer), model()
    resumed.load_state_dict(callback.state_dict())
    resumed.on_train_start(trainer(bars, 7), judged)
    resumed.on_train_end(trainer(bars, 7), judged)
    assert judged.records == []


def test_only_rank_zero_works(cache, bars, model, trainer):
    callback, other = quality(cache), trainer(bars)
    other.is_global_zero = False
    judged = model()
    callback.on_fit_start(other, judged)
    callback.on_train_start(other, judged)
    assert judged.records == [] and judged.batches == []


def test_training_does_not_notice(cache, bars, model, trainer, tmp_path):
    """Not even when the classifier is trained: all generators are as before."""
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    judged = model()
    callback = ready(tmp_path, bars, judged, trainer)
    callback.on_train_start(trainer(bars), judged)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]
    assert torch.is_grad_enabled()


class Noisy(L.LightningModule):
    """One generator that draws noise at every step, in Lightning's own loop."""

    def __init__(self, data):
        super().__init__()
        self.net, self.data, self.records, self.protocols = torch.nn.Linear(4, 256), data, [], {}

    def sample(self, batch):
        with torch.no_grad():
            return torch.tanh(self.net(torch.randn(len(batch[0]), 4))).view(-1, 1, 16, 16)

    def training_step(self, batch, batch_idx):
        return self.net(torch.randn(8, 4)).sub(torch.rand(8, 256)).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def due(self, every):
        return self.global_step % every == 0

    def record(self, metrics):
        self.records.append((self.global_step, metrics["quality/fid_classifier"]))


class Lit(L.LightningDataModule):
    def __init__(self, data):
        super().__init__()
        self.name, self.shape, self.classes, self.load, self.digest = (
            data.name,
            data.shape,
            data.classes,
            data.load,
            data.digest,
        )
        self.source_shape = data.source_shape

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(100, 1))


def test_a_run_with_scores_equals_a_run_without(cache, bars, tmp_path):
    def trained(callback):
        L.seed_everything(3, verbose=False)
        module = Noisy(bars)
        settings = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        trainer = L.Trainer(
            max_steps=5,
            accelerator="cpu",
            callbacks=[callback],
            default_root_dir=tmp_path,
            **settings,
        )
        trainer.fit(module, datamodule=Lit(bars))
        return module

    plain, scored = trained(NoQuality()), trained(quality(cache, every=2))
    assert torch.equal(plain.net.weight, scored.net.weight) and torch.equal(
        plain.net.bias, scored.net.bias
    )
    assert [step for step, _ in scored.records] == [0, 2, 4, 5] and plain.records == []


def test_scores_do_not_depend_on_the_state_of_training(cache, bars, model, trainer):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        judged = model()
        ready(cache, bars, judged, trainer).on_train_start(trainer(bars), judged)
        results.append(judged.records[0])
    assert results[0] == results[1]


def test_labels_are_the_data_sets_own(cache, bars, model, trainer):
    """More fakes than data: 3 classes alike; images come with their labels."""
    judged = model()
    ready(cache, bars, judged, trainer, samples=1200).on_train_start(trainer(bars), judged)
    labels = torch.cat([batch[1] for batch in judged.batches])
    assert labels.bincount().tolist() == [400, 400, 400]
    images = torch.cat([batch[0] for batch in judged.batches])
    assert images.min() >= -1 and images.max() <= 1 and images.dtype == torch.float32
    brightest = images.mean((1, 3)).view(-1, 16)[:, [1, 6, 11]].argmax(1)
    assert torch.equal(brightest, labels)


def test_not_a_number(cache, bars, model, trainer):
    judged = model(lambda batch: batch[0] * float("nan"))
    callback = ready(cache, bars, judged, trainer)
    with pytest.raises(Diverged, match="at step 6"):
        callback.evaluate(trainer(bars, 6), judged)


def test_ema_is_stated(cache, bars, model, trainer):
    from types import SimpleNamespace

    judged = model()
    judged.model = SimpleNamespace(averaged=torch.nn.Identity())
    ready(cache, bars, judged, trainer)
    assert judged.protocols["quality"]["ema"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"samples": 1}, "quality.samples"),
        ({"batch_size": 0}, "quality.batch_size"),
        ({"kid_subset_size": 91}, "quality.kid_subset_size"),
        ({"kid_subset_size": 1}, "quality.kid_subset_size"),
    ],
)
def test_refused_at_once(cache, changes, key):
    with pytest.raises(UserError, match=key) as refusal:
        quality(cache, **changes)
    assert "\n" not in str(refusal.value)


def test_refused_before_training(cache, bars, points, model, trainer):
    def refusal(callback, data):
        with pytest.raises(UserError) as problem:
            callback.setup(trainer(data), model(), "fit")
        return str(problem.value)

    unlabelled = type(bars)(classes=None)
    assert "data.classes" in refusal(quality(cache), unlabelled) and "quality=inception" in refusal(
        quality(cache), unlabelled
    )
    assert "quality=modes" in refusal(quality(cache), points)
    assert "quality.kid_subset_size" in refusal(
        quality(cache, samples=700, kid_subset_size=601), bars
    )
    assert "quality.reference" in refusal(quality(cache), type(bars)(sizes=(1, 1)))
    assert "data=gaussian_ring" in refusal(ModeCoverage(), bars)
    assert "stacked_mnist" in refusal(StackedCoverage(Classifier()), bars)


def test_second_run_trains_nothing_and_gets_the_same(tmp_path, bars, model, trainer, monkeypatch):
    first = model()
    ready(tmp_path, bars, first, trainer).on_train_start(trainer(bars), first)
    monkeypatch.setattr(Classifier, "_learn", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(ImageQuality, "_look", lambda *_: pytest.fail("looked again"))
    second = model()
    ready(tmp_path, bars, second, trainer).on_train_start(trainer(bars), second)
    assert first.records == second.records and first.protocols == second.protocols


def test_options_and_data_name_the_cache(tmp_path, bars):
    for classifier in (Classifier(updates=2), Classifier(updates=3), Classifier(updates=2, seed=1)):
        classifier.prepare(bars, tmp_path)
    Classifier(updates=2).prepare(type(bars)(sizes=(60, 30)), tmp_path)
    assert len(list(tmp_path.glob("classifier-*.pt"))) == 4


def test_classifier_is_deterministic(tmp_path, bars):
    hashes = set()
    for run, seed in enumerate((1, 2)):
        torch.manual_seed(seed)
        classifier = Classifier(updates=20)
        classifier.prepare(bars, tmp_path / str(run))
        hashes.add(classifier.hash)
    assert len(hashes) == 1


@pytest.mark.parametrize(
    "shape", [(1, 16, 16), (3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 128, 128), (3, 17, 40)]
)
def test_classifier_of_any_size(shape):
    from gentrain.quality.classifier import LeNet

    features, logits = LeNet(shape, 7, 4)(torch.zeros(2, *shape))
    assert features.shape == (2, 128) and logits.shape == (2, 7)


def test_damaged_cache_is_made_again(tmp_path, caplog):
    path = tmp_path / "kept.pt"
    value = {"x": torch.arange(1000)}
    cached(path, lambda: value)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damage in (
        b"",
        whole[:middle],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"not a zip",
    ):
        path.write_bytes(damage)
        assert torch.equal(cached(path, lambda: value)["x"], value["x"])
        assert "damaged" in caplog.text
        caplog.clear()
    assert path.read_bytes() == whole


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_cache_costs_only_time(tmp_path, caplog):
    tmp_path.chmod(0o500)
    assert cached(tmp_path / "sub" / "kept.pt", lambda: {"x": 1}) == {"x": 1}
    assert "GENTRAIN_CACHE" in caplog.text


def test_cache_below_a_file_costs_only_time(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert cached(tmp_path / "file" / "kept.pt", lambda: {"x": 1}) == {"x": 1}
    assert "GENTRAIN_CACHE" in caplog.text


def make_slowly(path, made, results):
    import time

    def make():
        made.put(os.getpid())
        time.sleep(0.5)
        return {"x": torch.full((3,), float(os.getpid()))}

    results.put(cached(path, make)["x"].tolist())


def test_two_processes_at_once_make_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    made, results = context.Queue(), context.Queue()
    workers = [
        context.Process(target=make_slowly, args=(tmp_path / "kept.pt", made, results))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert found[0] == found[1]
    made.get(timeout=60)
    assert made.empty()
    assert {file.name for file in tmp_path.iterdir()} <= {"kept.pt", "kept.pt.lock"}


def test_modes_of_points(points, model, trainer):
    judged = model(lambda batch: batch[0])
    callback = ModeCoverage(every=5, samples=500)
    callback.setup(trainer(points), judged, "fit")
    callback.on_fit_start(trainer(points), judged)
    callback.on_train_start(trainer(points), judged)
    (scores,) = judged.records
    assert (
        scores["quality/modes_found"] == 2
        and scores["quality/high_quality"] > 0.97
        and scores["quality/n"] == 500
    )
    assert judged.protocols["quality"]["modes"] == 2


def test_modes_of_stacked_digits(tmp_path, model, trainer):
    """Ten "digits", each a bright column; the stack 123 carries columns 1, 2, 3 in its channels."""
    from types import SimpleNamespace

    from gentrain.data.arrays import ArrayDataset

    labels = torch.arange(1000)
    digits = torch.stack([labels // 100, labels // 10 % 10, labels % 10], 1)
    images = torch.zeros(1000, 3, 16, 16, dtype=torch.uint8)
    images.scatter_(3, (digits + 3)[:, :, None, None].expand(-1, -1, 16, 1), 255)
    data = SimpleNamespace(
        name="stacked",
        shape=(3, 16, 16),
        classes=1000,
        load=lambda split: ArrayDataset(images, labels),
        digest=lambda split: "stacked",
    )
    callback = StackedCoverage(Classifier(updates=60), samples=1000, cache=str(tmp_path))
    judged = model(lambda batch: batch[0])
    callback.setup(trainer(data), judged, "fit")
    callback.on_fit_start(trainer(data), judged)
    callback.evaluate(trainer(data), judged)
    assert judged.records[0] == {
        "quality/modes_found": 1000,
        "quality/kl_to_uniform": pytest.approx(0, abs=1e-9),
        "quality/n": 1000,
    }


def test_none_is_a_callback_that_does_nothing():
    assert vars(NoQuality()) == {}


def test_mnist_5k(tmp_path):
    from gentrain.data.mnist_5k import MNIST5k

    classifier = Classifier()
    classifier.prepare(MNIST5k(name="mnist_5k", shape=(1, 28, 28), classes=10), tmp_path)
    assert classifier.accuracy >= 0.95
