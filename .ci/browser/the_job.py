"""The whole job by hand, as somebody on call does it: with a script, without one, by keyboard alone, with hostile texts, while emails
go out slowly, and with a second person."""

import re
import time

from playwright.sync_api import expect

from browser import pages
from service import HOSTILE, RIGHT_TO_LEFT, MailServer, Service

DETECTION = "Some of your files cannot be opened. We are working on it."
RESOLUTION = "Your files open again. No file was lost."
# What a person may need from the alert's arrival to the detection sent, beside the keys of the message.
KEYS, SECONDS = 15, 60


def until(what, holds, seconds=30):
    """Waits for something outside of the browser, such as an email."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.02)


def follow(page, name):
    """Presses the link or the button with this name. The links for the keyboard at the top of a page are not in its main part."""
    main = page.get_by_role("main")
    main.get_by_role("link", name=name).or_(main.get_by_role("button", name=name)).first.click()


def write(page, message, action=None):
    """Fills the form of a notice, and goes on to the page on which it is checked."""
    page.get_by_label("Message", exact=True).fill(message)
    if action:
        page.get_by_label("What the customer must do").select_option(label=action)
    page.get_by_role("button", name="Save and check").click()
    expect(page.get_by_text(message).first).to_be_attached()


def send(page, people):
    """Sends the notice that is checked, and waits until everybody was emailed."""
    page.get_by_role("button", name=f"Send to {people}").click()
    count = people.split()[0]
    progress = page.get_by_text(re.compile(rf"{count} of {count}\b")).first
    for _ in range(20):
        try:
            return expect(progress).to_be_visible(timeout=1_500)
        except AssertionError:
            # Without a script, somebody loads the page again.
            page.reload()
    expect(progress).to_be_visible()


def from_alert_to_report(page, service, mail):
    service.story()
    service.alert(service.hook())
    page.reload()
    follow(page, "Write detection")
    write(page, DETECTION)
    expect(page.get_by_text("amina@nyota.example").first).to_be_visible()
    send(page, "2 people")
    until("detection", lambda: mail.recipients() == ["amina@nyota.example", "wanjiru@nyota.example"])
    assert DETECTION in mail.mails[0][1].replace("=\r\n", ""), mail.mails[0][1]
    # The problem is over.
    page.goto("/admin/incidents/1")
    change_status(page, "Resolved: the incident is over")
    page.goto("/admin")
    follow(page, "Write resolution")
    write(page, RESOLUTION, "Nothing: no action needed")
    send(page, "2 people")
    until("resolution", lambda: len(mail.mails) == 4)
    # What is left: a report.
    page.goto("/admin/incidents/1/report/edit")
    page.get_by_label("Heading").first.fill("What happened")
    page.get_by_label("Text").first.fill("A storage provider was not registered.")
    page.get_by_role("button", name="Save report").click()
    expect(page.get_by_text("A storage provider was not registered.").first).to_be_visible()
    page.goto("/admin")
    expect(page.get_by_role("heading", name="Needs you")).to_have_count(0)


def change_status(page, status):
    """Changes the status of the incident that is shown."""
    page.locator("#set-status summary").click()
    form = page.locator("#set-status form")
    form.get_by_label("Status").select_option(label=status)
    form.get_by_role("button").click()


def the_job_is_done_by_hand(browser, program, shots):
    mail = MailServer()
    with Service(program, mail) as service, pages(browser, service, shots, "the-job") as one:
        from_alert_to_report(one.sign_in(), service, mail)
    mail.close()


def the_job_is_done_without_a_script(browser, program, shots):
    mail = MailServer()
    with Service(program, mail) as service, pages(browser, service, shots, "no-script", script=False) as one:
        from_alert_to_report(one.sign_in(), service, mail)
    mail.close()


class Keyboard:
    """Presses keys and counts them."""

    def __init__(self, page):
        self.page, self.pressed = page, 0

    def press(self, key):
        self.page.keyboard.press(key)
        self.pressed += 1

    def reach(self, name, most=12):
        """Presses Tab until the element with this name has the focus."""
        for _ in range(most):
            self.press("Tab")
            at = self.page.evaluate(
                "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
            )
            if re.match(name, at):
                return
        raise AssertionError(f"{name!r} is not reached with {most} presses of Tab")


def a_detection_is_sent_by_keyboard_alone(browser, program, shots):
    mail = MailServer()
    with Service(program, mail) as service, pages(browser, service, shots, "keyboard") as one:
        page = one.sign_in()
        service.story()
        hook = service.hook()
        page.goto("/admin")
        keys, start = Keyboard(page), time.monotonic()
        service.alert(hook)
        # The page shows the incident by itself. Somebody loads it again, because the first thing to do is then two keys away.
        expect(page.get_by_text("Files cannot be opened").first).to_be_visible()
        page.reload()
        keys.pressed += 1
        keys.reach("Write detection")
        with page.expect_navigation():
            keys.press("Enter")
        # The message has the focus when the page is shown.
        if not page.evaluate("document.activeElement.name === 'message'"):
            keys.reach("Message")
        page.keyboard.type(DETECTION)
        with page.expect_navigation():
            keys.press("Control+Enter")
        keys.reach("Send to 2 people")
        keys.press("Enter")
        # A link leads to the button further down on the page.
        if page.evaluate("document.activeElement.id === 'send-now'"):
            keys.press("Enter")
        until("detection", lambda: len(mail.mails) == 2, 60)
        seconds = time.monotonic() - start
    mail.close()
    assert keys.pressed <= KEYS and seconds <= SECONDS, f"{keys.pressed} keys, {seconds:.1f} s"
    return f"{keys.pressed} keys beside the message, {seconds:.1f} s"


def hostile_texts_stay_texts(browser, program, shots):
    mail = MailServer()
    with Service(program, mail) as service:
        title = f"{HOSTILE} {RIGHT_TO_LEFT} \U0001f525 " + "long" * 30
        service.load([
            {"kind": "account", "id": "a<b>", "name": HOSTILE},
            {"kind": "person", "id": "rtl", "name": f"{RIGHT_TO_LEFT} \U0001f9d1\u200d\U0001f680", "email": "rtl@nyota.example"},
            {"kind": "resource", "type": "project", "id": "w" * 120, "account": "a<b>", "name": "W" * 150},
            {"kind": "member", "account": "a<b>", "person": "rtl", "role": "owner"},
        ])
        incident = service.incident(title, [("project", "w" * 120)], summary=HOSTILE * 20)
        notice = service.draft(incident, f"{HOSTILE}\n\n{RIGHT_TO_LEFT} \U0001f525")
        places = [
            "/admin", "/admin/incidents", "/admin/incidents/1", f"/admin/notices/{notice['id']}", "/admin/directory",
            "/admin/directory/accounts", "/admin/directory/people", "/admin/directory/resources", "/admin/search?q=onerror",
            "/admin/search?q=" + "w" * 100, "/admin/audit",
        ]
        for width in (1280, 390):
            with pages(browser, service, shots, f"hostile-{width}", width=width) as one:
                page = one.sign_in()
                page.on("dialog", lambda dialog: one.wrong.append(f"a dialog: {dialog.message}"))
                for path in places:
                    page.goto(path)
                    assert page.locator("img[src=x]").count() == 0, path
                    one.check()
                page.goto("/admin/incidents/1")
                expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
                expect(page.get_by_role("heading", level=1)).to_contain_text(RIGHT_TO_LEFT)
                # A title that is too long is refused at its field, and is still there.
                page.goto("/admin/incidents/new")
                page.get_by_label("Title").fill("x" * 10_000)
                page.get_by_role("button", name="Open incident").click()
                expect(page.locator("[aria-invalid]").first).to_have_value("x" * 10_000)
                one.check()
    mail.close()


def a_running_send_is_watched_and_stopped(browser, program, shots):
    mail = MailServer(pause=0.4)
    with Service(program, mail, CANDOR_SEND_CONCURRENCY=4) as service, pages(browser, service, shots, "stop") as one:
        service.crowd(200)
        notice = service.draft(service.incident("Uploads fail", [("project", "stage")]))
        page = one.sign_in(to=f"/admin/notices/{notice['id']}")
        page.get_by_role("button", name="Send to 200 people").click()
        progress = page.get_by_text(re.compile(r"[\d,]+ of 200\b")).first
        expect(progress).to_be_visible()
        seen = [progress.inner_text()]
        for _ in range(2):
            # The page is not loaded again: the text changes by itself.
            expect(progress).not_to_have_text(seen[-1])
            seen.append(progress.inner_text())
        stop = page.get_by_role("button", name=re.compile("^Stop"))
        if not stop.first.is_visible():
            page.locator("summary", has_text="Stop").first.click()
        stop.first.click()
        expect(page.get_by_role("button", name=re.compile("^Resume"))).to_be_visible(timeout=30_000)
        accepted = len(mail.mails)
        assert accepted < 200, accepted
        page.reload()
        expect(page.get_by_role("button", name=re.compile("^Resume"))).to_be_visible()
    mail.close()
    return f"saw {len(set(seen))} different numbers, {accepted} of 200 were sent"


def a_second_person_approves(browser, program, shots):
    mail = MailServer()
    with Service(program, mail, CANDOR_MAX_AUDIENCE=1) as service:
        service.story()
        incident = service.incident("Files cannot be opened", [("project", "savanna")])
        notice = service.draft(incident, DETECTION)
        path = f"/admin/notices/{notice['id']}"
        operator, approver = service.token("operator"), service.token("approver")
        with pages(browser, service, shots, "approval-operator") as first, pages(browser, service, shots, "approval-approver") as second:
            page = first.sign_in(operator, path)
            expect(page.get_by_role("button", name="Send to")).to_have_count(0)
            expect(page.get_by_role("button", name=re.compile("^Approve"))).to_have_count(0)
            other = second.sign_in(approver, path)
            other.get_by_role("button", name=re.compile("^Approve")).click()
            expect(other.get_by_text(re.compile("approved", re.I)).first).to_be_visible()
            page.reload()
            send(page, "2 people")
        until("detection", lambda: len(mail.mails) == 2)
    mail.close()


def an_address_is_corrected_and_the_email_sent_again(browser, program, shots):
    mail = MailServer(refused=["amina@wrong.example"])
    with Service(program, mail) as service, pages(browser, service, shots, "address") as one:
        service.story()
        service.load([{"kind": "person", "id": "amina", "name": "Amina", "email": "amina@wrong.example"}])
        notice = service.draft(service.incident("Files cannot be opened", [("project", "savanna")]), DETECTION)
        service.send(notice)
        until("rejection", lambda: service.call("GET", f"/api/v1/notices/{notice['id']}")["state"] == "sent")
        assert mail.recipients() == ["wanjiru@nyota.example"]
        page = one.sign_in(to="/admin/directory/people/amina")
        page.get_by_role("link", name=re.compile("Correct the address")).first.click()
        page.get_by_label("Email address").fill("not an address")
        page.locator("form.edit button[type=submit]").first.click()
        expect(page.locator("[aria-invalid]").first).to_have_value("not an address")
        page.get_by_label("Email address").fill("amina@nyota.example")
        page.locator("form.edit button[type=submit]").first.click()
        expect(page.get_by_text("amina@nyota.example").first).to_be_visible()
        until("email to the corrected address", lambda: "amina@nyota.example" in mail.recipients())
    mail.close()


def an_incident_is_opened_with_resources_of_a_selector(browser, program, shots):
    with Service(program) as service, pages(browser, service, shots, "open") as one:
        service.story()
        page = one.sign_in(to="/admin/incidents/new")
        page.get_by_label("Title").fill("Files of s3 cannot be opened")
        page.get_by_role("button", name="Open incident").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Files of s3 cannot be opened")
        page.get_by_role("navigation", name="Pages of the incident").get_by_role("link", name="Resources").click()
        page.get_by_label("Filter", exact=True).fill("(type:file")
        page.get_by_role("button", name="Count").click()
        expect(page.locator(".wrong").first).to_be_visible()
        page.get_by_label("Filter", exact=True).fill("type:file provider:s3")
        page.get_by_role("button", name="Count").click()
        page.get_by_role("button", name=re.compile("^Add 2")).click()
        expect(page.get_by_role("link", name="file m9-v1")).to_be_visible()
        expect(page.get_by_role("link", name="file m9-v2")).to_be_visible()


def a_text_survives_the_end_of_the_session(browser, program, shots):
    with Service(program) as service, pages(browser, service, shots, "session") as one:
        service.story()
        service.incident("Files cannot be opened", [("project", "savanna")])
        operator = service.token("operator")
        page = one.page
        page.goto("/admin/incidents/new")
        page.get_by_label("Token").fill(operator)
        page.get_by_role("button", name="Sign in").click()
        # The sign-in leads to the page that was asked for.
        expect(page).to_have_url(f"{service.url}/admin/incidents/new")
        page.get_by_label("Title").fill("Typed before the session ended")
        # The session ends while somebody types.
        one.context.clear_cookies()
        page.get_by_role("button", name="Open incident").click()
        expect(page.get_by_text("nothing was sent")).to_be_visible()
        page.get_by_label("Token").fill(operator)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("Title")).to_have_value("Typed before the session ended")
        assert len(service.call("GET", "/api/v1/incidents")["items"]) == 1
        page.get_by_role("button", name="Open the incident").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Typed before the session ended")
        # A button whose page says what it does is not kept: the sign-in leads back to the page.
        one.context.clear_cookies()
        page.locator("#set-owner summary").click()
        page.locator("#set-owner").get_by_role("button", name="Take it").click()
        expect(page.get_by_text("You were signed out. Nothing was sent.")).to_be_visible()
        page.get_by_label("Token").fill(operator)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{service.url}/admin/incidents/2")
        expect(page.get_by_text("Check and press the button again.")).to_be_visible()
        # `/` leads to the search, which finds it by a part of its title.
        page.keyboard.press("/")
        page.keyboard.type("re the sess")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="#2 Typed before the session ended").click()
        expect(page).to_have_title(re.compile(r"^\(2\) "))
        # Numbers that stand still say so.
        page.goto("/admin")
        expect(page.locator("#not-updated")).to_be_empty()
        one.context.clear_cookies()
        expect(page.locator("#not-updated")).to_contain_text("You were signed out. Not updated since", timeout=45_000)
        page.get_by_role("link", name="Sign in again").click()
        expect(page.get_by_label("Token")).to_be_visible()


TESTS = [
    the_job_is_done_by_hand,
    the_job_is_done_without_a_script,
    a_detection_is_sent_by_keyboard_alone,
    hostile_texts_stay_texts,
    a_running_send_is_watched_and_stopped,
    a_second_person_approves,
    an_address_is_corrected_and_the_email_sent_again,
    an_incident_is_opened_with_resources_of_a_selector,
    a_text_survives_the_end_of_the_session,
]
