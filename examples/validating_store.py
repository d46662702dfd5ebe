"""A rule that every commit must pass before anything of it is written: a state that breaks it never gets into a file.

python examples/validating_store.py
"""

from __future__ import annotations

import anyio

from actorflow import Commit, Graph, Runtime, State, Update
from actorflow.errors import CommitRefused


class Account(State, version=1):
    """Whose money it is, and how much."""

    owner: str
    balance: int = 0


accounts = Graph("accounts", Account)


@accounts.node
async def deposit(state: Account) -> Update:
    """Fine."""
    return {"balance": state.balance + 100}


@accounts.node(after=deposit)
async def withdraw(state: Account) -> Update:
    """Has a mistake, in what we take for the first release: it withdraws too much."""
    return {"balance": state.balance - 130}


fixed = Graph("accounts", Account)
fixed.node(deposit)


@fixed.node(name="withdraw", after=deposit)
async def withdraw_what_is_there(state: Account) -> Update:
    """The next release."""
    return {"balance": state.balance - min(state.balance, 130)}


def no_debts(commit: Commit) -> None:
    """The rule: raise to refuse a commit. It sees run, node, status, tags, and a copy of the state."""
    print(f"  commit {commit.seq}: {commit.state}")
    if isinstance(commit.state, Account) and commit.state.balance < 0:
        raise ValueError(f"{commit.state.owner} would owe {-commit.state.balance}")


async def main() -> None:
    """The first release is stopped by the rule; the next one goes on from the last good commit."""
    async with Runtime(validate=no_debts) as rt:
        try:
            await rt.spawn(accounts, Account(owner="nobody", balance=-1))
        except CommitRefused as refused:
            print(f"refused: {refused.__cause__}")

        print("the first release:")
        run = await rt.spawn(accounts, Account(owner="Ada"))
        try:
            await run.result()
        except CommitRefused as refused:
            print(f"refused: {refused.__cause__}")
        print(f"in the file: {await run.state()}")

        print("the next release:")
        print(f"result: {await (await rt.resume(fixed, run.id)).result()}")


if __name__ == "__main__":
    anyio.run(main)
