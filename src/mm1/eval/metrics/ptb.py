r"""The Penn Treebank tokenisation that the caption scorers apply, without Java.

    tokenise("A man's dog (brown), isn't it?")
    # ["a", "man", "'s", "dog", "-lrb-", "brown", "-rrb-", "is", "n't", "it"]

pycocoevalcap pipes captions through Stanford's PTBTokenizer 3.4.1 (one caption a line, lower-cased) and then drops
some punctuation. This is an independent description of what that program does to captions, found by asking it. At
each position the longest of the rules below wins; where a rule has a group that took part, the group is the token,
and what the rule matches beyond it is only looked at. A caption is read by itself: the program's own two glances
across line ends (a last "B." before a line that begins with "The", the last line of a file) are not imitated.
"""

from __future__ import annotations

import re

# Abbreviations keep their full stop; those of the second list do so before a number only.
_ABBREVIATIONS = """
    adj adm adv al ala alex apr ariz assn assoc asst atty aug ave bhd bldg blvd brig bros calif capt cf cie cmdr co col
    colo conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov govs hon inc
    ind insp intl invt jan jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont
    mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc ppte ppty pres prof profs pte ptes pty ptys pvt rd
    rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs treas tue tues univ va
    vs vt wed wis wisc wm wyo
"""
_NUMBERED = "no nos fig figs p pp art op prop"

# Words that begin a sentence: a single letter before one of them is no initial, and gives up its full stop.
_STARTERS = """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Now Once One
    Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You
"""

_Q = "['’]"
_L = r"[^\W\d_²³¹⁰-₟¼½¾⅐-⅟]"
_A = rf"(?:{_L}|[\d\u0300-\u036f])"
_DECIMAL = r"\d*(?:[.:,]\d+)+"
_ELIDED = rf"(?:[dDoOlL]{_Q}{_A})?"
_THING = rf"{_ELIDED}(?:{_DECIMAL}|{_A}+)(?:[-_‐‑]{_ELIDED}{_A}+)*"
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_HOST = r"""[^\s"<>|.!?(){},]"""
_PATH = r"""(?:/[^\s"<>|()]+[^\s"<>|.!?(){},-])?"""
_AUXILIARY = "(?i:[msd]|re|ve|ll)"


def _any(words: str) -> str:
    return f"(?:{'|'.join(words.split())})"


_RULES = tuple(
    re.compile(rule)
    for rule in (
        r"(?i:(can)not|(gon|wan)na|(got)ta|(gim|lem)me)",
        r"(?i:('t)(?:is|was))",
        # Contractions, and the word before them.
        rf"({_L}*[^\W\dnN_])[nN]['’`][tT]",
        rf"({_L}{_A}*){_Q}{_AUXILIARY}",
        r"[nN]['’`][tT]",
        rf"'{_AUXILIARY}(?![A-Za-z])|’(?:{_AUXILIARY}|n)",
        # Words that keep their apostrophe.
        rf"{_Q}n{_Q}|'n(?!{_L})|[lLdDjJ]{_Q}|Dunkin{_Q}|somethin{_Q}|ol{_Q}|{_Q}em|{_Q}till?|{_Q}cause",
        rf"[A-HJ-XZn]{_Q}{_L}{{2,}}",
        rf"{_L}+[aeiouyAEIOUY]{_Q}[aeiouA-Z]{_L}*",
        rf"(?i:cont{_Q}d\.?|nor{_Q}easter|c{_Q}mon|[eo]{_Q}er|s{_Q}mores|ev{_Q}ry|li{_Q}l|nat{_Q}l|(y{_Q}){_L})",
        rf"{_Q}[2-9]0s|{_Q}\d\d(?!\w)",
        # Words with and without hyphens, slashes, ampersands and stops.
        rf"{_L}{_A}*(?:[.!?]{_L}{_A}*)*",
        _THING,
        rf"{_THING}\.(?=[,;:])",
        r"[A-Z]+(?:[+&][A-Z]+)+",
        r"(?:[CF]#|C\+\+)",
        rf"{_SLASHED}(?:\\?/{_SLASHED}){{1,2}}",
        rf"(?i:{_any(_ABBREVIATIONS)}\.|{_any(_NUMBERED)}\.(?=\s*\d))",
        rf"[A-Za-z]\.(?!\s+{_any(_STARTERS)}\b)",
        r"[A-Za-z](?:\.[A-Za-z])+\.|(?i:ph\.d\.)",
        # Addresses.
        r"""https?://[^\s"<>|()]+[^\s"<>|.!?(){},-]""",
        rf"www\.(?:{_HOST}+\.)+[a-zA-Z]{{2,4}}{_PATH}",
        rf"(?:[^\s\"`'<>|.!?(){{}},\-_$]+\.)+(?:com|net|org|edu){_PATH}",
        r"""[a-zA-Z0-9][^\s"<>|()]*@(?:[^\s"<>|().]+\.)*[^\s"<>|().]+""",
        r"@[A-Za-z_]\w*|\#[A-Za-z_]+",
        # Numbers, dates, fractions, area codes, money.
        rf"[-+]?(?:{_DECIMAL}|\d+)",
        r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}",
        r"(?:\d{1,4}[- ])?\d{1,4}\\?/\d{1,4}",
        r"(\(\d{2,3}\)) ?\d{3,4}[- ]?\d{3,5}",
        r"[A-Z]*\$",
        # Markup, faces, runs of marks.
        r"""<[!?][A-Za-z-][^>]*>|</?[A-Za-z][A-Za-z0-9:]*(?: +[A-Za-z][\w:.-]*(?: *= *(?:"[^"]*"|'[^']*'))?)* */?>""",
        r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?!\w)|\^_\^",
        r"&(?:amp|lt|gt|quot|apos|[mn]dash);",
        r"[?!]+|\*+|_+|\#{2,}|-{2,}",
        r"[!-~]",
        # Of all other signs these are kept; quotation marks, dashes, emoji and the rest vanish.
        r"[¡-©¬®-´¶-¹¼-¿×÷‖†-‣‰-‸※-⁄⁰-₎€℀-⯿、。〒！-､￠-￦]",
    )
)

# What the scorers leave out. (They list brackets too, but in capitals, so "-lrb-" stays.)
_DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "---", "----", ";", '"'])

_WRITTEN = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "£": "#", "€": "$", "¤": "$", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "", "&apos;": "", "&mdash;": "", "&ndash;": "",
}  # fmt: skip
_PARENTHESIS = re.compile(r"[()]")
_CONTRACTION = re.compile(r"n’t|’(?:[msd]|re|ve|ll)")


def tokenise(caption: str) -> list[str]:
    """The caption's tokens as the official scorers see them; line breaks count as spaces."""
    text = " ".join(caption.replace("\xad", "").split())
    tokens: list[str] = []
    position = 0
    while position < len(text):
        token = _longest(text, position)
        position += max(1, len(token))
        if token and token not in _DROPPED:
            tokens += _written(token).split()
    return tokens


def _longest(text: str, position: int) -> str:
    """The token at `position`; empty where a space or a character stands that vanishes."""
    end, token = position, ""
    for rule in _RULES:
        match = rule.match(text, position)
        if match is not None and match.end() > end:
            end, token = match.end(), next((group for group in match.groups() if group), match.group())
    return token


def _written(token: str) -> str:
    """How the program writes a token: lower-cased, with names for brackets and currencies."""
    token = _WRITTEN.get(token, token).lower()
    if _CONTRACTION.fullmatch(token):
        return token.replace("’", "'")
    return _PARENTHESIS.sub(lambda match: _WRITTEN[match.group()], token)
