"""A resource plugin as the engine knows it: a process that prints its port, and ends with the engine."""

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message_factory import GetMessageClass
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2
from pulumi.runtime.proto.status_pb2 import Status

from lab.providers.values import Tree, encode

LARGEST_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit
THREADS = 256  # each wait for a rollout holds one
SERVICE = "pulumirpc.ResourceProvider"


class RefusalError(Exception):
    """What the user reads when a request is not carried out: one sentence with the reason and the way out."""


class InitializationFailedError(RefusalError):
    """The object exists but is not ready: the state keeps it, with `reasons`, and the next update waits again."""

    def __init__(self, *, identity: str, outputs: Tree, inputs: Tree, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.detail = provider_pb2.ErrorResourceInitFailed(
            id=identity, properties=encode(outputs), inputs=encode(inputs), reasons=list(reasons)
        )


class Call(Protocol):
    """The request's own connection to the engine."""

    def is_active(self) -> bool:
        """False once the engine has gone."""
        ...


class EngineLog:
    """Messages on the engine's display, beside the resource that they are about."""

    def __init__(self, address: str | None) -> None:
        """Messages go nowhere where there is no engine (`address` None)."""
        self._engine: Any = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None

    def status(self, urn: str, message: str) -> None:
        """Shows what is being waited for; the next one takes its place."""
        self._say(engine_pb2.INFO, urn, message, ephemeral=True)

    def info(self, urn: str, message: str) -> None:
        """A line that stays."""
        self._say(engine_pb2.INFO, urn, message)

    def warn(self, urn: str, message: str) -> None:
        """A line that stays and is counted as a warning."""
        self._say(engine_pb2.WARNING, urn, message)

    def _say(
        self, severity: engine_pb2.LogSeverity.ValueType, urn: str, message: str, *, ephemeral: bool = False
    ) -> None:
        if self._engine is None:
            return
        request = engine_pb2.LogRequest(severity=severity, message=message, urn=urn, ephemeral=ephemeral)
        try:
            self._engine.Log(request, timeout=5)
        except grpc.RpcError:
            return  # an engine that has gone needs no message


def serve(plugin: object) -> None:
    """Prints the port on which `plugin` answers, and ends the process when the engine that started it has ended.

    A request `GetPluginInfo` goes to the method `get_plugin_info(request, call)`; what it lacks is unimplemented.
    """
    engine = os.getppid()
    # A plugin is in a process group of its own, so Ctrl-C never reaches it: this is the engine that has no more to ask,
    # and waits 10 s for the process to end.
    signal.signal(signal.SIGINT, _end)
    server = grpc.server(
        ThreadPoolExecutor(THREADS),
        options=[
            ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
            ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
        ],
    )
    server.add_generic_rpc_handlers((_handlers(plugin),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    while os.getppid() == engine:
        time.sleep(0.5)
    os._exit(1)  # the engine was killed: threads that still wait must not keep the process alive


def _end(*_: object) -> None:
    os._exit(0)


def _handlers(plugin: object) -> grpc.GenericRpcHandler:
    found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in provider_pb2.DESCRIPTOR.services_by_name["ResourceProvider"].methods:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
        if handle := getattr(plugin, name, None):
            found[method.name] = grpc.unary_unary_rpc_method_handler(
                _answering(handle),
                request_deserializer=GetMessageClass(method.input_type).FromString,
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
    return grpc.method_handlers_generic_handler(SERVICE, found)


def _answering(handle: Callable[[Any, Call], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def answer(request: object, context: grpc.ServicerContext) -> object:
        try:
            return handle(request, context)
        except InitializationFailedError as failed:
            detail = Packed()
            detail.Pack(failed.detail)
            status = Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(failed), details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            return context.abort(grpc.StatusCode.UNKNOWN, str(failed))
        except RefusalError as refusal:
            return context.abort(grpc.StatusCode.UNKNOWN, str(refusal))
        except Exception:
            traceback.print_exc()
            raise

    return answer
