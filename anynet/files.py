"""Reading and writing the YAML and JSON files that people write, and the one error they may see.

A file is decoded into a frozen struct: unknown fields, wrong types and broken rules each end in
one `InputError` that names the file, the field, the value and the rule.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tempfile
import textwrap
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import yaml

from anynet.errors import InputError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML 1.2, where PyYAML reads 1.1: `360e6` is a number, `010` is ten and `1:30` is text.

    A key that stands twice is refused.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way to configure a loader)
        first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:int"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key_node, yaml.ScalarNode) and key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            if isinstance(key_node, yaml.ScalarNode):
                keys.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


class _Dumper(yaml.SafeDumper):
    """Short lists of numbers stay on one line; everything else is block style."""


def _flow_short_lists(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    plain = all(isinstance(item, int | float | str) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=plain)


def _text_as_lines(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    style = "|" if "\n" in data else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(list, _flow_short_lists)
_Dumper.add_representer(str, _text_as_lines)


def parse_yaml(text: str, source: str) -> Any:
    """Plain data from YAML text. Raises InputError naming `source` and the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}:" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{source}:{where} not valid YAML: {_short(problem)}") from None
    except RecursionError:
        raise InputError(f"{source}: not valid YAML: nested too deeply") from None
    except (KeyError, ValueError) as error:  # of a number, a date, a truth that is none
        raise InputError(f"{source}: not valid YAML: {_short(str(error))}") from None


def _short(text: str) -> str:
    """Text for the inside of a message: on one line, and not too long."""
    return textwrap.shorten(text, 120, placeholder=" ...") if " " in text else text[:120]


def _shown(value: Any) -> str:
    """A value for the inside of a message."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python likes to write
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file. Raises InputError where it is not there or not readable."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, where a file is expected") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path!r}: not a path: {error}") from None


def read_yaml(path: str | os.PathLike[str], kind: type[T]) -> T:
    """Decode the YAML (or JSON) file at `path` into `kind`. Raises InputError."""
    return decode(parse_yaml(read_text(path), str(path)), kind, str(path))


def to_yaml(value: Any, comment: str = "") -> str:
    """YAML text of a struct or of plain data without what is None, behind an optional comment."""
    plain = msgspec.to_builtins(value)
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return head + yaml.dump(
        _set_only(plain), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def to_json(value: Any) -> str:
    """One-line JSON text of a struct or of plain data; a float that is whole stays a float."""
    return json.dumps(msgspec.to_builtins(value), allow_nan=False)


def _set_only(value: Any) -> Any:
    """Tuples as lists, and settings that are not set (None) left out."""
    if isinstance(value, dict):
        return {key: _set_only(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_set_only(item) for item in value]
    return value


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a file whole or not at all: into a temporary neighbor, then renamed onto `path`.

    A link is followed; what is no plain file (a pipe, /dev/stdout) is written to as it is.
    Raises InputError where it cannot be written.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file as `write_text` does, whole or not at all. Raises InputError."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
            return path
        target = path.resolve()
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path}: cannot be written: {path.parent} is no folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{str(path)!r}: not a path: {error}") from None
    return path


def decode(data: Any, kind: type[T], source: str, at: str = "") -> T:
    """Convert plain data into `kind`; `source` names the file in the error, `at` the field.

    Raises InputError with `source: field: value: rule`, and for an unknown field the nearest
    known one.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        if data is None and not at:
            raise InputError(f"{source}: empty") from None
        message = _explain(str(error), data, kind)
        inside = f"{at}." if at and _FIELD.match(message) else f"{at}: " if at else ""
        raise InputError(f"{source}: {inside}{message}") from None


_AT = re.compile(r"^(?P<rule>.*) - at `\$(?P<path>[^`]*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`", re.DOTALL)
_FIELD = re.compile(r"^[A-Za-z_]\w*(?:\[\d+\])?(?:\.[A-Za-z_]\w*(?:\[\d+\])?)*: ")


def _explain(message: str, data: Any, kind: Any) -> str:
    match = _AT.match(message)
    rule, path = (match["rule"], match["path"].lstrip(".")) if match else (message, "")
    unknown = _UNKNOWN.search(rule)
    if unknown:
        name = " ".join(unknown["name"].split())
        field = f"{path}.{name}" if path else name
        nearest = difflib.get_close_matches(name, sorted(_field_names(kind) - {name}), n=1)
        hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
        return f"{field}: no such field{hint}"
    if _FIELD.match(rule):  # raised by a struct's own check, which names its field and value itself
        return f"{path}.{rule}" if path else rule
    value = _look_up(data, path)
    shown = f" {_shown(value)}:" if not isinstance(value, dict | list) else ""
    field = f"{path}:" if path else ""
    rule = rule[0].lower() + rule[1:].replace("`", "")
    if choices := _choices(kind, path):
        rule = f"must be one of {', '.join(choices)}"
    return f"{field}{shown} {rule}".strip()


def _look_up(data: Any, path: str) -> Any:
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            data = data[int(index)] if index else data[key]
        except (KeyError, IndexError, TypeError):
            return {}
    return data


def _choices(kind: Any, path: str) -> list[str]:
    """The literal values that the field at `path` may have, where it is such a field."""
    for name in re.findall(r"[^.\[\]]+", re.sub(r"\[\d+\]", "", path)):
        for struct in _structs(kind):
            fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
            if name in fields:
                kind = fields[name]
                break
        else:
            return []
    literals = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
    return [str(value) for literal in literals for value in get_args(literal)]


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    """The struct types in a type: itself, or the members of a union, or the items of a list."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [struct for part in get_args(kind) for struct in _structs(part)]


def _field_names(kind: Any) -> set[str]:
    """The names of the fields of a struct type and of every struct that it holds."""
    names: set[str] = set()
    pending = _structs(kind)
    seen: set[type] = set()
    while pending:
        struct = pending.pop()
        if struct not in seen:
            seen.add(struct)
            for field in msgspec.structs.fields(struct):
                names.add(field.encode_name)
                pending += _structs(field.type)
    return names
