"""Says in a sentence which packages are missing; `make gpu` asks before it begins, and exit code 1 means that some are.

python tests/gpu/packages.py                       # what the tests and every benchmark import
python tests/gpu/packages.py transformers>=5.23    # these, at least so new

Imports nothing but Python itself.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

NEEDED = {
    "torch": "torch>=2.11",
    "numpy": "numpy",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic>=2.7",
    "pydantic_core": "pydantic-core",
    "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection",
    "rich": "rich",
    "jaxtyping": "jaxtyping",
    "pytest": "pytest",
    "pytest_timeout": "pytest-timeout",
    "xdist": "pytest-xdist",
}
"""Those of pyproject.toml that are imported, pytest and its plugins, and what pydantic asks for, because a machine
without a network gets packages one by one: how Python calls them, how pip does."""


def main(asked: list[str]) -> int:
    wanted = {re.split("[>=]+", name)[0]: name for name in asked} or NEEDED
    missing = [name for module, name in wanted.items() if find_spec(module) is None]
    old = [name for module, name in wanted.items() if name not in missing and not _new_enough(name)]
    if missing or old:
        what = [f"has no {', '.join(missing)}"] if missing else []
        what += [f"has {name.partition('>=')[0]} {_version(name)}, which is too old" for name in old]
        names = " ".join(f"'{name}'" for name in missing + old)
        print(f"{sys.executable} {' and '.join(what)}: pip install {names}", file=sys.stderr)
    return int(bool(missing or old))


def _new_enough(name: str) -> bool:
    least = name.partition(">=")[2]
    return not least or _numbers(_version(name)) >= _numbers(least)


def _version(name: str) -> str:
    try:
        return version(name.partition(">=")[0])
    except PackageNotFoundError:  # imported from a folder that no installer made
        return "0"


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
