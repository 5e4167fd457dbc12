"""Fills forms as a person does, with a wrong and with a right input, and checks what the page says and what is stored."""

import re
from dataclasses import dataclass, field
from typing import Callable
from urllib.parse import urlsplit

from playwright.sync_api import TimeoutError, expect

# What somebody typed in a form: the fields that can be seen, without secrets and files, which a browser does not keep.
TYPED = """form => [...form.elements]
  .filter(one => one.name && !["hidden", "password", "file", "submit"].includes(one.type))
  .map(one => [one.name, one.type === "checkbox" || one.type === "radio" ? [one.value, one.checked] : one.value])"""
UNLABELLED = """form => [...form.elements]
  .filter(one => one.name && !["hidden", "submit"].includes(one.type))
  .filter(one => ![...(one.labels ?? [])].some(label => label.textContent.trim()) && !one.getAttribute("aria-label"))
  .map(one => one.name)"""
UNFOLD = "one => { for (let at = one.closest('details'); at; at = at.parentElement.closest('details')) at.open = true; }"
# Texts of programs, which nobody should have to read on a page: a JSON pointer, a parameter, a type, or the place in a source text.
MACHINE = re.compile(r"^[/?][a-z_]|[/?][a-z_]+: |invalid (type|value|length)|missing field|unknown (field|variant)|\bexpected\b.*`|`\w+`|\bnull\b")


@dataclass
class Row:
    """A form: the routes that it is sent to, or the template with its search, and what is done with it."""

    run: Callable
    # The paths of the routes below /admin, and for a search `TEMPLATE: FIELD`.
    does: tuple
    # The templates that the form stands in.
    templates: tuple
    # Why no input is refused, for the whole row or for some of its paths.
    never_wrong: str | dict | None = None

    @property
    def name(self):
        return self.run.__name__


TABLE: list[Row] = []


def form(*does, template="form.html.hbs", never_wrong=None):
    """Adds a row to the table."""
    templates = (template,) if isinstance(template, str) else tuple(template)

    def add(run):
        TABLE.append(Row(run, does, templates, never_wrong))
        return run
    return add


@dataclass(frozen=True)
class NotOffered:
    """A choice that the page does not offer, such as one of an older page that is still open."""

    value: str


def at(path):
    """The form that is sent to this path."""
    return f'form[action="{path}"]'


def with_field(name):
    """The search with this field, in the main part of the page."""
    return f'main form:has([name="{name}"])'


@dataclass
class Desk:
    """The browser of the person who fills the forms, and the service."""

    one: object
    service: object
    mail: object
    person: str
    # The forms that were sent: the path, and the status of the answer.
    sent: list = field(default_factory=list)

    def __post_init__(self):
        self.page = self.one.page
        self.page.context.on("response", self._answered)

    def _answered(self, response):
        if response.request.method == "POST":
            self.sent.append((urlsplit(response.url).path, response.status))

    # The API, as another person.

    def call(self, method, path, body=None, **more):
        return self.service.call(method, f"/api/v1{path}", body, **more)

    def items(self, path):
        return self.call("GET", path)["items"]

    def number(self, title, affected=(("project", "savanna"),), **more):
        """Opens an incident, and returns its number."""
        return self.service.incident(title, affected, **more)["number"]

    def of(self, number):
        """The incident with this number."""
        return next(one for one in self.items("/incidents?limit=200") if one["number"] == number)

    def written(self):
        """What the person has changed until now: the number of the last event in the audit trail."""
        events = self.items(f"/audit?actor={self.person}&limit=1")
        return events[0]["seq"] if events else 0

    # The page.

    def open(self, path, tab=None):
        tab = tab or self.page
        answer = tab.goto(path)
        assert answer.ok, f"{path}: {answer.status}"
        return tab

    def tab(self, path):
        """Another tab of the same person, whose live parts are not refreshed."""
        tab = self.page.context.new_page()
        tab.route("**/*", lambda route: route.abort() if "x-candor-live" in route.request.headers else route.continue_())
        self.open(path, tab)
        self.page.bring_to_front()
        return tab

    def find(self, where, tab=None):
        """The form, with the folded part of the page that it stands in."""
        one = (tab or self.page).locator(where).first
        expect(one).to_be_attached()
        one.evaluate(UNFOLD)
        return one

    def fill(self, one, typed):
        for name, value in typed.items():
            place = one.locator(f'[name="{name}"]')
            place.first.evaluate(UNFOLD)
            kind = place.first.evaluate("one => one.tagName === 'SELECT' ? 'select' : one.type")
            if kind == "select":
                if isinstance(value, NotOffered):
                    place.evaluate("(one, value) => one.add(new Option(value, value))", value.value)
                    value = value.value
                place.select_option(value)
            elif kind == "checkbox":
                place.set_checked(value)
            elif kind == "radio":
                one.locator(f'[name="{name}"][value="{value}"]').check()
            elif kind == "file":
                place.set_input_files(value)
            else:
                place.fill(value)
        unlabelled = one.evaluate(UNLABELLED)
        assert not unlabelled, f"fields without a label: {unlabelled}"

    def press(self, one, button=None, tab=None):
        """Presses the button of the form, and returns the answer."""
        pressed = one.get_by_role("button", name=button, include_hidden=True) if button else one.locator("button[type=submit]")
        # A browser hardly draws a tab that is behind another one.
        (tab or self.page).bring_to_front()
        for _ in range(5):
            # A live part may have been replaced by a folded one at this moment.
            pressed.first.evaluate(UNFOLD)
            try:
                pressed.first.click(trial=True, timeout=2_000)
                break
            except TimeoutError:
                pass
        with (tab or self.page).expect_navigation() as gone:
            pressed.first.click()
        return gone.value

    # What must be seen.

    def refused(self, where, typed, says, at=None, button=None, again=None, status=422, kept=True, words=True):
        """Sends the form with a wrong input. `says` is what stands at the field `at`, or above the form. An error about a text in JSON
        names its place there, so it is not only `words`."""
        before, one = self.written(), self.find(where)
        self.fill(one, typed)
        was = one.evaluate(TYPED)
        answer = self.press(one, button)
        assert answer.status == status, f"answered {answer.status} and not {status}"
        if kept:
            one = self.page.locator(again or where).first
            expect(one).to_be_attached()
            lost = differs(was, one.evaluate(TYPED), typed)
            assert not lost, f"what was typed is lost: {lost}"
        self.says_at(at, says, again or where)
        if words:
            self.in_words()
        assert self.written() == before, "something was stored"
        self.one.check()

    def says_at(self, name, says, where):
        alert = self.page.get_by_role("main").get_by_role("alert").first
        if name is None:
            expect(self.page.get_by_role("main").locator("[role=alert], [role=status], .wrong").filter(has_text=says).first).to_be_visible()
            return
        expect(alert).to_be_visible()
        one = self.page.locator(where).first
        place = one.locator(f'[name="{name}"], fieldset:has([name="{name}"])').last
        expect(place).to_be_visible()
        described = one.locator(f'[name="{name}"][aria-invalid=true], fieldset[aria-invalid=true]:has([name="{name}"])').first
        expect(described).to_be_attached()
        ids = described.get_attribute("aria-describedby").split()
        expect(self.page.locator(",".join(f"[id='{one}']" for one in ids)).first).to_contain_text(says)

    def in_words(self):
        """No text of a program stands in an error."""
        for text in self.page.locator("main .wrong, main [role=alert] p, main [role=alert] li").all_inner_texts():
            assert not MACHINE.search(text), f"not in words: {text}"
            assert text.strip(), "an empty error"

    def accepted(self, where, typed, says, shows=None, button=None, at=None, writes=True, again=True):
        """Sends the form with a right input. `says` is the confirmation, and `shows` is a text or a function for the new state, which
        is there after a reload too. `at` is the page of the new state, if it is another one."""
        before, one = self.written(), self.find(where)
        self.fill(one, typed)
        answer = self.press(one, button)
        self.done(answer, says, shows, at, again)
        if writes:
            assert self.written() != before, "nothing was stored"

    def done(self, answer, says, shows=None, at=None, again=True):
        assert answer.ok, f"answered {answer.status}: {self.page.get_by_role('main').inner_text()[:300]}"
        said = self.page.locator("main [role=status]").filter(has_text=says)
        expect(said.first).to_be_visible()
        assert said.count() == 1, f"said {said.count()} times"
        if at:
            self.open(at)
        if shows:
            self.shows(shows)
        self.one.check()
        if again:
            self.page.reload()
            expect(self.page.locator("main [role=status]").filter(has_text=says)).to_have_count(0)
            if shows:
                self.shows(shows)

    def shows(self, what):
        if callable(what):
            what()
            return
        text = self.page.get_by_role("main").get_by_text(what)
        expect(text.first).to_be_attached()

    def asked(self, path, question, says, shows=None, button=None, at=None, fields=None, where=None):
        """A form that asks once: `no` changes nothing, `yes` does."""
        before = self.written()
        where = where or f'details.ask form[action="{path}"]' + "".join(f':has([name="{name}"][value="{value}"])' for name, value in (fields or {}).items())
        one = self.page.locator(where).first
        expect(one).to_be_attached()
        yes = one.get_by_role("button", name=button) if button else one.locator("button[type=submit]")
        expect(yes).to_be_hidden()
        summary = one.locator("xpath=ancestor::details[1]").locator("summary").first
        # The question may stand in a part that is folded.
        one.evaluate("form => { for (let at = form.closest('details').parentElement.closest('details'); at; at = at.parentElement.closest('details')) at.open = true; }")
        summary.click()
        expect(yes).to_be_visible()
        expect(one).to_contain_text(question)
        summary.click()
        expect(yes).to_be_hidden()
        assert self.written() == before, "the question alone changed something"
        self.page.reload()
        one = self.page.locator(where).first
        summary = one.locator("xpath=ancestor::details[1]").locator("summary").first
        summary.click()
        answer = self.press(one, button)
        self.done(answer, says, shows, at)
        assert self.written() != before, "nothing was stored"

    def stale(self, tab, where, says, status=(404, 409, 422), button=None):
        """Presses a button in a tab that was opened before somebody else was faster."""
        before = self.written()
        answer = self.press(self.find(where, tab), button, tab)
        assert answer.status in status, f"answered {answer.status} and not {status}: {tab.get_by_role('main').inner_text()[:300]}"
        expect(tab.get_by_role("main").get_by_text(says).first).to_be_visible()
        text = tab.get_by_role("main").inner_text()
        assert self.written() == before, f"something was stored: {text[:200]}"
        tab.close()


def differs(was, now, typed):
    """The fields with another value than was typed, apart from white space around it. A row that was empty may be gone."""
    bare = lambda value: value.strip() if isinstance(value, str) else value
    now = {(name, str(value[0]) if isinstance(value, list) else ""): bare(value) for name, value in now}
    lost = []
    for name, value in was:
        key = (name, str(value[0]) if isinstance(value, list) else "")
        if key in now and now[key] != bare(value) or key not in now and typed.get(name):
            lost.append(f"{name}: {str(value)[:200]!r} became {str(now.get(key))[:200]!r}")
    return "; ".join(lost)
