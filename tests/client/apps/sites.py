"""Servers in other people's languages: whatever listens at a port."""

import modal

app = modal.App("sites")
image = modal.Image.debian_slim()

# A server of its own making, by nothing but sockets. The path says how it (mis)behaves.
RAW = r"""
import os, socket, sys, threading, time

def serve(one):
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            piece = one.recv(65536)
            if not piece:
                return
            buffer += piece
        head, buffer = buffer.split(b"\r\n\r\n", 1)
        method, path = head.split(b" ")[:2]
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        while len(buffer) < length:
            buffer += one.recv(65536)
        body, buffer = buffer[:length], buffer[length:]
        if path == b"/half":
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            return one.close()
        if path == b"/close":
            return one.close()
        if path == b"/bomb":
            for _ in range(1000):
                one.sendall(b"X-Bomb: " + b"x" * 1000 + b"\r\n")
        if path == b"/both":
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello")
        if path == b"/short":
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
            return one.close()
        if path == b"/slow":
            time.sleep(60)
        if path == b"/exit":
            os._exit(3)
        if path == b"/stream":
            one.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(3):
                one.sendall(b"5\r\npart%d\r\n" % i)
                time.sleep(0.3)
            one.sendall(b"0\r\n\r\n")
            continue
        if path == b"/ws":
            one.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
            while True:
                piece = one.recv(65536)
                if not piece:
                    return
                one.sendall(piece)
        answer = method + b" " + path + b"\n" + head + b"\n\n" + body
        one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + (b"" if method == b"HEAD" else answer))

def safely(one):
    try:
        serve(one)
    except OSError:
        pass

listener = socket.create_server(("0.0.0.0", 8000))
while True:
    one, _ = listener.accept()
    threading.Thread(target=safely, args=(one,), daemon=True).start()
"""


@app.function(image=image, timeout=4, scaledown_window=4)
@modal.concurrent(max_inputs=8)
@modal.web_server(8000, startup_timeout=30)
def raw():
    import subprocess
    subprocess.Popen(["python3", "-c", RAW])


@app.function(image=image, scaledown_window=4)
@modal.concurrent(max_inputs=8)
@modal.web_server(8080, startup_timeout=30)
def files():
    import subprocess
    subprocess.Popen("mkdir -p /tmp/site && echo from a file > /tmp/site/index.html && dd if=/dev/zero of=/tmp/site/big "
                     "bs=1M count=100 2>/dev/null; exec python3 -m http.server -d /tmp/site 8080", shell=True)


@app.function(image=image, scaledown_window=4)
@modal.web_server(8000, startup_timeout=1)
def never():
    pass
