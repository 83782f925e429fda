r"""Another model behind any address that speaks OpenAI's chat API: one that judges, captions, or merges texts.

    client = ChatClient(ChatConfig(address="http://localhost:8000/v1", model="judge-1", per_second=5))
    client.ask([message("user", "What is this?", [data_uri])])      # Answer("A cat.", "judge-1", "stop")
                                                                    # or NoAnswer("HTTP 503")

What it said is kept as it said it; nothing ever takes its place. A question that may fare better is put again, later
each time, and not before the server's Retry-After; no more than `per_second` requests begin in a second, over all
threads that share a client. A redirect is an error: the key is for the address alone that was given. Knows nothing of
what is asked.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from mm1.config import Config, UserError
from mm1.eval.pace import Pace

CUT = 200
"""Letters of a server's complaint that are kept."""
MAX_ANSWER_BYTES = 4 << 20
_BLOCK = 1 << 16
_PASSING = (408, 409, 425, 429)
"""Refusals that may not last; so may all of 500 and above."""

Message: TypeAlias = dict[str, Any]


class ChatConfig(Config):
    """Who is asked, and how; all of it is fit for a record but the key."""

    address: str
    """Up to and without `/chat/completions`."""
    model: str
    temperature: NonNegativeFloat = 0.0
    max_tokens: PositiveInt = 1024
    retries: NonNegativeInt = 2
    wait: NonNegativeFloat = Field(default=2.0)
    """Seconds before a question is put again; doubled each time."""
    max_wait: NonNegativeFloat = 120.0
    """The most seconds, whatever a server wishes."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds until no answer is no answer."""
    per_second: float | None = Field(default=None, gt=0)
    """Requests that begin in a second, at most; None sets no limit."""
    key_file: Path | None = None
    """Holds the key that the server asks for."""


class NoAnswer(Exception):
    """The model could not be asked, or said nothing that could be read; `reason` is a few words, fit for counting.

    `hopeless` says that every other question will fare the same: nobody is there, or the key is refused.
    """

    def __init__(self, reason: str, detail: str = "", *, passing: bool = True, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.passing = passing
        self.hopeless = hopeless
        self.after = 0.0
        """Seconds for which the server wishes to be left alone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, to the letter; never empty."""

    text: str
    model: str
    """The server's own name of it, which may be more exact than the one that was asked for."""
    finish_reason: str
    """The server's word: "length" for what was cut short; may be empty."""


HOPELESS = 10
"""Questions in a row that nobody heard, after which no more are put."""


class Presence:
    """Whether a model is there at all, over all threads that ask.

    Attributes:
        questions: put so far.
    """

    def __init__(self, name: str) -> None:
        self.questions = 0
        self._name = name
        self._unheard = 0
        self._lock = threading.Lock()

    def note(self, said: Answer | NoAnswer) -> None:
        """Counts what came of one question.

        Raises:
            UserError: nobody has heard the last HOPELESS of them.
        """
        with self._lock:
            self.questions += 1
            self._unheard = self._unheard + 1 if isinstance(said, NoAnswer) and said.hopeless else 0
            if self._unheard < HOPELESS or isinstance(said, Answer):
                return
        why = f"{said.reason}: {said.detail}" if said.detail else said.reason
        raise UserError(
            f"{self._name} answers nothing any more ({' '.join(why.split())}): see to it and run the same command "
            "again, which goes on from what was answered"
        )


def message(role: str, text: str, pictures: Sequence[str] = ()) -> Message:
    """One message; `pictures` are data: URIs, and stand before the text."""
    if not pictures:
        return {"role": role, "content": text}
    shown = [{"type": "image_url", "image_url": {"url": picture}} for picture in pictures]
    return {"role": role, "content": [*shown, {"type": "text", "text": text}]}


class ChatClient:
    """Asks one model; may be shared by threads."""

    def __init__(
        self,
        config: ChatConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Reads the key.

        Raises:
            UserError: no address of a server, or no key where one should be.
        """
        _check_address(config)
        self.config = config
        self._headers = {"Content-Type": "application/json"}
        if config.key_file is not None:
            self._headers["Authorization"] = f"Bearer {_key(config.key_file)}"
        self._stopped = threading.Event()
        self._clock, self._sleep = clock, sleep or self._stopped.wait
        self._pace = Pace(config.per_second, clock, self._sleep)
        self._opener = urllib.request.build_opener(_NoRedirect)

    def stop(self) -> None:
        """Makes those that wait for their turn give up; what is on its way is waited for."""
        self._stopped.set()

    def ask(self, messages: Sequence[Message]) -> Answer:
        """What the model says.

        Raises:
            NoAnswer: it could not be asked, or said nothing, as often as it was tried.
        """
        wait = self.config.wait
        for attempt in range(self.config.retries + 1):
            self._pace.wait()
            if self._stopped.is_set():
                raise NoAnswer("stopped", passing=False)
            try:
                return self._once(messages)
            except NoAnswer as error:
                last = error
            if not last.passing:
                break
            if last.after:
                self._pace.hold(min(last.after, self.config.max_wait))
            if attempt < self.config.retries:
                self._sleep(min(max(wait, last.after), self.config.max_wait))
                wait *= 2
        raise last

    def _once(self, messages: Sequence[Message]) -> Answer:
        config = self.config
        body = {
            "model": config.model,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "messages": list(messages),
        }
        url = f"{config.address.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), self._headers)
        deadline = self._clock() + config.timeout
        try:
            with self._opener.open(request, timeout=config.timeout) as response:
                content = self._read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:  # it is the response, too
                raise _refusal(error) from None
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, TimeoutError):
                raise NoAnswer("timeout", str(cause)) from None
            raise NoAnswer("not reached", str(cause)[:CUT], hopeless=True) from None
        return _parse(content, config.model)

    def _read(self, response: Any, deadline: float) -> bytes:
        """All of it, if it is no more than an answer can be and does not trickle."""
        content = b""
        while block := response.read1(_BLOCK):
            content += block
            if len(content) > MAX_ANSWER_BYTES:
                raise NoAnswer("too long", passing=False)
            if self._clock() > deadline:
                raise NoAnswer("timeout", "the answer came too slowly")
        return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns a redirect into the error that it is here."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _check_address(config: ChatConfig) -> None:
    """Raises UserError for what no server can have; whether one is there, the first question tells."""
    if not config.address.startswith(("http://", "https://")):
        raise UserError(f"the address of {config.model} is '{config.address}': begin it with http:// or https://")
    try:
        parts = urllib.parse.urlsplit(config.address)
        parts.port  # noqa: B018  # raises where it is no number
        host = (parts.hostname or "").encode("idna")
    except ValueError:
        host = b""
    if not host or re.search(r"[\s\x00-\x1f\x7f]", config.address):
        raise UserError(f"the address of {config.model} is '{config.address}': give it as http://localhost:8000/v1")


def _key(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"{path} can not be read ({why}): give the key's file") from None
    if not key or not key.isascii() or not key.isprintable():
        raise UserError(f"{path} holds no key: write the key, and nothing else, into it")
    return key


def _refusal(error: urllib.error.HTTPError) -> NoAnswer:
    try:
        detail = error.read(CUT).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        detail = ""
    passing = error.code in _PASSING or error.code >= 500
    found = NoAnswer(f"HTTP {error.code}", detail, passing=passing, hopeless=error.code in (401, 403, 404))
    found.after = _seconds(error.headers.get("Retry-After", ""))
    return found


def _seconds(retry_after: str) -> float:
    """What the header says, as a number or as a date; 0 for anything else."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
        return max(0.0, when.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _parse(content: bytes, asked: str) -> Answer:
    try:
        values: Any = json.loads(content)
        choice = values["choices"][0]
        said = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise NoAnswer("not in the form of the API", str(error)[:CUT]) from None
    if not isinstance(said, str) or not said.strip():
        raise NoAnswer("empty")
    model, finish = values.get("model"), choice.get("finish_reason")
    return Answer(said, model if isinstance(model, str) and model else asked, finish if isinstance(finish, str) else "")
