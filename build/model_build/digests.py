"""Build keys: the same key means the same model, so nothing is built that is there already.

A key covers the code that a model is made by (found by following imports), the data it learns from,
the seed, the profile and the versions of the tools. Comments, docstrings and layout of the code do
not count.
"""

import ast
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import model_build
import serving

_ROOTS = {
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


def code_digest(modules: Iterable[str], serving_modules: Iterable[str] = ()) -> str:
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
        waiting.extend(_imports(_path_of(module)))
    hasher = hashlib.sha256()
    for module in sorted({*found, *serving_modules}):
        path = _path_of(module)
        hasher.update(f"{module}\n".encode())
        hasher.update(_normal_form(path).encode())
    if any(module.startswith(f"{_DATA_PACKAGE}.") for module in found):
        # The phrases, products and articles that the data is made of.
        for table in sorted(_path_of(_DATA_PACKAGE).parent.rglob("*.toml")):
            hasher.update(table.read_bytes())
    return hasher.hexdigest()


def _path_of(module: str) -> Path:
    package, _, rest = module.partition(".")
    base = _ROOTS[package].joinpath(*rest.split(".")) if rest else _ROOTS[package]
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise ValueError(f"there is no module {module}")


def _imports(path: Path) -> Iterator[str]:
    """Modules of `model_build` that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("model_build."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("model_build"):
            assert node.module is not None
            # `from package import module` as well as `from module import name`.
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            present = [name for name in submodules if _is_module(name)]
            yield from present
            if len(present) < len(submodules):
                yield node.module


def _is_module(name: str) -> bool:
    try:
        _path_of(name)
    except ValueError:
        return False
    return True


def _normal_form(path: Path) -> str:
    """The file's syntax tree without docstrings, as text."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
