"""Inception with random weights from a file: the way of the real ones, without a network."""

import pickle

import pytest
import torch
from cleanfid.resize import build_resizer
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from gentrain.errors import Unavailable, UserError
from gentrain.quality.features import three_channels
from gentrain.quality.image_quality import ImageQuality
from gentrain.quality.inception import Inception, clean_resize, inception_quality
from tests.support.bomb import Bomb


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file that torch-fidelity's own loader takes."""
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
            lambda *args, **kwargs: {},
        )
        torch.save(FeatureExtractorInceptionV3("random", ["2048"]).state_dict(), path)
    return path


def test_features_are_torch_fidelitys(weights, bars, tmp_path):
    ours = Inception(str(weights))
    ours.prepare(bars, tmp_path)
    theirs = FeatureExtractorInceptionV3(
        "theirs", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    images = bars.load("test").images[:3]
    features, logits = ours.of(images, 2, torch.device("cpu"))
    expected = theirs(three_channels(images))
    assert features.shape == (3, 2048) and logits.shape == (3, 1008)
    assert torch.allclose(features, expected[0], rtol=1e-3, atol=1e-4) and torch.allclose(
        logits, expected[1], rtol=1e-3, atol=1e-4
    )
    assert len(ours.hash) == 12


@pytest.mark.parametrize("side", [28, 400])
def test_clean_resizing_is_clean_fids(side: int) -> None:
    """To a ten-thousandth of a level."""
    theirs = build_resizer("clean")
    images = torch.randint(256, (2, 3, side, side), dtype=torch.uint8)
    expected = [torch.from_numpy(theirs(image.permute(1, 2, 0).numpy())) for image in images]
    found = clean_resize(images).permute(0, 2, 3, 1)
    assert torch.allclose(found, torch.stack(expected), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_clean_features_are_those_of_the_same_network(weights, bars, tmp_path):
    """Images of 299 pixels need no resizing, so both ways have the same features; others do not."""
    features = []
    for resize in ("tensorflow", "clean"):
        extractor = Inception(str(weights), resize)
        extractor.prepare(bars, tmp_path)
        draw = torch.Generator().manual_seed(1)
        sizes = (299, 32)
        batches = [
            torch.randint(256, (1, 3, n, n), generator=draw, dtype=torch.uint8) for n in sizes
        ]
        features.append([extractor(batch)[0] for batch in batches])
    (one, small), (other, clean) = features
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)
    assert (small - clean).abs().max() > 100 * (one - other).abs().max()
    assert extractor.hash.endswith("-clean") and extractor.protocol()["antialias"]


@pytest.mark.slow
def test_scores_are_called_fid(weights, model, scored, bars, tmp_path):
    data = type(bars)(classes=None, sizes=(8, 4))
    sampler = model()
    metric = inception_quality(
        str(weights), every=1, samples=6, batch_size=6, kid_subsets=2, cache=str(tmp_path)
    )
    assert isinstance(metric, ImageQuality)
    before = torch.get_rng_state()
    scores, _ = scored(metric, data, sampler)
    assert torch.equal(torch.get_rng_state(), before)
    names = (
        "fid",
        "fid_floor",
        "is_mean",
        "is_std",
        "kid",
        "kid_std",
        "precision",
        "recall",
        "density",
        "coverage",
        "n",
    )
    assert scores.keys() == set(names)
    assert all(len(batch) == 1 for batch in sampler.batches)


def test_missing_file(bars):
    with pytest.raises(UserError, match=r"quality\.weights"):
        Inception("nowhere/weights.pth").check(bars)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_wrong_files_are_refused_and_no_code_runs(bars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": torch.zeros(2)}, "other.pth")
    torch.save({"x": Bomb(tmp_path / "canary")}, "bomb.pth")
    with open("pickle.pth", "wb") as file:
        pickle.dump(Bomb(tmp_path / "canary"), file)
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("text")
    for name in ("other", "bomb", "pickle", "empty", "text"):
        with pytest.raises(UserError, match=r"quality\.weights") as refusal:
            Inception(f"{name}.pth").prepare(bars, tmp_path)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "canary").exists()


def test_no_network(bars, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setattr(
        "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", offline
    )
    with pytest.raises(
        Unavailable, match=r"quality\.weights=PATH, or choose quality=classifier"
    ) as refusal:
        Inception().prepare(bars, tmp_path)
    assert refusal.value.status == 4


def test_channels(bars):
    five = type(bars)()
    five.shape = (5, 16, 16)
    with pytest.raises(UserError, match=r"data\.shape"):
        Inception().check(five)
