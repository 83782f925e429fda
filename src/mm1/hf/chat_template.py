r"""mm1's chat template in Jinja, which keeps text text even where it spells a special token.

    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is this?"}]},
     {"role": "assistant", "content": "a cat"}]              "user: <|image|>what is this?\nassistant: a cat\n"

It writes the strings of `mm1.data.templates.chat_turn`, one exchange after another. transformers and vLLM tokenise a
whole chat as one string, in which "<|image|>" is an image whoever wrote it. So where anyone spelled a special token in
a message, the template puts ESCAPE after every character of the messages that a special token begins with. The exported
tokenizer takes it out again after it has looked for special tokens (tokenizer.py), and the ids are those of the text as
it was. Knows nothing of tokens' ids and of pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mm1.data.templates import STOP

ESCAPE = "\U000fff00"
"""A private character, which no text has a use for; it may stand in one all the same."""

_TEMPLATE = """
{%- set escaped = namespace(wanted=false, text='') -%}
{%- for message in messages -%}
  {%- if message.content is string -%}
    {%- set escaped.text = escaped.text ~ message.content -%}
  {%- else -%}
    {%- for part in message.content if part.type == 'text' -%}
      {%- set escaped.text = escaped.text ~ part.text -%}
    {%- endfor -%}
  {%- endif -%}
{%- endfor -%}
{%- for spelling in SPELLINGS -%}
  {%- if spelling in escaped.text -%}{%- set escaped.wanted = true -%}{%- endif -%}
{%- endfor -%}

{%- macro plain(text) -%}
  {%- set result = namespace(text=text) -%}
  {%- if escaped.wanted -%}
    {%- for first in FIRSTS -%}{%- set result.text = result.text | replace(first, first ~ ESCAPE) -%}{%- endfor -%}
  {%- endif -%}
  {{- result.text -}}
{%- endmacro -%}

{%- macro write(content) -%}
  {%- if content is string -%}
    {{- plain(content) -}}
  {%- else -%}
    {%- for part in content -%}
      {%- if part.type == 'image' -%}{{- IMAGE -}}
      {%- elif part.type == 'text' -%}{{- plain(part.text) -}}
      {%- else -%}{{- raise_exception('messages hold texts and images only: leave out what is ' ~ part.type) -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}

{{- OPENING -}}
{%- for message in messages -%}
  {%- if message.role != ('assistant' if loop.index % 2 == 0 else 'user') -%}
    {{- raise_exception('message ' ~ loop.index ~ ' is of ' ~ message.role ~ ': this model knows turns of user and '
        ~ 'assistant, beginning with user, so put instructions into the first question') -}}
  {%- endif -%}
  {%- if message.role == 'user' -%}
    {{- 'user: ' -}}{{- write(message.content) -}}{{- STOP -}}
  {%- else -%}
    {{- 'assistant:' -}}
    {%- generation -%}{{- ' ' -}}{{- write(message.content) -}}{{- STOP -}}{%- endgeneration -%}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant:' -}}{%- endif -%}
"""


def chat_template(special_tokens: Sequence[str], image_token: str, opening: str) -> str:
    """The template.

    Args:
        special_tokens: all that a text must not be able to write.
        image_token: stands where an image stands.
        opening: begins a chat: a BOS, as the tokenizer wants it before a text; may be empty.
    """
    values = {
        "SPELLINGS": [*special_tokens, ESCAPE],
        "FIRSTS": first_characters(special_tokens),
        "ESCAPE": ESCAPE,
        "IMAGE": image_token,
        "OPENING": opening,
        "STOP": STOP,
    }
    # JSON's literals are Jinja's, but for characters beyond the first plane where they are written as two.
    assigned = "".join(
        f"{{%- set {name} = {json.dumps(value, ensure_ascii=False)} -%}}\n" for name, value in values.items()
    )
    return assigned + _TEMPLATE.strip() + "\n"


def first_characters(special_tokens: Sequence[str]) -> list[str]:
    """What special tokens begin with, each once: the characters after which ESCAPE is put."""
    return list(dict.fromkeys(token[0] for token in special_tokens))
