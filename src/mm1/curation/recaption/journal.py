"""Every answer as it came, a line each, so that no question is put twice.

    {"asked": "5f0c…", "said": "A cat.", "model": "m-2024", "finish": "stop"}
    {"asked": "77ab…", "error": "HTTP 500", "detail": "…"}

A question's key is a hash of all that its answer depends on. A line is written when its answer comes; the end of a
killed run is passed over. Questions that nobody heard (`hopeless`) are no questions that were put, and are left out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.curation.recaption.writers import Said
from mm1.eval.chat_api import Answer, NoAnswer
from mm1.files import errors_naming

_LINES = ({"asked", "said", "model", "finish"}, {"asked", "error", "detail"})
"""The keys of an answer, and of a question without one."""


class Journal:
    """The answers of one part; a context manager, and safe for threads."""

    def __init__(self, path: Path, again: bool = False) -> None:
        """`again` forgets what failed."""
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Said] = {}
        for line in _lines(path):
            if "said" in line:
                self._known[line["asked"]] = Answer(line["said"], line["model"], line["finish"])
            elif not again:
                self._known[line["asked"]] = NoAnswer(line["error"], line["detail"])

    def __enter__(self) -> Journal:
        self._file = self._path.open("a", encoding="utf-8")
        if self._file.tell():  # what a kill has left of a line ends here
            self._file.write("\n")
        return self

    def __exit__(self, *error: object) -> None:
        with errors_naming(self._path):
            self._file.close()

    def get(self, key: str) -> Said | None:
        """What came of a question, if it was put."""
        return self._known.get(key)

    def put(self, key: str, said: Said) -> None:
        """Writes down what came of a question."""
        with self._lock:
            self._known[key] = said
            if isinstance(said, NoAnswer) and (said.hopeless or said.reason == "stopped"):
                return
            with errors_naming(self._path):
                self._file.write(json.dumps({"asked": key, **_values(said)}) + "\n")
                self._file.flush()


def _values(said: Said) -> dict[str, str]:
    if isinstance(said, NoAnswer):
        return {"error": said.reason, "detail": said.detail}
    return {"said": said.text, "model": said.model, "finish": said.finish_reason}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:  # blank, or torn by a kill
                continue
            if isinstance(line, dict) and line.keys() in _LINES and all(isinstance(v, str) for v in line.values()):
                yield line
