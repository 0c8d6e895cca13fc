"""What a client knows of one RPC, and how keyword fields become its request. Loads no grpc."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from paedsresus.ml.fields import misfit, naive_time

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

Fields = Mapping[str, Any]  # a message written as a mapping: {"tenure_days": 120}


class Lane(Enum):
    """Where the server answers a method; decides the default deadline."""

    INTERACTIVE = "interactive"
    HEAVY = "heavy"
    CONTROL = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[Req, Res]):
    """One RPC."""

    path: str  # "/package.Service/Method"
    request: type[Req]
    response: type[Res]
    lane: Lane
    repeat_cancelled: bool  # a call that ends CANCELLED asked a model only, so it may be repeated


def make_request(method: Method[Req, Res], request: Req | None, fields: Mapping[str, object]) -> Req:
    """Return the request to send: the one given, or one made of the fields that are not None.

    A request id is made when there is none, so that a retry is the same request to the server. A message that was
    given is never changed: then a copy carries the id.

    Raises: TypeError: both a request and fields were given. ValueError: a field does not exist or does not fit; it
        names the field, what it was and what is allowed.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if request is None:
        message = _message_of(method, given)
    elif given:
        msg = f"{method.path} got a request and also {', '.join(given)}; give one or the other"
        raise TypeError(msg)
    else:
        message = request
    if "context" not in method.request.DESCRIPTOR.fields_by_name:
        return message
    context: Any = getattr(message, "context")  # noqa: B009 - only some requests have the field
    if context.request_id:
        return message
    if message is request:
        message = method.request()
        message.CopyFrom(request)
        context = getattr(message, "context")  # noqa: B009 - as above
    context.request_id = secrets.token_hex(16)
    return message


def _message_of(method: Method[Req, Res], given: dict[str, object]) -> Req:
    fields: dict[str, Any] = given
    if naive := naive_time(given):
        raise ValueError(naive)
    try:
        return method.request(**fields)
    except (TypeError, ValueError, AttributeError) as refused:
        raise ValueError(misfit(method.request.DESCRIPTOR, given) or str(refused)) from refused


def request_id_of(message: Message) -> str:
    """Id of a request; "" where its type has none."""
    context = getattr(message, "context", None)
    return str(context.request_id) if context is not None else ""
