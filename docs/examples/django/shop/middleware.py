"""Ends a session of ours when its web login has ended: logged out in the app, or replaced by a newer one."""

import time

from django.conf import settings
from django.contrib.auth import logout

from . import tokens


class StillLoggedIn:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        token = request.session.get("scanlogin_token")
        if token and time.time() - request.session["scanlogin_asked"] > settings.ASK_EVERY_SECONDS:
            try:
                if tokens.ask(token) is None:
                    logout(request)
                else:
                    request.session["scanlogin_asked"] = time.time()
            except OSError:
                # The service is away: who was logged in stays so, and is asked about with the next request.
                pass
        return self.get_response(request)
