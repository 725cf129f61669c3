"""A pool of threads answers requests. SIGTERM ends it: what a thread has begun is answered yet."""

import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Process

from pubsub import Channel, channels, reply, request


def serve() -> None:
    with Channel("square") as jobs, ThreadPoolExecutor(3) as pool:
        signal.signal(signal.SIGTERM, lambda *_: jobs.close())
        for _ in range(3):  # each job goes to one of the threads
            pool.submit(lambda: [reply(job, b"%d" % int(job.content) ** 2) for job in jobs])


if __name__ == "__main__":
    server = Process(target=serve)
    server.start()
    while not channels("square"):
        pass
    answers = [request("square", b"%d" % n) for n in range(4)]
    print([answer and int(answer.content) for answer in answers])
    server.terminate()
