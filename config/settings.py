"""All settings, from the environment; .env.example says what each variable does.

Two ways to run. *Local* (the default while DATABASE_URL is not set): everything on this machine, plain HTTP on localhost, embedded
services, a secret key that is made once and kept. *Production*: HTTPS, hosts and secret given, nothing guessed.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import dj_database_url
from csp.constants import NONE, SELF

from config.embedded import Places, default_home
from config.env import Environment
from config.secret import kept_secret

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = env = Environment(os.environ)

HOME = env.path("TOUCHSTONE_HOME", default_home())
LOCAL = env.flag("TOUCHSTONE_LOCAL", not env.given("DATABASE_URL"))
DEBUG = env.flag("TOUCHSTONE_DEBUG", False)
ALLOWED_HOSTS = env.words("TOUCHSTONE_HOSTS", ("localhost", "127.0.0.1", "[::1]") if LOCAL else ())
SECRET_KEY = env.text("TOUCHSTONE_SECRET_KEY") or (kept_secret(HOME, env) if LOCAL else "")
if not SECRET_KEY:
    SECRET_KEY = "missing"  # noqa: S105 (Django refuses an empty one before the check can say what to do)
    env.wrong("TOUCHSTONE_SECRET_KEY", "is not set", "Set it to 50 or more random characters and keep it secret.", "config.E002")
if not ALLOWED_HOSTS:
    env.wrong("TOUCHSTONE_HOSTS", "is not set", "Name the hosts that this site is served under, separated by commas.", "config.E003")
CSRF_TRUSTED_ORIGINS = env.words("TOUCHSTONE_ORIGINS")

# What runs -----------------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "config.apps.WiringConfig",
    "training",
    "rest_framework.authtoken",  # before annotation, which takes its page out of the admin
    "annotation",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "csp",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Services ------------------------------------------------------------------------------------------------------------------

_places = Places(HOME)
DATABASE_IS_EMBEDDED = not env.given("DATABASE_URL")
REDIS_IS_EMBEDDED = not env.given("REDIS_URL")
DATABASE_URL = env.url("DATABASE_URL", _places.database_url, ("postgresql", "postgres"))
REDIS_URL = env.url("REDIS_URL", _places.redis_url, ("redis", "rediss", "unix"))
# Threads that serve pages keep their connection; it is looked at before each request.
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=600, conn_health_checks=True)}
# Statements of `annotation.prepared` are planned once for a connection. A pooler that hands connections on within a session may not allow it.
DATABASES["default"].setdefault("OPTIONS", {})["prepare_threshold"] = 0 if env.flag("TOUCHSTONE_PREPARE", True) else None
if DATABASE_IS_EMBEDDED:
    DATABASES["default"]["ENGINE"] = "config.postgres"

CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL], "prefix": "touchstone"}}}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # What workers leave for the web processes to show.
    "shared": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "touchstone"},
}

# The database is the truth: a task that is lost is found by the sweeps, so nothing is stored about tasks and none is sent again.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)  # Celery's own words for the same
# Sending gives up soon when the broker is away (kombu's own patience is 6 s): a page must not wait for what a sweep does anyway.
_patience = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "touchstone:"} | _patience
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"training.tasks.run_job": {"queue": "training"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(HOME / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    name: {"task": f"{name}.tasks.sweep", "schedule": 15.0, "options": {"expires": 15, "queue": "default"}} for name in ("annotation", "training")
}

# Experts and training --------------------------------------------------------------------------------------------------------

EXPERTS = {"pocket": {"BACKEND": "training.pocket.expert.PocketExpert", "OPTIONS": {}}}
# The strong models beside experts that write no prompts themselves: of grading prompts, and of generation prompts. Language models write their own.
WRITERS = {
    "pocket": {
        "grading": {"backend": "training.pocket.writer.PocketWriter", "options": {}},
        "generation": {"backend": "training.pocket.reflect.PocketReflection", "options": {}},
    }
}
POCKET_BASE = BASE_DIR / "training" / "pocket" / "base"
JOBS_DIR = env.path("TOUCHSTONE_JOBS", HOME / "jobs")
# The package whose modules sample, rl, distil and grade carry out job folders, each as a process: python -m PACKAGE.KIND FOLDER.
TRAINING_ENGINE = env.text("TOUCHSTONE_ENGINE") or "training.engine"
# Jobs as forks of one process that has the libraries loaded: they start some seconds earlier each. Not where there is a GPU, which no fork can share.
TRAINING_WARM = env.flag("TOUCHSTONE_WARM", Path("/proc/self/cmdline").exists() and not any(Path("/dev").glob("nvidia[0-9]*")))
# How jobs that train are started: a configuration of accelerate, or the number of processes on this machine. Empty: a process each.
ACCELERATE = env.text("TOUCHSTONE_ACCELERATE")
if ACCELERATE and not (2 <= int(ACCELERATE) <= 64 if ACCELERATE.isdecimal() else Path(ACCELERATE).is_absolute() and Path(ACCELERATE).is_file()):
    mend = "Use a number of processes from 2 to 64, or the absolute path of a configuration of accelerate."
    env.wrong("TOUCHSTONE_ACCELERATE", f"is {ACCELERATE!r}", mend)
    ACCELERATE = ""
DEVICE_BATCH = env.whole("TOUCHSTONE_DEVICE_BATCH", 0, least=0, most=65536)
# How a vLLM is started on a checkpoint, for jobs that sample from it. Empty: they do so in their own process.
VLLM_COMMAND = env.command("TOUCHSTONE_VLLM_COMMAND")
# vLLM servers: one that RL has write the rollouts, its weights overwritten at each step, and one for the proxies.
VLLM_POLICY_URL = env.url("TOUCHSTONE_VLLM_POLICY_URL", "", ("http", "https"))
VLLM_PROXY_URL = env.url("TOUCHSTONE_VLLM_PROXY_URL", "", ("http", "https"))
VLLM_KEY_ENV = "VLLM_API_KEY" if env.given("VLLM_API_KEY") else None
TRAINING_SLOTS = env.whole("TOUCHSTONE_TRAINING_SLOTS", 2, least=1, most=64)

# People --------------------------------------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # the pair: nobody can lock a colleague out from elsewhere
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "lockout.html"
AXES_VERBOSE = False

# The API -------------------------------------------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20  # bytes of a form or of a request to the API: the longest critique and highlights fit several times
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["annotation.tokens.BearerAuthentication", "rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "annotation.api.handle",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Touchstone",
    "DESCRIPTION": "Reviewing from your own tools. How to get a token, a whole session and the shape of errors: docs/api.md.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
}

# Browsers ------------------------------------------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = not LOCAL
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_HSTS_SECONDS = 0 if LOCAL else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not LOCAL
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = LOCAL  # no collectstatic needed on one's own machine
STATIC_ROOT = None if LOCAL else env.path("TOUCHSTONE_STATIC", BASE_DIR / "staticfiles")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage" if LOCAL else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

DEFAULT_EXCEPTION_REPORTER = "config.reports.Reporter"

# Words ---------------------------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = env.text("TOUCHSTONE_TIME_ZONE", "UTC")
USE_I18N = False
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"class": "config.reports.Formatter", "format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": env.text("TOUCHSTONE_LOG_LEVEL", "INFO").upper()},
    "loggers": {"django": {"propagate": True, "handlers": []}},
}
