"""The world's tasks: held-out, answerable from what stands in the prompt, scored clause by clause."""

import pytest

from mm1.config import UserError
from mm1.data.embedded import caption_records
from mm1.data.synthetic.scenes import split_of
from mm1.data.synthetic.vocabulary import NAMES
from mm1.eval import world
from mm1.eval.episodes import Attribute, Episode, prompt
from mm1.eval.naming import NamingTasksConfig, naming_tasks
from mm1.eval.world import WorldTasksConfig, chat_tasks, pretrained_tasks, things_named
from mm1.types import Image, Text

CONFIG = WorldTasksConfig(num_episodes=40)
TASKS = {task.name: task for task in pretrained_tasks(CONFIG)}


def text_of(document):
    return "".join(part.text if isinstance(part, Text) else "[image]" for part in document.segments)


def test_the_promised_tasks_exist_with_their_shots():
    assert {"binding", "listing", "caption", "vqa", "text"} <= set(TASKS)
    for task in TASKS.values():
        assert len(task.episodes) == 40
        assert all(len(episode.shots) == 8 for episode in task.episodes)


def test_binding_can_be_told_from_the_shots_only():
    """Both words stand in the header, even numbers of shots show both equally, and a guess is right half the time."""
    for episode in TASKS["binding"].episodes:
        header = text_of(prompt(episode, 0)).removesuffix("[image]")
        words = header.removeprefix("words: ").split()
        assert episode.references[0] in words
        assert episode.chance == 0.5
        for shots in (4, 8):
            told = text_of(prompt(episode, shots))[len(header) :]
            assert told.count(words[0]) == told.count(words[1]) == shots // 2
    first = [text_of(prompt(e, 0)).split()[1] == e.references[0] for e in TASKS["binding"].episodes]
    assert 8 <= sum(first) <= 32


@pytest.mark.parametrize("page", ["binding", "listing", "captions", "questions"])
def test_no_shot_shows_what_the_query_shows(page, monkeypatch):
    """Not even drawn anew: the pages' scenes are compared, not their bytes."""
    seen = []
    world._episodes(CONFIG, page, lambda page, id_: seen.append(page))
    assert len(seen) == 40
    for found in seen:
        assert found.items[-1].content
        assert found.items[-1].content not in [item.content for item in found.items[:-1]]
        assert {split_of(item.content) for item in found.items} == {"test"}


def test_no_text_shot_tells_the_fact_or_the_sum_that_is_asked():
    for episode in TASKS["text"].episodes:
        query, answer = text_of(prompt(episode, 0)).split(), episode.references[0]
        for line in ("".join(part.text for part in shot).split() for shot in episode.shots):
            if episode.kind == "sums":
                assert line[-5:-1] != query[-4:]
            if episode.kind == "facts":
                assert not set(query) & set(line) & set(NAMES) or line[-1] != answer


def test_more_shots_than_there_are_is_a_sentence_not_a_hang(monkeypatch):
    monkeypatch.setattr("mm1.eval.world._MOST_DRAWS", 500)
    with pytest.raises(UserError, match="different shots for 'facts'"):
        pretrained_tasks(WorldTasksConfig(num_episodes=2, max_shots=40))


def test_listing_names_one_attribute_throughout():
    for episode in TASKS["listing"].episodes:
        assert len(episode.shots) == 8
        assert episode.chance == {"colour": 1 / 8, "shape": 1 / 6, "size": 1 / 2, "row": 1 / 2}[episode.kind]


def test_captions_are_scored_clause_by_clause():
    required = (
        Attribute("red", "0.colour", 0.125), Attribute("top left", "0.position", 0.25), Attribute("7", "1.digits", 0.1)
    )  # fmt: skip
    episode = Episode(id="a", query=(Image(b"x"),), references=("",), kind="caption", required=required)

    def score(answer):
        return things_named([answer], [episode])[0].score

    assert score("a small red star top left, a blue sign 7 bottom right") == 1
    assert score("a blue sign 7 bottom right, a small red star top left") == 0
    assert score("a small red star top left") == pytest.approx(2 / 3)
    assert score("red 7 top left, red 7 top left, red 7 top left") == 1  # each clause may say more than it should
    assert score("a reddish star top leftmost, sign 77") == 0


def test_reference_captions_score_one_and_their_chance_is_computed():
    task = TASKS["caption"]
    scores = task.metric([episode.references[0] for episode in task.episodes], task.episodes)
    assert all(item.score == 1 for item in scores)
    assert 0.1 < sum(episode.chance for episode in task.episodes) / 40 < 0.4


def test_text_episodes_keep_their_page_beside_the_question():
    for episode in TASKS["text"].episodes:
        if episode.kind == "copying":
            query = text_of(prompt(episode, 0))
            key = query.rpartition("\n")[2]
            assert f"{key} {episode.references[0]}\n" in query


def test_shots_of_text_questions_are_different_and_do_not_ask_the_same():
    for episode in TASKS["text"].episodes:
        assert len(set(episode.shots)) == 8
    assert all(len(task.episodes) == 3 for task in pretrained_tasks(WorldTasksConfig(num_episodes=3)))


def test_chat_tasks_ask_as_a_user_would():
    for task in chat_tasks(CONFIG):
        for episode in task.episodes:
            asked = text_of(prompt(episode, 0))
            assert "user: " in asked
            assert asked.endswith("\nassistant:")


def test_naming_offers_the_right_name_once_and_shots_of_other_pictures():
    held_out = {record.image for split in ("test", "style_test") for record in caption_records(split)}
    for task in naming_tasks(NamingTasksConfig(num_episodes=20)):
        for episode in task.episodes:
            assert len(set(episode.candidates)) == 4
            assert sum(name.strip() == episode.references[0] for name in episode.candidates) == 1
            pictures = [part.data for shot in episode.shots for part in shot if isinstance(part, Image)]
            assert set(pictures) <= held_out
            assert episode.query[0].data not in pictures
