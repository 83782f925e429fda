"""The tasks of the synthetic world: what a tiny model should see, learn from its shots, and remember as text.

    binding   a novel word for a colour or shape, which only the shots explain
    listing   which attribute is to be named, which only the shots show
    caption   every thing with size, colour, shape, place, digit (and caption_cider over the same answers' prompts)
    vqa       questions about colour, shape, count, position, digits
    text      sums and facts behind openings that were not trained with them, recall and reading within a page
    chat_*    the fine-tuned model's formats

All come from the page makers that made the training documents, on the test split. Knows nothing of real images
(naming.py) or of how answers are compared (tasks.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice

from mm1.config import Config, Seed, UserError
from mm1.data import templates
from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.pages import Item, Page
from mm1.data.synthetic.scenes import World
from mm1.data.synthetic.source import PageKind, SyntheticConfig, chat_question, make_page
from mm1.eval.episodes import Attribute, Episode
from mm1.eval.tasks import ItemScore, Part, Task, cider, exact_match
from mm1.types import Segment, Text

_ANSWER_TOKENS = 6
_CAPTION_TOKENS = 32
_SHOT_PAGES = 1_000_000
"""Number of the first page that serves as a shot of a text question; questions stand below it."""
_MOST_DRAWS = 5000
"""Pages looked at for the shots of one text question before giving up."""


class WorldTasksConfig(Config):
    """How many questions, with how many shots at most."""

    num_episodes: int = 200
    max_shots: int = 8
    world: World = World()
    seed: Seed = 0


def pretrained_tasks(config: WorldTasksConfig) -> list[Task]:
    """The few-shot tasks for a pretrained model."""
    captions = _episodes(config, "captions", _page_episode)
    return [
        Task(name="binding", episodes=_episodes(config, "binding", _page_episode), metric=exact_match,
             max_new_tokens=_ANSWER_TOKENS),
        Task(name="listing", episodes=_episodes(config, "listing", _page_episode), metric=exact_match,
             max_new_tokens=_ANSWER_TOKENS),
        Task(name="caption", episodes=captions, metric=things_named, max_new_tokens=_CAPTION_TOKENS),
        Task(name="caption_cider", episodes=captions, metric=cider, max_new_tokens=_CAPTION_TOKENS),
        Task(name="vqa", episodes=_episodes(config, "questions", _page_episode), metric=exact_match,
             max_new_tokens=_ANSWER_TOKENS),
        Task(name="text", episodes=_text_episodes(config), metric=exact_match, max_new_tokens=_ANSWER_TOKENS),
    ]  # fmt: skip


def chat_tasks(config: WorldTasksConfig) -> list[Task]:
    """The zero-shot tasks for a fine-tuned model, asked as a user would."""
    zero_shot = config.replace(max_shots=0)
    asked = _text_pages(zero_shot, ("sums", "reading"), chat=True)
    return [
        Task(name="chat_caption", episodes=_episodes(zero_shot, "captions", _chat_episode), metric=things_named,
             max_new_tokens=_CAPTION_TOKENS),
        Task(name="chat_vqa", episodes=_episodes(zero_shot, "questions", _chat_episode), metric=exact_match,
             max_new_tokens=_ANSWER_TOKENS),
        Task(name="chat_text", metric=exact_match, max_new_tokens=_ANSWER_TOKENS,
             episodes=tuple(_chat_episode(page, id_) for id_, page in asked)),
    ]  # fmt: skip


def things_named(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """Attribute accuracy: the n-th clause of the answer must hold the words of the n-th thing, in reading order.

    So words have to stand with the thing they belong to. A clause stuffed with every word would still win: read the
    score beside CIDEr, which falls for it.
    """
    return [_things_named(output, episode) for output, episode in zip(outputs, episodes, strict=True)]


def _things_named(output: str, episode: Episode) -> ItemScore:
    clauses = [f" {clause.strip()} " for clause in output.split(",")]
    parts = []
    for attribute in episode.required:
        number, kind = attribute.kind.split(".")
        clause = clauses[int(number)] if int(number) < len(clauses) else ""
        parts.append(Part(kind, float(f" {attribute.words} " in clause), attribute.chance))
    return ItemScore(sum(part.score for part in parts) / len(parts), tuple(parts))


_CHANCE = {
    "size": 1 / len(words.SIZES),
    "colour": 1 / len(words.COLOURS),
    "shape": 1 / len(words.SHAPES),
    "digits": 1 / len(words.DIGITS),
}


def _page_episode(page: Page, id_: str) -> Episode:
    """All items but the last are shots, the last is the query."""
    *shots, query = page.items
    return _episode(id_, query, query.prompt, page.header, tuple(shot.segments() for shot in shots))


def _chat_episode(page: Page, id_: str) -> Episode:
    query = page.items[-1]
    header = tuple(Text(part.text, False) for part in page.header if isinstance(part, Text))
    return _episode(id_, query, templates.merged(templates.chat_turn(chat_question(query), None)), header, ())


def _episode(
    id_: str,
    item: Item,
    query: tuple[Segment, ...],
    header: tuple[Segment, ...],
    shots: tuple[tuple[Segment, ...], ...],
) -> Episode:
    required = tuple(
        Attribute(word, f"{number}.{kind}", _CHANCE.get(kind, 1 / 4))
        for number, thing in enumerate(item.attributes)
        for kind, word in thing
    )
    chance = sum(a.chance for a in required) / len(required) if required else item.chance
    return Episode(
        id=id_,
        query=query,
        references=(item.answer,),
        kind=item.kind,
        header=header,
        shots=shots,
        required=required,
        chance=chance,
    )


def _episodes(config: WorldTasksConfig, page: PageKind, make: Callable[[Page, str], Episode]) -> tuple[Episode, ...]:
    """One episode a test page; a page on which a shot shows what the query shows is passed over.

    Bytes do not tell: two drawings of one scene differ in their jitter, and still one gives the other away.
    """
    source = SyntheticConfig(name=f"eval/{page}", page=page, num_documents=1, world=config.world, seed=config.seed)
    pages = (make_page(source, index, "test", config.max_shots + 1) for index in count())
    told_apart = (page for page in pages if page.items[-1].content not in [item.content for item in page.items[:-1]])
    chosen = enumerate(islice(told_apart, config.num_episodes))
    return tuple(make(page, f"{source.name}/{number}") for number, page in chosen)


def _text_pages(config: WorldTasksConfig, kinds: tuple[PageKind, ...], chat: bool = False) -> list[tuple[str, Page]]:
    """Test pages of one item, the kinds in turn; for chats, only questions that no training chat asks."""
    streams = [_single_item_pages(config, kind) for kind in kinds]
    if chat:
        streams = [(page for page in stream if page[1].items[0].asked_in != "train") for stream in streams]
    return [next(streams[number % len(kinds)]) for number in range(config.num_episodes)]


def _single_item_pages(config: WorldTasksConfig, kind: PageKind, first: int = 0) -> Iterator[tuple[str, Page]]:
    """Endless test pages of one item, from number `first` on."""
    source = SyntheticConfig(name=f"eval/{kind}", page=kind, num_documents=1, world=config.world, seed=config.seed)
    return ((f"{source.name}/{index}", make_page(source, index, "test", 1)) for index in count(first))


def _text_episodes(config: WorldTasksConfig) -> tuple[Episode, ...]:
    """Sums, facts, recall and reading; an episode's shots are other pages of its kind with other questions."""
    kinds: tuple[PageKind, ...] = ("sums", "facts", "copying", "reading")
    streams = {kind: _single_item_pages(config, kind, first=_SHOT_PAGES) for kind in kinds}
    rng = random.Random(config.seed)
    episodes = []
    for number, (id_, page) in enumerate(_text_pages(config, kinds)):
        query = page.items[0]
        shots: dict[tuple[Segment, ...], None] = {}
        for _, other in islice(streams[kinds[number % len(kinds)]], _MOST_DRAWS):
            if len(shots) == config.max_shots:
                break
            if not query.content or other.items[0].content != query.content:
                shots[other.segments()] = None
        if len(shots) < config.max_shots:
            raise UserError(f"there are {len(shots)} different shots for '{query.kind}': ask for at most as many")
        order = rng.sample(list(shots), len(shots))
        episodes.append(_episode(id_, query, templates.merged((*page.header, *query.prompt)), (), tuple(order)))
    return tuple(episodes)
