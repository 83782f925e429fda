"""Pairs → the same pairs with what two models wrote of them; a question whose answer is there is not put again.

    captioned = Asker(captioner, fuser, config, prompts).caption(pairs, journal)

Knows nothing of files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mm1.curation.page import Dropped
from mm1.curation.recaption.answers import caption_of
from mm1.curation.recaption.config import RecaptionConfig
from mm1.curation.recaption.journal import Journal
from mm1.curation.recaption.output import Captioned, reason
from mm1.curation.recaption.pairs import Pair
from mm1.curation.recaption.prompts import Prompts, fusion_question
from mm1.curation.recaption.writers import Question, Said, Writer
from mm1.eval.chat_api import NoAnswer, Presence


class Asker:
    """Asks two models."""

    def __init__(self, captioner: Writer, fuser: Writer | None, config: RecaptionConfig, prompts: Prompts) -> None:
        self.captioner, self.fuser, self.config, self.prompts = captioner, fuser, config, prompts
        self._presences = {writer.name: Presence(writer.name) for writer in (captioner, fuser) if writer is not None}

    @property
    def questions(self) -> int:
        """Put so far."""
        return sum(presence.questions for presence in self._presences.values())

    def caption(self, pairs: Sequence[Pair], journal: Journal) -> list[Captioned]:
        """Each pair with what was written of it.

        Raises:
            UserError: a model answers nothing any more.
        """
        asked = [Question(self.prompts.caption, pair.image) for pair in pairs]
        seen = [self._heard(said) for said in self._ask(self.captioner, asked, journal)]
        captioned = [self._captioned(pair, one) for pair, one in zip(pairs, seen, strict=True)]
        if self.fuser is None:
            return captioned
        # A picture without words has nothing that its caption could be merged with.
        fit = [number for number, one in enumerate(captioned) if one.failed is None and one.pair.text]
        texts = [(captioned[number].visual or "", captioned[number].pair.text) for number in fit]
        merge = [Question(fusion_question(self.prompts.fusion, *both)) for both in texts]
        for number, said in zip(fit, self._ask(self.fuser, merge, journal), strict=True):
            captioned[number] = self._merged(self.fuser, captioned[number], self._heard(said))
        return captioned

    def _captioned(self, pair: Pair, heard: _Heard) -> Captioned:
        failed = reason("captioner", heard.reason) if heard.text is None else None
        who = heard.model or self.captioner.name
        return Captioned(pair, visual=heard.text, failed=failed, unheard=heard.hopeless, captioner=who)

    def _merged(self, fuser: Writer, before: Captioned, heard: _Heard) -> Captioned:
        failed = reason("fuser", heard.reason) if heard.text is None else None
        who = heard.model or fuser.name
        return replace(before, fused=heard.text, failed=failed, unheard=heard.hopeless, fuser=who)

    def _ask(self, writer: Writer, questions: Sequence[Question], journal: Journal) -> list[Said]:
        """What came of each question; of those that are alike one is put."""
        keys = [_key(writer, question) for question in questions]
        new = {key: one for key, one in zip(keys, questions, strict=True) if journal.get(key) is None}

        def heard(key: str, said: Said) -> None:
            journal.put(key, said)
            self._presences[writer.name].note(said)

        if new:
            writer.write(new, heard)
        found = [said for said in map(journal.get, keys) if said is not None]
        assert len(found) == len(keys), "a question was not answered"
        return found

    def _heard(self, said: Said) -> _Heard:
        if isinstance(said, NoAnswer):
            return _Heard(None, said.reason, hopeless=said.hopeless)
        try:
            return _Heard(caption_of(said, self.config.max_words), model=said.model)
        except Dropped as drop:
            return _Heard(None, drop.reason, said.model)


@dataclass(frozen=True, slots=True)
class _Heard:
    """An answer as a caption, or why it is none."""

    text: str | None
    reason: str = ""
    model: str = ""
    hopeless: bool = False


def _key(writer: Writer, question: Question) -> str:
    """A hash of all that the answer depends on."""
    content = hashlib.sha256(json.dumps([dict(writer.identity), question.text], sort_keys=True).encode())
    if question.picture is not None:
        content.update(b"\0" + question.picture)
    return content.hexdigest()[:32]
