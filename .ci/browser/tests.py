"""Runs the tests. Usage: tests.py PROGRAM CHROMIUM FOLDER [PART OF A NAME …]."""

import sys
import time
import traceback
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

import every_form
import every_page
import the_embed
import the_job


def main():
    program, chromium, shots, *parts = sys.argv[1:]
    expect.set_options(timeout=15_000)
    tests = [test for module in (every_page, the_job, the_embed, every_form) for test in module.TESTS]
    chosen = [test for test in tests if not parts or any(part in test.__name__ for part in parts)]
    failed = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for test in chosen:
            start = time.monotonic()
            try:
                said = test(browser, program, Path(shots))
            except Exception:
                failed.append(test.__name__)
                traceback.print_exc()
                said = "FAILED"
            print(f"{test.__name__}: {said or 'ok'} ({time.monotonic() - start:.1f} s)", flush=True)
        browser.close()
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
