r"""Another model as a judge, behind any address that speaks OpenAI's chat API.

    judge = Judge(JudgeConfig(address="http://localhost:8000/v1", model="judge-1"))
    judge.ask("system", "Which is better? …")       # "8 6\nThe first …", or NoVerdict("no answer: HTTP 503")

What it said is kept as it said it; nothing ever takes its place. Knows nothing of benchmarks.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from mm1.config import Config, UserError

CUT = 200
"""Letters of a server's complaint that are kept."""


class JudgeConfig(Config):
    """Who judges; all of it goes into the record but the key."""

    address: str
    """Up to and without `/chat/completions`."""
    model: str
    temperature: NonNegativeFloat = 0.0
    max_tokens: PositiveInt = 1024
    retries: NonNegativeInt = 2
    wait: NonNegativeFloat = Field(default=2.0)
    """Seconds before a question is put again; doubled each time."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds until no answer is no answer."""
    key_file: Path | None = None
    """Holds the key that the server asks for."""


class NoVerdict(Exception):
    """The judge did not answer, or nothing that could be read; `reason` is fit for counting."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Judge:
    """Asks one model."""

    def __init__(self, config: JudgeConfig) -> None:
        """Reads the key.

        Raises:
            UserError: no address of a server, or no key where one should be.
        """
        if not config.address.startswith(("http://", "https://")):
            raise UserError(f"the judge's address is '{config.address}': give one that begins with http:// or https://")
        self.config = config
        self._headers = {"Content-Type": "application/json"}
        if config.key_file is not None:
            try:
                self._headers["Authorization"] = f"Bearer {config.key_file.read_text().strip()}"
            except OSError as error:
                raise UserError(f"{config.key_file} can not be read ({error.strerror}): give the key's file") from None

    def ask(self, system: str, question: str) -> str:
        """What the judge says, to the letter.

        Raises:
            NoVerdict: it could not be asked, or said nothing, as often as it was tried.
        """
        for attempt in range(self.config.retries + 1):
            if attempt:
                time.sleep(self.config.wait * 2 ** (attempt - 1))
            try:
                return self._once(system, question)
            except NoVerdict as error:
                last = error
        raise last

    def _once(self, system: str, question: str) -> str:
        config = self.config
        body = {
            "model": config.model,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
        }
        url = f"{config.address.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), self._headers)
        try:
            with urllib.request.urlopen(request, timeout=config.timeout) as response:
                answer: Any = json.loads(response.read())
            said = answer["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            with error:  # it is the response, too
                detail = error.read(CUT).decode(errors="replace")
            raise NoVerdict(f"no answer: HTTP {error.code}", detail) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise NoVerdict("no answer: not reached", str(getattr(error, "reason", error))) from None
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise NoVerdict("no answer: not in the form of the API", str(error)[:CUT]) from None
        if not isinstance(said, str) or not said.strip():
            raise NoVerdict("no answer: empty")
        return said
