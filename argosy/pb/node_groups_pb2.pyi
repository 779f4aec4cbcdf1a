from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RefreshRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RefreshResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeGroupsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeGroup(_message.Message):
    __slots__ = ("name", "min_size", "max_size", "target_size", "template_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    TARGET_SIZE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    min_size: int
    max_size: int
    target_size: int
    template_json: bytes
    def __init__(self, name: _Optional[str] = ..., min_size: _Optional[int] = ..., max_size: _Optional[int] = ..., target_size: _Optional[int] = ..., template_json: _Optional[bytes] = ...) -> None: ...

class NodeGroupsResponse(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[NodeGroup]
    def __init__(self, groups: _Optional[_Iterable[_Union[NodeGroup, _Mapping]]] = ...) -> None: ...

class InstancesRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: str
    def __init__(self, group: _Optional[str] = ...) -> None: ...

class Instance(_message.Message):
    __slots__ = ("name", "provider_id", "state", "error_class", "error_code", "error_message")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Instance.State]
        RUNNING: _ClassVar[Instance.State]
        CREATING: _ClassVar[Instance.State]
        DELETING: _ClassVar[Instance.State]
    UNKNOWN: Instance.State
    RUNNING: Instance.State
    CREATING: Instance.State
    DELETING: Instance.State
    class ErrorClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NONE: _ClassVar[Instance.ErrorClass]
        OUT_OF_RESOURCES: _ClassVar[Instance.ErrorClass]
        QUOTA_EXCEEDED: _ClassVar[Instance.ErrorClass]
        OTHER: _ClassVar[Instance.ErrorClass]
    NONE: Instance.ErrorClass
    OUT_OF_RESOURCES: Instance.ErrorClass
    QUOTA_EXCEEDED: Instance.ErrorClass
    OTHER: Instance.ErrorClass
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_CLASS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    provider_id: str
    state: Instance.State
    error_class: Instance.ErrorClass
    error_code: str
    error_message: str
    def __init__(self, name: _Optional[str] = ..., provider_id: _Optional[str] = ..., state: _Optional[_Union[Instance.State, str]] = ..., error_class: _Optional[_Union[Instance.ErrorClass, str]] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ...) -> None: ...

class InstancesResponse(_message.Message):
    __slots__ = ("instances",)
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    instances: _containers.RepeatedCompositeFieldContainer[Instance]
    def __init__(self, instances: _Optional[_Iterable[_Union[Instance, _Mapping]]] = ...) -> None: ...

class IncreaseRequest(_message.Message):
    __slots__ = ("group", "count")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    group: str
    count: int
    def __init__(self, group: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class IncreaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteNodesRequest(_message.Message):
    __slots__ = ("group", "names")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    group: str
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, group: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteNodesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DecreaseTargetRequest(_message.Message):
    __slots__ = ("group", "count")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    group: str
    count: int
    def __init__(self, group: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class DecreaseTargetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
