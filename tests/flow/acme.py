"""Certificates by ACME: got, put in force, renewed, kept: python3 tests/flow/acme.py build/gridiron"""
import http.client
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from acme_ca import Authority
from grid import GRIDIRON, Folder

NAME, OTHER = "hooks.example.org", "refused.example.org"


class Acme(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)
        keys = tempfile.TemporaryDirectory(prefix="gridiron-acme-")
        self.addCleanup(keys.cleanup)
        # Of the first certificate a third is left at once, so that it is renewed; the second is good for 90 days.
        self.authority = Authority(keys.name, lifetimes=[31, 90 * 24 * 3600], refused=(OTHER,))
        self.addCleanup(self.authority.close)

    def start(self):
        self.log = open(self.folder.top / "log", "ab")
        self.grid = subprocess.Popen(
            [GRIDIRON, "control", "--data", self.folder.data, "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0",
             "--acme-directory", self.authority.url + "/dir", "--acme-names", f"{NAME},{OTHER}", "--acme-email",
             "you@example.org", "--acme-authority", self.authority.folder / "root.pem", "--domain", NAME],
            env=self.folder.environment, stderr=self.log, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        self.port = self.until(lambda: re.search(r"ready at https://[^:]*:(\d+)", self.said()), "the grid is ready")
        self.http_port = re.findall(r"the door listens at 127\.0\.0\.1:(\d+) too", self.told())[-1]
        self.authority.challenge_port = int(self.http_port)

    def stop(self):
        if self.grid.poll() is None:
            self.grid.send_signal(signal.SIGTERM)
            self.assertEqual(self.grid.wait(timeout=15), 0)
        self.grid.stdout.close()
        self.log.close()

    def said(self):
        return self.grid.stdout.readline()

    def told(self):
        return (self.folder.top / "log").read_text()

    def until(self, what, why, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.1)
        self.fail(f"after {seconds} s still not: {why}\n{self.told()}")

    def serial(self):
        """Of the certificate that the door shows for NAME to who trusts the authority; "" when it is not trusted."""
        context = ssl.create_default_context(cafile=self.authority.folder / "root.pem")
        try:
            with socket.create_connection(("127.0.0.1", int(self.port[1])), timeout=10) as raw:
                with context.wrap_socket(raw, server_hostname=NAME) as connection:
                    return connection.getpeercert()["serialNumber"]
        except ssl.SSLError:
            return ""

    def orders_of(self, name):
        return len([p for path, p in self.authority.asked if path == "/order" and p["identifiers"][0]["value"] == name])

    def test_a_name_gets_its_certificate_keeps_it_over_a_restart_and_renews_it_in_time(self):
        self.start()
        self.until(lambda: len(self.authority.issued) == 2, "a certificate was issued, and another ahead of its end")
        newest = "1001"  # serial numbers begin with 1000
        self.until(lambda: self.serial() == newest, "the newest is in force, without a restart")
        self.assertEqual(self.authority.issued, [NAME, NAME])
        account = next(payload for path, payload in self.authority.asked if path == "/account")
        self.assertEqual(account, {"termsOfServiceAgreed": True, "contact": ["mailto:you@example.org"]})
        # A name that the authority does not take is told, does not hold up the others, and is left alone for a while.
        self.assertRegex(self.told(), f"no certificate for {OTHER}: .*rejectedIdentifier: not this name; tried again in 60 s")
        self.assertEqual(self.orders_of(OTHER), 1)
        # What is no challenge of ours is sent to https as ever.
        connection = http.client.HTTPConnection("127.0.0.1", int(self.http_port), timeout=10)
        connection.request("GET", "/.well-known/acme-challenge/other", headers={"Host": NAME})
        self.assertNotEqual(connection.getresponse().status, 200)
        connection.close()

        self.stop()
        self.start()
        self.assertEqual(self.serial(), newest)
        self.assertEqual(self.authority.issued, [NAME, NAME])
        self.assertEqual(self.orders_of(OTHER), 1, "what was refused just now is left alone also after a restart")


if __name__ == "__main__":
    unittest.main(verbosity=2)
