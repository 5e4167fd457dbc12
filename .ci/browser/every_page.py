"""Every page that the navigation leads to, with axe-core in light and dark, wide and narrow, and what a page weighs on the wire."""

import json
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import axe_playwright_python

from playwright.sync_api import Error

from authority import Authority
from browser import LARGEST, listed, pages
from service import HOSTILE, KEEPING, RIGHT_TO_LEFT, MailServer, Service
from the_job import until

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# How many pages of one kind are looked at. A kind is a path without its IDs.
EACH = 2
# A page with one of these is not opened: it ends the session, or it is a file.
NOT = ("/admin/sign-out", "/report/file?", ".csv", ".png", ".svg", ".html", ".txt")


def kind(url):
    """The path without its IDs and numbers."""
    path = urlsplit(url).path
    words = ["*" if any(c.isdigit() for c in word) else word for word in path.split("/")]
    if path.startswith("/admin/directory/") and len(words) > 4:
        words[4:] = ["*"] * (len(words) - 4)
    return "/".join(words)


def filled(service):
    """Puts something on each page. Returns the pages that must be looked at, whatever the crawl comes to first."""
    service.story()
    opened = service.alert(service.hook())
    sent = service.draft(opened, "Some of your files cannot be opened.")
    service.send(sent)
    service.draft(opened, "We found the reason.", phase="update")
    service.incident("Payments are slow", [("project", "savanna")])
    service.incident(f"{HOSTILE} {RIGHT_TO_LEFT}", summary="A long text. " * 200)
    done = service.incident("Over", [("project", "savanna")])
    service.call("POST", f"/api/v1/incidents/{done['id']}/status", {"status": "resolved"})
    service.call("POST", f"/api/v1/incidents/{opened['id']}/next-steps", {"text": "Write a test", "owner": "Grace"})
    service.token("viewer")
    return [*merged(service, opened), *told(service, opened), *compared(service), *reported(service), *kept(service, opened), *posted(service, opened), *planned(service)]


def posted(service, opened):
    """The status page with a component and a post."""
    service.call("PUT", "/api/v1/components/uploads", {"name": f"Uploads {HOSTILE}", "group": RIGHT_TO_LEFT})
    body = {"status": "identified", "title": HOSTILE, "message": f"{HOSTILE}\n\n{RIGHT_TO_LEFT}", "components": {"uploads": "major_outage"}}
    post = service.call("POST", f"/api/v1/incidents/{opened['id']}/posts", body)["id"]
    page = f"/admin/incidents/{opened['number']}/posts"
    form = urlencode({"address": "reader@reader.example"}).encode()
    urlopen(f"{service.url}/status/subscribe?lang=ar", form).close()
    pages = ["/status/subscribe?lang=en", "/status/subscribe?lang=ar", "/status", "/status/ar", "/status/ja", f"/status/incidents/{opened['number']}", "/status/components/uploads"]
    return [page, f"{page}/new", f"{page}/{post}", "/admin/status-page", "/admin/status-page/components/uploads", "/admin/status-page/subscribers", *pages]


def planned(service):
    """A maintenance, the contact of an account, a feed key, and a brand with a logo."""
    later = lambda hours: (datetime.now(timezone.utc) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {
        "title": HOSTILE, "message": f"{HOSTILE}\n\n{RIGHT_TO_LEFT}", "starts_at": later(24), "ends_at": later(25),
        "affected": [{"type": "project", "id": "savanna"}], "components": ["uploads"],
    }
    page = "/admin/maintenances/" + service.call("POST", "/api/v1/maintenances", body)["id"]
    service.call("PUT", "/api/v1/accounts/nyota/contacts/security", {"email": "security@nyota.example"})
    service.call("POST", "/api/v1/feed-keys", {"name": HOSTILE, "origins": ["https://app.nyota.example"]})
    service.call("PUT", "/api/v1/brand", {"name": "Nyota", "color": "#0b5cad", "footer": HOSTILE, "postal_address": RIGHT_TO_LEFT})
    logo = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 80 20"><path d="M0 0h80v20z"/></svg>'
    service.call("PUT", "/api/v1/brand/logo", logo, media="image/svg+xml")
    return [
        page, f"{page}/affected", f"{page}/window", f"{page}/move", f"{page}/cancel", f"{page}/write", "/admin/maintenances", "/admin/maintenances/new", "/admin/brand",
        "/admin/feed-keys", "/admin/feed-keys/new", "/admin/directory/accounts/nyota/contacts", "/admin/status-page/components/new",
    ]


def merged(service, opened):
    """A storm with an incident that was merged into it, one that is probably the same problem, and one with an alert to split out."""
    savanna = [("project", "savanna")]
    storm, half, alike = (service.incident(title, savanna) for title in ("A storm", "Half of the storm", "Another half"))
    into = {"into": storm["id"], "reason": "One disk"}
    service.call("POST", f"/api/v1/incidents/{half['id']}/merge", into)
    pages = [f"/admin/incidents/{one['number']}" for one in (storm, half)]
    storm, alike, opened = storm["number"], alike["number"], opened["number"]
    return pages + [
        f"/admin/incidents/{alike}/merge", f"/admin/incidents/{alike}/merge?into={storm}&reason=One+disk", f"/admin/incidents/merge?into={storm}",
        f"/admin/incidents/{opened}/split",
    ]


def told(service, opened):
    """Histories with a bounce, an answer and a correction of an address, the evidence, and somebody who was erased."""
    service.load([{"kind": "person", "id": "erased", "name": "Erased One", "email": "erased@gone.example"}])
    incident = service.incident("For one person")
    service.call("POST", f"/api/v1/incidents/{incident['id']}/affected/people", {"people": ["erased"]})
    notice = service.draft(incident)
    service.send(notice)
    until("the email", lambda: service.call("GET", f"/api/v1/notices/{notice['id']}")["state"] == "sent")
    service.call("POST", "/api/v1/people/erased/erase", {"reason": "Request 17"})
    service.call("POST", f"/api/v1/incidents/{opened['id']}/answers", {"person": "amina", "answer": "broken", "text": HOSTILE})
    number = opened["number"]
    phone = service.call("POST", "/api/v1/people/amina/endpoints", {"url": "+254 700 123456", "consent": HOSTILE})
    return [
        f"/admin/directory/endpoints/{phone['id']}", "/admin/directory/people/amina/endpoints",
        "/admin/directory/people/amina", "/admin/directory/people/amina/history", "/admin/directory/people/amina/erase",
        "/admin/directory/accounts/nyota", "/admin/directory/accounts/nyota/history",
        "/admin/deliveries?address=amina%40nyota.example", "/admin/deliveries?address=nobody%40nowhere.example", "/admin/deliveries",
        "/admin/directory/erasures", f"/admin/incidents/{number}/evidence?person=amina", f"/admin/notices/{notice['id']}",
    ]


def compared(service):
    """A comparison with findings of all kinds that were applied, and the recovery of what they say."""
    incident = service.incident("Files are missing", [("project", "savanna")])
    of = f"/api/v1/incidents/{incident['id']}"
    body = {
        "name": "Stored files", "resource": {"type": "file"}, "key": "id", "compare": ["size"],
        "expected": {"format": "csv"}, "observed": {"format": "csv"},
    }
    id = service.call("POST", f"{of}/comparisons", body)["id"]
    listings = {"expected": "id,size\nm9-v1,5\nm9-v2,6\nunknown,7\n", "observed": "id,size\nm9-v1,4\nstray,1\nstray,2\n"}
    for side, rows in listings.items():
        service.call("PUT", f"/api/v1/comparisons/{id}/{side}", rows.encode(), media="text/csv")
    service.call("POST", f"/api/v1/comparisons/{id}/run", {})
    service.call("POST", f"/api/v1/comparisons/{id}/apply", {"kinds": ["missing", "differs"]})
    resources = lambda *ids: [{"type": "file", "id": id} for id in ids]
    service.call("POST", f"{of}/recovery", {"state": "recovering", "resources": resources("m9-v1", "m9-v2"), "name": "first"})
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    line = {"type": "file", "id": "m9-v1", "size": 5, "observed_at": now, "source": "s3 head"}
    service.call("POST", f"{of}/recovery/evidence", json.dumps(line).encode(), media="application/x-ndjson")
    # Of a project, nothing can be measured.
    project = [{"type": "project", "id": "savanna"}]
    service.call("POST", f"{of}/recovery/attest", {"resources": project, "reason": "Opened it"})
    page = f"/admin/incidents/{incident['number']}"
    return [f"{page}/comparisons", f"{page}/comparisons/{id}", f"{page}/recovery", f"{page}/recovery?selector=type%3Afile"]


def reported(service):
    """A report with versions that was published and corrected."""
    incident = service.incident("A disk was full", [("project", "savanna")])
    of = f"/api/v1/incidents/{incident['id']}/report"
    for text in ("The disk was full.", "The disk of shelf 2 was full.\n\n- It is larger now\n- It is watched\n\n| Time | What |\n|---|---|\n| 10:00 | full |"):
        sections = [{"heading": audience, "text": text, "audience": audience} for audience in ("public", "customer", "internal")]
        service.call("PUT", of, {"title": "About a full disk", "sections": sections})
        note = {} if text == "The disk was full." else {"note": "It was shelf 2."}
        service.call("POST", f"{of}/publish", note)
    service.call("PUT", of, {"title": "About a full disk", "sections": sections[:2]})
    page = f"/admin/incidents/{incident['number']}/report"
    return [page, f"{page}/edit", f"{page}/versions", f"{page}/versions?from=1&to=2"]


def kept(service, opened):
    """Time stamps, a backup with its drill, and the record of an emergency notice."""
    service.call("POST", "/api/v1/audit/timestamps", {})
    newest = lambda: service.call("GET", "/api/v1/backups")["items"][0]
    service.call("POST", "/api/v1/backups", {})
    until("the backup", lambda: newest()["state"] == "done")
    service.call("POST", f"/api/v1/backups/{newest()['id']}/check", {})
    until("the drill", lambda: newest()["check"] == "good")
    record = service.emergency_notice("The file service is down", "We work on it.\n\nNo file is lost.")
    path = f"incidents/{opened['id']}/emergency-notices"
    notice = service.call("POST", f"/api/v1/{path}", record, media="application/x-ndjson")["id"]
    page = f"/admin/incidents/{opened['number']}/emergency-notices"
    return ["/admin/audit/proof", "/admin/audit/verify", "/admin/backups", page, f"{page}?notice={notice}"]


def crawl(page, look, first=()):
    """Opens the pages of `first` and those behind the links of each page, from `/admin` on, and looks at each."""
    seen, count, todo = set(), {}, [*first, "/admin"]
    while todo:
        url = todo.pop(0)
        if url in seen:
            continue
        seen.add(url)
        name = kind(url)
        count[name] = count.get(name, 0) + 1
        if count[name] > EACH and url not in first:
            continue
        answer = opened(page, url)
        if answer is None:
            continue
        look(url, answer, count[name] == 1 or url in first)
        for href in page.eval_on_selector_all("a[href]", "all => all.map(one => one.getAttribute('href'))"):
            path = href.split("#")[0]
            if path.startswith("/admin") and not any(part in path for part in NOT):
                todo.append(path)


def opened(page, url):
    """Opens a page. None for a link that downloads a file."""
    try:
        return page.goto(url)
    except Error as error:
        if "Download is starting" in str(error):
            return None
        raise


def axe(page, where, wrong, rules=None):
    """Looks for violations on the page that is shown. `rules` are some rules by name, if not all."""
    # A frame with an email has a policy that allows no script, and so no axe-core.
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": RULES}
    found = page.evaluate(
        "only => axe.run(document, {runOnly: only, iframes: false, resultTypes: ['violations']})", only
    )
    for violation in found["violations"]:
        for node in violation["nodes"][:3]:
            wrong.append(f"{where}: {violation['id']}: {violation['help']}: {node['html'][:160]}")


def looked_at(one, url, wrong, all_rules=True):
    """Looks at the page that is shown: wide and light, wide and dark, and narrow and dark."""
    page = one.page
    page.evaluate(AXE)
    for width, scheme, rules in [(1280, "light", None), (1280, "dark", ["color-contrast"]), (390, "dark", ["color-contrast", "target-size"])]:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        if all_rules or rules is None:
            axe(page, f"{url} ({width} px, {scheme})", wrong, rules)
        one.check()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")


def look_at_the_file(one, report, wrong):
    """The file of a report allows no script, so axe-core looks at its text on an empty page."""
    text = one.context.request.get(f"{report}/file?audience=internal&format=html").text()
    one.page.goto("about:blank")
    one.page.set_content(text)
    one.page.evaluate(AXE)
    axe(one.page, "the file of the report", wrong)


def every_page_is_accessible_and_small(browser, program, shots):
    wrong, count = [], 0
    mail, stamps = MailServer(), Authority()
    with Service(program, mail, **KEEPING, **stamps.settings) as service:
        first = filled(service)
        with pages(browser, service, shots, "every-page") as one:
            page = one.sign_in()

            def look(url, answer, first):
                nonlocal count
                count += 1
                if answer.status != 200:
                    wrong.append(f"{url}: {answer.status}")
                # The second page of a kind has the same colours and sizes.
                looked_at(one, url, wrong, all_rules=first)
                size = answer.request.sizes()["responseBodySize"]
                if size > LARGEST:
                    wrong.append(f"{url}: {size} bytes on the wire")

            crawl(page, look, first)
            look_at_the_file(one, next(path for path in first if path.endswith("/report")), wrong)
            wrong += one.wrong
            one.wrong.clear()
    mail.close()
    stamps.close()
    assert not wrong, listed(wrong)
    assert count > 40, f"only {count} pages"
    return f"{count} pages"


def the_pages_without_a_session_are_accessible(browser, program, shots):
    wrong = []
    with Service(program) as service, pages(browser, service, shots, "outside") as one:
        for url in ["/admin/sign-in", "/status", "/docs/"]:
            assert one.page.goto(url).ok, url
            one.page.wait_for_load_state("networkidle")
            # The page of the API is the one of Swagger UI, whose own faults are not listed.
            if url != "/docs/":
                looked_at(one, url, wrong)
            assert one.page.locator("meta[name=viewport]").count() > 0, url
    assert not wrong, listed(wrong)


def the_pages_of_a_customer_are_accessible(browser, program, shots):
    """The page "My incidents", the answers and the end of the updates, from left to right and from right to left."""
    wrong, mail = [], MailServer()
    with Service(program, mail) as service:
        service.story()
        service.load([{"kind": "person", "id": "amina", "name": HOSTILE, "email": "amina@nyota.example", "locale": "ar"}])
        incident = service.incident("Files cannot be opened", [("project", "savanna")])
        service.send(service.draft(incident, HOSTILE))
        until("the emails", lambda: len(mail.mails) == 2)
        for name in ("amina", "wanjiru"):
            text = next(text for to, text in mail.mails if f"{name}@nyota.example" in to).replace("=\r\n", "").replace("=3D", "=")
            link = lambda kind: re.search(rf"/{kind}/[\w.-]+", text).group(0)
            with pages(browser, service, shots, f"customer-{name}") as one:
                for url in (link("answers"), link("unsubscribe"), link("mine/link")):
                    assert one.page.goto(url).ok, url
                    looked_at(one, url, wrong)
                with one.page.expect_navigation():
                    one.page.locator("main button").click()
                looked_at(one, f"/mine of {name}", wrong)
                one.page.locator("[name=time_zone]").fill("Mars/Olympus")
                with one.page.expect_navigation():
                    one.page.locator("form.answer button").click()
                looked_at(one, f"the refused form of {name}", wrong)
                assert one.page.goto("/mine").ok
                with one.page.expect_navigation():
                    one.page.locator('[action="/mine/end"] button').click()
                looked_at(one, f"the end of /mine of {name}", wrong)
    mail.close()
    assert not wrong, listed(wrong)


TESTS = [every_page_is_accessible_and_small, the_pages_without_a_session_are_accessible, the_pages_of_a_customer_are_accessible]
