"""People's stories on the page, in Chromium: /usr/bin/python3 tests/page/page.py build/gridiron"""
import os
import pathlib
import re
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "flow"))
from grid import Folder, Grid  # noqa: E402

try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    webdriver = None

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
VALUE = "typed-but-never-shown"


def open_browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
                 "--window-size=1280,860"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The driver's own service class differs between Selenium 3 and 4.
    try:
        from selenium.webdriver.chrome.service import Service
        return webdriver.Chrome(service=Service(DRIVER), options=options)
    except TypeError:
        return webdriver.Chrome(executable_path=DRIVER, options=options)


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.addClassCleanup(cls.folder.remove)
        cls.grid = Grid(cls.folder)
        cls.grid.__enter__()
        cls.addClassCleanup(cls.grid.__exit__)
        cls.token = cls.folder.json("token", "new")
        cls.browser = open_browser()
        cls.addClassCleanup(cls.browser.quit)

    def setUp(self):
        self.browser.delete_all_cookies()

    def go(self, path):
        self.browser.get(self.grid.url + path)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        found = []
        self.until(lambda: found.extend(self.all(selector)) or found, f"there is {selector}")
        return found[0]

    def text(self):
        # In one step: an element found first may belong to a page that is just being left.
        return self.browser.execute_script("return document.body ? document.body.innerText : ''")

    def until(self, look, what):
        WebDriverWait(self.browser, 60, poll_frequency=0.05).until(lambda _: look(), f"not so: {what}")

    def until_text(self, text):
        self.until(lambda: text in self.text(), f"the page shows {text}")

    def keep_picture(self, name):
        shots = os.environ.get("PAGE_SHOTS")
        if shots:
            self.browser.save_screenshot(str(pathlib.Path(shots) / f"{name}.png"))

    def sign_in(self):
        self.go("/sign-in")
        self.one("[name=token_id]").send_keys(self.token["token_id"])
        self.one("[name=token_secret]").send_keys(self.token["token_secret"])
        self.one("button.first").click()
        self.until_text("Workspace ")

    def section(self, name, text):
        self.one(f'.side a[href="#{name}"]').click()
        self.until_text(text)

    def complaints(self):
        """What the browser's console has against the page (refused resources, errors of scripts)."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def test_a_token_opens_the_page_and_each_section_shows_itself(self):
        self.go("/")
        self.keep_picture("sign-in")
        self.browser.get_log("browser")
        self.sign_in()
        self.keep_picture("overview")
        self.assertIn("MODAL_SERVER_URL=" + self.grid.url, self.text())
        for name, text in (("apps", "Nothing is deployed"), ("functions", "No functions yet"), ("containers", "No containers"),
                           ("logs", "Nothing printed yet"), ("usage", "Nothing ran"), ("secrets", "New secret"),
                           ("tokens", "New token")):
            self.section(name, text)
            self.keep_picture(name)
        self.assertEqual(self.complaints(), [])

    def test_a_wrong_token_is_told_so(self):
        self.go("/sign-in")
        self.one("[name=token_id]").send_keys("ak-wrong")
        self.one("[name=token_secret]").send_keys("as-wrong")
        self.one("button.first").click()
        self.until_text("This is not a token of this grid.")

    def test_the_printed_link_signs_in(self):
        path = re.search(r"(/sign-in/\w+)", self.folder.json("sign-in")["url"]).group(1)
        self.go(path)
        self.one("button.first").click()
        self.until_text("Workspace ")
        self.one(".side form button").click()
        self.until(lambda: self.all("[name=token_id]"), "signed out")

    def test_a_secret_is_made_shown_by_its_key_and_deleted(self):
        self.sign_in()
        self.section("secrets", "No secrets yet.")
        self.one("[name=name]").send_keys("webhook-secret")
        self.one("[name=key]").send_keys("WEBHOOK_TOKEN")
        self.one("[name=value]").send_keys(VALUE)
        self.one("main button.first").click()
        self.until(lambda: any("WEBHOOK_TOKEN" in row.text for row in self.all("tbody tr")), "the secret is listed")
        self.keep_picture("secret")
        self.assertNotIn(VALUE, self.browser.page_source)
        self.one("tbody button").click()
        self.browser.switch_to.alert.accept()
        self.until_text("No secrets yet.")

    def test_a_proxy_token_is_made_shown_once_and_revoked(self):
        self.sign_in()
        self.section("tokens", "No proxy tokens yet.")
        self.one("[name=name]").send_keys("billing")
        self.one("main button.first").click()
        self.until_text("Modal-Secret: ws-")
        self.browser.refresh()
        self.until(lambda: any("billing" in row.text for row in self.all("tbody tr")), "the token is listed")
        self.assertNotIn("ws-", self.text())
        self.one("tbody button").click()
        self.browser.switch_to.alert.accept()
        self.until_text("No proxy tokens yet.")

    def test_a_refused_secret_says_why(self):
        self.sign_in()
        self.section("secrets", "New secret")
        self.one("[name=name]").send_keys("no/slashes")
        self.one("[name=key]").send_keys("A")
        self.one("main button.first").click()
        self.until(lambda: "no/slashes" in self.one(".said").text, "the reason is told")

    def test_names_are_shown_as_text_and_never_run(self):
        self.sign_in()
        self.go("/#logs?app=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        self.until_text("<img src=x onerror=alert(1)>")


if __name__ == "__main__":
    if not (webdriver and CHROMIUM and DRIVER):
        print("skipped: the page's stories need chromium, chromium-driver and python3-selenium")
        sys.exit(77)
    unittest.main()
