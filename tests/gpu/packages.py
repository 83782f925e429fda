"""Says in a sentence which packages are missing; `make gpu` asks before it begins, and exit code 1 means that some are.

python tests/gpu/packages.py                  # what the tests and every benchmark import
python tests/gpu/packages.py transformers     # these

Imports nothing but Python itself.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "rich": "rich",
    "jaxtyping": "jaxtyping",
    "pytest": "pytest",
}
"""Those of pyproject.toml that are imported, and pytest: how Python calls them, how pip does."""


def main(asked: list[str]) -> int:
    missing = [NEEDED.get(name, name) for name in asked or NEEDED if find_spec(name) is None]
    if missing:
        print(f"{sys.executable} has no {', '.join(missing)}: pip install {' '.join(missing)}", file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
