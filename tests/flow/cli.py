"""The commands of `gridiron`, without and beside a running grid: python3 tests/flow/cli.py build/gridiron"""
import json
import re
import signal
import stat
import time
import unittest

from grid import Browser, Folder, Grid

VALUE = "s3cr3t-value-that-must-not-be-found"


class Story(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.remove)

    def refusal(self, *words, **more):
        done = self.folder.command(*words, **more)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr


class AccessLog(Story):
    def test_a_rotated_log_goes_on_in_a_new_file_after_sighup(self):
        log, old = self.folder.top / "access.log", self.folder.top / "access.log.1"
        self.folder.environment["GRIDIRON_ACCESS_LOG"] = str(log)
        with Grid(self.folder, "control") as grid:
            browser = Browser(grid)
            browser.ask("GET", "/before?token=secret")
            log.rename(old)
            grid.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 20
            while not log.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            browser.ask("GET", "/after")
        (before,), (after,) = ([json.loads(line) for line in file.read_text().splitlines()] for file in (old, log))
        self.assertEqual((before["path"], before["status"]), ("/before", 404))
        self.assertEqual(after["path"], "/after")


class Configuration(Story):
    def test_every_value_is_told_with_its_origin(self):
        file = self.folder.top / "grid.toml"
        file.write_text('domain = "grid.example"\n')
        told = self.folder.json("config", "--config", str(file), "--log-level", "debug")["settings"]
        self.assertEqual(told["domain"], {"value": "grid.example", "origin": f"{file}:1"})
        self.assertEqual(told["log_level"], {"value": "debug", "origin": "--log-level"})
        self.assertEqual(told["cache"]["origin"], "GRIDIRON_CACHE")
        self.assertEqual(told["listen"], {"value": "127.0.0.1:8400", "origin": "default"})

    def test_an_unknown_key_is_refused_with_the_nearest_one(self):
        file = self.folder.top / "grid.toml"
        file.write_text('doman = "grid.example"\n')
        self.assertEqual(self.refusal("config", "--config", str(file)),
                         f"gridiron: {file}:1: no such setting: doman; did you mean domain?\n")

    def test_a_wrong_command_line_is_status_2(self):
        self.assertEqual(self.folder.command("upp", data=False).returncode, 2)
        self.assertEqual(self.folder.command("token", data=False).returncode, 2)

    def test_version_and_doctor_answer_without_a_grid(self):
        self.assertRegex(self.folder.command("version", data=False).stdout, r"^gridiron \d+\.\d+\.\d+\n$")
        report = json.loads(self.folder.command("doctor", "--json").stdout)
        self.assertIn("disk (data)", [finding["name"] for finding in report["findings"]])


class WithoutAGrid(Story):
    def test_tokens_are_made_listed_and_revoked(self):
        made = self.folder.json("token", "new", "--name", "laptop")
        self.assertRegex(made["token_id"], "^ak-[A-Za-z0-9]+$")
        self.assertRegex(made["token_secret"], "^as-[A-Za-z0-9]+$")
        listed = self.folder.json("token", "list")
        self.assertIn(made["token_id"], [token["token_id"] for token in listed["tokens"]])
        self.assertNotIn(made["token_secret"], json.dumps(listed))
        self.folder.json("token", "revoke", made["token_id"])
        live = [t["token_id"] for t in self.folder.json("token", "list")["tokens"] if t["state"] == "live"]
        self.assertNotIn(made["token_id"], live)
        self.assertIn("ak-none", self.refusal("token", "revoke", "ak-none"))

    def test_proxy_tokens_are_of_their_own(self):
        made = self.folder.json("token", "proxy", "new", "--name", "partner")
        self.assertRegex(made["token_id"], "^wk-[A-Za-z0-9]+$")
        self.assertRegex(made["token_secret"], "^ws-[A-Za-z0-9]+$")
        listed = self.folder.json("token", "proxy", "list")["tokens"]
        self.assertEqual([token["name"] for token in listed], ["partner"])
        self.assertNotIn(made["token_id"], json.dumps(self.folder.json("token", "list")))
        self.folder.json("token", "proxy", "revoke", made["token_id"])
        self.assertEqual(self.folder.json("token", "proxy", "list")["tokens"], [])

    def test_a_secret_is_listed_by_its_keys_and_its_value_is_nowhere_readable(self):
        made = self.folder.json("secret", "create", "webhook-secret", f"TOKEN={VALUE}")
        self.assertEqual(made["keys"], ["TOKEN"])
        done = self.folder.command("secret", "list", "--json")
        self.assertEqual([s["name"] for s in json.loads(done.stdout)["secrets"]], ["webhook-secret"])
        self.assertNotIn(VALUE, done.stdout)
        for path in self.folder.data.rglob("*"):
            if path.is_file():
                self.assertNotIn(VALUE.encode(), path.read_bytes(), path)
                self.assertEqual(path.stat().st_mode & 0o077, 0, f"{path} is open to others")

    def test_a_secret_takes_its_values_from_a_file_or_from_standard_input(self):
        file = self.folder.top / "env"
        file.write_text(f"# a comment\n\nexport A='{VALUE}'\nB=x=y\n")
        self.assertEqual(self.folder.json("secret", "create", "one", "--from-env-file", str(file))["keys"], ["A", "B"])
        self.assertEqual(self.folder.json("secret", "create", "two", "C=-", stdin=VALUE + "\n")["keys"], ["C"])

    def test_a_broken_value_is_refused_without_being_shown(self):
        refusal = self.refusal("secret", "create", "one", VALUE)
        self.assertIn("value 1 is not KEY=VALUE", refusal)
        self.assertNotIn(VALUE, refusal)

    def test_a_name_is_taken_once_unless_forced(self):
        self.folder.json("secret", "create", "one", "A=1")
        self.assertIn("one", self.refusal("secret", "create", "one", "B=1"))
        self.assertEqual(self.folder.json("secret", "create", "one", "B=1", "--force")["keys"], ["B"])
        self.folder.json("secret", "delete", "one")
        self.assertEqual(self.folder.json("secret", "list")["secrets"], [])
        self.assertIn("one", self.refusal("secret", "delete", "one"))

    def test_nothing_was_used_on_a_fresh_folder(self):
        usage = self.folder.json("usage")
        self.assertEqual((usage["containers"], usage["inputs"], usage["totals"]), ([], [], []))

    def test_status_says_that_no_grid_runs(self):
        self.assertIn(f"no grid runs on {self.folder.data}", self.refusal("status"))


class BesideAGrid(Story):
    def test_it_tells_when_it_is_ready_and_ends_on_sigterm(self):
        with Grid(self.folder) as grid:
            self.assertIn(f"gridiron is ready at {grid.url}", grid.ready)
            status = self.folder.json("status")
            self.assertEqual((status["containers"], status["functions"]), ([], []))
            self.assertEqual(status["url"], grid.url)
            socket = self.folder.data / "admin.sock"
            self.assertTrue(stat.S_ISSOCK(socket.stat().st_mode))
            self.assertEqual(socket.stat().st_mode & 0o777, 0o600)
            code, seconds = grid.end()
            self.assertEqual(code, 0, (self.folder.top / "log").read_text()[-2000:])
            self.assertLess(seconds, 10)
        self.assertIn("no grid runs", self.refusal("status"))

    def test_a_second_grid_on_the_folder_is_told_who_has_it(self):
        with Grid(self.folder) as grid:
            self.assertIn(f"is in use by another gridiron (process {grid.process.pid})",
                          self.refusal("up", "--listen", "127.0.0.1:0"))

    def test_commands_work_beside_it_and_what_they_made_is_there_afterwards(self):
        before = self.folder.json("token", "new")
        with Grid(self.folder):
            beside = self.folder.json("token", "new")
            self.assertEqual(beside["workspace"], before["workspace"])
            self.folder.json("secret", "create", "one", f"A={VALUE}")
            self.assertEqual(self.folder.json("usage")["inputs"], [])
        ids = [token["token_id"] for token in self.folder.json("token", "list")["tokens"]]
        self.assertLessEqual({before["token_id"], beside["token_id"]}, set(ids))
        self.assertEqual([s["name"] for s in self.folder.json("secret", "list")["secrets"]], ["one"])


class Page(Story):
    def setUp(self):
        super().setUp()
        self.grid = Grid(self.folder)
        self.grid.__enter__()
        self.addCleanup(self.grid.__exit__)
        self.browser = Browser(self.grid)

    def sign_in(self):
        token = self.folder.json("token", "new")
        status, headers, _ = self.browser.ask("POST", "/sign-in", form={
            "token_id": token["token_id"], "token_secret": token["token_secret"], "next": "/"})
        self.assertEqual((status, headers["location"]), (303, "/"))
        return re.search('name="csrf" content="([^"]+)"', self.browser.ask("GET", "/")[2]).group(1)

    def test_strangers_are_sent_to_sign_in(self):
        status, headers, _ = self.browser.ask("GET", "/")
        self.assertEqual((status, headers["location"]), (303, "/sign-in"))
        self.assertEqual(self.browser.ask("GET", "/api/secrets")[0], 401)
        self.assertEqual(self.browser.ask("POST", "/sign-in", form={"token_id": "ak-x", "token_secret": "as-x"})[0], 401)

    def test_a_token_signs_in_and_the_cookie_is_out_of_reach_of_scripts(self):
        self.sign_in()
        status, headers, _ = self.browser.ask("GET", "/")
        self.assertEqual(status, 200)
        self.assertIn("default-src 'none'", headers["content-security-policy"])
        self.assertEqual(json.loads(self.browser.ask("GET", "/api/status")[2])["containers"], [])

    def test_the_first_up_prints_a_link_that_signs_in_once(self):
        link = re.search(r"signed in once: \S+?(/sign-in/\w+)", self.grid.ready).group(1)
        self.assertEqual(self.browser.ask("GET", link)[0], 200)
        self.assertEqual(self.browser.ask("POST", link, form={})[0], 303)
        self.assertEqual(self.browser.ask("GET", "/")[0], 200)
        self.assertEqual(Browser(self.grid).ask("POST", link, form={})[0], 410)

    def test_a_secret_is_written_by_the_page_and_never_read(self):
        headers = {"x-gridiron-csrf": self.sign_in()}
        made = self.browser.ask("POST", "/api/secrets", headers=headers, body={"name": "one", "values": {"A": VALUE}})
        self.assertEqual(made[0], 200, made[2])
        listed = self.browser.ask("GET", "/api/secrets")[2]
        self.assertEqual([(s["name"], s["keys"]) for s in json.loads(listed)["secrets"]], [("one", ["A"])])
        self.assertNotIn(VALUE, made[2] + listed)
        self.assertEqual(self.browser.ask("DELETE", "/api/secrets/one", headers=headers)[0], 200)

    def test_another_site_can_change_nothing(self):
        csrf = self.sign_in()
        secret = {"name": "one", "values": {"A": "1"}}
        self.assertEqual(self.browser.ask("POST", "/api/secrets", body=secret)[0], 403)
        foreign = {"x-gridiron-csrf": csrf, "origin": "http://evil.localhost"}
        self.assertEqual(self.browser.ask("POST", "/api/secrets", body=secret, headers=foreign)[0], 403)
        self.assertEqual(json.loads(self.browser.ask("GET", "/api/secrets")[2])["secrets"], [])

    def test_signing_in_leads_to_no_other_site(self):
        token = self.folder.json("token", "new")
        for place in ["//evil.example", "https://evil.example", "/\\evil.example"]:
            _, headers, _ = self.browser.ask("POST", "/sign-in", form={
                "token_id": token["token_id"], "token_secret": token["token_secret"], "next": place})
            self.assertEqual(headers["location"], "/")


if __name__ == "__main__":
    unittest.main()
