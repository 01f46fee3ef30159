from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("session", views.session),
    path("log-out", views.log_out, name="log-out"),
    path("me", views.me),
    path("old", views.old),
    path("app/login", views.app_login),
]
