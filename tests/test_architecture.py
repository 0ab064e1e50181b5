"""The house keeps its order: one direction of imports, one door for each outside thing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("samcore", "tasks", "flows")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

MAY_NOT_IMPORT = {
    "samcore": {"tasks", "flows", "prefect", "boto3", "botocore"},
    "tasks": {"flows"},
    "flows": {"boto3", "botocore"},
}

DOORS = {
    "sam2": ("samcore/models/",),
    "ffmpeg": ("samcore/video/",),
    "imageio_ffmpeg": ("samcore/video/",),
    "pycocotools": ("samcore/masks/rle.py",),
    "boto3": ("tasks/store/aws.py",),
    "botocore": ("tasks/store/aws.py",),
    "prefect_aws": ("tasks/store/aws.py",),
    "pynvml": ("samcore/machine/gpu.py",),
    "plotly": ("samcore/report/plots.py",),
    "jinja2": ("samcore/report/page.py",),
    "trackeval": ("samcore/evaluation/identity.py",),
    "prefect": ("tasks/", "flows/"),
    "typer": ("flows/",),
    "rich": ("flows/",),
    "fastapi": ("flows/page/",),
    "starlette": ("flows/page/",),
    "uvicorn": ("flows/page/server.py", "flows/server/server_process.py"),
    "skimage": ("samcore/scenes/photos.py",),
    "torchvision": ("samcore/detectors/torchvision.py",),
    "transformers": ("samcore/models/transformers/", "samcore/detectors/transformers.py"),
    "huggingface_hub": ("samcore/models/transformers/hub.py",),
    "dask": ("tasks/runners/dask.py",),
    "distributed": ("tasks/runners/dask.py",),
    "prefect_dask": ("tasks/runners/dask.py",),
    "ray": ("tasks/runners/ray.py",),
    "prefect_ray": ("tasks/runners/ray.py",),
    "supervision": ("samcore/result/reader.py",),
}
"""An outside package, and where it may be imported."""

_MODULE = re.compile(r"(?<![\w/.-])(samcore|tasks|flows)(\.[a-z]\w*)+(?![\w/.-]*/)")

MAX_LINES = 420
"""A longer module is two modules."""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level packages that a file imports anywhere, late imports included."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: relative import"
            yield (node.module or "").partition(".")[0], node.lineno


def _attributes(path: Path) -> Iterator[tuple[str, ast.Attribute]]:
    """Dotted names that a file uses, such as `os.environ`."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}", node


def test_imports_go_one_way() -> None:
    """flows import tasks, tasks import samcore, and nothing goes the other way."""
    breaches = [
        f"{_name(path)}:{line} imports {package}"
        for path in FILES
        for package, line in _imports(path)
        if package in MAY_NOT_IMPORT[path.relative_to(ROOT).parts[0]]
    ]
    assert not breaches


@pytest.mark.parametrize("package", DOORS)
def test_outside_things_have_one_door(package: str) -> None:
    """Only the modules that are its door import an outside package."""
    breaches = [
        f"{_name(path)}:{line}"
        for path in FILES
        for found, line in _imports(path)
        if found == package and not _name(path).startswith(DOORS[package])
    ]
    assert not breaches


def test_doors_are_in_use() -> None:
    """The check looks where the code is: each package that is in use is imported at its door."""
    used = {package for path in FILES for package, _ in _imports(path)}
    assert {"sam2", "ffmpeg", "pycocotools", "prefect", "typer"} <= used


def _is_there(name: str) -> bool:
    """Whether a dotted name is a package, a module, or in one of them."""
    parent, _, last = name.rpartition(".")
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").exists() or not parent:
        return True
    package = ROOT / parent.replace(".", "/") / "__init__.py"
    if package.exists():
        return re.search(rf"\b{last}\b", package.read_text()) is not None
    return _is_there(parent) and not package.parent.is_dir()


def test_modules_named_in_texts_exist() -> None:
    """What children, scripts, settings and messages name by a dotted name is there after a move."""
    folders = (*ROOMS, "tests", "infra")
    texts = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".sh", ".yaml"}
    ]
    named = {
        (_name(path), found[0])
        for path in (ROOT / "pyproject.toml", *texts)
        for found in _MODULE.finditer(path.read_text())
    }
    assert ("infra/setup.sh", "flows.cli") in named
    assert not [(path, name) for path, name in sorted(named) if not _is_there(name)]


def test_only_settings_read_the_environment() -> None:
    """`os.environ` and `os.getenv` are in tasks/settings.py and nowhere else."""
    users = {
        _name(path)
        for path in FILES
        for name, _ in _attributes(path)
        if name in ("os.environ", "os.getenv", "os.putenv")
    }
    assert users == {"tasks/settings.py"}


def test_videos_are_opened_at_one_door() -> None:
    """OpenCV's video reader and writer are used nowhere: their frames are not exact."""
    users = [
        _name(path)
        for path in FILES
        for name, _ in _attributes(path)
        if name in ("cv2.VideoCapture", "cv2.VideoWriter")
    ]
    assert not users


def test_nothing_unpickles() -> None:
    """Nothing reads or writes pickles, and `torch.load` has `weights_only=True` always."""
    calls = {"load", "loads", "dump", "dumps", "Pickler", "Unpickler"}
    breaches = [
        f"{_name(path)}:{node.lineno} {name}"
        for path in FILES
        for name, node in _attributes(path)
        if name in {f"pickle.{call}" for call in calls}
    ]
    for path in FILES:
        for package, line in _imports(path):
            if package in {"cloudpickle", "dill", "joblib", "shelve", "marshal"}:
                breaches.append(f"{_name(path)}:{line} imports {package}")
    for path in FILES:
        for node in ast.walk(_tree(path)):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "torch.load":
                continue
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            if options.get("weights_only") != "True":
                breaches.append(f"{_name(path)}:{node.lineno} torch.load")
    assert not breaches


def test_flow_modules_have_real_annotations() -> None:
    """No `from __future__ import annotations` beside `@flow` or `@task`: Prefect reads types when
    a deployment is served, and finds strings that it cannot resolve."""
    breaches = [
        _name(path)
        for path in FILES
        if any(package == "prefect" for package, _ in _imports(path))
        and any(package == "__future__" for package, _ in _imports(path))
    ]
    assert not breaches


def test_the_engine_prints_nothing() -> None:
    """samcore and tasks speak through logs."""
    breaches = [
        f"{_name(path)}:{node.lineno}"
        for path in FILES
        if not _name(path).startswith("flows/")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert not breaches


def test_no_assert_outside_tests() -> None:
    """What a caller can cause is raised: `python -O` drops asserts."""
    breaches = [
        f"{_name(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Assert)
    ]
    assert not breaches


def test_modules_stay_short() -> None:
    """A module of several hundred lines holds two ideas."""
    long = {_name(path): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: lines for name, lines in long.items() if lines > MAX_LINES}


def test_one_prefect_task_a_file() -> None:
    """A file in tasks/ has at most one `@task`, and no `@flow`."""
    for path in sorted((ROOT / "tasks").glob("*.py")):
        decorated = [
            ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
            for node in ast.walk(_tree(path))
            if isinstance(node, ast.FunctionDef)
            for decorator in node.decorator_list
        ]
        assert decorated.count("task") <= 1, _name(path)
        assert "flow" not in decorated, _name(path)
