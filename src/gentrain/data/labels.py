"""What the labels of a data set say of an image: one of K classes, K attributes, or a caption.

A kind of labels knows all that depends on it: how labels become a vector, how likely they are under
K logits, and what "another label" means. Data and models have the same one (data.label_kind).
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.config.types import Count
from gentrain.errors import UserError

FEW = 20  # names that a message lists
NUMBER = re.compile(r"[-+]?\d+")
WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


class LabelKind(ABC):
    """One kind of labels; a batch of them is int64 (B, ...)."""

    rows: str  # which rows of a table of attributes have a label, in messages
    one_class: bool  # an image has exactly one
    choice: str  # how a user chooses, in messages
    listed: bool = True  # each of K classes or attributes can be asked for, one after the other
    mode: str = "mode=class_grid"  # shows samples of labels that the user chooses
    fitting: str  # a data set with such labels, and a model that learns from them, in messages

    def check_names(self, names: Sequence[str]) -> None:  # noqa: B027 (few kinds have names)
        """Refuse names of attributes that are not those of the data.

        Raises:
            UserError: for other names, or another order.
        """

    @abstractmethod
    def vectors(self, y: Tensor, classes: int) -> Tensor:
        """Labels as float (B, K), of ones and zeros."""

    @abstractmethod
    def others(self, y: Tensor, classes: int) -> Tensor:
        """Draw for each label another one, one step away, each equally likely."""

    @abstractmethod
    def named(self, words: str, names: Sequence[str], key: str = "domain") -> Tensor:
        """The label that a user names.

        Args:
            words: what was typed.
            names: those of the classes.
            key: as which they were typed.

        Raises:
            UserError: for a name that there is not.
        """

    @abstractmethod
    def text(self, label: Tensor, names: Sequence[str]) -> str:
        """A label (...) in words, as `named` reads them.

        Args:
            label: of one image.
            names: those of the classes.
        """

    # --- labels of which each is a class, a domain or an attribute --------------------------------

    def no_classes(self) -> UserError:
        """The refusal of labels that are no classes."""
        return UserError(
            f"labels are {type(self).__name__.lower()}, which are no classes (data.label_kind); "
            "choose other data"
        )

    def of_table(self, has: Tensor) -> tuple[Tensor, Tensor]:
        """Labels of a table.

        Args:
            has: bool (N, K), which of K attributes each row has.

        Returns:
            Labels (M, ...), and the rows (M,) that have one.
        """
        raise self.no_classes()

    def nll(self, logits: Tensor, y: Tensor) -> Tensor:
        """-log P(y | logits), the mean over the batch; logits are (B, K)."""
        raise self.no_classes()

    def predict(self, logits: Tensor) -> Tensor:
        """The most likely labels under logits (B, K)."""
        raise self.no_classes()

    def accuracy(self, logits: Tensor, y: Tensor) -> Tensor:
        """The share of labels, or of attributes, that the logits predict."""
        return (self.predict(logits) == y).float().mean()

    def turned(self, y: Tensor, k: Tensor) -> Tensor:
        """The labels of translations of images with labels y to the domains k (B,).

        Args:
            y: labels of the images.
            k: int64 (B,) in 0 ... K - 1.
        """
        raise self.no_classes()

    def following(self, y: Tensor, classes: int) -> Tensor:
        """For each label another one that is fixed."""
        raise self.no_classes()


class Exclusive(LabelKind):
    """Each image is of one of K classes; labels are (B,), their numbers."""

    rows, choice, one_class = "exactly one of", "one of", True
    fitting = "data=mnist_5k with model=cgan"

    def of_table(self, has: Tensor) -> tuple[Tensor, Tensor]:
        rows = (has.sum(1) == 1).nonzero()[:, 0]
        return has[rows].long().argmax(1), rows

    def vectors(self, y: Tensor, classes: int) -> Tensor:
        return F.one_hot(y, classes).float()

    def nll(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y)

    def predict(self, logits: Tensor) -> Tensor:
        return logits.argmax(1)

    def turned(self, y: Tensor, k: Tensor) -> Tensor:
        """The domains themselves."""
        return k

    def others(self, y: Tensor, classes: int) -> Tensor:
        return (y + torch.randint_like(y, 1, classes)) % classes

    def following(self, y: Tensor, classes: int) -> Tensor:
        """The next number; the first after the last."""
        return (y + 1) % classes

    def named(self, words: str, names: Sequence[str], key: str = "domain") -> Tensor:
        return torch.tensor(number_of(words, names))

    def text(self, label: Tensor, names: Sequence[str]) -> str:
        return names[int(label)]


class Attributes(LabelKind):
    """Each image has any of K attributes; labels are (B, K), 1 for one that it has, else 0.

    The likelihood is that of independent attributes: binary cross-entropies, summed over the
    attributes and averaged over the batch (Choi et al., "StarGAN", 2018, as in the authors' code).

    A translation changes one attribute: it takes away one that the image has, and gives one that it
    has not. Of exclusive attributes it gives the one, and takes away the others.

    Args:
        names: K names of attributes.
        exclusive: groups of names of which an image has at most one, such as hair colours. A group
            may name more attributes than there are here.
    """

    rows, choice, one_class = "a line for", "some, with + between them, of", False
    fitting = "data=celeba_attributes with model=stargan"

    def __init__(self, names: Sequence[str], exclusive: Sequence[Sequence[str]] = ()) -> None:
        self.names, self.exclusive = list(names), [list(group) for group in exclusive]
        K = len(self.names)
        rivals = torch.zeros(K, K, dtype=torch.bool)  # k's group, k included; empty without one
        for group in self.exclusive:
            places = [k for k, name in enumerate(self.names) if name in group]
            for k in places:
                rivals[k, places] = len(places) > 1
        self.rivals = rivals

    def check_names(self, names: Sequence[str]) -> None:
        if self.names != list(names):
            raise UserError(
                f"labels are of {', '.join(self.names)}, and the data have {', '.join(names)} "
                "(data.label_kind.names); set data.attributes alone"
            )

    def of_table(self, has: Tensor) -> tuple[Tensor, Tensor]:
        return has.long(), torch.arange(len(has))

    def vectors(self, y: Tensor, classes: int) -> Tensor:
        return y.float()

    def nll(self, logits: Tensor, y: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype), reduction="none")
        return each.sum(1).mean()

    def predict(self, logits: Tensor) -> Tensor:
        return (logits > 0).long()

    def turned(self, y: Tensor, k: Tensor) -> Tensor:
        """Attribute k, changed."""
        chosen, group = F.one_hot(k, len(self.names)), self.rivals.to(y.device)[k]
        alone = torch.where(chosen == 1, 1 - y, y)
        return torch.where(group.any(1, keepdim=True), torch.where(group, chosen, y), alone)

    def others(self, y: Tensor, classes: int) -> Tensor:
        """One attribute, drawn among those whose change makes another label, is changed."""
        each = torch.stack([self.turned(y, torch.full_like(y[:, 0], k)) for k in range(classes)], 1)
        differs = (each != y[:, None]).any(2).float()
        k = torch.multinomial(differs, 1)[:, 0]
        return each[torch.arange(len(y), device=y.device), k]

    def following(self, y: Tensor, classes: int) -> Tensor:
        """The attributes in turn, from image to image."""
        return self.turned(y, torch.arange(len(y), device=y.device) % classes)

    def named(self, words: str, names: Sequence[str], key: str = "domain") -> Tensor:
        """The attributes that are named, with + between them, and none of the others."""
        label = torch.zeros(len(names), dtype=torch.int64)
        for word in words.split("+"):
            label[number_of(word, names)] = 1
        return label

    def text(self, label: Tensor, names: Sequence[str]) -> str:
        """The attributes that it has, with + between them; "none" without any."""
        return "+".join(names[k] for k in label.nonzero().flatten().tolist()) or "none"


class Captions(LabelKind):
    """Each image has a caption; labels are (B, L), the numbers of its words in a vocabulary.

    The vocabulary is the names of the classes. Its first entry, number 0, is no word: it fills up
    captions of fewer than L words.

    Args:
        length: the most words of a caption, L.
    """

    rows, choice, one_class, listed = "a caption for", "a caption of the words", False, False
    mode, fitting = "mode=captions", "data=captioned_digits with model=gan_cls"

    def __init__(self, length: Count) -> None:
        self.length = length

    def vectors(self, y: Tensor, classes: int) -> Tensor:
        """Ones for the words of each caption, in any order."""
        return F.one_hot(y, classes).amax(1).float() * (torch.arange(classes, device=y.device) > 0)

    def others(self, y: Tensor, classes: int) -> Tensor:
        """Captions of other images of the batch; see `other_captions`."""
        return other_captions(y)

    def named(self, words: str, names: Sequence[str], key: str = "domain") -> Tensor:
        """The numbers of the words of a text, (L,)."""
        found = words_of(words)
        if not found:
            raise UserError(f"no words in {words!r} ({key}); write a caption")
        if len(found) > self.length:
            raise UserError(
                f"{len(found)} words in {words!r}, and captions have at most {self.length} "
                f"({key}); write a shorter one"
            )
        known = {name: number for number, name in enumerate(names) if number}
        if unknown := [word for word in found if word not in known]:
            raise unknown_name(unknown[0], list(known), "word", key)
        return self.filled([known[word] for word in found])

    def filled(self, numbers: Sequence[int]) -> Tensor:
        """Numbers of words as a label (L,); those beyond L words are left out."""
        kept = list(numbers[: self.length])
        return torch.tensor(kept + [0] * (self.length - len(kept)))

    def text(self, label: Tensor, names: Sequence[str]) -> str:
        """The words of a label (L,)."""
        return " ".join(names[number] for number in label.tolist() if number)


def other_captions(y: Tensor) -> Tensor:
    """For each caption of a batch (B, L) one that differs, drawn; itself where all are the same."""
    differs = (y[:, None] != y[None]).any(2)
    alone = torch.diag((~differs.any(1)).float())
    return y[torch.multinomial(differs.float() + alone, 1)[:, 0]]


def one_word_off(y: Tensor) -> Tensor:
    """Each caption of a batch (B, L) with one word exchanged, drawn.

    The word at a place comes from the same place of another caption of as many words. A caption of
    which all others are the same, or of other lengths, gets another one as in `other_captions`.
    """
    length = (y > 0).sum(1)
    fits = (y[:, None] != y[None]).any(2) & (length[:, None] == length[None])
    alone = ~fits.any(1)
    row = torch.arange(len(y), device=y.device)
    other = y[torch.multinomial((fits | torch.diag(alone)).float(), 1)[:, 0]]
    differs = (other != y).float()
    differs[alone] = 1
    place = torch.multinomial(differs, 1)[:, 0]
    found = y.clone()
    found[row, place] = other[row, place]
    return torch.where(alone[:, None], other_captions(y), found)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation.

    >>> words_of("A small red seven, top left; it's on blue.")
    ['a', 'small', 'red', 'seven', 'top', 'left', "it's", 'on', 'blue']
    """
    return WORD.findall(text.lower())


def unknown_name(word: str, names: Sequence[str], what: str, key: str) -> UserError:
    """The refusal of a name that there is not, with some that there are."""
    near = difflib.get_close_matches(word, names, 5) or names[:FEW]
    some = names if len(names) <= FEW else near
    more = "" if len(some) == len(names) else f", or another of {len(names)}"
    return UserError(f"no {what} {word} ({key}); give one of {', '.join(some)}{more}")


def number_of(word: str, names: Sequence[str], what: str = "domain", key: str = "domain") -> int:
    """The number of a domain or class that was given by its name, or else by its number.

    Where any name is a number, as of folders 1, 2, 10, a word is a name only.

    Args:
        word: the name or the number.
        names: of all, by their number.
        what: the word for one of them, in a message.
        key: the option, in a message.

    Raises:
        UserError: for any other word.
    """
    known = {name: i for i, name in enumerate(names)}
    if not any(NUMBER.fullmatch(name) for name in names):
        known = {str(i): i for i in range(len(names))} | known
    if word not in known:
        raise unknown_name(word, names, what, key)
    return known[word]
