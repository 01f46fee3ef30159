"""What the fuzzer knows beyond the document: tokens that are good, and now and then a key or claim that exists."""
import itertools
import os

import schemathesis

import people

ADDRESS = os.environ["FUZZED_ADDRESS"]
turns = itertools.count()
waiting = []


def keep(browser):
    """Open until some later ones have come: who has gone can't be scanned."""
    waiting.append(browser)
    if len(waiting) > 50:
        waiting.pop(0).socket.close()


# A token for each call: a log-out ends one.
@schemathesis.auth(refresh_interval=None)
class Tokens:
    def get(self, case, context):
        if case.operation.path in ("/verify", "/logout"):
            return people.web_token(ADDRESS, f"web-{next(turns)}")
        # Two users meet at one login now and then.
        return people.app_token(f"user-{next(turns) % 2}")

    def set(self, case, data, context):
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@schemathesis.hook
def before_call(context, case, kwargs):
    turn = next(turns)
    if turn % 3:
        return
    body = case.body if isinstance(case.body, dict) else {}
    if isinstance(body.get("key"), str):
        browser = people.Browser(ADDRESS)
        keep(browser)
        case.body = {**body, "key": browser.key}
    elif isinstance(body.get("claim"), str):
        browser, claim = people.claim(ADDRESS, f"user-{turn % 2}")
        keep(browser)
        case.body = {**body, "claim": claim}
    elif "Scanlogin-Claim" in (case.headers or {}):
        browser, claim = people.claim(ADDRESS, f"user-{turn % 2}")
        keep(browser)
        case.headers["Scanlogin-Claim"] = claim
