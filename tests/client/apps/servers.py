"""Servers (@app.server): a class whose enter method starts what listens at a port."""

import modal

app = modal.App("servers")
image = modal.Image.debian_slim()
SERVER = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(float(self.path.partition("?")[2] or 0))
        body = ("asked for " + self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
time.sleep(0.5)
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""


@app.server(image=image, port=8000, unauthenticated=True, max_concurrency=2, max_containers=1, scaledown_window=4,
            routing_region="us-east")
class Open:
    @modal.enter()
    def start(self):
        import subprocess
        print("it enters")
        self.process = subprocess.Popen(["python3", "-c", SERVER])

    @modal.exit()
    def stop(self):
        print("it exits")
        self.process.terminate()


@app.server(image=image, port=8000, startup_timeout=2, routing_region="us-east")
class Closed:
    @modal.enter()
    def start(self):
        pass
