"""Server of a resource plugin: it prints its port and ends with the engine."""

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message_factory import GetMessageClass
from pulumi.runtime.proto import provider_pb2, status_pb2

LARGEST_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit
THREADS = 64
SERVICE = "pulumirpc.ResourceProvider"


class RefusalError(Exception):
    """Error whose message the engine shows to the user."""


class UnreadyError(Exception):
    """Error of an object that exists, but did not become ready; the engine keeps the object in the state."""

    def __init__(self, made: provider_pb2.ErrorResourceInitFailed) -> None:
        super().__init__("; ".join(made.reasons))
        self.made = made
        """The object as it exists."""


class Call(Protocol):
    """Connection of a request to the engine."""

    def is_active(self) -> bool:
        """Return whether the engine is still connected."""
        ...


def serve(plugin: object) -> None:
    """Print the port of the plugin and serve requests until the engine has ended.

    The method `get_plugin_info(request, call)` handles the request `GetPluginInfo`; a request without a method is
    answered with "unimplemented".
    """
    engine = os.getppid()
    # The plugin has its own process group, so Ctrl-C does not reach it: this signal comes from the engine, which has
    # finished and waits 10 s for the process to end.
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
    os._exit(1)  # the engine was killed; waiting threads must not keep the process alive


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
        except RefusalError as refusal:
            return context.abort(grpc.StatusCode.UNKNOWN, str(refusal))
        except UnreadyError as unready:
            detail = AnyMessage()
            detail.Pack(unready.made)
            code: int = grpc.StatusCode.UNKNOWN.value[0]
            status = status_pb2.Status(code=code, message=str(unready), details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            return context.abort(grpc.StatusCode.UNKNOWN, str(unready))
        except Exception:
            traceback.print_exc()
            raise

    return answer
