"""Certificates of what trains: whose weights an optimizer holds, and with which numbers."""

from __future__ import annotations

from typing import Any

import torch

from gentrain.certificates.base import Certificate
from gentrain.certificates.subject import objectives, players
from gentrain.config.build import build
from gentrain.training.adversarial import AdversarialModule
from gentrain.training.module import TrainingModule


class Optimizers(Certificate):
    """Each player's optimizer holds all weights of the player, and no others."""

    of = (TrainingModule,)
    property = "each player has its own optimizer with the preset's numbers, for its weights alone"
    source = "Goodfellow et al., 2014, algorithm 1; the paper's hyperparameters"
    bound = 0.0

    def measure(self) -> float:
        model = self.subject.model()
        scheme = build(self.subject.config["scheme"], "scheme", model=model)
        wrong = 0
        made = scheme.make_optimizers(players(model))
        for name, player in players(model).items():
            held = {id(p) for group in made[name].param_groups for p in group["params"]}
            every = {id(p) for p in player.parameters()}
            learned = {id(p) for p in player.parameters() if p.requires_grad}
            wrong += not learned <= held <= every
            given = self.subject.config["scheme"]["optimizers"][name]
            wrong += sum(self.differs(made[name], key, value) for key, value in given.items())
        objective = {name: each.__func__ for name, each in objectives(model).items()}
        wrong += {name: each.__func__ for name, each in scheme.objectives.items()} != objective
        return float(wrong)

    def differs(self, optimizer: Any, key: str, value: Any) -> bool:
        """Whether an option of the configuration is not that of the optimizer."""
        if key.startswith("_"):
            return False
        found = optimizer.defaults[key]
        return bool(torch.any(torch.as_tensor(found) != torch.as_tensor(value)))


class OpponentRests(Certificate):
    """While a player is updated, the other one's weights ask for no gradient."""

    of = (AdversarialModule,)
    property = "critic_steps updates of the critic, then one of the generator; the other rests"
    source = "Goodfellow et al., 2014, algorithm 1; Arjovsky et al., 2017, algorithm 1"
    bound = 0.0

    def measure(self) -> float:
        model, turns = self.subject.model(), list[str]()
        scheme: Any = build(self.subject.config["scheme"], "scheme", model=model)
        scheme.players = {name: list(each.parameters()) for name, each in players(model).items()}
        wrong = 0

        def updated(player: str, *_: Any) -> dict[str, Any]:
            nonlocal wrong
            turns.append(player)
            asked = {n for n, ps in scheme.players.items() if any(p.requires_grad for p in ps)}
            wrong += asked != {player}
            return {}

        # an update without its arithmetic
        scheme.update, scheme.gradient_step = updated, lambda player, batches: None
        scheme.step_schedules = lambda: None
        steps = scheme.critic_steps
        batches = [self.subject.batch] * steps * scheme.accumulate
        scheme.train_critic(None, batches)
        scheme.train_generator(None, batches)
        return float(wrong + (turns != ["critic"] * steps + ["generator"]))
