"""Files are read strictly, written whole, and refused in one line."""

from __future__ import annotations

import os
import stat
from typing import Literal

import msgspec
import pytest
import yaml

from anynet.errors import InputError
from anynet.files import decode, parse_yaml, read_text, read_yaml, to_json, to_yaml, write_text


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    low: float
    color: Literal["red", "green"] = "red"

    def __post_init__(self) -> None:
        if self.low < 0:
            raise ValueError(f"low: {self.low} must be 0 or more")


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    inner: tuple[Inner, ...] = ()
    limit: int | None = None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("360e6", 360e6),
        ("3.6e8", 3.6e8),
        ("36E+7", 36e7),
        ("1e-3", 1e-3),
        ("-1e3", -1e3),
        ("+5e2", 5e2),
        (".5e1", 5.0),
        ("5.e-1", 0.5),
        ("5", 5),
        ("0.25", 0.25),
        (".inf", float("inf")),
        ("'360e6'", "360e6"),
        ("e6", "e6"),
        ("1e", "1e"),
        ("360e6:400e6", "360e6:400e6"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("-12", -12),
        ("true", True),
        ("null", None),
    ],
)
def test_yaml_numbers_are_those_of_yaml_1_2(text, value):
    found = parse_yaml(text, "x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "f.yaml: line 1: not valid YAML: "),
        ("a:\n\t- 2", "f.yaml: line 2: not valid YAML: found character '\\t' that"),
        ("a: *nowhere", "f.yaml: line 1: not valid YAML: found undefined alias 'nowhere'"),
        ("a: !!python/name:os.system x", "f.yaml: line 1: not valid YAML: could not determine"),
        ("a: \x00", "f.yaml: not valid YAML: unacceptable character"),
        ("a: 1\n---\nb: 2", "f.yaml: line 2: not valid YAML: but found another document"),
        ("? [1, 2]\n: 3", "f.yaml: line 1: not valid YAML: found unhashable key"),
        ("a: 2001-13-45", "f.yaml: not valid YAML: month must be in 1..12"),
        ("a: !!int x", "f.yaml: not valid YAML: "),
        ("a: !!float x", "f.yaml: not valid YAML: "),
        ("a: !!bool x", "f.yaml: not valid YAML: "),
        ("a: 1" + "0" * 5000, "f.yaml: not valid YAML: "),
        ("[" * 3000 + "]" * 3000, "f.yaml: not valid YAML: "),
        ("a: 1\nb: 2\na: 3", "f.yaml: line 3: not valid YAML: "),
        ("a: {b: 1, b: 2}", "f.yaml: line 1: not valid YAML: "),
    ],
    ids=lambda value: value[:24],
)
def test_text_that_is_not_yaml_is_refused_in_one_line(text, message):
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "f: empty"),
        ([], "f: expected object, got array"),
        ("text", "f: 'text': expected object, got str"),
        ({}, "f: object missing required field name"),
        ({"name": 3}, "f: name: 3: expected str, got int"),
        ({"name": "a", "nam": 1}, "f: nam: no such field; did you mean `name`?"),
        ({"name": "a", "zzzz": 1}, "f: zzzz: no such field"),
        ({"name": "a", "limit": "3"}, "f: limit: '3': expected int | null, got str"),
        ({"name": "a", "limit": True}, "f: limit: True: expected int | null, got bool"),
        ({"name": "a", "inner": 3}, "f: inner: 3: expected array, got int"),
        ({"name": "a", "inner": [{"low": 1}, {"low": -1}]}, "f: inner[1].low: -1.0 must be 0"),
        (
            {"name": "a", "inner": [{"lwo": 1}]},
            "f: inner[0].lwo: no such field; did you mean `low`",
        ),
        (
            {"name": "a", "inner": [{"low": 1, "color": "blue"}]},
            "f: inner[0].color: 'blue': must be one of red, green",
        ),
        ({1: 2}, "f: expected str"),
        ({"a\nb": 1, "name": "a"}, "f: a b: no such field"),
    ],
)
def test_data_that_does_not_fit_is_refused_in_one_line(data, message):
    with pytest.raises(InputError) as caught:
        decode(data, Outer, "f")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["x" * 5000, int("1" + "0" * 400)])
def test_a_long_value_is_cut_in_the_message(value):
    with pytest.raises(InputError) as caught:
        decode({"name": "a", "inner": value}, Outer, "f")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"low": -1}, "f: space[2].low: -1.0 must be 0 or more"),
        ({"low": "x"}, "f: space[2].low: 'x': expected float, got str"),
        ({"lwo": 1}, "f: space[2].lwo: no such field; did you mean `low`?"),
        ([], "f: space[2]: expected object, got array"),
    ],
)
def test_an_error_names_where_in_the_file_the_data_stands(data, message):
    with pytest.raises(InputError) as caught:
        decode(data, Inner, "f", at="space[2]")
    assert str(caught.value) == message


def test_a_struct_survives_yaml_and_json(tmp_path):
    value = Outer("a: name\nwith lines", (Inner(1), Inner(1e-7, "green"), Inner(1e22)), None)
    for text in (to_yaml(value), to_yaml(value, "a\n\ncomment"), to_json(value)):
        assert decode(parse_yaml(text, "x"), Outer, "x") == value
        path = write_text(tmp_path / "a.yaml", text)
        assert read_yaml(path, Outer) == value
    assert "limit" not in yaml.safe_load(to_yaml(value))
    assert to_yaml(value, "a\n\ncomment").startswith("# a\n#\n# comment\nname: ")


def test_short_lists_stand_on_one_line():
    assert to_yaml({"a": [1, 2.5, "b"], "c": [{"d": 1}]}) == "a: [1, 2.5, b]\nc:\n- d: 1\n"
    assert to_yaml({"a": (1, 2)}) == "a: [1, 2]\n"


def test_json_is_one_line():
    assert to_json({"a": [1, 2.0], "b": None, "c": "x\ny"}) == (
        '{"a": [1, 2.0], "b": null, "c": "x\\ny"}'
    )
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": float("nan")})


def test_reading_says_what_is_wrong(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, rule in (
        (tmp_path / "nowhere", "no such file"),
        (tmp_path, "a folder, where a file is expected"),
        (binary, "not a text file (UTF-8)"),
        (binary / "below", "cannot be read: Not a directory"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
    ):
        with pytest.raises(InputError) as caught:
            read_text(path)
        assert str(caught.value) == f"{path}: {rule}"


def test_writing_says_what_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    for path, rule in (
        (tmp_path, "cannot be written: Is a directory"),
        (tmp_path / "file" / "below", "cannot be written: "),
        (tmp_path / ("x" * 300), "cannot be written: File name too long"),
    ):
        with pytest.raises(InputError) as caught:
            write_text(path, "text")
        assert str(caught.value).startswith(f"{path}: {rule}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("use", [read_text, lambda path: write_text(path, "text")])
def test_a_path_that_cannot_be_is_refused(use):
    with pytest.raises(InputError, match="null byte"):
        use("a\0b")


def test_writing_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    assert write_text(path, "one") == path
    write_text(path, "zwölf")
    assert read_text(path) == "zwölf"
    assert [entry.name for entry in path.parent.iterdir()] == ["c.txt"]


def test_a_written_file_has_the_usual_mode(tmp_path):
    write_text(tmp_path / "file", "x")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_text(tmp_path / "file", "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        write_text(path, "new")
    monkeypatch.undo()
    assert read_text(path) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_is_no_plain_file_is_written_to_not_replaced(tmp_path):
    # As root, replacing /dev/null or /dev/stdout would break the machine.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(fifo, "text")
        assert stat.S_ISFIFO(os.stat(fifo).st_mode)
        assert os.read(reader, 10) == b"text"
    finally:
        os.close(reader)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert read_text(tmp_path / "target") == "new"


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(InputError) as caught:
        read_yaml(path, Outer)
    assert str(caught.value) == f"{path}: empty"


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        write_text(tmp_path / "file" / "a.yaml", "text")
    folder = tmp_path / "file"
    assert str(caught.value) == f"{folder / 'a.yaml'}: cannot be written: {folder} is no folder"
