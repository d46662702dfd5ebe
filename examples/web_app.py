"""A web service: each order is a run. Requests begin it, ask it, answer it and watch it; the server may be killed.

uvicorn web_app:app    (in this folder; the extra: pip install 'actorflow[web]'), then for example

curl -X PUT localhost:8000/orders/7 -d '{"items": ["lamp", "chair"], "total": 900}'
curl -N localhost:8000/orders/7/events
curl -X POST localhost:8000/orders/7/address -d '{"address": "Oslo"}'
curl localhost:8000/orders/7
curl -X POST localhost:8000/orders/7/answer -d 'true'
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from actorflow import (
    Context,
    Graph,
    Message,
    ProgressEvent,
    Reply,
    Runtime,
    State,
    Update,
    UpdateEvent,
    WaitEvent,
    extend,
)
from actorflow.errors import AskFailed, BadAnswer, MessageRejected, NoSuchRun, NotWaiting, RunEnded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from actorflow import Run

# -- the orders: what would be the same without a web ------------------------------------


class Order(State, version=1):
    """What was ordered, where it goes, and what was done about it."""

    items: list[str]
    total: int
    address: str = "the shop"
    log: Annotated[list[str], extend] = []


class Move(Message, version=1):
    """The parcel is to go elsewhere."""

    address: str


orders = Graph("web-orders", Order)


@orders.node
async def pick(state: Order, ctx: Context) -> Update:
    """Fetch one thing after the other. What was fetched is not fetched again, whoever dies."""
    shelf = list[str]()
    for item in state.items:
        shelf.append(await ctx.step("fetch", fetch, item))
        ctx.progress(len(shelf), len(state.items))
    return {"log": shelf}


async def fetch(item: str) -> str:
    """It takes a moment."""
    await anyio.sleep(0.05)
    return f"fetched the {item}"


@orders.node(after=pick)
async def approve(state: Order, ctx: Context) -> Update:
    """Somebody must agree to what is expensive. Until then nothing of the order is in memory."""
    if state.total > 500 and not await ctx.interrupt(f"Sell for {state.total}?", type=bool):
        return {"log": ["refused"]}
    return {"log": ["approved"]}


@orders.node(after=approve)
async def ship(state: Order) -> Update:
    """Goes where it is to go by then."""
    return {"log": [f"shipped to {state.address}" if state.log[-1] == "approved" else "put back"]}


@orders.on(Move)
async def move(state: Order, msg: Move) -> Reply:
    """Takes effect as long as the order is not over, also while it waits for an answer."""
    return Reply(f"{msg.address} instead of {state.address}", update={"address": msg.address})


# -- the routes ------------------------------------------------------------------------


def run_of(request: Request) -> Run[Order]:
    """The order that the path names. Whether there is one is seen when something is done with it."""
    runtime: Runtime = request.app.state.runtime
    return runtime.get(request.path_params["number"])


async def begin(request: Request) -> Response:
    """Begin an order. Whoever did not hear the response says the same again, which changes nothing."""
    order = msgspec.json.decode(await request.body(), type=Order)
    number = request.path_params["number"]
    await request.app.state.runtime.spawn(orders, order, id=number, on_conflict="attach")
    return JSONResponse({"events": f"/orders/{number}/events"}, status_code=202)


async def look(request: Request) -> Response:
    """What there is of an order, and what it asks. The run is not disturbed, and not woken, for that."""
    run = run_of(request)
    questions = [question.question for question in await run.interrupts()]
    state = msgspec.to_builtins(await run.state())
    return JSONResponse({"status": await run.status(), "questions": questions, "order": state})


async def readdress(request: Request) -> Response:
    """Send a message, and give back the reply, which is durable by then."""
    msg = msgspec.json.decode(await request.body(), type=Move)
    return JSONResponse(await run_of(request).ask(msg, id=request.headers.get("idempotency-key"), timeout=10))


async def answer(request: Request) -> Response:
    """Answer what the order asks."""
    await run_of(request).answer(await request.json(), by=request.headers.get("from"))
    return JSONResponse(None, status_code=202)


async def watch(request: Request) -> Response:
    """What became of an order, and then what does; a browser's EventSource goes on where it was cut off.

    How far a node is, is told to whoever watches now; only what was committed has an offset to go on from.
    """
    run = run_of(request)
    await run.status()  # no such order: said before the stream begins
    last = request.headers.get("last-event-id")

    async def stream() -> AsyncIterator[str]:
        async for event in run.events(["updates", "waits", "progress"], after=last):
            match event:
                case UpdateEvent():
                    yield f"id: {event.offset}\n" + as_text("wrote", event.fields)
                case WaitEvent():
                    yield f"id: {event.offset}\n" + as_text(event.kind, event.question)
                case ProgressEvent():
                    yield as_text("progress", f"{event.done} of {event.total}")
                case _:
                    pass
        yield as_text("end", await run.status())

    def as_text(name: str, data: object) -> str:
        return f"event: {name}\ndata: {json.dumps(data)}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


STATUS: dict[type[Exception], int] = {
    NoSuchRun: 404,
    NotWaiting: 409,
    MessageRejected: 409,
    AskFailed: 409,
    RunEnded: 410,
    BadAnswer: 422,
    msgspec.ValidationError: 422,
    msgspec.DecodeError: 400,
    json.JSONDecodeError: 400,
}


async def explain(_request: Request, error: Exception) -> Response:
    """An error of the library says what is wrong and what to do."""
    return JSONResponse({"error": str(error)}, status_code=STATUS[type(error)])


# -- the server ------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    """A runtime for as long as the server runs. It takes up by itself what the server before had begun.

    ``drain="park"``: leaving it waits until what runs just now is committed, and not until all orders are done.
    """
    async with Runtime(graphs=[orders], drain="park") as runtime:  # the files are in ./.actorflow
        app.state.runtime = runtime
        yield


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/orders/{number}", begin, methods=["PUT"]),
        Route("/orders/{number}", look),
        Route("/orders/{number}/address", readdress, methods=["POST"]),
        Route("/orders/{number}/answer", answer, methods=["POST"]),
        Route("/orders/{number}/events", watch),
    ],
    exception_handlers=dict.fromkeys(STATUS, explain),
)
