"""A report every working day at six, and what becomes of the days on which no process was there.

    python examples/cron_report.py [STORE]

A schedule is a run: it sleeps in the store between its times, and goes on in
whatever process serves that store. The example holds the clock, so that a week
passes in a second; in earnest there is only `Runtime.schedule`.

It prints:

    Monday to Wednesday, a process is there
      report of 2026-01-05T06:00:00Z: 3 orders
      report of 2026-01-06T06:00:00Z: 5 orders
      report of 2026-01-07T06:00:00Z: 2 orders
    Thursday and Friday, nobody is
    Saturday, another process comes, and makes up for one of them
      report of 2026-01-08T06:00:00Z: 4 orders
      report of 2026-01-09T06:00:00Z: 7 orders
    next: 2026-01-12 06:00
"""

import sys
import tempfile
from datetime import UTC, datetime, timedelta

import anyio

from actorflow import Context, Graph, Runtime, State, Update
from actorflow.testing import VirtualClock

ORDERS = {"05": 3, "06": 5, "07": 2, "08": 4, "09": 7}


class Report(State, version=1):
    """One day's report."""

    orders: int = 0


report = Graph("report", Report)


@report.node
async def count(state: Report, ctx: Context) -> Update:
    """The id of the run says which time it is for, however late it begins."""
    time = ctx.run_id.rpartition("/")[2]
    orders = ORDERS[time[8:10]]
    print(f"  report of {time}: {orders} orders")
    return {"orders": orders}


async def main() -> None:
    """A week."""
    store = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
    day = timedelta(days=1).total_seconds()
    async with VirtualClock(datetime(2026, 1, 5, tzinfo=UTC)) as clock:
        print("Monday to Wednesday, a process is there")
        async with Runtime(store) as rt:
            await rt.schedule(report, cron="0 6 * * MON-FRI", backfill=1)
            await anyio.sleep(3 * day)

        print("Thursday and Friday, nobody is")
        await clock.advance(2 * day)

        print("Saturday, another process comes, and makes up for one of them")
        async with Runtime(store, graphs=[report]) as rt:
            await anyio.sleep(day / 2)
            schedule = rt.get("schedule:report")
            print(f"next: {datetime.fromtimestamp((await schedule.state()).due, UTC):%Y-%m-%d %H:%M}")


if __name__ == "__main__":
    anyio.run(main)
