"""Settings files, `--set name=value` and orders: what is understood, and what is refused with a sentence."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gooddrag.errors import BadInput
from gooddrag.settings import LARGEST_FILE, parse_assignments, read_order, read_settings
from gooddrag.task import DragTask


@pytest.fixture
def read(tmp_path):
    """Read a settings file that holds this text or these bytes."""

    def call(content):
        path = tmp_path / "settings"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_settings(path)

    return call


def test_a_plain_file_holds_the_settings_alone(read):
    stored = read("drags: 5\nlora: {steps: 20}\n")
    assert stored.settings == {"drags": 5, "lora": {"steps": 20}}
    assert stored.method is stored.backbone is stored.prompt is stored.fingerprint is None


def test_a_results_file_tells_its_method_backbone_and_prompt_too(read):
    words = {"method": "dragdiffusion", "backbone": "sd15", "prompt": "a cat", "fingerprint": "f00"}
    more = {"gooddrag": "0.1.0", "reached": True, "stopped": False}
    stored = read(json.dumps({"settings": {"drags": 5}} | words | more))
    assert stored.settings == {"drags": 5}
    assert {name: getattr(stored, name) for name in words} == words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-0", 0),
        ("010", 10),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'12'", "12"),
    ],
)
def test_words_and_numbers_are_those_of_yaml_1_2(read, text, value):
    assert read(f"name: {text}").settings["name"] == value


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9)))
def test_whatever_json_holds_is_read(tmp_path_factory, settings):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({"settings": settings}))
    assert read_settings(path).settings == settings


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("a: &x [1]\nb: *x", "mistake at line 2", id="an alias"),
        pytest.param("a: 1\nb: !!timestamp x", "mistake at line 2", id="a tag"),
        pytest.param("a: [1", "mistake", id="broken"),
        pytest.param("[" * 100_000, "mistake", id="deep"),
        pytest.param("a: " + "9" * 5000, "mistake", id="a number without end"),
        pytest.param("a: 1\n---\nb: 2", "mistake", id="two documents"),
        pytest.param(b"\xff\xfe\x00", "text file", id="no text"),
        pytest.param("", "holds no settings", id="empty"),
        pytest.param("- 1", "holds no settings", id="a list"),
        pytest.param("1: 2", "holds no settings", id="a number for a name"),
        pytest.param("settings: 5", "holds no settings", id="settings that are none"),
        pytest.param("settings: {}\nsteps: 5", "'steps' beside", id="both kinds"),
        pytest.param("settings: {}\nmethod: 5", "method is 5", id="a number for a method"),
    ],
)
def test_a_file_that_makes_no_sense_gets_one_sentence(read, content, complaint):
    with pytest.raises(BadInput, match=complaint) as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_a_file_may_have_one_megabyte(read):
    text = "drags: 5\n".ljust(LARGEST_FILE)
    assert read(text).settings == {"drags": 5}
    with pytest.raises(BadInput, match="1 MB"):
        read(text + " ")


def test_assignments_may_name_settings_inside_others():
    texts = ["drags=5", "lora.steps=20", " lora.rank = 2", "schedule=aldd"]
    assert parse_assignments(texts) == {"drags": 5, "lora": {"steps": 20, "rank": 2}, "schedule": "aldd"}


@pytest.mark.parametrize(
    "texts", [["drags"], ["drags="], ["=5"], ["drags=[1"], ["a=*b"], ["lora=null", "lora.steps=5"]]
)
def test_an_assignment_that_makes_no_sense_is_quoted(texts):
    with pytest.raises(BadInput) as caught:
        parse_assignments(texts)
    assert f"'--set {texts[-1]}'" in str(caught.value)


@pytest.fixture
def stored(tmp_path):
    """A result folder, as far as an order reads it."""
    DragTask(np.zeros((20, 20, 3), np.uint8), [(1, 1)], [(9, 9)]).write(tmp_path / "one" / "task")
    words = {"method": "dragdiffusion", "backbone": "sd15", "prompt": "a cat", "fingerprint": "f00"}
    (tmp_path / "one" / "settings.json").write_text(json.dumps({"settings": {"drags": 5}} | words))
    return tmp_path / "one"


def test_a_replay_asks_for_what_the_result_tells(stored):
    order = read_order(replay=stored)
    assert (order.method, order.backbone, order.task.prompt) == ("dragdiffusion", "sd15", "a cat")
    assert (order.settings, order.fingerprint, order.folder.name) == ({"drags": 5}, "f00", "one-again")


def test_what_is_typed_goes_before_what_a_result_tells(stored):
    order = read_order(replay=stored, backbone="pocket", prompt="a dog", assignments=["drags=7"])
    assert (order.backbone, order.task.prompt, order.changes) == ("pocket", "a dog", {"drags": 7})


def test_a_settings_file_tells_the_method_and_leaves_the_engine_to_you(stored):
    order = read_order(stored / "task", settings=stored / "settings.json")
    assert (order.method, order.settings) == ("dragdiffusion", {"drags": 5})
    assert (order.backbone, order.task.prompt, order.fingerprint) == ("pocket", "", None)


def test_a_method_that_contradicts_the_settings_is_refused(stored):
    with pytest.raises(BadInput, match="contradicts"):
        read_order(stored / "task", settings=stored / "settings.json", method="gooddrag")
