"""Every form of the admin pages, once with a wrong and once with a right input.

`TABLE` has a row for each form. At the end it is compared with the routes and the templates, so that a new form needs a row, and with
what the service answered, so that each form was refused once and accepted once.
"""

import re
import threading
import time
import urllib.request
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Error, expect

import forms_of_alerts
import forms_of_customers
import forms_of_incidents
import forms_of_lists
import forms_of_merging
import forms_of_notices
import forms_of_records
import forms_of_recovery
import forms_of_settings  # noqa: F401
from authority import Authority
from browser import Pages, listed, pages
from form_desk import TABLE, Desk, at, with_field
from service import KEEPING, MailServer, Service
from the_job import until

SOURCE = Path(__file__).parent.parent.parent
ADA = "Ada"
BOUNCE = """From: MAILER-DAEMON@mx.example.net
To: support@nyota.example
Subject: Undelivered Mail Returned to Sender
Message-ID: <{id}@mx.example.net>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {address}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such mailbox

--b
Content-Type: text/rfc822-headers

{headers}

--b--
"""


class Hook:
    """A system that Candor calls. It answers with `status`."""

    def __init__(self):
        hook = self
        self.status = 200

        class Answer(BaseHTTPRequestHandler):
            def answer(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(hook.status)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Office(Desk):
    """The desk, with what the forms need of the service."""

    def prepare(self, hook, stamps):
        self.hook, self.stamps, self.ids = hook, stamps, 0
        service = self.service
        service.story()
        service.crowd(20)
        service.load([
            {"kind": "account", "id": "kilele", "name": "Kilele"},
            {"kind": "resource", "type": "project", "id": "kilele", "account": "kilele"},
            {"kind": "member", "account": "kilele", "person": "grace", "role": "owner"},
        ])
        self.call("POST", "/operators", {"name": "On call", "email": "ops@nyota.example", "events": ["break_glass"]})
        # An update of a minor incident needs another person.
        limits = self.call("GET", "/limits")
        self.call("PUT", "/limits", limits | {"recipients": 1000, "by": [{"severity": "minor", "phase": "update", "recipients": 0}]})
        self.alert_hook = service.hook()
        self.token = self.call("POST", "/tokens", {"name": ADA, "role": "admin", "person": "ada@nyota.example"})["token"]
        self.one.sign_in(self.token)

    def until(self, what, holds):
        until(what, holds, 20)

    def later(self, **more):
        return (datetime.now(timezone.utc) + timedelta(**more)).strftime("%Y-%m-%dT%H:%M")

    @contextmanager
    def another(self):
        """The page of somebody who is not signed in."""
        one = Pages(self.one.context.browser, self.service)
        one.context.on("response", self._answered)
        try:
            yield one.page
        finally:
            one.context.close()

    def seen(self):
        """What the tabs say at the moment, for a person who looks for a fault."""
        said = []
        for tab in self.page.context.pages:
            try:
                said += tab.locator("main h1, main [role=alert], main [role=status], main .wrong").all_inner_texts()
            except Error:
                said.append("the next page is on its way")
        return " | ".join(" ".join(text.split())[:200] for text in said if text.strip())[:900]

    def links(self, path):
        self.open(path)
        return self.page.eval_on_selector_all("main a[href]", "all => all.map(one => one.getAttribute('href'))")

    def fill_where(self, where, typed):
        one = self.find(where)
        self.fill(one, typed)
        return one

    def fill_at(self, path, typed):
        return self.fill_where(at(path), typed)

    # Searches.

    def searched(self, page, name, text, says, status=None):
        self.filtered(page, {name: text}, says, field=name)

    def filtered(self, page, typed, says, field=None, refused=False):
        """Fills a search and looks at what it shows. What was typed is still there, after a reload too."""
        field = field or next(iter(typed))
        self.open(page)
        where = with_field(field)
        answer = self.press(self.fill_where(where, typed))
        for _ in range(2):
            assert refused == (answer.status in (400, 404, 422)), f"answered {answer.status}"
            expect(self.page.get_by_role("main").get_by_text(says).or_(self.page.locator("main a", has_text=says)).first).to_be_attached()
            for name, value in typed.items():
                place = self.page.locator(f'main [name="{name}"]').first
                if isinstance(value, bool):
                    expect(place).to_be_checked(checked=value)
                else:
                    expect(place).to_have_value(value)
            self.in_words()
            answer = self.page.reload()
        self.one.check()

    # What a form is about.

    def step(self, text, owner="Grace Do"):
        incident = self.of(self.number(f"Incident of {text}"))
        step = self.call("POST", f"/incidents/{incident['id']}/next-steps", {"text": text, "owner": owner})
        return step | {"number": incident["number"]}

    def alert_body(self, title, description="nothing"):
        self.ids += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        one = {
            "status": "firing", "labels": {"alertname": "FileErrors", "severity": "critical"},
            "annotations": {"summary": title, "description": description},
            "startsAt": now, "endsAt": "0001-01-01T00:00:00Z", "fingerprint": f"{self.ids:016x}",
        }
        return {"version": "4", "groupKey": f"{{}}:{{n=\"{self.ids}\"}}", "status": "firing", "receiver": "candor", "alerts": [one]}

    def alerted(self, path, title="An alert"):
        """Opens an incident with an alert, and returns its number."""
        body = self.alert_body(title, f"GET {path} answers 500")
        opened = self.service.call("POST", self.alert_hook, body, token=None)["opened"][0]
        return self.call("GET", f"/incidents/{opened['id']}")["number"]

    def told(self, title):
        """An incident whose two people got a detection."""
        n = self.number(title)
        notice = self.service.draft(self.of(n))
        self.service.send(notice)
        self.until("the end of the notice", lambda: self.call("GET", f"/notices/{notice['id']}")["state"] == "sent")
        return n

    def above_the_limit(self, title, mine=False):
        """A draft that another person must approve. `mine` says that Ada wrote it."""
        incident = self.of(self.number(title, severity="minor"))
        body = {"phase": "update", "message": "There is news."}
        token = {"token": self.token} if mine else {}
        return "/admin/notices/" + self.call("POST", f"/incidents/{incident['id']}/notices", body, **token)["id"]

    def account(self, name, project=None):
        self.call("PUT", f"/accounts/{name}", {"name": name.capitalize()})
        if project:
            self.call("PUT", f"/resources/project/{project}", {"account": name})
        return f"/admin/directory/accounts/{name}"

    def somebody(self, name, email=None):
        self.call("PUT", f"/people/{name}", {"name": name.capitalize(), "email": email or f"{name}@somebody.example"})
        return f"/admin/directory/people/{name}"

    def resource(self, name):
        self.call("PUT", f"/resources/project/{name}", {"account": "nyota"})
        return f"/admin/directory/resources/project/{name}"

    def emailed(self, name, domain):
        """Sends a notice to a new person, and returns the email."""
        address = f"{name}@{domain}"
        self.somebody(name, address)
        incident = self.of(self.number(f"For {name}", []))
        self.call("POST", f"/incidents/{incident['id']}/affected/people", {"people": [name]})
        notice = self.service.draft(incident)
        self.service.send(notice)
        # What the mail server said is stored a moment after the email is there.
        self.until("the end of the notice", lambda: self.call("GET", f"/notices/{notice['id']}")["state"] == "sent")
        return address, next(text for to, text in self.mail.mails if address in to)

    def suppressed(self, name):
        """The address of somebody who unsubscribed."""
        address, text = self.emailed(name, "opted.example")
        link = re.search(r"/unsubscribe/[\w.-]+", text.replace("=\r\n", "")).group(0)
        urllib.request.urlopen(self.service.url + link, b"List-Unsubscribe=One-Click").close()
        return address

    def bounce(self, name):
        """An email that came back."""
        address, text = self.emailed(name, "bounced.example")
        headers = text.split("\r\n\r\n")[0].replace("\r\n", "\n")
        return BOUNCE.format(id=name, address=address, headers=headers)

    def bounced(self, name):
        body = self.bounce(name).replace("\n", "\r\n").encode()
        self.call("POST", "/inbound-mail", body, media="message/rfc822")


# What is compared with the table.

def routes():
    """The targets of all forms below /admin, as the source declares them."""
    found = set()
    for file in (SOURCE / "src/http/admin").rglob("*.rs"):
        text = file.read_text()
        names = dict(re.findall(r'const (\w+): &str = "([^"]*)"', text))
        # The constant may be one of a file beside this one, such as `several::PATH`.
        for beside in file.parent.glob("*.rs"):
            names |= {f"{beside.stem}::{name}": path for name, path in re.findall(r'const (\w+): &str = "([^"]*)"', beside.read_text())}
        sent = re.findall(r'\.send\(\s*("[^"]*"|[\w:]+)\s*,', text) + re.findall(r'\.public\(\s*Method::POST,\s*("[^"]*"|\w+)\s*,', text)
        found |= {one.strip('"') if one.startswith('"') else names[one] for one in sent}
    return found


def templates():
    """How many forms each template has, and the fields of its searches."""
    count, searches = {}, {}
    root = SOURCE / "templates/admin"
    for file in sorted(root.rglob("*.hbs")):
        name = str(file.relative_to(root))
        for tag, inner in re.findall(r"<form([^>]*)>(.*?)(?=</form>|$)", file.read_text(), re.S):
            count[name] = count.get(name, 0) + 1
            if 'method="post"' not in tag:
                searches[f"{name}#{count[name]}"] = (name, set(re.findall(r'name="(\w+)"', inner)))
    return count, searches


def missing():
    """What the pages have and the table has not, and the reverse."""
    wrong = []
    in_table = {one for row in TABLE for one in row.does if one.startswith("/")}
    searches_in_table = [tuple(one.split(": ")) for row in TABLE for one in row.does if not one.startswith(("/", "public"))]
    in_source = routes()
    wrong += [f"no row for the form that is sent to {one}" for one in sorted(in_source - in_table)]
    wrong += [f"a row for {one}, which is no target of a form" for one in sorted(in_table - in_source)]
    count, searches = templates()
    rows = [template for row in TABLE for template in row.templates]
    for template, n in count.items():
        if rows.count(template) < n:
            wrong.append(f"{n} forms in {template}, and {rows.count(template)} in the table")
    wrong += [f"{template} has no form" for template in sorted(set(rows) - set(count))]
    for where, (template, names) in searches.items():
        # The boxes of the preview of findings have names that the page makes.
        if not any(template == of and (name in names or not names) for of, name in searches_in_table):
            wrong.append(f"no row for the search {where} with {sorted(names)}")
    return wrong


def pattern(path):
    return re.compile("^/admin" + re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "$")


def not_tried(sent):
    """The forms that were not refused once and accepted once, as the answers of the service say."""
    wrong = []
    for row in TABLE:
        for path in row.does:
            if not path.startswith("/"):
                continue
            # A fixed word is no ID, as in /rules/try and /rules/{id}.
            fixed = {one for one in routes() if "{" not in one and one != path}
            statuses = [status for one, status in sent if pattern(path).match(one) and one.removeprefix("/admin") not in fixed]
            if not any(status < 400 for status in statuses):
                wrong.append(f"{path} was never accepted")
            why_not = row.never_wrong.get(path) if isinstance(row.never_wrong, dict) else row.never_wrong
            if not any(400 <= status < 500 for status in statuses) and not why_not:
                wrong.append(f"{path} was never refused")
    return wrong


def every_form_with_a_wrong_and_a_right_input(browser, program, shots, only=None):
    wrong = [] if only else missing()
    mail, hook, stamps = MailServer(refused=[]), Hook(), Authority()
    settings = {f"CANDOR_{what}_ALLOW": "private" for what in ("WEBHOOK", "CALLOUT", "CHECK", "LISTING")} | KEEPING | stamps.settings
    with Service(program, mail, **settings) as service, pages(browser, service, shots, "forms") as one:
        desk = Office(one, service, mail, ADA)
        desk.prepare(hook, stamps)
        for row in TABLE:
            if only and not any(part in row.name for part in only):
                continue
            one.context.clear_cookies(name="candor_done")
            try:
                row.run(desk)
            except Exception as error:  # The other forms are tried, too.
                wrong.append(f"{row.name} on {urlsplit(desk.page.url).path}: {told(error)}. Seen: {desk.seen()}")
                shots.mkdir(parents=True, exist_ok=True)
                desk.page.screenshot(path=shots / f"form-{row.name}.png", full_page=True)
                for tab in one.context.pages:
                    if tab != desk.page:
                        tab.close()
        if not only:
            wrong += not_tried(desk.sent)
        wrong += one.wrong
        one.wrong.clear()
    mail.close()
    hook.close()
    stamps.close()
    assert not wrong, listed(wrong)
    return f"{len({path for row in TABLE for path in row.does})} forms in {len(TABLE)} rows"


def told(error):
    """The error with the line of the table."""
    lines = []
    at = error.__traceback__
    while at:
        if "forms_of_" in at.tb_frame.f_code.co_filename:
            lines.append(str(at.tb_lineno))
        at = at.tb_next
    said = " ".join(str(error).split("Call log:")[0].split("Aria snapshot:")[0].split())
    return f"line {', '.join(lines)}: {said[:400]}"


TESTS = [every_form_with_a_wrong_and_a_right_input]
