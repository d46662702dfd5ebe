"""An account is an actor. Ten tellers send it deposits, some twice; tellers and the bank are killed; the sum is exact.

python examples/bank_account.py    (or with numbers: how many deposits, 2000; from how many processes, 2)
"""

from __future__ import annotations

import subprocess
import sys
import time

import anyio

from actorflow import END, End, Graph, Mailbox, Message, Reply, Run, Runtime, State, Update, ValuesEvent
from actorflow.errors import MessageRejected

TELLERS = 10

# -- the actor --------------------------------------------------------------------------


class Account(State, version=1):
    """What is in it, and how often somebody paid in."""

    balance: int = 0
    deposits: int = 0


class Deposit(Message, version=1):
    """Pay in."""

    amount: int


class Withdraw(Message, version=1):
    """Take out. Ask it: the reply is what is left."""

    amount: int


class Balance(Message, version=1):
    """Ask it."""


class Close(Message, version=1):
    """Ends the run."""


# An id counts once as long as it is remembered, so there must be room for all that may be sent again.
account = Graph("bank-account", Account, lifetime="actor", mailbox=Mailbox(messages=1_000, ids=100_000))


@account.on(Deposit)
async def deposit(state: Account, msg: Deposit) -> Update:
    """That the message is done with, and what it changed, are one commit."""
    return {"balance": state.balance + msg.amount, "deposits": state.deposits + 1}


def is_covered(state: Account, msg: Withdraw) -> None:
    """Nothing of a message that is refused is kept."""
    if msg.amount > state.balance:
        raise ValueError(f"there are only {state.balance:,}")


@account.on(Withdraw, validate=is_covered)
async def withdraw(state: Account, msg: Withdraw) -> Reply:
    """One message is handled after the other, so nobody takes out meanwhile what was counted here."""
    left = state.balance - msg.amount
    return Reply(left, update={"balance": left})


@account.on(Balance)
async def balance(state: Account, msg: Balance) -> Reply:
    """Changes nothing."""
    return Reply(state.balance)


@account.on(Close)
async def close(state: Account, msg: Close) -> End:
    """Whatever is sent from now on is refused."""
    return END


# -- processes --------------------------------------------------------------------------


async def bank() -> None:
    """Handles whatever is sent to accounts, from wherever, until it is killed."""
    async with Runtime(graphs=[account]):
        await anyio.sleep_forever()


async def counter(run_id: str, tellers: list[str], each: int) -> None:
    """Tellers at work. Killed and started again, they send all of their deposits again, under the same ids.

    They do not know the graph, so they never have the account itself: messages wait in the store for the bank.
    """
    async with Runtime() as rt, anyio.create_task_group() as tasks:
        for teller in tellers:
            tasks.start_soon(pay_in, rt.get(run_id), teller, each)


async def pay_in(run: Run[Account], teller: str, each: int) -> None:
    """So many deposits, every third one twice; some are on their way at the same time."""
    line = anyio.CapacityLimiter(4)

    async def send(number: int) -> None:
        async with line:
            for _ in range(2 if number % 3 == 0 else 1):
                await run.send(Deposit(amount=amount_of(number)), id=f"{teller}/{number}", by=f"teller {teller}")

    async with anyio.create_task_group() as tasks:
        for number in range(each):
            tasks.start_soon(send, number)


def amount_of(number: int) -> int:
    """From 1 to 100, so that a wrong sum shows."""
    return number % 100 + 1


class Branch:
    """The bank and its counters, as processes that begin again whenever they are killed."""

    def __init__(self, run_id: str, counters: int, each: int) -> None:
        self.roles = {"bank": ["bank"]}
        for number in range(counters):
            tellers = ",".join(str(teller) for teller in range(number, TELLERS, counters))
            self.roles[f"counter {number}"] = ["counter", run_id, tellers, str(each)]
        self.processes = {name: self.start(name) for name in self.roles}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """This file as another process."""
        return subprocess.Popen([sys.executable, __file__, *self.roles[name]])

    def kill(self, name: str) -> None:
        """SIGKILL, and the next one."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.processes[name] = self.start(name)

    async def finish(self) -> None:
        """Until all tellers have heard of all that they sent."""
        for name, process in self.processes.items():
            if name != "bank":
                await anyio.to_thread.run_sync(process.wait)

    def close(self) -> None:
        """Nobody is left."""
        for process in self.processes.values():
            process.kill()
            process.wait()


async def watch(run_id: str, branch: Branch, count: int) -> None:
    """Until all deposits are there. On the way a counter is killed, then the bank, then the counter again."""
    deaths = {count // 4: "counter 0", count // 2: "bank", count * 3 // 4: "counter 0"}
    async with Runtime(graphs=[account], readonly=True) as rt:
        async for event in rt.get(run_id).events("values"):
            assert isinstance(event, ValuesEvent)
            deposits = event.state.deposits
            if deposits in deaths:
                print(f"  {deposits:,} deposits: kill {deaths[deposits]}", flush=True)
                branch.kill(deaths.pop(deposits))
            if deposits == count:
                return


async def main(deposits: int = 2_000, counters: int = 2) -> None:
    """Ten tellers pay in, and somebody takes out."""
    each = deposits // TELLERS
    print(f"{TELLERS} tellers at {counters} counters")
    async with Runtime() as rt:  # the files are in ./.actorflow
        run_id = (await rt.spawn(account)).id
    began = time.perf_counter()
    branch = Branch(run_id, counters, each)
    try:
        await watch(run_id, branch, each * TELLERS)
        rate = each * TELLERS / (time.perf_counter() - began)
        await branch.finish()
        async with Runtime() as rt:
            run = rt.get(run_id)
            there_is = await run.ask(Balance(), type=int)
            paid_in = TELLERS * sum(amount_of(number) for number in range(each))
            print(f"{paid_in:,} were paid in by {each * TELLERS:,} deposits, and {there_is:,} are there")
            print(f"{rate:.0f} deposits a second")
            try:
                await run.ask(Withdraw(amount=there_is + 1))
            except MessageRejected as rejected:
                print(f"rejected: {rejected.reason}")
            print(f"{await run.ask(Withdraw(amount=there_is - 1))} left")
            await run.send(Close())
            await run.result()
    finally:
        branch.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bank"]:
            anyio.run(bank)
        case ["counter", run_id, tellers, each]:
            anyio.run(counter, run_id, tellers.split(","), int(each))
        case [deposits, counters]:
            anyio.run(main, int(deposits), int(counters))
        case _:
            anyio.run(main)
