"""The whole measurement: every contestant trains on the same documents, and the figures are printed and written."""

import json
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from mm1.bench import figures
from mm1.bench.contestant import Description, Timing
from mm1.bench.documents import unpack
from mm1.bench.figures import OURS, PEERS, Figures
from mm1.bench.llava import PaddedTraining, equal_llava
from mm1.bench.packed import PackedTraining
from mm1.bench.train import TrainBenchConfig, bench_train
from mm1.cli import main
from mm1.config import UserError
from mm1.distributed.mesh import World
from mm1.recipes.tiny import tiny
from mm1.types import IGNORE


def texts_packed(batches, image_id: int) -> list[tuple[bytes, int, int]]:
    """Of each document: its text tokens, the number of its supervised ones, the number of its images."""
    return [
        (sample.tokens[sample.tokens != image_id].tobytes(), int(sample.loss_mask.sum()), len(sample.images))
        for batch in batches
        for sample in unpack(batch)
    ]


def texts_padded(batches, image_id: int) -> list[tuple[bytes, int, int]]:
    rows = []
    for batch in batches:
        for tokens, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            real = tokens[mask.bool()].numpy().astype(np.int32)
            supervised = int((labels[1:] != IGNORE).sum())  # the model shifts labels by one
            rows.append((real[real != image_id].tobytes(), supervised, int((real == image_id).sum()) // 36))
    return rows


def test_all_contestants_see_the_same_documents_and_supervised_tokens(contestants, workload):
    image_id = workload.tokenizer.image_id
    ours = texts_packed(contestants["mm1"].batches(), image_id)
    assert len(ours) == len(workload.samples)
    assert texts_padded(contestants["llava"].batches, image_id) == ours  # in the same order
    for other in (
        texts_packed(contestants["mm1_unpooled"].batches(), image_id),
        texts_padded(contestants["llava_grouped"].batches, image_id),
    ):
        assert Counter(other) == Counter(ours)
    assert sum(supervised for _, supervised, _ in ours) == workload.supervised_tokens
    targets = sum(int((batch.targets != IGNORE).sum()) for batch in contestants["mm1"].batches())
    assert targets == workload.supervised_tokens


def test_all_contestants_see_the_same_pictures(contestants):
    """By the pictures' sums, for the peer's are in floating point."""

    def packed_sums(batches) -> list[int]:
        return sorted(int(image.long().sum()) for batch in batches for image in batch.images)

    config = tiny().pretrain.model.image_encoder

    def padded_sums(batches) -> list[int]:
        sums = []
        for batch in batches:
            for pixels in batch.get("pixel_values", ()):
                channels = zip(pixels, config.mean, config.std, strict=True)
                sums.append(round(sum(float((p.double() * std + mean).sum()) * 255 for p, mean, std in channels)))
        return sorted(sums)

    ours = packed_sums(contestants["mm1"].batches())
    assert ours == packed_sums(contestants["mm1_unpooled"].batches())
    for peer in PEERS:
        assert padded_sums(contestants[peer].batches) == ours


def test_without_pooling_the_same_positions_hold_tokens(contestants):
    filled = {key: one.description.filled for key, one in contestants.items()}
    assert filled["mm1_unpooled"] == filled["llava"] == filled["llava_grouped"] > filled["mm1"]
    assert contestants["llava_grouped"].description.fill > contestants["llava"].description.fill


def test_the_recipes_own_optimizer_and_rows_are_measured(contestants, recipe):
    description = contestants["mm1"].description
    data = recipe.pretrain.data
    assert description.optimizer == "Muon and AdamW"
    assert description.positions == description.steps * data.rows * data.seq_len


def test_every_repetition_trains_on_every_batch(contestants, recipe, workload):
    """Repetitions go on from each other: none may be short because the one before it did its steps."""
    drawn = 0

    def counted():
        nonlocal drawn
        for batch in islice(contestants["mm1"].batches(), 3):
            drawn += 1
            yield batch

    contestant = PackedTraining("mm1", recipe.pretrain.replace(init={}), counted, World(), loads=True)
    contestant.warm_up()
    model = equal_llava(recipe.pretrain.model, workload.tokenizer)
    peer = PaddedTraining("Llava", model, contestants["llava"].batches[:3], torch.device("cpu"))
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        drawn = 0
        contestant.run()
        assert drawn == contestant.description.steps == 3
        calls.clear()
        peer.run()
        assert len(calls) == peer.description.steps == 3


def test_one_repetition_of_one_step_prints_a_table_and_writes_the_figures(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mm1.bench.train.tiny", lambda: recipe)
    monkeypatch.setattr("mm1.bench.llava.TRIALS", 1)
    out = tmp_path / "figures.json"
    arguments = ["bench", "train", "--repetitions", "1", "--steps", "1", "--device", "cpu", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for line in ("supervised tokens/s", "text tokens/s", "images/s", "ratio to Llava", "fill", "making batches"):
        assert line in printed
    written = json.loads(out.read_text())
    assert {*written["contestants"]} == {*OURS, *PEERS}
    for one in written["contestants"].values():
        assert one["supervised_tokens_per_second"] == written["supervised_tokens"] / one["median_seconds"]
        assert 0 < one["fill"] <= 1
        assert len(one["timings"]) == 1
    assert 0 < written["contestants"]["mm1"]["data_share"] < 1
    assert written["contestants"]["llava"]["data_share"] is None
    assert written["environment"]["threads"] >= 1


@pytest.fixture
def measured() -> Figures:
    def description(name: str) -> Description:
        return Description(
            name=name, parameters={"decoder": 3, "total": 3}, image_tokens=4, optimizer="AdamW", precision="fp32",
            batch="8 rows", steps=2, positions=100, filled=80,
        )  # fmt: skip

    environment = {"threads": 1, "processor": "one", "torch": "2", "transformers": "5", "load": 0.5}
    seconds = {"mm1": (1, 9, 2), "mm1_unpooled": (4, 4, 4), "llava": (8, 1, 9), "llava_grouped": (6, 6, 7)}
    return Figures(
        device="cpu", environment=environment, documents=10, supervised_tokens=100, text_tokens=120, images=6,
        contestants={key: description(key) for key in seconds},
        timings={
            key: [Timing(seconds=s, cpu_seconds=s, data_seconds=s / 4 if key == "mm1" else None) for s in values]
            for key, values in seconds.items()
        },
    )  # fmt: skip


def test_ratios_are_of_medians(measured):
    assert measured.seconds("mm1") == 2
    assert measured.ratio("mm1", "llava") == 4
    assert measured.ratio("mm1_unpooled", "llava_grouped") == 1.5
    assert measured.data_share("mm1") == 0.25
    values = measured.to_json()
    assert values["ratios"]["mm1"] == {"llava": 4, "llava_grouped": 3}
    assert values["contestants"]["mm1"]["supervised_tokens_per_second"] == 50
    assert values["contestants"]["mm1"]["fill"] == 0.8
    assert figures.table(measured).row_count > 10


def test_a_disturbed_measurement_says_so(measured):
    def warnings(timings) -> list[str]:
        said = figures.lines(replace(measured, timings={**measured.timings, "mm1_unpooled": timings}))
        return [line for line in said if "DO NOT QUOTE" in line]

    calm = Timing(seconds=4, cpu_seconds=7.6)  # two threads, both of them busy nearly all the time
    assert not warnings([calm, calm])
    assert len(warnings([calm, replace(calm, seconds=6)])) == 1


@pytest.mark.parametrize("asked", [["--repetitions", "0"], ["--steps", "-1"], ["--device", "tpu"]])
def test_impossible_requests_are_one_sentence(asked, capsys):
    assert main(["bench", "train", *asked]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert asked[0].removeprefix("--") in said


def test_a_missing_folder_is_noticed_before_anything_is_measured(tmp_path, capsys):
    assert main(["bench", "train", "--out", str(tmp_path / "missing" / "figures.json")]) == 2
    assert "missing" in capsys.readouterr().err


def test_several_processes_are_refused(recipe, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    with pytest.raises(UserError, match="one process"):
        bench_train(TrainBenchConfig(device="cpu"), print, recipe)
