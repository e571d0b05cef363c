"""Metrics of samples: what they score, what they write down, what they refuse, what they cache."""

import multiprocessing
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.errors import Diverged, UserError
from gentrain.models.base import Reconstructs
from gentrain.quality.ais import Annealed
from gentrain.quality.base import higher_is_better, measure, metrics_of, prepare_metric
from gentrain.quality.cache import cached
from gentrain.quality.classifier import Classifier
from gentrain.quality.coverage import ModeCoverage, StackedCoverage
from gentrain.quality.image_quality import ImageQuality
from gentrain.quality.likelihood import LogLikelihood
from gentrain.quality.paired import PairedScores
from gentrain.quality.plane import PlaneLikelihood
from gentrain.quality.rotation import RotatedImages, Rotation
from gentrain.quality.test_error import TestError
from gentrain.quality.translation import RoundTrip
from tests.support.compose import build_model

NAMES = {
    *(
        "fid_classifier",
        "fid_classifier_floor",
        "is_classifier_mean",
        "is_classifier_std",
        "kid_classifier",
        "kid_classifier_std",
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


def test_a_metric_is_named_as_it_was_chosen():
    for features, name in ((Classifier(), "classifier"), (Rotation(), "rotation")):
        assert ImageQuality(features=features).key == f"quality={name}"


def test_scores_hold_one_batch_of_samples_at_a_time(cache, bars, model, scored, monkeypatch):
    """Each batch is scored before the next is drawn; the features are those of all images."""
    metric, order = quality(cache), []
    scored(metric, bars, model())
    source, cpu = bars.load("test"), torch.device("cpu")
    torch.manual_seed(0)
    images = metric.images(model(), source, cpu)
    whole = metric.features.of(images, metric.batch_size, cpu)
    forward, draw = metric.features.forward, metric.draw

    def drawn(*args):
        for each in draw(*args):
            order.append("draw")
            yield each

    monkeypatch.setattr(metric, "draw", drawn)
    monkeypatch.setattr(
        metric.features, "forward", lambda images: order.append("score") or forward(images)
    )
    torch.manual_seed(0)
    found = metric._of_samples(model(), source, cpu)
    assert order == ["draw", "score"] * 3
    assert all(torch.equal(a, b) for a, b in zip(found, whole, strict=True))


def test_scores_and_protocol(cache, bars, model, scored):
    scores, protocol = scored(quality(cache), bars, model())
    assert scores.keys() == NAMES
    assert all(np.isfinite(value) for value in scores.values())
    assert scores["n"] == 90 and scores["classes_covered"] == 3 and scores["class_entropy"] > 0.95
    assert protocol["features"] == "classifier" and len(protocol["features_hash"]) == 12
    assert protocol["test_accuracy"] > 0.95
    assert protocol["reference"] == {
        "data": "bars",
        "split": "test of 120",
        "digest": bars.digest("test"),
        "samples": 120,
    }
    assert protocol["fid_classifier_floor"]["samples"] == 90 and not protocol["ema"]


def test_noise_scores_worse_than_data_and_collapse_is_seen(cache, bars, model, scored):
    def scores(draw):
        return scored(quality(cache), bars, model(draw))[0]

    good = scores(None)
    noise = scores(lambda b: torch.rand_like(b[0]) * 2 - 1)
    collapsed = scores(lambda b: b[0][b[1] == 1][:1].expand_as(b[0]))
    assert 10 * good["fid_classifier"] < noise["fid_classifier"]
    assert collapsed["classes_covered"] == 1 and collapsed["class_entropy"] == 0
    assert collapsed["recall_classifier"] < 0.1


def test_a_labelled_model_is_scored_by_the_classes_of_its_samples(cache, bars, model, scored):
    """Samples of the wanted class, and of the class after it; by chance, a third agrees."""

    class Conditional(model):
        labelled = True

    def scores(draw):
        return scored(quality(cache, samples=600), bars, Conditional(draw))[0]

    images, labels, _ = bars.load("train")
    of_class = torch.stack([images[labels == k][0] for k in range(3)]) / 127.5 - 1
    right, wrong = scores(lambda b: of_class[b[1]]), scores(lambda b: of_class[(b[1] + 1) % 3])
    assert right["label_agreement"] == 1 and wrong["label_agreement"] == 0
    assert abs(right["label_agreement_permuted"] - 1 / 3) < 0.06


def test_a_model_that_reconstructs_is_scored_by_the_class_it_keeps(cache, bars, model, scored):
    class Exact(model, Reconstructs):
        def reconstruct(self, x):
            return x

    class Constant(model, Reconstructs):
        def reconstruct(self, x):
            return x[:1].expand_as(x)

    def kept(kind):
        return scored(quality(cache), bars, kind())[0]["class_kept"]

    assert kept(Exact) > 0.95 and kept(Constant) < 0.6


def test_random_numbers_are_left_alone(bars, model, scored, tmp_path):
    """Not even when the classifier is trained: all generators are as before."""
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    scored(quality(tmp_path), bars, model())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]
    assert torch.is_grad_enabled()


def test_scores_do_not_depend_on_random_numbers_of_the_caller(cache, bars, model, scored):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(scored(quality(cache), bars, model())[0])
    assert results[0] == results[1]


def test_labels_are_the_data_sets_own(cache, bars, model, scored):
    """More samples than data: 3 classes alike; images come with their labels."""
    sampler = model()
    scored(quality(cache, samples=1200), bars, sampler)
    labels = torch.cat([batch[1] for batch in sampler.batches])
    assert labels.bincount().tolist() == [400, 400, 400]
    images = torch.cat([batch[0] for batch in sampler.batches])
    assert images.min() >= -1 and images.max() <= 1 and images.dtype == torch.float32
    brightest = images.mean((1, 3)).view(-1, 16)[:, [1, 6, 11]].argmax(1)
    assert torch.equal(brightest, labels)


def test_not_a_number(cache, bars, model, scored):
    with pytest.raises(Diverged, match="not finite"):
        scored(quality(cache), bars, model(lambda batch: batch[0] * float("nan")))


def test_the_average_of_the_weights_is_stated(cache, bars, model, scored):
    averaged = type("Averaged", (model,), {"ema_generator": torch.nn.Identity()})
    assert scored(quality(cache), bars, averaged())[1]["ema"]


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


def test_refused_before_training(cache, bars, points, model):
    def refusal(metric, data):
        with pytest.raises(UserError) as problem:
            metric.check(data, model())
        return str(problem.value)

    unlabelled = type(bars)(classes=None)
    assert "data.classes" in refusal(quality(cache), unlabelled)
    assert "quality=rotation, inception or none" in refusal(quality(cache), unlabelled)
    assert "quality=modes" in refusal(quality(cache), points)
    few = quality(cache, samples=700, kid_subset_size=601)
    assert "quality.kid_subset_size" in refusal(few, bars)
    assert "quality.reference" in refusal(quality(cache), type(bars)(sizes=(1, 1)))
    assert "data=gaussian_ring" in refusal(ModeCoverage(), bars)
    assert "stacked_mnist" in refusal(StackedCoverage(Classifier()), bars)
    for metric in (LogLikelihood(), Annealed(), TestError(), RoundTrip(Classifier())):
        text = refusal(metric, bars)
        assert metric.key in text and "and Sampler is not one" in text and "choose model=" in text


PLANE = ("model=ebm", "experiment=plane", "data=rings")


@pytest.mark.parametrize(
    ("metric", "words", "choice"),
    [
        (LogLikelihood(), ("model=rbm", "data.size=8"), "quality=ais"),
        (Annealed(), ("model=realnvp", "data.size=8"), "quality=nats"),
        (Annealed(), ("model=planar",), "quality=nats"),
        (LogLikelihood(), PLANE, "quality=plane"),
        (LogLikelihood(), (*PLANE[:1], "experiment=tempering", PLANE[2]), "quality=plane"),
        (Annealed(), PLANE, "quality=plane"),
        (PlaneLikelihood(), ("model=rbm", "data.size=8"), "quality=ais, or"),
        (PlaneLikelihood(), ("model=ebm", "data.size=8"), "quality=chains, or"),
        (PlaneLikelihood(), ("model=hopfield", "data.size=8"), "quality=none, or"),
    ],
)
def test_a_refusal_names_the_quality_that_fits(bars, metric, words, choice):
    with pytest.raises(UserError) as problem:
        metric.check(bars, build_model(*words))
    text = str(problem.value)
    assert f"choose {choice}" in text and metric.key in text and "\n" not in text


# --- few images, one class, constant features ----------------------------------------------------


def one_line(metric, data, model):
    with pytest.raises(UserError) as problem:
        metric.check(data, model)
    assert "\n" not in str(problem.value) and "; " in str(problem.value)
    return str(problem.value)


def test_one_image_is_refused_and_two_are_scored(cache, bars, model, scored):
    one, two = type(bars)(sizes=(600, 1)), type(bars)(sizes=(600, 2))
    assert "1 real image" in one_line(quality(cache), one, model())
    alike = {"kid_classifier_std"}  # of subsets of two, which are the whole set
    scores, protocol = scored(quality(cache), two, model())
    assert scores.keys() == NAMES - alike
    scores, protocol = scored(quality(cache, samples=2, prdc_samples=3), two, model())
    assert scores.keys() == NAMES - alike and protocol["prdc"] == {"k": 1, "samples": 2}
    held_out = PairedScores(images=1)
    with pytest.raises(UserError, match="at least 2"):
        held_out.check(bars, model())
    with pytest.raises(UserError, match="at least 2"):
        PairedScores(images=None).check(one, model())
    sampled = quality(cache)
    sampled.override({"n": 1}, bars, model())
    assert "at least 2" in one_line(sampled, bars, model())
    sampled = quality(cache, kid_subset_size=50)
    sampled.override({"n": 20}, bars, model())
    assert "quality.kid_subset_size" in one_line(sampled, bars, model())


def test_one_class_is_refused_where_classes_are_learned(cache, bars, model, scored):
    one = type(bars)(classes=1)
    assert "quality=rotation" in one_line(quality(cache), one, model())
    turned = ImageQuality(
        Rotation(updates=2), samples=20, kid_subsets=2, prdc_samples=5, cache=str(cache)
    )
    scores, _ = scored(turned, one, model())
    assert "fid_rotation" in scores and "class_entropy" not in scores


class Wide(Data):
    """A dark upper half and a bright lower one, darker on the left: no mirroring keeps it."""

    def __init__(self):
        super().__init__(name="wide", shape=(1, 16, 24), validation=0)

    def read(self, split):
        images = torch.zeros(40, 1, 16, 24)
        images[:, :, 8:] = 150
        images += torch.arange(24) * 2 + torch.rand(40, 1, 16, 24) * 40
        return ArrayDataset(images.byte(), None)


def test_images_that_are_no_squares_are_mirrored(cache):
    """Not, up and down, left and right, both; squares are turned as before."""
    data = Wide()
    found = RotatedImages(data).load("train")
    x = data.load("train").images
    assert found.images.shape == (160, 1, 16, 24)
    for label, axes in enumerate(((), (2,), (3,), (2, 3))):
        kind = found.images[found.labels == label]
        assert torch.equal(kind, x.flip(axes) if axes else x)
    features = Rotation(updates=60, batch_size=32)
    features.check(data)
    features.prepare(data, cache)
    assert features.accuracy > 0.9 and features.protocol()["task"] == "mirrorings"


class Grey(Data):
    """Images of one colour: their features are all the same."""

    def __init__(self):
        super().__init__(name="grey", shape=(1, 16, 16), classes=2)

    def read(self, split):
        return ArrayDataset(
            torch.full((20, 1, 16, 16), 99, dtype=torch.uint8), torch.arange(20) % 2
        )


def test_constant_features_leave_out_what_they_do_not_define(tmp_path, bars, model, scored, caplog):
    """Not one number is infinite or no number, and one line says what is missing."""
    metric = quality(tmp_path, samples=18, prdc_samples=10)
    for _ in range(2):
        scores, _ = scored(metric, Grey(), model())
    against_real = ("fid", "kid", "precision", "recall", "density", "coverage")
    missing = {name for name in NAMES if name.startswith(against_real)}
    assert len(missing) == 8 and scores.keys() == NAMES - missing
    lines = [one.getMessage() for one in caplog.records if "precision" in one.getMessage()]
    assert len(lines) == 1 and "fid_classifier, kid_classifier" in lines[0]
    assert "same features" in lines[0]
    collapsed, _ = scored(quality(tmp_path), bars, model(lambda batch: 0 * batch[0]))
    assert collapsed.keys() == NAMES and collapsed["recall_classifier"] == 0


def test_a_score_that_is_no_number_is_left_out(points, model, caplog):
    class Odd(ModeCoverage):
        def compute(self, data, model, device):
            return {"modes_found": float("nan"), "high_quality": float("inf"), "n": 2.0}

    metric = Odd()
    for _ in range(3):
        assert measure(metric, points, model(), torch.device("cpu")) == {"quality/n": 2.0}
    lines = [one.getMessage() for one in caplog.records]
    assert lines == [
        "quality=modes: no modes_found, since it is nan at this step",
        "quality=modes: no high_quality, since it is inf at this step",
    ]


@pytest.mark.parametrize(
    ("better", "names"),
    [
        (False, ("fid", "fid_classifier", "kid_rotation", "nats", "bits_per_dim", "cycle_error")),
        (False, ("error_rate", "l1", "l1_mean_image", "kl_to_uniform", "quality/fid")),
        (True, ("is_mean", "is_classifier_mean", "precision", "recall_rotation", "psnr", "ssim")),
        (True, ("modes_found", "class_kept", "label_agreement", "psnr_bicubic", "quality/ssim")),
        (True, ("domain_accuracy", "class_there", "confident", "coverage_classifier", "density")),
        (None, ("n", "fid_classifier_floor", "fid_floor", "is_std", "is_classifier_std")),
        (None, ("nats_error", "log_z", "log_z_error", "label_agreement_permuted", "unheard_of")),
    ],
)
def test_which_way_is_better(better, names):
    for name in names:
        assert higher_is_better(name) is better, name


def test_second_run_trains_nothing_and_gets_the_same(tmp_path, bars, model, scored, monkeypatch):
    first = scored(quality(tmp_path), bars, model())
    monkeypatch.setattr(Classifier, "_train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(ImageQuality, "_reference", lambda *_: pytest.fail("looked again"))
    assert scored(quality(tmp_path), bars, model()) == first


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


def test_modes_of_points(points, model, scored):
    metric = ModeCoverage(every=5, samples=500)
    scores, protocol = scored(metric, points, model(lambda batch: batch[0]))
    assert scores["modes_found"] == 2 and scores["high_quality"] > 0.97 and scores["n"] == 500
    assert protocol["modes"] == 2


class Columns(Data):
    """Ten "digits", each a bright column; 123 has the columns 1, 2, 3 in its channels."""

    def __init__(self) -> None:
        super().__init__(name="stacked", shape=(3, 16, 16), classes=1000, validation=0)

    def read(self, split):
        labels = torch.arange(1000)
        digits = torch.stack([labels // 100, labels // 10 % 10, labels % 10], 1)
        images = torch.zeros(1000, 3, 16, 16, dtype=torch.uint8)
        images.scatter_(3, (digits + 3)[:, :, None, None].expand(-1, -1, 16, 1), 255)
        return ArrayDataset(images, labels)


def test_modes_of_stacked_digits(tmp_path, model, scored):
    metric = StackedCoverage(Classifier(updates=60), samples=1000, cache=str(tmp_path))
    scores, _ = scored(metric, Columns(), model(lambda batch: batch[0]))
    assert scores == {
        "modes_found": 1000,
        "kl_to_uniform": pytest.approx(0, abs=1e-9),
        "n": 1000,
    }


def test_none_is_no_metric():
    nodes = {"_target_": "gentrain.quality.base.no_metric"}
    assert metrics_of({"quality": nodes, "callbacks": {}}) == {}


@pytest.mark.slow
def test_mnist_5k(env: dict[str, str]) -> None:
    from gentrain.data.mnist_5k import MNIST5k

    classifier = Classifier()
    classifier.prepare(
        MNIST5k(name="mnist_5k", shape=(1, 28, 28), classes=10), Path(env["GENTRAIN_CACHE"])
    )
    assert classifier.accuracy >= 0.95


def brute_force_floor(metric, fakes_of, reference_of, bars) -> float:
    """The Frechet distance of features of rows; tr (S T)^1/2 by the eigenvalues of S T in numpy."""
    x, y = (
        metric.features.of(bars.load(split).images[rows], 50, torch.device("cpu"))[0].double()
        for split, rows in (fakes_of, reference_of)
    )
    (m, s), (n, t) = ((z.mean(0).numpy(), np.cov(z.numpy(), rowvar=False)) for z in (x, y))
    overlap = np.sqrt(np.linalg.eigvals(s @ t).real.clip(0)).sum()
    return float(((m - n) ** 2).sum() + np.trace(s + t) - 2 * overlap)


@pytest.mark.parametrize(
    ("split", "reference"), [("test", "held_out"), ("validation", "held_out"), ("test", "train")]
)
def test_the_floor_is_of_as_many_real_images_as_there_are_fakes(
    cache, bars, model, scored, split, reference
):
    """By brute force, and of no row of the reference. 540 rows of training are left of 600."""
    metric = quality(cache, samples=100, reference=reference)
    protocol = prepare_metric(metric, bars, model(), torch.device("cpu"), split)
    others = "train" if reference == "held_out" else split
    drawn = torch.randperm(
        len(bars.load(others).images), generator=torch.Generator().manual_seed(0)
    )[:100]
    compared = "train" if reference == "train" else split
    scores = measure(metric, bars, model(), torch.device("cpu"))
    found = scores["quality/fid_classifier_floor"]
    expected = brute_force_floor(metric, (others, drawn), (compared, slice(None)), bars)
    assert found == pytest.approx(expected, rel=1e-3)
    rows = len(bars.load(compared).images)
    assert protocol["fid_classifier_floor"] == {"value": found, "split": others, "samples": 100}
    assert protocol["reference"]["split"] == f"{compared} of {rows}"


def test_a_floor_of_fewer_images_says_so_in_its_name(cache, bars, model, scored):
    """700 fakes, and 540 training images: another name, another curve, and no score to rank by."""
    from gentrain.commands.compare.directions import is_score

    scores, protocol = scored(quality(cache, samples=700), bars, model())
    assert "fid_classifier_floor" not in scores and "fid_classifier_floor" not in protocol
    assert scores["fid_classifier_floor_of_540"] == protocol["fid_classifier_floor_of_540"]["value"]
    assert protocol["fid_classifier_floor_of_540"]["samples"] == 540
    assert higher_is_better("fid_classifier_floor_of_540") is None
    assert not is_score("quality/fid_classifier_floor_of_540")


def test_reconstructions_of_sorted_images_are_of_all_classes(cache, bars, model, scored):
    """A model that gives every image of class 0 back, and nothing of the others; sorted rows."""

    class Sorted(type(bars)):
        def read(self, split):
            images, labels, _ = super().read(split)
            order = labels.argsort(stable=True)
            return ArrayDataset(images[order], labels[order])

    class OfTheTop(model, Reconstructs):
        def reconstruct(self, x):
            return torch.where(x[:, :, :4].mean((1, 2, 3), keepdim=True) > 0, x, -x)

    kept = scored(quality(cache, samples=40), Sorted(), OfTheTop())[0]["class_kept"]
    assert 0.1 < kept < 0.8  # the first 40 of 120 sorted rows are all of class 0
