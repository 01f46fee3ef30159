"""What this example needs of Django, and where scanlogin is. See ../README.md."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# Django's own key, of this server alone. Give it one to keep sessions over a restart.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or os.urandom(32).hex()
DEBUG = os.environ.get("DJANGO_DEBUG", "true") == "true"
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "shop.middleware.StillLoggedIn",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "shop.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.contrib.auth.context_processors.auth"]},
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_DATABASE", BASE_DIR / "db.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
USE_TZ = True
TIME_ZONE = "UTC"
# Without TLS, as on your own machine, a browser would keep a secure cookie to itself.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG

# The address under which this server reaches scanlogin, and the one under which browsers do ("": the page's own).
SERVICE_URL = os.environ.get("SERVICE", "http://127.0.0.1:8080")
SERVICE_PUBLIC_URL = os.environ.get("PUBLIC_SERVICE", SERVICE_URL)
SCANLOGIN_TOKEN_ISSUER = os.environ.get("ISSUER", "scanlogin")
SCANLOGIN_TOKEN_AUDIENCE = os.environ.get("AUDIENCE", "shop")
# How long a session of ours may outlive its web login.
ASK_EVERY_SECONDS = int(os.environ.get("ASK_EVERY_SECONDS", "60"))
# How /me checks a token: "ask" the service, or "jwks" by its public keys.
VERIFY = os.environ.get("VERIFY", "ask")
# The secret of the app's own tokens: SCANLOGIN_APP_JWT_SECRET of the service.
APP_JWT_SECRET = os.environ.get("APP_JWT_SECRET", "")
