"""W&B sees the whole run, offline and online, and never stands in the way of one."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger

from gentrain.cli.overrides import several_loggers
from gentrain.data.spectra import write_wav
from gentrain.errors import UserError
from gentrain.quality.diagnostics import Finding
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.diagnostics import Doctor
from gentrain.training.callbacks.samples import SampleGrids
from gentrain.training.loggers import Loggers, dashboards, run_name
from gentrain.training.loggers.wandb import WandbDashboard
from tests.support.fake_server import Server
from tests.support.offline_file import read
from tests.support.program import in_process
from tests.support.shell import plain, python
from tests.support.toy import train

CONFIG = {"seed": 7, "steps": 4, "scheme": {"critic_steps": 3}}
CHOICES = {"model": "wgan_gp", "data": "noise", "loss": "wasserstein"}
KEY = "a" * 40


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home without a key, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    wandb.teardown()  # it keeps the settings of before
    yield
    wandb.teardown()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def accept() -> None:
        try:
            while True:
                kept.append(server.accept()[0])
        except OSError:
            pass

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.close()
    for connection in kept:
        connection.close()


def run(
    run_dir: Path,
    node: Loggers,
    steps: int = 4,
    resumed_step: int | None = None,
    extra: list[L.Callback] | None = None,
) -> L.LightningModule:
    loggers = node.make(run_dir, CONFIG, CHOICES, resumed_step)
    resume = run_dir / "checkpoints" / "last.ckpt" if resumed_step is not None else None
    try:
        return train(
            run_dir,
            steps,
            [SampleGrids(every=2, n=4), *(extra or []), Checkpoint()],
            loggers,
            resume=resume,
            log_every=2,
        )
    finally:
        node.finish({"best/quality/fid": 3.5})


def children() -> list[str]:
    return subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    ).stdout.splitlines()


def assert_nothing_left() -> None:
    assert not [line for line in children() if "wandb" in line]


def test_an_offline_run_is_complete(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "gentrain"):
        run(run_dir, Loggers("auto", group="lipschitz", tags=["first"]))
    found = read(run_dir)
    assert (found.run.display_name, found.run.project, found.run.run_group) == (
        "wgan_gp-noise seed=7",
        "gentrain",
        "lipschitz",
    )
    assert (found.run.job_type, list(found.run.tags)) == ("train", ["wgan_gp", "noise", "first"])
    flat = {"seed": 7, "steps": 4, "scheme.critic_steps": 3, "choices.model": "wgan_gp"}
    assert {key: found.config[key] for key in flat} == flat
    assert found.axes["*"] == "trainer/global_step"
    curve = [
        (row["trainer/global_step"], row["critic/adversarial"])
        for row in found.history
        if "critic/adversarial" in row
    ]
    assert [step for step, _ in curve] == [2, 4]
    pictures = [row["trainer/global_step"] for row in found.history if "samples/filenames" in row]
    assert (
        pictures == [0, 2, 4]
        and len(list(run_dir.glob("wandb/offline-run-*/files/media/images/*.png"))) == 4
    )
    captions = [row["samples/captions"] for row in found.history if "samples/captions" in row]
    assert captions[1] == ["step-000002, step 2, seed 0"]
    assert [row["trainer/global_step"] for row in found.history if "real/filenames" in row] == [0]
    assert "has no API key; this run is kept offline" in caplog.text
    assert found.summary["best/quality/fid"] == 3.5
    folder = next(run_dir.glob("wandb/offline-run-*"))
    assert f"wandb sync {folder}" in caplog.text
    assert_nothing_left()


def test_what_is_removed_is_not_to_be_uploaded(
    tmp_path: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A refusal after the dashboards were opened leaves no directory, and speaks of none."""
    done = in_process(tmp_path, env, monkeypatch, capsys)(
        "model=gan", "network=mlp", "data=mnist_5k", "quality=none", "trainer=cpu", "steps=1",
        "data.batch_size=5000", "hydra.run.dir=refused", "logger.mode=offline",
    )  # fmt: skip
    assert done.status == 2 and "(data.batch_size)" in done.stderr
    assert not (tmp_path / "refused").exists()
    assert "wandb sync" not in done.stdout + done.stderr and "refused/wandb" not in done.stderr


@pytest.mark.parametrize("kept", [True, False])
def test_how_to_look_at_a_run_is_said_of_one_that_is_kept(
    run_dir: Path, caplog: pytest.LogCaptureFixture, kept: bool
) -> None:
    node = Loggers("offline", tensorboard=True)
    for logger in node.make(run_dir, CONFIG, CHOICES):
        logger.log_metrics({"a": 1.0}, step=1)
    with caplog.at_level("INFO", "gentrain"):
        node.finish(kept=kept)
    said = [line.split("`")[1] for line in caplog.messages if "`" in line]
    folder = next(run_dir.glob("wandb/offline-run-*"))
    assert said == [f"wandb sync {folder}", f"tensorboard --logdir {run_dir}/tensorboard/"] * kept


def test_a_resumed_run_is_the_same_run(run_dir: Path) -> None:
    run(run_dir, Loggers("offline"))
    first = read(run_dir).run.run_id
    time.sleep(1)  # the folders are named by the second
    run(run_dir, Loggers("offline"), steps=6, resumed_step=4)
    assert (
        read(run_dir).run.run_id == first == (run_dir / "wandb" / "run-id.txt").read_text().strip()
    )
    time.sleep(1)
    run(run_dir, Loggers("offline"))  # a new run in the same place
    assert read(run_dir).run.run_id != first


def test_only_finite_numbers_are_logged(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B writes JSON, which has no NaN."""
    logged: list[dict[str, float]] = []
    monkeypatch.setattr(
        WandbLogger, "log_metrics", lambda self, metrics, step: logged.append(metrics)
    )
    dashboard = WandbDashboard(save_dir=run_dir, id="a", mode="offline", init_timeout=1.0)
    dashboard.log_metrics({"a": 1.0, "b": float("nan"), "c": float("-inf")}, 3)
    assert logged == [{"a": 1.0}]


@pytest.mark.slow
def test_no_step_is_sent_twice(run_dir: Path) -> None:
    """A run that was killed after step 4 goes on from its checkpoint of step 2."""
    run(run_dir, Loggers("offline"))
    time.sleep(1)  # the folders are named by the second
    node = Loggers("offline")
    node.make(run_dir, CONFIG, CHOICES, resumed_step=2)
    (dashboard,) = dashboards(node.made)
    for step in (3, 4, 5):
        dashboard.log_metrics({"x": 1.0}, step)  # type: ignore[attr-defined]
    node.finish()
    assert [row["trainer/global_step"] for row in read(run_dir).history] == [5]


def test_names_and_projects_of_the_environment(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_NAME", "tuesday")
    run(run_dir, Loggers("offline"), steps=2)
    found = read(run_dir).run
    assert (found.project, found.display_name) == ("mine", "tuesday")


def test_a_name_says_what_was_overridden(run_dir: Path) -> None:
    (run_dir / ".hydra").mkdir(parents=True)
    words = ["model=wgan_gp", "data=noise", "steps=4", "scheme.optimizers.critic.lr=1e-3", "seed=3"]
    (run_dir / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
    assert run_name(run_dir, CONFIG, CHOICES) == "wgan_gp-noise lr=1e-3 seed=3"
    words[3] = "scheme.optimizers.generator.lr=${scheme.optimizers.critic.lr}"  # what lr= leaves
    (run_dir / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
    assert "seed=3" in run_name(run_dir, CONFIG, CHOICES)


def test_the_best_score_is_the_summary(run_dir: Path) -> None:
    run(run_dir, Loggers("offline"), steps=2)
    assert read(run_dir).axes["quality/nats"] == "trainer/global_step"


# --- other dashboards -----------------------------------------------------------------------------


def test_tensorboard(run_dir: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(run_dir, Loggers("off", tensorboard=True))
    run(run_dir, Loggers("off", tensorboard=True), steps=6, resumed_step=4)
    found = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    assert [each.step for each in found.Scalars("critic/adversarial")] == [2, 4, 6]
    assert [each.step for each in found.Images("samples")] == [0, 2, 4, 6]
    assert [each.step for each in found.Images("real")] == [0]
    assert "hp_metric" not in found.Tags()["scalars"]  # Lightning's is -1 for every run
    assert not list(run_dir.glob("wandb"))


def test_sounds_are_played(run_dir: Path) -> None:
    """In W&B without the package that it needs for a list of sounds, and in TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    node = Loggers("offline", tensorboard=True)
    made = node.make(run_dir, CONFIG, CHOICES)
    sound = torch.sin(torch.arange(800) / 9)[None]
    write_wav(sound, 8000, run_dir / "a.wav")
    for dashboard in dashboards(made):
        dashboard.play_sound("samples", run_dir / "a.wav", 3, "step 3")
    node.finish()
    (kept,) = run_dir.glob("wandb/offline-run-*/files/media/audio/samples_audio_*.wav")
    assert kept.read_bytes() == (run_dir / "a.wav").read_bytes()
    (event,) = EventAccumulator(str(run_dir / "tensorboard")).Reload().Audio("samples")
    assert event.step == 3 and event.sample_rate == 8000 and len(event.encoded_audio_string) > 1600


def test_mlflow(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")  # it brings twenty packages, so `make setup` leaves it out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    from mlflow.tracking import MlflowClient

    run(run_dir, Loggers("off", mlflow=True, project="first"))
    client = MlflowClient(f"file:{tmp_path / 'mlruns'}")
    experiment = client.get_experiment_by_name("first")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["scheme.critic_steps"] == "3"
    assert found.data.metrics["best/quality/fid"] == 3.5
    steps = [
        each.step for each in client.get_metric_history(found.info.run_id, "critic/adversarial")
    ]
    assert steps == [2, 4]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_dashboard_that_is_not_installed(
    name: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gentrain.training.loggers.others.find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"{name} is not installed \(logger={name}\); pip install"):
        Loggers("off", **{name: True}).make(run_dir, CONFIG, CHOICES)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("logger=[wandb,tensorboard]", ["logger=wandb", "logger.tensorboard=true"]),
        ("logger=[tensorboard]", ["logger=csv", "logger.tensorboard=true"]),
        ("logger=[auto, mlflow]", ["logger=auto", "logger.mlflow=true"]),
        ("logger=csv", ["logger=csv"]),
    ],
)
def test_several_loggers(typed: str, meant: list[str]) -> None:
    assert several_loggers([typed]) == meant


def test_loggers_that_exclude_each_other() -> None:
    with pytest.raises(UserError, match=r"auto and csv at once \(logger\)"):
        several_loggers(["logger=[auto,csv]"])
    with pytest.raises(UserError, match=r"artifact.*\(logger.artifact\)"):
        Loggers("off", artifact=True).make("run", CONFIG, CHOICES)


def test_a_doctors_verdict_is_an_alert(run_dir: Path) -> None:
    verdict = Finding("mode collapse", "fakes differ by 0.01", "tricks=[minibatch_discrimination]")

    class Worried(Doctor):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: object) -> None:
            if pl_module.due(2):
                self.report(trainer, verdict)

    run(run_dir, Loggers("offline"), extra=[Worried()])
    assert read(run_dir).alerts == [
        (f"mode collapse at step {step}", str(verdict)) for step in (2, 4)
    ]


@pytest.mark.slow
def test_two_runs_in_one_process_are_two(tmp_path: Path) -> None:
    run(tmp_path / "a", Loggers("offline"))
    run(tmp_path / "b", Loggers("offline"))
    assert read(tmp_path / "a").run.run_id != read(tmp_path / "b").run.run_id


def test_an_online_run_arrives(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        with caplog.at_level("INFO", "gentrain"):
            run(run_dir, Loggers("auto", group="g"))
    assert (
        server.settled("displayName"),
        server.settled("groupName"),
        server.settled("jobType"),
    ) == ("wgan_gp-noise seed=7", "g", "train")
    assert server.settled("tags") == ["wgan_gp", "noise"]
    config = json.loads(server.settled("config"))
    assert config["choices.model"]["value"] == "wgan_gp" and config["seed"]["value"] == 7
    assert [
        row["trainer/global_step"] for row in server.history if "critic/adversarial" in row
    ] == [2, 4]
    assert server.summary["best/quality/fid"] == 3.5
    assert len([name for name in server.files if name.startswith("media/images/samples")]) == 3
    assert server.url in caplog.text and "wandb sync" not in caplog.text
    assert_nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["refuses", "is silent"])
def test_a_server_that_is_not_there(
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    silent_port: int,
    answer: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        refusing = unused.getsockname()[1]
    monkeypatch.setenv(
        "WANDB_BASE_URL", f"http://127.0.0.1:{refusing if answer == 'refuses' else silent_port}"
    )
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    began = time.monotonic()
    model = run(run_dir, Loggers("online", init_timeout=3))
    assert time.monotonic() - began < 60
    assert model.global_step == 4 and read(run_dir).history
    assert (
        len([r for r in caplog.records if r.name == "gentrain" and r.levelname == "WARNING"]) == 1
    )
    assert_nothing_left()


@pytest.mark.slow
def test_a_server_that_goes_away(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gentrain.training.loggers.wandb.FINISH_TIMEOUT", 3.0)
    with Server() as server:

        class Gone(L.Callback):
            def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
                if trainer.global_step == 2:
                    server.http.shutdown()
                    server.http.server_close()

        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        began = time.monotonic()
        with caplog.at_level("INFO", "gentrain"):
            assert run(run_dir, Loggers("auto"), extra=[Gone()]).global_step == 4
        assert time.monotonic() - began < 60
    assert "wandb sync" in caplog.text
    assert_nothing_left()


def test_an_error_while_training_is_told_once(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(L.Callback):
        def on_train_start(self, trainer: L.Trainer, *_: object) -> None:
            def log(*_: object, **__: object) -> None:
                raise RuntimeError("the service is gone\nand more")

            trainer.loggers[1].experiment.log = log

    assert run(run_dir, Loggers("offline"), extra=[Broken()]).global_step == 4
    warnings = [r.getMessage() for r in caplog.records if r.name == "gentrain"]
    assert warnings[
        0
    ] == "W&B: the service is gone; the training goes on without it" and "service" not in " ".join(
        warnings[1:]
    )


def test_online_without_a_key_is_refused_at_once(run_dir: Path) -> None:
    code = "import time, sys; from gentrain.training.loggers import Loggers; t = time.monotonic()\n"
    code += "try: Loggers('online').make(sys.argv[1], {}, {})\n"
    code += "except Exception as e: print(type(e).__name__, time.monotonic() - t, e)"
    asked = {key: value for key, value in os.environ.items() if key.startswith("WANDB_")}
    out = python(run_dir.parent, plain() | asked, "-c", code, str(run_dir))
    name, seconds, *message = out.stdout.split()
    assert name == "UserError" and float(seconds) < 20 and "logger=wandb" in " ".join(message), out


def test_a_malformed_key(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match="WANDB_API_KEY"):
        Loggers("online").make(run_dir, {}, {})
    assert Loggers("auto").resolve() == "offline"


@pytest.mark.parametrize(
    ("mode", "asked", "resolved"),
    [
        ("auto", "offline", "offline"),
        ("auto", "disabled", "off"),
        ("auto", "online", "online"),
        ("online", "offline", "offline"),
        ("offline", "online", "offline"),
        ("off", "online", "off"),
        ("auto", None, "offline"),
    ],
)
def test_modes(
    monkeypatch: pytest.MonkeyPatch, mode: str, asked: str | None, resolved: str
) -> None:
    if asked:
        monkeypatch.setenv("WANDB_MODE", asked)
    assert Loggers(mode).resolve() == resolved  # type: ignore[arg-type]


def test_a_key_in_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1:9 login user password {KEY}\n")
    assert Loggers("auto").resolve() == "online"
