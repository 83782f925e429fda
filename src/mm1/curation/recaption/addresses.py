"""A writer behind an address that speaks OpenAI's chat API: a question a request, several on their way at once.

    AddressWriter(ChatClient(config), at_once=8, max_side=768)

Pictures travel as data: URIs of JPEGs, their longer side at most `max_side` pixels, upright, transparency on white.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from mm1.curation.recaption.writers import Heard, Question, Said
from mm1.data.image import BadImage, read_image
from mm1.eval.chat_api import ChatClient, NoAnswer, message

JPEG_QUALITY = 90


@dataclass(frozen=True, kw_only=True)
class AddressWriter:
    """See writers.py. The address is no part of its identity: the same model may be served elsewhere tomorrow."""

    client: ChatClient
    at_once: int = 8
    max_side: int = 768

    @property
    def name(self) -> str:
        return self.client.config.model

    @property
    def identity(self) -> Mapping[str, Any]:
        config = self.client.config
        asked = {name: getattr(config, name) for name in ("model", "temperature", "max_tokens")}
        return {"kind": "address", **asked, "max_side": self.max_side}

    def write(self, questions: Mapping[str, Question], heard: Heard) -> None:
        """What is on its way when asking ends early is waited for, and heard: it has been paid for."""
        with ThreadPoolExecutor(self.at_once) as pool:
            asked = [pool.submit(self._ask, key, question, heard) for key, question in questions.items()]
            try:
                for one in as_completed(asked):
                    one.result()
            except BaseException:
                self.client.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, key: str, question: Question, heard: Heard) -> None:
        heard(key, self._said(question))

    def _said(self, question: Question) -> Said:
        try:
            pictures = [] if question.picture is None else [data_uri(question.picture, self.max_side)]
            return self.client.ask([message("user", question.text, pictures)])
        except BadImage as error:
            return NoAnswer(f"image {error.reason}", passing=False)
        except NoAnswer as error:
            return error


def data_uri(data: bytes, max_side: int) -> str:
    """The picture as a data: URI.

    Raises:
        BadImage: it can not be decoded.
    """
    image = read_image(data, max_side)
    image.thumbnail((max_side, max_side))
    made = io.BytesIO()
    image.save(made, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(made.getvalue()).decode()}"
