"""The shape of the source: floors, circles, names, lengths. It reads files and imports nothing.

`CONTRIBUTING.md` says what the rules are; here they are held. Each test prints every place that
breaks its rule, so that one run shows all the work.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "gentrain"

# An import may only point to a lower floor. A package may also use its own modules.
FLOORS = (
    ("__init__", "__main__"),
    ("demos",),
    ("api",),
    ("cli",),
    ("commands",),
    ("sweeps",),
    ("certificates",),
    ("training",),
    ("quality",),
    ("models",),
    ("adversarial",),
    ("networks", "layers", "samplers"),
    ("runs",),
    ("data",),
    ("config",),
    ("capability", "cores", "files", "imports", "protocols", "streams", "tables"),
    ("patience",),
    ("errors", "version"),
)
BESIDE = {("networks", "layers")}  # the one arrow inside a floor
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}

MAX_COLUMNS = 100
MAX_FUNCTION = 50  # lines
MAX_PROBES = 4.0  # isinstance, hasattr and getattr per 1,000 lines
MAX_BYTES = 1_000_000
PROBES = ("isinstance", "hasattr", "getattr")


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrow:
    """One import of one module by another, both as dotted names below `gentrain`."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{path_of(self.source)}:{self.line} imports gentrain.{self.target}"


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name: "cli.main", "networks.__init__"."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def path_of(module: str) -> str:
    return str(modules()[module].relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


def resolve(dotted: list[str]) -> str | None:
    """The module that a dotted name below `gentrain` lies in; the package itself is its index."""
    for end in range(len(dotted), -1, -1):
        name = ".".join(dotted[:end])
        if name in modules():
            return name
        index = f"{name}.__init__" if name else "__init__"
        if index in modules():
            return index
    return None


def targets(node: ast.AST, package: list[str]) -> Iterator[list[str]]:
    """What an import statement names, below `gentrain`; nothing for other packages."""
    match node:
        case ast.Import(names=names):
            dotted = [alias.name.split(".") for alias in names]
        case ast.ImportFrom(module=module, level=level, names=names):
            base = ["gentrain", *package[: len(package) - level + 1]] if level else []
            base += module.split(".") if module else []
            dotted = [[*base, alias.name] for alias in names]
        case _:
            return
    yield from (parts[1:] for parts in dotted if parts[0] == "gentrain")


@cache
def arrows() -> tuple[Arrow, ...]:
    """Every import inside the package, lazy and type-checking ones too."""
    found = []
    for source, path in modules().items():
        package = source.split(".")[:-1]
        for node in nodes(path):
            for dotted in targets(node, package):
                target = resolve(dotted)
                if target is not None and target != source:
                    found.append(Arrow(source, target, node.lineno))  # type: ignore[attr-defined]
    return tuple(found)


@cache
def files(*patterns: str) -> tuple[Path, ...]:
    """The project's own files that match; this one, which lists forbidden words, is left out."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return tuple(sorted(path for path in found - {Path(__file__)} if not in_cache(path)))


def in_cache(path: Path) -> bool:
    return any(part.startswith((".", "__pycache")) for part in path.relative_to(ROOT).parts[:-1])


def python_files() -> tuple[Path, ...]:
    places = ("src/**/*.py", "tests/**/*.py", "scripts/*.py", "benchmarks/*.py")
    return files(*places, "examples/**/*.py")


def config_files() -> tuple[Path, ...]:
    return files("conf/**/*.yaml", "examples/**/*.yaml")


def prose_files() -> tuple[Path, ...]:
    return files("*.md", "docs/**/*.md", "benchmarks/**/*.md", "Makefile")


@cache
def lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8").splitlines())


def places(pattern: str, paths: Iterable[Path]) -> list[str]:
    """Where a pattern matches, as "file:line: text"."""
    wanted = re.compile(pattern)
    found = []
    for path in paths:
        if not wanted.search(path.read_text(encoding="utf-8")):
            continue
        for number, line in enumerate(lines(path), 1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {match.group()}"
                for match in wanted.finditer(line)
            ]
    return found


def nothing(found: Iterable[object], rule: str) -> None:
    """Fail with every place that breaks a rule."""
    broken = list(dict.fromkeys(map(str, found)))
    if broken:
        pytest.fail(f"{rule} ({len(broken)}):\n  " + "\n  ".join(broken), pytrace=False)


# --- floors and circles ---------------------------------------------------------------------------


def room(module: str) -> str:
    """The package, or the module of the top floor, that a module belongs to."""
    return module.split(".")[0]


def runs_up(arrow: Arrow) -> bool:
    above, below = room(arrow.source), room(arrow.target)
    if above == below or (above, below) in BESIDE:
        return False
    return LEVEL[below] <= LEVEL[above]


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan, 1972)."""
    following: dict[str, set[str]] = {}
    for source, target in edges:
        following.setdefault(source, set()).add(target)
        following.setdefault(target, set())
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(following[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(following):
        if node not in index:
            visit(node)
    return found


def test_every_package_has_a_floor() -> None:
    nothing(sorted({room(module) for module in modules()} - set(LEVEL)), "not in the plan")


def test_imports_point_to_lower_floors() -> None:
    nothing((arrow for arrow in arrows() if runs_up(arrow)), "imports that run up")


def test_no_circle_between_packages() -> None:
    between = {(room(a.source), room(a.target)) for a in arrows()}
    nothing(circles({(a, b) for a, b in between if a != b}), "packages that import each other")


def test_no_circle_between_modules() -> None:
    nothing(circles({(a.source, a.target) for a in arrows()}), "modules that import each other")


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ("ab bc", []),
        ("ab ba", [["a", "b"]]),
        ("ab bc ca cd", [["a", "b", "c"]]),
        ("ab ba cd dc bc", [["a", "b"], ["c", "d"]]),
    ],
)
def test_circles_are_found(edges: str, expected: list[list[str]]) -> None:
    assert sorted(circles((edge[0], edge[1]) for edge in edges.split())) == expected


def test_lazy_and_relative_imports_are_read() -> None:
    lazy = ast.parse("def f():\n    from gentrain.cli import main\n    from ..errors import X")
    read = [".".join(t) for node in ast.walk(lazy) for t in targets(node, ["data"])]
    assert read == ["cli.main", "errors.X"]
    assert resolve(["cli", "main"]) == "cli.main"
    assert resolve(["errors", "UserError"]) == "errors"
    assert runs_up(Arrow("data.base", "cli.main", 1))
    assert not runs_up(Arrow("networks.mlp", "layers.activation", 1))
    assert runs_up(Arrow("layers.activation", "networks.mlp", 1))


# --- lengths and probes ---------------------------------------------------------------------------


def test_lines_are_short() -> None:
    """Tables, pictures and links of Markdown cannot be broken, and are left out.

    So are the reports in benchmarks/results, which programs have written.
    """
    unbreakable = re.compile(r"^\s*(\||!?\[!?\[|<|https?:)")
    paths = (*python_files(), *config_files(), *prose_files(), Path(__file__))
    nothing(
        (
            f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
            for path in paths
            if path.parent != ROOT / "benchmarks/results"
            for number, line in enumerate(lines(path), 1)
            if len(line) > MAX_COLUMNS and not (path.suffix == ".md" and unbreakable.match(line))
        ),
        f"lines of more than {MAX_COLUMNS} columns",
    )


def test_functions_fit_one_thought() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nothing(
        (
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines"
            for path in files("src/**/*.py", "scripts/*.py", "benchmarks/*.py")
            for node in nodes(path)
            if isinstance(node, functions)
            and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION
        ),
        f"functions of more than {MAX_FUNCTION} lines",
    )


def calls(path: Path, names: tuple[str, ...]) -> Iterator[ast.Call]:
    for node in nodes(path):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in names:
                yield node


def test_probes_are_rare() -> None:
    paths = files("src/**/*.py")
    probes = sum(1 for path in paths for _ in calls(path, PROBES))
    share = 1000 * probes / sum(len(lines(path)) for path in paths)
    assert share <= MAX_PROBES, f"{share:.1f} of {', '.join(PROBES)} per 1,000 lines"


# Variables that hold a model, one of its networks or a data set, by their names in this project.
MODELS = {"model", "models", "module", "pl_module", "network", "generator", "critic", "encoder"}
MODELS |= {"decoder", "body", "teacher", "data", "dataset", "datamodule", "loader", "images"}


def probes_a_model(call: ast.Call) -> bool:
    """Whether a call is `hasattr(model, ...)`, `getattr(model, "x")` or `getattr(model, n, None)`.

    `getattr(model, name)` alone reads an attribute that must be there.
    """
    match call:
        case ast.Call(
            func=ast.Name(id=probe), args=[ast.Name(id=owner) | ast.Attribute(attr=owner), *rest]
        ):
            fixed = bool(rest) and isinstance(rest[0], ast.Constant)
            return owner in MODELS and (probe == "hasattr" or fixed or len(rest) > 1)
    return False


def test_models_and_data_are_not_probed() -> None:
    """Capabilities are declared: see `gentrain.capability`."""
    nothing(
        (
            f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}"
            for path in files("src/**/*.py")
            if path != PACKAGE / "capability.py"
            for call in calls(path, ("hasattr", "getattr"))
            if probes_a_model(call)
        ),
        "models or data are asked what they have",
    )


# --- names ----------------------------------------------------------------------------------------


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of version 0.1 that are gone from code and prose, whole words in any case.
RETIRED_WORDS = words("""
    duel duels fool fools fooled judge judges judged judging stranger strangers persuasion
    misfortune misfortunes keeper keepers studio studios census
""")

# Classes, functions, constants and attributes of version 0.1: whole identifiers, as written.
RETIRED_NAMES = words("""
    AFTERWARDS Accompanied Alone Closeness DiagonalPast Duel Elsewhere Game GatedLayerPast
    GatedPast Here LSTMPast Late MADE_FOR Naive NatsSigns OfImages Past PixelCNNPast
    PixelRNNPast RowPast Scheme Solo Studio Unconditional Verdict at_rest bent bent_planar hand_on
    of_each_process own_of_all own_randomness refuse_strangers restore_own sees_labels undisturbed
""")

# Ordinary words that were names of functions, methods, attributes or keywords of one area. A local
# variable, or another area, may well use them.
RETIRED_DEFINITIONS = {
    "adversarial": words("beside together view Late coupling"),
    "cli": words("complain consult contrast draw meant score with_words write"),
    "commands/compare": words("judged"),
    "commands/sample": words("answer moved"),
    "data": words("few"),
    "models": words(
        "aside at_rest averaged beside compared contest extra fool judge moved persuasion survey"
        " terms together view watched"
    ),
    "models/gan": words("Given shown"),
    "quality": words("Judged Signs census"),
    "runs": words("essence named own release same told"),
    "sweeps": words(
        "Driver aside become enter exhaust keep leave standing told watch_keeper words"
    ),
    "training": words(
        "Maker admits adopt advanced equip leave makers misfortune own play played terms watched"
    ),
}
# Other libraries have attributes of these names (`tensor.view`): only definitions count.
COMMON = words("view own leave extra keep named same score write draw words terms release")

# Modules of version 0.1 that are gone from below `gentrain`.
RETIRED_MODULES = words("""
    augment losses regularizer lipschitz tricks callbacks checkpoints complaints compare contents
    density doctor energy evaluate export game likelihoods loggers objective pixels solo
    quality.nats quality.scores quality.modes quality.evaluation quality.classification sampling
    schedules schemes schema sweeps.keeper sweeps.driver sweeps.words data.stream data.samples
    models.acgan models.bigan models.biggan models.boltzmann models.colorization models.cyclegan
    models.distillation models.ebm models.hopfield models.inpainting models.pix2pix models.progan
    models.rbm models.realnvp models.semi_supervised models.stargan models.semi_supervised_vae
    models.vae_inpainting networks.causal
""")

# Choices of `network=` in version 0.1, and keys of networks that were wrapped in the YAML.
RETIRED_NETWORKS = words("""
    conditional_mlp conditional_dcgan projection_dcgan conditional_resnet classifier_mlp
    classifier_dcgan cycle_resnet cycle_unet domains_resnet domains_unet logits_mlp logits_dcgan
    bidirectional_mlp bidirectional_dcgan coding_mlp coding_conv classifying_coding_mlp
    classifying_coding_conv
""")
RETIRED_KEYS = words("""
    model.critic.critic model.generator.generator model.generator.translator
    model.generator.encoder
""")


def whole(names: Iterable[str]) -> str:
    return rf"(?<![\w])(?:{'|'.join(map(re.escape, sorted(names)))})(?![\w])"


def documents() -> list[Path]:
    """What users read; the change log names old names on purpose."""
    return [path for path in prose_files() if path.name != "CHANGELOG.md"]


def shipped() -> tuple[Path, ...]:
    """Code, configuration and documents, but no tests."""
    code = files("src/**/*.py", "scripts/*", "benchmarks/*.py")
    return (*code, *config_files(), *documents())


def test_retired_words_are_gone() -> None:
    nothing(places(f"(?i){whole(RETIRED_WORDS)}", shipped()), "private words")


def test_retired_names_are_gone() -> None:
    found = []
    for path in (*python_files(), *config_files()):
        if path.suffix == ".yaml":
            found += places(rf"\.{whole(RETIRED_NAMES)}", [path])
            continue
        found += [
            f"{path.relative_to(ROOT)}:{line}: {name}"
            for line, name in identifiers(path)
            if name in RETIRED_NAMES
        ]
    nothing(found, "names of version 0.1")


@cache
def identifiers(path: Path) -> tuple[tuple[int, str], ...]:
    """Every definition, attribute, argument, keyword and global name, with its line."""
    return tuple((getattr(node, "lineno", 0), name) for node in nodes(path) for name in named(node))


def named(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.arg(arg=name):
            yield name
        case ast.keyword(arg=str(name)):
            yield name
        case ast.alias(name=name):
            yield from name.split(".")


def definitions(path: Path) -> Iterator[tuple[int, str]]:
    """Functions, classes, fields, attributes and keywords."""
    for node in nodes(path):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.AnnAssign(target=ast.Name(id=name))
            ):
                yield node.lineno, name  # type: ignore[attr-defined]
            case ast.Attribute(attr=name) if name not in COMMON:
                yield node.lineno, name
            case ast.keyword(arg=str(name), value=value) if name not in COMMON:
                yield value.lineno, name


@pytest.mark.parametrize("area", sorted(RETIRED_DEFINITIONS))
def test_retired_definitions_are_gone(area: str) -> None:
    assert (PACKAGE / area).is_dir()
    nothing(
        (
            f"{path.relative_to(ROOT)}:{line}: {name}"
            for path in files(f"src/gentrain/{area}/**/*.py")
            for line, name in definitions(path)
            if name in RETIRED_DEFINITIONS[area]
        ),
        "definitions of version 0.1",
    )


def test_retired_modules_are_gone() -> None:
    """Neither as `gentrain.game` in text and imports, nor as a file.

    What recognises and refuses runs of version 0.1 names them on purpose.
    """
    dotted = rf"(?<![\w.-])gentrain\.(?:{'|'.join(map(re.escape, sorted(RETIRED_MODULES)))})(?!\w)"
    of_old_runs = {
        PACKAGE / "runs/directory.py",
        ROOT / "tests/runs/test_old_versions.py",
        ROOT / "tests/commands/compare/test_compare.py",
    }
    texts = (*python_files(), *config_files(), *documents(), ROOT / "pyproject.toml")
    paths = [path for path in texts if path not in of_old_runs]
    there = [
        module
        for module in sorted(RETIRED_MODULES)
        if module in modules() or f"{module}.__init__" in modules()
    ]
    nothing([*there, *places(dotted, paths)], "modules of version 0.1")


def test_retired_networks_are_gone() -> None:
    """Old names live on in one place only: the messages that give the new ones."""
    documents_and_conf = (*config_files(), *documents(), *files("scripts/*", "benchmarks/*"))
    names = rf"(?<!networks\.){whole(RETIRED_NETWORKS)}"  # a module may have such a name
    nothing(places(names, documents_and_conf), "networks of version 0.1")
    nothing(places(whole(RETIRED_KEYS), shipped()), "keys of version 0.1")
    there = [name for name in RETIRED_NETWORKS if (ROOT / f"conf/network/{name}.yaml").exists()]
    nothing(there, "files of version 0.1 in conf/network")


# --- files ----------------------------------------------------------------------------------------

HOSTS = ("py" + "pi.org", "files.pythonhosted" + ".org", "py" + "pi.python.org", "conda" + ".io")
MACHINE = (r"/wo" + r"rk/", r"/ro" + r"ot/", r"/home/\w+/")


def text_files() -> list[Path]:
    top = files("*.md", "*.toml", "*.txt", "*.cff", "*.yaml", ".*.yaml", "Makefile", "LICENSE")
    folders = ("src", "conf", "tests", "scripts", "benchmarks", "docs")
    below = files(*(f"{folder}/**/*" for folder in folders))
    kinds = {".py", ".yaml", ".md", ".sh", ".js", ".css", ".html", ".csv", ".toml", ".txt"}
    return [*top, *(path for path in below if path.suffix in kinds)]


def test_no_hosts_of_registries_and_no_paths_of_a_machine() -> None:
    forbidden = [*map(re.escape, HOSTS), *(rf"(?<![\w.}}]){path}" for path in MACHINE)]
    nothing(places("|".join(forbidden), text_files()), "hosts and paths")


def test_no_large_file() -> None:
    folders = ("src", "conf", "tests", "scripts", "benchmarks", "docs")
    everything = files("*", *(f"{folder}/**/*" for folder in folders))
    nothing(
        (
            f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes"
            for path in everything
            if path.stat().st_size > MAX_BYTES
        ),
        f"files of more than {MAX_BYTES:,} bytes",
    )
