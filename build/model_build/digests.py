"""Build keys: the same key means the same model, so nothing is built that is there already.

A key covers the code that a model is made by (found by following imports), the data it learns from,
the seed, the profile and the versions of the tools. Comments, docstrings and layout of the code do
not count.
"""

import ast
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import model_build
import serving

# Folders of the packages whose code counts.
ROOTS: Mapping[str, Path] = {
    "model_build": Path(model_build.__file__).parent,
    "serving": Path(serving.__file__).parent,
}
# What the terminal shows and how a model is hosted is no part of the model.
_NOT_PART = frozenset({"model_build.progress", "model_build.specs.hosting"})
_DATA_PACKAGE = "model_build.data"
TOOLS = ("numpy", "onnx", "onnxruntime", "onnxscript", "scikit-learn", "tokenizers", "torch")


def tool_versions() -> dict[str, str]:
    """Versions of everything that can change a result."""
    versions = {name: metadata.version(name) for name in TOOLS}
    return {"python": platform.python_version(), **versions}


def key_of(parts: Mapping[str, object]) -> str:
    """SHA-256 over named parts, 64 hex digits."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def code_digest(
    modules: Iterable[str],
    serving_modules: Iterable[str] = (),
    roots: Mapping[str, Path] = ROOTS,
) -> str:
    """SHA-256 over the code of modules of `model_build` and all that they import from it.

    Modules of `serving` count only where they are named: most of that package has nothing to do
    with a model, and a change to it must not train one anew.

    Raises:
        ValueError: there is no such module.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or module in _NOT_PART:
            continue
        found.add(module)
        waiting.extend(_imports(_path_of(module, roots).read_text(encoding="utf-8"), roots))
    hasher = hashlib.sha256()
    for module in sorted({*found, *serving_modules}):
        text = _path_of(module, roots).read_text(encoding="utf-8")
        hasher.update(f"{module}\n{_normal_form(text)}\n".encode())
    if any(module.startswith(f"{_DATA_PACKAGE}.") for module in found):
        # The phrases, products and articles that the data is made of.
        for table in sorted(_path_of(_DATA_PACKAGE, roots).parent.rglob("*.toml")):
            hasher.update(table.read_bytes())
    return hasher.hexdigest()


def _path_of(module: str, roots: Mapping[str, Path]) -> Path:
    package, _, rest = module.partition(".")
    base = roots[package].joinpath(*rest.split(".")) if rest else roots[package]
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise ValueError(f"there is no module {module}")


def _imports(text: str, roots: Mapping[str, Path]) -> list[str]:
    """Modules of `model_build` that a file imports."""
    found: list[str] = []
    for package, names in _imported_names(text):
        # `from package import module` as well as `from module import name`.
        submodules = [f"{package}.{name}" for name in names]
        present = [name for name in submodules if _is_module(name, roots)]
        found.extend(present)
        if len(present) < len(submodules) or not submodules:
            found.append(package)
    return found


@cache
def _imported_names(text: str) -> list[tuple[str, list[str]]]:
    """(module, names imported from it) for each import of `model_build` in a file."""
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.extend((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, [alias.name for alias in node.names]))
    return [(name, names) for name, names in found if name.split(".")[0] == "model_build"]


def _is_module(name: str, roots: Mapping[str, Path]) -> bool:
    try:
        _path_of(name, roots)
    except ValueError:
        return False
    return True


@cache
def _normal_form(text: str) -> str:
    """A file's syntax tree without docstrings, as text."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
