r"""What a model said → a caption, or why it is none.

    caption_of(Answer('"A cat\nasleep."', "m", "stop"), 80)             # "A cat asleep."
    caption_of(Answer("I'm sorry, but I can't …", "m", "stop"), 80)     # Dropped("refused")

White space becomes single; what a model thought aloud in <think> marks, a label ("Caption:") and quotation marks around
the whole go; nothing else is changed. Knows nothing of models.
"""

from __future__ import annotations

import re

from mm1.curation.page import Dropped
from mm1.curation.text.words import plain_words
from mm1.eval.chat_api import Answer

_THOUGHT = re.compile(r"\s*<think>.*?(</think>|\Z)", re.DOTALL)
_LABEL = re.compile(
    r"(?:\*\*)?(?:(?:image |merged |final )?(?:caption|description|sentence)|answer):(?:\*\*)? ", re.IGNORECASE
)
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("‘", "’"), ("«", "»"), ("`", "`"))
_REFUSAL = re.compile(
    r"(?:i['’]m sorry|i am sorry|sorry,|i apologi[sz]e|i can(?:['’]t|not)\b|i can not\b|i am unable|i['’]m unable"
    r"|i am not able|i['’]m not able|as an ai\b|i do not see (?:any|an) image|i don['’]t see (?:any|an) image"
    r"|(?:no|there is no) image (?:was |has been |is )?(?:provided|attached))",
    re.IGNORECASE,
)
"""How assistants begin when they do not answer. No caption begins with its writer."""


def caption_of(answer: Answer, max_words: int) -> str:
    """The caption that an answer is.

    Raises:
        Dropped: cut_short (the server or the model ran out of tokens), refused, no_words, too_many_words.
    """
    if answer.finish_reason == "length":
        raise Dropped("cut_short")
    thought = _THOUGHT.match(answer.text)
    if thought and not thought[1]:
        raise Dropped("cut_short")
    text = " ".join(answer.text[thought.end() if thought else 0 :].replace("\0", " ").split())
    text = _LABEL.sub("", text, count=1) if _LABEL.match(text) else text
    for first, last in _QUOTES:
        inside = text[1:-1]
        if len(text) > 1 and text[0] == first and text[-1] == last and first not in inside and last not in inside:
            text = inside.strip()
            break
    if _REFUSAL.match(text):
        raise Dropped("refused")
    words = plain_words(text)
    if not any(any(map(str.isalpha, word)) for word in words):
        raise Dropped("no_words")
    if len(words) > max_words:
        raise Dropped("too_many_words")
    return text
