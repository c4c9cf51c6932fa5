"""`casebus notices check` and `preview`: what is wrong is said with its place, and no traceback."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from casebus.main import app
from services.notifier.messages import FOLDER

EVENT = {
    "type": "case.status_changed.v1",
    "service": "SVC-001",
    "agency": "DOSW",
    "from_status": "ACCEPTED",
    "to_status": "CORRECTION_REQUESTED",
    "by": "clerk",
    "items": ["存摺影本"],
    "correct_by": "2026-12-09",
}
runner = CliRunner()


def run(*arguments: str) -> Any:
    return runner.invoke(app, ["notices", *arguments])


@pytest.fixture
def event(tmp_path: Path) -> Any:
    def written(body: Any) -> str:
        path = tmp_path / "event.json"
        path.write_text(body if isinstance(body, str) else json.dumps(body), "utf-8")
        return str(path)

    return written


def test_the_citys_texts_are_sound() -> None:
    done = run("check")
    assert (done.exit_code, done.stdout.count("sound")) == (0, 1)


def test_what_is_wrong_with_a_text_is_told_with_its_line(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "messages"))
    file = folder / "en" / "received.jinja"
    file.write_text(file.read_text("utf-8").replace("{{ number }}", "{{ nubmer }}", 1), "utf-8")
    (folder / "zh-TW" / "approved.jinja").unlink()
    done = run("check", str(folder))
    assert done.exit_code == 1
    assert "messages/en/received.jinja:2: nothing is called nubmer" in done.stdout
    assert "messages/zh-TW/approved.jinja:1: the file is missing" in done.stdout
    assert run("check", str(tmp_path / "none")).exit_code == 2


def test_a_preview_shows_both_languages_and_channels_with_parts_and_cost(event: Any) -> None:
    done = run("preview", event(EVENT), "--price", "0.75")
    assert done.exit_code == 0
    for words in ("--- sms, zh-TW", "--- sms, en", "--- mail, zh-TW", "--- mail, en"):
        assert words in done.stdout
    assert "2 parts, TWD 1.50" in done.stdout
    assert "115年12月9日以前" in done.stdout
    assert "by 9 December 2026" in done.stdout


def test_a_preview_can_be_of_one_language_and_channel(event: Any) -> None:
    done = run("preview", event(EVENT), "--lang", "en", "--channel", "sms")
    assert done.stdout.count("---") == 1
    assert done.stdout.startswith("--- sms, en: correction_requested")


def test_what_is_no_news_is_said_to_be_none(event: Any) -> None:
    done = run("preview", event(EVENT | {"to_status": "UNDER_REVIEW"}))
    assert "citizens are told nothing" in done.stdout


@pytest.mark.parametrize(
    ("body", "options", "why"),
    [
        ("no json", (), "this is no JSON"),
        ("[]", (), '"type" must be one of'),
        ("{}", (), '"type" must be one of'),
        (EVENT | {"type": "case.closed.v1"}, (), '"type" must be one of'),
        ({"type": "case.status_changed.v1"}, (), "to_status: Field required"),
        (EVENT | {"correct_by": "soon"}, (), "correct_by"),
        (EVENT, ("--lang", "fr"), "'fr' is none of zh-TW, en"),
        (EVENT, ("--channel", "pigeon"), "'pigeon' is none of sms, mail"),
        (EVENT, ("--price", "much"), "no amount of TWD"),
        (EVENT, ("--price", "-1"), "no amount of TWD"),
        (EVENT, ("--price", "NaN"), "no amount of TWD"),
    ],
)
def test_bad_input_is_told_where_and_how(
    event: Any, body: Any, options: tuple[str, ...], why: str
) -> None:
    done = run("preview", event(body), *options)
    assert done.exit_code == 2
    assert why in done.stderr
    assert "Traceback" not in done.output


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    done = run("preview", str(tmp_path / "none.json"))
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr
