"""An order: each step is remembered, it is never paid twice, and what was done is undone if it can't be shipped.

python examples/order_saga.py
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import anyio

from actorflow import Context, Done, Graph, Intent, NotDone, Retry, Runtime, State, Update

if TYPE_CHECKING:
    from collections.abc import Generator

# -- the bank: a ledger, and a server in front of it that breaks down --------------------


class Ledger:
    """Payments by the key under which they were asked for: the same key again is the same payment."""

    def __init__(self) -> None:
        self.receipts: dict[str, str] = {}
        self.balance = 0

    def pay(self, amount: int, idempotency_key: str) -> str:
        """Book a payment; its receipt."""
        if idempotency_key not in self.receipts:
            self.receipts[idempotency_key] = f"receipt {len(self.receipts) + 1} over {amount}"
            self.balance += amount
        return self.receipts[idempotency_key]

    def look(self, intent: Intent) -> Done | NotDone:
        """What became of a payment that was begun: the bank knows, and is asked by the key."""
        receipt = self.receipts.get(intent.idempotency_key)
        return NotDone() if receipt is None else Done(receipt)


class Client:
    """The same by HTTP, where a reply may never come."""

    def __init__(self, url: str) -> None:
        self.url = url

    def pay(self, amount: int, idempotency_key: str) -> str:
        """Ask for a payment. If the line is cut, nobody knows whether it was booked."""
        with urlopen(Request(f"{self.url}/{idempotency_key}", str(amount).encode())) as reply:
            return str(json.load(reply))

    def look(self, intent: Intent) -> Done | NotDone:
        """Ask what became of one."""
        print(f"   nobody replied, so the bank is asked about {intent.name!r}")
        try:
            with urlopen(f"{self.url}/{intent.idempotency_key}") as reply:
                return Done(json.load(reply))
        except HTTPError:
            return NotDone()


@contextmanager
def serving(ledger: Ledger) -> Generator[str]:
    """A server that books its first payment and breaks down before it replies; its URL."""
    well = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            amount = int(self.rfile.read(int(self.headers["Content-Length"])))
            receipt = ledger.pay(amount, self.path[1:])
            if well.is_set():
                self.reply(200, receipt)
            well.set()  # the first time nothing is sent, and the connection is closed

        def do_GET(self) -> None:
            receipt = ledger.receipts.get(self.path[1:])
            self.reply(404 if receipt is None else 200, receipt)

        def reply(self, status: int, what: str | None) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(what).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Shop:
    """What the nodes work with: a stock, a carrier, and the bank (a test gives the ledger itself)."""

    def __init__(self, bank: Ledger | Client | None = None) -> None:
        self.bank = bank or Ledger()

    def reserve(self, item: str) -> str:
        """Take an item from the shelf."""
        print(f"   {item} reserved")
        return item

    def ship(self, item: str) -> str:
        """Hand it to the carrier, who does not take everything."""
        if item == "piano":
            raise ValueError("too heavy")
        return f"parcel with {item}"


# -- the graph: reserve → pay → ship, and give_up if one of them fails --------------------


class Order(State, version=1):
    """One order."""

    item: str
    price: int
    receipt: str = ""
    parcel: str = ""
    undone: list[str] = []


orders = Graph("order-saga", Order, on_error="give_up")


@orders.undo(retry=Retry(attempts=5))
def put_back(item: str) -> None:
    """Undoes ``reserve``: it gets what that step returned, and is found by its name after any restart."""
    print(f"   {item} put back")


@orders.undo(retry=Retry(attempts=5))
def refund(receipt: str, ctx: Context) -> None:
    """Undoes ``pay``. It has a key of its own, for a bank that must not pay back twice."""
    print(f"   {receipt} refunded")


@orders.node
async def reserve(state: Order, ctx: Context) -> None:
    """Done again only if the process dies between the shelf and the file: the default."""
    await ctx.step("reserve", ctx.context.reserve, state.item, undo=put_back)


@orders.node(after=reserve)
async def pay(state: Order, ctx: Context) -> Update:
    """Never done twice on a guess: without a reply, and after a crash, the bank is asked first."""
    bank = ctx.context.bank
    receipt = await ctx.step("pay", bank.pay, state.price, mode="at_most_once", reconcile=bank.look, undo=refund)
    return {"receipt": receipt}


@orders.node(after=pay)
async def ship(state: Order, ctx: Context) -> Update:
    """What fails here has been paid for already."""
    return {"parcel": await ctx.step("ship", ctx.context.ship, state.item)}


@orders.node
async def give_up(state: Order, ctx: Context) -> Update:
    """Undo what was done, the latest first. If the process dies meanwhile, the next one goes on with the rest."""
    return {"undone": await ctx.rollback()}


# -- what happens ----------------------------------------------------------------------


async def main() -> None:
    """Two orders: the reply to the first payment is lost, and the second can't be shipped."""
    ledger = Ledger()
    with serving(ledger) as url:
        async with Runtime() as rt:
            for item, price in (("lamp", 40), ("piano", 900)):
                print(f"-- {item}")
                order = await rt.run(orders, Order(item=item, price=price), id=item, context=Shop(Client(url)))
                print("  ", f"{order.parcel}, {order.receipt}" if order.parcel else f"undone: {order.undone}")
    print(f"-- the bank booked {len(ledger.receipts)} payments")


if __name__ == "__main__":
    anyio.run(main)
