"""
A line between two network namespaces: a device `line` (TUN) in each, and this program, which passes packets from one to
the other after a delay and loses some. Usage: line.py NAMESPACE NAMESPACE; each line on standard input is `DELAY_MS
LOSS_PERCENT`, both each way, for packets from then on. What is lost follows from a fixed seed.
"""
import ctypes, fcntl, heapq, os, random, select, struct, sys, time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 1, 0x1000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def enter(path):
    with open(path) as f:
        if libc.setns(f.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), path)


def device(namespace):
    enter(f"/run/netns/{namespace}")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"line", IFF_TUN | IFF_NO_PI))
    return fd


ends = [device(n) for n in sys.argv[1:3]]
print("ready", flush=True)
delay, loss, chance, order, due = 0.0, 0.0, random.Random(1), 0, []
while True:
    wait = max(0.0, due[0][0] - time.monotonic()) if due else None
    readable, _, _ = select.select([0, *ends], [], [], wait)
    if 0 in readable:
        words = os.read(0, 4096).decode().split()
        if not words:
            break
        delay, loss = float(words[-2]) / 1000, float(words[-1]) / 100
    for fd in ends:
        while fd in readable:
            try:
                packet = os.read(fd, 65536)
            except BlockingIOError:
                break
            if chance.random() >= loss:
                order += 1
                heapq.heappush(due, (time.monotonic() + delay, order, ends[1 - ends.index(fd)], packet))
    while due and due[0][0] <= time.monotonic():
        _, _, to, packet = heapq.heappop(due)
        try:
            os.write(to, packet)
        except OSError:
            pass  # the device is not up yet, or its queue is full: a packet lost
