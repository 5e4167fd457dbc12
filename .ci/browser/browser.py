"""A browser that notices script errors, violations of the policy of the pages, and pages that are too wide or too large."""

from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Error, expect

from service import ADMIN

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
# The largest size of a page on the wire, without the files that the browser keeps.
LARGEST = 100 * 1024


def listed(wrong):
    """The different faults, but not hundreds of them."""
    once = list(dict.fromkeys(wrong))
    return "\n".join(once[:60]) + (f"\nand {len(once) - 60} more" if len(once) > 60 else "")


class Pages:
    """The pages that one person uses. It fails at the end if something went wrong on the way."""

    def __init__(self, browser, service, width=1280, dark=False, script=True):
        self.service = service
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
            java_script_enabled=script, base_url=service.url, locale="en-GB",
        )
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.wrong, self.script = [], script
        if script:
            self.page.add_init_script(WATCH)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script error on {self.page.url}: {error}"))
        self.page.on("console", self._said)
        self.page.on("response", self._answered)

    def _said(self, message):
        # A refused form is answered with its errors and a status of 4xx, which the browser says, too.
        # The script that watches for violations is refused in the frame of an email, as every script is.
        usual = ("Failed to load resource", "Blocked script execution in 'about:srcdoc'")
        if message.type in ("error", "warning") and not any(text in message.text for text in usual):
            self.wrong.append(f"console of {self.page.url}: {message.text[:90]}")

    def _answered(self, response):
        if response.status >= 500:
            self.wrong.append(f"{response.status} from {response.url}")

    def sign_in(self, token=ADMIN, to="/admin"):
        self.page.goto(to)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("navigation", name="Main menu")).to_be_visible()
        # The sign-in leads to the page that was asked for; a test of its own says so.
        if urlsplit(self.page.url).path != to:
            self.page.goto(to)
        return self.page

    def evaluated(self, script):
        """The value of a script on the page, also if the browser goes on to the next page at this moment."""
        for _ in range(3):
            try:
                return self.page.evaluate(script)
            except Error as error:
                if "Execution context was destroyed" not in str(error):
                    raise
                self.page.wait_for_load_state()
        return self.page.evaluate(script)

    def check(self):
        """Checks the page that is shown now."""
        where = urlsplit(self.page.url).path
        if self.script:
            # A form that was sent a moment ago may still be on its way to the next page.
            self.page.wait_for_load_state()
            for violation in self.evaluated("window.violations || []"):
                self.wrong.append(f"policy violated on {where}: {violation}")
        wide = self.evaluated(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        ) if self.script else [0, 0]
        if wide[0] > wide[1]:
            self.wrong.append(f"{where} is {wide[0]} px wide in a window of {wide[1]} px")

    def finish(self):
        self.context.close()
        assert not self.wrong, listed(self.wrong)


@contextmanager
def pages(browser, service, shots, name, **how):
    """The pages for one person. A screenshot is taken if the test fails."""
    one = Pages(browser, service, **how)
    try:
        yield one
        one.check()
    except BaseException:
        shots.mkdir(parents=True, exist_ok=True)
        try:
            one.page.screenshot(path=shots / f"{name}.png", full_page=True)
        except Exception:  # The page may be closed already.
            pass
        one.context.close()
        raise
    one.finish()
