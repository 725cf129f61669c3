"""Log lines of several processes: one channel receives all of them, another one the errors."""

from multiprocessing import Process, active_children

from pubsub import Channel, publish, wait


def work(name: str) -> None:
    publish(f"log.{name}.info", b"started")
    publish(f"log.{name}.error", b"disk full")


if __name__ == "__main__":
    with Channel("log.+") as lines, Channel("log.=.error") as errors:
        for name in ("web", "mail"):
            Process(target=work, args=[name]).start()
        running = True
        while running:
            running = bool(active_children())  # before the look for what they have written
            for channel in wait([lines, errors], timeout_seconds=0.1):
                while message := channel.get(0):
                    print(channel.topic, message.topic, message.content.decode())
