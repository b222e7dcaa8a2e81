"""A bad line: ``python -m tests.deployment.proxy LISTEN TO DELAY BYTES_PER_SECOND CUTS SEED``.

Everything is delayed by DELAY seconds and throttled; every connection is cut at a random moment, after CUTS seconds on
average.
"""

import asyncio
import random
import sys


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, rate: float) -> None:
    """Hand on what comes, later and slower, in the order in which it came."""
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(len(data) / rate)

    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(16384):
            await line.put((asyncio.get_running_loop().time() + delay, data))
        await line.put((asyncio.get_running_loop().time() + delay, b""))
        await delivery
    except (ConnectionError, asyncio.CancelledError):
        delivery.cancel()
        writer.close()


async def serve(listen: int, to: str, delay: float, rate: float, cuts: float, seed: int) -> None:
    generator = random.Random(seed)  # noqa: S311
    host, _, port = to.rpartition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(host, int(port))
        pumps = [
            asyncio.create_task(pump(reader, their_writer, delay, rate)),
            asyncio.create_task(pump(their_reader, writer, delay, rate)),
        ]
        _, left = await asyncio.wait(pumps, timeout=generator.expovariate(1 / cuts))
        if left:
            print("cut", flush=True)
        for task in left:
            task.cancel()
        for end in (writer, their_writer):
            end.close()

    server = await asyncio.start_server(connected, "127.0.0.1", listen)
    await server.serve_forever()


if __name__ == "__main__":
    port, to, delay, rate, cuts, seed = sys.argv[1:]
    asyncio.run(serve(int(port), to, float(delay), float(rate), float(cuts), int(seed)))
