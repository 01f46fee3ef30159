import json
import time
from functools import wraps

from django.conf import settings
from django.contrib.auth import authenticate, get_user_model, login, logout
from django.http import HttpRequest, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST
from jwt import PyJWKClientConnectionError

from . import tokens


def unless_away(view):
    """A service that does not answer is not a "no": 503, and nobody is logged out."""

    @wraps(view)
    def guarded(request: HttpRequest):
        try:
            return view(request)
        except (OSError, PyJWKClientConnectionError):
            return JsonResponse({"error": "try again"}, status=503, headers={"Retry-After": "1"})

    return guarded


@require_GET
def home(request: HttpRequest):
    """A page with the element; what it knows of its user is Django's own session."""
    return render(request, "home.html", {"service": settings.SERVICE_PUBLIC_URL})


@require_POST
@unless_away
def session(request: HttpRequest):
    """A web token becomes a session of Django's, with a cookie that no script can read."""
    try:
        token = str(json.loads(request.body)["token"])
    except (ValueError, TypeError, KeyError):
        return JsonResponse({"error": "no token"}, status=400)
    user = get_user_model().objects.filter(username=tokens.ask(token), is_active=True).first()
    if user is None:
        return JsonResponse({"error": "not logged in"}, status=401)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session["scanlogin_token"] = token
    request.session["scanlogin_asked"] = time.time()
    return JsonResponse({"user": user.get_username()})


@require_POST
def log_out(request: HttpRequest):
    """Of this server. The token dies too: it was only good for this session."""
    if token := request.session.get("scanlogin_token"):
        tokens.log_out(token)
    logout(request)
    return redirect("home")


@require_GET
def old(request: HttpRequest):
    """The page of before, with the client that the Channels consumer had."""
    return render(request, "old.html")


@require_GET
@never_cache
@unless_away
def me(request: HttpRequest):
    """Who shows this token: for pages that keep it, as the old one does."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    check = {"jwks": tokens.by_key_set, "ask": tokens.ask}[settings.VERIFY]
    user = check(token) if scheme == "Bearer" else None
    return JsonResponse({"user": user}) if user else JsonResponse({"error": "not logged in"}, status=401)


@csrf_exempt
@require_POST
@sensitive_post_parameters()
def app_login(request: HttpRequest):
    """Where the phone app logs in, with name and password, once."""
    user = authenticate(request, username=request.POST.get("username"), password=request.POST.get("password"))
    if user is None:
        return JsonResponse({"error": "wrong name or password"}, status=401)
    return JsonResponse({"token": tokens.app_token(user)})
