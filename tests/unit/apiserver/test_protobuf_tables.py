"""The field tables against the file descriptors inside an installed kubectl, and against upstream's definitions.

kubectl up to 1.33 embeds gzipped FileDescriptorProtos of every API package: numbers, types and (as gogoproto's
`nullable`, option 65001) which fields Go holds by value. Skipped where no such kubectl is installed; what the OpenAPI
definitions know of names is always compared.
"""

import glob
import mmap
import os
import zlib
from collections.abc import Iterator

import pytest
from google.protobuf import unknown_fields
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from control_plane.apiserver.protobuf import messages
from control_plane.apiserver.protobuf.messages import Form, Message, ProtoField
from control_plane.apiserver.schema import Catalog

KUBECTLS = sorted(glob.glob("/usr/lib/google-cloud-sdk/bin/kubectl.1.3[0-3]"))
FILES = {
    "meta": "k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto",
    **{
        name: f"k8s.io/api/{name.replace('_', '/')}{'' if '_v' in name else '/v1'}/generated.proto"
        for name in messages.PACKAGES.values()
        # kubectl knows nothing of apiregistration.
        if name not in ("meta", "apiregistration")
    },
}
SPECIAL = {
    ".k8s.io.apimachinery.pkg.api.resource.Quantity": Form.QUANTITY,
    ".k8s.io.apimachinery.pkg.apis.meta.v1.Time": Form.TIME,
    ".k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime": Form.MICRO_TIME,
    ".k8s.io.apimachinery.pkg.apis.meta.v1.Duration": Form.DURATION,
    ".k8s.io.apimachinery.pkg.util.intstr.IntOrString": Form.INT_OR_STRING,
    ".k8s.io.apimachinery.pkg.runtime.RawExtension": Form.RAW,
    ".k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1": Form.RAW,
}
SCALARS = {
    FieldDescriptorProto.TYPE_STRING: Form.STRING,
    FieldDescriptorProto.TYPE_BYTES: Form.BYTES,
    FieldDescriptorProto.TYPE_BOOL: Form.BOOL,
    FieldDescriptorProto.TYPE_INT32: Form.INT32,
    FieldDescriptorProto.TYPE_INT64: Form.INT64,
    FieldDescriptorProto.TYPE_DOUBLE: Form.DOUBLE,
}
RENAMED = {"uID": "uid", "aPIGroup": "apiGroup", "Raw": "raw", "Webhooks": "webhooks", "Expression": "expression",
           "Name": "name"}  # fmt: skip
NULLABLE = 65001


def _descriptors(path: str) -> Iterator[FileDescriptorProto]:
    wanted = set(FILES.values())
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        at = image.find(b"\x1f\x8b\x08\x00\x00")
        while at >= 0:
            inflate = zlib.decompressobj(wbits=31)
            try:
                head = inflate.decompress(image[at : at + 4096], 200)
                if b"generated.proto" in head:
                    whole = zlib.decompressobj(wbits=31).decompress(image[at : at + 2_000_000])
                    descriptor = FileDescriptorProto.FromString(whole)
                    if descriptor.name in wanted:
                        yield descriptor
            except (zlib.error, ValueError):
                pass
            at = image.find(b"\x1f\x8b\x08\x00\x00", at + 1)


def _by_value(field: FieldDescriptorProto) -> bool:
    unknown = unknown_fields.UnknownFieldSet(field.options)
    return any(item.field_number == NULLABLE and not item.data for item in unknown)


def _form(field: FieldDescriptorProto) -> Form:
    if field.type != FieldDescriptorProto.TYPE_MESSAGE:
        return SCALARS[field.type]
    if field.type_name.endswith((".ExtraValue", ".Verbs")):
        return Form.STRINGS
    return SPECIAL.get(field.type_name, Form.MESSAGE)


def _compare(mine: Message, theirs: DescriptorProto) -> list[str]:
    problems: list[str] = []
    maps = {nested.name: nested for nested in theirs.nested_type if nested.options.map_entry}
    for field in theirs.field:
        entry = mine.fields.get(field.number)
        where = f"{mine.name}.{field.name} = {field.number}"
        if entry is None:
            problems.append(f"{where} is missing")
            continue
        map_type = maps.get(field.type_name.rpartition(".")[2])
        form = _form(map_type.field[1]) if map_type else _form(field)
        if entry.name not in (RENAMED.get(field.name, field.name), "~"):
            problems.append(f"{where} is called {entry.name}")
        if entry.form is not form or entry.is_map is not (map_type is not None):
            problems.append(f"{where} is {entry.form}, not {form}")
        if entry.repeated is not (field.label == FieldDescriptorProto.LABEL_REPEATED and map_type is None):
            problems.append(f"{where}: repeated is {entry.repeated}")
        singular = field.label != FieldDescriptorProto.LABEL_REPEATED and form is not Form.BYTES
        if singular and entry.pointer is _by_value(field):
            problems.append(f"{where}: pointer is {entry.pointer}")
    return problems


@pytest.mark.skipif(not KUBECTLS, reason="no kubectl with embedded descriptors is installed")
def test_tables_agree_with_kubectls_descriptors() -> None:
    found = {descriptor.name: descriptor for descriptor in _descriptors(KUBECTLS[-1])}
    assert FILES["core"] in found and FILES["meta"] in found
    problems: list[str] = []
    compared = 0
    for package, file in FILES.items():
        if file not in found:
            continue
        theirs = {item.name: item for item in found[file].message_type}
        for name, message in messages.package(package).items():
            if name in theirs:
                compared += len(theirs[name].field)
                problems.extend(_compare(message, theirs[name]))
    assert compared > 1500
    assert problems == []


def _definition_prefix(package: str) -> str:
    if package == "meta":
        return "io.k8s.apimachinery.pkg.apis.meta.v1."
    name, _, version = package.partition("_")
    return f"io.k8s.api.{name}.{version or 'v1'}."


def _json_names(message: Message) -> Iterator[tuple[str, ProtoField]]:
    for field in message.fields.values():
        if field.name == "~":
            yield from _json_names(messages.message(field.message))
        else:
            yield field.name, field


def test_every_json_name_is_in_upstreams_definitions_and_none_is_missing() -> None:
    definitions = Catalog.load().definitions
    compared = 0
    unknown: list[str] = []
    missing: list[str] = []
    for package in messages.PACKAGES.values():
        for short, message in messages.package(package).items():
            properties = definitions.get(_definition_prefix(package) + short, {}).get("properties")
            if properties is None:
                continue
            names = {name for name, _ in _json_names(message)}
            compared += len(names)
            unknown += [f"{message.name}.{name}" for name in sorted(names - properties.keys())]
            missing += [
                f"{message.name}.{name}" for name in sorted(properties.keys() - names - {"kind", "apiVersion"})
            ]
    assert compared > 1500
    assert len(unknown) <= 25, unknown  # newer than the definitions' release: the tables run ahead of it
    assert len(missing) <= 5, missing


def test_every_message_a_table_names_exists() -> None:
    for package in messages.PACKAGES.values():
        for message in messages.package(package).values():
            for field in message.fields.values():
                if field.message:
                    assert messages.message(field.message)


def test_tables_are_data() -> None:
    folder = os.path.join(os.path.dirname(messages.__file__), "tables")
    names = {name.removesuffix(".py") for name in os.listdir(folder) if name.endswith(".py")} - {"__init__"}
    assert names == set(messages.PACKAGES.values())
