from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class AttachRequest(_message.Message):
    __slots__ = ("namespace", "id", "exec_id", "stdin", "stdout", "stderr", "holds_up")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    HOLDS_UP_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    id: str
    exec_id: str
    stdin: str
    stdout: str
    stderr: str
    holds_up: bool
    def __init__(self, namespace: _Optional[str] = ..., id: _Optional[str] = ..., exec_id: _Optional[str] = ..., stdin: _Optional[str] = ..., stdout: _Optional[str] = ..., stderr: _Optional[str] = ..., holds_up: _Optional[bool] = ...) -> None: ...

class ReopenLogRequest(_message.Message):
    __slots__ = ("namespace", "id", "exec_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    id: str
    exec_id: str
    def __init__(self, namespace: _Optional[str] = ..., id: _Optional[str] = ..., exec_id: _Optional[str] = ...) -> None: ...

class OpenRequest(_message.Message):
    __slots__ = ("namespace", "id", "exec_id", "stdin", "stdout", "stderr", "stdin_uri", "stdout_uri", "stderr_uri", "terminal")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    STDIN_URI_FIELD_NUMBER: _ClassVar[int]
    STDOUT_URI_FIELD_NUMBER: _ClassVar[int]
    STDERR_URI_FIELD_NUMBER: _ClassVar[int]
    TERMINAL_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    id: str
    exec_id: str
    stdin: str
    stdout: str
    stderr: str
    stdin_uri: str
    stdout_uri: str
    stderr_uri: str
    terminal: bool
    def __init__(self, namespace: _Optional[str] = ..., id: _Optional[str] = ..., exec_id: _Optional[str] = ..., stdin: _Optional[str] = ..., stdout: _Optional[str] = ..., stderr: _Optional[str] = ..., stdin_uri: _Optional[str] = ..., stdout_uri: _Optional[str] = ..., stderr_uri: _Optional[str] = ..., terminal: _Optional[bool] = ...) -> None: ...

class ProcessRequest(_message.Message):
    __slots__ = ("namespace", "id", "exec_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    id: str
    exec_id: str
    def __init__(self, namespace: _Optional[str] = ..., id: _Optional[str] = ..., exec_id: _Optional[str] = ...) -> None: ...
