"""The closed classes of English: words that hold a sentence together, whatever it is about.

    share_of("the cat that sat on the mat".split(), FUNCTION_WORDS)      # 5 of 7

Written by hand, class by class. A text of sentences is about two fifths such words, a list of names or of keywords has
nearly none; the OBELICS rules ask for their share, and their numbers suppose a full list, where the short lists of
text/words.py suppose that two words are enough to know a language by.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

_CLASSES = {
    "articles and determiners": "a an the this that these those some any each every either neither both all half much"
    " many more most few fewer less least several enough such another other others no none own same certain",
    "personal and possessive pronouns": "i me my mine myself you your yours yourself yourselves he him his himself she"
    " her hers herself it its itself we us our ours ourselves they them their theirs themselves one ones oneself",
    "other pronouns": "who whom whose which what whoever whomever whatever whichever somebody someone something anybody"
    " anyone anything everybody everyone everything nobody nothing",
    "auxiliaries": "am is are was were be been being do does did doing done have has had having can could may might"
    " must shall should will would ought cannot get gets got getting let",
    "prepositions": "aboard about above across after against along alongside amid amidst among amongst around as at"
    " atop before behind below beneath beside besides between beyond by despite down during except for from in inside"
    " into like minus near of off on onto opposite out outside over past per plus regarding round since than through"
    " throughout till to toward towards under underneath unlike until unto up upon versus via with within without"
    " according depending including concerning considering following given based due instead prior",
    "conjunctions": "and or but nor so yet if unless because although though while whilst whereas whether once lest"
    " albeit when whenever where wherever why how however",
    "particles and adverbs of sentences": "not only also too very quite rather just even still again ever never always"
    " often here there then now thus hence therefore else otherwise perhaps almost already away back forth together"
    " apart ahead aside ago",
    "contractions": "i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'll we're"
    " we've we'd we'll they're they've they'd they'll that's there's here's what's who's where's how's let's isn't"
    " aren't wasn't weren't don't doesn't didn't haven't hasn't hadn't can't couldn't won't wouldn't shouldn't mustn't",
}

FUNCTION_WORDS = frozenset(word for words in _CLASSES.values() for word in words.split())
"""In lower case; contractions with the straight apostrophe."""


def share_of(words: Sequence[str], chosen: Collection[str]) -> float:
    """The share of `words` that are among the `chosen`; 0 for no words."""
    return sum(word in chosen for word in words) / len(words) if words else 0.0
