"""Every page that the navigation leads to, with axe-core in light and dark, wide and narrow, and what a page weighs on the wire."""

from pathlib import Path
from urllib.parse import urlsplit

import axe_playwright_python

from playwright.sync_api import Error

from browser import LARGEST, listed, pages
from service import HOSTILE, RIGHT_TO_LEFT, Service

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# How many pages of one kind are looked at. A kind is a path without its IDs.
EACH = 2
# A page with one of these is not opened: it ends the session, or it is a file.
NOT = ("/admin/sign-out", ".csv", ".png", ".svg", ".html", ".txt")


def kind(url):
    """The path without its IDs and numbers."""
    path = urlsplit(url).path
    words = ["*" if any(c.isdigit() for c in word) else word for word in path.split("/")]
    if path.startswith("/admin/directory/") and len(words) > 4:
        words[4:] = ["*"] * (len(words) - 4)
    return "/".join(words)


def filled(service):
    """A service with something on each page."""
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


def crawl(page, look):
    """Opens the pages behind the links of each page, from `/admin` on, and looks at each."""
    seen, count, todo = set(), {}, ["/admin"]
    while todo:
        url = todo.pop(0)
        if url in seen:
            continue
        seen.add(url)
        name = kind(url)
        count[name] = count.get(name, 0) + 1
        if count[name] > EACH:
            continue
        answer = opened(page, url)
        if answer is None:
            continue
        look(url, answer, count[name] == 1)
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


def every_page_is_accessible_and_small(browser, program, shots):
    wrong, count = [], 0
    with Service(program) as service:
        filled(service)
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

            crawl(page, look)
            wrong += one.wrong
            one.wrong.clear()
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


TESTS = [every_page_is_accessible_and_small, the_pages_without_a_session_are_accessible]
