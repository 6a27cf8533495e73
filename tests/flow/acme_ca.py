"""A certificate authority that speaks ACME (RFC 8555), for tests: it checks nonces, URLs and signatures (ES256) as the
RFC says and really fetches challenges, but from one port of this machine whatever the name. Python and openssl only."""
import base64
import datetime
import hashlib
import http.client
import http.server
import json
import pathlib
import ssl
import subprocess
import threading


def openssl(*words, stdin=b""):
    done = subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True)
    assert done.returncode == 0, f"openssl {words}: {done.stderr.decode()}"
    return done.stdout


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Problem(Exception):
    def __init__(self, kind, detail, status=400):
        super().__init__(detail)
        self.kind, self.detail, self.status = kind, detail, status


class Authority:
    """`lifetimes`: seconds, of each certificate in turn, the last for all after it. `refused`: names it never takes."""

    def __init__(self, folder, lifetimes, refused=()):
        self.folder, self.lifetimes, self.refused = pathlib.Path(folder), list(lifetimes), refused
        self.challenge_port = None
        self.lock = threading.Lock()
        self.nonces, self.accounts, self.orders, self.issued, self.asked = set(), {}, [], [], []
        self.bad_nonces = 1  # so many requests are told that their good nonce is bad
        self.make_keys()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                authority.answer(self, 200, None)

            def do_GET(self):
                authority.answer(self, 200, authority.directory())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    status, answer, headers = authority.serve(self.path, body, self.headers["content-type"])
                except Problem as problem:
                    status, headers = problem.status, {}
                    answer = {"type": "urn:ietf:params:acme:error:" + problem.kind, "detail": problem.detail}
                authority.answer(self, status, answer, headers)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def make_keys(self):
        f = self.folder
        for name, extension, signer in (("root", "basicConstraints=critical,CA:TRUE", []),
                                        ("server", "subjectAltName=DNS:localhost",
                                         ["-CA", f / "root.pem", "-CAkey", f / "root.key"])):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-keyout", f / f"{name}.key", "-out", f / f"{name}.pem", "-subj", f"/CN=test {name}",
                    "-addext", extension, *signer)
        (f / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={f}\ndatabase={f}/index\nserial={f}/serial\ndefault_md=sha256\n"
            "policy=p\nunique_subject=no\n[p]\ncommonName=optional\n")
        (f / "index").write_text("")
        (f / "serial").write_text("1000\n")

    def answer(self, handler, status, body, headers=()):
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        nonce = encode(hashlib.sha256(str(datetime.datetime.now()).encode()).digest())
        with self.lock:
            self.nonces.add(nonce)
        handler.send_response(status)
        for name, value in {"Replay-Nonce": nonce, "Content-Length": str(len(data)), **dict(headers)}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    def directory(self):
        return {"newNonce": self.url + "/nonce", "newAccount": self.url + "/account", "newOrder": self.url + "/order"}

    def serve(self, path, body, content_type):
        with self.lock:
            if content_type != "application/jose+json":
                raise Problem("malformed", f"content type {content_type}", 415)
            payload, account = self.check(path, json.loads(body))
            self.asked.append((path, payload))
            verb, _, number = path.strip("/").partition("/")
            if verb == "account":
                return 201, {"status": "valid"}, {"Location": account}
            if verb == "order" and not number:
                return self.new_order(payload)
            order = self.orders[int(number)]
            return getattr(self, "do_" + verb)(order, payload)

    def check(self, path, jws):
        head = json.loads(decode(jws["protected"]))
        if head["nonce"] not in self.nonces:
            raise Problem("badNonce", "that nonce was never given, or used")
        self.nonces.remove(head["nonce"])
        if self.bad_nonces > 0:
            self.bad_nonces -= 1
            raise Problem("badNonce", "for the sake of the test")
        if head["alg"] != "ES256" or head["url"] != self.url + path or ("jwk" in head) == ("kid" in head):
            raise Problem("malformed", f"protected header {head}")
        if "kid" in head and head["kid"] not in self.accounts:
            raise Problem("accountDoesNotExist", head["kid"])
        if ("jwk" in head) != (path == "/account"):
            raise Problem("malformed", "jwk is for new accounts, kid for all else")
        jwk = head["jwk"] if "jwk" in head else self.accounts[head["kid"]]
        self.check_signature(jwk, f"{jws['protected']}.{jws['payload']}".encode(), decode(jws["signature"]))
        account = self.url + "/account/" + self.thumbprint(jwk)
        self.accounts[account] = jwk
        payload = decode(jws["payload"])
        return (json.loads(payload) if payload else None), account

    def check_signature(self, jwk, text, signature):
        prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200" "04")
        (self.folder / "account.der").write_bytes(prefix + decode(jwk["x"]) + decode(jwk["y"]))
        if len(signature) != 64:
            raise Problem("malformed", "an ES256 signature has 64 bytes")

        def integer(data):
            data = data.lstrip(b"\0") or b"\0"
            data = b"\0" + data if data[0] & 0x80 else data
            return bytes([2, len(data)]) + data

        body = integer(signature[:32]) + integer(signature[32:])
        (self.folder / "signature").write_bytes(bytes([0x30, len(body)]) + body)
        try:
            openssl("dgst", "-sha256", "-verify", self.folder / "account.der", "-keyform", "DER", "-signature",
                    self.folder / "signature", stdin=text)
        except AssertionError as wrong:
            raise Problem("malformed", f"the signature does not fit: {wrong}") from wrong

    @staticmethod
    def thumbprint(jwk):
        canonical = json.dumps({k: jwk[k] for k in ("crv", "kty", "x", "y")}, separators=(",", ":"), sort_keys=True)
        return encode(hashlib.sha256(canonical.encode()).digest())

    def new_order(self, payload):
        (identifier,) = payload["identifiers"]
        if identifier["value"] in self.refused:
            raise Problem("rejectedIdentifier", "not this name", 403)
        number = len(self.orders)
        self.orders.append({"number": number, "name": identifier["value"], "status": "pending",
                            "token": encode(f"token{number}".encode() * 4), "account": list(self.accounts)[-1]})
        return 201, self.order_body(self.orders[-1]), {"Location": f"{self.url}/order/{number}"}

    def order_body(self, order):
        number = order["number"]
        body = {"status": order["status"], "identifiers": [{"type": "dns", "value": order["name"]}],
                "authorizations": [f"{self.url}/authz/{number}"], "finalize": f"{self.url}/finalize/{number}"}
        if order["status"] == "valid":
            body["certificate"] = f"{self.url}/cert/{number}"
        return body

    def do_order(self, order, _):
        return 200, self.order_body(order), {}

    def do_authz(self, order, _):
        proven = {"pending": "pending", "invalid": "invalid"}.get(order["status"], "valid")
        return 200, {"status": proven, "challenges": [
            {"type": "dns-01", "url": f"{self.url}/none", "token": "x"},
            {"type": "http-01", "url": f"{self.url}/challenge/{order['number']}", "token": order["token"],
             "status": proven, **({"error": order["error"]} if "error" in order else {})}]}, {"Retry-After": "0"}

    def do_challenge(self, order, payload):
        if payload != {}:
            raise Problem("malformed", "a challenge is answered with {}")
        connection = http.client.HTTPConnection("127.0.0.1", self.challenge_port, timeout=10)
        connection.request("GET", "/.well-known/acme-challenge/" + order["token"], headers={"Host": order["name"]})
        answer = connection.getresponse()
        told = answer.read().decode()
        connection.close()
        wanted = order["token"] + "." + self.thumbprint(self.accounts[order["account"]])
        order["status"] = "ready" if (answer.status, told) == (200, wanted) else "invalid"
        if order["status"] == "invalid":
            order["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": f"got {answer.status} {told}"}
        return 200, {"status": "processing"}, {}

    def do_finalize(self, order, payload):
        if order["status"] != "ready":
            raise Problem("orderNotReady", order["status"], 403)
        f = self.folder
        (f / "request.der").write_bytes(decode(payload["csr"]))
        text = openssl("req", "-inform", "DER", "-in", f / "request.der", "-noout", "-verify", "-text").decode()
        if f"DNS:{order['name']}\n" not in text:
            raise Problem("badCSR", "the request is not for the order's name")
        openssl("req", "-inform", "DER", "-in", f / "request.der", "-out", f / "request.pem")
        lifetime = self.lifetimes.pop(0) if len(self.lifetimes) > 1 else self.lifetimes[0]
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = "%Y%m%d%H%M%SZ"
        (f / "extensions").write_text(f"subjectAltName=DNS:{order['name']}\nbasicConstraints=CA:FALSE\n")
        openssl("ca", "-config", f / "ca.cnf", "-batch", "-in", f / "request.pem", "-cert", f / "root.pem", "-keyfile",
                f / "root.key", "-out", f / "issued.pem", "-notext", "-extfile", f / "extensions", "-subj", "/",
                "-startdate", (now - datetime.timedelta(seconds=60)).strftime(stamp),
                "-enddate", (now + datetime.timedelta(seconds=lifetime)).strftime(stamp))
        order["chain"] = (f / "issued.pem").read_bytes() + (f / "root.pem").read_bytes()
        order["status"] = "valid"
        self.issued.append(order["name"])
        return 200, self.order_body(order), {}

    def do_cert(self, order, _):
        return 200, order["chain"], {"Content-Type": "application/pem-certificate-chain"}
