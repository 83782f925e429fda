"""Steps appear whole, are skipped when finished, resumed when interrupted, and redone when changed."""

import json
import shutil

import pytest

from mm1.config import UserError
from mm1.steps import Step, execute


def make(run, config=None, inputs=()):
    return Step(name="count", config=config or {"n": 1}, run=run, inputs=inputs)


def test_a_finished_step_is_skipped_and_linked(tmp_path):
    calls = []

    def run(folder):
        calls.append(folder)
        (folder / "result").write_text("done")

    first, second = execute(make(run), tmp_path), execute(make(run), tmp_path)
    assert len(calls) == 1
    assert not first.skipped
    assert second.skipped
    assert (tmp_path / "count" / "result").read_text() == "done"
    assert (tmp_path / "count").resolve() == first.folder.resolve()


def test_an_interrupted_step_gets_its_own_folder_back_and_is_not_taken_for_finished(tmp_path):
    def interrupted(folder):
        (folder / "half").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(make(interrupted), tmp_path)
    assert not make(interrupted).folder(tmp_path).exists()

    def resumed(folder):
        assert (folder / "half").read_text() == "1"

    outcome = execute(make(resumed), tmp_path)
    assert not outcome.skipped
    assert json.loads((outcome.folder / "step.json").read_text())["seconds"] >= 0


def interrupted(folder):
    raise KeyboardInterrupt


def test_the_link_leads_to_a_finished_result_until_there_is_another(tmp_path):
    first = execute(make(lambda folder: None), tmp_path).folder
    with pytest.raises(KeyboardInterrupt):
        execute(make(interrupted, config={"n": 2}), tmp_path)
    assert (tmp_path / "count").resolve() == first.resolve()
    second = execute(make(lambda folder: None, config={"n": 2}), tmp_path).folder
    assert (tmp_path / "count").resolve() == second.resolve()


def test_where_nothing_is_finished_the_link_leads_to_what_runs(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        execute(make(interrupted), tmp_path)

    def run(folder):
        assert (tmp_path / "count").resolve() == folder.resolve()

    again = execute(make(run, config={"n": 2}), tmp_path)
    shutil.rmtree(again.folder)  # the link now leads nowhere
    execute(make(run, config={"n": 3}), tmp_path)


def test_the_folder_depends_on_config_version_and_inputs(tmp_path):
    base = make(lambda folder: None)
    changed = make(lambda folder: None, config={"n": 2})
    below = make(lambda folder: None, inputs=(base,))
    assert len({step.folder(tmp_path) for step in (base, changed, below)}) == 3
    assert below.digest != make(lambda folder: None, inputs=(changed,)).digest
    assert base.digest == make(print).digest


def test_two_processes_do_not_run_one_step(tmp_path):
    def run(folder):
        with pytest.raises(UserError, match="another process"):
            execute(make(lambda inner: None), tmp_path)

    execute(make(run), tmp_path)


def test_a_foreign_file_is_never_replaced_by_a_link(tmp_path):
    (tmp_path / "count").write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        execute(make(lambda folder: None), tmp_path)
    assert (tmp_path / "count").read_text() == "mine"
