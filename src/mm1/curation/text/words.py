"""Words that tell something of a text: stop words of 26 languages, and words that mark pages nobody wants.

    STOP_WORDS["en"]                                    # frozenset({"the", "be", …})
    plain_words("Don't PANIC!")                         # ["don", "t", "panic"]

Words are compared whole and in lower case, so no place name is taken for the word inside it. In languages that are
written without spaces each character is a word, as in characters.py. The lists are ours, written by hand. Knows
nothing of which share is too much.
"""

from __future__ import annotations

from collections.abc import Mapping

from mm1.curation.text.characters import classify, codes, normalize, word_borders

_STOP = {
    "ar": "في من على إلى عن أن إن هذا هذه التي الذي كان كانت لا ما هو هي مع كل أو ثم قد لم بعد بين ذلك",
    "ca": "el la els les un una de del dels i o que en a al als per amb no es és se són com més però aquest aquesta ha",
    "cs": "a v na je se že s z do to k o i pro jako ale nebo si by být za od po které který jsou této tak jen už",
    "da": "og i at er en et den det de på til af med for som ikke har kan der var men om eller fra vil ved så også",
    "de": "der die das und in zu den von mit ist des im für auf ein eine nicht dem sich auch es an als bei oder wird"
    " werden sind aus nach so wie wenn",
    "el": "και το του της η ο τα την να που με σε για είναι από των τη στο στην δεν ένα μια ή οι τον θα αυτό ως",
    "en": "the be to of and that have with a in is it for on as are this by was not or an from at which can will you"
    " if has been but they their its we he she his her our your there would when than what all one into more some"
    " these other also were such only may i no so do about out up who them then how my me could should any each",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus este ha son esta",
    "fa": "و در به از که این است را با برای آن یک خود تا بر هم می شود های ها کرد شده هر باشد یا اما نیز بود",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec ou son"
    " vous cette être mais aux",
    "he": "של את על לא הוא עם זה אל גם כי היא או כל אם יש אני מה היה אבל בין ב ל ה",
    "hi": "के में की है और से का को पर यह इस कि एक हैं ने लिए भी नहीं तो ही था या कर जो गया हो",
    "hr": "i u je se na da za od su s koji kao ili a ne to će iz o koja može bi sve nije te po ako koje što",
    "hu": "a az és hogy nem is egy ez azt van meg csak de ha már vagy mint el volt még ki minden lehet kell",
    "id": "yang dan di dari untuk dengan ini itu dalam pada adalah tidak akan oleh atau ke sebagai juga dapat anda"
    " ada bisa lebih telah",
    "it": "di e che la il un a per in una è non sono del si da con le dei come della al più o nel ma anche alla lo",
    "ja": "の に は を た が で て と し れ さ あ い る も な す か ら こ",
    "ko": "이 그 및 수 있는 것 을 를 에 의 은 는 가 와 과 있다 한다 하는 있습니다 합니다 또는 다른 위해 대한 때 할 한",
    "no": "og i det er en som på at til de for med av ikke den et har kan om var fra eller ved vil så du også",
    "nl": "de het een van en in is dat op te zijn voor met die niet aan er om ook als door of bij uit naar kan wordt",
    "pl": "w i na z się do nie że to jest o jak po dla od a za przez lub oraz są być może co tym przy tego",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas ao ou são pode das",
    "ro": "de și în a la cu o pe un din este să care nu pentru sau se mai ce că fi sunt ca dar prin poate",
    "ru": "и в не на что с по для это как к из от а но за или то же при его так бы все может если он",
    "sv": "och i att det en som på är av för med den till inte om ett har de kan så från eller var men vid du",
    "tr": "ve bir bu için ile de da olarak çok daha olan en gibi kadar sonra ya veya ancak değil her ne ise",
    "uk": "і в на не що з до та для це як у від за або про є але може при так його якщо він",
    "vi": "và của là có cho các được trong một không với này những để khi từ đã bạn trên thể đến nếu",
    "zh": "的 是 在 了 不 和 有 这 個 个 為 为 以 与 與 可 也 中 就 而 或 到 你 用",
}

STOP_WORDS: Mapping[str, frozenset[str]] = {key: frozenset(words.split()) for key, words in _STOP.items()}
"""The commonest function words, by ISO 639-1 code (Norwegian under "no", as fastText says it); Gopher's eight are
among the English."""

_FLAGGED = {
    "de": "arsch arschloch ficken fotze hure huren nutte nutten porno pornos schlampe schlampen titten wichser",
    "en": "arse arsehole asshole assholes bitch bitches blowjob blowjobs bollocks boner boobs bukkake bullshit clit"
    " cocks creampie cumming cumshot cumshots cunt cunts deepthroat dick dicks dildo dildos fag faggot faggots femdom"
    " fisting fuck fucked fucker fuckers fucking gangbang handjob hentai horny jizz masturbating milf milfs"
    " motherfucker nigger niggers nudes orgy porn porno pornos pussies pussy rimjob shit shitty slut sluts spunk"
    " threesome tits titties tranny twat wank wanker whore whores",
    "es": "cabrón coño follar joder mamada pendejo porno puta putas tetas",
    "fr": "connard connasse couilles enculé nichons porno putain pute putes salope salopes",
    "it": "cazzo merda pompino porno puttana puttane stronzo tette",
    "nl": "hoer hoeren kut lul neuken porno slet",
    "pl": "chuj cipa jebać kurwa kurwy pizda porno",
    "pt": "boquete buceta caralho foda foder porno pornô puta putas",
    "ru": "блядь ебать пизда порно порнуха сиськи хуй шлюха шлюхи",
}

FLAGGED_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split()) for language, words in _FLAGGED.items()
}
"""Words for sex and abuse by language; those that medicine, law and zoology need are not among them. One alone proves
nothing: a text's share of them says what it is."""


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case, as `characters.hash_words` finds them."""
    lowered = normalize("NFC", text.lower())
    starts, ends = word_borders(classify(codes(lowered)))
    return [lowered[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
