"""Generate the reference of the gRPC services from proto/ and its comments.

python scripts/document_proto.py     print it as Markdown
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in _FIELD.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}
# Field numbers of the lists in descriptor.proto, which make up the paths of comments.
_MESSAGES, _ENUMS, _SERVICES, _METHODS, _FIELDS, _VALUES = 4, 5, 6, 2, 2, 2


def page() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# gRPC\n"
    yield "The contract is package `lookalike.v1` in `proto/lookalike/v1`. The server also has the standard health and"
    yield "reflection services. Vectors are little-endian bytes with dtype and shape.\n"
    for file in _files():
        comments = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
        yield f"## {Path(file.name).name}\n"
        for row, service in enumerate(file.service):
            yield f"### {service.name} {{: #{service.name.lower()} }}\n"
            yield _text(comments.get((_SERVICES, row)))
            for place, method in enumerate(service.method):
                types = f"{_named(method.input_type)} → {_named(method.output_type)}"
                yield f"**{method.name}** ({types})\n"
                yield _text(comments.get((_SERVICES, row, _METHODS, place)))
        for row, message in enumerate(file.message_type):
            yield from _message(message, (_MESSAGES, row), comments)
        for row, enum in enumerate(file.enum_type):
            yield f"### {enum.name} {{: #{enum.name.lower()} }}\n"
            yield _text(comments.get((_ENUMS, row)))
            for place, value in enumerate(enum.value):
                told = _line(comments.get((_ENUMS, row, _VALUES, place)))
                yield f"- `{value.name}` = {value.number}{': ' + told if told else ''}"
            yield ""


def _message(
    message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
) -> Iterator[str]:
    yield f"### {message.name} {{: #{message.name.lower()} }}\n"
    yield _text(comments.get(path))
    if message.field:
        yield "| field | type | meaning |\n|---|---|---|"
        for row, field in enumerate(message.field):
            told = _line(comments.get((*path, _FIELDS, row))).replace("|", "\\|")
            yield f"| `{field.name}` = {field.number} | {_type(field)} | {told} |"
        yield ""


def _type(field: descriptor_pb2.FieldDescriptorProto) -> str:
    name = _TYPES.get(field.type) or _named(field.type_name)
    return f"repeated {name}" if field.label == _FIELD.LABEL_REPEATED else name


def _named(name: str) -> str:
    short = name.rpartition(".")[2]
    return f"[{short}](#{short.lower()})" if name.startswith(".lookalike.v1.") and name.count(".") == 3 else short


def _text(comment: str | None) -> str:
    return "\n".join(line.strip() for line in (comment or "").strip().splitlines()).replace("<", "&lt;") + "\n"


def _line(comment: str | None) -> str:
    return " ".join((comment or "").split()).replace("<", "&lt;")


def _files() -> list[descriptor_pb2.FileDescriptorProto]:
    buf = Path(sys.executable).parent / "buf"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        subprocess.run([buf, "build", "proto", "-o", image], cwd=ROOT, check=True)
        found = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    return [file for file in found.file if file.package == "lookalike.v1"]


if __name__ == "__main__":
    print(page(), end="")
