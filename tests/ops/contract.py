"""What the service promises to its operators, as data: variables, metrics, labels.

The chart, the dashboards, the alerts and the compose file may use nothing else. A label whose values are not known in
advance (a node, a version) has None.
"""

SECRETS = {
    "REDIS_URL", "APP_JWT_SECRET", "APP_JWT_SECRET_PREVIOUS", "TOKEN_SECRET", "TOKEN_SECRET_PREVIOUS",
    "TOKEN_WEBHOOK_SECRET",
}

VARIABLES = {
    "SCANLOGIN_" + name
    for name in """
    LISTEN ADMIN_LISTEN REDIS_URL REDIS_PREFIX REDIS_CA_FILE REDIS_CERT_FILE REDIS_KEY_FILE PUBLIC_URL
    APP_NAME APP_LINKS APPLE_APP_IDS ANDROID_APPS
    APP_JWT_SECRET APP_JWT_SECRET_PREVIOUS APP_JWT_PUBLIC_KEY_FILE APP_JWKS_URL APP_JWT_ISSUER APP_JWT_AUDIENCE
    TOKEN_SECRET TOKEN_SECRET_PREVIOUS TOKEN_PRIVATE_KEY_FILE TOKEN_WEBHOOK_URL TOKEN_WEBHOOK_SECRET
    TOKEN_ISSUER TOKEN_AUDIENCE
    WAIT_SECONDS ROTATE_SECONDS RESUME_SECONDS TOKEN_TTL_SECONDS CONFIRM MATCH DELIVER ALLOWED_ORIGINS TRUSTED_PROXIES PROXY_HEADER
    MAX_WAITING CONNECTS_PER_MINUTE SCANS_PER_MINUTE CLAIMS_PER_USER DRAIN_SECONDS WORKERS LOG LOG_FORMAT DEMO
    """.split()
} | {f"SCANLOGIN_{name}_FILE" for name in SECRETS}

OPERATIONS = ("create scan reserve release outbox confirm deny look note read redeem acknowledge end resume reclaim current revoke"
              " end_session probe").split()
ROUTES = ("/ws /stream /stream/poll /stream/message /scan /scan/confirm /scan/deny /scan/outcome /verify /logout /.well-known/jwks.json /redeem /weblogin /revoke"
          " /.well-known/apple-app-site-association /.well-known/assetlinks.json /scanlogin.js /openapi.json /docs /s demo other").split()
STATUSES = "101 200 304 400 401 403 404 405 409 413 415 426 429 431 503 other".split()

# name: (type, {label: values})
METRICS = {
    "scanlogin_waiting_sockets": ("gauge", {}),
    "scanlogin_sockets_opened_total": ("counter", {"protocol": ["plain", "json", "stream", "poll"]}),
    "scanlogin_sockets_refused_total": (
        "counter", {"reason": "origin host limited full draining store protocol handshake".split()}),
    "scanlogin_logins_total": ("counter", {"outcome": "delivered undelivered denied expired cancelled failed".split()}),
    "scanlogin_scans_total": ("counter", {
        "result": ("approved claimed repeated confirmed denied unknown conflict unauthenticated forbidden limited"
                   " locked crowded mismatch malformed store upstream").split()}),
    "scanlogin_open_to_key_seconds": ("histogram", {}),
    "scanlogin_scan_to_push_seconds": ("histogram", {}),
    "scanlogin_wait_seconds": ("histogram", {}),
    "scanlogin_resumes_total": ("counter", {"result": "resumed delivered refused malformed store".split()}),
    "scanlogin_notifications_total": ("counter", {"result": "delivered unknown full".split()}),
    "scanlogin_feed_connected": ("gauge", {"node": None}),
    "scanlogin_feed_resyncs_total": ("counter", {"reason": "connected reconnected probe topology".split()}),
    "scanlogin_feed_probe_seconds": ("histogram", {}),
    "scanlogin_feed_rescued_total": ("counter", {}),
    "scanlogin_store_seconds": ("histogram", {"operation": OPERATIONS}),
    "scanlogin_store_errors_total": (
        "counter", {"operation": OPERATIONS, "kind": "io timeout auth readonly oom other".split()}),
    "scanlogin_registry_mailbox": ("gauge", {}),
    "scanlogin_http_requests_total": ("counter", {"route": ROUTES, "status": STATUSES}),
    "scanlogin_http_request_seconds": ("histogram", {"route": ROUTES}),
    "scanlogin_jwks_refreshes_total": ("counter", {"result": "ok unreachable status invalid".split()}),
    "scanlogin_jwks_refreshed_timestamp_seconds": ("gauge", {}),
    "scanlogin_webhook_requests_total": ("counter", {
        "event": "login revoked".split(),
        "result": "ok unreachable no_answer status invalid queue_full given_up".split()}),
    "scanlogin_webhook_seconds": ("histogram", {"event": "login revoked".split()}),
    "scanlogin_webhook_queue": ("gauge", {}),
    "scanlogin_slow_clients_total": ("counter", {}),
    "scanlogin_sockets_cut_total": ("counter", {"reason": "flood too_big malformed".split()}),
    "scanlogin_log_lines_dropped_total": ("counter", {}),
    "scanlogin_draining": ("gauge", {}),
    "scanlogin_build_info": ("gauge", {"version": None}),
    "process_cpu_seconds_total": ("counter", {}),
    "process_open_fds": ("gauge", {}),
    "process_max_fds": ("gauge", {}),
    "process_virtual_memory_bytes": ("gauge", {}),
    "process_resident_memory_bytes": ("gauge", {}),
    "process_start_time_seconds": ("gauge", {}),
    "process_threads": ("gauge", {}),
    "up": ("gauge", {}),
}

# What Prometheus adds to every series of ours.
TARGET_LABELS = {"job", "instance", "namespace", "pod"}

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def series():
    """Every name that a query may use, with the metric it belongs to."""
    for name, (kind, _) in METRICS.items():
        for suffix in SUFFIXES.get(kind, ("",)):
            yield name + suffix, name


SERIES = dict(series())
